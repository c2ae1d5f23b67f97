"""A table of jobs: CSV, JSON Lines or Parquet, on this machine or at any address that fsspec opens."""

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from .. import endings
from ..errors import InvertAvatarError
from .addresses import is_remote, opened

Row = Mapping[str, object] | str  # the cells that are not empty, or the sentence that says why there are none


def read_table(address: str) -> Iterator[tuple[int, Row]]:
    """The rows of a table and their numbers, from 1; a row that cannot be read is the sentence that says so.

    Args:
        address: A file .csv, .jsonl (.ndjson) or .parquet.

    Raises:
        InvertAvatarError: It is no table of these kinds, or cannot be opened.
    """
    suffix = posixpath.splitext(address)[1].lower()
    if suffix not in endings.JOB_TABLES:
        raise InvertAvatarError(
            f"{address} is no table that can be read; end its name in {', '.join(endings.JOB_TABLES)}."
        )
    read = {".csv": _from_csv, ".parquet": _from_parquet}.get(suffix, _from_json_lines)
    with opened(address) as file:
        for number, row in enumerate(read(file, address), 1):
            yield number, row if isinstance(row, str) else _without_empty(row)


def beside(table: str, path: str) -> str:
    """A path of a table: as it stands where it is absolute or an address, else from the table's own folder."""
    if is_remote(path) or Path(path).is_absolute():
        return path
    return posixpath.join(posixpath.dirname(table), path) if is_remote(table) else str(Path(table).parent / path)


def _from_csv(file: BinaryIO, address: str) -> Iterator[Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        reader = csv.DictReader(text, restkey="")
        if not reader.fieldnames or any(not (name or "").strip() for name in reader.fieldnames):
            raise InvertAvatarError(f"{address} needs the names of its columns in its first line.")
        reader.fieldnames = [name.strip() for name in reader.fieldnames]
        for row in reader:
            extra = row.pop("", None)
            yield (
                f"It has {len(extra)} cells more than the table has columns; quote cells with commas." if extra else row
            )
    except UnicodeDecodeError as error:
        raise InvertAvatarError(f"{address} is not UTF-8 text; save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise InvertAvatarError(f"{address} is no CSV that can be read ({error}).") from error


def _from_json_lines(file: BinaryIO, address: str) -> Iterator[Row]:
    for line in file:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield f"It is not JSON ({error})."
            continue
        yield row if isinstance(row, dict) else 'It is no JSON object such as {"id": ..., "photos": [...]}.'


def _from_parquet(file: BinaryIO, address: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise InvertAvatarError(f"{address} is no Parquet file that can be read ({error}).") from error


def _without_empty(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None and value != "" and value != []}
