"""The outside forms of a motion: its own file (safetensors), tables of ARKit scores (CSV), sliders (key frames).

Each reader gives the plain fields of a `Motion` as a dict, each field checked as far as the form itself goes; what
makes a motion valid is checked once, by `Motion`.

Shapes: T frames, K residual coefficients; E = 52 expression axes in the order of `ARKIT_NAMES`.
"""

import csv
import difflib
import io
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.face.arkit import ARKIT_NAMES
from invertavatar.media.files import written_whole

logger = logging.getLogger(__name__)

FORMAT = "invertavatar_motion"
VERSION, READABLE = "2", ("1", "2")
SINCE_2 = "posture"  # the field that version 1 lacks
TENSORS = {
    name: torch.float32 for name in ("rotation", "expression", "residual", "posture", "translation", "scale")
} | {"found": torch.bool}
MAX_FRAMES = 1_000_000  # four and a half hours at 60 fps; a wrong time stamp must not ask for all memory

ANGLES = ("yaw", "pitch", "roll")  # degrees, signs of `camera.py`
HEAD_ANGLES = ("headyaw", "headpitch", "headroll")  # radians, Live Link Face
# Live Link Face repeats the gaze as angles; the eyeLook scores already say it.
IGNORED_COLUMNS = {f"{side}eye{angle}" for side in ("left", "right") for angle in ANGLES}
TIMECODE_BASES = (24, 25, 30, 48, 50, 60, 120)  # frames per second that a time code counts in


# ---- the motion's own file


def write_motion_file(path: Path, tensors: dict[str, torch.Tensor], fps: Fraction, residual_region: tuple[str, ...]):
    """Writes the tensors named in `TENSORS` with what they mean as metadata."""
    if path.suffix.lower() != ".safetensors":
        raise MotionError(f"A motion is saved as a .safetensors file; {path.name} has another ending.")
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fps": str(fps),  # exact: 30000/1001 stays what it is
        "expression_names": json.dumps(ARKIT_NAMES),
        "residual_region": json.dumps(residual_region),
    }
    if not path.parent.is_dir():
        raise MotionError(f"The motion cannot be written to {path}: there is no such folder.")
    try:
        with written_whole(path) as partial:
            save_file({name: tensors[name].clone() for name in TENSORS}, partial, metadata)
    except (OSError, SafetensorError) as error:
        raise MotionError(f"The motion cannot be written to {path}: {error}.") from error


def read_motion_file(path: Path) -> dict:
    """The fields of a saved motion.

    Raises:
        MotionError: There is no such file, it is cut off or no motion, or of another version of this package.
    """
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise MotionError(f"{path.name} is a safetensors file but not a motion; choose one that a motion made.")
            if metadata.get("version") not in READABLE:
                raise MotionError(
                    f"{path.name} is a motion of version {metadata.get('version', '?')[:20]} and this package reads "
                    f"version {VERSION}. Track the video again or update the package."
                )
            names = set(TENSORS) - ({SINCE_2} if metadata["version"] == "1" else set())
            if set(file.keys()) != names:
                raise MotionError(f"{path.name} does not hold the fields of a motion; track the video again.")
            fields = {name: file.get_tensor(name).clone() for name in names}  # the file need not stay open
    except (OSError, SafetensorError) as error:
        raise MotionError(f"{path.name} is not a motion file or it is cut off ({error}).") from error
    wrong = [name for name in fields if fields[name].dtype != TENSORS[name]]
    if wrong:
        raise MotionError(f"{path.name} stores {', '.join(wrong)} as the wrong kind of number; track the video again.")
    return fields | _read_metadata(path, metadata)


