"""Angles between the heads of photos and frames, and the buckets in which quality is measured by them."""

from bisect import bisect_right

import numpy as np

BOUNDS = (5, 10, 15, 20, 30)  # degrees between the buckets of angles
BUCKETS = ("< 5", "5-10", "10-15", "15-20", "20-30", "> 30")


def angles_between(rotation: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Degrees [n] by which rotations [n, 3, 3] differ from one [3, 3]."""
    cosine = (np.einsum("ij,nij->n", rotation, others) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def yaw(rotation: np.ndarray) -> float:
    """Degrees by which a head -> camera rotation [3, 3] has the face look to the image's right."""
    x, _, z = rotation[:, 2]  # where the head's z axis, out of the face, points
    return float(np.degrees(np.arctan2(x, z)))


def bucket(angle: float) -> str:
    """The name of the bucket that an angle in degrees is in; a bound is in the upper one."""
    return BUCKETS[bisect_right(BOUNDS, angle)]
