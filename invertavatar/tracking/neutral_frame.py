"""Which frame of a driver is neutral: a number or a time that a user gives."""

import operator
from fractions import Fraction
from typing import Any

from ..errors import MotionError
from .motion_io import MAX_FRAMES
from .table_times import seconds_of


def check_neutral_frame(frame: int | float | str, fps: float | Fraction = 25) -> int:
    """The number of the frame that is named by number or time; call it before a long video is tracked for nothing.

    Raises:
        MotionError: It is neither.
    """
    text = str(frame).strip()
    try:
        counted: Any = int(text) if isinstance(frame, str) else frame
        number = operator.index(counted)
    except (TypeError, ValueError):
        number = None
    try:
        seconds = float(text.replace(",", "."))
    except ValueError:
        seconds = seconds_of(text)
    index = number if number is not None or seconds is None else seconds * float(fps) + 1e-6
    if index is None or not 0 <= index < MAX_FRAMES:
        raise MotionError(
            f"The neutral frame is a number from 0, such as 12, or a time, such as 0.5s or 0:01.5; {text[:40]} is "
            "neither."
        )
    return int(index)
