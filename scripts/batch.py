"""Many at once: a table of jobs in, a folder of movies or avatars and a manifest out."""

import functools
import inspect
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.animate import BACKGROUNDS, animate, check_speech
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import CommonOptions

if TYPE_CHECKING:
    from invertavatar.batch.job import Job, Settings
    from invertavatar.batch.results import Results

DRIVERS = ("driver", "driving", "motion")  # three names of one column
FILES = ("avatar", "speech", "audio", "into")
OF_THE_RUN = ("output", "save_avatar", "save_motion", "model", "device", "overwrite", "quiet", "debug")
OPTIONS = tuple(
    name for name in inspect.signature(animate).parameters if name not in ("photos", *DRIVERS, *FILES, *OF_THE_RUN)
)
COLUMNS = ("id", "photos", *DRIVERS, *FILES, *OPTIONS)
SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")  # a folder's name on every system


class BadRowError(Exception):
    """What is wrong with a row, in a sentence."""


@dataclass(frozen=True)
class ResultOptions:
    """What is written of each job."""

    sample_avatars: Annotated[
        bool,
        typer.Option("--sample-avatars", help="Write only avatars; a row without photos is a person from the prior."),
    ] = False
    save_avatars: Annotated[bool, typer.Option("--save-avatars", help="Write each avatar beside its movie.")] = False
    kind: Annotated[
        Literal["mp4", "mov", "webm", "gif", "webp", "png"], typer.Option(help="Of the movies; png is a folder.")
    ] = "mp4"
    similarity: Annotated[
        bool, typer.Option("--similarity/--no-similarity", help="Compare each avatar with its photos.")
    ] = True


@dataclass(frozen=True)
class WorkerOptions:
    """Who does the work."""

    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes, each with a model; as many as cores or GPUs by default.")
    ] = None
    cores: Annotated[float, typer.Option(min=0.1, help="CPU cores for each worker.")] = 1.0
    gpus: Annotated[
        float | None, typer.Option(min=0.0, help="GPUs for each worker; 0.25 lets four share one.", show_default=False)
    ] = None
    address: Annotated[
        str | None,
        typer.Option(help='Ray cluster: "auto", its address, or "local" to start Ray here.', show_default=False),
    ] = None


@flattened
def batch(
    table: Annotated[str, typer.Argument(help="Jobs: .csv, .jsonl or .parquet; a path or an address (s3://...).")],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or address of the results.")],
    *,
    wanted: ResultOptions,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE for rows without a cell in that column; repeat it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what is done, go on with the rest.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-y", help="Replace earlier results.")] = False,
    crew: WorkerOptions,
    common: CommonOptions,
) -> None:
    """Make many avatars and movies from a table of jobs.

    Example: invertavatar batch jobs.csv -o results/ --set size=256

    Columns: id; photos (with ; between, or a list) or avatar; driver, motion or speech;
    audio, into and the other options of animate by their names: size, region, yaw...
    Paths start at the table's folder.

    Results appear whole as folder/ID/; manifest.parquet has a row for each row,
    failed ones with the reason. After a crash or Ctrl-C, --resume goes on.
    """
    if resume and overwrite:
        raise typer.TyperException("--resume keeps earlier results and --overwrite replaces them; give one of them.")
    if wanted.sample_avatars and wanted.save_avatars:
        raise typer.TyperException("--sample-avatars writes avatars and no movies; leave --save-avatars out.")
    general = dict(item.partition("=")[::2] for item in set_ or [])
    for name in general:
        if name not in OPTIONS:
            raise typer.TyperException(f"--set {name}: there is no such option; there are {', '.join(OPTIONS)}.")

    with error_sentences(common.debug, common.quiet):
        from tqdm import tqdm

        check_packages()
        from invertavatar.batch.job import Settings
        from invertavatar.batch.results import Results

        jobs, records = read_jobs(table, general, wanted.sample_avatars)
        results = Results(output)
        if not (resume or overwrite) and results.holds_some():
            raise typer.TyperException(f"{output} holds earlier results: --resume goes on, --overwrite replaces them.")
        settings = Settings(
            folder=output if "://" in output else os.path.abspath(output),
            model=os.path.abspath(common.model) if common.model and os.path.isdir(common.model) else common.model,
            device=common.device,
            threads=max(1, int(crew.cores)),
            kind=wanted.kind,
            avatars="only" if wanted.sample_avatars else "with" if wanted.save_avatars else "none",
            similarity=wanted.similarity,
        )
        if resume:
            records, jobs = (
                records | (done := finished(jobs, settings, results)),
                [j for j in jobs if j.row not in done],
            )
            say(common.quiet, f"{len(done)} jobs are done already.")
        bad = sum(record["state"] == "failed" for record in records.values())
        waiting = {job.row: {"row": job.row, "id": job.id, "state": "waiting"} for job in jobs}
        started = time.perf_counter()
        try:
            if jobs:
                made = worked(jobs, settings, crew.address, crew.workers, crew.cores, crew.gpus)
                with closing(made), tqdm(total=len(jobs), unit="job", disable=common.quiet, smoothing=0.05) as bar:
                    for record in made:
                        records[record["row"]] = record
                        bad += record["state"] == "failed"
                        bar.set_postfix(failed=bad, refresh=False)
                        bar.update()
        finally:
            results.clear_unfinished()
            results.write_manifest((waiting | records).values())
            results.clear_unfinished()
        seconds = time.perf_counter() - started
        rate = f", {len(jobs) / seconds * 3600:.0f} jobs an hour" if jobs else ""
        say(
            common.quiet,
            f"{output}: {len(records) - bad} done, {bad} failed (see manifest.parquet); {seconds:.0f} s{rate}",
        )


