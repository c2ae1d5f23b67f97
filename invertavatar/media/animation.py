"""Animated pictures in: GIF, WebP, PNG and AVIF of several frames, each with its own duration.

Shapes: H W picture.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from ..errors import MediaError
from .kinds import PICTURE_FORMATS
from .stills import to_rgb

ORIENTATION = Base.Orientation
SHORTEST = Fraction(1, 100)  # seconds; what claims to be quicker, or states nothing, browsers show for a tenth
USUAL = Fraction(1, 10)
DAMAGE = (OSError, SyntaxError, ValueError, EOFError)  # each codec's word for bad data


def frames_of(path: Path, problems: list[str]) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
    """The frames of an animated picture, composed as they are shown; memory does not grow with their number.

    Args:
        path: Of a file that `kind_of` calls an animation.
        problems: Gets a word when the file ends early.

    Yields:
        Seconds at which the frame appears, seconds it lasts, and the frame [H, W, 3] uint8.
    """
    time = Fraction(0)
    for image, duration in _shown(path, problems):
        try:
            frame = to_rgb(image, path.name)
        except DAMAGE as error:
            problems.append(str(error))
            return
        yield time, duration, frame
        time += duration


def kind_and_size(path: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's name of the format, and width and height in px, without unpacking anything.

    Raises:
        MediaError: The file is damaged.
    """
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            turned = image.getexif().get(ORIENTATION, 1) >= 5
            width, height = image.size
            return (image.format or "").lower(), (height, width) if turned else (width, height)
    except DAMAGE as error:
        raise MediaError(f"{path.name} is damaged or cut off. Copy or download it again.") from error


def durations(path: Path) -> list[Fraction]:
    """Seconds that each frame lasts that can be read."""
    return [duration for _, duration in _shown(path, [])]


def _shown(path: Path, problems: list[str]) -> Iterator[tuple[Image.Image, Fraction]]:
    """The file at each of its frames, with the seconds that the frame lasts."""
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            for k in range(getattr(image, "n_frames", 1)):
                image.seek(k)
                image.load()  # before which WebP does not tell the duration
                duration = Fraction(image.info.get("duration") or 0).limit_denominator(1000) / 1000
                yield image, duration if duration > SHORTEST else USUAL
    except DAMAGE as error:
        problems.append(str(error))
