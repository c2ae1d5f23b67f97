"""The rest pose: the body straight below the head, hair and shoulders where they lie on average.

Shapes: B batch, N points, H rows of the frontal plane.

The planes hold a person at rest. In a picture the body does not follow the head: seen in head space it is turned back
about the neck, wholly below the collar, not at all above the chin, and smoothly between. And it moves by itself, as
hair does: the posture says how shoulders and hair lie beside where the pose of the head alone would put them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PIVOT = (0.0, -0.5, -0.2)  # about which the head turns, in head space
COLLAR, CHIN = -0.95, -0.6  # heights in the rest pose between which the neck twists
# Twelve numbers. How far shoulders lie to the right and up (head units), are rolled (radians, counter-clockwise),
# larger, wider (and as much less high) and sheared (shares) against the average; and the same of hair and the outline.
POSTURE_NAMES = tuple(
    f"{part}{axis}" for part in ("shoulders", "hair") for axis in ("Right", "Up", "Roll", "Size", "Width", "Shear")
)
LARGEST_POSTURE = (0.25,) * 6 + (0.1,) * 6  # of each number
SHOULDERS = -0.95  # height about which shoulders roll and grow
FACE_WIDTH, FACE_HEIGHT, FACE_MIDDLE = 0.52, 0.6, -0.02  # half axes of the face and its middle's height, head units
FACE_EDGE = (1.0, 1.8)  # squared distance from the middle, 1 on that ellipse: the face never moves, hair does beyond


def to_rest(points: Tensor, turn: Tensor | None = None, posture: Tensor | None = None) -> Tensor:
    """Head space -> the rest pose.

    Args:
        points: [B, N, 3] in head space.
        turn: [B, 3, 3] the head's rotation relative to the body; None for none.
        posture: [B, 12] see `POSTURE_NAMES`; None for the average one.

    Returns:
        [B, N, 3].
    """
    if turn is None and posture is None:
        return points
    back = torch.zeros_like(points)
    if turn is not None:
        offset = points - points.new_tensor(PIVOT)
        back = offset @ (turn.transpose(-1, -2) - torch.eye(3, device=turn.device))  # what the body lacks of the turn
    rest = points
    for _ in range(3):  # how far a point belongs to the body or the hair depends on where it lies at rest
        place = rest[..., :2]
        rest = torch.addcmul(points, body_share(place[..., 1:]), back)
        if posture is not None:
            rest = rest - F.pad(displacement(place, posture), (0, 1))
    return rest


def row_rotations(heights: Tensor, turn: Tensor) -> Tensor:
    """The rest pose -> head space for whole rows of the frontal plane, as matrices about `PIVOT`.

    Args:
        heights: [H] heights of the rows in the rest pose.
        turn: [B, 3, 3] as in `to_rest`, whose inverse this is, once `displacement` is added.

    Returns:
        [B, H, 3, 3].
    """
    share = body_share(heights)[:, None, None]
    blend = torch.eye(3, device=turn.device) * (1 - share) + share * turn[:, None]
    return torch.linalg.inv(blend)


def displacement(place: Tensor, posture: Tensor) -> Tensor:
    """Where what lies at a place of the rest pose is moved by a posture.

    Args:
        place: [B, N, 2] right and up in the rest pose.
        posture: [B, 12] see `POSTURE_NAMES`.

    Returns:
        [B, N, 2] right and up.
    """
    right, up = place.unbind(-1)
    shares = body_share(up), hair_share(right, up)
    moved = 0
    for share, part, middle in zip(shares, posture.unflatten(1, (2, 6)).unbind(1), (SHOULDERS, 0.0), strict=True):
        shift_right, shift_up, roll, size, width, shear = part.T[..., None]  # [B, 1] each
        above = up - middle
        rightward = shift_right + (size + width) * right + (shear - roll) * above
        upward = shift_up + (size - width) * above + (shear + roll) * right
        moved = moved + share[..., None] * torch.stack([rightward, upward], -1)
    return moved


def body_share(height: Tensor) -> Tensor:
    """How far points at heights of the rest pose belong to the body, in 0..1."""
    return smoothstep((CHIN - height) / (CHIN - COLLAR))


def hair_share(right: Tensor, up: Tensor) -> Tensor:
    """How far places of the rest pose belong to hair and the head's outline, in 0..1."""
    inner, outer = FACE_EDGE
    beyond = (right / FACE_WIDTH) ** 2 + ((up - FACE_MIDDLE) / FACE_HEIGHT) ** 2
    return smoothstep((beyond - inner) / (outer - inner)) * (1 - body_share(up))


def smoothstep(share: Tensor) -> Tensor:
    """A share in 0..1 that starts and ends gently; below 0 and above 1 it stays."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
