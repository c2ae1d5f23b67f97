"""A head as a frame or a photo shows it, dressed and posed: what travels through the render path (DESIGN 3).

Shapes: B batch, L 478 landmarks, V vertices of the head model, J joints, K coefficients, N photos.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .fitting import HeadShape
from .head_model import HeadModel
from .rest_pose import displacement


class DrivenHead(NamedTuple):
    """A head with its expression, in head space."""

    landmarks: Tensor  # [B, L, 3] that the chart of the face rides on
    neutral: Tensor  # [B, L, 3] or [L, 3] the person's, without expression
    rest_vertices: Tensor  # [B, V, 3] dressed, the body straight below the head, hair as it lies on average
    vertices: Tensor  # [B, V, 3] the dressed mesh as it is seen: neck bent, hair and shoulders as they lie
    head_to_torso: Tensor | None = None  # [B, 3, 3] the head's rotation relative to the body; None for none
    torso_pose: Tensor | None = None  # [B, 12] how hair and shoulders lie, see `rest_pose`; None for the average
    blend: Tensor | None = None  # [B, N] how much each photo counts; None as its head and torso pose are near


def driven_skin(head_model: HeadModel, shape: HeadShape, expression: Tensor, landmarks: Tensor) -> Tensor:
    """The mesh on the very landmarks where a tracker would see them, without hair and clothes, the body straight.

    Args:
        head_model: The head model.
        shape: The person.
        expression: [B, 52] ARKit scores.
        landmarks: [B, L, 3] as tracked in a photo, or from `HeadModel.driven_landmarks`.

    Returns:
        [B, V, 3].
    """
    gaze = head_model.gaze_in(landmarks, shape.vertices[None])
    return head_model(shape, expression, None, landmarks, torch.zeros_like(landmarks[:, 0, 0]), gaze)


def dressed_head(
    head_model: HeadModel,
    skin: Tensor,
    landmarks: Tensor,
    neutral: Tensor,
    off: Tensor,
    joints: Tensor,
    head_to_torso: Tensor | None = None,
    torso_pose: Tensor | None = None,
) -> DrivenHead:
    """Hair and clothes are put on and the neck is bent.

    Args:
        head_model: The head model.
        skin: [B, V, 3] from `driven_skin`.
        landmarks: [B, L, 3] of it.
        neutral: [B, L, 3] or [L, 3].
        off: [V] or [B, V] from `HeadModel.stand_off`.
        joints: [J, 3] or [B, J, 3] of the person.
        head_to_torso: See `DrivenHead`, as is `torso_pose`.
    """
    rest_vertices, vertices = worn(head_model, skin, off, joints, head_to_torso, torso_pose)
    return DrivenHead(landmarks, neutral, rest_vertices, vertices, head_to_torso, torso_pose)


def worn(
    head_model: HeadModel,
    skin: Tensor,
    off: Tensor,
    joints: Tensor,
    head_to_torso: Tensor | None,
    torso_pose: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """`DrivenHead.rest_vertices` and `DrivenHead.vertices`; for the arguments see `dressed_head`."""
    rest_vertices = moved = head_model.dressed(skin, off)
    if torso_pose is not None:
        moved = rest_vertices + F.pad(displacement(rest_vertices[..., :2], torso_pose), (0, 1))
    return rest_vertices, moved if head_to_torso is None else head_model.pose(joints, moved, head_to_torso)


def driven_head(
    head_model: HeadModel,
    shape: HeadShape,
    off: Tensor,
    expression: Tensor,
    residual: Tensor,
    rotation: Tensor,
    head_to_torso: Tensor | None = None,
    torso_pose: Tensor | None = None,
) -> DrivenHead:
    """The head of frames.

    Args:
        head_model: The head model.
        shape: The person.
        off: [V] from `HeadModel.stand_off`.
        expression: [B, 52] ARKit scores.
        residual: [B, K] see `HeadModel.residual`.
        rotation: [B, 3, 3] head -> camera, by which a tracker's landmarks lie a little differently.
        head_to_torso: See `DrivenHead`, as is `torso_pose`.
    """
    landmarks = head_model.driven_landmarks(shape.landmarks, expression, residual, rotation)
    skin = driven_skin(head_model, shape, expression, landmarks)
    return dressed_head(head_model, skin, landmarks, shape.landmarks, off, shape.joints, head_to_torso, torso_pose)
