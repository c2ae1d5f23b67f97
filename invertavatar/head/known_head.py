"""What a person's photos say of their head, one after the other: the same for an avatar and in training.

Shapes: L 478 landmarks, V vertices of the head model, H side of a crop.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .displacement import Evidence
from .driven_head import driven_skin
from .fitting import HeadShape
from .head_model import HeadModel


class KnownHead(NamedTuple):
    """What is kept of the photos so far: with it, one photo more needs none of them again."""

    neutral_sum: Tensor  # [L, 3] sum of the landmarks without expression, head space
    count: int  # of photos
    crown: Tensor  # [1] how much of the skull's height they leave, the least of all
    displacement: Evidence  # sum of what they say of how far hair and clothes stand off


def unknown_head(head_model: HeadModel) -> KnownHead:
    """What is known before the first photo."""
    neutral_sum = torch.zeros_like(head_model.landmark_weight)
    return KnownHead(neutral_sum, 0, neutral_sum.new_ones(1), head_model.displacement.no_evidence())


def with_outline(
    head_model: HeadModel,
    known: KnownHead,
    landmarks: Tensor,
    expression: Tensor,
    rotation: Tensor,
    matte: Tensor,
    inside: Tensor,
) -> tuple[KnownHead, HeadShape, Tensor]:
    """One photo more.

    Args:
        head_model: The head model.
        known: By the photos before.
        landmarks: [1, L, 3] as tracked.
        expression: [1, 52] ARKit scores.
        rotation: [1, 3, 3] head -> camera.
        matte: [1, 1, H, H] in 0..1, the person in the crop.
        inside: [1, 1, H, H] in 0..1, where the photo has pixels.

    Returns:
        What is known now; the person, whose skull is no higher than all photos leave it; and [1, V, 3] the head in this
        photo, see `driven_skin`.
    """
    neutral = head_model.without_expression(head_model.unbiased(landmarks, rotation), expression)[0]
    neutral_sum, count, outlined = known.neutral_sum + neutral, known.count + 1, (rotation[0], matte, inside)
    crown = known.crown.clamp(max=head_model.crown_height(head_model.shape(neutral_sum, count), *outlined))
    shape = head_model.shape(neutral_sum, count, crown)
    skin = driven_skin(head_model, shape, expression, landmarks)
    seen = head_model.pose(shape.joints, skin, rotation)[0]
    displacement = known.displacement + head_model.outline_evidence(seen, *outlined)
    return KnownHead(neutral_sum, count, crown, displacement), shape, skin
