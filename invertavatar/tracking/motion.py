"""How a head moves over time: `Motion`. `driver_reader` reads one from a file, `steadying` and `retargeting` change it.

Shapes: T frames, K residual coefficients; 52 expression axes in the order of `ARKIT_NAMES`, 12 numbers of the
torso pose in that of `TORSO_POSE_NAMES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Slerp
from torch import Tensor

from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES, REGIONS
from invertavatar.head.rest_pose import TORSO_POSE_NAMES
from invertavatar.tracking import live_link, motion_io, score_tables
from invertavatar.tracking.neutral_frame import check_neutral_frame
from invertavatar.tracking.rotations import as_rotations, median_rotation

ANIMATION_REGIONS = ("all", "exp", "pose", "lip", "eyes")  # what is taken over of a motion, in LivePortrait's words
PLAIN = ("residual_region", "fps", "known_neutral")  # the fields that are no tensors


@dataclass(frozen=True, eq=False, init=False)
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
        torso_pose: [T, 12] how hair and shoulders lie beside where the head's pose puts them (`rest_pose`). None is
            [T, 0]: nothing is known of it, as of a table of scores, and an avatar's own stays.
        translation: [T, 2] of the head's centre in the picture from its median over the clip, in head units; x right,
            y down. None is 0.
        scale: [T] size of the head in the picture over its median size in the clip, > 0. None is 1.
        found: [T] bool, False where the tracker lost the face and held the last pose. None is all True.
        fps: Frames per second; kept as an exact fraction.
        known_neutral: One frame, where it is known what is neutral: 0 in tables of scores and sliders, or a frame that
            was chosen (`with_neutral_frame`). None takes the median over the clip.

    Raises:
        MotionError: Shapes do not agree, a number is not finite, a rotation is none, or there is no frame.
    """

    rotation: Tensor
    expression: Tensor
    residual: Tensor
    residual_region: tuple[str, ...]
    torso_pose: Tensor
    translation: Tensor
    scale: Tensor
    found: Tensor
    fps: Fraction
    known_neutral: "Motion | None"

    def __init__(
        self,
        rotation: Tensor | np.ndarray,
        expression: Tensor | np.ndarray,
        residual: Tensor | np.ndarray | None = None,
        residual_region: Sequence[str] = (),
        torso_pose: Tensor | np.ndarray | None = None,
        translation: Tensor | np.ndarray | None = None,
        scale: Tensor | np.ndarray | None = None,
        found: Tensor | np.ndarray | None = None,
        fps: Fraction | float = Fraction(25),
        known_neutral: "Motion | None" = None,
    ):
        num_frames, num_residual = (*np.shape(rotation), 0)[0], len(residual_region)
        no_torso_pose = torso_pose is None or np.shape(torso_pose)[1:] in ((), (0,))
        given = {
            "rotation": (rotation, (num_frames, 3, 3)),
            "expression": (expression, (num_frames, len(ARKIT_NAMES))),
            "residual": (residual, (num_frames, num_residual)),
            "torso_pose": (torso_pose, (num_frames, 0 if no_torso_pose else len(TORSO_POSE_NAMES))),
            "translation": (translation, (num_frames, 2)),
            "scale": (scale, (num_frames,)),
            "found": (found, (num_frames,)),
        }
        if num_frames == 0:
            raise MotionError("This motion has no frames; it needs at least one.")
        for name, (value, shape) in given.items():
            dtype, default = (torch.bool, True) if name == "found" else (torch.float32, float(name == "scale"))
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
        if not set(residual_region) <= set(REGIONS):
            raise MotionError(f"The residual regions of a motion are {', '.join(REGIONS)}, not {residual_region}.")
        object.__setattr__(self, "residual_region", tuple(residual_region))
        object.__setattr__(self, "fps", motion_io.frame_rate(fps))
        object.__setattr__(self, "known_neutral", known_neutral)
        neutral = known_neutral
        alike = neutral is None or all(
            getattr(neutral, name).shape[1:] == getattr(self, name).shape[1:] for name in ("residual", "torso_pose")
        )
        if not alike or (neutral is not None and neutral.num_frames != 1):
            raise MotionError("The neutral of a motion is one frame of the same face model; choose it from the motion.")

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
        """One frame: the one that is known, else the median of each field over the found frames (of rotations the
        geometric median on SO(3)), as residual, translation and scale lie about 0, 0 and 1.

        Raises:
            MotionError: None is known and no frame was found.
        """
        if self.known_neutral is not None:
            return self.known_neutral
        if not self.found.any():
            raise MotionError("No frame of this motion shows a face, so it has no neutral; choose another clip.")
        middle = {
            name: np.median(getattr(self, name)[self.found].numpy(), axis=0, keepdims=True)
            for name in ("expression", "torso_pose")
        }
        rotation = median_rotation(self.rotation[self.found])
        residual = torch.zeros(1, len(self.residual_region))
        return Motion(rotation, residual=residual, residual_region=self.residual_region, fps=self.fps, **middle)

    def with_neutral_frame(self, frame: int | float | str) -> "Motion":
        """The same movement, relative to one of its frames.

        A motion of one frame stays as it is: it has no other to be relative to.

        Args:
            frame: Its number from 0 (`12`, `"12"`) or its time (`0.5`, `"0.5s"`, `"0:00.5"`).

        Raises:
            MotionError: There is no such frame, or it shows no face.
        """
        index = check_neutral_frame(frame, self.fps)
        if index >= self.num_frames:
            raise MotionError(
                f"There is no frame {frame} to be neutral: the motion has {self.num_frames}, numbered from 0 to "
                f"{self.num_frames - 1}, which last {self.duration:.2f} s."
            )
        if self.num_frames == 1:
            return self
        if not self.found[index]:
            raise MotionError(f"Frame {index} cannot be neutral, as it shows no face; choose another.")
        return replace(self, known_neutral=replace(self[index], fps=self.fps, known_neutral=None))

    def resampled(self, fps: float | Fraction) -> "Motion":
        """The same movement at another frame rate, as long as before; between frames it is interpolated.

        Args:
            fps: Frames per second.

        Raises:
            MotionError: It is no usable frame rate.
        """
        fps = motion_io.frame_rate(fps)
        if fps == self.fps:
            return self
        count = max(1, motion_io.num_frames_in(self.num_frames / float(self.fps), fps))
        place = (np.arange(count) * float(self.fps / fps)).clip(max=self.num_frames - 1)  # in frames of this motion
        before = torch.from_numpy(place.astype(np.int64))
        after = (before + 1).clamp(max=self.num_frames - 1)
        weight = torch.from_numpy(place).float() - before
        values = {
            name: torch.lerp(value[before], value[after], weight.reshape(-1, *[1] * (value.ndim - 1)))
            for name, value in self.tensors().items()
            if name not in ("rotation", "found")
        }
        if self.num_frames > 1:
            values["rotation"] = Slerp(np.arange(self.num_frames), as_rotations(self.rotation))(place).as_matrix()
        else:
            values["rotation"] = self.rotation[before]
        return replace(self, fps=fps, found=self.found[torch.where(weight < 0.5, before, after)], **values)

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int | slice) -> "Motion":
        """`motion[a:b]` is a clip, `motion[i]` one frame, `motion[::2]` lasts as long at half the frame rate."""
        if isinstance(index, slice):
            frames, step = range(*index.indices(self.num_frames)), abs(index.step or 1)
        else:
            frames, step = [range(self.num_frames)[index]], 1
        chosen = torch.tensor(frames, dtype=torch.long)
        return replace(self, fps=self.fps / step, **{name: value[chosen] for name, value in self.tensors().items()})

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
            if motion.torso_pose.shape[1] != first.torso_pose.shape[1]:
                raise MotionError(
                    "Motions with and without a torso pose cannot be concatenated; track them with one model."
                )
            if not _same(motion.known_neutral, first.known_neutral):
                raise MotionError(
                    "Motions with different neutral faces cannot be concatenated; set one known_neutral for all."
                )
        parts = [motion.tensors() for motion in motions]
        return replace(first, **{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def save(self, path: str | Path) -> None:
        """Writes a file by its ending.

        - `.safetensors`: `Motion.load` reads it back bit for bit, the frame rate exactly.
        - `.csv`: a Live Link Face recording of the scores and the head's angles. 0 is neutral in it: where a neutral
          frame is known, what departs from it is written.

        Raises:
            MotionError: The path has another ending or cannot be written, or no frame for a table shows a face.
        """
        path, neutral = Path(path), self.known_neutral
        if path.suffix.lower() == ".safetensors":
            stored = None if neutral is None else neutral.tensors()
            motion_io.write_motion_file(path, self.tensors(), stored, self.fps, self.residual_region)
        elif path.suffix.lower() == ".csv":
            turns, scores = self.rotation.double(), self.expression.double()
            if neutral is not None:
                turns, scores = turns @ neutral.rotation.double().mT, scores - neutral.expression.double()
            live_link.write_live_link(path, turns.numpy(), scores.numpy(), self.found.numpy(), self.fps)
        else:
            raise MotionError(f"A motion is saved as a .safetensors or .csv file; {path.name} has another ending.")

    @classmethod
    def load(cls, path: str | Path) -> "Motion":
        """Reads what `save` wrote.

        A residual of another face model is no error here: `retarget` leaves it out and says so.

        Raises:
            MotionError: The file is missing, cut off, no motion, of another version, or holds unusable numbers.
        """
        stored = motion_io.read_motion_file(Path(path))
        parts = {name for name in stored if name.startswith(motion_io.NEUTRAL)}
        neutral = {name.removeprefix(motion_io.NEUTRAL): stored.pop(name) for name in parts}
        motion = cls._checked(path, stored)
        if not neutral:
            return motion
        neutral |= {"fps": motion.fps, "residual_region": motion.residual_region}
        return cls._checked(path, stored | {"known_neutral": cls._checked(path, neutral)})

    @classmethod
    def from_arkit_csv(
        cls, path: str | Path, default_fps: float | None = None, fps: float | Fraction | None = None
    ) -> "Motion":
        """Reads a Live Link Face recording, an Audio2Face export or any table with columns named like ARKit's scores.

        Text with commas, semicolons or tabs (decimal commas too), or `.json` in Audio2Face's form. Column names count
        in any order and spelling (`eyeBlinkLeft`, `EyeBlinkLeft`, `eyeBlink_L`, `eye_blink_left`,
        `blendShapes.EyeBlinkLeft`); scores that are missing are 0, and 0 is neutral. Scores up to 100 are percentages.
        The head's angles are either `yaw`, `pitch`, `roll` in degrees with the signs of `camera.py`, or Live Link
        Face's `HeadYaw`, `HeadPitch`, `HeadRoll` in radians (degrees where they are too large for that).

        Frame times come from a column such as `time`, `timestamp` or `Timecode`: seconds, other units (by the name, as
        `time_ms`, or by the steps), clocks, durations, dates, or time codes (`HH:MM:SS:FF.sss`); or from numbers in
        `frame`. The frame rate is that of the times or stated by `fps`; frames at uneven times are interpolated, a gap
        stays a gap. Rows with a `BlendshapeCount` of 0 or without scores are frames without a face.

        How sure the signs of Live Link Face are: Epic documents none. HeadYaw > 0 is taken to turn to the person's left
        (yaw > 0 here), HeadPitch > 0 to lift the face (pitch > 0), HeadRoll > 0 to tilt it to the person's right
        (roll < 0), composed as yaw after pitch after roll. Several independent public programs for the app agree on
        this, but no public recording with head angles was at hand to confirm it (in most the app's head rotation was
        off: all angles 0). Radians are sure: the gaze angles of public recordings fit no other unit. Held in landscape
        the phone is reported to turn yaw and pitch around; then give the table `yaw`, `pitch`, `roll` of your own.

        Args:
            path: The table.
            default_fps: Rows per second where the table does not tell: without times, or where its clock stands still
                or counts whole seconds. None takes 60, and such a clock at its word, with a warning.
            fps: Frames per second of the motion; None takes the table's. It states `default_fps` too.

        Raises:
            MotionError: No file, no table, no usable column, or a cell that is no number (its row and column named).
        """
        fields = score_tables.read_score_table(Path(path), default_fps, fps)
        return cls._checked(path, fields | {"known_neutral": still_face(fields["fps"])})

    @classmethod
    def from_sliders(
        cls, keyframes: Mapping | Sequence[Mapping], fps: float | Fraction = 25, duration: float | None = None
    ) -> "Motion":
        """A motion through key frames such as `[{"time": 0}, {"time": 1, "jawOpen": 0.4, "yaw": 20}]`.

        Each slider is a smooth curve of its own through the key frames that name it, without overshoot, and constant
        before the first and after the last of them; a slider that none names is 0, and 0 is neutral.

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
        return cls(fps=fps, known_neutral=still_face(fps), **motion_io.sample_sliders(keyframes, fps, duration))

    @classmethod
    def _checked(cls, path: str | Path, values: dict) -> "Motion":
        try:
            return cls(**values)
        except MotionError as error:
            raise MotionError(f"{Path(path).name} cannot be used. {error}") from error

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are tensors, by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in PLAIN}


def still_face(fps: float | Fraction) -> Motion:
    """One frame that looks ahead without expression: neutral in a table of scores and on sliders."""
    return Motion(torch.eye(3)[None], torch.zeros(1, len(ARKIT_NAMES)), fps=fps)


def _same(one: Motion | None, other: Motion | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(torch.equal(value, getattr(other, name)) for name, value in one.tensors().items())
