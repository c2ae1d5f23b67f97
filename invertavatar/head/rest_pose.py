"""The rest pose: the body straight below the head, hair and shoulders where they lie on average.

Shapes: B batch, N points, H rows of the frontal plane.

The planes hold a person at rest. In a picture the body does not follow the head: seen in head space it is turned back
about the neck, wholly below the collar, not at all above the chin, and smoothly between. And it moves by itself, as
hair does: the torso pose says how shoulders and hair lie beside where the pose of the head alone would put them.
"""

from functools import reduce

import torch
from torch import Tensor

from ..camera import inverse

PIVOT = (0.0, -0.5, -0.2)  # about which the head turns, in head space
COLLAR_HEIGHT, CHIN_HEIGHT = -0.95, -0.6  # heights in the rest pose between which the neck twists
# Twelve numbers. How far shoulders lie to the right and up (head units), are rolled (radians, counter-clockwise),
# larger, wider (and as much less high) and sheared (shares) against the average; and the same of hair and the outline.
TORSO_POSE_NAMES = tuple(
    f"{part}{axis}" for part in ("shoulders", "hair") for axis in ("Right", "Up", "Roll", "Size", "Width", "Shear")
)
LARGEST_TORSO_POSE = (0.25,) * 6 + (0.1,) * 6  # of each number
SHOULDER_CENTRE = -0.95  # height about which shoulders roll and grow
FACE_WIDTH, FACE_HEIGHT, FACE_MIDDLE = 0.52, 0.6, -0.02  # half axes of the face and its middle's height, head units
FACE_EDGE = (1.0, 1.8)  # squared distance from the middle, 1 on that ellipse: the face never moves, hair does beyond


def to_rest_pose(points: Tensor, head_to_torso: Tensor | None = None, torso_pose: Tensor | None = None) -> Tensor:
    """Head space -> the rest pose.

    Args:
        points: [B, N, 3] in head space.
        head_to_torso: [B, 3, 3] the head's rotation relative to the body; None for none.
        torso_pose: [B, 12] see `TORSO_POSE_NAMES`; None for the average one.

    Returns:
        [B, N, 3].
    """
    if head_to_torso is None and torso_pose is None:
        return points
    place, back = points[..., :2], None  # depth decides nothing, so it moves at the end
    if head_to_torso is not None:
        lack = head_to_torso.transpose(-1, -2) - torch.eye(3, device=head_to_torso.device)  # what the body lacks of it
        middle = reduce(torch.add, (lack[:, k : k + 1] * -PIVOT[k] for k in range(3)))  # [B, 1, 3]
        back = torch.baddbmm(middle, points, lack)
    coefficients = None if torso_pose is None else affine(torso_pose)
    resting = place
    for _ in range(3):  # how far a point belongs to the body or the hair depends on where it lies at rest
        weight, moved = body_weight(resting[..., 1:]), place
        if coefficients is not None:
            moved = moved - _displaced(resting, weight, coefficients)
        resting = moved if back is None else torch.addcmul(moved, weight, back[..., :2])
    depth = points[..., 2:] if back is None else torch.addcmul(points[..., 2:], weight, back[..., 2:])
    return torch.cat([resting, depth], -1)


def row_rotations(heights: Tensor, head_to_torso: Tensor) -> Tensor:
    """The rest pose -> head space for whole rows of the frontal plane, as matrices about `PIVOT`.

    Args:
        heights: [H] heights of the rows in the rest pose.
        head_to_torso: [B, 3, 3] as in `to_rest_pose`, whose inverse this is, once `displacement` is added.

    Returns:
        [B, H, 3, 3].
    """
    weight = body_weight(heights)[:, None, None]
    return inverse(torch.eye(3, device=head_to_torso.device) * (1 - weight) + weight * head_to_torso[:, None])


def displacement(place: Tensor, torso_pose: Tensor) -> Tensor:
    """Where what lies at a place of the rest pose is moved by a torso pose.

    Args:
        place: [B, N, 2] right and up in the rest pose.
        torso_pose: [B, 12] see `TORSO_POSE_NAMES`.

    Returns:
        [B, N, 2] right and up.
    """
    return _displaced(place, body_weight(place[..., 1:]), affine(torso_pose))


def affine(torso_pose: Tensor) -> tuple[Tensor, Tensor]:
    """What a torso pose does to shoulders and to hair, as maps of places: [B, 1, 4] and [B, 2, 4].

    The columns are right and up of the shoulders' displacement, then of the hair's: the first plus place [B, N, 2] @
    the second.
    """
    shift_right, shift_up, roll, size, width, shear = torso_pose.view(-1, 2, 6).unbind(-1)  # [B, 2] each
    rightward, upward = (shear - roll, size - width), (size + width, shear + roll)  # of up, of right
    by_right, by_up = torch.stack((upward[0], upward[1]), -1), torch.stack(rightward, -1)  # [B, 2, 2]
    shift = torch.stack([shift_right, shift_up], -1)
    # Shoulders roll and grow about their own middle.
    shift = torch.cat([shift[:, :1] - SHOULDER_CENTRE * by_up[:, :1], shift[:, 1:]], 1)
    return shift.flatten(1)[:, None], torch.stack([by_right.flatten(1), by_up.flatten(1)], 1)


def _displaced(place: Tensor, weight: Tensor, coefficients: tuple[Tensor, Tensor]) -> Tensor:
    """`displacement` where the body's weight [B, N, 1] of each place is known."""
    shift, slope = coefficients
    moved = torch.baddbmm(shift, place.expand(len(slope), -1, -1), slope)  # [B, N, 4]
    hair = _hair_alone(place) * (1 - weight)
    return moved[..., :2] * weight + moved[..., 2:] * hair


def body_weight(height: Tensor) -> Tensor:
    """How far points at heights of the rest pose belong to the body, in 0..1."""
    return smoothstep((CHIN_HEIGHT - height) / (CHIN_HEIGHT - COLLAR_HEIGHT))


def hair_weight(right: Tensor, up: Tensor) -> Tensor:
    """How far places of the rest pose belong to hair and the head's outline, in 0..1."""
    place = torch.stack([right, up], -1)
    return (_hair_alone(place) * (1 - body_weight(place[..., 1:])))[..., 0]


def _hair_alone(place: Tensor) -> Tensor:
    """[..., 2] -> [..., 1] how far places lie outside of the face."""
    inner, outer = FACE_EDGE
    right, up = place.split(1, -1)
    across = (outer - inner) ** -0.5  # so that the sum of squares is what is ramped
    wide, high = right * (across / FACE_WIDTH), (up - FACE_MIDDLE) * (across / FACE_HEIGHT)
    return smoothstep(torch.addcmul(wide * wide - inner / (outer - inner), high, high))


def smoothstep(x: Tensor) -> Tensor:
    """A ramp in 0..1 that starts and ends gently; below 0 and above 1 it stays."""
    x = x.clamp(0, 1)
    return x * x * torch.rsub(x, 3, alpha=2)