def check_packages() -> None:
    """Refuse to begin without what tables and manifests need.

    Raises:
        InvertAvatarError: It is not installed.
    """
    from invertavatar.errors import InvertAvatarError

    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InvertAvatarError('batch needs pyarrow: pip install "invertavatar[batch]".') from error


def read_jobs(table: str, general: dict[str, str], only_avatars: bool) -> "tuple[list[Job], dict[int, dict]]":
    """The jobs of a table, and a record for each row that is none, by the number of its row.

    Args:
        table: Path or address.
        general: Options for rows without a cell.
        only_avatars: No movies, so that a row needs no driver.

    Raises:
        InvertAvatarError: The table cannot be read or has a column that means nothing.
    """
    from invertavatar.batch.table import read_table
    from invertavatar.errors import InvertAvatarError

    jobs, records, rows_of = [], {}, {}
    for number, row in read_table(table):
        name = None
        try:
            if isinstance(row, str):
                raise BadRowError(row)
            if unknown := [column for column in row if column not in COLUMNS]:
                raise InvertAvatarError(
                    f"{table} has a column {unknown[0]} that means nothing here; there are {', '.join(COLUMNS)}."
                )
            name = str(row.get("id", "")) or None
            job = job_of(number, table, general | row, only_avatars)
            if job.id.lower() in rows_of:  # some file systems do not tell capitals
                raise BadRowError(f"Row {rows_of[job.id.lower()]} has the id {job.id} too; each row needs its own.")
            rows_of[job.id.lower()] = number
            jobs.append(job)
        except BadRowError as error:
            records[number] = {"row": number, "id": name, "state": "failed", "message": str(error), "warnings": []}
    if not jobs and not records:
        raise InvertAvatarError(f"{table} has no rows.")
    return jobs, records


