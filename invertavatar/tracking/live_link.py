"""Live Link Face's own table, written: what Unreal, Blender add-ons and `score_tables` read.

Shapes: T frames; 52 expression axes in the order of `ARKIT_NAMES`.
"""

import csv
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.motion_io import writing
from invertavatar.tracking.table_times import TIMECODE_BASES

TURNS = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
HEADER = ("Timecode", "BlendshapeCount", *(name[0].upper() + name[1:] for name in ARKIT_NAMES), *TURNS)
# Radians for a score of 1, as in public recordings of the app: positive to the person's right and down. There the
# angles called left go with the scores of the right eye, and the other way round.
EYE_YAW, EYE_DOWN, EYE_UP = 0.6, 0.61, 0.46


def write_live_link(path: Path, rotation: np.ndarray, expression: np.ndarray, found: np.ndarray, fps: Fraction) -> None:
    """Writes a table of scores; see `Motion.save`.

    Args:
        path: Where to.
        rotation: [T, 3, 3] head -> camera.
        expression: [T, 52].
        found: [T] bool; a frame without a face becomes a row without scores, as the app writes it.
        fps: Frames per second.

    Raises:
        MotionError: No frame shows a face, or the file cannot be written.
    """
    if not found.any():
        raise MotionError(f"No frame of this motion shows a face, so there is nothing to write to {path.name}.")
    yaw, pitch, roll = Rotation.from_matrix(rotation).as_euler("YXZ").T  # the inverse of `score_tables`
    turns = np.concatenate([np.stack([yaw, -pitch, roll], -1), _gaze(expression)], -1)  # [T, 9]
    values = np.concatenate([expression, turns], -1)
    with writing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for code, seen, row in zip(_timecodes(len(values), fps), found, values, strict=True):
            writer.writerow([code, len(row), *(f"{value:.10f}" for value in row)] if seen else [code, 0])


def _gaze(expression: np.ndarray) -> np.ndarray:
    """[T, 52] -> [T, 6] yaw, pitch and roll of what the app calls left and right eye."""

    def score(name: str, side: str) -> np.ndarray:
        return expression[:, ARKIT_NAMES.index(f"eyeLook{name}{side}")]

    angles = []
    for side, out in (("Right", 1), ("Left", -1)):
        angles.append(EYE_YAW * out * (score("Out", side) - score("In", side)))
        angles.append(EYE_DOWN * score("Down", side) - EYE_UP * score("Up", side))
        angles.append(np.zeros(len(expression)))
    return np.stack(angles, -1)


def _timecodes(count: int, fps: Fraction) -> list[str]:
    """`HH:MM:SS:FF.sss`, the first one frame before a full second: so a reader sees at once what FF counts up to."""
    base = next((base for base in TIMECODE_BASES if base >= fps), 1000)
    start = math.ceil(1 / fps) - 1 / fps
    codes = []
    for i in range(count):
        seconds, thousandths = divmod(round((start + i / fps) * base * 1000), base * 1000)
        minutes, frames = seconds // 60, thousandths / 1000
        codes.append(f"{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds % 60:02}:{frames:06.3f}")
    return codes
