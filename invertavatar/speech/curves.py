"""Phones -> curves of ARKit scores, with coarticulation.

Each sound pulls at the mouth with a strength that falls off in time before and after it, and the mouth is where the
sounds at work agree (M. M. Cohen, D. W. Massaro: Modeling coarticulation in synthetic visual speech, 1993). Lips that
close do so afterwards and altogether, so that no neighbour holds them open.

Shapes: T moments, 100 in a second; L letters; E = 52 axes.
"""

from math import ceil

import numpy as np
from scipy.ndimage import convolve1d, maximum_filter1d

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.speech.phones import RATE, Phones
from invertavatar.speech.visemes import BOTH_SIDES, LIP_CLOSERS, targets

FALL_OFF = {"jaw": 0.02, "lips": 0.04}  # seconds in which a sound's strength falls to 1/e
FALL_OFFS = 5  # fall-offs after which a sound is not felt
SURE = 0.12  # how likely p, b or m is where lips close: one that stays open is seen sooner than one too many
CLOSING, CLOSED = 0.05, 0.05  # seconds that lips take to close and to open, and that they are closed at least
PARTED = ("jawOpen", *BOTH_SIDES["upper_up"], *BOTH_SIDES["lower_down"], "mouthFunnel")  # what parts closed lips
JAW_GAIN, LOUD = 0.4, 12.0  # share by which the jaw follows loudness, and the decibels that are loud
SMILE = (0.05, 0.06)  # of one who speaks, and what loudness adds


def mouth(phones: Phones, loudness: np.ndarray, activity: np.ndarray, held: float = CLOSED) -> np.ndarray:
    """The curves of the mouth.

    Args:
        phones: What is said.
        loudness: [T] decibels above what is usual for this voice.
        activity: [T] 0..1, 0 where nobody speaks.
        held: Seconds that closed lips stay so at least: no less than a frame lasts.

    Returns:
        [T, 52] float32 in 0..1, 0 where nobody speaks.
    """
    scores, firmness = targets(phones.letters)
    likely = phones.likelihood
    pull, strength = likely @ (firmness * scores), likely @ firmness
    jaw = [ARKIT_NAMES.index("jawOpen")]
    lips = [axis for axis in range(len(ARKIT_NAMES)) if axis not in jaw]
    curves = np.empty_like(pull)
    for name, axes in (("jaw", jaw), ("lips", lips)):
        curves[:, axes] = _spread(pull[:, axes], FALL_OFF[name]) / _spread(strength[:, axes], FALL_OFF[name])
    effort = _spread(np.clip(loudness / LOUD, -1, 1)[:, None].astype(np.float32), 0.05)
    curves[:, jaw] *= 1 + JAW_GAIN * effort
    smile = [ARKIT_NAMES.index(name) for name in BOTH_SIDES["smile"]]
    curves[:, smile] += SMILE[0] + SMILE[1] * effort
    return (_with_closed_lips(curves, closure(phones, held)) * activity[:, None]).clip(0, 1)


def closure(phones: Phones, held: float) -> np.ndarray:
    """[T] how far the lips are closed for p, b and m: 1 at each of them, with a ramp on both sides."""
    likely = phones.of(LIP_CLOSERS)
    core = likely >= np.maximum(SURE, 0.5 * maximum_filter1d(likely, 9, mode="constant"))
    shut = maximum_filter1d(core.astype(np.float32), 2 * ceil(max(held, CLOSED) / 2 * RATE) + 1, mode="constant")
    width = round(CLOSING * RATE)
    distance = np.full(len(shut), width, np.float32)
    for shift in range(width):
        near = maximum_filter1d(shut, 2 * shift + 1, mode="constant") > 0
        distance[near] = np.minimum(distance[near], shift)
    return (0.5 + 0.5 * np.cos(np.pi * distance / width)).astype(np.float32)


def _with_closed_lips(curves: np.ndarray, closed: np.ndarray) -> np.ndarray:
    shut, _ = targets((LIP_CLOSERS[0],))
    parted = [ARKIT_NAMES.index(name) for name in PARTED]
    curves = np.maximum(curves, closed[:, None] * shut)
    curves[:, parted] *= 1 - closed[:, None]
    return curves


def _spread(values: np.ndarray, seconds: float) -> np.ndarray:
    """The values [T, C] under a strength that falls off to both sides."""
    radius = round(FALL_OFFS * seconds * RATE)
    kernel = np.exp(-np.abs(np.arange(-radius, radius + 1)) / (seconds * RATE))
    return convolve1d(values, kernel / kernel.sum(), axis=0, mode="nearest")
