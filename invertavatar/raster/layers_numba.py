"""Triangles with see-through textures: the nearest few of them at each pixel, and what they carry, on a CPU.

Shapes: V vertices, F triangles, H W picture, K layers, N points, C channels, U texture coordinates, T side of a map.

The companion of `rasterizer_numba` for hair and lashes, which are cards with alpha: there one triangle is nearest, here
those that are seen through count too. Coordinates are pixels; the centre of column i lies at i + 0.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from .rasterizer_numba import compiled

HIDES = 250  # alpha from which nothing is seen through
OPAQUE = np.full((1, 1), 255, np.uint8)  # the alpha of a surface that is not seen through


@dataclass
class Layers:
    """The nearest K triangles of each pixel, nearest first."""

    triangle: np.ndarray  # [H, W, K] int32, -1 where there is none
    barycentric: np.ndarray  # [H, W, K, 3] float32
    depth: np.ndarray  # [H, W, K] float32, larger is nearer; -inf where there is none
    floor: np.ndarray  # [H, W] float32 depth of the nearest opaque thing, behind which nothing is kept; -inf for none

    @classmethod
    def empty(cls, height: int, width: int, count: int, floor: np.ndarray | None = None) -> "Layers":
        """Without a triangle, before a floor that is there already."""
        shape = height, width, count
        floor = np.full(shape[:2], -np.inf, np.float32) if floor is None else floor.copy()
        triangle, depth = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        return cls(triangle, np.zeros((*shape, 3), np.float32), depth, floor)

    def add(
        self,
        points: np.ndarray,
        triangles: np.ndarray,
        first: int = 0,
        uv: np.ndarray | None = None,
        uv_triangles: np.ndarray | None = None,
        alpha: np.ndarray = OPAQUE,
        least: int = 1,
    ) -> None:
        """Draw a surface into the layers; both of its sides.

        Args:
            points: [V, 3] x right and y down in pixels, z larger is nearer.
            triangles: [F, 3] int64.
            first: Added to the numbers of the triangles.
            uv: [U, 2] texture coordinates, v UP; not needed where `alpha` has one texel.
            uv_triangles: [F, 3] int64 into `uv`.
            alpha: [h, w] uint8 of the texture.
            least: Where alpha is less, there is nothing.
        """
        if uv is None or uv_triangles is None:
            uv, uv_triangles = np.zeros((1, 2)), np.zeros_like(triangles)
        places = np.ascontiguousarray([0, 1] + np.asarray(uv, np.float64) * [1, -1])  # v down
        arrays = np.ascontiguousarray(points, np.float64), triangles, places, uv_triangles, alpha
        _add(*arrays, least, HIDES, first, self.floor, self.triangle, self.barycentric, self.depth)


def carried(attributes: np.ndarray, triangles: np.ndarray, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """Vertex attributes at points of triangles.

    Args:
        attributes: [V, C] float32.
        triangles: [F, 3] int64.
        triangle: [N] the triangle that each point lies on.
        barycentric: [N, 3] float32.

    Returns:
        [N, C] float32.
    """
    out = np.empty((len(triangle), attributes.shape[1]), np.float32)
    _carry(np.ascontiguousarray(attributes, np.float32), triangles, triangle, barycentric, out)
    return out


def sampled(texture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A texture [h, w, C] float32 at places [N, 2] in 0..1, v UP, between texels linearly: [N, C]."""
    out = np.empty((len(places), texture.shape[2]), np.float32)
    _sample(texture, np.ascontiguousarray(places, np.float32), out)
    return out


def lit_fraction(points: np.ndarray, nearest: np.ndarray, bias: float, radius: int) -> np.ndarray:
    """How much of a light reaches points: a soft-edged lookup in its depth map.

    Args:
        points: [N, 3] in pixels of the map, z larger is nearer to the light.
        nearest: [T, T] float32 depth of what the light meets first.
        bias: A point so little behind is lit.
        radius: Texels about the point's own that are asked.

    Returns:
        [N] float32 in 0..1.
    """
    out = np.empty(len(points), np.float32)
    _lit(np.ascontiguousarray(points, np.float32), nearest, bias, radius, out)
    return out


