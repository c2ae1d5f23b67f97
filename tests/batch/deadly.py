"""A job that ends the process which does it."""

import os
import signal
from dataclasses import dataclass

from invertavatar.batch.job import Job


@dataclass(frozen=True)
class Deadly(Job):
    """Looking at its photos, as whoever does a job must, is the end; it can be sent and counted."""

    def __getattribute__(self, name: str):
        if name == "photos":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getattribute__(name)
