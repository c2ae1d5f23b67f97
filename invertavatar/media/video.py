"""Videos in: what a file holds, and its frames at a constant rate.

Shapes: H W picture.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Colorspace, VideoReformatter

from ..errors import MediaError
from . import animation, colour
from .files import existing_file, shortened
from .kinds import is_cover, kind_of, open_container

logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)  # frames per second where a file states none or an absurd one
RATE_LIMITS = (1, 1000)  # slow motion is filmed at 240, by cameras made for it at up to 960
MAX_PIXELS = 2**25  # of a frame: enough for 8K, and no few damaged bytes make a decoder ask for all memory
MAX_HOLD = Fraction(60)  # seconds that a frame may stand: a damaged timestamp must not make a film of years
DAMAGE = (av.FFmpegError, IndexError)  # the second is PyAV's word for a packet of a stream that the file never declared
NTSC_RATES = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120))
USUAL_RATES = NTSC_RATES + tuple(map(Fraction, (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)))

Picture = Callable[[], np.ndarray]  # draws a frame, [H, W, 3] uint8


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
        stream = _video_stream(container, path.name)
        sound = sound_stream(container)
        frame = next(_decoded(container, stream, []), None)
        if frame is None:
            raise MediaError(_blank(path.name))
        num_frames, duration, fps = _declared_length(container, stream) or _counted_length(path)
        width, height = _square_size(stream, frame)
        _check_size(path.name, width, height)
        tags = stream.metadata
        turned = abs(_display_matrix(frame)[0, 0]) < 0.5
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
        raise MediaError(_blank(path.name))
    return MediaInfo(
        duration=float(sum(lengths)),
        fps=_usual(1 / lengths[0]) if len(set(lengths[:-1])) <= 1 else _usual(len(lengths) / sum(lengths)),
        num_frames=len(lengths),
        size=(width, height),
        codec=kind,
        pix_fmt="rgb24",
        has_audio=False,
        audio_codec=None,
        rotation=0,
    )


class VideoReader:
    """The frames of a video as pictures at a constant rate.

    One frame is decoded at a time, so memory does not grow with the length. A variable rate is evened out by the
    timestamps: the k-th picture is the frame nearest to k / fps seconds after the first one, and where there is none
    within half an interval the one before is held. Phone videos come upright. A damaged or cut-off file gives what can
    be decoded, and one warning. Each iteration starts from the beginning again.

    Args:
        path: A video file (mp4, mov, webm, mkv, avi, mts and others) or an animated picture (GIF, WebP, PNG, AVIF),
            whatever its name ends in. HDR comes as SDR.
        fps: Frames per second to read at; the file's own by default (25 where it states none between 1 and 1000).

    Attributes:
        fps: The rate of the pictures, exactly.
        duration: Seconds, as the file declares.
        num_frames: How many pictures to expect, from the duration; a damaged file gives fewer, and files with loose
            timestamps may miss it by one or two.
        size: (width, height) in px of the pictures.
        has_audio: Whether the file has sound.

    Raises:
        MediaError: The file is missing, empty, not a video, or holds no frame that can be decoded.

    Example:
        >>> with VideoReader("talk.mp4") as video:
        ...     for frame in video:  # [H, W, 3] uint8 RGB
        ...         ...
    """

    def __init__(self, path: str | os.PathLike, fps: Fraction | float | None = None):
        info = probe(path)
        self.path = Path(path)
        self._is_animation = kind_of(path) == "animation"
        self.fps = info.fps if fps is None else as_rate(fps)
        self.duration = info.duration
        self.num_frames = max(1, _nearest(Fraction(info.duration) * self.fps))
        self.size = info.size
        self.has_audio = info.has_audio
        self._frame_duration = Fraction(info.duration) / info.num_frames  # of the last frame, where it states none
        self._on_exit = ExitStack()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exception) -> None:
        self._on_exit.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        frames = self._frames()
        self._on_exit.callback(frames.close)
        return frames

    def _frames(self) -> Iterator[np.ndarray]:
        """Each source frame aims at the place round(t fps) and lasts until the next one's place; of several that aim at
        one place the nearest wins.
        """
        problems: list[str] = []
        start = held = None
        place, error, end = 0, Fraction(0), Fraction(0)
        for time, duration, picture in self._timed_frames(problems):
            time = end if time is None else time
            start = time if start is None else start
            time -= start
            if abs(time - end) > MAX_HOLD:  # the clock jumped, so it goes on from here
                problems.append("broken time")
                start, time = start + time - end, end
            end = time + min(MAX_HOLD, duration or self._frame_duration)
            next_place = max(place, min(_nearest(time * self.fps), self.num_frames - 1))
            next_error = abs(time * self.fps - next_place)
            if held is None or next_place > place or next_error < error:
                if held is not None:
                    yield from _repeated(held, next_place - place)
                held, place, error = picture, next_place, next_error
        if held is None:
            raise MediaError(_blank(self.path.name))
        # The last frame may claim to last as long as the sound.
        yield from _repeated(held, max(1, min(_nearest(end * self.fps), self.num_frames)) - place)
        if problems or end < self.duration - 0.25 - 2 * self._frame_duration:
            logger.warning(
                "%s is damaged or cut off: %.1f of %.1f seconds could be read.",
                self.path.name,
                end,
                self.duration,
            )

    def _timed_frames(self, problems: list[str]) -> Iterator[tuple[Fraction | None, Fraction, Picture]]:
        """Seconds at which a frame appears (None where unknown), seconds it claims to last, and what draws it."""
        if self._is_animation:
            for time, duration, frame in animation.frames_of(self.path, problems):
                yield time, duration, partial(np.asarray, frame)
            return
        reformatter = VideoReformatter()
        with open_input(self.path) as container:
            stream = _video_stream(container, self.path.name)
            stream.thread_type = "AUTO"
            for frame in _decoded(container, stream, problems):
                time = None if frame.pts is None else frame.pts * frame.time_base
                yield time, (frame.duration or 0) * frame.time_base, partial(self._picture, frame, reformatter)

    def _picture(self, frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        matrix = _display_matrix(frame)
        width, height = self.size if abs(matrix[0, 0]) > 0.5 else self.size[::-1]
        return _upright(_to_rgb(frame, width, height, reformatter), matrix)


def _repeated(picture: Picture, count: int) -> Iterator[np.ndarray]:
    if count > 0:
        shown = picture()
        for _ in range(count):
            yield shown.copy()  # the one who asked may draw on it


def as_rate(fps: Fraction | float) -> Fraction:
    """Frames per second as a fraction; 29.97 and its like become the exact 30000/1001.

    Raises:
        MediaError: It is not a number above 0.
    """
    if not 0 < fps < math.inf:
        raise MediaError(f"{fps} is not a frame rate; give frames per second above 0, such as 25.")
    if isinstance(fps, (int, Fraction)):
        return Fraction(fps)
    nearest = min(NTSC_RATES, key=lambda rate: abs(rate - fps))
    return nearest if abs(nearest - fps) < 0.005 else Fraction(fps).limit_denominator(1001) or Fraction(1, 1001)


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
        frame = next(_decoded(container, _video_stream(container, Path(path).name), []), None)
    return frame.pts * frame.time_base if frame is not None and frame.pts is not None else Fraction(0)


def _unreadable(name: str) -> str:
    return f"{name} is not a video that can be read, or was cut off while copying. Use an mp4, mov, webm or gif."


def _blank(name: str) -> str:
    return f"{name} holds no frame that can be decoded. Copy or convert it again."


def _video_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    stream = _preferred([s for s in container.streams.video if s.codec_context and not is_cover(s)])
    if stream is not None:
        stream.codec_context.options |= {"max_pixels": str(MAX_PIXELS)}
        return stream
    if not container.streams.audio:
        raise MediaError(_unreadable(name))
    raise MediaError(f"{name} holds no video, only sound. Give a file with a picture.")


def _preferred(streams: list[av.stream.Stream]) -> av.stream.Stream | None:
    """The first that the file marks as default, else the first."""
    marked = (stream for stream in streams if stream.disposition & av.stream.Disposition.default)
    return next(marked, streams[0] if streams else None)


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, problems: list[str]
) -> Iterator[av.VideoFrame]:
    """All whole frames; what could not be read is added to `problems`."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except DAMAGE as error:
            problems.append(str(error))
            if not isinstance(error, av.InvalidDataError):
                return
            continue
        if packet is None:
            return
        for frame in frames:
            if frame.is_corrupt:
                problems.append("broken frame")
            else:
                yield frame


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
    seconds = stream.duration * stream.time_base
    if abs(stream.frames / seconds / rate - 1) > 0.01:
        return None
    whole = Fraction(container.duration or 0, av.time_base)
    return stream.frames, min(seconds, whole) if whole else seconds, rate