def _read_metadata(path: Path, metadata: dict[str, str]) -> dict:
    # Not Fraction's own parser: "1e999999999" would keep it busy for ever.
    fps = re.fullmatch(r"(\d{1,9})(?:/(\d{1,9}))?", metadata.get("fps", ""))
    if not fps or int(fps[2] or 1) == 0:
        raise MotionError(f"{path.name} states no usable frame rate; track the video again.")
    try:
        names = json.loads(metadata.get("expression_names", "null"))
        region = json.loads(metadata.get("residual_region", "null"))
    except (ValueError, RecursionError) as error:
        raise MotionError(f"{path.name} has damaged metadata; track the video again.") from error
    if names != list(ARKIT_NAMES):
        raise MotionError(f"{path.name} has other expression axes than the 52 of ARKit; track the video again.")
    if not isinstance(region, list) or not all(isinstance(name, str) for name in region):
        raise MotionError(f"{path.name} does not say which region its residual moves; track the video again.")
    return {"fps": Fraction(int(fps[1]), int(fps[2] or 1)), "residual_region": tuple(region)}


# ---- tables of ARKit scores


def read_arkit_csv(path: Path, default_fps: float) -> dict:
    """The fields of a Live Link Face recording or of any table with ARKit columns; see `Motion.from_arkit_csv`."""
    header, lines, rows = _read_table(path)
    columns = _find_columns(path, header)

    def column(name: str, keep: np.ndarray | None = None) -> np.ndarray:
        wanted = range(len(rows)) if keep is None else np.flatnonzero(keep)
        return np.array([_number(path, header, lines[i], rows[i], columns[name]) for i in wanted])

    values = [name for name in columns if name in ARKIT_NAMES or name in ANGLES or name in HEAD_ANGLES]
    found = np.array([_is_tracked(row, columns, values) for row in rows])
    if not found.any():
        raise MotionError(f"No row of {path.name} holds any scores; record it again with the face in view.")
    table = {name: column(name, found) for name in values}

    expression = np.zeros((int(found.sum()), len(ARKIT_NAMES)))
    for name in table.keys() & set(ARKIT_NAMES):
        expression[:, ARKIT_NAMES.index(name)] = table[name]
    if np.abs(expression).max() > 2:
        raise MotionError(
            f"The scores in {path.name} go up to {np.abs(expression).max():.4g}; ARKit scores run from 0 to 1. "
            "Divide percentages by 100."
        )
    rotation = _table_rotation(path, table, len(expression))

    times = None
    if "time" in columns:
        times = _increasing_times(path, lines, column("time"))
    elif "timecode" in columns:
        times = _timecode_times(path, lines, rows, columns["timecode"], default_fps)
    if "fps" in columns:
        fps = frame_rate(column("fps", found)[0])
    elif times is not None and len(times) > 1:
        fps = frame_rate(_usual_rate(times))
    else:
        fps = frame_rate(default_fps)
    if times is None:
        times = np.arange(len(rows)) / float(fps)
    return _at_even_times(path, times, fps, rotation, expression, found)


