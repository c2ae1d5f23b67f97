"""Several processes at one task on one machine, as `accelerate launch` or `torchrun` starts them.

The first process finds out what all need and writes the result; all of them render, each a stretch of the frames of its
own. A process that was started alone is a group of one, for which nothing here costs anything.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")
Stream = Callable[[slice], "Iterator[np.ndarray]"]  # renders a stretch of frames [H, W, C] uint8


class ProcessGroup:
    """The processes that work together.

    Args:
        folder: Where they leave things for each other; None for a group of one.
    """

    def __init__(self, folder: Path | None = None):
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        self.folder = folder

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def broadcast(
        self,
        name: str,
        make: Callable[[], Value],
        save: Callable[[Value, Path], object],
        load: Callable[[Path], Value],
    ) -> Value:
        """What the first process makes, in all of them.

        Args:
            name: File or folder for it, used once in a run.
            make: Called in the first process alone.
            save: `save(value, path)`.
            load: `load(path)`; must bring back what was saved bit for bit.
        """
        if self.size == 1:
            return make()
        path = self.folder / name
        if self.is_main_process:
            value = make()
            save(value, path)
        self.wait()
        return value if self.is_main_process else load(path)

    def render(self, name: str, stream: Stream, num_frames: int) -> "Iterator[np.ndarray]":
        """All frames in their order for the first process; the others render their stretch and get none.

        Each process takes a stretch of equal length and keeps it as lossless pictures until the first one reads them.
        """
        if self.size == 1:
            return stream(slice(0, num_frames))
        from PIL import Image

        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        start, stop = (num_frames * rank // self.size for rank in (self.rank, self.rank + 1))
        frames = stream(slice(start, stop)) if start < stop else ()
        for k, frame in enumerate(frames, start):
            Image.fromarray(frame).save(folder / f"{k:08d}.png", compress_level=1)
        self.wait()
        return read_and_remove(folder) if self.is_main_process else iter(())


def read_and_remove(folder: Path) -> "Iterator[np.ndarray]":
    """The pictures of a folder by their names, each deleted once it was read."""
    import numpy as np
    from PIL import Image

    for file in sorted(folder.iterdir()):
        with Image.open(file) as picture:
            frame = np.asarray(picture)
        file.unlink()
        yield frame


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """The group this process belongs to; a folder of its own comes and goes with it.

    Args:
        device: "cpu" where no process shall use another.
    """
    if ProcessGroup().size == 1:
        yield ProcessGroup()
        return
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # A long video keeps the others waiting for hours: while the first tracks, and while it writes.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=7))
    with tempfile.TemporaryDirectory(prefix="invertavatar-") as own:
        shared = [own]
        broadcast_object_list(shared)  # the first process' folder
        group = ProcessGroup(Path(shared[0]))
        yield group
        group.wait()
    state.destroy_process_group()
