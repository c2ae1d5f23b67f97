"""What the times of a table's rows say: clocks, durations, dates, time codes and plain numbers of any unit.

Shapes: T rows.
"""

import logging
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from invertavatar.errors import MotionError

logger = logging.getLogger(__name__)

USUAL_FPS = 60  # of Live Link Face, where nothing tells
TIMECODE_BASES = (24, 25, 30, 48, 50, 60, 120)  # frames per second that a time code counts in
NTSC_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120))
DAY = 86400.0
MANY_REPEATED = 0.1  # of the rows: then it is the clock that is coarse
FEW_LATE = 0.05  # of the rows: then they came late; more are a clock that was set back
KEY_FRAMES = 10  # fewer rows whole seconds apart are key frames

NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?|[-+]?[.,]\d+")
WITH_UNIT = re.compile(rf"({NUMBER.pattern})\s*(ns|us|µs|μs|ms|s|secs?|seconds?)")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3}
DAYS = re.compile(r"([-+]?\d+)\s*d(?:ays?)?\b[\s,+]*")
CLOCK = re.compile(
    r"(?:\S.*[T\s])?(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d+))?\s*([AaPp][Mm])?\s*(?:Z|UTC|[+-]\d\d:?\d\d)?"
)
DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?)?")
TIMECODE = re.compile(r"(\d{1,2})[:;](\d{1,2})[:;](\d{1,2})([:;.])(\d{1,3}(?:\.\d{1,9})?)", re.ASCII)


class RowTimes(NamedTuple):
    """When the rows of a table are.

    Attributes:
        rows: [T'] which rows are used, in the order of their times.
        seconds: [T'] from the first on, increasing.
        fps: Rows per second.
    """

    rows: np.ndarray
    seconds: np.ndarray
    fps: Fraction | float


def row_times(
    name: str,
    lines: Sequence[int],
    cells: Sequence[str],
    unit: float | None = None,
    stated_fps: Fraction | float | None = None,
    key_frames: bool = False,
) -> RowTimes:
    """When each row is, from what its cell says.

    A row that repeats the time of the one before is left out, one that comes late is put where it belongs, a clock that
    is set back goes on; each with a warning. A gap stays a gap.

    Args:
        name: What messages call the table.
        lines: [T] numbers of the rows for messages.
        cells: [T] texts.
        unit: Seconds of a plain number; None finds out.
        stated_fps: Rows per second where the times do not tell: a clock that stands still or counts whole seconds.
        key_frames: The rows are few points of a curve, however far apart.

    Raises:
        MotionError: A cell is no time.
    """
    seconds = _filled(name, lines, _seconds(name, lines, cells, unit, stated_fps))
    rows, seconds = _forward(name, lines, seconds)
    repeated = np.flatnonzero(np.diff(seconds) <= 0) + 1
    if len(repeated) > max(1, MANY_REPEATED * len(rows)) or len(repeated) == len(rows) - 1 > 0:
        return _evenly(name, rows, seconds, stated_fps)
    if len(repeated):
        where = ", ".join(f"row {lines[int(rows[i])]}" for i in repeated[:10])
        logger.warning("%s: what repeats the time of the row before is left out (%s).", name, where)
        rows, seconds = np.delete(rows, repeated), np.delete(seconds, repeated)
    seconds = seconds - seconds[0]
    if len(seconds) == 1:
        return RowTimes(rows, seconds, stated_fps or USUAL_FPS)
    step = float(np.median(np.diff(seconds)))
    if step >= 1 - 1e-6 and len(rows) >= KEY_FRAMES and not key_frames:
        if stated_fps and np.abs(seconds - seconds.round()).max() < 1e-6:
            return RowTimes(rows, seconds / step / float(stated_fps), stated_fps)
        logger.warning(
            "%s: its rows are %g s apart. If they are frames of a faster recording, state its rate (--fps 30).",
            name,
            step,
        )
    return RowTimes(rows, seconds, usual_rate(seconds))


