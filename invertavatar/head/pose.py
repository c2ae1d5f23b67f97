"""The head pose of tracked landmarks: scaled Procrustes against a mean head, on points that expressions do not move.

Shapes: V landmarks (478 for MediaPipe's face mesh with irises).

Landmarks are in pixels of a picture, x right, y down, z away from the viewer in the same unit. Head space is that of
`invertavatar.camera`: x right, y up, z out of the face, so y and z change sign on the way.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

NUM_LANDMARKS = 478
PIXELS_TO_HEAD = np.array([1, -1, -1], np.float32)  # y down -> y up, z away from the viewer -> z out of the face
TEMPLATE_FILE = "template.json"  # a .safetensors file would make diffusers take the tracker for a network


class Similarity(NamedTuple):
    """The map `x -> scale * rotation @ x + translation`."""

    scale: float
    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map [..., 3]."""
        return self.scale * points @ self.rotation.T + self.translation

    def back(self, points: np.ndarray) -> np.ndarray:
        """The inverse map of [..., 3]."""
        return (points - self.translation) @ self.rotation / self.scale


def procrustes(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> Similarity:
    """The similarity that takes `source` nearest to `target` in the weighted least-squares sense (Umeyama 1991).

    Args:
        source: [V, 3].
        target: [V, 3].
        weights: [V], not negative, with any sum above 0; None weighs all points alike.

    Returns:
        The similarity; its rotation is proper (determinant 1) even where a reflection would fit better.
    """
    weights = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    weights = (weights / weights.sum())[:, None]  # [V, 1]
    source_mean, target_mean = (weights * source).sum(0), (weights * target).sum(0)
    source, target = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((weights * target).T @ source)
    signs = np.array([1, 1, np.linalg.det(u @ vt)])
    rotation = (u * signs) @ vt
    scale = (singular * signs).sum() / (weights * source**2).sum()
    return Similarity(float(scale), rotation, target_mean - scale * rotation @ source_mean)


@dataclass(frozen=True)
class HeadPose:
    """Where a head is in a picture: `landmarks * (1, -1, -1) = scale * rotation @ vertices + translation`."""

    rotation: np.ndarray  # [3, 3] float32, head -> camera
    scale: float  # pixels of one head unit
    centre: np.ndarray  # [2] float32, pixel of the head's origin
    vertices: np.ndarray  # [V, 3] float32, the landmarks in head space

    @property
    def roll(self) -> float:
        """Degrees, clockwise positive, as `camera.angles_from_rotation` gives it."""
        return float(np.degrees(np.arctan2(self.rotation[0, 1], self.rotation[1, 1])))


@dataclass(frozen=True)
class PoseTemplate:
    """The mean head that poses are fitted with. It defines head space: its origin is the head's centre."""

    mean: np.ndarray  # [V, 3] float32, head space
    rigid: np.ndarray  # [V] float32, weight of each landmark in the fit; 0 is not used

    def laid_on(self, points: np.ndarray) -> Similarity:
        """The map from head space to where landmarks [V, 3] of any space with y up lie."""
        used = self.rigid > 0
        return procrustes(self.mean[used], points[used], self.rigid[used])

    def fit(self, landmarks: np.ndarray) -> HeadPose:
        """The pose of [V, 3] landmarks in pixels."""
        target = landmarks * PIXELS_TO_HEAD
        scale, rotation, translation = self.laid_on(target)
        return HeadPose(
            rotation=rotation.astype(np.float32),
            scale=scale,
            centre=(translation * PIXELS_TO_HEAD)[:2].astype(np.float32),
            vertices=((target - translation) @ rotation / scale).astype(np.float32),  # row vectors: R^T x
        )


def read_template(folder: str | Path) -> PoseTemplate:
    """Read `template.json` of a face tracker's folder.

    Raises:
        ValueError: It is no JSON, or not of the arrays that `write_template` takes.
        TypeError, KeyError: It is JSON of another kind.
    """
    arrays = json.loads((Path(folder) / TEMPLATE_FILE).read_text(encoding="utf-8"))
    return PoseTemplate(*_checked(*(np.array(arrays[name], np.float32) for name in ("mean", "rigid"))))


def write_template(folder: str | Path, mean: np.ndarray, rigid: np.ndarray) -> None:
    """Write (or replace) `template.json` in a face tracker's folder.

    Args:
        folder: The tracker's folder; it must exist.
        mean: [478, 3] mean landmarks in head space.
        rigid: [478] weights of the landmarks in the pose fit, 0 for those that expressions move.

    Raises:
        ValueError: The arrays have another shape, or fewer than three landmarks have a weight.
    """
    mean, rigid = _checked(np.ascontiguousarray(mean, np.float32), np.ascontiguousarray(rigid, np.float32))
    arrays = {"mean": mean.tolist(), "rigid": rigid.tolist()}  # a float32 survives its decimal digits
    (Path(folder) / TEMPLATE_FILE).write_text(json.dumps(arrays) + "\n", encoding="utf-8")


def _checked(mean: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if mean.shape != (NUM_LANDMARKS, 3) or rigid.shape != (NUM_LANDMARKS,):
        raise ValueError(f"A template needs mean [478, 3] and rigid [478], not {mean.shape} and {rigid.shape}.")
    if not np.isfinite(mean).all() or not (rigid >= 0).all() or (rigid > 0).sum() < 3:
        raise ValueError("A template needs finite landmarks, three of them or more with a weight above 0, none below.")
    return mean, rigid
