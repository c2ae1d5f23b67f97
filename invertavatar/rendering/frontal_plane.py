"""A picture resampled into the frontal plane through a height field: as much as torso pose needs to know of shape.

Shapes: B batch, C channels, H W picture, h w plane.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from ..head.rest_pose import PIVOT, displacement, row_rotations
from .resize import resample, resize

COARSE_SIZE = 128  # at which places are moved by a torso pose, as that is smooth


def canonicalize(
    picture: Tensor, matte: Tensor, heights: Tensor, rotation: Tensor, torso_pose: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Resample a crop into the frontal plane through a height field, so that a turned head becomes pixel-aligned.

    The body is taken to face the viewer, whichever way the head is turned.

    Args:
        picture: [B, C, H, W] normalized crop: colours, and masks from the fourth channel on.
        matte: [B, 1, H, W] in 0..1.
        heights: [B, 1, h, w] of the head in this picture.
        rotation: [B, 3, 3] head -> camera.
        torso_pose: [B, 12] of the person in this picture, see `rest_pose`; None for the average one.

    Returns:
        [B, C, h, w] colours, [B, 1, h, w] matte (0 outside of the crop) and [B, 1, h, w] how squarely the height field
        faces the viewer there, in 0..1 and 0 outside of the crop.
    """
    size = heights.shape[-1]
    right, up = pixel_centres(size, heights.device)
    right, up = right.expand_as(heights[:, 0]), up.expand_as(heights[:, 0])
    points = torch.stack([x - p for x, p in zip((right, up, heights[:, 0]), PIVOT, strict=True)], -1)  # [B, h, w, 3]
    if torso_pose is not None:
        coarse = min(size, COARSE_SIZE)  # as it is smooth
        place = torch.stack(pixel_centres(coarse, heights.device), -1).view(1, -1, 2)
        moved = displacement(place, torso_pose).mT.unflatten(-1, (coarse, coarse))
        points = points + F.pad(resize(moved, size).permute(0, 2, 3, 1), (0, 1))
    turns = rotation[:, None] @ row_rotations(up[0, :, 0], rotation)  # [B, h, 3, 3] rest pose -> camera
    pivot = reduce(torch.add, (rotation[:, :, k] * PIVOT[k] for k in range(3)))  # [B, 3] in camera space
    seen = torch.einsum("bhij,bhwj->bhwi", turns, points) + pivot[:, None, None]
    grid = torch.stack([seen[..., 0], -seen[..., 1]], -1)
    padded = F.pad(heights, (1, 1, 1, 1), mode="replicate")
    slope_right = (padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]) * (size / 4)  # two pixels are 4 / size units
    slope_up = (padded[:, 0, :-2, 1:-1] - padded[:, 0, 2:, 1:-1]) * (size / 4)
    normal = F.normalize(torch.stack([-slope_right, -slope_up, torch.ones_like(slope_up)], -1), dim=-1)
    facing = torch.einsum("bhj,bhwj->bhw", turns[:, :, 2], normal).clamp(0, 1)[:, None]
    inside = (grid.abs().amax(-1) <= 1).float()[:, None]
    colour = resample(picture[:, :3], grid)
    if picture.shape[1] > 3:
        masks = F.grid_sample(picture[:, 3:], grid, padding_mode="border", align_corners=False)
        colour = torch.cat([colour, masks], 1)
    return colour, F.grid_sample(matte, grid, align_corners=False) * inside, facing * inside
