"""How far a job is: a job is a generator of reports, which stops where it stands when nobody asks for the next."""

import math
from collections.abc import Generator, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from ..tracking.motion import Motion

NEWS = 0.4  # seconds between two reports

Result = TypeVar("Result")


class Report(NamedTuple):
    """How far a job is."""

    text: str
    fraction: float  # 0..1
    frame: np.ndarray | None = None  # [S, S, C] uint8, the latest
    motion: Motion | None = None  # of a driver's first moment and of the frame that was read last


class Job(Generic[Result]):
    """The reports of a job to iterate over, and afterwards its `result`."""

    result: Result

    def __init__(self, steps: Generator[Report, None, Result]):
        self.steps = steps

    def __iter__(self) -> Iterator[Report]:
        self.result = yield from self.steps


def time_left(seconds: float) -> str:
    """`about 1 min 20 s left`."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"about {minutes} min {seconds} s left" if minutes else f"about {seconds} s left"
