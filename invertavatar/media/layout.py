"""Pictures put together for people to look at.

Shapes: H W picture, C channels (3 RGB, 4 RGBA).
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import MediaError
from .stills import over_grey

PAPER, INK = (255, 255, 255), (32, 32, 32)


def side_by_side(*pictures: np.ndarray, height: int | None = None) -> np.ndarray:
    """Joins pictures from left to right, each brought to one height with its own aspect kept.

    Args:
        *pictures: Each [H, W, 3] or [H, W, 4] uint8; when any has alpha, so has the result.
        height: In px; that of the first picture by default.

    Returns:
        [height, sum of widths, C] uint8.

    Raises:
        MediaError: No picture was given.
    """
    if not pictures:
        raise MediaError("No picture was given to put side by side. Give at least one.")
    rows: int = height or pictures[0].shape[0]
    mode = "RGBA" if any(picture.shape[2] == 4 for picture in pictures) else "RGB"
    columns = []
    for picture in pictures:
        image = Image.fromarray(picture).convert(mode)
        width = max(1, round(image.width * rows / image.height))
        columns.append(np.asarray(image.resize((width, rows), Image.Resampling.LANCZOS)))
    return np.concatenate(columns, axis=1)


def contact_sheet(
    pictures: Sequence[np.ndarray], columns: int, labels: Sequence[str] | None = None, size: int = 256
) -> np.ndarray:
    """Lays pictures out row by row on white, each inside a square, with its label under it.

    Args:
        pictures: Each [H, W, 3] or [H, W, 4] uint8, of any sizes; what is transparent shows mid grey.
        columns: Pictures in a row.
        labels: One for each picture, "" for none. Without labels there is no room left for them.
        size: Side of a square in px.

    Returns:
        [H, columns * size, 3] uint8.

    Raises:
        MediaError: No picture, or another number of labels than of pictures.
    """
    if not pictures:
        raise MediaError("No picture was given for the contact sheet. Give at least one.")
    if labels is not None and len(labels) != len(pictures):
        raise MediaError(f"There are {len(labels)} labels for {len(pictures)} pictures. Give one for each.")
    font = ImageFont.load_default(size=max(10, size // 16))
    line = 2 * max(10, size // 16) if labels is not None else 0
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + line)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for k, picture in enumerate(pictures):
        image = Image.fromarray(over_grey(picture) if picture.shape[2] == 4 else picture)
        left, top = k % columns * size, k // columns * (size + line)
        sheet.paste(ImageOps.pad(image, (size, size), Image.Resampling.LANCZOS, color=PAPER), (left, top))
        if labels is not None:
            draw.text((left + size / 2, top + size + line / 2), labels[k], INK, font, anchor="mm")
    return np.array(sheet)
