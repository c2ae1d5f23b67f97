"""How a head moves over time (`Motion`), and how one person's movement becomes another's (`retarget`).

Shapes: T frames, K residual coefficients; 52 expression axes in the order of `ARKIT_NAMES`, 12 numbers of the
posture in that of `POSTURE_NAMES`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from invertavatar.errors import MotionError
from invertavatar.face import motion_io, smoothing
from invertavatar.face.arkit import ARKIT_NAMES, ARKIT_REGIONS, REGIONS
from invertavatar.rendering.rest_pose import LARGEST_POSTURE, POSTURE_NAMES

logger = logging.getLogger(__name__)

ANIMATION_REGIONS = ("all", "exp", "pose", "lip", "eyes")  # LivePortrait's words
EXPRESSION_RANGE = (-0.2, 1.2)  # beyond it the linear face model tears


@dataclass(frozen=True, eq=False)
class Motion:
    """The movement of one head, frame by frame, free of whose head it is.

    Fields are float32 on the CPU (arrays are converted). Treat them as read-only and make changed copies with
    `dataclasses.replace`.

    Args:
        rotation: [T, 3, 3] head -> camera, row-major (`camera.py`).
        expression: [T, 52] ARKit scores, 0..1 and a little beyond.
        residual: [T, K] coefficients of the face model's residual basis: movement that the 52 axes do not hold, zero on
            average over a clip. None is K = 0.
        residual_region: K names out of `arkit.REGIONS`: what each coefficient moves.
        posture: [T, 12] how hair and shoulders lie beside where the head's pose puts them (`rest_pose`). None is
            [T, 0]: nothing is known of it, as of a table of scores, and an avatar's own stays.
        translation: [T, 2] of the head's centre in the picture from its median over the clip, in head units; x right,
            y down. None is 0.
        scale: [T] size of the head in the picture over its median size in the clip, > 0. None is 1.
        found: [T] bool, False where the tracker lost the face and held the last pose. None is all True.
        fps: Frames per second; kept as an exact fraction.

    Raises:
        MotionError: Shapes do not agree, a number is not finite, a rotation is none, or there is no frame.
    """

    rotation: Tensor
    expression: Tensor
    residual: Tensor | None = None
    residual_region: tuple[str, ...] = ()
    posture: Tensor | None = None
    translation: Tensor | None = None
    scale: Tensor | None = None
    found: Tensor | None = None
    fps: Fraction | float = Fraction(25)

    def __post_init__(self):
        num_frames, num_residual = (*np.shape(self.rotation), 0)[0], len(self.residual_region)
        num_posture = 0 if np.shape(self.posture)[1:] in ((), (0,)) else len(POSTURE_NAMES)
        shapes = {
            "rotation": (num_frames, 3, 3),
            "expression": (num_frames, len(ARKIT_NAMES)),
            "residual": (num_frames, num_residual),
            "posture": (num_frames, num_posture),
            "translation": (num_frames, 2),
            "scale": (num_frames,),
            "found": (num_frames,),
        }
        if num_frames == 0:
            raise MotionError("This motion has no frames; it needs at least one.")
        for name, shape in shapes.items():
            dtype, default = (torch.bool, True) if name == "found" else (torch.float32, float(name == "scale"))
            value = getattr(self, name)
            value = torch.full(shape, default) if value is None else torch.as_tensor(value)
            value = value.to("cpu", dtype)
            if value.shape != shape:
                raise MotionError(f"The {name} of this motion must be {list(shape)}, not {list(value.shape)}.")
            if not torch.isfinite(value).all():
                raise MotionError(f"The {name} of this motion holds numbers that are not finite; track it again.")
            object.__setattr__(self, name, value)
        error = self.rotation @ self.rotation.mT - torch.eye(3)
        if error.abs().max() > 1e-3 or (torch.linalg.det(self.rotation) < 0).any():
            raise MotionError("The rotation of this motion holds matrices that are no rotations; track it again.")
        if (self.scale <= 0).any():
            raise MotionError("The scale of a motion must be above 0.")
        if not set(self.residual_region) <= set(REGIONS):
            raise MotionError(f"The residual regions of a motion are {', '.join(REGIONS)}, not {self.residual_region}.")
        object.__setattr__(self, "residual_region", tuple(self.residual_region))
        object.__setattr__(self, "fps", motion_io.frame_rate(self.fps))

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.rotation)

    @property
    def num_missing(self) -> int:
        """Frames in which the tracker held the last pose."""
        return int((~self.found).sum())

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / float(self.fps)

    @property
    def neutral(self) -> "Motion":
        """One frame: the median of each field over the found frames, of rotations the geometric median on SO(3).

        Raises:
            MotionError: No frame was found.
        """
        if not self.found.any():
            raise MotionError("No frame of this motion shows a face, so it has no neutral; choose another clip.")
        seen = {name: value[self.found] for name, value in self._tensors().items() if name != "found"}
        middle = {name: np.median(value.numpy(), axis=0, keepdims=True) for name, value in seen.items()}
        middle["rotation"] = _median_rotation(seen["rotation"])
        return Motion(residual_region=self.residual_region, fps=self.fps, **middle)

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int | slice) -> "Motion":
        """`motion[a:b]` is a clip, `motion[i]` one frame, `motion[::2]` lasts as long at half the frame rate."""
        if isinstance(index, slice):
            frames, step = range(*index.indices(self.num_frames)), abs(index.step or 1)
        else:
            frames, step = [range(self.num_frames)[index]], 1
        chosen = torch.tensor(frames, dtype=torch.long)
        return replace(self, fps=self.fps / step, **{name: value[chosen] for name, value in self._tensors().items()})

    @staticmethod
    def concatenate(motions: Sequence["Motion"]) -> "Motion":
        """One motion after the other.

        Raises:
            MotionError: Frame rates or residual bases differ, or there is nothing to concatenate.
        """
        if not motions:
            raise MotionError("There are no motions to concatenate; give at least one.")
        first = motions[0]
        for motion in motions[1:]:
            if motion.fps != first.fps:
                raise MotionError(
                    f"Motions of {float(first.fps):g} and {float(motion.fps):g} fps cannot be concatenated; "
                    "use clips of one frame rate."
                )
            if motion.residual_region != first.residual_region:
                raise MotionError("Motions of different face models cannot be concatenated; track them with one model.")
            if motion.posture.shape[1] != first.posture.shape[1]:
                raise MotionError("Motions with and without posture cannot be concatenated; track them with one model.")
        parts = [motion._tensors() for motion in motions]
        return replace(first, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def save(self, path: str | Path):
        """Writes a `.safetensors` file that `Motion.load` reads back bit for bit, the frame rate exactly.

        Raises:
            MotionError: The path has another ending or cannot be written.
        """
        motion_io.write_motion_file(Path(path), self._tensors(), self.fps, self.residual_region)

    @classmethod
    def load(cls, path: str | Path) -> "Motion":
        """Reads what `save` wrote.

        A residual of another face model is no error here: `retarget` leaves it out and says so.

        Raises:
            MotionError: The file is missing, cut off, no motion, of another version, or holds unusable numbers.
        """
        return cls._checked(path, motion_io.read_motion_file(Path(path)))

    @classmethod
    def from_arkit_csv(cls, path: str | Path, default_fps: float = 60) -> "Motion":
        """Reads a Live Link Face recording, or any table whose columns are named like ARKit's scores.

        Column names count in any order and capitalisation; scores that are missing are 0. The head's angles are either
        `yaw`, `pitch`, `roll` in degrees with the signs of `camera.py`, or Live Link Face's `HeadYaw`, `HeadPitch`,
        `HeadRoll` in radians. Frame times come from `time` (seconds) or `Timecode` (`HH:MM:SS:FF.sss`), the frame rate
        from `fps`, else from the times, else it is `default_fps`; frames at uneven times are interpolated. Rows with a
        `BlendshapeCount` of 0 or without scores are frames without a face.

        How sure the signs of Live Link Face are: Epic documents none. HeadYaw > 0 is taken to turn to the person's left
        (yaw > 0 here), HeadPitch > 0 to lift the face (pitch > 0), HeadRoll > 0 to tilt it to the person's right
        (roll < 0), composed as yaw after pitch after roll. Several independent public programs for the app agree on
        this, but no public recording with head angles was at hand to confirm it (in most the app's head rotation was
        off: all angles 0). Radians are sure: the gaze angles of public recordings fit no other unit. Held in landscape
        the phone is reported to turn yaw and pitch around; then give the table `yaw`, `pitch`, `roll` of your own.

        Raises:
            MotionError: No file, no table, no usable column, or a cell that is no number (its row and column named).
        """
        return cls._checked(path, motion_io.read_arkit_csv(Path(path), default_fps))

    @classmethod
    def from_sliders(
        cls, keyframes: Mapping | Sequence[Mapping], fps: float | Fraction = 25, duration: float | None = None
    ) -> "Motion":
        """A motion through key frames such as `[{"time": 0}, {"time": 1, "jawOpen": 0.4, "yaw": 20}]`.

        Each slider is a smooth curve of its own through the key frames that name it, without overshoot, and constant
        before the first and after the last of them; a slider that none names is 0.

        Args:
            keyframes: One dict or several: `time` in seconds (default 0), ARKit names (0..1), `yaw`, `pitch`, `roll` in
                degrees.
            fps: Frames per second of the result.
            duration: Seconds; None ends with the last key frame.

        Raises:
            MotionError: An unknown slider (the nearest name is offered), a value that is no number, two values of one
                slider at one time, or an unusable frame rate.
        """
        fps = motion_io.frame_rate(fps)
        return cls(fps=fps, **motion_io.sample_sliders(keyframes, fps, duration))

    @classmethod
    def _checked(cls, path: str | Path, values: dict) -> "Motion":
        try:
            return cls(**values)
        except MotionError as error:
            raise MotionError(f"{Path(path).name} cannot be used. {error}") from error

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("residual_region", "fps")}


def load_motion(path: str | Path) -> Motion:
    """A motion from a file, by its ending: `.safetensors` (`Motion.load`) or `.csv` (`Motion.from_arkit_csv`).

    Raises:
        MotionError: Another ending, or whatever the reader finds.
    """
    readers = {".safetensors": Motion.load, ".csv": Motion.from_arkit_csv}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        raise MotionError(f"{Path(path).name} is no motion; use a saved .safetensors motion or a .csv of ARKit scores.")
    return readers[suffix](path)


def hold_missing(motion: Motion) -> Motion:
    """Frames without a face take the last frame with one before them, leading ones the first; `found` stays.

    Raises:
        MotionError: No frame was found.
    """
    seen = motion.found.nonzero().squeeze(1)
    if len(seen) == 0:
        raise MotionError("No frame of this motion shows a face; choose another clip.")
    held = seen[(motion.found.cumsum(0) - 1).clamp(min=0)]
    return replace(motion, **{name: v[held] for name, v in motion._tensors().items() if name != "found"})


def smooth_motion(motion: Motion, smooth: float) -> Motion:
    """One-Euro over every field; see `smoothing`.

    Args:
        motion: Any motion; frames with `found` False are not measurements and hold the filter's value.
        smooth: 0 (unchanged) to 1; 0.5 more than halves jitter and keeps over 80 % of a three-frame blink at 25 fps.

    Raises:
        MotionError: `smooth` is out of its range.
    """
    check_retargeting(smooth=smooth)
    if smooth == 0:
        return motion
    found, fps = motion.found.numpy(), float(motion.fps)
    # A coefficient's unit depends on the face model: a large movement is six times its spread over the clip.
    residual_reference = 6 * motion.residual.numpy().std(0).clip(min=1e-6)

    def filtered(values: Tensor, reference: float | np.ndarray) -> np.ndarray:
        return smoothing.smooth_vectors(values.numpy(), found, fps, smooth, reference)

    return replace(
        motion,
        rotation=smoothing.smooth_rotations(motion.rotation.numpy(), found, fps, smooth),
        expression=filtered(motion.expression, 1.0),
        residual=filtered(motion.residual, residual_reference),
        posture=filtered(motion.posture, np.array(LARGEST_POSTURE)[: motion.posture.shape[1]]),
        translation=filtered(motion.translation, 0.5),
        scale=filtered(motion.scale[:, None], 0.5)[:, 0],
    )


def check_retargeting(animation_region: str = "all", motion_scale: float = 1.0, smooth: float = 0.0) -> None:
    """Refuses what `retarget` cannot do; call it before a long video is tracked for nothing.

    Raises:
        MotionError: An unknown region or a number out of its range.
    """
    if animation_region not in ANIMATION_REGIONS:
        raise MotionError(f"animation_region is one of {', '.join(ANIMATION_REGIONS)}, not {animation_region!r}.")
    if not 0 <= motion_scale <= 10:
        raise MotionError(f"motion_scale runs from 0 to 10; {motion_scale} does not.")
    if not 0 <= smooth <= 1:
        raise MotionError(f"smooth runs from 0 to 1; {smooth} does not.")


def retarget(
    motion: Motion,
    rest: Motion,
    *,
    animation_region: str = "all",
    relative_motion: bool = True,
    motion_scale: float = 1.0,
    smooth: float = 0.0,
    follow_translation: bool = False,
) -> Motion:
    """The driver's motion for the avatar whose first photo is `rest`.

    With d the driver and n its neutral:

    - relative: expression = rest + motion_scale (d - n), the posture likewise, rotation = (d n^-1)^motion_scale rest;
    - absolute: expression = motion_scale d, the posture likewise, rotation = d^motion_scale;
    - both: residual = rest + motion_scale d, as a residual is relative already.

    Args:
        motion: The driver.
        rest: One frame: the avatar's own expression, residual and pose.
        animation_region: "all", "exp" (the whole expression), "pose" (rotation, posture, followed translation), "lip"
            or "eyes". What is not driven stays as in `rest`.
        relative_motion: Relative to the driver's neutral. A driver of one frame has none: it is then taken as absolute.
        motion_scale: 0..10; exaggerates above 1. Rotations scale in angle.
        smooth: 0..1, `smooth_motion` of the driver beforehand.
        follow_translation: Passes the driver's translation and scale on where the pose is driven, else 0 and 1.

    Returns:
        As many frames as the driver, with its frame rate and `found` and the residual basis of `rest`.

    Raises:
        MotionError: An unknown region or a number out of its range.
    """
    check_retargeting(animation_region, motion_scale, smooth)
    if rest.num_frames != 1:
        raise MotionError(f"The rest of an avatar is one frame, not {rest.num_frames}.")
    if relative_motion and motion.num_frames == 1:
        logger.warning(
            "A single picture has no neutral to be relative to; its expression and pose are taken as they are."
        )
        relative_motion = False
    if motion.residual_region and motion.residual_region != rest.residual_region:
        logger.warning("The motion was tracked with another face model; its residual movement is left out.")
    if motion.residual_region != rest.residual_region:
        still = torch.zeros(motion.num_frames, len(rest.residual_region))
        motion = replace(motion, residual=still, residual_region=rest.residual_region)

    motion = smooth_motion(motion, smooth)
    expression, rotation = motion.expression, _as_rotation(motion.rotation)
    if relative_motion:
        neutral = motion.neutral
        expression = rest.expression + motion_scale * (expression - neutral.expression)
        turn = rotation * _as_rotation(neutral.rotation).inv()
        rotation = Rotation.from_rotvec(motion_scale * turn.as_rotvec()) * _as_rotation(rest.rotation)
        posture = motion_scale * (motion.posture - neutral.posture)
    else:
        expression = motion_scale * expression
        rotation = Rotation.from_rotvec(motion_scale * rotation.as_rotvec())
        posture = motion_scale * motion.posture
    residual = rest.residual + motion_scale * motion.residual

    pose = animation_region in ("all", "pose")
    still = rest.posture.expand(motion.num_frames, -1)
    if not pose or still.shape != posture.shape:  # of the driver's or of the avatar's nothing is known
        posture = still
    elif relative_motion:
        posture = still + posture
    largest = torch.tensor(LARGEST_POSTURE[: posture.shape[1]])
    follow = pose and follow_translation
    return Motion(
        rotation=rotation.as_matrix() if pose else rest.rotation.repeat(motion.num_frames, 1, 1),
        expression=torch.where(
            _driven(ARKIT_REGIONS, animation_region), expression.clamp(*EXPRESSION_RANGE), rest.expression
        ),
        residual=torch.where(_driven(rest.residual_region, animation_region), residual, rest.residual),
        residual_region=rest.residual_region,
        posture=posture.clamp(-largest, largest),
        translation=motion.translation * motion_scale if follow else None,
        scale=motion.scale**motion_scale if follow else None,
        found=motion.found,
        fps=motion.fps,
    )


def _driven(regions: tuple[str, ...], animation_region: str) -> Tensor:
    """[len(regions)] bool: which axes of an expression or residual the driver moves."""
    whole = animation_region in ("all", "exp")
    return torch.tensor([whole or region == animation_region for region in regions], dtype=torch.bool)


def _as_rotation(matrices: Tensor) -> Rotation:
    return Rotation.from_matrix(matrices.double().numpy())


def _median_rotation(matrices: Tensor) -> Tensor:
    """[T, 3, 3] -> [1, 3, 3] with the least sum of angles to all (Weiszfeld): a short turn does not count."""
    rotations = _as_rotation(matrices)
    centre = rotations.mean()
    for _ in range(20):
        centre = rotations.mean(weights=1 / (centre.inv() * rotations).magnitude().clip(min=1e-7))
    return torch.from_numpy(centre.as_matrix()).float()[None]
