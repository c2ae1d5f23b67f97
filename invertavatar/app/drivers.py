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

from .. import endings
from ..errors import MotionError
from ..media import VideoReader, check_driver, load_image, probe
from ..speech.listening import num_pieces
from ..speech.recognisers import recogniser_for
from ..speech.speaking import joined, speak_stream
from ..tracking.capture import capture
from ..tracking.motion import Motion, check_neutral_frame, load_motion
from ..tracking.recorder import Recorder
from .progress import NEWS, Report

MAX_RATE = 30  # frames a second; faster drivers are brought to it
TOLERANCE = 1.05  # rates that are not worth a word


class Driver(NamedTuple):
    """What drives an avatar."""

    motion: Motion
    video: str | None = None  # its file, which lends sound
    photo: np.ndarray | None = None  # [H, W, 3] uint8
    note: str = ""  # what the visitor should know of it


def read_driver(
    path: str, recorder: Recorder, longest: float, first: float = 0.3, neutral_frame: str | None = None
) -> Generator[Report, None, Driver]:
    """Read a driver; returns it and yields reports meanwhile, those of a video with its motion as far as it is read.

    Args:
        path: A video, a photo, a saved motion or a table of ARKit scores.
        recorder: On the CPU.
        longest: Seconds that a driver may last.
        first: Seconds of a video in which a face has been seen, after which its motion is reported.
        neutral_frame: The frame of the file that is neutral, by its number or its time.

    Raises:
        InvertAvatarError: It cannot be read, shows no face, or lasts too long.
    """
    name, suffix = Path(path).name, Path(path).suffix.lower()
    if suffix in endings.MOTIONS:
        motion = load_motion(path, neutral_frame=neutral_frame)
        _check_length(name, motion.duration, longest)
        slower = motion if motion.fps <= MAX_RATE else motion.resampled(MAX_RATE)
        return Driver(slower, note=_thinned(name, motion.fps))
    if check_driver(path) == "photo":
        photo = load_image(path)
        return Driver(capture([recorder.detect(photo, name)], recorder.head_model, name=name), photo=photo)
    info = probe(path)
    _check_length(name, info.duration, longest)
    yield Report("looking at the first frame", 0)
    tracks, begin, told = [], [], time.perf_counter()
    with VideoReader(path, fps=min(info.fps, Fraction(MAX_RATE))) as video:
        total = video.num_frames
        enough = math.ceil(min(total, first * video.fps))
        for track in recorder.detect_video(itertools.islice(video, total), float(video.fps), name=name):
            tracks.append(track)
            complete = track is not None and len(begin) == enough - 1
            if track is not None and len(begin) < enough:
                begin.append(track)
            if complete or time.perf_counter() - told > NEWS:
                told, motion = time.perf_counter(), None
                if track is not None and len(begin) == enough:
                    motion = capture([*begin, track], recorder.head_model, video.fps, name)
                yield Report(f"tracking frame {len(tracks)} of {total}", len(tracks) / total, motion=motion)
        motion = capture(tracks, recorder.head_model, video.fps, name)
    if neutral_frame is not None:  # counted in the file's frames, of which some may be left out
        motion = motion.with_neutral_frame(int(check_neutral_frame(neutral_frame, info.fps) * video.fps / info.fps))
    return Driver(motion, video=path, note=_thinned(name, info.fps))


def read_speech(path: str, fps: float | Fraction = 25, head_motion: float = 0.5) -> Generator[Report, None, Motion]:
    """Listen to a voice, in English; returns the motion of one who says it and yields reports meanwhile.

    Args:
        path: A sound or video file.
        fps: Frames per second.
        head_motion: 0..1 how far the head moves by itself.

    Raises:
        InvertAvatarError: It cannot be read.
    """
    parts, total = [], num_pieces(path)
    for part in speak_stream(path, recogniser_for(), fps, head_motion):
        parts.append(part)
        yield Report("listening", min(1, len(parts) / total))
    return joined(parts)


def _check_length(name: str, seconds: float, longest: float) -> None:
    if seconds > longest + 0.5:
        raise MotionError(
            f"{name} lasts {seconds:.0f} s, and this app animates {longest:.0f} s at a time. Cut it shorter."
        )


def _thinned(name: str, fps: Fraction) -> str:
    if fps <= MAX_RATE * TOLERANCE:
        return ""
    return f"Of the {float(fps):g} frames a second of {name} {MAX_RATE} are rendered."
