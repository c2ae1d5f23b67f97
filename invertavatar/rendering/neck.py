"""The neck: the head turns on it, while the shoulders stay as they are.

Shapes: B batch, N points, H rows of the frontal plane.

The planes hold a person in the rest pose, the body straight below the head. In a picture the body does not follow the
head: seen in head space it is turned back about the neck, wholly below the collar, not at all above the chin, and
smoothly between.
"""

import torch
from torch import Tensor

PIVOT = (0.0, -0.5, -0.2)  # about which the head turns, in head space
COLLAR, CHIN = -0.95, -0.6  # heights in the rest pose between which the neck twists


def to_rest(points: Tensor, turn: Tensor) -> Tensor:
    """Head space -> the rest pose.

    Args:
        points: [B, N, 3] in head space.
        turn: [B, 3, 3] the head's rotation relative to the body.

    Returns:
        [B, N, 3].
    """
    offset = points - points.new_tensor(PIVOT)
    back = offset @ (turn.transpose(-1, -2) - torch.eye(3, device=turn.device))  # what the body lacks of the turn
    height = points[..., 1]
    for _ in range(2):  # how far a point belongs to the body depends on where it lies at rest
        height = points[..., 1] + body_share(height) * back[..., 1]
    return torch.addcmul(points, body_share(height)[..., None], back)


def row_rotations(heights: Tensor, turn: Tensor) -> Tensor:
    """The rest pose -> head space for whole rows of the frontal plane, as matrices about `PIVOT`.

    Args:
        heights: [H] heights of the rows in the rest pose.
        turn: [B, 3, 3] as in `to_rest`, whose inverse this is.

    Returns:
        [B, H, 3, 3].
    """
    share = body_share(heights)[:, None, None]
    blend = torch.eye(3, device=turn.device) * (1 - share) + share * turn[:, None]
    return torch.linalg.inv(blend)


def body_share(height: Tensor) -> Tensor:
    """How far points at heights of the rest pose belong to the body, in 0..1."""
    share = ((CHIN - height) / (CHIN - COLLAR)).clamp(0, 1)
    return share * share * (3 - 2 * share)
