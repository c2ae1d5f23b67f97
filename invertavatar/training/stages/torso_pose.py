"""`posture`: how shoulders and hair lie, without rendering anything.

Shapes: B subjects, T targets, S side of a picture.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...camera import pixel_centres
from ...head.rest_pose import displacement, to_rest_pose
from ...inversion import torso_pose_of
from ...rendering.frontal_plane import canonicalize
from ...rendering.resize import resize
from ..episodes import Episode
from ..losses import pyramid_l1
from ..reconstruction import Crop, photo_crops, repeat, target_crops
from .base import Stage, StageOutput

# How far shoulders and hair of a clip lie off, as the best fit for each frame has it: see `rest_pose.TORSO_POSE_NAMES`.
POSTURE_SPREAD = (0.05, 0.045, 0.055, 0.07, 0.05, 0.05, 0.02, 0.025, 0.035, 0.03, 0.025, 0.025)
COMPARED_SIZE = 128  # of the frontal plane in which torso poses are compared


class TorsoPoseStage(Stage):
    """The torso pose of a person: right where shoulders and hair of one picture, moved by the difference of the two
    torso poses, lie on those of the other. No picture is rendered.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        photo, target, times = photo_crops(episode)[0], target_crops(episode), episode.driven.shape[1]
        networks = self._reconstruction.networks
        one: Any = torso_pose_of(networks, *photo)
        other: Any = torso_pose_of(networks, *target)
        pair, apart = (repeat(photo, times), target), repeat(one, times) - other
        # Only the difference counts, so that nothing is gained by shrinking what there is to compare.
        consistency = sum(self._difference(*pair, *moved) for moved in ((apart, None), (None, -apart))) / 2
        change = torch.randn_like(other) * other.new_tensor(POSTURE_SPREAD)
        found: Any = torso_pose_of(networks, *moved_on_purpose(target, change))
        equivariance = ((found - other - change).abs() / other.new_tensor(POSTURE_SPREAD)).mean()
        terms = {
            "consistency": consistency,
            "equivariance": equivariance,
            "deviation": (other / other.new_tensor(POSTURE_SPREAD)).square().mean(),
        }
        return StageOutput(terms)

    def _difference(self, first: Crop, other: Crop, first_pose: Tensor | None, other_pose: Tensor | None) -> Tensor:
        """Of two crops in the frontal plane, each moved back by a torso pose."""
        height: Any = self._reconstruction.networks.head_model.chart.head_height
        looks: list[Tensor] = []
        visible: Any = 1.0
        for crop, torso_pose in ((first, first_pose), (other, other_pose)):
            heights = resize(height, COMPARED_SIZE).expand(len(crop.photo), -1, -1, -1)
            picture = torch.cat([crop.photo, crop.inside], 1)
            front, matte, facing = canonicalize(picture, crop.matte, heights, crop.rotation, torso_pose)
            colours, inside = front.split([3, 1], 1)
            looks.append(torch.cat([colours * matte, matte], 1))
            visible = visible * (inside * (0.25 + facing)).detach()
        return pyramid_l1(looks[0], looks[1], visible)


def moved_on_purpose(crop: Crop, torso_pose: Tensor) -> Crop:
    """A picture in which shoulders and hair lie otherwise by [B, 12], as seen from where the head is at rest."""
    size = crop.photo.shape[-1]
    right, up = pixel_centres(size, torso_pose.device)
    places = torch.stack([right, up], -1).view(1, -1, 2).expand(len(torso_pose), -1, -1)
    resting = to_rest_pose(F.pad(places, (0, 1)) @ crop.rotation, crop.rotation)[..., :2]  # as if flat
    still = torch.zeros_like(torso_pose[:, :6])
    shoulders = displacement(resting, torch.cat([torso_pose[:, :6], still], 1))
    hair = displacement(resting, torch.cat([still, torso_pose[:, 6:]], 1))
    source = places - shoulders - hair @ crop.rotation[:, :2, :2].mT
    grid = torch.stack([source[..., 0], -source[..., 1]], -1).unflatten(1, (size, size))
    moved = (F.grid_sample(x, grid, padding_mode="border", align_corners=False) for x in crop[:3])
    return crop._replace(photo=next(moved), matte=next(moved), inside=next(moved))
