"""Rotations over time, by SciPy.

Shapes: T frames.
"""

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor


def as_rotations(matrices: Tensor) -> Rotation:
    """[T, 3, 3] as SciPy's rotations, in double precision."""
    return Rotation.from_matrix(matrices.double().numpy())


def median_rotation(matrices: Tensor) -> Tensor:
    """[T, 3, 3] -> [1, 3, 3] with the least sum of angles to all (Weiszfeld): a short turn does not count."""
    rotations = as_rotations(matrices)
    centre = rotations.mean()
    for _ in range(20):
        centre = rotations.mean(weights=1 / (centre.inv() * rotations).magnitude().clip(min=1e-7))
    return torch.from_numpy(centre.as_matrix()).float()[None]