def composed(triangle: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Layers over each other.

    Args:
        triangle: [H, W, K] of `Layers`, nearest first.
        colour: [N, 3] float32, premultiplied, of those that are there, in their order.
        opacity: [N] float32.

    Returns:
        [H, W, 3] premultiplied colour and [H, W, 1] opacity.
    """
    rgb, left = np.zeros((*triangle.shape[:2], 3), np.float32), np.ones((*triangle.shape[:2], 1), np.float32)
    _compose(triangle, colour, opacity, rgb, left)
    return rgb, 1 - left


def _add(
    points: Array,
    triangles: Array,
    places: Array,
    uv_triangles: Array,
    alpha: Array,
    least: int,
    hides: int,
    first: int,
    floor: Array,
    triangle: Array,
    barycentric: Array,
    depth: Array,
) -> None:
    height, width, count = triangle.shape
    rows, columns = alpha.shape
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        x0, y0, x1, y1 = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
        right = min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
        top = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        if left > right or top > bottom:
            continue
        # A centre on an edge belongs to the triangle for which that is a left or a top edge, and is not blended twice.
        side = 1 if area > 0 else -1
        first0 = side * (y2 - y1) < 0 or (y2 == y1 and side * (x2 - x1) > 0)
        first1 = side * (y0 - y2) < 0 or (y0 == y2 and side * (x0 - x2) > 0)
        first2 = side * (y1 - y0) < 0 or (y1 == y0 and side * (x1 - x0) > 0)
        p, q, r = uv_triangles[f, 0], uv_triangles[f, 1], uv_triangles[f, 2]
        z0, z1, z2 = points[a, 2], points[b, 2], points[c, 2]
        for j in range(top, bottom + 1):
            y = j + 0.5
            for i in range(left, right + 1):
                x = i + 0.5
                w0 = ((x1 - x) * (y2 - y) - (y1 - y) * (x2 - x)) / area
                w1 = ((x2 - x) * (y0 - y) - (y2 - y) * (x0 - x)) / area
                w2 = ((x0 - x) * (y1 - y) - (y0 - y) * (x1 - x)) / area
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                if (w0 == 0 and not first0) or (w1 == 0 and not first1) or (w2 == 0 and not first2):
                    continue
                z = np.float32(w0 * z0 + w1 * z1 + w2 * z2)
                if z <= floor[j, i] or z <= depth[j, i, count - 1]:
                    continue
                opacity = alpha[0, 0]
                if rows > 1:
                    u = w0 * places[p, 0] + w1 * places[q, 0] + w2 * places[r, 0]
                    v = w0 * places[p, 1] + w1 * places[q, 1] + w2 * places[r, 1]
                    column, row = min(max(int(u * columns), 0), columns - 1), min(max(int(v * rows), 0), rows - 1)
                    opacity = alpha[row, column]
                    if opacity < least:
                        continue
                    # Between texels a texture is as opaque as the least of its neighbours at worst.
                    for near in range(max(row - 1, 0), min(row + 2, rows)):
                        for beside in range(max(column - 1, 0), min(column + 2, columns)):
                            opacity = min(opacity, alpha[near, beside])
                k = count - 1
                while k > 0 and z > depth[j, i, k - 1]:
                    depth[j, i, k], triangle[j, i, k] = depth[j, i, k - 1], triangle[j, i, k - 1]
                    for n in range(3):
                        barycentric[j, i, k, n] = barycentric[j, i, k - 1, n]
                    k -= 1
                if opacity >= hides:
                    floor[j, i] = z
                    for n in range(k + 1, count):
                        depth[j, i, n], triangle[j, i, n] = -np.inf, -1
                depth[j, i, k], triangle[j, i, k] = z, first + f
                barycentric[j, i, k, 0], barycentric[j, i, k, 1], barycentric[j, i, k, 2] = w0, w1, w2


def _carry(attributes: Array, triangles: Array, triangle: Array, barycentric: Array, out: Array) -> None:
    for n in range(len(triangle)):
        f = triangle[n]
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        for k in range(attributes.shape[1]):
            out[n, k] = (
                barycentric[n, 0] * attributes[a, k]
                + barycentric[n, 1] * attributes[b, k]
                + barycentric[n, 2] * attributes[c, k]
            )


def _sample(texture: Array, places: Array, out: Array) -> None:
    rows, columns, channels = texture.shape
    for n in range(len(places)):
        x = min(max(places[n, 0] * columns - np.float32(0.5), np.float32(0)), np.float32(columns - 1))
        y = min(max((1 - places[n, 1]) * rows - np.float32(0.5), np.float32(0)), np.float32(rows - 1))
        i, j = int(x), int(y)
        right, down = min(i + 1, columns - 1), min(j + 1, rows - 1)
        x, y = np.float32(x - i), np.float32(y - j)
        for k in range(channels):
            upper = texture[j, i, k] * (1 - x) + texture[j, right, k] * x
            lower = texture[down, i, k] * (1 - x) + texture[down, right, k] * x
            out[n, k] = upper * (1 - y) + lower * y


def _lit(points: Array, nearest: Array, bias: float, radius: int, out: Array) -> None:
    rows, columns = nearest.shape
    for n in range(len(points)):
        column, row, z = int(np.floor(points[n, 0])), int(np.floor(points[n, 1])), points[n, 2] + bias
        free, asked = 0, 0
        for j in range(row - radius, row + radius + 1):
            for i in range(column - radius, column + radius + 1):
                asked += 1
                if j < 0 or i < 0 or j >= rows or i >= columns or z >= nearest[j, i]:
                    free += 1
        out[n] = free / asked


def _compose(triangle: Array, colour: Array, opacity: Array, rgb: Array, left: Array) -> None:
    n = 0
    for j in range(triangle.shape[0]):
        for i in range(triangle.shape[1]):
            for k in range(triangle.shape[2]):
                if triangle[j, i, k] >= 0:
                    for c in range(3):
                        rgb[j, i, c] += left[j, i, 0] * colour[n, c]
                    left[j, i, 0] *= 1 - opacity[n]
                    n += 1


_add, _carry, _sample = compiled(_add), compiled(_carry), compiled(_sample)
_lit, _compose = compiled(_lit), compiled(_compose)
