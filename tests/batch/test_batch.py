"""Many jobs at once: what becomes of good rows, bad rows, lost workers, and of a run that goes on."""

import importlib.util
import json
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invertavatar.batch.job import Settings
from invertavatar.batch.local import LocalEngine
from invertavatar.batch.results import MANIFEST, UNFINISHED, Results
from invertavatar.batch.runner import similarity
from invertavatar.batch.scheduler import TRIES, Event, scheduled
from invertavatar.batch.table import read_table
from invertavatar.errors import InvertAvatarError
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts import batch as program
from invertavatar.scripts import cli, console
from tests.batch.deadly import Deadly

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "assets/examples"
JOBS, BAD = 40, 6

pytestmark = pytest.mark.timeout(300)  # processes start, which takes minutes where others keep the cores busy


@pytest.fixture(scope="module")
def jobs_table(tiny_pipeline, tiny_avatar, tmp_path_factory) -> Path:
    """40 rows beside a tiny model: most move a saved avatar, one is built of a photo, 6 are bad."""
    folder = tmp_path_factory.mktemp("batch")
    tiny_pipeline.save_pretrained(folder / "model")
    tiny_avatar.save_pretrained(folder / "anna")
    tiny_pipeline.track(EXAMPLES / "anna_4.jpg").save(folder / "look.safetensors")
    (folder / "broken.jpg").write_text("this is text")
    good = {"avatar": "anna", "motion": "look.safetensors"}
    rows = [{"id": f"job_{k}", "yaw": k, **good} for k in range(JOBS)]
    rows[0] = {"id": "of_a_photo", "photos": [str(EXAMPLES / "ben_1.jpg")], "motion": "look.safetensors"}
    bad = (
        {"id": "a/b", **good},
        {"id": "job_1", **good},
        {"id": "narrow", "size": 8, **good},
        {"id": "still", "avatar": "anna"},
        {"id": "gone", "photos": ["none.jpg"], "motion": "look.safetensors"},
        {"id": "broken", "photos": "broken.jpg", "motion": "look.safetensors"},
    )
    for k, row in enumerate(bad):
        rows[3 + 5 * k] = row
    table = folder / "jobs.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    return table


def made_by(address: str | None, folder: Path, jobs_table: Path) -> dict[int, dict]:
    """All records by row, none of them twice, by two workers of which one is killed on the way by its own pid.

    One row more, the third, ends each worker that begins it.
    """
    jobs, records = the_jobs(jobs_table)
    jobs.insert(2, Deadly(JOBS + 1, "deadly"))
    seen = []
    for record in program.worked(jobs, settings_of(jobs_table, folder), address, workers=2, cores=0.5, gpus=0.0):
        seen.append(record)
        if "worker" in record and sum("worker" in record for record in seen) == 5:
            os.kill(int(record["worker"].rsplit(":", 1)[1]), signal.SIGKILL)
    assert max(Counter(record["row"] for record in seen).values()) == 1
    return records | {record["row"]: record for record in seen}


def settings_of(jobs_table: Path, folder: Path) -> Settings:
    return Settings(str(folder), str(jobs_table.parent / "model"), "cpu", kind="png", similarity=False)


def the_jobs(jobs_table: Path) -> tuple:
    return program.read_jobs(str(jobs_table), {"size": "64"}, only_avatars=False)


def sentences_of(records: dict[int, dict]) -> dict[str, str]:
    """Those of failed rows by id, but not how a worker was lost, which only the local pool knows."""
    failed = (record for record in records.values() if record["state"] == "failed")
    return {record["id"]: record["message"].replace(" (exit status -9)", "") for record in failed}


def files_of(folder: Path) -> dict[str, bytes]:
    """Without what lost workers left in the scratch folder, and records, which tell of seconds."""
    made = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in made if UNFINISHED not in path.parts}


@pytest.fixture(scope="module")
def local(jobs_table, tmp_path_factory) -> tuple[Path, dict[int, dict]]:
    """The folder and the records of two processes of which one was killed on the way."""
    folder = tmp_path_factory.mktemp("local")
    return folder, made_by(None, folder, jobs_table)


