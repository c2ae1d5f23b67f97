"""Sound in pieces of some seconds, cut where it is quiet, each with a little of what is around it.

Shapes: N samples.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from invertavatar.errors import MediaError
from invertavatar.media.samples import read_samples
from invertavatar.media.sound_length import sound_seconds
from invertavatar.speech.loudness import levels
from invertavatar.speech.phones import RATE

PIECE, FIRST = 6.0, 3.0  # seconds; the first is shorter, so that motion comes soon
SLACK = 1.5  # by which a piece may be shorter or longer
MARGIN = 0.6  # seconds around it

Audio = str | os.PathLike | tuple[np.ndarray, int]  # a file, or samples [N] or [N, channels] and their rate in Hz


class Piece(NamedTuple):
    """A piece of sound."""

    sound: np.ndarray  # [N] float32 in -1..1, with what is around it
    starts: float  # seconds at which that starts
    end: float  # seconds at which the piece itself ends and the next begins


def pieces(audio: Audio, rate: int) -> Iterator[Piece]:
    """All of a sound, piece after piece.

    Args:
        audio: See `Audio`.
        rate: Samples a second, a multiple of 100.

    Raises:
        MediaError: It cannot be read, or is no sound.
    """
    margin, slack = round(MARGIN * rate), round(SLACK * rate)
    held, first, start = np.zeros(0, np.float32), 0, 0  # samples at hand, and where they and the piece start

    def cut(end: int) -> Piece:
        nonlocal held, first, start
        piece = Piece(held[: end + margin - first], first / rate, end / rate)
        keep = max(end - margin, first) // (rate // RATE) * (rate // RATE)
        held, first, start = held[keep - first :], keep, end
        return piece

    for part in samples(audio, rate):
        held = np.concatenate([held, part])
        while first + len(held) >= (about := _next_end(start, rate)) + slack + margin:
            around = held[about - slack - first : about + slack - first]
            level = levels(around, rate, len(around) * RATE // rate)
            smooth = np.convolve(level, np.ones(RATE // 5), "same")
            smooth[: RATE // 10] = smooth[-RATE // 10 :] = np.inf  # where the mean is of less
            yield cut(about - slack + int(smooth.argmin()) * rate // RATE)
    if first + len(held) > start or start == 0:
        yield cut(first + len(held))


def _next_end(start: int, rate: int) -> int:
    """Next to which multiple of `PIECE` a piece ends that starts here."""
    return round(FIRST * rate) if start == 0 else int(start / (PIECE * rate) + 1.5 - 1e-9) * int(PIECE * rate)


def num_pieces(audio: Audio) -> int:
    """About how many pieces there will be."""
    seconds = len(audio[0]) / audio[1] if isinstance(audio, tuple) else sound_seconds(audio)
    return 1 + max(0, round((seconds - FIRST) / PIECE))


def samples(audio: Audio, rate: int) -> Iterator[np.ndarray]:
    """Parts of the sound [n] float32 in -1..1, all channels together.

    Raises:
        MediaError: It cannot be read, or is no sound.
    """
    if not isinstance(audio, tuple):
        yield from read_samples(Path(audio), rate)
        return
    sound, own_rate = np.asarray(audio[0]), int(audio[1])
    if sound.ndim not in (1, 2) or not sound.size or not 1000 <= own_rate <= 768000:
        raise MediaError(
            f"Samples are [N] or [N, channels] with their rate in Hz, not {list(sound.shape)} at {own_rate} Hz."
        )
    if np.issubdtype(sound.dtype, np.integer):
        sound = sound / np.iinfo(sound.dtype).max
    sound = sound.astype(np.float32).reshape(len(sound), -1).mean(1)
    if not np.isfinite(sound).all():
        raise MediaError("The samples of this sound are not all finite; record or read it again.")
    yield resample_poly(sound, rate, own_rate).astype(np.float32)
