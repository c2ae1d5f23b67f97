"""Parts of a frame whose size depends on what it shows, given a size beforehand.

A GPU can record the kernels of a frame and replay them at a fraction of the cost, but only if each has the same size
every time and the host never looks at a result in between. Within `fixed_sizes` the renderer keeps to that: what has
no room is left out, and said by `FixedSizes.short`, so that the frame can be rendered again without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

CANDIDATES = 32  # per triangle, beside one for each pixel of the picture: see `FixedSizes.candidates`


@dataclass
class FixedSizes:
    """How much room there is.

    Attributes:
        scale: Multiplies the places for candidates of the rasterizer.
        photos: That a frame looks up.
    """

    scale: int = 1
    photos: int = 2
    _lacking: list[Tensor] = field(default_factory=list)

    def candidates(self, batch: int, triangles: int, pixels: int) -> int:
        """Places for pixels of bounding boxes in a batch of pictures; a head that fills a picture takes 0.7 to 3 for
        each pixel, the more the smaller the picture.
        """
        return self.scale * batch * (CANDIDATES * triangles + pixels)

    def need(self, short: Tensor) -> None:
        """Note that there was too little room where the boolean `short` [] is true."""
        self._lacking.append(short)

    def short(self) -> Tensor | None:
        """[] bool: whether anything had too little room; None where nothing asked for any."""
        return torch.stack(self._lacking).any() if self._lacking else None

    def emptied(self) -> "FixedSizes":
        """The same room, for which nothing has asked yet."""
        return replace(self, _lacking=[])

    def doubled(self) -> "FixedSizes":
        """Twice the room."""
        return FixedSizes(2 * self.scale, 2 * self.photos)


_current: ContextVar[FixedSizes | None] = ContextVar("fixed sizes", default=None)


def current_sizes() -> FixedSizes | None:
    """Those to keep to; None where sizes may depend on what is rendered."""
    return _current.get()


@contextmanager
def fixed_sizes(sizes: FixedSizes) -> Iterator[FixedSizes]:
    """Keep to these sizes in this thread within the block."""
    token = _current.set(sizes)
    try:
        yield sizes
    finally:
        _current.reset(token)