def job_of(number: int, table: str, row: dict, only_avatars: bool) -> "Job":
    """A row as a job.

    Raises:
        BadRowError: With the sentence that says why it is none.
    """
    from invertavatar.batch.job import Job
    from invertavatar.batch.table import beside
    from invertavatar.errors import InvertAvatarError
    from invertavatar.scripts.console import check_neutral

    name = str(row.get("id", ""))
    if not ID.fullmatch(name) or name.endswith("."):
        raise BadRowError(f'The id "{name[:40]}" names no folder: letters, digits, . _ - and no more than 200 of them.')
    photos = row.get("photos", [])
    photos = photos if isinstance(photos, list) else [part.strip() for part in str(photos).split(";") if part.strip()]
    files = {column: str(row[column]) for column in FILES if column in row}
    drivers = [str(row[column]) for column in DRIVERS if column in row]
    if bool(photos) == ("avatar" in files) and not (only_avatars and not photos and "avatar" not in files):
        raise BadRowError("It needs either photos or an avatar.")
    if len(drivers) > 1:
        raise BadRowError("It has more than one of driver, driving and motion; leave one.")
    if not drivers and "speech" not in files and not only_avatars:
        raise BadRowError("It needs a driver, a motion or a speech.")
    if files.get("into") == "photo" and not photos:
        raise BadRowError("Its into is photo, which means the first of the photos, and it has none.")
    given = tuple(sorted((column, str(row[column])) for column in OPTIONS if column in row))
    options = options_of(given)
    try:
        check_neutral(options["neutral_frame"])
        check_speech("speech" in files, drivers, options["region"], options["neutral_frame"])
    except (InvertAvatarError, typer.TyperException) as error:
        raise BadRowError(str(error)) from error
    if options["background"] not in BACKGROUNDS and not options["background"].startswith("#"):
        options = options | {"background": beside(table, options["background"])}
    files = {column: at if (column, at) == ("into", "photo") else beside(table, at) for column, at in files.items()}
    return Job(
        row=number,
        id=name,
        photos=tuple(beside(table, str(photo)) for photo in photos),
        driver=beside(table, drivers[0]) if drivers else None,
        options=options,
        **files,
    )


@functools.cache
def options_of(given: tuple[tuple[str, str], ...]) -> dict:
    """All options of `animate`, checked as it checks them, where some are given as text.

    Raises:
        BadRowError: One is out of its range.
    """
    arguments, switched = [], {}
    for name, text in given:
        if isinstance(inspect.signature(animate).parameters[name].default, bool):
            if text.lower() not in SWITCHES:
                raise BadRowError(f'Its {name} is "{text}"; write true or false.')
            switched[name] = SWITCHES[text.lower()]
        else:
            arguments.append(f"--{name.replace('_', '-')}={text}")
    app = new_app()
    app.command()(animate)
    try:
        values = typer.main.get_command(app).make_context("animate", arguments).params
    except typer.TyperException as error:
        raise BadRowError(re.sub(r"'--([\w-]+)'", r"its \1", error.format_message())) from error
    return {name: values[name] for name in OPTIONS} | switched


def finished(jobs: "list[Job]", settings: "Settings", results: "Results") -> dict[int, dict]:
    """The records of those jobs that an earlier run has done just as this one would, by row."""
    from invertavatar.batch.job import fingerprint

    return {
        job.row: record | {"row": job.row}
        for job, record in zip(jobs, results.records([job.id for job in jobs]), strict=True)
        if record and record.get("fingerprint") == fingerprint(job, settings)
    }


def worked(
    jobs: "list[Job]",
    settings: "Settings",
    address: str | None,
    workers: int | None,
    cores: float,
    gpus: float | None,
) -> Iterator[dict]:
    """What became of each job, as they are done by processes of this machine, or by Ray where there is an address.

    Raises:
        InvertAvatarError: There is no such cluster, or workers cannot begin.
    """
    if address:
        from invertavatar.batch.cluster import on_ray

        return on_ray(jobs, settings, address, workers, cores, gpus)
    from invertavatar.batch.local import LocalEngine
    from invertavatar.batch.scheduler import scheduled
    from invertavatar.runtime.devices import best_device

    device, cards = best_device() if settings.device == "auto" else settings.device, None
    room = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = 1 if device == "mps" else max(1, int(room / cores))
    if device == "cuda":
        import torch

        cards = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
        count = max(1, int(len(cards) / (gpus or 1)))
    return scheduled(jobs, LocalEngine(settings, cards), min(workers or count, len(jobs)))


def say(quiet: bool, sentence: str) -> None:
    """Print a line unless there shall be none."""
    if not quiet:
        print(sentence)


if __name__ == "__main__":
    app = new_app()
    app.command()(batch)
    run(app)
