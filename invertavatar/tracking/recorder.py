"""What a driver is read with, frame by frame: the face by the tracker, shoulders and hair by the torso pose network.

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

TORSO_CROP = 192  # S of what the torso pose is read from


class Recorder(NamedTuple):
    """Tracker, head model and torso pose network, in one place."""

    tracker: FaceTracker
    head_model: HeadModel
    torso_pose: Callable[..., Tensor | None] | None = None  # `TriplaneEncoder.torso_pose`, on the head model's device

    def detect(self, image: np.ndarray, name: str = "photo", face_index: int = 0) -> Track:
        """`FaceTracker.detect`, with the torso pose."""
        return self.with_torso_pose(image, self.tracker.detect(image, name, face_index))

    def detect_video(
        self, frames: Iterable[np.ndarray], fps: float, face_index: int = 0, name: str = "video"
    ) -> Iterator[Track | None]:
        """`FaceTracker.detect_video`, with the torso pose."""
        frames, pictures = tee(frames)
        tracks = self.tracker.detect_video(frames, fps, face_index, name)
        for picture, track in zip(pictures, tracks, strict=False):
            yield track and self.with_torso_pose(picture, track)

    @torch.no_grad()
    def with_torso_pose(self, image: np.ndarray, track: Track) -> Track:
        """A track with what the picture tells of shoulders and hair, as far as the model knows of it.

        Args:
            image: [H, W, 3] uint8 RGB.
            track: Of this picture.
        """
        if self.torso_pose is None:
            return track
        crop = self.tracker.crop(image, track, TORSO_CROP)
        device = self.head_model.mean.device
        photo = torch.from_numpy(crop.image).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
        masks = (torch.from_numpy(x).to(device)[None, None] for x in (crop.matte, feathered(crop.inside)))
        rotation = torch.from_numpy(track.rotation).to(device)[None]
        torso_pose = self.torso_pose(photo, *masks, rotation, self.head_model.chart.head_height)
        return track if torso_pose is None else replace(track, torso_pose=torso_pose[0].cpu().numpy())
