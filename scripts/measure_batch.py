"""Measure what a batch costs: jobs an hour, CPU time and memory, on local processes and on Ray workers.

CPU time is that of all processes, workers and engine, so that a busy machine tells the same as a quiet one; what starts
up is left out: counting begins when as many jobs are done as two for each worker. Each worker has prepared one job
ahead by then, so that with few jobs tracking counts for less than it should. Ray's workers have the priority that
processes have (`RAY_worker_niceness`; 15 by default, which leaves them what nobody else on the machine takes).
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.batch import read_jobs, worked
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import ModelOptions

if TYPE_CHECKING:
    from invertavatar.batch.job import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"
PEOPLE, CLIPS = ("anna", "ben", "clara", "dan", "eva", "finn"), ("talk_a", "talk_b")


@flattened
def main(
    jobs: Annotated[int, typer.Option(min=1, help="How many, besides those that warm the workers up.")] = 12,
    frames: Annotated[int, typer.Option(min=1, help="Of each movie.")] = 10,
    size: Annotated[int, typer.Option(min=64, help="Of each movie, px.")] = 256,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    gpus: Annotated[float | None, typer.Option(min=0.0, help="Of each worker.")] = None,
    engines: Annotated[str, typer.Option(help="Of local and ray, with commas.")] = "local,ray",
    similarity: Annotated[bool, typer.Option("--similarity/--no-similarity")] = True,
    *,
    common: ModelOptions,
) -> None:
    """Run the same jobs on each engine and print what they took."""
    from invertavatar.batch.job import Settings

    warm = 2 * workers
    with error_sentences(), tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "jobs.jsonl")
        rows = (
            {
                "id": f"job_{k}",
                "photos": [str(EXAMPLES / f"{PEOPLE[k % 6]}_{1 + k // 6 % 4}.jpg")],
                "driver": str(EXAMPLES / f"{CLIPS[k % 2]}.mp4"),
                "max_frames": frames,
                "size": size,
            }
            for k in range(jobs + warm)
        )
        table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        spent = {}
        for engine in engines.split(","):
            settings = Settings(f"{folder}/{engine}", common.model, common.device, similarity=similarity)
            spent[engine] = measured(table, settings, engine, workers, warm, gpus)
        if len(spent) == 2:
            print(f"overhead of ray in CPU time: {100 * (spent['ray'] / spent['local'] - 1):+.1f} %")


def measured(table: Path, settings: "Settings", name: str, workers: int, warm: int, gpus: float | None) -> float:
    """CPU seconds for each job by one engine; prints them and the rest."""
    todo, _ = read_jobs(str(table), {}, only_avatars=False)
    made = worked(todo, settings, "local" if name == "ray" else None, workers, 1.0, gpus)
    frames, begun, memory = 0, None, {}
    for done, record in enumerate(made, 1):
        if record["state"] != "done":
            sys.exit(record["message"])
        process = int(record["worker"].rsplit(":", 1)[1])
        memory.setdefault(process, []).append(resident(process))
        if done == warm:
            begun = time.perf_counter(), cpu_seconds()
        elif done > warm:
            frames += record["frames"]
            ended = time.perf_counter(), cpu_seconds()
    wall = ended[0] - begun[0]
    cpu = sum(seconds - begun[1].get(process, 0.0) for process, seconds in ended[1].items())
    count = len(todo) - warm
    grown = ", ".join(" -> ".join(f"{sizes[k]:.0f}" for k in (0, len(sizes) // 2, -1)) for sizes in memory.values())
    print(
        f"{name}: {count} jobs of {frames // count} frames on {workers} workers: {count / wall * 3600:.0f} an hour; "
        f"CPU time {cpu / count:.2f} s a job, busy cores {cpu / wall:.2f}; MB of each worker {grown}",
        flush=True,
    )
    return cpu / count


def cpu_seconds() -> dict[int, float]:
    """Of this process and all below it, by their numbers; one may end before it is looked at again."""
    import psutil

    here, spent = psutil.Process(), {}
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent[process.pid] = times.user + times.system
    return spent


def resident(process: int) -> float:
    """Memory of a process, MB."""
    import psutil

    return psutil.Process(process).memory_info().rss / 1e6 if psutil.pid_exists(process) else float("nan")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")
    app = new_app()
    app.command()(main)
    run(app)
