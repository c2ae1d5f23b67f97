"""Normalized crops: the square picture around a head that every network looks at (DESIGN 3).

Shapes: H W picture, S side of the crop.

Coordinates are continuous pixels: 0 is the outer edge of the first pixel and its centre is at 0.5, as MediaPipe's
landmarks and torch's grids with `align_corners=False` have it. OpenCV counts from the centres instead; only
`warp` knows about that.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

BORDER = (128, 128, 128)
NO_ALIASING = 0.75  # shrinking no more than this, the cubic kernel still sees every source pixel


@dataclass(frozen=True)
class Crop:
    """A square picture around a head, never rotated, with the head's origin in its middle."""

    image: np.ndarray  # [S, S, 3] uint8 RGB; outside of the picture its edge is repeated
    inside: np.ndarray  # [S, S] bool, pixels that the picture really has
    matte: np.ndarray  # [S, S] float32, 0 background to 1 person; 0 where not inside
    transform: np.ndarray  # [2, 3] float32, crop = transform @ (x, y, 1), continuous pixels


def framing(centre: np.ndarray, half_side: float, size: int, roll: float = 0.0) -> np.ndarray:
    """The transform that fits a square of a picture into a crop.

    Args:
        centre: [2] middle of the square in the picture.
        half_side: Half the square's side in pixels of the picture.
        size: Side of the crop in pixels.
        roll: Degrees; a head that is rolled clockwise by so much stands upright in the crop.

    Returns:
        [2, 3] float64, picture -> crop.
    """
    scale, angle = size / 2 / half_side, math.radians(roll)
    linear = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return np.column_stack([linear, size / 2 - linear @ centre])


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a [2, 3] transform to points [..., 2]."""
    return points @ transform[:, :2].T + transform[:, 2]


def warp(image: np.ndarray, transform: np.ndarray, size: tuple[int, int], repeat_edge: bool = False) -> np.ndarray:
    """Resample a picture by a similarity, averaging over all source pixels when it shrinks (no aliasing).

    Only the part of the picture that is needed is touched, so that a small window of a large photo is cheap.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        transform: [2, 3] picture -> result, rotation with one scale.
        size: (width, height) of the result.
        repeat_edge: What lies outside of the picture repeats its edge; otherwise it is mid-grey.

    Returns:
        [height, width] or [height, width, 3] uint8.
    """
    height, width = image.shape[:2]
    corners = np.array([(0, 0), (size[0], 0), (0, size[1]), size], np.float64)
    inverse = cv2.invertAffineTransform(transform)
    corners = transform_points(inverse, corners)
    scale = math.hypot(*transform[:, 0])
    # A margin of a few result pixels keeps the window's own edge out of sight.
    margin = 4 / min(scale, 1)
    left, top = np.floor(np.clip(corners.min(0) - margin, 0, (width - 1, height - 1))).astype(int)
    right, bottom = np.ceil(np.clip(corners.max(0) + margin, (left + 1, top + 1), (width, height))).astype(int)
    window = image[top:bottom, left:right]
    to_picture = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    if scale < NO_ALIASING:
        # INTER_AREA averages in `resize` only: `warpAffine` would take single source pixels.
        small = tuple(max(1, round(side * scale)) for side in window.shape[1::-1])
        to_picture = to_picture @ np.diag([window.shape[1] / small[0], window.shape[0] / small[1], 1])
        window = cv2.resize(window, small, interpolation=cv2.INTER_AREA)
    matrix = np.vstack([transform, (0, 0, 1)]) @ to_picture
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(half) @ matrix @ half  # continuous pixels -> OpenCV's, counted from pixel centres
    border = cv2.BORDER_REPLICATE if repeat_edge else cv2.BORDER_CONSTANT
    return cv2.warpAffine(window, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=border, borderValue=BORDER)


def inside_picture(shape: tuple[int, int], transform: np.ndarray, size: int) -> np.ndarray:
    """Which pixels of an unrotated crop lie wholly inside a picture of shape (H, W): [S, S] bool."""
    scale = transform[0, 0]
    margin = 0.5 * max(1 / scale, 1)  # half the larger of a source and a crop pixel
    line = np.arange(size) + 0.5
    columns, rows = (
        ((line - offset) / scale >= margin) & ((line - offset) / scale <= side - margin)
        for offset, side in zip(transform[:, 2], shape[::-1], strict=True)
    )
    return rows[:, None] & columns
