"""Videos out: H.264, VP9 with alpha, GIF, animated WebP, or a sequence of PNG pictures.

Shapes: H W picture, C channels (3 RGB, 4 RGBA).
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import av.filter
import imageio.v3 as iio
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from ..errors import MediaError
from . import srgb
from .files import check_name, existing_file, full_disk_said, made_folder, written_whole
from .sound import sound_track
from .video import as_rate

MOVIE_CODECS: dict[str, Literal["libx264", "libvpx-vp9"]] = {
    ".mp4": "libx264",
    ".mov": "libx264",
    ".webm": "libvpx-vp9",
}
QUALITIES = {  # by codec: constant rate factor or quality, and speed
    "high": {
        "libx264": {"crf": "16", "preset": "veryfast"},
        "libvpx-vp9": {"crf": "24", "deadline": "good", "cpu-used": "4"},
        "libwebp_anim": {"quality": "92", "compression_level": "3"},
    },
    "draft": {
        "libx264": {"crf": "26", "preset": "veryfast"},
        "libvpx-vp9": {"crf": "36", "deadline": "realtime", "cpu-used": "8"},
        "libwebp_anim": {"quality": "70", "compression_level": "1"},
    },
}
GIF_TICK = Fraction(1, 100)  # seconds; GIF knows no finer time
GIF_MIN_TICKS = 2  # browsers slow anything faster down to 10 frames per second
FRAME_PATTERN = "frame_%05d.png"  # inside a folder
FRAME_NUMBER = re.compile(r"%0?(\d{0,2})d")

Sink = Callable[[np.ndarray], None]


class VideoWriter:
    """Writes frames to a video as they come; use it in a `with` block.

    The name says what is written: `.mp4` or `.mov` (H.264, plays in browsers while it loads), `.webm` (VP9, transparent
    when the frames are), `.gif` (loops), `.webp` (loops, transparent too), or a folder or `name_%05d.png` for one PNG
    per frame, counted from 0 (transparent too). All of it appears at the end of the block, whole: after an error or
    Ctrl-C nothing is left, and an older file of that name stays. An older PNG sequence of the same pattern is replaced.

    Odd sizes gain a row or column in H.264 and VP9, a copy of the edge. GIF is limited to 50 frames per second: of a
    faster video some are left out.

    Args:
        path: Where to write; missing folders are made.
        fps: Frames per second; a fraction is kept exactly.
        audio_from: A video or sound file whose sound is added from its start, trimmed to the written frames. Without
            sound in it, or for GIF, WebP and PNG, there is none.
        audio_duration: Seconds of sound at most.
        quality: "high" or "draft" (quicker, smaller).

    Raises:
        MediaError: A name of another kind, an `audio_from` that is missing, a rate or quality that is none.

    Example:
        >>> with VideoReader("talk.mp4") as video, VideoWriter("out.mp4", video.fps, audio_from="talk.mp4") as out:
        ...     for frame in video:
        ...         out.write(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        audio_from: str | os.PathLike | None = None,
        audio_duration: float | None = None,
        quality: str = "high",
    ):
        self.path = Path(path)
        self.fps = as_rate(fps)
        self.num_frames = 0
        if quality not in QUALITIES:
            raise MediaError(f'"{quality}" is not a video quality; choose {" or ".join(QUALITIES)}.')
        self._quality = quality
        self._audio_from = existing_file(audio_from) if audio_from else None
        self._audio_duration = audio_duration
        check_name(self.path)
        self._kind = _kind_of(self.path)
        self._shape: tuple[int, ...] = ()  # of the first frame
        self._sink: Sink | None = None
        self._open = ExitStack()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)
        if kind is None and self.num_frames == 0:
            raise MediaError(f"No frame was written to {self.path.name}, so there is no video.")

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame.

        Args:
            frame: [H, W, 3] RGB or [H, W, 4] RGBA (not premultiplied), uint8; all of the first one's shape.

        Raises:
            MediaError: Another shape or type, or alpha in a format that has none.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (3, 4):
            raise MediaError(
                f"A frame for {self.path.name} is an array {list(frame.shape)} of {frame.dtype}; "
                "give uint8 [H, W, 3] or [H, W, 4]."
            )
        if self._sink is None:
            self._shape = frame.shape
            self._sink = self._open.enter_context(self._open_sink(frame))
        if frame.shape != self._shape:
            raise MediaError(
                f"Frame {self.num_frames} for {self.path.name} is {list(frame.shape)} and those before it are "
                f"{list(self._shape)}. Give all frames one size."
            )
        self._sink(np.ascontiguousarray(frame))
        self.num_frames += 1

    def _open_sink(self, frame: np.ndarray) -> AbstractContextManager[Sink]:
        if frame.shape[2] == 4 and self._kind in (".mp4", ".mov", ".gif"):
            raise MediaError(
                f"{self.path.name} cannot be transparent as {self._kind} has no soft alpha. "
                "Write a .webm or a sequence such as name_%05d.png instead."
            )
        if self._kind == ".png":
            return _png_sink(self.path)
        if self._kind == ".gif":
            return _gif_sink(self.path, self.fps, *frame.shape[1::-1])
        if self._kind == ".webp":
            return _webp_sink(self.path, self.fps, frame.shape, self._quality)
        return self._movie_sink(frame.shape)

    @contextmanager
    def _movie_sink(self, shape: tuple[int, int, int]) -> Iterator[Sink]:
        height, width, channels = shape
        codec = MOVIE_CODECS[self._kind]
        layout = "yuva420p" if channels == 4 else "yuv420p"
        container_options = {} if self._kind == ".webm" else {"movflags": "+faststart"}
        limit = None if self._audio_duration is None else Fraction(self._audio_duration)
        reformatter = VideoReformatter()
        with ExitStack() as stack:
            partial = stack.enter_context(written_whole(self.path))
            output = stack.enter_context(av.open(str(partial.resolve()), "w", container_options=container_options))
            stream = output.add_stream(codec, rate=self.fps, options=dict(QUALITIES[self._quality][codec]))
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, layout
            _tag_colours(stream.codec_context)
            if channels == 4:
                stream.metadata["alpha_mode"] = "1"
                stream.codec_context.options |= {"auto-alt-ref": "0"}  # the encoder refuses alpha with hidden frames
            if codec == "libvpx-vp9":
                stream.bit_rate = 0  # constant quality
            advance_sound = (
                stack.enter_context(sound_track(self._audio_from, output, self._kind)) if self._audio_from else None
            )
            count = 0

            def put(frame: np.ndarray) -> None:
                nonlocal count
                if height % 2 or width % 2:
                    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                picture = reformatter.reformat(
                    av.VideoFrame.from_ndarray(frame, "rgba" if channels == 4 else "rgb24"),
                    format=layout,
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                )
                picture.pts, picture.time_base = count, 1 / self.fps
                count += 1
                for packet in stream.encode(picture):
                    mux(packet)

            def mux(packet: av.Packet) -> None:
                time = None if packet.dts is None else packet.dts * packet.time_base
                output.mux(packet)
                if advance_sound and time is not None:
                    advance_sound(time if limit is None else min(time, limit))

            yield put
            for packet in stream.encode(None):
                mux(packet)
            if advance_sound:
                end = count / self.fps
                advance_sound(end if limit is None else min(end, limit))


