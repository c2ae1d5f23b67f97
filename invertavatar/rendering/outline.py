"""Hair of a head model fitted to its outline in one picture, where that picture shows more than the crop does.

Shapes: V vertices of the head model, f side of a mask, A angles.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..head.head_model import HeadModel
from ..tracking.crop import Crop
from .paste_settings import PasteSettings
from .surface import GROUPS, vertex_groups

NUM_ANGLES = 180  # at which outlines are compared
NUM_STEPS = 400  # along each ray


class Outline(NamedTuple):
    """By how much hair grows in each direction of the picture."""

    growth: Tensor  # [A] from straight down by the right, up and the left
    hair: Tensor  # [V, 1] in 0..1
    rotation: Tensor  # [3, 3] head -> camera of the picture
    crown: tuple[float, float]  # heights between which it begins to hold

    def fitted(self, vertices: Tensor) -> Tensor:
        """Vertices [B, V, 3] in head space with hair as far out as the outline is."""
        seen = vertices @ self.rotation.mT
        x, y, _ = seen.unbind(-1)
        place = torch.atan2(x, -y) / (2 * math.pi) % 1 * NUM_ANGLES
        first = place.long() % NUM_ANGLES
        growth = torch.lerp(self.growth[first], self.growth[(first + 1) % NUM_ANGLES], place - place.floor())
        low, high = self.crown
        weight = self.hair * ((y - low) / (high - low)).clamp(0, 1)[..., None]
        moved = torch.cat([seen[..., :2] * (1 + (growth[..., None] - 1) * weight), seen[..., 2:]], -1)
        return moved @ self.rotation


def outline_of(head_model: HeadModel, mask: Tensor, crop: Crop, rotation: Tensor, settings: PasteSettings) -> Outline:
    """How far a picture's matte reaches beyond the head model.

    Args:
        head_model: The head model.
        mask: [f, f] 1 on the model, as the picture shows it, in a crop of which half the side is `settings.room`.
        crop: The picture, likewise.
        rotation: [3, 3] head -> camera.
        settings: Of pasting.
    """
    matte = torch.from_numpy(crop.matte).to(mask)
    # Hair that the picture cuts off is as the model has it.
    real = torch.from_numpy(crop.inside).to(mask)
    angle = torch.arange(NUM_ANGLES, device=mask.device) * (2 * math.pi / NUM_ANGLES)
    radius = (torch.arange(NUM_STEPS, device=mask.device) + 0.5) / NUM_STEPS
    ray = torch.stack([torch.sin(angle), torch.cos(angle)], -1)[:, None] * radius[:, None]  # [A, R, 2] right, down

    def along(picture: Tensor) -> Tensor:  # [f, f] -> [A, R]
        return F.grid_sample(picture[None, None], ray[None], align_corners=False)[0, 0]

    def first_gap(solid: Tensor) -> Tensor:  # [A, R] -> [A] how far out the first gap is
        gap = torch.cat([~solid, torch.ones_like(solid[:, :1])], 1).float()
        return gap.argmax(1) / NUM_STEPS

    theirs, own = first_gap(along(matte) > 0.5), first_gap(along(mask) > 0.5)
    cut = along(real)[torch.arange(NUM_ANGLES), (theirs * NUM_STEPS).long().clamp(max=NUM_STEPS - 1)] < 0.5
    growth = torch.where(cut, own.maximum(theirs), theirs) / own.clamp(min=1e-3)
    growth = growth.clamp(*settings.fitted)
    kernel = torch.full((1, 1, 5), 1 / 5, device=mask.device)
    growth = F.conv1d(F.pad(growth[None, None], (2, 2), mode="circular"), kernel)[0, 0]
    hair = vertex_groups(head_model)[:, GROUPS.index(("scalp",)), None]
    return Outline(growth, hair, rotation, settings.crown)
