"""What moves the frames of an avatar, as tensors on its device: nothing has to be sent there from frame to frame.

Shapes: T driving frames, B of them at a time, K photos or coefficients.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..head.neck import bent_neck
from ..head.topology import JOINT_NAMES as JOINTS
from ..tracking.motion import Motion
from .background import shifts

# Pixels at a time on CUDA, where a frame alone leaves most of a GPU idle: 16 frames of 512 px take some 3 GB.
CUDA_PIXELS, MOST_FRAMES = 16 * 512**2, 64


class Drive(NamedTuple):
    """The motion of frames, and how they are seen."""

    expression: Tensor  # [T, 52]
    residual: Tensor  # [T, K]
    rotation: Tensor  # [T, 3, 3] head -> camera
    head_to_torso: Tensor  # [T, 3, 3] the head's rotation relative to the body
    blend: Tensor | None = None  # [T, K] how much each photo counts, see `DrivenHead`
    torso_pose: Tensor | None = None  # [T, 12] likewise
    shifts: Tensor | None = None  # [T, 2, 3] see `background.shifts`
    stay: Tensor | None = None  # [T, 2] from `standing`

    def batch(self, start: int, size: int) -> "Drive":
        """`size` frames from `start` on; beyond the end the last one is repeated."""
        lacking = size - len(self.rotation[start : start + size])

        def rows(x: Tensor) -> Tensor:
            part = x[start : start + size]
            return torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part

        return self._replace(**{name: rows(x) for name, x in self._asdict().items() if x is not None})


def drive(motion: Motion, view: Tensor, blend: Tensor | None, device: torch.device) -> Drive:
    """A motion seen from `view` [3, 3], or [T, 3, 3], by which all of the person is turned."""
    head_to_torso = motion.rotation.to(device)
    moved = shifts(motion)
    return Drive(
        expression=motion.expression.to(device),
        residual=motion.residual.to(device),
        rotation=view.to(device) @ head_to_torso,
        head_to_torso=head_to_torso,
        blend=blend,
        torso_pose=known_torso_pose(motion, device),
        shifts=None if moved is None else moved.to(device),
    )


def standing(joints: Tensor, head_to_torso: Tensor, view: Tensor, rest: Tensor) -> Tensor:
    """How far frames have to be moved for the body to stay where it is at rest, and the head to move upon it: [T, 2], x
    right and y DOWN, in head units.

    Args:
        joints: [J, 3] of the person.
        head_to_torso: [T, 3, 3] the head's rotation relative to the body.
        view: [3, 3] or [T, 3, 3], by which all of the person is turned.
        rest: [1, 3, 3] the head's rotation at rest.
    """

    turns = torch.cat([rest.to(head_to_torso), head_to_torso])
    body = turns @ bent_neck(joints, turns)[1][:, JOINTS.index("torso"), :, None]  # before the person is turned
    x, y, _ = (view.to(head_to_torso) @ (body[:1] - body[1:]))[..., 0].unbind(-1)
    return torch.stack([x, -y], -1)


def known_torso_pose(motion: Motion, device: torch.device) -> Tensor | None:
    """[T, 12], or None where nothing is known of it."""
    return motion.torso_pose.to(device) if motion.torso_pose.shape[1] else None


def frames_at_a_time(device: torch.device, height: int) -> int:
    """How many frames of `height` pixels to render at a time on a device, where nobody says."""
    if device.type != "cuda":
        return 1
    return max(1, min(MOST_FRAMES, CUDA_PIXELS // height**2))
