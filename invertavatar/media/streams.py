"""What a video or sound file holds: which stream is taken, and its packets and frames as far as they can be read."""

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import av.container
import av.stream

from ..errors import MediaError
from .files import existing_file, shortened
from .kinds import is_cover, open_container

AnyStream = TypeVar("AnyStream", bound=av.stream.Stream)

MAX_FRAME_PIXELS = 2**25  # of a frame: enough for 8K, and no few damaged bytes make a decoder ask for all memory
DAMAGE = (av.FFmpegError, IndexError)  # the second is PyAV's word for a packet of a stream that the file never declared


def open_input(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a video or sound file and nothing but that file: no address, no playlist.

    Raises:
        MediaError: It is missing, empty, or neither.
    """
    path = existing_file(path)
    try:
        return open_container(path)
    except av.FFmpegError as error:
        raise MediaError(_unreadable(shortened(path.name))) from error


def sound_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound that players play, of those that can be decoded, or None."""
    return _preferred([s for s in container.streams.audio if s.codec_context and s.sample_rate and s.channels])


def first_time(path: str | os.PathLike) -> Fraction:
    """Seconds on a file's own clock at which its first picture that can be decoded appears; 0 without one."""
    with open_input(path) as container:
        if not any(s.codec_context and not is_cover(s) for s in container.streams.video):
            return Fraction(0)
        frame = next(decoded_frames(container, video_stream(container, Path(path).name), []), None)
    return in_seconds(frame.pts, frame.time_base) if frame is not None and frame.pts is not None else Fraction(0)


def in_seconds(ticks: int, time_base: Fraction | None) -> Fraction:
    """A time of a stream or of a frame; where none says what it counts in, it is what ffmpeg itself counts in."""
    return ticks * (time_base or Fraction(1, av.time_base))


def video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The picture that players show; never a cover.

    Raises:
        MediaError: There is none.
    """
    stream = _preferred([s for s in container.streams.video if s.codec_context and not is_cover(s)])
    if stream is not None:
        stream.codec_context.options |= {"max_pixels": str(MAX_FRAME_PIXELS)}
        return stream
    if not container.streams.audio:
        raise MediaError(_unreadable(name))
    raise MediaError(f"{name} holds no video, only sound. Give a file with a picture.")


def _preferred(streams: list[AnyStream]) -> AnyStream | None:
    """The first that the file marks as default, else the first."""
    marked = (stream for stream in streams if stream.disposition & av.stream.Disposition.default)
    return next(marked, streams[0] if streams else None)


def decoded_frames(
    container: av.container.InputContainer, stream: av.VideoStream, problems: list[str]
) -> Iterator[av.VideoFrame]:
    """All whole frames; what could not be read is added to `problems`."""
    for packet in read_packets(container, stream, problems):
        try:
            frames = packet.decode()
        except DAMAGE as error:
            problems.append(str(error))
            continue
        for frame in frames:
            if frame.is_corrupt:
                problems.append("broken frame")
            else:
                yield frame


def read_packets(
    container: av.container.InputContainer, stream: av.stream.Stream, problems: list[str]
) -> Iterator[av.Packet]:
    """The packets of a stream as far as the file can be read; what could not be is added to `problems`."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except DAMAGE as error:
            problems.append(str(error))
            if not isinstance(error, av.InvalidDataError):
                return
            continue
        if packet is None:
            return
        yield packet


def _unreadable(name: str) -> str:
    return f"{name} is not a video that can be read, or was cut off while copying. Use an mp4, mov, webm or gif."


def blank(name: str) -> str:
    """The sentence about a file without a single frame."""
    return f"{name} holds no frame that can be decoded. Copy or convert it again."
