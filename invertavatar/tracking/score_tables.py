"""Tables of ARKit scores -> the fields of a `Motion`: Live Link Face's and Audio2Face's recordings and any others.

0 is neutral in a table.

Shapes: T rows, then frames; E = 52 expression axes in the order of `ARKIT_NAMES`.
"""

import logging
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation, Slerp

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.motion_io import frame_rate, num_frames_in
from invertavatar.tracking.table_columns import ANGLES, HEAD_ANGLES, Columns, find_columns
from invertavatar.tracking.table_files import Table, read_json_table, read_text_table
from invertavatar.tracking.table_times import USUAL_FPS, RowTimes, row_times

logger = logging.getLogger(__name__)

LARGEST_SCORE = 2.0  # exaggerated ones included; beyond 10 a table holds percentages
PERCENTAGES = (10.0, 200.0)
LARGEST_RADIANS = 3.3  # no head turns further, so that larger angles are degrees


def read_score_table(
    path: Path, default_fps: Fraction | float | None = None, fps: Fraction | float | None = None
) -> dict:
    """Rotation, expression, found and frame rate of a table; see `Motion.from_arkit_csv`.

    Args:
        path: JSON where it ends in .json, else text.
        default_fps: Rows per second where the table does not tell.
        fps: Frames per second of the result; the table's own by default.
    """
    table = read_json_table(path) if path.suffix.lower() == ".json" else read_text_table(path)
    columns = find_columns(table.name, table.header)
    index = columns.index

    def column(name: str, wanted: np.ndarray) -> np.ndarray:
        return np.array([_number(table, i, index[name]) for i in wanted])

    values = [name for name in index if name in ARKIT_NAMES + ANGLES + HEAD_ANGLES]
    found = np.array([_is_tracked(row, index, values) for row in table.rows])
    if not found.any():
        raise MotionError(f"No row of {table.name} holds any scores; record it again with the face in view.")
    tracked = np.flatnonzero(found)
    cells = {name: column(name, tracked) for name in values}
    expression = _expression(table.name, [table.lines[i] for i in tracked], cells)
    rotation = _rotation(table.name, cells, columns)

    stated = table.fps
    if "fps" in index:
        stated = column("fps", tracked[:1])[0]
    times = _times(table, columns, stated, default_fps or fps)
    own = frame_rate(times.fps if stated is None else stated)
    # Tracked rows in the order of their times.
    place = np.full(len(found), -1)
    place[tracked] = np.arange(len(tracked))
    places = place[times.rows]
    known = places[places >= 0]
    rate = own if fps is None else frame_rate(fps)
    return _at_even_times(times.seconds, own, rate, rotation[known], expression[known], places >= 0)


# ---- cells


def _is_tracked(row: list[str], index: dict[str, int], values: list[str]) -> bool:
    """Live Link Face writes a count of 0, or no cells at all, for a frame in which it lost the face."""
    count = index.get("blendshapecount")
    if count is not None and count < len(row) and row[count].strip() == "0":
        return False
    return any(index[name] < len(row) and row[index[name]].strip() for name in values)


def _number(table: Table, i: int, column: int) -> float:
    row = table.rows[i]
    text = row[column].strip() if column < len(row) else ""
    plain = text.removesuffix("%").strip()
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        value = float(plain) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = f'"{text[:40]}" is not a number' if text else "the cell is empty"
        raise MotionError(
            f"{table.name}, row {table.lines[i]}, column {table.header[column]}: {what}; correct it or remove the row."
        )
    return value


def _expression(name: str, lines: list[int], cells: dict[str, np.ndarray]) -> np.ndarray:
    """[T, 52]; scores that the table lacks are 0, percentages become shares."""
    expression = np.zeros((len(lines), len(ARKIT_NAMES)))
    for axis in cells.keys() & set(ARKIT_NAMES):
        expression[:, ARKIT_NAMES.index(axis)] = cells[axis]
    size = np.abs(expression)
    if size.max() <= LARGEST_SCORE:
        return expression
    beyond = (size > LARGEST_SCORE).sum() / (size > 0).sum()
    if PERCENTAGES[0] < size.max() <= PERCENTAGES[1] and beyond > 0.05:
        logger.warning("%s: its scores go up to %.4g; they are taken as percentages.", name, size.max())
        return expression / 100
    row, axis = np.unravel_index(size.argmax(), size.shape)
    raise MotionError(
        f"The scores in {name} go up to {size.max():.4g} (row {lines[row]}, {ARKIT_NAMES[axis]}); ARKit scores run "
        "from 0 to 1, percentages to 100. Correct them."
    )