def _read_table(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line number of each row for messages, rows of cells; blank lines are skipped."""
    _require_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)  # spreadsheets of some countries write semicolons
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        table = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MotionError(f"{path.name} is not a table of text (CSV): {error}.") from error
    if len(table) < 2:
        raise MotionError(f"{path.name} has no rows below its header; a motion needs at least one.")
    lines, rows = zip(*table[1:], strict=True)
    return [name.strip() for name in table[0][1]], list(lines), list(rows)


def _find_columns(path: Path, header: list[str]) -> dict[str, int]:
    """Index of each column we use, by its name here; Live Link Face capitalises names (EyeBlinkLeft)."""
    known = {name.lower(): name for name in ARKIT_NAMES + ANGLES + HEAD_ANGLES} | {
        name: name for name in ("time", "fps", "timecode", "blendshapecount")
    }
    columns: dict[str, int] = {}
    unknown = []
    for index, name in enumerate(header):
        if name.lower() in known:
            if known[name.lower()] in columns:
                raise MotionError(f"{path.name} has the column {name} twice; remove one.")
            columns[known[name.lower()]] = index
        elif name and name.lower() not in IGNORED_COLUMNS:
            unknown.append(name[:40])
    if not columns.keys() & set(ARKIT_NAMES + ANGLES + HEAD_ANGLES):
        raise MotionError(
            f"{path.name} has no column that moves a head; name columns like ARKit's scores (jawOpen, eyeBlinkLeft) or "
            "yaw, pitch, roll."
        )
    if unknown:
        logger.warning("%s: columns without a meaning here are ignored: %s.", path.name, ", ".join(unknown[:20]))
    return columns


def _is_tracked(row: list[str], columns: dict[str, int], values: list[str]) -> bool:
    """Live Link Face writes a count of 0, or no cells at all, for a frame in which it lost the face."""
    count = columns.get("blendshapecount")
    if count is not None and count < len(row) and row[count].strip() == "0":
        return False
    return any(columns[name] < len(row) and row[columns[name]].strip() for name in values)


def _number(path: Path, header: list[str], line: int, row: list[str], index: int) -> float:
    text = row[index].strip() if index < len(row) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = f'"{text[:40]}" is not a number' if text else "the cell is empty"
        raise MotionError(f"{path.name}, row {line}, column {header[index]}: {what}; correct it or remove the row.")
    return value


def _table_rotation(path: Path, table: dict[str, np.ndarray], num_rows: int) -> np.ndarray:
    """[T, 3, 3] from either kind of angles; a missing angle is 0."""
    if table.keys() & set(ANGLES) and table.keys() & set(HEAD_ANGLES):
        raise MotionError(f"{path.name} has both yaw/pitch/roll and HeadYaw/HeadPitch/HeadRoll; remove one set.")
    still = np.zeros(num_rows)
    if table.keys() & set(HEAD_ANGLES):
        yaw, pitch, roll = (table.get(name, still) for name in HEAD_ANGLES)
        # Unreal composes R = R_y R_x R_z; of its signs only the pitch (up > 0) is against head space's right hand.
        return Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], -1)).as_matrix()
    angles = (torch.from_numpy(table.get(name, still)) for name in ANGLES)
    return rotation_from_angles(*angles).double().numpy()


def _increasing_times(path: Path, lines: list[int], times: np.ndarray) -> np.ndarray:
    late = np.flatnonzero(np.diff(times) <= 0)
    if late.size:
        raise MotionError(f"{path.name}, row {lines[late[0] + 1]}: the time does not increase; sort the rows by time.")
    return times - times[0]


def _timecode_times(path: Path, lines, rows, index: int, default_fps: float) -> np.ndarray | None:
    """`HH:MM:SS:FF.sss` -> [T] seconds from the first row, or None where the clock stood still or jumped back.

    The base that FF counts in is the smallest usual one above every FF.
    """
    parts = np.empty((len(rows), 4))
    for i, (line, row) in enumerate(zip(lines, rows, strict=True)):
        text = row[index].strip() if index < len(row) else ""
        match = re.fullmatch(r"(\d{1,2})[:;](\d{1,2})[:;](\d{1,2})[:;.](\d{1,3}(?:\.\d{1,9})?)", text, re.ASCII)
        if not match:
            raise MotionError(f'{path.name}, row {line}: "{text[:40]}" is not a time code like 12:27:47:59.169.')
        parts[i] = [float(part) for part in match.groups()]
    seconds = parts[:, :3] @ [3600, 60, 1]
    whole_second = np.ptp(seconds) > 0  # else no row need be the last of its second
    base = next((b for b in TIMECODE_BASES if b > parts[:, 3].max() and (whole_second or b >= default_fps)), 1000)
    times = np.unwrap(seconds + parts[:, 3] / base, period=86400)  # a recording may run past midnight
    if (np.diff(times) > 0).all():
        return times - times[0]
    logger.warning("%s: its time codes do not increase; rows are taken as %g per second.", path.name, default_fps)
    return None


def _usual_rate(times: np.ndarray) -> float:
    """The median rate of the rows, made whole where it is within half a percent of it (written times are rounded)."""
    rate = 1 / float(np.median(np.diff(times)))
    return float(round(rate)) if 1 <= rate <= 1000 and abs(rate / round(rate) - 1) < 0.005 else rate


def _at_even_times(
    path: Path, times: np.ndarray, fps: Fraction, rotation: np.ndarray, expression: np.ndarray, found: np.ndarray
) -> dict:
    """Frames at i / fps from `rotation` and `expression` of the tracked rows.

    Where the rows lie on these times they are the frames, and an untracked one holds the last tracked one; else frames
    are interpolated between tracked rows.
    """
    num_frames = _frames_in(times[-1], fps) + 1
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


# ---- sliders


def sample_sliders(keyframes: Mapping | Sequence[Mapping], fps: Fraction, duration: float | None) -> dict:
    """Rotation and expression of slider key frames at each frame; see `Motion.from_sliders`."""
    if isinstance(keyframes, Mapping):
        keyframes = [keyframes]
    if not keyframes:
        raise MotionError("There are no key frames; give at least one, such as {'time': 0, 'jawOpen': 0.4}.")
    curves: dict[str, dict[float, float]] = {}
    for number, keyframe in enumerate(keyframes, 1):
        time = _slider(number, "time", keyframe.get("time", 0.0))
        if time < 0:
            raise MotionError(f"Key frame {number} lies at {time:g} s; times start at 0.")
        for name in keyframe.keys() - {"time"}:
            if name not in ARKIT_NAMES + ANGLES:
                close = difflib.get_close_matches(str(name), ARKIT_NAMES + ANGLES, 1)
                hint = f"did you mean {close[0]}" if close else "use ARKit's names or yaw, pitch, roll"
                raise MotionError(f"Key frame {number} names the slider {name!r}, which does not exist; {hint}?")
            if time in curves.setdefault(name, {}):
                raise MotionError(f"Two key frames set {name} at {time:g} s; keep one.")
            curves[name][time] = _slider(number, name, keyframe[name])
    last = max((time for curve in curves.values() for time in curve), default=0.0)
    num_frames = _frames_in(last, fps) + 1 if duration is None else max(_frames_in(duration, fps), 1)

    frames = np.arange(num_frames) / float(fps)
    values = {name: _curve(curve, frames) for name, curve in curves.items()}
    still = np.zeros(num_frames)
    return {
        "expression": np.stack([values.get(name, still) for name in ARKIT_NAMES], -1),
        "rotation": rotation_from_angles(*(torch.from_numpy(values.get(name, still)) for name in ANGLES)),
    }


def _slider(number: int, name: str, value) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise MotionError(f"Key frame {number} sets {name} to something that is not a number.")
    return value


def _curve(keys: dict[float, float], frames: np.ndarray) -> np.ndarray:
    """Monotone cubic through the keys: smooth, never beyond a key's value, constant outside the first and the last."""
    times = np.array(sorted(keys))
    values = np.array([keys[time] for time in times])
    if len(times) == 1:
        return np.full(len(frames), values[0])
    return PchipInterpolator(times, values)(frames.clip(times[0], times[-1]))


# ---- shared


def frame_rate(fps: float | Fraction) -> Fraction:
    """Any number as an exact frame rate.

    Raises:
        MotionError: It is not within 0.01 and 1000.
    """
    if not 0.01 <= fps <= 1000:  # NaN is not either
        raise MotionError(f"{fps} is no usable frame rate; give frames per second between 0.01 and 1000.")
    return Fraction(fps if isinstance(fps, Fraction | int) else str(float(fps))).limit_denominator(10**6)


def _frames_in(seconds: float, fps: Fraction) -> int:
    frames = seconds * float(fps)
    if not frames < MAX_FRAMES:
        raise MotionError(f"{seconds:g} s at {float(fps):g} fps are too long; check the times and the frame rate.")
    return round(frames)


def _require_file(path: Path):
    if not path.is_file():
        raise MotionError(f"There is no file {path}; check the path of the motion.")
