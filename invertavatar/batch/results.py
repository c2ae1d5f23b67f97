"""The folder of results: each job's whole under its id, and a manifest of all of them.

`folder/ID/` holds `movie.mp4` (or another kind), `avatar/` where it is wanted, and `result.json`, which arrives last.
Where that is, the job is done. `folder/manifest.parquet` has a row for each row of the table.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import fsspec

from ..media.files import full_disk_said
from .addresses import is_remote, reached

MANIFEST, RECORD, UNFINISHED = "manifest.parquet", "result.json", ".unfinished"
AT_ONCE = 10_000  # rows of the manifest that are written, results at an address that are asked for


class Results:
    """Written to by all workers, each job by one.

    Args:
        folder: On this machine (or one that all machines see), or an address that fsspec writes to.
    """

    def __init__(self, folder: str):
        self.folder, self.remote = folder.rstrip("/") or folder, is_remote(folder)
        self._files = fsspec.core.url_to_fs(folder)[0] if self.remote else None

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder to work in, gone at the end of the block; for results on this machine it is on their disk."""
        parent = None
        if not self.remote:
            parent = Path(self.folder) / UNFINISHED
            parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="job-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def publish(self, made: Path, job_id: str, record: dict) -> None:
        """All files of a folder appear under the id, or none does; they take the place of what was there.

        Raises:
            MediaError: They cannot be written.
        """
        text = json.dumps(record, ensure_ascii=False, indent=1)
        if self._files is not None:
            place = f"{self.folder}/{job_id}"
            with reached(place):
                if self._files.exists(place):
                    self._files.rm(place, recursive=True)
                for file in sorted(path for path in made.rglob("*") if path.is_file()):
                    target = f"{place}/{file.relative_to(made).as_posix()}"
                    self._files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                    self._files.put_file(str(file), target)
                self._files.pipe_file(f"{place}/{RECORD}", text.encode())
            return
        place = Path(self.folder) / job_id
        with full_disk_said(place):
            (made / RECORD).write_text(text, encoding="utf-8")
            if place.exists():
                os.replace(place, made.parent / "replaced")  # goes with the scratch folder
            os.replace(made, place)

    def record(self, job_id: str) -> dict | None:
        """What is known of a finished job; None where there is none."""
        return next(self.records([job_id]))

    def records(self, ids: Sequence[str]) -> Iterator[dict | None]:
        """What is known of each of many jobs, in their order; an address is asked for many at a time."""
        for k in range(0, len(ids), AT_ONCE):
            places = [f"{self.folder}/{job_id}/{RECORD}" for job_id in ids[k : k + AT_ONCE]]
            if self._files is not None:
                texts = {_folder(path): text for path, text in self._files.cat(places, on_error="omit").items()}
                yield from (_known(texts.get(_folder(place))) for place in places)
            else:
                yield from (_known(_text(place)) for place in places)

    def holds_some(self) -> bool:
        """Whether an earlier run has left a manifest or results here."""
        if self._files is not None:
            return bool(self._files.exists(self.folder) and self._files.glob(f"{self.folder}/*/{RECORD}"))
        folder = Path(self.folder)
        return (folder / MANIFEST).exists() or next(folder.glob(f"*/{RECORD}"), None) is not None

    def clear_unfinished(self) -> None:
        """Remove what workers left that were stopped."""
        if not self.remote:
            shutil.rmtree(Path(self.folder) / UNFINISHED, ignore_errors=True)

    def write_manifest(self, records: Iterable[dict]) -> None:
        """One row for each row of the table, in its order, whatever became of it.

        Args:
            records: As `runner` makes them.

        Raises:
            MediaError: It cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema(
            {
                "row": pa.int64(),
                "id": pa.string(),
                "state": pa.string(),  # done, failed, waiting
                "message": pa.string(),  # why it failed
                "seconds": pa.float64(),  # of work
                "frames": pa.int64(),
                "similarity": pa.float64(),  # -1..1, `runner.similarity`
                "warnings": pa.list_(pa.string()),
                "worker": pa.string(),  # machine:process
            }
        )
        ordered = sorted(records, key=_row)
        with self.scratch() as folder:
            file = folder / MANIFEST
            with full_disk_said(file), pq.ParquetWriter(file, schema) as writer:
                for k in range(0, len(ordered), AT_ONCE):
                    writer.write_table(pa.Table.from_pylist(ordered[k : k + AT_ONCE], schema))
            if self._files is not None:
                with reached(self.folder):
                    self._files.makedirs(self.folder, exist_ok=True)
                    self._files.put_file(str(file), f"{self.folder}/{MANIFEST}")
            else:
                os.replace(file, Path(self.folder) / MANIFEST)


def _row(record: dict) -> int:
    return record["row"]


def _folder(path: str) -> str:
    return path.split("/")[-2]


def _text(place: str) -> bytes | None:
    try:
        return Path(place).read_bytes()
    except OSError:
        return None


def _known(text: bytes | None) -> dict | None:
    try:
        return json.loads(text or "null")
    except ValueError:
        return None
