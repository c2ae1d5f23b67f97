"""The rasterizer on a CPU: one compiled loop over triangles, one thread per picture of the batch.

Shapes: B batch, F triangles, H W picture.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numba
import numpy as np
import torch
from torch import Tensor

from invertavatar.raster.fixed_point import SUBPIXELS

logger = logging.getLogger(__name__)


def rasterize(corners: Tensor, depths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest triangle at each pixel centre.

    Args:
        corners: [B, F, 3, 2] int64 on the CPU, from `snap_corners`.
        depths: [B, F, 3] float32, larger is nearer.
        height: Of the picture in pixels.
        width: Of the picture in pixels.

    Returns:
        triangle: [B, H, W] int64, -1 where empty.
        barycentric: [B, H, W, 3] float32, zero where empty.
    """
    batch = len(corners)
    triangle = np.full((batch, height, width), -1, np.int64)
    barycentric = np.zeros((batch, height, width, 3), np.float32)
    pictures = (corners.numpy(), depths.numpy(), triangle, barycentric)
    # An argument, as numba's cache does not notice when another file's constant changes.
    steps = [SUBPIXELS] * batch
    workers = min(batch, torch.get_num_threads())
    if workers > 1:
        # Python threads, not numba's own parallel loop: on some systems the latter aborts the process when two threads
        # of an app call it at once. The loop holds no GIL, and a pool that lives for one call survives a fork.
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(_draw, *pictures, steps))
    else:
        for picture in zip(*pictures, steps, strict=True):
            _draw(*picture)
    return torch.from_numpy(triangle), torch.from_numpy(barycentric)


def compiled(
    function: Callable,
    error_model: Literal["python", "numpy"] = "python",
    inline: Literal["never", "always"] = "never",
) -> Callable:
    """numba.njit, cached on disk where numba finds a writable folder (NUMBA_CACHE_DIR, beside this file, or home).

    Args:
        function: Holds no GIL once compiled.
        error_model: See `numba.njit`, as is `inline`.
        inline: "always" for what others call in their innermost loops.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model=error_model, inline=inline)(function)
    except RuntimeError:
        logger.info("A compiled loop is not cached: set NUMBA_CACHE_DIR to a writable folder to start faster.")
        return numba.njit(nogil=True, error_model=error_model, inline=inline)(function)


def _draw(corners: np.ndarray, depths: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray, step: int) -> None:
    """One picture: corners [F, 3, 2] in 1 / step pixels, depths [F, 3] -> triangle [H, W], barycentric [H, W, 3]."""
    height, width = triangle.shape
    nearest = np.empty((height, width), np.float32)
    for f in range(len(corners)):
        x0, y0 = corners[f, 0, 0], corners[f, 0, 1]
        x1, y1 = corners[f, 1, 0], corners[f, 1, 1]
        x2, y2 = corners[f, 2, 0], corners[f, 2, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0:
            continue
        side = 1 if area > 0 else -1  # both windings are drawn: edges are turned to have the inside on their right
        inverse = np.float32(1) / np.float32(side * area)
        first_column = max(0, -(-min(x0, x1, x2) // step))
        last_column = min(width - 1, max(x0, x1, x2) // step)
        first_row = max(0, -(-min(y0, y1, y2) // step))
        last_row = min(height - 1, max(y0, y1, y2) // step)

        # Edge k lies opposite corner k; its function is twice the area between it and the point, positive inside.
        dx0, dy0 = side * (x2 - x1), side * (y2 - y1)
        dx1, dy1 = side * (x0 - x2), side * (y0 - y2)
        dx2, dy2 = side * (x1 - x0), side * (y1 - y0)
        # A pixel centre exactly on an edge belongs to the triangle for which that is a left or a top edge.
        least0 = 0 if dy0 < 0 or (dy0 == 0 and dx0 > 0) else 1
        least1 = 0 if dy1 < 0 or (dy1 == 0 and dx1 > 0) else 1
        least2 = 0 if dy2 < 0 or (dy2 == 0 and dx2 > 0) else 1
        x, y = first_column * step, first_row * step
        row0 = dx0 * (y - y1) - dy0 * (x - x1)
        row1 = dx1 * (y - y2) - dy1 * (x - x2)
        row2 = dx2 * (y - y0) - dy2 * (x - x0)
        for j in range(first_row, last_row + 1):
            e0, e1, e2 = row0, row1, row2
            for i in range(first_column, last_column + 1):
                if e0 >= least0 and e1 >= least1 and e2 >= least2:
                    w0, w1, w2 = np.float32(e0) * inverse, np.float32(e1) * inverse, np.float32(e2) * inverse
                    z = w0 * depths[f, 0] + w1 * depths[f, 1] + w2 * depths[f, 2]
                    if triangle[j, i] < 0 or z > nearest[j, i]:
                        nearest[j, i] = z
                        triangle[j, i] = f
                        barycentric[j, i, 0], barycentric[j, i, 1], barycentric[j, i, 2] = w0, w1, w2
                e0 -= dy0 * step
                e1 -= dy1 * step
                e2 -= dy2 * step
            row0 += dx0 * step
            row1 += dx1 * step
            row2 += dx2 * step


_draw = compiled(_draw)


def interpolate(attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """See `rasterizer.interpolate`: [B, V, C] float32 -> [B, C, H, W], on the CPU, without a gradient."""
    batch, height, width = triangle.shape
    image = np.empty((batch, attributes.shape[2], height, width), np.float32)
    pictures = (attributes.contiguous().numpy(), triangle.numpy(), barycentric.contiguous().numpy(), image)
    corners = triangles.numpy()
    for table, seen, weights, drawn in zip(*pictures, strict=True):
        _carry(table, seen, weights, corners, drawn)
    return torch.from_numpy(image)


def _carry(table: np.ndarray, seen: np.ndarray, weights: np.ndarray, corners: np.ndarray, drawn: np.ndarray) -> None:
    """One picture: table [V, C], seen [H, W], weights [H, W, 3], corners [F, 3] -> drawn [C, H, W]."""
    channels, height, width = drawn.shape
    for j in range(height):
        for i in range(width):
            f = seen[j, i]
            if f < 0:
                for c in range(channels):
                    drawn[c, j, i] = 0
                continue
            a, b, d = corners[f, 0], corners[f, 1], corners[f, 2]
            u, v, w = weights[j, i, 0], weights[j, i, 1], weights[j, i, 2]
            for c in range(channels):
                drawn[c, j, i] = table[a, c] * u + table[b, c] * v + table[d, c] * w


_carry = compiled(_carry)
