"""A mesh that follows bones.

Shapes: B batch, V vertices, J joints.
"""

import torch
from torch import Tensor


def skinned(vertices: Tensor, weights: Tensor, rotation: Tensor, moved: Tensor) -> Tensor:
    """Linear blend skinning.

    Args:
        vertices: [B, V, 3].
        weights: [V, J], rows with any sum above 0.
        rotation: [B, J, 3, 3] of each joint's bone.
        moved: [B, J, 3] added to what is rotated.

    Returns:
        [B, V, 3].
    """
    bones = torch.cat([rotation, moved[..., None]], 3).flatten(2)  # [B, J, 12]
    own = (weights / weights.sum(1, keepdim=True) @ bones).unflatten(2, (3, 4))  # [B, V, 3, 4]
    return (own[..., :3] @ vertices[..., None])[..., 0] + own[..., 3]


def matrix_root(rotation: Tensor, count: int) -> Tensor:
    """The rotation [B, 3, 3] that makes `rotation` when applied `count` times; angles below 180 degrees."""
    skew = rotation - rotation.mT
    axis = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1) / 2  # times the sine
    sine = axis.norm(dim=-1, keepdim=True)
    cosine = ((rotation.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True) - 1) / 2).clamp(-1, 1)
    axis = axis / sine.clamp(min=1e-8)
    angle = (torch.atan2(sine, cosine) / count)[..., None]
    zero = torch.zeros_like(axis[:, 0])
    x, y, z = axis.unbind(-1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, device=rotation.device, dtype=rotation.dtype)
    return eye + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