def usual_rate(seconds: np.ndarray) -> Fraction | float:
    """Rows per second, gaps left out: a whole number or 30000/1001 and its like where the times allow for it.

    Args:
        seconds: [T] increasing, at least two.
    """
    steps = np.diff(seconds)
    step = float(np.median(steps))
    places = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(steps / step)))])
    slope, start = np.polyfit(places, seconds, 1) if len(seconds) > 2 else (step, seconds[0])
    if not 0 < slope < math.inf or abs(slope / step - 1) > 0.5:  # no even clock at all
        slope, start = step, seconds[0]
    rate = 1 / slope
    # What rounded or trembling times leave open.
    doubt = rate * min(0.005, 2 * float(np.abs(start + slope * places - seconds).max()) / float(np.ptp(seconds)))
    doubt += 1e-6 * rate
    if not 1 <= rate <= 1000:
        return rate
    nearest = min(NTSC_RATES, key=lambda ntsc: abs(ntsc - rate))
    if abs(round(rate) - rate) > doubt and abs(nearest - rate) <= doubt:
        return nearest
    return float(round(rate)) if abs(rate / round(rate) - 1) < 0.005 else rate


def seconds_of(text: str) -> float | None:
    """Seconds of a clock, a duration, a date with a clock, or a number with its unit; None where it is none of them."""
    text = text.strip()
    if match := WITH_UNIT.fullmatch(text):
        return float(match[1].replace(",", ".")) * UNITS.get(match[2], 1.0)
    if match := DURATION.fullmatch(text):
        days, hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in match.groups())
        return days * DAY + hours * 3600 + minutes * 60 + seconds
    days = DAYS.match(text)
    time_of_day = text[days.end() :] if days else text
    start = float(days[1]) * DAY if days else 0.0
    if days and not time_of_day:
        return start
    match = CLOCK.fullmatch(time_of_day)
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups()[:3])
    if match[5]:
        hours = hours % 12 + 12 * (match[5].lower() == "pm")
    return start + hours * 3600 + minutes * 60 + seconds + float(f"0.{match[4] or 0}")


def _seconds(
    name: str, lines: Sequence[int], cells: Sequence[str], unit: float | None, stated_fps: Fraction | float | None
) -> np.ndarray:
    """[T] seconds from the first row, NaN where the cell is empty."""
    texts = [cell.strip() for cell in cells]
    there = [i for i, text in enumerate(texts) if text]
    seconds = np.full(len(texts), np.nan)
    if not there:
        return np.zeros(len(texts))
    if all(NUMBER.fullmatch(texts[i]) for i in there):
        seconds[there] = _numbers([texts[i] for i in there], unit)
        return seconds
    codes = [code for i in there if (code := TIMECODE.fullmatch(texts[i]))]
    if len(codes) == len(there) and _counts_frames(codes):
        seconds[there] = _timecodes(codes, stated_fps)
        return seconds
    for i in there:
        value = seconds_of(texts[i])
        if value is None:
            raise MotionError(
                f'{name}, row {lines[i]}: "{texts[i][:40]}" is not a time code like 12:27:47:59.169, a time like '
                "0:00:01.033 or a number of seconds."
            )
        seconds[i] = value
    seconds[there] = np.unwrap(seconds[there], period=DAY)  # a recording may run past midnight
    return seconds - seconds[there[0]]


def _numbers(texts: list[str], unit: float | None) -> np.ndarray:
    """Plain numbers as seconds from the first; without a unit the one that makes a frame rate of their steps."""
    try:  # exact: nanoseconds since 1970 have more digits than a float
        values = [Decimal(text.replace(",", ".")) for text in texts]
        values = np.array([float(value - values[0]) for value in values])
    except (InvalidOperation, OverflowError):
        values = np.array([float(text.replace(",", ".")) for text in texts])
        values -= values[0]
    if unit is None:
        steps = np.abs(np.diff(values))
        steps = steps[(steps > 0) & (steps < math.inf)]
        step = float(np.median(steps)) if len(steps) else 0.0
        least = (
            3.0 if len(values) >= KEY_FRAMES else 8.0
        )  # milliseconds; fewer rows may be key frames some seconds apart
        unit = next((1000.0**-k for k in (3, 2, 1) if step >= least * 1000 ** (k - 1)), 1.0)
    return values * unit


def _counts_frames(codes: list[re.Match]) -> bool:
    """Whether the last part counts frames: behind a colon it does, behind a point two digits may be a fraction."""
    if any(code[4] != "." for code in codes):
        return True
    parts = [code[5] for code in codes]
    several = len({code[3] for code in codes}) > 1  # a fraction would come near 99 in a whole second
    return several and all(len(part) == 2 for part in parts) and max(map(int, parts)) < 60


