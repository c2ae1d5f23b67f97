"""Hands jobs to workers and takes back what became of them; a lost worker's jobs go to others.

No more than two jobs are with a worker at a time, one being rendered and one being prepared, so that nothing piles up.
A job whose worker was lost is the only one with the next, so that only what ends workers is blamed for it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

from ..errors import InvertAvatarError
from .job import Job

AT_A_WORKER = 2
TRIES = 3  # for a job whose worker is lost
FALSE_STARTS = 3  # workers in a row that are lost before they are ready

Worker = Any


class Event(NamedTuple):
    """What has happened at a worker."""

    worker: Worker
    kind: Literal["ready", "record", "refused", "lost"]
    value: Any = None  # the record; the sentence of what was refused; how a worker was lost


class Engine(Protocol):
    """Where workers live."""

    def start(self) -> Worker:
        """A new worker, which loads its model."""

    def submit(self, worker: Worker, job: Job) -> None:
        """Give a worker one job more."""

    def wait(self) -> list[Event]:
        """What has happened, as soon as something has."""
        ...

    def stop(self) -> None:
        """End all workers at once, whatever they do."""


def scheduled(jobs: Iterable[Job], engine: Engine, num_workers: int) -> Iterator[dict]:
    """What became of each job, as they are done; one record for each.

    Args:
        jobs: Read no further than workers need.
        engine: Is stopped at the end, also where this is closed half-way.
        num_workers: As many are kept alive while there is work for them.

    Raises:
        InvertAvatarError: No worker can load the model, or workers are lost as they start.
    """
    source, again = iter(jobs), deque()
    busy: dict[Worker, dict[int, Job]] = {}  # by the number of the row
    lost: dict[int, int] = {}  # how often a row's worker was lost
    false_starts, ready = 0, set()
    try:
        while True:
            for worker, alone in _round(busy, lost):
                if (job := again.popleft() if again and alone else next(source, None)) is None:
                    break
                busy[worker][job.row] = job
                engine.submit(worker, job)
            while len(busy) < num_workers and (job := again.popleft() if again else next(source, None)):
                worker = engine.start()
                busy[worker] = {job.row: job}
                engine.submit(worker, job)
            if not any(busy.values()):
                return
            for worker, kind, value in engine.wait():
                if kind == "refused":
                    raise InvertAvatarError(value)
                if kind == "ready":
                    ready.add(worker)
                    false_starts = 0
                elif kind == "record":
                    busy[worker].pop(value["row"])
                    yield value
                else:
                    false_starts += worker not in ready
                    if false_starts == FALSE_STARTS:
                        raise lost_as_they_started(f" ({value})")
                    for row, job in busy.pop(worker).items():
                        lost[row] = lost.get(row, 0) + (worker in ready)
                        if lost[row] < TRIES:
                            again.append(job)
                        else:
                            yield given_up(job, f" ({value})")
    finally:
        engine.stop()


def _round(busy: dict[Worker, dict[int, Job]], lost: dict[int, int]) -> Iterator[tuple[Worker, bool]]:
    """Workers with room for a job, one place of each after the other; whether a job would be alone with it."""
    for place in range(AT_A_WORKER):
        for worker in [worker for worker, jobs in busy.items() if len(jobs) == place and not lost.keys() & jobs.keys()]:
            yield worker, place == 0


def given_up(job: Job, how: str = "") -> dict:
    """The record of a job whose workers were lost too often; how the last one was, where that is known."""
    message = f"{TRIES} workers were lost while they had it{how}: too little memory, or a file that ends them."
    return {"row": job.row, "id": job.id, "state": "failed", "message": message, "warnings": []}


def lost_as_they_started(how: str = "") -> InvertAvatarError:
    """What ends the run where workers are lost before they are ready; how the last one was, where that is known."""
    return InvertAvatarError(
        f"{FALSE_STARTS} workers in a row were lost as they started{how}: is there too little memory for so many? Take "
        "fewer --workers."
    )
