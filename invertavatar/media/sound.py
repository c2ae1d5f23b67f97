"""The sound of one file on its way into a video that is being written, packet by packet."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av

from .video import DAMAGE, open_input, sound_stream

logger = logging.getLogger(__name__)

COPIED_CODECS = {
    ".mp4": ("aac", "mp3"),
    ".mov": ("aac", "mp3"),
    ".webm": ("opus", "vorbis"),
}  # that browsers play there
ENCODERS = {".mp4": "aac", ".mov": "aac", ".webm": "libopus"}
SAMPLE_RATE = 48000  # Hz; one that both encoders take
BIT_RATE = 128_000  # bits per second


@contextmanager
def sound_track(
    path: str | os.PathLike, output: av.container.OutputContainer, suffix: str
) -> Iterator[Callable[[Fraction], None]]:
    """Adds the sound of a file to a video being written: copied where browsers play its codec in that kind of file,
    else encoded as AAC (mp4, mov) or Opus (webm). A file without sound adds nothing.

    Args:
        path: A video or a sound file. Time 0 is where its video starts, if it has one.
        output: The open file, to which nothing was written yet.
        suffix: ".mp4", ".mov" or ".webm".

    Yields:
        `advance(seconds)`, which writes all sound that ends by that time. Later sound stays unread, so that calling it
        after each picture keeps both streams side by side, and stopping to call it trims the sound.

    Raises:
        MediaError: The file is missing or cannot be read.
    """
    with open_input(path) as source:
        stream = sound_stream(source)
        if stream is None:
            yield lambda seconds: None
            return
        videos = source.streams.video
        start = (videos[0].start_time or 0) * videos[0].time_base if videos else Fraction(0)
        if stream.codec.canonical_name in COPIED_CODECS[suffix]:
            packets = _copied(source, stream, output.add_stream_from_template(stream), start)
        else:
            encoder = output.add_stream(ENCODERS[suffix], rate=SAMPLE_RATE)
            encoder.layout = "mono" if stream.channels == 1 else "stereo"
            encoder.bit_rate = BIT_RATE
            packets = _encoded(source, stream, encoder, start)
        name = Path(path).name
        packets = _until_damaged(packets, name)
        waiting: list[av.Packet] = []
        last_dts = None

        def advance(seconds: Fraction) -> None:
            nonlocal last_dts
            while True:
                packet = waiting.pop() if waiting else next(packets, None)
                if packet is None:
                    return
                if (packet.pts + (packet.duration or 0)) * packet.time_base > seconds:
                    waiting.append(packet)
                    return
                if last_dts is None or packet.dts > last_dts:  # no container takes time that runs back
                    last_dts = packet.dts
                    try:
                        output.mux(packet)
                    except DAMAGE as error:  # what was copied unseen, the container may refuse
                        _warn(name, error)
                        packets.close()

        yield advance


def _copied(
    source: av.container.InputContainer, stream: av.AudioStream, target: av.AudioStream, start: Fraction
) -> Iterator[av.Packet]:
    shift = round(start / stream.time_base)
    for packet in source.demux(stream):
        if packet.dts is None:  # the end
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
    resampler = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size)
    for frame in source.decode(stream):
        frame.pts -= round(start / frame.time_base)
        if frame.pts >= 0:
            for part in resampler.resample(frame):
                yield from encoder.encode(part)
    for part in resampler.resample(None):
        yield from encoder.encode(part)
    yield from encoder.encode(None)


def _until_damaged(packets: Iterator[av.Packet], name: str) -> Iterator[av.Packet]:
    try:
        yield from packets
    except DAMAGE as error:
        _warn(name, error)


def _warn(name: str, error: Exception) -> None:
    logger.warning("The sound of %s is damaged and ends early (%s).", name, error)