def _kind_of(path: Path) -> str:
    """The suffix that decides how to write; ".png" for a folder."""
    suffix = path.suffix.lower()
    if suffix == ".png" and not FRAME_NUMBER.search(path.name):
        raise MediaError(f"{path.name} is one picture; for a sequence write a name such as {path.stem}_%05d.png.")
    if suffix in (*MOVIE_CODECS, ".gif", ".webp", ".png"):
        return suffix
    if path.is_dir() or not suffix:
        return ".png"
    raise MediaError(f"Cannot write a video as {path.name}; end it in .mp4, .mov, .webm, .gif, .webp or _%05d.png.")


def _tag_colours(context: av.VideoCodecContext) -> None:
    context.colorspace = Colorspace.ITU709  # the scaler's number for BT.709 is the codec's too
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.IEC61966_2_1  # sRGB, as the frames are
    context.color_range = ColorRange.MPEG


@contextmanager
def _gif_sink(path: Path, fps: Fraction, width: int, height: int) -> Iterator[Sink]:
    """Each frame gets its own palette: better than one for all, and known without waiting for the last frame.

    By PyAV itself: imageio's Pillow writer keeps all frames until the end, and its PyAV writer scales what passes a
    filter to 640 x 480 px.
    """
    options = {"loop": "0", "final_delay": str(round(1 / fps / GIF_TICK))}
    with written_whole(path) as partial, av.open(str(partial.resolve()), "w", options=options) as output:
        stream = output.add_stream("gif", rate=round(1 / GIF_TICK))
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        graph = _palette_graph(width, height)
        count, last_tick = 0, -GIF_MIN_TICKS

        def put(frame: np.ndarray) -> None:
            nonlocal count, last_tick
            tick = round(count / fps / GIF_TICK)
            count += 1
            if tick - last_tick < GIF_MIN_TICKS:
                return
            last_tick = tick
            source = av.VideoFrame.from_ndarray(frame, "rgb24")
            source.pts, source.time_base = tick, GIF_TICK
            graph.vpush(source)
            picture = graph.vpull()
            picture.pts, picture.time_base = tick, GIF_TICK
            output.mux(stream.encode(picture))

        yield put
        output.mux(stream.encode(None))


