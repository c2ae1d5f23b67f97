"""The sound of one file on its way into a video that is being written, packet by packet.

Sound never costs the film: what cannot be decoded is silent, what changes its form is brought to one, and a warning
says so.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import av
import av.container
import numpy as np

from ..errors import MediaError
from .files import is_full
from .kinds import kind_of
from .streams import DAMAGE, first_time, in_seconds, open_input, read_packets, sound_stream
from .video import MAX_HOLD

logger = logging.getLogger(__name__)

COPIED_CODECS = {
    ".mp4": ("aac", "mp3"),
    ".mov": ("aac", "mp3"),
    ".webm": ("opus", "vorbis"),
}  # that browsers play there
ENCODERS: dict[str, Literal["aac", "libopus"]] = {".mp4": "aac", ".mov": "aac", ".webm": "libopus"}
SAMPLE_RATE = 48000  # Hz; one that both encoders take
BIT_RATE = 128_000  # bits per second
LOOSE = 0.02  # seconds by which timestamps may miss before silence is filled in or sound left out
UNDECODABLE = (*DAMAGE, ValueError, NotImplementedError, MemoryError)  # a decoder's and PyAV's words for bad sound


class Survey(NamedTuple):
    """What decoding all sound of a file shows.

    Attributes:
        is_whole: Every packet can be decoded, and none changes sample rate, channels or sample format.
        is_mono: All of it is.
        remark: What the user should know, or "".
    """

    is_whole: bool
    is_mono: bool
    remark: str = ""


@contextmanager
def sound_track(
    path: str | os.PathLike, output: av.container.OutputContainer, suffix: str
) -> Iterator[Callable[[Fraction], None]]:
    """Adds the sound of a file to a video being written: copied where it is whole and browsers play its codec in that
    kind of file, else encoded as AAC (mp4, mov) or Opus (webm). A file without sound adds nothing.

    Args:
        path: A video or a sound file. Time 0 is where its video starts, if it has one.
        output: The open file, to which nothing was written yet.
        suffix: ".mp4", ".mov" or ".webm".

    Yields:
        `advance(seconds)`, which writes all sound that ends by that time. Later sound stays unread, so that calling it
        after each picture keeps both streams side by side, and stopping to call it trims the sound.
    """
    packets: Iterator[av.Packet] = iter(())
    name = Path(path).name
    source = _opened(path) if kind_of(path) in ("video", "sound") else None
    if source is not None:
        with source:
            stream = sound_stream(source)
            if stream is not None:
                packets = _packets(Path(path), source, stream, output, suffix)
            elif source.streams.audio:
                logger.warning("The sound of %s is of a kind that cannot be decoded here, and is left out.", name)
            yield _writer(output, _while_sound(packets, name))
    else:
        yield _writer(output, _while_sound(packets, name))


def _opened(path: str | os.PathLike) -> av.container.InputContainer | None:
    try:
        return open_input(path)
    except MediaError as error:
        logger.warning("There will be no sound: %s", error)
        return None


def _packets(
    path: Path,
    source: av.container.InputContainer,
    stream: av.AudioStream,
    output: av.container.OutputContainer,
    suffix: str,
) -> Iterator[av.Packet]:
    survey = surveyed(path)
    if survey.remark:
        logger.warning("The sound of %s %s.", path.name, survey.remark)
    start = first_time(path)
    # Without a header of its own, as in a transport stream, AAC is in another form than mp4 wants.
    has_header = bool(stream.codec_context.extradata) or stream.codec.canonical_name == "mp3"
    if survey.is_whole and has_header and stream.codec.canonical_name in COPIED_CODECS[suffix]:
        return _copied(source, stream, output.add_stream_from_template(stream), start)
    encoder = output.add_stream(ENCODERS[suffix], rate=SAMPLE_RATE)
    encoder.layout = "mono" if survey.is_mono else "stereo"
    encoder.bit_rate = BIT_RATE
    return _encoded(source, stream, encoder, start)


def surveyed(path: Path) -> Survey:
    """Decodes all sound of a file once, some thousand times faster than it lasts, as a copy must not carry damage."""
    forms: list[tuple[int, int, str]] = []
    damaged = []
    with open_input(path) as source:
        stream = sound_stream(source)
        for frame in () if stream is None else decoded(source, stream, damaged):
            form = frame.sample_rate, len(frame.layout.channels), frame.format.name
            if form not in forms:
                forms.append(form)
    remark = ""
    if not forms:
        remark = "cannot be decoded, and is left out"
    elif damaged:
        remark = f"is damaged; what cannot be decoded ({len(damaged)} of its packets) is silent"
    elif len(forms) > 1:
        remark = f"changes its form {len(forms) - 1} time(s) ({_described(forms)}) and is brought to one"
    return Survey(len(forms) == 1 and not damaged, all(channels == 1 for _, channels, _ in forms), remark)


def _described(forms: list[tuple[int, int, str]]) -> str:
    return ", ".join(f"{channels} channel(s) at {rate} Hz" for rate, channels, _ in forms)


def _writer(
    output: av.container.OutputContainer, packets: Generator[av.Packet, None, None]
) -> Callable[[Fraction], None]:
    waiting: list[av.Packet] = []
    last_dts: int | None = None

    def advance(seconds: Fraction) -> None:
        nonlocal last_dts
        while True:
            packet = waiting.pop() if waiting else next(packets, None)
            if packet is None or packet.pts is None or packet.dts is None:  # the end
                return
            if (packet.pts + (packet.duration or 0)) * packet.time_base > seconds:
                waiting.append(packet)
                return
            if last_dts is None or packet.dts > last_dts:  # no container takes time that runs back
                last_dts = packet.dts
                try:
                    output.mux(packet)
                except DAMAGE as error:  # what was copied unseen, the container may refuse
                    if is_full(error):
                        raise
                    logger.warning("The sound ends early: it cannot be written (%s).", error)
                    packets.close()

    return advance


def _while_sound(packets: Iterator[av.Packet], name: str) -> Generator[av.Packet, None, None]:
    try:
        yield from packets
    except UNDECODABLE as error:
        logger.warning("The sound of %s is damaged and ends early (%s).", name, error)


def _copied(
    source: av.container.InputContainer, stream: av.AudioStream, target: av.AudioStream, start: Fraction
) -> Iterator[av.Packet]:
    shift = round(start / in_seconds(1, stream.time_base))
    for packet in source.demux(stream):
        if packet.dts is None or packet.pts is None:  # the end
            return
        packet.pts -= shift
        packet.dts -= shift
        if packet.pts + (packet.duration or 0) >= 0:  # an encoder's lead-in, which ends at 0, stays
            packet.stream = target
            yield packet


def _encoded(
    source: av.container.InputContainer, stream: av.AudioStream, encoder: av.AudioStream, start: Fraction
) -> Iterator[av.Packet]:
    context = encoder.codec_context  # open since the first picture was written, so it states its frame size
    cutter = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size)
    count = 0
    for samples in in_time(in_one_form(decoded(source, stream, []), context.layout), start):
        part = av.AudioFrame.from_ndarray(samples, "fltp", context.layout.name)
        part.sample_rate, part.pts, part.time_base = SAMPLE_RATE, count, Fraction(1, SAMPLE_RATE)
        count += samples.shape[1]
        for frame in cutter.resample(part):
            yield from encoder.encode(frame)
    if count:
        for frame in cutter.resample(None):
            yield from encoder.encode(frame)
    yield from encoder.encode(None)


def decoded(source: av.container.InputContainer, stream: av.AudioStream, damaged: list[str]) -> Iterator[av.AudioFrame]:
    """All frames that can be decoded; each packet that cannot adds a word to `damaged`."""
    for packet in read_packets(source, stream, damaged):
        try:
            yield from packet.decode()
        except UNDECODABLE as error:
            damaged.append(str(error))


def in_one_form(
    frames: Iterator[av.AudioFrame], layout: av.AudioLayout, rate: int = SAMPLE_RATE
) -> Iterator[tuple[Fraction | None, np.ndarray]]:
    """Seconds at which a piece of sound starts, and the piece [channels, samples] as float32 at one sample rate."""
    form = resampler = None
    for frame in frames:
        now = frame.sample_rate, frame.layout.name, frame.format.name
        if resampler is None or form != now:
            if resampler is not None:
                yield from ((None, flushed.to_ndarray()) for flushed in resampler.resample(None))
            form, resampler = now, av.AudioResampler("fltp", layout, rate)
        time = None if frame.pts is None else in_seconds(frame.pts, frame.time_base)
        frame.pts = None  # the resampler counts samples by itself
        pieces = resampler.resample(frame)
        for piece in pieces:
            yield time, piece.to_ndarray()
            time = None
    if resampler is not None:
        yield from ((None, flushed.to_ndarray()) for flushed in resampler.resample(None))


def in_time(
    pieces: Iterator[tuple[Fraction | None, np.ndarray]], start: Fraction, rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """The pieces without gap or overlap from `start` on: what is missing is silent, what comes twice is left out."""
    count, loose = 0, round(LOOSE * rate)  # samples so far
    for time, samples in pieces:
        late = 0 if time is None else round((time - start) * rate) - count
        if count and abs(late) > MAX_HOLD * rate:  # the clock jumped, so it goes on from here
            start, late = start + Fraction(late, rate), 0
        if late < 0 and (count == 0 or late < -loose):
            samples = samples[:, min(-late, samples.shape[1]) :]
        elif late > loose or (late > 0 and count == 0):
            for part in range(late, 0, -rate):
                silence = np.zeros((samples.shape[0], min(part, rate)), np.float32)
                count += silence.shape[1]
                yield silence
        if samples.shape[1]:
            count += samples.shape[1]
            yield np.ascontiguousarray(samples)
