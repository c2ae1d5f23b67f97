"""A person as the head model learns from them.

Shapes: T tracked frames, L 478 landmarks.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..camera import angles_from_rotation


@dataclass(frozen=True)
class TrackedPerson:
    """The frames of one person."""

    vertices: np.ndarray  # [T, L, 3] landmarks in head space
    expression: np.ndarray  # [T, 52]
    rotation: np.ndarray  # [T, 3, 3] head -> camera
    moving: np.ndarray | None = None  # [T] bool: from a clip, so fit for learning expressions; None for all

    def __post_init__(self):
        if self.moving is None:
            object.__setattr__(self, "moving", np.ones(len(self.vertices), bool))

    @property
    def all_angles(self) -> np.ndarray:
        """[T, 3] yaw, pitch and roll in degrees."""
        return angles_from_rotation(torch.from_numpy(self.rotation)).numpy().astype(np.float64)

    @property
    def angles(self) -> np.ndarray:
        """[T, 2] yaw and pitch in degrees."""
        return self.all_angles[:, :2]
