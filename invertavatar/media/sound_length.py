"""Whether a file holds sound to lend, and for how long."""

import logging
import math
import os
from fractions import Fraction

from ..errors import MediaError
from .files import existing_file
from .streams import DAMAGE, open_input, sound_stream

logger = logging.getLogger(__name__)


def frames_of_sound(seconds: float, fps: Fraction | float) -> int:
    """How many frames of a still show it until its sound has ended."""
    return max(1, math.ceil(seconds * float(fps) - 1e-6))


def sound_seconds(path: str | os.PathLike) -> float:
    """Seconds of sound in a sound or video file, counted from its packets, as what a file declares may be wrong.

    Args:
        path: Any file that `VideoWriter` takes as `audio_from`.

    Raises:
        MediaError: The file is missing, or holds no sound that can be read.
    """
    path = existing_file(path)
    try:
        source = open_input(path)
    except MediaError as error:
        raise MediaError(silent(path.name)) from error
    with source:
        stream = sound_stream(source)
        if stream is None:
            raise MediaError(silent(path.name))
        starts, ends = [], []
        try:
            for packet in source.demux(stream):
                if packet.pts is not None:
                    starts.append(packet.pts * packet.time_base)
                    ends.append(starts[-1] + (packet.duration or 0) * packet.time_base)
        except DAMAGE as error:
            logger.debug("%s ends early: %s", path, error)
    if not starts:
        raise MediaError(silent(path.name))
    return float(max(ends) - max(min(starts), Fraction(0)))


def silent(name: str) -> str:
    """The sentence about a file without sound."""
    return f"{name} holds no sound that can be read; give a sound file (wav, mp3, m4a...) or a video with sound."
