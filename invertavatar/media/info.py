"""What a video is, before it is read: its length, rate, size and the way up."""

import logging
import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.container
import numpy as np
from av.sidedata.sidedata import Type as SideDataType

from ..errors import MediaError
from . import animation
from .files import existing_file
from .kinds import kind_of
from .streams import (
    DAMAGE,
    MAX_FRAME_PIXELS,
    blank,
    decoded_frames,
    in_seconds,
    open_input,
    sound_stream,
    video_stream,
)

logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)  # frames per second where a file states none or an absurd one
RATE_LIMITS = (1, 1000)  # slow motion is filmed at 240, by cameras made for it at up to 960
NTSC_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120))
USUAL_RATES = NTSC_RATES + tuple(map(Fraction, (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)))


@dataclass(frozen=True)
class MediaInfo:
    """What a video file holds.

    Attributes:
        duration: Seconds of video.
        fps: Frames per second; the mean of a variable rate, brought to a usual one that is close.
        num_frames: Frames in the file, as declared or else counted.
        size: Width and height in px as shown: turned upright, with square pixels.
        codec: Of the video, such as "h264".
        pix_fmt: ffmpeg's name of the pixel format, such as "yuv420p"; "yuva420p" for a WebM with alpha.
        has_audio: Whether there is sound.
        audio_codec: Such as "aac", or None.
        rotation: Degrees clockwise by which players turn the stored picture: 0, 90, 180 or 270.
    """

    duration: float
    fps: Fraction
    num_frames: int
    size: tuple[int, int]
    codec: str
    pix_fmt: str
    has_audio: bool
    audio_codec: str | None
    rotation: int


def probe(path: str | os.PathLike) -> MediaInfo:
    """Looks into a video and decodes its first frame.

    Raises:
        MediaError: The file is missing, empty, not a video, or holds no frame that can be decoded.
    """
    path = existing_file(path)
    if kind_of(path) == "animation":
        return _probe_animation(path)
    with open_input(path) as container:
        stream = video_stream(container, path.name)
        sound = sound_stream(container)
        frame = next(decoded_frames(container, stream, []), None)
        if frame is None:
            raise MediaError(blank(path.name))
        num_frames, duration, fps = _declared_length(container, stream) or _counted_length(path)
        width, height = _square_size(stream, frame)
        _check_size(path.name, width, height)
        tags = stream.metadata
        turned = abs(display_matrix(frame)[0, 0]) < 0.5
        return MediaInfo(
            duration=float(duration),
            fps=fps,
            num_frames=num_frames,
            size=(height, width) if turned else (width, height),
            codec=stream.codec.canonical_name,
            # ffmpeg's own VP9 decoder does not see the alpha that Matroska carries beside the picture.
            pix_fmt="yuva420p" if "1" in (tags.get("alpha_mode"), tags.get("ALPHA_MODE")) else frame.format.name,
            has_audio=sound is not None,
            audio_codec=sound.codec.canonical_name if sound else None,
            rotation=round(-frame.rotation) % 360,
        )


def _probe_animation(path: Path) -> MediaInfo:
    kind, (width, height) = animation.kind_and_size(path)
    _check_size(path.name, width, height)  # before the pixels are unpacked
    lengths = animation.durations(path)
    if not lengths:
        raise MediaError(blank(path.name))
    return MediaInfo(
        duration=float(sum(lengths)),
        fps=_usual(1 / lengths[0]) if len(set(lengths[:-1])) <= 1 else _usual(len(lengths) / sum(lengths, Fraction(0))),
        num_frames=len(lengths),
        size=(width, height),
        codec=kind,
        pix_fmt="rgb24",
        has_audio=False,
        audio_codec=None,
        rotation=0,
    )


def display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """[2, 2] of -1, 0, 1: stored (x right, y down), as a row vector, times it is the shown (x right, y down)."""
    # PyAV's stubs take what a frame has beside its pixels for a dict of names.
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if data is None:
        return np.eye(2)
    return np.rint(np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2] / 65536)  # 16.16 fixed point


def _declared_length(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[int, Fraction, Fraction] | None:
    """Frames, seconds and rate; the file's own seconds where they are fewer, as they leave out what an editor cut away.

    None where they are not declared or contradict each other: a file written in fragments declares the first of them,
    or the length of its sound, and a variable rate has to be seen.
    """
    rate = _constant_rate(stream)
    if not stream.frames or not stream.duration or not rate:
        return None
    seconds = in_seconds(stream.duration, stream.time_base)
    if abs(stream.frames / seconds / rate - 1) > 0.01:
        return None
    whole = Fraction(container.duration or 0, av.time_base)
    return stream.frames, min(seconds, whole) if whole else seconds, rate


def _counted_length(path: Path) -> tuple[int, Fraction, Fraction]:
    """Frames, seconds and rate from a file's packets, without decoding them."""
    times, last_duration = [], Fraction(0)
    with open_input(path) as container:
        stream = video_stream(container, path.name)
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and not packet.is_discard:
                    times.append(packet.pts * packet.time_base)
                    last_duration = (packet.duration or 0) * packet.time_base
        except DAMAGE as error:
            logger.debug("%s ends early: %s", path, error)
        tick, rate = max(in_seconds(1, stream.time_base), Fraction(1, 1000)), _constant_rate(stream)
    times.sort()
    steps = [after - before for before, after in pairwise(times) if after > before]
    if not steps:
        return 1, last_duration or 1 / DEFAULT_RATE, rate or DEFAULT_RATE
    usual = sorted(steps)[len(steps) // 2]
    even = [step for step in steps if abs(step - usual) <= tick]
    if len(steps) - len(even) <= max(1, len(steps) // 100) and len(even) > 2:
        # A constant rate. An odd step that is no whole number of frames comes from joining fragments, and the last
        # frame may be drawn out to where the sound ends; neither is time that passes.
        interval = sum(even, Fraction(0)) / len(even)
        lasting = sum(round(step / interval) if _is_whole(step / interval) else 1 for step in steps)
        return len(times), (lasting + 1) * interval, rate or _usual(1 / interval)
    length = times[-1] - times[0]
    length += last_duration or length / len(steps)
    return len(times), length, rate or _usual(len(times) / length)


def _constant_rate(stream: av.VideoStream) -> Fraction | None:
    """The rate of a file that states one for every frame."""
    rate = stream.average_rate
    if rate and rate == stream.base_rate and RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]:
        return rate.limit_denominator(1001)
    return None


def _is_whole(frames: Fraction) -> bool:
    return abs(frames - round(frames)) < Fraction(1, 10)


def _usual(rate: Fraction) -> Fraction:
    """A usual rate that is close to a measured one, or the measured one where none is."""
    if not RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]:
        return DEFAULT_RATE
    usual = min(USUAL_RATES, key=lambda usual: abs(usual - rate))
    return usual if abs(usual - rate) < 0.003 * rate else rate.limit_denominator(1001)


def _check_size(name: str, width: int, height: int) -> None:
    if not 1 <= width * height <= MAX_FRAME_PIXELS:
        raise MediaError(f"{name} has frames of {width} x {height} px. Convert it to a usual size.")


def _square_size(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Stored width and height with the width stretched so that pixels are square (old cameras, some screen grabs)."""
    return round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
