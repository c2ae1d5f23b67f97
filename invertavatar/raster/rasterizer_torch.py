"""The rasterizer in plain torch, for any device: all pixels of all bounding boxes at once, in chunks.

Shapes: B batch, F triangles, H W picture, N candidates (a pixel inside a triangle's bounding box).

It is the readable twin of `rasterizer_numba` and returns the same numbers, bit for bit. Within `fixed_sizes` nothing in
it depends on what is drawn but the numbers.
"""

import torch
from torch import Tensor

from invertavatar.raster.fixed_point import SUBPIXELS
from invertavatar.runtime.fixed_sizes import current_sizes

CHUNK = 1 << 18  # candidates at a time: some 50 MB
CUDA_CHUNK = 1 << 22  # the same on CUDA, where a launch costs more than memory

SPARE = 1 << 12


def rasterize(corners: Tensor, depths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest triangle at each pixel centre; arguments and results as in `rasterizer_numba.rasterize`, any device."""
    batch, count = corners.shape[:2]
    device, sizes = corners.device, current_sizes()
    if not count:
        empty = torch.full((batch, height, width), -1, device=device)
        return empty, torch.zeros(*empty.shape, 3, device=device)
    corners, depths = corners.flatten(0, 1), depths.flatten(0, 1)  # [B F, 3, 2], [B F, 3]
    slopes, least, inverse_area = _edges(corners)

    first = (-_floor(-corners.amin(1), SUBPIXELS)).clamp(min=0)  # [B F, 2] column and row of the bounding box
    columns, rows = _floor(corners.amax(1), SUBPIXELS).unbind(-1)
    columns, rows = columns.clamp(max=width - 1) + 1 - first[:, 0], rows.clamp(max=height - 1) + 1 - first[:, 1]
    columns, rows = columns.clamp(min=0), rows.clamp(min=0)
    candidates = torch.where(inverse_area.isfinite(), columns * rows, 0)  # a triangle without area has none
    ends = candidates.cumsum(0)
    starts = ends - candidates

    if sizes is None:
        total = int(ends[-1])
    else:
        total = sizes.candidates(batch, count, height * width)
        sizes.need(ends[-1] > total)
    # Places beyond the pixels take what is not to be drawn, as nothing here may be left out by its value: several, as
    # threads that write to the same place wait for each other.
    pixels = batch * height * width
    nearest = torch.full((pixels + SPARE,), -torch.inf, device=device)
    # Triangle numbers are reduced as float32 (exact below 2**24), the one type whose minimum every device can scatter.
    winner = torch.full_like(nearest, torch.inf)
    chunk = CUDA_CHUNK if device.type == "cuda" else CHUNK
    for start in range(0, total, chunk):
        number = torch.arange(start, min(start + chunk, total), device=device)  # [N]
        face = torch.searchsorted(ends, number, right=True).clamp(max=len(ends) - 1)
        within, width_of = number - starts[face], columns[face].clamp(min=1)
        row = _floor(within, width_of)
        column = within - row * width_of + first[face, 0]
        row = row + first[face, 1]
        edges = _evaluate(slopes[face], column, row)  # [N, 3]

        nowhere = pixels + number % SPARE
        covered = (edges >= least[face]).all(-1) & (number < ends[-1])
        pixel = torch.where(covered, (_floor(face, count) * height + row) * width + column, nowhere)
        w0, w1, w2 = (edges.float() * inverse_area[face, None]).unbind(-1)
        z0, z1, z2 = depths[face].unbind(-1)
        depth = w0 * z0 + w1 * z1 + w2 * z2  # in the order of the compiled loop, so that equal depths stay equal
        before = nearest[pixel] if start else None
        nearest.scatter_reduce_(0, pixel, depth, "amax")
        # Of equally near triangles the first one stays, within a chunk and from chunk to chunk.
        wins = depth == nearest[pixel]
        if before is not None:
            wins &= depth > before
            winner.scatter_(0, torch.where(wins, pixel, nowhere), torch.inf)
        winner.scatter_reduce_(0, torch.where(wins, pixel, nowhere), face.float(), "amin")

    winner = winner[:pixels]
    drawn = winner.isfinite()
    face = torch.where(drawn, winner, 0).long()
    pixel = torch.arange(pixels, device=device)
    row = _floor(pixel, width)
    edges = _evaluate(slopes[face], pixel - row * width, row % height)
    triangle = torch.where(drawn, face % count, -1)
    barycentric = torch.where(drawn[:, None], edges.float() * inverse_area[face, None], 0.0)
    return triangle.view(batch, height, width), barycentric.view(batch, height, width, 3)


def _edges(corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Edge functions of triangles [N, 3, 2]; edge k lies opposite corner k.

    Returns:
        slopes: [N, 3, 3] per edge the factors of column, row and 1 in twice the area between the edge and a pixel.
        least: [N, 3] bool, the smallest value inside, 0 or 1.
        inverse_area: [N] float32, infinite where the triangle has no area.
    """
    start, end = corners.roll(-1, 1), corners.roll(-2, 1)
    dx, dy = (end - start).unbind(-1)  # [N, 3]
    area = dx[:, 1] * dy[:, 2] - dy[:, 1] * dx[:, 2]
    side = area.sign()[:, None]  # both windings are drawn: edges are turned to have the inside on their right
    dx, dy = side * dx, side * dy
    slopes = torch.stack([-dy * SUBPIXELS, dx * SUBPIXELS, dy * start[..., 0] - dx * start[..., 1]], -1)
    # A pixel centre exactly on an edge belongs to the triangle for which that is a left or a top edge.
    least = ~((dy < 0) | ((dy == 0) & (dx > 0)))
    return slopes, least, 1 / area.abs().float()


def _evaluate(slopes: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The three edge functions [N, 3] at one pixel per triangle."""
    return slopes[..., 0] * column[:, None] + slopes[..., 1] * row[:, None] + slopes[..., 2]


def _floor(a: Tensor, b: Tensor | int) -> Tensor:
    return a.div(b, rounding_mode="floor")
