"""What drives an avatar, read step by step so that its reading can be shown and stopped; and the film of the result.

Shapes: H W picture, S side of a frame.
"""

import itertools
import math
import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MotionError
from ..face.capture import capture
from ..face.face_model import FaceModel
from ..face.motion import Motion, load_motion
from ..face.tracker import FaceTracker
from ..media import VideoReader, VideoWriter, load_image, probe, side_by_side
from ..media.images import over_grey

MAX_RATE = 30  # frames a second; of faster drivers one frame in two, three... is taken
NEWS = 0.4  # seconds between two reports
PHOTO_TYPES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff")
VIDEO_TYPES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
MOTION_TYPES = (".safetensors", ".csv")


class Driver(NamedTuple):
    """What drives an avatar."""

    motion: Motion
    video: str | None = None  # its file, which lends sound
    photo: np.ndarray | None = None  # [H, W, 3] uint8
    note: str = ""  # what the visitor should know of it


class Report(NamedTuple):
    """How far a job is."""

    text: str
    share: float
    frame: np.ndarray | None = None  # [S, S, C] uint8, the latest


def read_driver(
    path: str, tracker: FaceTracker, face_model: FaceModel, longest: float, seconds: float = math.inf
) -> Generator[Report, None, Driver]:
    """Read a driver; returns it and yields reports meanwhile.

    Args:
        path: A video, a photo, a saved motion or a table of ARKit scores.
        tracker: Finds the faces.
        face_model: On the CPU.
        longest: Seconds that a driver may last.
        seconds: Read no more than this of it.

    Raises:
        InvertAvatarError: It cannot be read, shows no face, or lasts too long.
    """
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if suffix in MOTION_TYPES:
        motion = load_motion(path)
        _check_length(name, motion.duration, longest)
        start = motion[: math.ceil(min(seconds, motion.duration) * motion.fps)]
        return Driver(start[:: _step(motion.fps)], note=_thinned(name, motion.fps))
    if suffix in PHOTO_TYPES:
        photo = load_image(path)
        return Driver(capture([tracker.detect(photo, name)], face_model, name=name), photo=photo)
    info = probe(path)
    _check_length(name, info.duration, longest)
    tracks, told = [], time.perf_counter()
    with VideoReader(path, fps=info.fps / _step(info.fps)) as video:
        total = math.ceil(min(video.num_frames, seconds * video.fps))
        for track in tracker.detect_video(itertools.islice(video, total), float(video.fps), name=name):
            tracks.append(track)
            if time.perf_counter() - told > NEWS:
                told = time.perf_counter()
                yield Report(f"tracking frame {len(tracks)} of {total}", len(tracks) / total)
        motion = capture(tracks, face_model, video.fps, name)
    return Driver(motion, video=path, note=_thinned(name, info.fps))


def _check_length(name: str, seconds: float, longest: float) -> None:
    if seconds > longest + 0.5:
        raise MotionError(
            f"{name} lasts {seconds:.0f} s, and this app animates {longest:.0f} s at a time. Cut it shorter."
        )


def _step(fps: Fraction) -> int:
    return math.ceil(fps / MAX_RATE)


def _thinned(name: str, fps: Fraction) -> str:
    if _step(fps) == 1:
        return ""
    return f"Of the {float(fps):g} frames a second of {name} one in {_step(fps)} is rendered."


def flanked(frames: Iterator[np.ndarray], photo: np.ndarray | None, driver: Driver) -> Iterator[np.ndarray]:
    """The frames with the person's photo and the driver's frame at their left, as far as there are such."""
    driving = VideoReader(driver.video, fps=driver.motion.fps) if driver.video else itertools.repeat(driver.photo)
    for seen, frame in zip(driving, frames, strict=False):
        yield side_by_side(*(view for view in (photo, seen, frame) if view is not None), height=frame.shape[0])


def opaque(frame: np.ndarray) -> np.ndarray:
    """A frame for a preview: what is transparent lies over mid grey."""
    return over_grey(frame) if frame.shape[2] == 4 else frame


def write_film(path: Path, frames: Iterator[np.ndarray], motion: Motion, sound: str | None = None) -> Iterator[Report]:
    """Write frames as they come; a reader who stops leaves no file behind.

    Args:
        path: .mp4, or .webm for transparent frames.
        frames: As many as `motion` has, [S, S, C] uint8.
        motion: Lends frame rate and number.
        sound: A video whose sound is added.

    Yields:
        A report with the latest frame, every now and then.
    """
    start = told = time.perf_counter()
    with VideoWriter(path, motion.fps, audio_from=sound) as writer:
        for frame in frames:
            writer.write(frame)
            now, count = time.perf_counter(), writer.num_frames
            if now - told > NEWS and count < motion.num_frames:
                told = now
                left = time_left((now - start) / count * (motion.num_frames - count))
                yield Report(f"frame {count} of {motion.num_frames}, {left}", count / motion.num_frames, frame)


def time_left(seconds: float) -> str:
    """`about 1 min 20 s left`."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"about {minutes} min {seconds} s left" if minutes else f"about {seconds} s left"