def test_all_good_rows_are_done_once_though_workers_are_lost_and_each_bad_row_has_its_sentence(local):
    folder, records = local
    done = [record for record in records.values() if record["state"] == "done"]
    assert len(records) == JOBS + 1 and len(done) == JOBS - BAD
    assert len({record["worker"] for record in done}) > 1
    assert sorted(path.name for path in folder.iterdir() if path.name != UNFINISHED) == sorted(r["id"] for r in done)
    assert all((folder / record["id"] / "frames").is_dir() and record["frames"] == 1 for record in done)
    sentences = sentences_of(records)
    for name, phrase in {
        "a/b": "names no folder",
        "job_1": "Row 2 has the id job_1 too",
        "narrow": "its size: Input should be greater than or equal to 64",
        "still": "needs a driver, a motion or a speech",
        "gone": "none.jpg does not exist",
        "broken": "broken.jpg",
        "deadly": f"{TRIES} workers were lost while they had it",
    }.items():
        assert phrase in sentences.pop(name)
    assert sentences == {}


def test_workers_of_ray_make_the_same_files_though_some_are_lost_and_say_the_same(
    local, jobs_table, tmp_path, monkeypatch, capfd
):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'invertavatar[cluster]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they wait for all that runs beside the tests
    records = made_by("local", tmp_path, jobs_table)
    assert sentences_of(records) == sentences_of(local[1])
    assert records.keys() == local[1].keys()
    assert len({record["worker"] for record in records.values() if record.get("worker")}) > 1
    assert files_of(tmp_path) == files_of(local[0])
    assert "".join(capfd.readouterr()) == ""  # of Ray's own


def test_resuming_does_only_what_is_missing_and_other_options_are_not_done(local, jobs_table):
    folder, _ = local
    jobs, _ = the_jobs(jobs_table)
    settings, results = settings_of(jobs_table, folder), Results(str(folder))
    done = program.finished(jobs, settings, results)
    assert {job.id for job in jobs if job.row not in done} == {"gone", "broken"}
    larger, _ = program.read_jobs(str(jobs_table), {"size": "128"}, only_avatars=False)
    assert program.finished(larger, settings, results) == {}


def test_the_program_writes_a_manifest_samples_avatars_and_takes_up_what_was_done(tmp_path, jobs_table, capsys):
    table, folder, model = tmp_path / "people.csv", tmp_path / "made", jobs_table.parent / "model"
    table.write_text("id,seed\nfirst,1\nsecond,2\nwrong,soon\n")
    common = [str(table), "-o", str(folder), "--model", str(model), "--device", "cpu", "--workers", "1"]
    for arguments, phrase in (
        ([], "2 done, 1 failed"),
        (["--resume"], "2 jobs are done already"),
    ):
        with pytest.raises(SystemExit) as exit_:
            console.run(cli.app, ["batch", *common, "--sample-avatars", *arguments])
        assert exit_.value.code == 0
        assert phrase in capsys.readouterr().out
    rows = pq.read_table(folder / MANIFEST).to_pylist()
    assert [(row["row"], row["id"], row["state"]) for row in rows] == [
        (1, "first", "done"),
        (2, "second", "done"),
        (3, "wrong", "failed"),
    ]
    assert "seed" in rows[2]["message"] and rows[0]["seconds"] > 0
    assert sorted(path.name for path in folder.iterdir()) == ["first", MANIFEST, "second"]
    assert [path.name for path in sorted((folder / "first").iterdir())] == ["avatar", "result.json"]
    with pytest.raises(SystemExit) as exit_:
        console.run(cli.app, ["batch", *common, "--sample-avatars"])
    assert exit_.value.code == 2 and "--resume goes on" in capsys.readouterr().err


def test_similarity_tells_whether_the_rendered_face_is_that_of_the_photos():
    pipe = InvertAvatarPipeline.from_pretrained()
    pipe.set_progress_bar_config(disable=True)
    anna, ben = (pipe.reconstruct(EXAMPLES / f"{name}_1.jpg") for name in ("anna", "ben"))
    assert similarity(pipe, anna) > 0.9
    assert similarity(pipe, replace(anna, texture_sum=ben.texture_sum)) < 0.5


