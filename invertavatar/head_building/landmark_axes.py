"""Axes of the landmarks that tracks teach: what each expression score does, and what is left beside them.

Shapes: N tracked pictures, P people, L 478 landmarks, K residual axes.

1. Expression: displacements from each person's own average are regressed on the tracker's scores, ridge toward a
   geometric guess, each axis only where it can act (`expression_support`), with mirror images added so that left and
   right are each other's reflection. Where the scores are silent (cheekPuff, noseSneer..) the guess speaks.
2. Residual: principal axes, region by region, of what is left within a person.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import eigsh

from ..head.arkit import ARKIT_NAMES, mirrored
from ..head.landmark_topology import LID_GAPS
from .landmark_regions import expression_guess, expression_support, region_weights
from .tracked_person import TrackedPerson

MIRRORED_AXES = np.array([ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES])
FLIP = np.array([-1, 1, 1], np.float32)
RESIDUAL_AXES = {"eyes": 16, "lip": 24, "other": 16}


class LandmarkAxes(NamedTuple):
    """What moves landmarks."""

    expression: np.ndarray  # [52, L, 3] displacement at score 1
    residual: np.ndarray  # [K, L, 3] unit length each
    residual_std: np.ndarray  # [K] head units
    residual_regions: dict[str, int]  # region -> number of axes, in the order of `residual`


class Pictures(NamedTuple):
    """All pictures of some people in a row."""

    vertices: np.ndarray  # [N, L, 3] head space
    expression: np.ndarray  # [N, 52]
    rotation: np.ndarray  # [N, 3, 3]
    angles: np.ndarray  # [N, 3] degrees
    person: np.ndarray  # [N] numbers the people from 0
    moving: np.ndarray  # [N] bool: fit for learning expressions


def learn_axes(
    people: Sequence[TrackedPerson],
    mirror: np.ndarray,
    mean: np.ndarray,
    residual_axes: dict[str, int] = RESIDUAL_AXES,
) -> LandmarkAxes:
    """Fit both kinds of axes.

    Args:
        people: Tracks to learn from.
        mirror: [L] the landmark on the other side of the face.
        mean: [L, 3] the tracker's template.
        residual_axes: Region -> number of axes.
    """
    mean, faces = symmetric(mean, mirror), pictures_of(people)
    basis = close_lids(fit_expression(faces, mean, mirror), mean)
    without_expression = faces.vertices - np.einsum("nk,klc->nlc", faces.expression, basis)
    left = (without_expression - per_person_mean(without_expression, faces.person)[faces.person])[faces.moving]
    left = np.concatenate([left, left[:, mirror] * FLIP])
    regions = region_weights(mean)
    residual = [principal_axes(left * regions[name][:, None], count) for name, count in residual_axes.items()]
    return LandmarkAxes(
        basis,
        np.concatenate([axes for axes, _ in residual]),
        np.concatenate([std for _, std in residual]),
        dict(residual_axes),
    )


def pictures_of(people: Sequence[TrackedPerson]) -> Pictures:
    """The people's pictures, one person after the other."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(person, name) for person in people])

    return Pictures(
        vertices=joined("vertices"),
        expression=joined("expression"),
        rotation=joined("rotation"),
        angles=joined("all_angles"),
        person=np.repeat(np.arange(len(people)), [len(person.vertices) for person in people]),
        moving=joined("moving"),
    )


def fit_expression(faces: Pictures, mean: np.ndarray, mirror: np.ndarray, ridge: float = 25.0) -> np.ndarray:
    """[52, 478, 3]: ridge regression of displacement on scores, vertex by vertex over the axes that can act there.

    The head's angles are regressed along and thrown away: the tracker's faces change a little with the view, and a view
    that goes with a smile must not become part of the smile.
    """
    vertices, scores, _, angles, person, moving = faces
    turned = np.concatenate([angles, angles * [-1, 1, -1]]) / 30  # [2N, 3] yaw, pitch, roll
    turned = np.stack(
        [turned[:, 0], turned[:, 1], turned[:, 0] ** 2, turned[:, 1] ** 2, turned[:, 0] * turned[:, 1]], 1
    )
    x = np.concatenate([scores, scores[:, MIRRORED_AXES]])
    y = np.concatenate([vertices, vertices[:, mirror] * FLIP]).astype(np.float64)
    x = np.concatenate([x, turned], 1).astype(np.float64)  # [2N, 52 + 5]
    twice = np.concatenate([person, person + person.max() + 1])
    both = np.concatenate([moving, moving])
    x, y = ((a - per_person_mean(a, twice)[twice])[both] for a in (x, y))
    axes = scores.shape[1]
    guess, support = np.zeros((x.shape[1], 478, 3)), np.ones((x.shape[1], 478))
    guess[:axes], support[:axes] = expression_guess(mean), expression_support(mean)
    gram, product = x.T @ x, np.tensordot(x, y, (0, 0))
    basis = np.empty_like(product)
    for vertex in range(y.shape[1]):  # a small support is a strong pull toward the guess, none pins the axis to it
        pull = np.diag(ridge / np.maximum(support[:, vertex], 1e-4) ** 2)
        basis[:, vertex] = np.linalg.solve(gram + pull, product[:, vertex] + pull @ guess[:, vertex])
    return basis[:axes].astype(np.float32)


def close_lids(basis: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The blink axes [52, 478, 3] made to shut the lids at 1: the tracker seldom scores a shut eye above 0.7."""
    basis = basis.copy()
    for name, (upper, lower) in zip(("eyeBlinkRight", "eyeBlinkLeft"), LID_GAPS, strict=True):
        axis = ARKIT_NAMES.index(name)
        gap, closing = mean[upper, 1] - mean[lower, 1], basis[axis, lower, 1] - basis[axis, upper, 1]
        basis[axis] *= max(1.0, gap / closing)
    return basis


def per_person_mean(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """[N, ...] -> [P, ...] averages; `person` [N] numbers the people from 0."""
    sums = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(sums, person, values)
    return sums / np.bincount(person).reshape(-1, *[1] * (values.ndim - 1))


def symmetric(shape: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The average of a shape [478, 3] and its mirror image."""
    return (shape + shape[mirror] * FLIP) / 2


def principal_axes(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, 478, 3] -> the first `count` unit axes [count, 478, 3] about zero and the standard deviation along each."""
    flat = samples.reshape(len(samples), -1)
    start = np.random.default_rng(0).normal(size=flat.shape[1])  # the same axes each time
    variance, axes = eigsh(flat.T @ flat / len(flat), count, v0=start)
    axes = axes.T[::-1].reshape(count, *samples.shape[1:])
    return axes.astype(np.float32), np.sqrt(variance[::-1].clip(min=0)).astype(np.float32)