def _counted_length(path: Path) -> tuple[int, Fraction, Fraction]:
    """Frames, seconds and rate from a file's packets, without decoding them."""
    times, last_duration = [], Fraction(0)
    with open_input(path) as container:
        stream = _video_stream(container, path.name)
        try:
            for packet in container.demux(stream):
                if packet.pts is not None and not packet.is_discard:
                    times.append(packet.pts * packet.time_base)
                    last_duration = (packet.duration or 0) * packet.time_base
        except DAMAGE as error:
            logger.debug("%s ends early: %s", path, error)
        tick, rate = max(stream.time_base, Fraction(1, 1000)), _constant_rate(stream)
    times.sort()
    steps = [after - before for before, after in pairwise(times) if after > before]
    if not steps:
        return 1, last_duration or 1 / DEFAULT_RATE, rate or DEFAULT_RATE
    usual = sorted(steps)[len(steps) // 2]
    even = [step for step in steps if abs(step - usual) <= tick]
    if len(steps) - len(even) <= max(1, len(steps) // 100) and len(even) > 2:
        # A constant rate. An odd step that is no whole number of frames comes from joining fragments, and the last
        # frame may be drawn out to where the sound ends; neither is time that passes.
        interval = sum(even) / len(even)
        lasting = sum(round(step / interval) if _is_whole(step / interval) else 1 for step in steps)
        return len(times), (lasting + 1) * interval, rate or _usual(1 / interval)
    length = times[-1] - times[0]
    length += last_duration or length / len(steps)
    return len(times), length, rate or _usual(len(times) / length)


def _constant_rate(stream: av.VideoStream) -> Fraction | None:
    """The rate of a file that states one for every frame."""
    rate = stream.average_rate
    stated = rate and rate == stream.base_rate and RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]
    return rate.limit_denominator(1001) if stated else None


def _is_whole(frames: Fraction) -> bool:
    return abs(frames - round(frames)) < Fraction(1, 10)


def _usual(rate: Fraction) -> Fraction:
    """A usual rate that is close to a measured one, or the measured one where none is."""
    if not RATE_LIMITS[0] <= rate <= RATE_LIMITS[1]:
        return DEFAULT_RATE
    usual = min(USUAL_RATES, key=lambda usual: abs(usual - rate))
    return usual if abs(usual - rate) < 0.003 * rate else rate.limit_denominator(1001)


def _check_size(name: str, width: int, height: int) -> None:
    if not 1 <= width * height <= MAX_PIXELS:
        raise MediaError(f"{name} has frames of {width} x {height} px. Convert it to a usual size.")


def _square_size(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Stored width and height with the width stretched so that pixels are square (old cameras, some screen grabs)."""
    return round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height


def _to_rgb(frame: av.VideoFrame, width: int, height: int, reformatter: VideoReformatter) -> np.ndarray:
    """[height, width, 3] uint8. Untagged video is BT.709 when it is high definition and BT.601 below, as players do;
    untagged HDR is BT.2020.
    """
    source = None
    if frame.colorspace == colour.UNSPECIFIED:
        standard = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
        source = Colorspace.BT2020 if frame.color_trc in colour.HDR else standard
    if not colour.is_foreign(frame.color_primaries, frame.color_trc):
        return reformatter.reformat(frame, width, height, "rgb24", src_colorspace=source).to_ndarray()
    deep = reformatter.reformat(frame, width, height, "rgb48", src_colorspace=source).to_ndarray()
    return colour.to_sdr(deep, frame.color_primaries, frame.color_trc)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """[2, 2] of -1, 0, 1: stored (x right, y down), as a row vector, times it is the shown (x right, y down)."""
    data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
    if data is None:
        return np.eye(2)
    return np.rint(np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2] / 65536)  # 16.16 fixed point


def _upright(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns and mirrors a stored picture [H, W, 3] as its display matrix says."""
    if matrix[0, 0] == 0:
        picture, matrix = picture.transpose(1, 0, 2), matrix[::-1]
    return picture[:: -1 if matrix[1, 1] < 0 else 1, :: -1 if matrix[0, 0] < 0 else 1]


def _nearest(value: Fraction) -> int:
    """Rounded to the nearest, halves up: `round` would send halves to even and hold every second frame twice."""
    return math.floor(value + Fraction(1, 2))
