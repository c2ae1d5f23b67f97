"""The landmarks of the head model's mean person, on which the chart of the face rides."""

import torch
from torch import Tensor

from invertavatar.head.fitting import HeadShape
from invertavatar.head.head_model import HeadModel


def mean_person(head_model: HeadModel) -> HeadShape:
    """The head of no identity at all."""
    return head_model.person(torch.zeros_like(head_model.identity_std))


def mean_landmarks(head_model: HeadModel) -> Tensor:
    """[478, 3] head space."""
    return mean_person(head_model).landmarks


def driven_mean(head_model: HeadModel, expression: Tensor) -> Tensor:
    """ARKit scores [B, 52] on the mean person -> [B, 478, 3]."""
    return head_model.driven_landmarks(mean_person(head_model).landmarks, expression)