class Losing:
    """An engine without processes, whose workers are lost over one row."""

    def __init__(self, row: int, ready: bool = True):
        self.row, self.ready, self.given, self.stopped, self.most = row, ready, [], False, 0

    def start(self):
        worker = object()
        self.given.append((worker, None))
        return worker

    def submit(self, worker, job):
        self.given.append((worker, job))
        with_it = [other for at, other in self.given if at is worker and other]
        self.most = max(self.most, len(with_it))

    def wait(self):
        worker, job = self.given.pop(0)
        if job is None and self.ready:
            return [Event(worker, "ready")]
        if job is None or job.row == self.row:
            self.given = [(at, other) for at, other in self.given if at is not worker]
            return [Event(worker, "lost", "killed")]
        return [Event(worker, "record", {"row": job.row, "state": "done"})]

    def stop(self):
        self.stopped = True


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_row_that_ends_its_workers_is_given_up_and_all_others_are_done(jobs_table, num_workers):
    jobs, _ = the_jobs(jobs_table)
    engine = Losing(jobs[4].row)
    records = {record["row"]: record for record in scheduled(jobs, engine, num_workers)}
    failed = [record for record in records.values() if record["state"] == "failed"]
    assert set(records) == {job.row for job in jobs} and len(failed) == 1
    assert failed[0]["row"] == jobs[4].row and f"{TRIES} workers were lost" in failed[0]["message"]
    assert engine.stopped and engine.most == 2


def test_workers_that_are_lost_as_they_start_end_the_run_in_a_sentence(jobs_table):
    engine = Losing(0, ready=False)
    with pytest.raises(InvertAvatarError, match="lost as they started"):
        list(scheduled(the_jobs(jobs_table)[0], engine, 2))
    assert engine.stopped


def test_a_model_that_cannot_be_loaded_ends_the_run_in_a_sentence(jobs_table, tmp_path):
    engine = LocalEngine(Settings(str(tmp_path), str(tmp_path / "none"), "cpu"))
    with pytest.raises(InvertAvatarError, match="Cannot load the model"):
        list(scheduled(the_jobs(jobs_table)[0], engine, 1))


def test_csv_json_lines_and_parquet_tables_hold_the_same_rows(tmp_path):
    rows = [{"id": "a", "photos": "1.jpg;2.jpg", "yaw": "5"}, {"id": "b", "photos": "3.jpg"}]
    (tmp_path / "t.csv").write_text("id,photos,yaw\na,1.jpg;2.jpg,5\nb,3.jpg,\n")
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        assert [row for _, row in read_table(str(tmp_path / f"t.{suffix}"))] == rows
        assert list(read_table(f"file://{tmp_path}/t.{suffix}"))[1] == (2, rows[1])


def test_a_line_that_is_no_row_is_a_sentence_and_those_after_it_are_read(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"id": \n["a"]\n{"id": "b"}\n')
    rows = [row for _, row in read_table(str(tmp_path / "t.jsonl"))]
    assert rows[0].startswith("It is not JSON") and rows[1].startswith("It is no JSON object")
    assert rows[2] == {"id": "b"}
    (tmp_path / "t.csv").write_text("id,photos\na,b.jpg,c.jpg\n")
    assert "1 cells more" in next(read_table(str(tmp_path / "t.csv")))[1]


@pytest.mark.parametrize(
    ("name", "text", "phrase"),
    [
        ("jobs.txt", "", "end its name in .csv"),
        ("jobs.csv", "id,photo\na,b.jpg\n", "has a column photo that means nothing here"),
        ("jobs.csv", "id,photos\n", "has no rows"),
        ("jobs.parquet", "id", "no Parquet file"),
    ],
)
def test_a_table_that_cannot_be_meant_ends_in_a_sentence(tmp_path, name, text, phrase):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvertAvatarError, match=phrase):
        program.read_jobs(str(tmp_path / name), {}, only_avatars=False)


def test_results_at_an_address_are_read_back_and_replaced_whole(tmp_path):
    import fsspec

    results, made = Results("memory://batch-results"), tmp_path / "made"
    (made / "frames").mkdir(parents=True)
    (made / "frames" / "old.png").write_bytes(b"1")
    assert results.record("a") is None
    results.publish(made, "a", {"row": 1})
    (made / "frames" / "old.png").rename(made / "frames" / "new.png")
    results.publish(made, "a", {"row": 2})
    results.write_manifest([{"row": 2, "id": "a", "state": "done"}])
    assert results.record("a") == {"row": 2} and results.holds_some()
    files = fsspec.filesystem("memory")
    assert {path.rsplit("/", 1)[1] for path in files.find("/batch-results")} == {"new.png", "result.json", MANIFEST}
