"""What a driver is read with, frame by frame: the face by the tracker, shoulders and hair by the posture network.

Shapes: H W picture, S side of a crop.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import tee
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..head.head_model import HeadModel
from .portrait import feathered
from .tracker import FaceTracker, Track

POSTURE_CROP = 192  # S of what the posture is read from


class Recorder(NamedTuple):
    """Tracker, head model and posture network, in one place."""

    tracker: FaceTracker
    head_model: HeadModel
    posture: Callable[..., Tensor | None] | None = None  # `TriplaneEncoder.posture`, on the head model's device

    def detect(self, image: np.ndarray, name: str = "photo", face_index: int = 0) -> Track:
        """`FaceTracker.detect`, with the posture."""
        return self.with_posture(image, self.tracker.detect(image, name, face_index))

    def detect_video(
        self, frames: Iterable[np.ndarray], fps: float, face_index: int = 0, name: str = "video"
    ) -> Iterator[Track | None]:
        """`FaceTracker.detect_video`, with the posture."""
        frames, pictures = tee(frames)
        tracks = self.tracker.detect_video(frames, fps, face_index, name)
        for picture, track in zip(pictures, tracks, strict=False):
            yield track and self.with_posture(picture, track)

    @torch.no_grad()
    def with_posture(self, image: np.ndarray, track: Track) -> Track:
        """A track with what the picture tells of shoulders and hair, as far as the model knows of it.

        Args:
            image: [H, W, 3] uint8 RGB.
            track: Of this picture.
        """
        if self.posture is None:
            return track
        crop = self.tracker.crop(image, track, POSTURE_CROP)
        device = self.head_model.mean.device
        photo = torch.from_numpy(crop.image).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
        masks = (torch.from_numpy(x).to(device)[None, None] for x in (crop.matte, feathered(crop.inside)))
        rotation = torch.from_numpy(track.rotation).to(device)[None]
        posture = self.posture(photo, *masks, rotation, self.head_model.chart.head_height)
        return track if posture is None else replace(track, posture=posture[0].cpu().numpy())
