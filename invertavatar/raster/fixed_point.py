"""Triangle corners on a fixed-point grid: the input that every rasterizer back end starts from.

Shapes: B batch, V vertices, F triangles.

Rounding positions once, to 1 / 32768 of a pixel, makes every later edge test exact integer arithmetic: a pixel on the
edge of two triangles is drawn once, and two back ends cannot disagree about coverage. The rounding is what float32
positions near the border of a 512-pixel picture have anyway.
"""

import torch
from torch import Tensor

SUBPIXELS = 1 << 15  # grid steps per pixel
FARTHEST_PIXEL = 1 << 14  # differences of coordinates stay below 2**30 and sums of their products fit into int64


def snap_corners(positions: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The corners of all triangles in 1 / 32768 pixels.

    Args:
        positions: [B, V, 3] x right and y down in [-1, 1] over the picture, z larger is nearer.
        triangles: [F, 3] vertex indices.
        height: Of the picture in pixels.
        width: Of the picture in pixels.

    Returns:
        corners: [B, F, 3, 2] int64 x and y, so that the centre of pixel (row j, column i) is (i, j) * 32768.
        depths: [B, F, 3] float32 z.

        A triangle that cannot be drawn (a corner that is not finite, or lies more than 16,384 pixels from the
        picture's centre) has all its numbers zero: it has no area, which every back end skips.
    """
    positions = positions.detach().float()
    # Counted out on the device itself: a copy of two numbers would have the host wait for all that it has asked for.
    half_size = (width + (height - width) * torch.arange(2, device=positions.device)) / 2
    pixels = positions[..., :2] * half_size  # [B, V, 2] from the picture's centre
    drawable = positions.isfinite().all(-1) & (pixels.abs() < FARTHEST_PIXEL).all(-1)  # [B, V]
    # The shift to the first pixel's centre is added after the rounding: float32 has no bits to spare before it.
    first_centre = (half_size * SUBPIXELS).long() - SUBPIXELS // 2
    pixels = (pixels * SUBPIXELS).round().long() + first_centre

    corner = triangles.long().flatten()  # [3 F]
    hidden = ~drawable[:, corner].unflatten(1, (-1, 3)).all(-1)[..., None]  # [B, F, 1]
    corners = pixels[:, corner].unflatten(1, (-1, 3)).masked_fill(hidden[..., None], 0)
    depths = positions[..., 2][:, corner].unflatten(1, (-1, 3)).masked_fill(hidden, 0)
    return corners, depths
