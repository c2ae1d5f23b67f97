"""Which column of a table moves what: ARKit's scores in the spellings of many programs, the head's angles, times.

`eyeBlinkLeft`, `EyeBlinkLeft`, `eyeBlink_L`, `eye_blink_left`, `L_eyeBlink`, `blendShapes.EyeBlinkLeft` and
`anna_eyeBlinkLeft` are one axis.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES

logger = logging.getLogger(__name__)

ANGLES = ("yaw", "pitch", "roll")  # degrees, signs of `camera.py`
HEAD_ANGLES = ("headyaw", "headpitch", "headroll")  # radians, Live Link Face
# Live Link Face repeats the gaze as angles; the eyeLook scores already say it.
EYE_ANGLES = tuple(f"{side}eye{angle}" for side in ("left", "right") for angle in ANGLES)
RATE_COLUMNS = ("fps", "framerate", "exportfps", "framespersecond")
COUNTS = ("blendshapecount",)
# The first of these that a table has is its time; the others say the same once more.
TIMES = ("time", "timestamp", "timestamps", "datetime", "elapsed", "elapsedtime", "t", "", "epoch", "unixtime")
TIMES += ("timecode", "tc", "smpte")
FRAME_COLUMNS = ("frame", "frames", "frameindex", "framenumber", "framenum", "frameno", "frameid", "index")

SECONDS = {  # words for units of time
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"), 1e-9),
}
DEGREES = {"deg": True, "degree": True, "degrees": True, "rad": False, "radian": False, "radians": False}
FILLERS = {"weight", "weights", "value", "score", "coefficient"}  # after a name, without a meaning of their own

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
HARD_SEPARATORS = ".|:/\\"  # before them stands the object that a score belongs to


class Columns(NamedTuple):
    """Where a table says what.

    Attributes:
        index: Of each column that is used, by its name here: an ARKit name, `yaw`, `headyaw`..., `time`, `frame`,
            `fps` or `blendshapecount`.
        seconds: What a unit of `time` is in seconds, or None where the name does not tell.
        degrees: For the angles whose name tells: whether they are degrees, else radians.
    """

    index: dict[str, int]
    seconds: float | None
    degrees: dict[str, bool]


def find_columns(name: str, header: Sequence[str]) -> Columns:
    """What each column of a table means; one warning names those that mean nothing here.

    Args:
        name: What messages call the table.
        header: The names of its columns.

    Raises:
        MotionError: No column moves a head, or two are the same.
    """
    index, degrees, ignored = {}, {}, set()
    times: dict[str, tuple[int, float | None]] = {}

    def take(key: str, column: int) -> None:
        if key in index:
            raise MotionError(f"{name} has the column {header[column]} twice; remove one.")
        index[key] = column

    for column, title in enumerate(header):
        words = _words(title)
        key = "".join(words)
        unit = SECONDS.get(words[-1]) if words else None
        base = key[: -len(words[-1])] if unit else key
        if not words or key.endswith(EYE_ANGLES):
            ignored.add(column)
        elif angle := _angle(words):
            take(angle[0], column)
            if angle[1] is not None:
                degrees[angle[0]] = angle[1]
        elif key in RATE_COLUMNS + COUNTS:
            take("fps" if key in RATE_COLUMNS else key, column)
        elif key in TIMES or (unit and base in TIMES):
            times.setdefault(base if unit else key, (column, unit))
        elif key in FRAME_COLUMNS and "frame" not in index:
            take("frame", column)
    for axis, column in _scores(name, header):
        take(axis, column)
    if not index.keys() & set(ARKIT_NAMES + ANGLES + HEAD_ANGLES):
        raise MotionError(
            f"{name} has no column that moves a head; name columns like ARKit's scores (jawOpen, eyeBlinkLeft) or "
            "yaw, pitch, roll."
        )
    known = ignored | set(index.values()) | {column for column, _ in times.values()}
    if unknown := [title[:40] for column, title in enumerate(header) if column not in known]:
        logger.warning("%s: columns without a meaning here are ignored: %s.", name, ", ".join(unknown[:20]))
    seconds = None
    if times:
        index["time"], seconds = times[min(times, key=TIMES.index)]
    return Columns(index, seconds, degrees)


def _words(title: str) -> list[str]:
    return [word.lower() for word in WORD.findall(title.replace("µ", "u").replace("μ", "u"))]


def _angle(words: list[str]) -> tuple[str, bool | None] | None:
    """The angle of the head that a column holds, and whether its name says degrees."""
    unit = DEGREES.get(words[-1])
    key = "".join(words if unit is None else words[:-1])
    if key in ANGLES:
        return key, unit
    return next(((angle, unit) for angle in HEAD_ANGLES if key.endswith(angle)), None)


def _spellings(axis: str) -> Iterator[str]:
    yield axis.lower()
    for side in ("left", "right"):
        if axis.lower().endswith(side):
            base = axis.lower().removesuffix(side)
            yield from (base + side[0], side + base, side[0] + base)


AXES = {spelling: axis for axis in ARKIT_NAMES for spelling in _spellings(axis)}


def _scores(name: str, header: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(axis, column) of each score: by its plain name, else behind an object's name, else behind any prefix."""
    found = [(*match, column) for column, title in enumerate(header) if (match := _score(title))]
    if any(not rank for rank, _, _ in found):  # where one name is plain, a prefix makes another column of it
        found = [match for match in found if match[0] < 2]
    for axis in dict.fromkeys(axis for _, axis, _ in found):
        best = min(rank for rank, other, _ in found if other == axis)
        yield from ((axis, column) for rank, other, column in found if other == axis and rank == best)


def _score(title: str) -> tuple[int, str] | None:
    """How far the name is from plain (0; 1 behind an object's name; 2 behind another prefix), and the axis."""
    words = list(WORD.finditer(title))
    while words and words[-1].group().lower() in FILLERS:
        words.pop()
    for i, word in enumerate(words):
        axis = AXES.get("".join(other.group().lower() for other in words[i:]))
        if axis:
            before = title[: word.start()].rstrip("_- ")
            return (0 if i == 0 else 1 if before and before[-1] in HARD_SEPARATORS else 2), axis
    return None
