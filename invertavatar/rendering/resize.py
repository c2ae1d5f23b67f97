"""Pictures at another size, and at places of their own."""

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: int) -> Tensor:
    """[B, C, h, h] -> [B, C, size, size], without aliases."""
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=size < x.shape[-1])


def halved(picture: Tensor, size: int) -> Tensor:
    """A picture [..., R, R] less than twice as fine as one of `size` pixels, whose lookups would else be grainy."""
    while picture.shape[-1] >= 2 * size:
        picture = picture.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).mean((-1, -3))
    return picture


def resample(picture: Tensor, grid: Tensor) -> Tensor:
    """Colours of a picture [B, C, R, R] at grid [B, h, w, 2], nearly as sharp as it is: [B, C, h, w].

    Two linear lookups, photo to map and map to frame, leave two thirds of its high-pass detail. Cubic ones keep it,
    and are of no use where the grid is the coarser.
    """
    cubic = grid.shape[1] >= picture.shape[-1] and picture.device.type != "mps"  # which has none
    mode = "bicubic" if cubic else "bilinear"
    return F.grid_sample(picture, grid, mode, padding_mode="border", align_corners=False)
