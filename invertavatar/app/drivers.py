"""What drives an avatar, read step by step so that its reading can be shown and stopped.

Shapes: H W picture.
"""

import itertools
import math
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MotionError
from ..face.capture import capture
from ..face.motion import Motion, load_motion
from ..face.recorder import Recorder
from ..media import VideoReader, load_image, probe
from .progress import NEWS, Report

MAX_RATE = 30  # frames a second; of faster drivers one frame in two, three... is taken
PHOTO_TYPES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff")
VIDEO_TYPES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif")
MOTION_TYPES = (".safetensors", ".csv")


class Driver(NamedTuple):
    """What drives an avatar."""

    motion: Motion
    video: str | None = None  # its file, which lends sound
    photo: np.ndarray | None = None  # [H, W, 3] uint8
    note: str = ""  # what the visitor should know of it


def read_driver(path: str, recorder: Recorder, longest: float, first: float = 0.3) -> Generator[Report, None, Driver]:
    """Read a driver; returns it and yields reports meanwhile, one of them with the motion of its first moment.

    Args:
        path: A video, a photo, a saved motion or a table of ARKit scores.
        recorder: On the CPU.
        longest: Seconds that a driver may last.
        first: Seconds of a video in which a face has been seen, after which its first motion is reported.

    Raises:
        InvertAvatarError: It cannot be read, shows no face, or lasts too long.
    """
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if suffix in MOTION_TYPES:
        motion = load_motion(path)
        _check_length(name, motion.duration, longest)
        return Driver(motion[:: _step(motion.fps)], note=_thinned(name, motion.fps))
    if suffix in PHOTO_TYPES:
        photo = load_image(path)
        return Driver(capture([recorder.detect(photo, name)], recorder.face_model, name=name), photo=photo)
    info = probe(path)
    _check_length(name, info.duration, longest)
    yield Report("looking at the first frame", 0)
    tracks, seen, told = [], 0, time.perf_counter()
    with VideoReader(path, fps=info.fps / _step(info.fps)) as video:
        total = video.num_frames
        enough = math.ceil(min(total, first * video.fps))
        for track in recorder.detect_video(itertools.islice(video, total), float(video.fps), name=name):
            tracks.append(track)
            seen += track is not None
            if track is not None and seen == enough:
                motion = capture(filter(None, tracks), recorder.face_model, video.fps, name)
                yield Report("tracking", len(tracks) / total, motion=motion)
            if time.perf_counter() - told > NEWS:
                told = time.perf_counter()
                yield Report(f"tracking frame {len(tracks)} of {total}", len(tracks) / total)
        motion = capture(tracks, recorder.face_model, video.fps, name)
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
