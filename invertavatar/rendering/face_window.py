"""The driven face seen from the front: the window of the frontal plane that G_face paints (paper 3.1).

Shapes: B batch, h w window, L landmarks, E vertices that close the mesh.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..head.face_chart import FaceChart
from ..head.landmark_topology import SKIN
from ..raster.rasterizer import interpolate, rasterize
from .resize import resize
from .uv import layered

SOFTENED_SIZE = 128  # finer masks are softened at this size


class FaceWindow(NamedTuple):
    """The driven mesh seen from the front, orthographically."""

    grid: Tensor  # [B, h, w, 2] UV of each pixel; meaningless outside of `mask`
    mask: Tensor  # [B, 1, h, w] 1 where the mesh was drawn
    patch: Tensor  # [B, 1, h, w] 1 on eyeballs and mouth interior
    soft: Tensor  # [B, 1, h, w] in 0..1: how much the window replaces the static plane; little at the mesh's edge


def face_window(closed: Tensor, chart: FaceChart, window: float, size: int) -> FaceWindow:
    """Rasterize the driven mesh into the frontal window (paper 3.1: textures rasterized into tri-plane space).

    Args:
        closed: [B, L + E, 3] in head space.
        window: Half the side of the window in head units.
        size: h = w.
    """
    front = torch.stack([closed[..., 0] / window, -closed[..., 1] / window, closed[..., 2]], -1)
    positions = layered(front, chart)
    fragments = rasterize(positions, chart.triangles, size)
    drawn = interpolate(chart.uv, fragments, chart.triangles)  # [B, 2, h, w]
    mask = fragments.mask[:, None].float()
    region = chart.triangle_region[fragments.triangle.clamp(min=0)][:, None]
    return FaceWindow(
        grid=drawn.permute(0, 2, 3, 1),
        mask=mask,
        patch=(region != SKIN).float() * mask,
        soft=soften(mask),
    )


def soften(mask: Tensor) -> Tensor:
    """A mask [B, 1, h, h] that falls to zero inside its own border, over about 4 pixels of 128."""
    size = mask.shape[-1]
    small = resize(mask, min(size, SOFTENED_SIZE))
    kernel = 2 * round(2 * small.shape[-1] / SOFTENED_SIZE) + 1
    inner = -F.max_pool2d(F.pad(-small, [kernel // 2] * 4), kernel, 1)
    for _ in range(2):  # two box filters are close to a triangle
        inner = _box(inner, kernel)
    return (resize(inner, size) * mask).clamp(0, 1)


def _box(x: Tensor, kernel: int) -> Tensor:
    """The mean of [B, C, H, W] over `kernel` by `kernel` pixels, zero beyond the border: rows first, then columns."""
    half = kernel // 2
    x = F.avg_pool2d(x, (1, kernel), 1, (0, half))
    return F.avg_pool2d(x, (kernel, 1), 1, (half, 0))