def _rotation(name: str, cells: dict[str, np.ndarray], columns: Columns) -> np.ndarray:
    """[T, 3, 3] from either kind of angles; a missing angle is 0."""
    plain, live_link = cells.keys() & set(ANGLES), cells.keys() & set(HEAD_ANGLES)
    if plain and live_link:
        raise MotionError(f"{name} has both yaw/pitch/roll and HeadYaw/HeadPitch/HeadRoll; remove one set.")
    still = np.zeros(len(next(iter(cells.values()))))
    if live_link:
        largest = max(np.abs(cells[angle]).max() for angle in live_link)
        degrees = next((columns.degrees[angle] for angle in live_link if angle in columns.degrees), None)
        if degrees is None and largest > LARGEST_RADIANS:
            logger.warning("%s: its head angles go up to %.4g; they are taken as degrees.", name, largest)
            degrees = True
        yaw, pitch, roll = (cells.get(angle, still) for angle in HEAD_ANGLES)
        # Unreal composes R = R_y R_x R_z; of its signs only the pitch (up > 0) is against head space's right hand.
        return Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], -1), degrees=bool(degrees)).as_matrix()
    angles = [cells.get(angle, still) * (1 if columns.degrees.get(angle, True) else 180 / math.pi) for angle in ANGLES]
    return rotation_from_angles(*map(torch.from_numpy, angles)).double().numpy()


# ---- rows -> frames


def _times(
    table: Table, columns: Columns, stated: Fraction | float | None, default_fps: Fraction | float | None
) -> RowTimes:
    """When each row is, from times, frame numbers, or one row after the other."""
    index = columns.index

    def cells(name: str) -> list[str]:
        return [row[index[name]] if index[name] < len(row) else "" for row in table.rows]

    told = default_fps if stated is None else frame_rate(stated)
    if "time" in index:
        key_frames = stated is not None
        return row_times(table.name, table.lines, cells("time"), columns.seconds, told, key_frames)
    fps = float(frame_rate(USUAL_FPS if told is None else told))
    if told is None and len(table.rows) > 1:
        logger.warning(
            "%s states no times; its rows are taken as %g per second (--fps states another rate).", table.name, fps
        )
    rows = np.arange(len(table.rows))
    if "frame" in index:
        numbers = np.array([_frame_number(cell) for cell in cells("frame")])
        if (np.diff(numbers) > 0).all():  # numbers that are left out are frames that were dropped
            step = np.median(np.diff(numbers)) if len(numbers) > 1 else 1.0
            return RowTimes(rows, (numbers - numbers[0]) / step / fps, fps)
    return RowTimes(rows, rows / fps, fps)


def _frame_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _at_even_times(
    times: np.ndarray, own: Fraction, fps: Fraction, rotation: np.ndarray, expression: np.ndarray, found: np.ndarray
) -> dict:
    """Frames at i / fps from `rotation` and `expression` of the tracked rows, as long as the rows last at their own.

    Where the rows lie on these times they are the frames, and an untracked one holds the last tracked one; else frames
    are interpolated between tracked rows.
    """
    num_frames = max(1, num_frames_in(times[-1] + 1 / float(own), fps))
    frames = np.arange(num_frames) / float(fps)
    tracked = np.flatnonzero(found)
    if num_frames == len(times) and np.abs(frames - times).max() < 0.5 / float(fps):
        last = np.maximum(np.searchsorted(tracked, np.arange(num_frames), side="right") - 1, 0)
        rotation, expression = rotation[last], expression[last]
    elif len(tracked) == 1:
        rotation, expression = np.repeat(rotation, num_frames, 0), np.repeat(expression, num_frames, 0)
    else:
        known = times[tracked]
        expression = np.stack([np.interp(frames, known, axis) for axis in expression.T], -1)
        rotation = Slerp(known, Rotation.from_matrix(rotation))(frames.clip(known[0], known[-1])).as_matrix()
    nearest = np.searchsorted((times[1:] + times[:-1]) / 2, frames)
    return {"rotation": rotation, "expression": expression, "found": found[nearest], "fps": fps}
