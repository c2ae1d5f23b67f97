"""From where a person is seen, and how the head stands on the body.

Angles in degrees as `camera` has them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..camera import rotation_from_angles

MOST_TURN = (55.0, 25.0, 15.0)  # yaw, pitch and roll of a head on its body
FROM_BELOW = 40.0  # the most pitch


class View(NamedTuple):
    """One picture's pose."""

    rotation: np.ndarray  # [3, 3] float32 head -> camera
    head_to_torso: np.ndarray  # [3, 3] float32 the head's rotation relative to the body

    @property
    def body(self) -> np.ndarray:
        """[3, 3] body -> camera."""
        return self.rotation @ self.head_to_torso.T


def random_views(rng: np.random.Generator, count: int) -> list[View]:
    """Views as they come: most within 60 degrees, all of a circle now and then; some people turn the head alone.

    Args:
        rng: Decides.
        count: Of views.
    """
    yaws = np.where(rng.random(count) < 0.6, rng.normal(0, 30, count), rng.uniform(-90, 90, count))
    yaws = np.where(rng.random(count) < 0.15, rng.uniform(-180, 180, count), yaws)
    pitches, rolls = rng.normal(0, 11, count).clip(-FROM_BELOW, FROM_BELOW), rng.normal(0, 6, count)
    return _views(rng, yaws, pitches, rolls)


def views_at(rng: np.random.Generator, yaws: Sequence[float]) -> list[View]:
    """Upright views at given yaws.

    Args:
        rng: Decides how the head stands on the body.
        yaws: Degrees.
    """
    return _views(rng, np.array(yaws, float), np.zeros(len(yaws)), np.zeros(len(yaws)))


def _views(rng: np.random.Generator, yaws: np.ndarray, pitches: np.ndarray, rolls: np.ndarray) -> list[View]:
    alone = rng.uniform(0, 1)  # how much of a turn this person's head does without the body
    views = []
    for yaw, pitch, roll in zip(yaws, pitches, rolls, strict=True):
        fraction = (alone + rng.normal(0, 0.15)) * np.array([1, 0.8, 0.8])
        head_to_torso = (np.array([yaw, pitch, roll]) * fraction + rng.normal(0, (6, 3, 2))).clip(
            -np.array(MOST_TURN), MOST_TURN
        )
        views.append(View(*(rotation_from_angles(*map(float, a)).numpy() for a in ((yaw, pitch, roll), head_to_torso))))
    return views
