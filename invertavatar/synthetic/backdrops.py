"""What is behind a person: a gradient, blurred shapes, or a wall with a grain; drawn by a seed.

Shapes: S side of the picture.
"""

import cv2
import numpy as np


def random_backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """[S, S, 3] float32 sRGB in 0..1.

    Args:
        rng: Decides.
        size: S.
    """
    kind = rng.integers(3)
    colours = rng.uniform(0.08, 0.95, (4, 1)) + rng.normal(0, 0.05, (4, 3))
    if kind == 0:
        corners = colours.reshape(2, 2, 3).astype(np.float32)
        picture = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    elif kind == 1:
        picture = np.tile(colours[0].astype(np.float32), (size, size, 1))
        for _ in range(rng.integers(4, 14)):
            colour = rng.uniform(0, 1) + rng.normal(0, 0.08, 3)
            left, top = rng.integers(-size // 4, size, 2)
            width, height = rng.integers(size // 16, size, 2)
            cv2.rectangle(picture, (int(left), int(top)), (int(left + width), int(top + height)), colour.tolist(), -1)
        picture = cv2.GaussianBlur(picture, (0, 0), size * rng.uniform(0.01, 0.06))
    else:
        picture = np.tile(colours[0].astype(np.float32), (size, size, 1))
        for cells in (3, 6, 12, 48):
            noise = rng.normal(0, 0.1 * cells**-0.3, (cells, cells, 1)) + rng.normal(0, 0.01, (cells, cells, 3))
            picture += cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 1).astype(np.float32)
