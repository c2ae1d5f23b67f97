"""Whatever drives an avatar -> its motion: the one place that reads videos, photos, saved motions and tables."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import endings
from ..errors import MotionError
from ..media import VideoReader, check_driver, load_images, probe
from .capture import Capture
from .motion import Motion
from .neutral_frame import check_neutral_frame
from .recorder import Recorder
from .tracker import Track


class DriverReader:
    """Reads a driver: iterate over the tracks of its frames, then ask for its `motion`.

    Args:
        driving: A video, an animated GIF, WebP or PNG, a photo, a list of frames, a saved motion (.safetensors) or a
            table of ARKit scores (.csv and others: `Motion.from_arkit_csv`).
        recorder: Gives what sees faces; asked where there are pictures.
        face_index: Which face where there are several.
        fps: Resample to this rate; of a list of frames or a table without times it states the rate.
        most_fps: Resample to this rate what is faster, where `fps` is None.
        max_frames: Take no more frames than this.
        neutral_frame: The frame that is neutral, by its number from 0 or its time; counted in the frames of the motion,
            with `most_fps` in those of the file.

    Attributes:
        kind: "motion" (nothing to look at, so there are no tracks), "photo", "frames", "video" or "animation".
        num_frames: How many tracks to expect.
        fps: Frames per second of the tracks and of the motion.
        file_fps: Those of the file.
        duration: Seconds of the whole file.
        photo: [H, W, 3] uint8 where it is one.

    Raises:
        MediaError, MotionError: It cannot be read, or is no motion.
        NoFaceError: While it is read: it shows no face.
    """

    def __init__(
        self,
        driving: Any,
        recorder: Callable[[], Recorder],
        *,
        face_index: int = 0,
        fps: float | Fraction | None = None,
        most_fps: int | None = None,
        max_frames: int | None = None,
        neutral_frame: int | float | str | None = None,
    ):
        if neutral_frame is not None:
            check_neutral_frame(neutral_frame)
        self.driving, self.photo = driving, None
        self._face_index, self._neutral_frame = face_index, neutral_frame
        is_file = isinstance(driving, (str, Path))
        if is_file and endings.is_motion(driving):
            self.kind, self.num_frames = "motion", 0
            motion = load_motion(driving, fps, neutral_frame)
            self.file_fps, self.duration = motion.fps, motion.duration
            if most_fps is not None and fps is None and motion.fps > most_fps:
                motion = motion.resampled(most_fps)
            self._motion = motion[:max_frames]
            self.fps = self._motion.fps
            return
        self._recorder = recorder()
        # As a photo an animation is its first frame, as a driver all of them.
        kind = check_driver(driving) if is_file else None
        if kind in ("video", "animation"):
            self.kind, self.name = kind, Path(driving).name
            info = probe(driving)
            self.file_fps, self.duration = info.fps, info.duration
            if fps is None and most_fps is not None:
                fps = min(info.fps, Fraction(most_fps))
                if neutral_frame is not None:
                    self._neutral_frame = int(check_neutral_frame(neutral_frame, info.fps) * fps / info.fps)
            with VideoReader(driving, fps=fps) as video:
                self.fps, count = video.fps, video.num_frames
            self.num_frames = min(count, max_frames or count)
        else:
            frames, names = load_images(driving)
            self._pictures, self.name = frames[:max_frames], names[0]
            self.kind, self.num_frames = ("photo" if len(frames) == 1 else "frames"), len(self._pictures)
            self.photo = frames[0] if len(frames) == 1 else None
            self.fps = self.file_fps = fps or 25
            self.duration = len(frames) / float(self.fps)
        self._capture = Capture(self._recorder.head_model, self.fps, self.name)

    def __iter__(self) -> Iterator[Track | None]:
        if self.kind == "motion":
            return
        for track in self._tracks():
            self._capture.add(track)
            yield track

    def _tracks(self) -> Iterator[Track | None]:
        recorder, face = self._recorder, self._face_index
        if self.photo is not None:
            yield recorder.detect(self.photo, self.name, face)
        elif self.kind == "frames":
            yield from recorder.detect_video(self._pictures, float(self.fps), face)
        else:
            with VideoReader(self.driving, fps=self.fps) as video:
                frames: Iterator[np.ndarray] = islice(video, self.num_frames)
                yield from recorder.detect_video(frames, float(video.fps), face, self.name)

    def motion(self) -> Motion:
        """The motion of what was iterated over.

        Raises:
            NoFaceError: It shows no face.
            MotionError: It has no such neutral frame.
        """
        if self.kind == "motion":
            return self._motion
        motion = self._capture.motion()
        return motion if self._neutral_frame is None else motion.with_neutral_frame(self._neutral_frame)


def load_motion(
    path: str | Path, fps: float | Fraction | None = None, neutral_frame: int | float | str | None = None
) -> Motion:
    """A motion from a file, by its ending: `.safetensors` (`Motion.load`), or a table (`Motion.from_arkit_csv`).

    Args:
        path: The file.
        fps: Frames per second to resample it to; of a table without times it states the rate.
        neutral_frame: See `Motion.with_neutral_frame`; counted in the frames of the result.

    Raises:
        MotionError: Another ending, or whatever the reader finds.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in endings.MOTIONS:
        raise MotionError(
            f"{Path(path).name} is no motion; use a saved .safetensors motion or a table of ARKit scores "
            f"({', '.join(endings.SCORE_TABLES)})."
        )
    motion = Motion.from_arkit_csv(path, fps=fps) if suffix in endings.SCORE_TABLES else Motion.load(path)
    motion = motion if fps is None else motion.resampled(fps)
    return motion if neutral_frame is None else motion.with_neutral_frame(neutral_frame)
