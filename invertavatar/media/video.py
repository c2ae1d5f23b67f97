"""Videos in: their frames at a constant rate.

Shapes: H W picture.
"""

import logging
import math
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from ..errors import MediaError
from . import animation, colour
from .info import NTSC_RATES, display_matrix, probe
from .kinds import kind_of
from .streams import blank, decoded_frames, in_seconds, open_input, video_stream

logger = logging.getLogger(__name__)

MAX_HOLD = Fraction(60)  # seconds that a frame may stand: a damaged timestamp must not make a film of years

Picture = Callable[[], np.ndarray]  # draws a frame, [H, W, 3] uint8


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

    def __exit__(self, *exception: object) -> None:
        self._on_exit.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        frames = self._frames()
        self._on_exit.callback(frames.close)
        return frames

    def _frames(self) -> Generator[np.ndarray, None, None]:
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
            raise MediaError(blank(self.path.name))
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
            stream = video_stream(container, self.path.name)
            stream.thread_type = "AUTO"
            for frame in decoded_frames(container, stream, problems):
                time = None if frame.pts is None else in_seconds(frame.pts, frame.time_base)
                lasts = in_seconds(frame.duration or 0, frame.time_base)
                yield time, lasts, partial(self._picture, frame, reformatter)

    def _picture(self, frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
        matrix = display_matrix(frame)
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


def _upright(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turns and mirrors a stored picture [H, W, 3] as its display matrix says."""
    if matrix[0, 0] == 0:
        picture, matrix = picture.transpose(1, 0, 2), matrix[::-1]
    return picture[:: -1 if matrix[1, 1] < 0 else 1, :: -1 if matrix[0, 0] < 0 else 1]


def _nearest(value: Fraction) -> int:
    """Rounded to the nearest, halves up: `round` would send halves to even and hold every second frame twice."""
    return math.floor(value + Fraction(1, 2))
