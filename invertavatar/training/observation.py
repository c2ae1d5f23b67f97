"""A face of a training set, decoded: what augmentation changes and episodes are made of.

Shapes: V 478 landmarks, S side of the crop.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Observation:
    """One face of an episode, decoded."""

    picture: np.ndarray  # [S, S, 3] uint8
    matte: np.ndarray  # [S, S] uint8
    vertices: np.ndarray  # [V, 3] float32 head space
    expression: np.ndarray  # [52] float32 in 0..1
    rotation: np.ndarray  # [3, 3] float32 head -> camera
    inside: np.ndarray  # [4] left, top, right, bottom of the real pixels
    sharpness: float
