"""The One-Euro filter of Casiez et al. (CHI 2012): a low-pass whose cutoff rises with speed.

A still face is smoothed hard, a blink or a turn passes. The same recursion runs on vectors and on rotations: only the
difference of two points and the step from a point differ. The filter looks back only, so that a live stream and a
recorded clip come out the same.

Shapes: T frames, D channels.
"""

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy.spatial.transform import Rotation

Value = TypeVar("Value")
Row = TypeVar("Row", covariant=True)
Amount = float | np.floating | np.ndarray  # [] or [D]

DERIVATIVE_CUTOFF = 2.0  # Hz; the paper's 1 Hz lets a three-frame blink at 60 fps pass too late
ROTATION_REFERENCE = 0.5  # radians: a half-radian turn counts as much as a full blink


def min_cutoff(smooth: float) -> float:
    """The cutoff in Hz for a still face: 10 Hz near `smooth` = 0, 1 Hz at 0.5, 0.1 Hz at 1."""
    return 10 ** (1 - 2 * smooth)


def beta(smooth: float) -> float:
    """Hz of cutoff for a speed of one reference amplitude per second: 8 near `smooth` = 0, 4 at 0.5, 2 at 1."""
    return 2 * 4 ** (1 - smooth)


class Series(Protocol[Row]):
    """Rows by their number: an array's, or those of many rotations."""

    def __getitem__(self, index: int, /) -> Row: ...


class OneEuro(ABC, Generic[Value]):
    """One-Euro filter of any values that have differences, sample by sample.

    Args:
        min_cutoff: Cutoff in Hz at rest.
        beta: Hz of cutoff for a speed of one unit per second; a number or one for each channel.
    """

    def __init__(self, min_cutoff: float, beta: float | np.ndarray):
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.estimate: Value | None = None
        self.velocity: Amount = 0.0

    def __call__(self, sample: Value, dt: float) -> Value:
        """Takes the next measurement, `dt` seconds after the one before, and returns the filtered value."""
        if self.estimate is None:
            self.estimate = sample
        else:
            velocity = self.difference(self.sample, sample) / dt
            self.velocity = self.velocity + _weight(DERIVATIVE_CUTOFF, dt) * (velocity - self.velocity)
            cutoff = self.min_cutoff + self.beta * self.speed(self.velocity)
            self.estimate = self.step(self.estimate, _weight(cutoff, dt) * self.difference(self.estimate, sample))
        self.sample = sample
        return self.estimate

    @staticmethod
    @abstractmethod
    def difference(start: Value, end: Value) -> np.ndarray:
        """The way from one value to another, which `step` goes."""

    @staticmethod
    @abstractmethod
    def step(start: Value, difference: np.ndarray) -> Value:
        """Where a difference, or a share of it, leads."""

    @staticmethod
    @abstractmethod
    def speed(velocity: Amount) -> Amount:
        """What opens the filter."""


class OneEuroFilter(OneEuro[np.ndarray]):
    """One-Euro filter of vectors."""

    @staticmethod
    def difference(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """What leads from one to the other."""
        return end - start

    @staticmethod
    def step(start: np.ndarray, difference: np.ndarray) -> np.ndarray:
        """The sum."""
        return start + difference

    @staticmethod
    def speed(velocity: Amount) -> Amount:
        """Each channel's own."""
        return np.abs(velocity)


class OneEuroRotationFilter(OneEuro[Rotation]):
    """One-Euro filter on SO(3): a difference is the rotation vector from the first rotation, speed is its length."""

    @staticmethod
    def difference(start: Rotation, end: Rotation) -> np.ndarray:
        """Rotation vector in radians, seen from `start`."""
        return (start.inv() * end).as_rotvec()

    @staticmethod
    def step(start: Rotation, difference: np.ndarray) -> Rotation:
        """`start` turned on by a rotation vector."""
        return start * Rotation.from_rotvec(difference)

    @staticmethod
    def speed(velocity: Amount) -> Amount:
        """Radians per second about whichever axis."""
        return np.linalg.norm(velocity)


def smooth_vectors(
    values: np.ndarray, found: np.ndarray, fps: float, smooth: float, reference: float | np.ndarray = 1.0
) -> np.ndarray:
    """One-Euro over a clip.

    Args:
        values: [T, D].
        found: [T] bool; the other frames are no measurements and hold the filter's value.
        fps: Frames per second.
        smooth: 0..1, see `min_cutoff`.
        reference: The amplitude of a large movement in the unit of `values`; a number or [D].

    Returns:
        [T, D] float64; `values` where nothing was found at all.
    """
    values = np.asarray(values, np.float64)
    if not found.any():
        return values
    one_euro = OneEuroFilter(min_cutoff(smooth), beta(smooth) / np.asarray(reference, np.float64))
    return np.stack(_filtered(one_euro, values, found, fps))


def smooth_rotations(rotation: np.ndarray, found: np.ndarray, fps: float, smooth: float) -> np.ndarray:
    """`smooth_vectors` for rotation matrices [T, 3, 3]; what comes back is orthonormal to rounding."""
    rotation = np.asarray(rotation, np.float64)
    if not found.any():
        return rotation
    one_euro = OneEuroRotationFilter(min_cutoff(smooth), beta(smooth) / ROTATION_REFERENCE)
    return Rotation.concatenate(_filtered(one_euro, Rotation.from_matrix(rotation), found, fps)).as_matrix()


def _weight(cutoff: Amount, dt: float) -> Amount:
    """The share of a new sample in a first-order low-pass."""
    turns = 2 * np.pi * cutoff * dt
    return turns / (turns + 1)


def _filtered(one_euro: OneEuro[Value], samples: Series[Value], found: np.ndarray, fps: float) -> list[Value]:
    measured = np.flatnonzero(found)
    gaps = np.diff(measured, prepend=measured[0]) / fps
    values = [one_euro(samples[int(frame)], gap) for frame, gap in zip(measured, gaps, strict=True)]
    # Every frame takes the last value before it, frames before the first measurement take that one.
    return [values[i] for i in np.maximum(np.searchsorted(measured, np.arange(len(found)), side="right") - 1, 0)]
