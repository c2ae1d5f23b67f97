"""The outside forms of a motion: its own file (safetensors) and sliders (key frames); for tables see `score_tables`.

Each reader gives the plain fields of a `Motion` as a dict, each field checked as far as the form itself goes; what
makes a motion valid is checked once, by `Motion`.

Shapes: T frames, K residual coefficients; E = 52 expression axes in the order of `ARKIT_NAMES`.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.interpolate import PchipInterpolator

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media.files import written_whole
from invertavatar.tracking.table_columns import ANGLES

FORMAT = "invertavatar_motion"
VERSION, READABLE = "3", ("1", "2", "3")
TORSO_POSE = "posture"  # what files name `Motion.torso_pose`, which version 1 lacks
NEUTRAL = "neutral."  # before the fields of a neutral frame that is known; since version 3
TENSORS = {
    name: torch.float32 for name in ("rotation", "expression", "residual", TORSO_POSE, "translation", "scale")
} | {"found": torch.bool}
MAX_FRAMES = 1_000_000  # four and a half hours at 60 fps; a wrong time stamp must not ask for all memory


# ---- the motion's own file


def write_motion_file(
    path: Path,
    tensors: dict[str, torch.Tensor],
    neutral: dict[str, torch.Tensor] | None,
    fps: Fraction,
    residual_region: tuple[str, ...],
) -> None:
    """Writes the tensors named in `TENSORS`, perhaps those of a neutral frame too, with what they mean as metadata."""
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fps": str(fps),  # exact: 30000/1001 stays what it is
        "expression_names": json.dumps(ARKIT_NAMES),
        "residual_region": json.dumps(residual_region),
    }
    stored = {name: tensors[_field(name)].clone() for name in TENSORS}
    if neutral is not None:
        stored |= {NEUTRAL + name: neutral[_field(name)].clone() for name in TENSORS}
    with writing(path) as partial:
        save_file(stored, partial, metadata)


def read_motion_file(path: Path) -> dict:
    """The fields of a saved motion; those of a known neutral frame begin with `NEUTRAL`.

    Raises:
        MotionError: There is no such file, it is cut off or no motion, or of another version of this package.
    """
    require_file(path)
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
            names = set(TENSORS) - ({TORSO_POSE} if metadata["version"] == "1" else set())
            stored = set(file.keys())
            if stored not in (names, names | {NEUTRAL + name for name in names}):
                raise MotionError(f"{path.name} does not hold the fields of a motion; track the video again.")
            fields = {name: file.get_tensor(name).clone() for name in stored}  # the file need not stay open
    except (OSError, SafetensorError) as error:
        raise MotionError(f"{path.name} is not a motion file or it is cut off ({error}).") from error
    wrong = [name for name in fields if fields[name].dtype != TENSORS[name.removeprefix(NEUTRAL)]]
    if wrong:
        raise MotionError(f"{path.name} stores {', '.join(wrong)} as the wrong kind of number; track the video again.")
    return {_field(name): value for name, value in fields.items()} | _read_metadata(path, metadata)


def _field(stored: str) -> str:
    """The field of a motion, or of its neutral frame, that a file names so."""
    return stored.replace(TORSO_POSE, "torso_pose")


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
    num_frames = num_frames_in(last, fps) + 1 if duration is None else max(num_frames_in(duration, fps), 1)

    frames = np.arange(num_frames) / float(fps)
    values = {name: _curve(curve, frames) for name, curve in curves.items()}
    still = np.zeros(num_frames)
    return {
        "expression": np.stack([values.get(name, still) for name in ARKIT_NAMES], -1),
        "rotation": rotation_from_angles(*(torch.from_numpy(values.get(name, still)) for name in ANGLES)),
    }


def _slider(number: int, name: str, value: Any) -> float:
    try:
        at = float(value)
    except (TypeError, ValueError):
        at = math.nan
    if not math.isfinite(at):
        raise MotionError(f"Key frame {number} sets {name} to something that is not a number.")
    return at


def _curve(keys: dict[float, float], frames: np.ndarray) -> np.ndarray:
    """Monotone cubic through the keys: smooth, never beyond a key's value, constant outside the first and the last."""
    times = np.array(sorted(keys))
    values = np.array([keys[time] for time in times])
    if len(times) == 1:
        return np.full(len(frames), values[0])
    return PchipInterpolator(times, values)(frames.clip(times[0], times[-1]))


# ---- shared


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Lends a name to write a motion to, which appears whole at `path` or not at all.

    Raises:
        MotionError: It cannot be written there.
    """
    if not path.parent.is_dir():
        raise MotionError(f"The motion cannot be written to {path}: there is no such folder.")
    try:
        with written_whole(path) as partial:
            yield partial
    except (OSError, SafetensorError) as error:
        raise MotionError(f"The motion cannot be written to {path}: {error}.") from error


def frame_rate(fps: float | Fraction) -> Fraction:
    """Any number as an exact frame rate.

    Raises:
        MotionError: It is not within 0.01 and 1000.
    """
    if not 0.01 <= fps <= 1000:  # NaN is not either
        raise MotionError(f"{fps} is no usable frame rate; give frames per second between 0.01 and 1000.")
    return Fraction(fps if isinstance(fps, Fraction | int) else str(float(fps))).limit_denominator(10**6)


def num_frames_in(seconds: float, fps: Fraction) -> int:
    """Frames that last so long, halves up.

    Raises:
        MotionError: They are too many.
    """
    frames = seconds * float(fps)
    if not frames < MAX_FRAMES:
        raise MotionError(f"{seconds:g} s at {float(fps):g} fps are too long; check the times and the frame rate.")
    return math.floor(frames + 0.5 + 1e-6)


def require_file(path: Path) -> None:
    """Raises:
    MotionError: There is no such file.
    """
    if not path.is_file():
        raise MotionError(f"There is no file {path}; check the path of the motion.")