def _palette_graph(width: int, height: int) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=GIF_TICK)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


@contextmanager
def _webp_sink(path: Path, fps: Fraction, shape: tuple[int, int, int], quality: str) -> Iterator[Sink]:
    """By PyAV itself, as imageio offers no way to say how good WebP shall be."""
    height, width, channels = shape
    with written_whole(path) as partial, av.open(str(partial.resolve()), "w", options={"loop": "0"}) as output:
        stream = output.add_stream("libwebp_anim", rate=fps, options=dict(QUALITIES[quality]["libwebp_anim"]))
        stream.width, stream.height, stream.pix_fmt = width, height, "bgra"
        count = 0

        def put(frame: np.ndarray) -> None:
            nonlocal count
            picture = av.VideoFrame.from_ndarray(frame, "rgba" if channels == 4 else "rgb24").reformat(format="bgra")
            picture.pts, picture.time_base = count, 1 / fps
            count += 1
            output.mux(stream.encode(picture))

        yield put
        output.mux(stream.encode(None))
        output.close()
        srgb.tag_animated_webp(partial)


@contextmanager
def _png_sink(path: Path) -> Iterator[Sink]:
    """Pictures wait in a hidden folder inside the target folder until all are there."""
    folder, pattern = (path.parent, path.name) if path.suffix.lower() == ".png" else (path, FRAME_PATTERN)
    before, width, after = FRAME_NUMBER.split(pattern, maxsplit=1)
    digits = int(width or 1)
    check_name(Path(f"{before}{0:0{digits}d}{after}"))
    count, tags = 0, srgb.tags("PNG")
    with made_folder(folder), full_disk_said(path):
        partial = folder / f".{uuid.uuid4().hex}"
        partial.mkdir()

        def put(frame: np.ndarray) -> None:
            nonlocal count
            iio.imwrite(
                partial / f"{before}{count:0{digits}d}{after}", frame, extension=".png", compress_level=3, **tags
            )
            count += 1

        try:
            yield put
            older = re.compile(re.escape(before) + r"\d+" + re.escape(after))
            for file in folder.iterdir():
                if older.fullmatch(file.name):
                    file.unlink()
            for picture in partial.iterdir():
                os.replace(picture, folder / picture.name)
        finally:
            shutil.rmtree(partial)
