"""A source photo made ready for the encoders: tracked, cropped, matted, as tensors.

Shapes: V 478 landmarks, S side of the crop.
"""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..camera import angles_from_rotation
from .tracker import FaceTracker, Track

CROP_SIZE = 512
FINER = 1.25  # times as fine as a crop a photo is for which one of twice the size is made
THUMBNAIL_SIZE = 96
FEATHER = 0.08  # head units
MOST_BYTES = 1_300_000  # that a larger crop takes once it is packed: eight of them go into a file of 20 MB


class Portrait(NamedTuple):
    """One source photo."""

    name: str
    photo: Tensor  # [1, 3, S, S] in -1..1, normalized crop
    matte: Tensor  # [1, 1, S, S] in 0..1, the person; 0 where the photo has no pixels
    inside: Tensor  # [1, 1, S, S] in 0..1, real pixels, fading out toward the border of the photo
    vertices: Tensor  # [1, V, 3] head space
    expression: Tensor  # [1, 52] ARKit scores
    rotation: Tensor  # [1, 3, 3] head -> camera
    scale: float  # pixels of one head unit in the photo as given
    thumbnail: Tensor  # [3, 96, 96] uint8

    @property
    def picture(self) -> np.ndarray:
        """The crop as a picture: [S, S, 3] uint8 RGB."""
        return ((self.photo[0].permute(1, 2, 0) + 1) * 127.5).round().byte().cpu().numpy()

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees."""
        return tuple(angles_from_rotation(self.rotation)[0].tolist())

    @property
    def sharpness(self) -> float:
        """1 for a photo as fine as a crop of the usual size or finer, less for one that had to be enlarged."""
        return min(1.0, 2 * self.scale / min(self.photo.shape[-1], CROP_SIZE))

    def to(self, device: torch.device) -> "Portrait":
        """The same portrait on another device."""
        return self._replace(**{name: x.to(device) for name, x in self._asdict().items() if isinstance(x, Tensor)})


def prepare_portrait(
    image: np.ndarray,
    tracker: FaceTracker,
    name: str = "photo",
    face_index: int = 0,
    size: int = CROP_SIZE,
    finest: int | None = None,
) -> Portrait:
    """Track and crop a photo.

    Args:
        image: [H, W, 3] uint8 RGB.
        tracker: Finds the face.
        name: What messages call the photo.
        face_index: Which of several faces, 0 is the largest.
        size: S of a photo that is no finer.
        finest: S at most of one that is, by doubling; by default no more than `size`.

    Raises:
        NoFaceError: See `FaceTracker.detect`.
    """
    track = tracker.detect(image, name, face_index)
    while finest is not None and 2 * size <= finest and 2 * track.scale > FINER * size:
        size *= 2
    return portrait_of(image, track, tracker, name, size)


def portrait_of(
    image: np.ndarray, track: Track, tracker: FaceTracker, name: str = "photo", size: int = CROP_SIZE
) -> Portrait:
    """The same of a photo that was tracked before; of more than 512 pixels, grain too fine to pack is rounded away."""
    crop = tracker.crop(image, track, size)
    if size > CROP_SIZE:
        from ..media.packed import thinned  # training, which asks for a constant of here, has no video library

        crop = replace(crop, image=thinned(crop.image, MOST_BYTES))
    thumbnail = cv2.resize(crop.image, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), interpolation=cv2.INTER_AREA)
    return Portrait(
        name=name,
        photo=torch.from_numpy(crop.image).permute(2, 0, 1)[None].float() / 127.5 - 1,
        matte=torch.from_numpy(crop.matte)[None, None],
        inside=torch.from_numpy(feathered(crop.inside))[None, None],
        vertices=torch.from_numpy(track.vertices)[None],
        expression=torch.from_numpy(track.expression)[None],
        rotation=torch.from_numpy(track.rotation)[None],
        scale=track.scale,
        thumbnail=torch.from_numpy(thumbnail).permute(2, 0, 1),
    )


def feathered(inside: np.ndarray) -> np.ndarray:
    """A mask [S, S] of real pixels -> float32 in 0..1 that falls to 0 within `FEATHER` toward where pixels are missing.

    Photos end at different places of the head; without the fade the fused avatar would show their borders as lines.
    """
    distance = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip(distance / (FEATHER * inside.shape[0] / 2), 0, 1).astype(np.float32)
