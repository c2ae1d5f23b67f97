"""The tracker's pose template learned from tracks: the mean face, and which landmarks stay put on the skull.

Shapes: N tracked pictures, L 478 landmarks.

Every face is laid on the current mean by weighted Procrustes; landmarks that move with expression get little weight,
found by alternating with the fit.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..head.landmark_topology import LEFT_EYE, RIGHT_EYE
from ..head.pose import PIXELS_TO_HEAD, PoseTemplate
from .landmark_axes import Pictures, fit_expression, per_person_mean, pictures_of, symmetric
from .tracked_person import TrackedPerson

logger = logging.getLogger(__name__)


def learn_template(
    people: Sequence[TrackedPerson], mirror: np.ndarray, template: PoseTemplate, rounds: int = 4
) -> PoseTemplate:
    """Fit the template.

    Args:
        people: Tracks to learn from, on whatever template.
        mirror: [L] the landmark on the other side of the face.
        template: A first guess; its mean fixes origin, axes and unit of head space.
        rounds: Alternations of pose and expression.
    """
    first = symmetric(template.mean, mirror)  # else laying the mean back on it would tilt the mean
    learned = PoseTemplate(first.astype(np.float32), np.ones(len(first), np.float32))
    for number in range(rounds):
        faces = pictures_of([laid_on(person, learned) for person in people])
        basis = fit_expression(faces, learned.mean, mirror)
        without_expression = faces.vertices - np.einsum("nk,klc->nlc", faces.expression, basis)
        spread, moves = (_spread(faces, values) for values in (without_expression, faces.vertices))
        rigid = rigid_weights(np.hypot(spread, moves), mirror)
        mean = symmetric(per_person_mean(without_expression, faces.person).mean(0), mirror)
        # Laid back on the first guess, so that origin, axes and the unit of head space never drift.
        mean = PoseTemplate(first.astype(np.float32), rigid).fit(mean * PIXELS_TO_HEAD).vertices
        learned = PoseTemplate(mean, rigid)
        logger.info(
            "round %d: within a person %.4f, unexplained %.4f head units", number + 1, moves.mean(), spread.mean()
        )
    return learned


def laid_on(person: TrackedPerson, template: PoseTemplate) -> TrackedPerson:
    """The same frames with their poses fitted by another template."""
    landmarks = np.einsum("tij,tlj->tli", person.rotation, person.vertices) * PIXELS_TO_HEAD
    poses = [template.fit(face) for face in landmarks]
    vertices, rotation = (np.stack([getattr(pose, name) for pose in poses]) for name in ("vertices", "rotation"))
    return replace(person, vertices=vertices, rotation=rotation)


def _spread(faces: Pictures, values: np.ndarray) -> np.ndarray:
    """[L] how far each landmark departs from its own average within a person."""
    away = values - per_person_mean(values, faces.person)[faces.person]
    return np.sqrt(np.mean(away[faces.moving] ** 2, axis=(0, 2)))


def rigid_weights(spread: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """[478] weights in 0..1 of the pose fit: high where a landmark stays put on the skull whatever the face does."""
    spread = (spread + spread[mirror]) / 2
    weight = 1 / (spread**2 + np.quantile(spread, 0.1) ** 2)
    weight[468:] = 0  # the irises look around
    weight[list(RIGHT_EYE + LEFT_EYE)] *= 0.2  # lids blink
    weight[weight < 0.2 * weight.max()] = 0  # many weak votes of the jaw would drag the head along
    return (weight / weight.max()).astype(np.float32)
