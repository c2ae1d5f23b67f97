"""The rasterizer in plain torch, for any device: all pixels of all bounding boxes at once, in chunks.

Shapes: B batch, F triangles, H W picture, N candidates (a pixel inside a triangle's bounding box).

It is the readable twin of `rasterizer_numba` and returns the same numbers, bit for bit.
"""

import torch
from torch import Tensor

from invertavatar.rendering.fixed_point import SUBPIXELS

CHUNK = 1 << 18  # candidates at a time: some 50 MB
CUDA_CHUNK = 1 << 22  # the same on CUDA, where a launch costs more than memory


def rasterize(corners: Tensor, depths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest triangle at each pixel centre; arguments and results as in `rasterizer_numba.rasterize`, any device."""
    batch, count = corners.shape[:2]
    device = corners.device
    corners, depths = corners.flatten(0, 1), depths.flatten(0, 1)  # [B F, 3, 2], [B F, 3]
    slopes, least, inverse_area = _edges(corners)

    border = torch.tensor([width, height], device=device) - 1
    first = (-_floor(-corners.amin(1), SUBPIXELS)).clamp(min=0)  # [B F, 2] column and row of the bounding box
    last = torch.minimum(_floor(corners.amax(1), SUBPIXELS), border)
    columns, rows = (last - first + 1).clamp(min=0).unbind(-1)
    candidates = torch.where(inverse_area.isfinite(), columns * rows, 0)  # a triangle without area has none
    ends = candidates.cumsum(0)

    nearest = torch.full((batch * height * width,), -torch.inf, device=device)
    # Triangle numbers are reduced as float32 (exact below 2**24), the one type whose minimum every device can scatter.
    winner = torch.full_like(nearest, torch.inf)
    total, chunk = int(candidates.sum()), CUDA_CHUNK if device.type == "cuda" else CHUNK
    for start in range(0, total, chunk):
        number = torch.arange(start, min(start + chunk, total), device=device)  # [N]
        face = torch.searchsorted(ends, number, right=True)
        within = number - (ends - candidates)[face]
        column = first[face, 0] + within % columns[face]
        row = first[face, 1] + _floor(within, columns[face])
        edges = _evaluate(slopes[face], column, row)  # [N, 3]

        covered = (edges >= least[face]).all(-1)
        face, column, row, edges = face[covered], column[covered], row[covered], edges[covered]
        pixel = (_floor(face, count) * height + row) * width + column
        w0, w1, w2 = (edges.float() * inverse_area[face, None]).unbind(-1)
        z0, z1, z2 = depths[face].unbind(-1)
        depth = w0 * z0 + w1 * z1 + w2 * z2  # in the order of the compiled loop, so that equal depths stay equal
        before = nearest[pixel]
        nearest.scatter_reduce_(0, pixel, depth, "amax")
        # Of equally near triangles the first one stays, within a chunk and from chunk to chunk.
        wins = (depth > before) & (depth == nearest[pixel])
        winner[pixel[wins]] = torch.inf
        winner.scatter_reduce_(0, pixel[wins], face[wins].float(), "amin")

    triangle = torch.full((batch * height * width,), -1, device=device)
    barycentric = torch.zeros(batch * height * width, 3, device=device)
    pixel = winner.isfinite().nonzero()[:, 0]
    face = winner[pixel].long()
    edges = _evaluate(slopes[face], pixel % width, _floor(pixel, width) % height)
    triangle[pixel] = face % max(count, 1)
    barycentric[pixel] = edges.float() * inverse_area[face, None]
    return triangle.view(batch, height, width), barycentric.view(batch, height, width, 3)


def _edges(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Edge functions of triangles [N, 3, 2]; edge k lies opposite corner k.

    Returns:
        slopes: [N, 3, 3] per edge the factors of column, row and 1 in twice the area between the edge and a pixel.
        least: [N, 3] the smallest value inside, 0 or 1.
        inverse_area: [N] float32, infinite where the triangle has no area.
    """
    start, end = corners.roll(-1, 1), corners.roll(-2, 1)
    dx, dy = (end - start).unbind(-1)  # [N, 3]
    area = dx[:, 1] * dy[:, 2] - dy[:, 1] * dx[:, 2]
    side = area.sign()[:, None]  # both windings are drawn: edges are turned to have the inside on their right
    dx, dy = side * dx, side * dy
    slopes = torch.stack([-dy * SUBPIXELS, dx * SUBPIXELS, dy * start[..., 0] - dx * start[..., 1]], -1)
    # A pixel centre exactly on an edge belongs to the triangle for which that is a left or a top edge.
    least = torch.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
    return slopes, least, 1 / area.abs().float()


def _evaluate(slopes: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The three edge functions [N, 3] at one pixel per triangle."""
    return slopes[..., 0] * column[:, None] + slopes[..., 1] * row[:, None] + slopes[..., 2]


def _floor(a: Tensor, b: Tensor | int) -> Tensor:
    return a.div(b, rounding_mode="floor")
