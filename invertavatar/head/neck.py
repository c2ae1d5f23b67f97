"""How the neck bends.

Shapes: B batch, J joints.
"""

from itertools import pairwise

import torch
from torch import Tensor

from .skinning import matrix_root
from .topology import JOINT_NAMES as JOINTS

NECK_CHAIN = ("head", "neck03", "neck02", "neck01")


def bent_neck(joints: Tensor, head_to_torso: Tensor) -> tuple[Tensor, Tensor]:
    """See `HeadModel.neck`."""
    step = matrix_root(head_to_torso, len(NECK_CHAIN)).mT  # each neck joint takes its share
    rotation = torch.eye(3, device=head_to_torso.device, dtype=head_to_torso.dtype).expand_as(head_to_torso)
    moved = torch.zeros_like(head_to_torso[:, :, 0])
    bones = dict.fromkeys(JOINTS, (rotation, moved))  # jaw and eyes go with the head, which stays
    for above, below in pairwise((*NECK_CHAIN, "torso")):
        pivot = joints[..., JOINTS.index(above), :, None]
        moved = moved + ((rotation - rotation @ step) @ pivot)[..., 0]
        rotation = rotation @ step
        bones[below] = rotation, moved
    rotations, shifts = zip(*bones.values(), strict=True)
    return torch.stack(rotations, 1), torch.stack(shifts, 1)