def _timecodes(codes: list[re.Match], stated_fps: Fraction | float | None) -> np.ndarray:
    """`HH:MM:SS:FF.sss` -> seconds; the base that FF counts in is the smallest usual one above every FF."""
    parts = np.array([[float(part) for part in code.group(1, 2, 3, 5)] for code in codes])
    clock, frames = parts[:, :3] @ [3600, 60, 1], parts[:, 3]
    whole_second = np.ptp(clock) > 0  # else no row need be the last of its second
    least = 0 if whole_second else stated_fps or USUAL_FPS
    if all(re.fullmatch(r"\d{3}", code[5]) for code in codes):
        least = 1000  # milliseconds
    base = next((b for b in TIMECODE_BASES if b > frames.max() and b >= least), 1000)
    if base in (30, 60, 120) and _drops_frames(codes, clock, frames, base):
        # SMPTE 12M: at 29.97 fps the names :00 and :01 are left out in each minute but every tenth.
        minutes = clock // 60
        number = clock * base + frames - base // 15 * (minutes - minutes // 10)
        per_day = DAY * base - base // 15 * (1440 - 144)
        rate = base * 1000 / 1001
        seconds, day = number / rate, per_day / rate
    else:
        seconds, day = clock + frames / base, DAY
    return np.unwrap(seconds - seconds[0], period=day)


def _drops_frames(codes: list[re.Match], clock: np.ndarray, frames: np.ndarray, base: int) -> bool:
    """A semicolon says so, or the names that are missing where a minute begins."""
    if all(code[4] == ";" for code in codes):
        return True
    crossing = np.flatnonzero((np.diff(clock) == 1) & (clock[1:] % 60 == 0) & (clock[1:] % 600 != 0))
    last, first = frames[crossing], frames[crossing + 1]
    return bool(len(crossing)) and bool(
        (last.astype(int) == base - 1).all() and (first.astype(int) == base // 15).all()
    )


def _filled(name: str, lines: Sequence[int], seconds: np.ndarray) -> np.ndarray:
    empty = np.flatnonzero(np.isnan(seconds))
    if len(empty):
        logger.warning("%s: row %d states no time; it is taken from the rows around it.", name, lines[empty[0]])
        there = np.flatnonzero(~np.isnan(seconds))
        seconds[empty] = np.interp(empty, there, seconds[there])
    return seconds


def _forward(name: str, lines: Sequence[int], seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their times so that no time runs back."""
    rows = np.arange(len(seconds))
    late = np.flatnonzero(seconds < np.maximum.accumulate(seconds))
    if not len(late):
        return rows, seconds
    steps = np.diff(seconds)
    if len(late) <= max(1, FEW_LATE * len(rows)) or not (steps > 0).any():
        logger.warning("%s: row %d comes too late; the rows are sorted by time.", name, lines[late[0]])
        order = np.argsort(seconds, kind="stable")
        return rows[order], seconds[order]
    logger.warning("%s: at row %d the time jumps back; it goes on from the row before.", name, lines[late[0]])
    steps[steps < 0] = np.median(steps[steps > 0])
    return rows, np.concatenate([[0.0], np.cumsum(steps)])


def _evenly(name: str, rows: np.ndarray, seconds: np.ndarray, stated_fps: Fraction | float | None) -> RowTimes:
    """Rows of a clock too coarse to tell them apart: as many each second as it counts on average."""
    changes = np.flatnonzero(np.diff(seconds) > 0) + 1
    if stated_fps:
        fps = stated_fps
    elif len(changes) > 1:
        rate = (changes[-1] - changes[0]) / (seconds[changes[-1]] - seconds[changes[0]])
        fps = float(round(rate)) if abs(rate / max(1, round(rate)) - 1) < 0.03 else rate
    elif len(changes):
        fps = max(changes[0], len(rows) - changes[0]) / (seconds[-1] - seconds[0])
    else:
        fps = USUAL_FPS
    if not stated_fps:
        logger.warning(
            "%s: its times do not tell its rows apart; they are taken as %g per second (--fps states another rate).",
            name,
            fps,
        )
    return RowTimes(rows, np.arange(len(rows)) / float(fps), fps)
