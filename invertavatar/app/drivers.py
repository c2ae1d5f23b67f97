"""What drives an avatar, read step by step so that its reading can be shown and stopped.

Shapes: H W picture.
"""

import math
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MotionError
from ..speech.listening import num_pieces
from ..speech.recognisers import recogniser_for
from ..speech.speaking import joined, speak_stream
from ..tracking.capture import capture
from ..tracking.driver_reader import DriverReader
from ..tracking.motion import Motion
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
    reader = DriverReader(path, lambda: recorder, most_fps=MAX_RATE, neutral_frame=neutral_frame)
    name, enough = Path(path).name, math.ceil(min(reader.num_frames, first * reader.fps))
    if reader.kind != "photo":
        _check_length(name, reader.duration, longest)
    if moves := reader.kind in ("video", "animation"):
        yield Report("looking at the first frame", 0)
    begin, told = [], time.perf_counter()
    for number, track in enumerate(reader, 1):
        complete = track is not None and len(begin) == enough - 1
        if track is not None and len(begin) < enough:
            begin.append(track)
        if moves and (complete or time.perf_counter() - told > NEWS):
            told, motion = time.perf_counter(), None
            if track is not None and len(begin) == enough:
                motion = capture([*begin, track], recorder.head_model, reader.fps, name)
            text = f"tracking frame {number} of {reader.num_frames}"
            yield Report(text, number / reader.num_frames, motion=motion)
    return Driver(reader.motion(), path if moves else None, reader.photo, _thinned(name, reader.file_fps))


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


def _thinned(name: str, fps: Fraction | float) -> str:
    if fps <= MAX_RATE * TOLERANCE:
        return ""
    return f"Of the {float(fps):g} frames a second of {name} {MAX_RATE} are rendered."
