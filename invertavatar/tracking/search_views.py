"""Where a face is looked for in a picture: views of all of it, then of its parts."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .crop import framing

OVERVIEW_SIZE = 640  # longest side of the view of a whole picture
TILE_SIZE = 320  # of the view of a part
MIN_TILE = 256  # pixels of the picture: smaller tiles would find faces too small to use


class View(NamedTuple):
    """A part of a picture, at the size in which it is looked at."""

    transform: np.ndarray  # [2, 3] picture -> view
    size: tuple[int, int]  # width, height


def search_views(width: int, height: int, thorough: bool) -> Iterator[list[View]]:
    """Where to look for faces, in the order of hope; the cheap ones only unless `thorough`."""
    longest = max(width, height)
    scale = min(1, OVERVIEW_SIZE / longest)
    yield [View(scale * np.eye(2, 3), (max(1, round(width * scale)), max(1, round(height * scale))))]
    # A border helps with a face that fills the picture or is cut off by it.
    middle = np.array([width, height]) / 2
    yield [_square(middle, longest * 0.9)]
    if not thorough:
        return
    # An upside-down head; one that lies on its side is seen above already, and surer here.
    for roll in (180.0, 90.0, -90.0):
        yield [_square(middle, longest * 0.6, roll)]
    # Tiles that overlap by half, for a face that is small in its picture.
    for parts in (2, 4, 8):
        half_tile = longest / parts / 2
        if 2 * half_tile < MIN_TILE:
            break
        columns, rows = (np.arange(half_tile, max(side, half_tile + 1), half_tile) for side in (width, height))
        yield [_square(np.array([x, y]), half_tile) for y in rows for x in columns]


def _square(centre: np.ndarray, half_side: float, roll: float = 0.0) -> View:
    return View(framing(centre, half_side, TILE_SIZE, roll), (TILE_SIZE, TILE_SIZE))
