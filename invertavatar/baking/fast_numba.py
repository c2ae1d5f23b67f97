"""A textured mesh drawn in milliseconds on one core of a CPU, its edges smooth.

Shapes: V vertices, F triangles, U places in the texture, H W picture, E pixels at edges.

Which triangle is seen is found at each pixel's middle. Where neighbours show two surfaces, or a surface and nothing, it
is found at four places of both pixels, and these are coloured each by itself: outlines, lids and lips are as smooth as
in a picture twice as fine, which would cost four times more. The camera is far away, so what a triangle carries is a
plane over the picture; near cameras are close to that, as the triangles are small.
"""

import math

import numpy as np
from numpy import ndarray as Array

from ..raster.rasterizer_numba import compiled
from ..rendering.framing import Framing

# Cosines to the line of sight: from each on a veil is whole, thins out, is gone.
EDGE, ASLANT, SQUARELY = 0.15, 0.3, 0.45
STEP = 0.004  # of depth in head units between neighbours that are drawn as one surface
X, Y, Z, U, V, GAIN, OPACITY, ROW = 0, 1, 2, 5, 8, 11, 14, 17  # where in its row a triangle's middle and planes begin


def lit(vertices: np.ndarray, triangles: np.ndarray, light: np.ndarray, even: float, most: float) -> np.ndarray:
    """By what a light multiplies the colour of each vertex: [V] float32.

    Args:
        vertices: [V, 3] float32.
        triangles: [F, 3] int32, counter-clockwise from outside.
        light: [3] float32 logarithm of the light over the unit sphere of normals.
        even: The logarithm of the light that the texture is in.
        most: Logarithm of the largest gain, either way.
    """
    gain = np.empty(len(vertices), np.float32)
    _light(vertices, triangles, light, even, most, gain)
    return gain


def draw(
    places: np.ndarray,
    triangles: np.ndarray,
    part: np.ndarray,
    uv: np.ndarray,
    uv_triangles: np.ndarray,
    gain: np.ndarray,
    texture: np.ndarray,
    frame: Framing,
    opacity: np.ndarray | None = None,
    veil: int = 0,
) -> np.ndarray:
    """A picture of a mesh over nothing.

    Args:
        places: [V, 3] float32 x right and y down in -1..1 over the square that `frame` is cut out of, z larger is
            nearer.
        triangles: [F, 3] int32; both sides are drawn.
        part: [F] uint8; triangles of two parts are never one surface.
        uv: [U, 2] float32 in 0..1, v down.
        uv_triangles: [F, 3] int32.
        gain: [V] float32 that colours are multiplied by.
        texture: [R, C, 4] uint8 in one piece, straight alpha.
        frame: H, W, and where they lie.
        opacity: [V] float32, of a veil.
        veil: So many triangles, the last, are a veil over the others: they are blended in their order, and seen from
            outside only. The texture's alpha is theirs alone.

    Returns:
        [H, W, 4] float32 colours in 0..255, premultiplied by the alpha in 0..1 that is the last.
    """
    packed = texture.view(np.uint32)[..., 0]
    half, shape, solid = frame.side / 2, (frame.height, frame.width), len(triangles) - veil
    points = places * half + np.array([half - frame.left, half - frame.top, 0], np.float64)  # depth is in pixels too
    scaled = uv * np.array(texture.shape[1::-1], np.float32) - np.float32(0.5)
    seen, depth = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    planes = np.empty((solid, ROW), np.float32)
    _see(points, triangles[:solid], scaled, uv_triangles, gain, planes, seen, depth)
    edge = np.full(shape, -1, np.int32)
    count = _find_edges(seen, part, planes, STEP * half, edge)
    four, deep = np.full((count, 4), -1, np.int32), np.full((count, 4), -np.inf, np.float32)
    _see_edges(points, triangles[:solid], planes, edge, four, deep)
    picture = np.empty((*shape, 4), np.float32)
    _shade(planes, packed, veil > 0, seen, edge, four, picture)
    if veil and opacity is not None:
        thin, behind = np.empty_like(opacity), (depth, edge, deep)
        _thin_out(points, triangles[solid:], opacity, thin)
        _veil(points, triangles[solid:], scaled, uv_triangles[solid:], gain, thin, packed, *behind, picture)
    return picture


def over(picture: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """A picture of `draw` over one of [H, W, 3] uint8: [H, W, 3] uint8."""
    out = np.empty(behind.shape, np.uint8)
    _over(picture, behind, out)
    return out


def straight(picture: np.ndarray) -> np.ndarray:
    """A picture of `draw` with straight alpha: [H, W, 4] uint8."""
    alpha = picture[..., 3:]
    return np.dstack([picture[..., :3] / alpha.clip(1e-3), alpha * 255]).round().clip(0, 255).astype(np.uint8)


def _light(vertices: Array, triangles: Array, light: Array, even: float, most: float, gain: Array) -> None:
    normals = np.zeros(vertices.shape)
    for f in range(len(triangles)):
        a, b, c = _corners(triangles, f)
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += x
            normals[k, 1] += y
            normals[k, 2] += z
    for k in range(len(vertices)):
        x, y, z = normals[k, 0], normals[k, 1], normals[k, 2]
        length = math.sqrt(x * x + y * y + z * z) + 1e-12
        shade = (x * light[0] + y * light[1] + z * light[2]) / length - even
        gain[k] = math.exp(min(max(shade, -most), most))


def _see(
    points: Array,
    triangles: Array,
    uv: Array,
    uv_triangles: Array,
    gain: Array,
    planes: Array,
    seen: Array,
    depth: Array,
) -> None:
    """Fills in planes [F, ROW], and the nearest triangle [H, W] and its depth at the middle of each pixel."""
    height, width = depth.shape
    for f in range(len(triangles)):
        a, b, c = _corners(triangles, f)
        p, q, r = _corners(uv_triangles, f)
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        ux, uy, vx, vy = x1 - x0, y1 - y0, x2 - x0, y2 - y0
        area = ux * vy - uy * vx
        if max(x0, x1, x2) < 0 or min(x0, x1, x2) > width or max(y0, y1, y2) < 0 or min(y0, y1, y2) > height:
            continue
        if not abs(area) > 1e-9:
            continue
        ux, uy, vx, vy = ux / area, uy / area, vx / area, vy / area
        planes[f, X], planes[f, Y] = x0, y0
        _plane(points[a, 2], points[b, 2], points[c, 2], ux, uy, vx, vy, planes, f, Z)
        _plane(uv[p, 0], uv[q, 0], uv[r, 0], ux, uy, vx, vy, planes, f, U)
        _plane(uv[p, 1], uv[q, 1], uv[r, 1], ux, uy, vx, vy, planes, f, V)
        _plane(gain[a], gain[b], gain[c], ux, uy, vx, vy, planes, f, GAIN)

        x0, y0, x1, y1, x2, y2, long, upper, lower = _sides(x0, y0, x1, y1, x2, y2)
        along = planes[f, Z + 1]
        for j in range(max(0, math.ceil(y0 - 0.5)), min(height - 1, math.floor(y2 - 0.5)) + 1):
            first, last = _span(j + 0.5, x0, y0, x1, y1, long, upper, lower, width)
            z = _at(planes, f, Z, np.float32(first + 0.5), np.float32(j + 0.5))
            for i in range(first, last + 1):
                if z > depth[j, i]:
                    depth[j, i], seen[j, i] = z, f
                z += along


def _find_edges(seen: Array, part: Array, planes: Array, step: float, edge: Array) -> int:
    """Numbers pixels at edges [H, W], and says of others, below zero, how far to the right the next one is; returns how
    many they are.
    """
    height, width = seen.shape
    count = 0
    for j in range(height):
        for i in range(width):
            f = seen[j, i]
            for down in range(2):
                n, m = j + down, i + 1 - down
                if n == height or m == width or seen[n, m] == f:
                    continue
                g = seen[n, m]
                if min(f, g) >= 0 and part[f] == part[g]:
                    x, y = np.float32((i + m + 1) / 2), np.float32((j + n + 1) / 2)
                    if abs(_at(planes, f, Z, x, y) - _at(planes, g, Z, x, y)) < step:
                        continue
                for row, column in ((j, i), (n, m)):
                    if edge[row, column] < 0:
                        edge[row, column] = count
                        count += 1
    for j in range(height):
        far = 0
        for i in range(width - 1, -1, -1):
            far = 0 if edge[j, i] >= 0 else far - 1
            if far < 0:
                edge[j, i] = far
    return count


def _see_edges(points: Array, triangles: Array, planes: Array, edge: Array, seen: Array, depth: Array) -> None:
    """As `_see`, at four places [E, 4] of pixels at edges."""
    height, width = edge.shape
    for f in range(len(triangles)):
        a, b, c = _corners(triangles, f)
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        left, right = max(0, math.floor(min(x0, x1, x2))), min(width - 1, math.floor(max(x0, x1, x2)))
        top, bottom = max(0, math.floor(min(y0, y1, y2))), min(height - 1, math.floor(max(y0, y1, y2)))
        if left > right or top > bottom:
            continue
        ux, uy, vx, vy = x1 - x0, y1 - y0, x2 - x0, y2 - y0
        area = ux * vy - uy * vx
        if not abs(area) > 1e-9:
            continue
        inverse = 1 / area
        ux, uy, vx, vy = ux * inverse, uy * inverse, vx * inverse, vy * inverse
        # What the shares of the corners may be below 0 in the middle where they are not so at one of the four places.
        far, wide, high = (abs(ux - vx) + abs(uy - vy)) / 4, (abs(vx) + abs(vy)) / 4, (abs(ux) + abs(uy)) / 4
        for j in range(top, bottom + 1):
            i = left
            while i <= right:
                k, x, y = edge[j, i], i + 0.5, j + 0.5
                i += max(1, -k)
                if k < 0:
                    continue
                second, third = (x - x0) * vy - (y - y0) * vx, (y - y0) * ux - (x - x0) * uy
                if second < -wide or third < -high or second + third > 1 + far:
                    continue
                for n in range(4):
                    aside, below = (n & 1) / 2 - 0.25, (n >> 1) / 2 - 0.25
                    one, other = second + aside * vy - below * vx, third + below * ux - aside * uy
                    if one < 0 or other < 0 or one + other > 1:
                        continue
                    z = _at(planes, f, Z, np.float32(x + aside), np.float32(y + below))
                    if z > depth[k, n]:
                        depth[k, n], seen[k, n] = z, f


def _shade(planes: Array, texture: Array, opaque: bool, seen: Array, edge: Array, four: Array, picture: Array) -> None:
    height, width = seen.shape
    zero, whole, quarter = np.float32(0), np.float32(1), np.float32(0.25)
    for j in range(height):
        for i in range(width):
            x, y, k = np.float32(i) + np.float32(0.5), np.float32(j) + np.float32(0.5), edge[j, i]
            red, green, blue, alpha = zero, zero, zero, zero
            if k < 0 and seen[j, i] >= 0:
                red, green, blue, alpha = _colour(planes, texture, opaque, seen[j, i], x, y, whole)
            elif k >= 0:
                for n in range(4):
                    if four[k, n] >= 0:
                        right, down = np.float32(n % 2 / 2 - 0.25), np.float32(n // 2 / 2 - 0.25)
                        r, g, b, a = _colour(planes, texture, opaque, four[k, n], x + right, y + down, quarter)
                        red, green, blue, alpha = red + r, green + g, blue + b, alpha + a
            picture[j, i, 0], picture[j, i, 1], picture[j, i, 2], picture[j, i, 3] = red, green, blue, alpha


def _thin_out(points: Array, triangles: Array, opacity: Array, thin: Array) -> None:
    """The opacity [V] of a veil that is seen at the outline alone: squarely before a surface it would but blur it,
    and its own edge shall be no line.
    """
    normals = np.zeros(points.shape)
    for f in range(len(triangles)):
        a, b, c = _corners(triangles, f)
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, uy * vx - ux * vy
        for k in (a, b, c):
            normals[k, 0] += x
            normals[k, 1] += y
            normals[k, 2] += z
    for k in range(len(points)):
        x, y, z = normals[k, 0], normals[k, 1], normals[k, 2]
        facing = z / (math.sqrt(x * x + y * y + z * z) + 1e-12)
        whole = min(max(facing / EDGE, 0.0), 1.0)
        thin[k] = opacity[k] * whole * min(max((SQUARELY - facing) / (SQUARELY - ASLANT), 0.0), 1.0)


def _veil(
    points: Array,
    triangles: Array,
    uv: Array,
    uv_triangles: Array,
    gain: Array,
    opacity: Array,
    texture: Array,
    depth: Array,
    edge: Array,
    deep: Array,
    picture: Array,
) -> None:
    """Blends triangles over the picture where the solid's depth, at middles and at edges, lies behind them."""
    height, width = depth.shape
    row, one = np.empty((1, ROW), np.float32), np.float32(1)
    for f in range(len(triangles)):
        a, b, c = _corners(triangles, f)
        px, py = points[a, 0], points[a, 1]
        ux, uy, vx, vy = points[b, 0] - px, points[b, 1] - py, points[c, 0] - px, points[c, 1] - py
        area = ux * vy - uy * vx
        # Down is positive: what faces the viewer goes clockwise.
        if opacity[a] + opacity[b] + opacity[c] == 0 or not area < -1e-9:
            continue
        p, q, r = _corners(uv_triangles, f)
        ux, uy, vx, vy = ux / area, uy / area, vx / area, vy / area
        row[0, X], row[0, Y] = px, py
        _plane(points[a, 2], points[b, 2], points[c, 2], ux, uy, vx, vy, row, 0, Z)
        _plane(uv[p, 0], uv[q, 0], uv[r, 0], ux, uy, vx, vy, row, 0, U)
        _plane(uv[p, 1], uv[q, 1], uv[r, 1], ux, uy, vx, vy, row, 0, V)
        _plane(gain[a], gain[b], gain[c], ux, uy, vx, vy, row, 0, GAIN)
        _plane(opacity[a], opacity[b], opacity[c], ux, uy, vx, vy, row, 0, OPACITY)
        x0, y0, x1, y1, _, y2, long, upper, lower = _sides(
            px, py, points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        )
        for j in range(max(0, math.ceil(y0 - 0.5)), min(height - 1, math.floor(y2 - 0.5)) + 1):
            first, last = _span(j + 0.5, x0, y0, x1, y1, long, upper, lower, width)
            for i in range(first, last + 1):
                x, y, k = np.float32(i + 0.5), np.float32(j + 0.5), edge[j, i]
                z, before = _at(row, 0, Z, x, y), 0
                for n in range(4):
                    before += z > (depth[j, i] if k < 0 else deep[k, n])
                if before == 0:
                    continue
                r, g, b, a = _texel(texture, _at(row, 0, U, x, y), _at(row, 0, V, x, y))
                alpha, bright = a * np.float32(before / 1020) * _at(row, 0, OPACITY, x, y), _at(row, 0, GAIN, x, y)
                for d, colour in enumerate((r, g, b)):
                    picture[j, i, d] += alpha * (min(bright * colour, np.float32(255)) - picture[j, i, d])
                picture[j, i, 3] += alpha * (one - picture[j, i, 3])


def _corners(triangles: Array, f: int) -> tuple[int, int, int]:
    return triangles[f, 0], triangles[f, 1], triangles[f, 2]


def _sides(x0: float, y0: float, x1: float, y1: float, x2: float, y2: float) -> tuple[float, ...]:
    """Corners from top to bottom, and by how much sides go right in a row: the long one, and the others above and below
    the corner in the middle.
    """
    if y1 < y0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    if y2 < y1:
        x1, y1, x2, y2 = x2, y2, x1, y1
    if y1 < y0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    long = (x2 - x0) / (y2 - y0) if y2 > y0 else 0.0
    upper = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
    lower = (x2 - x1) / (y2 - y1) if y2 > y1 else 0.0
    return x0, y0, x1, y1, x2, y2, long, upper, lower


def _span(
    y: float, x0: float, y0: float, x1: float, y1: float, long: float, upper: float, lower: float, width: int
) -> tuple[int, int]:
    """The first and the last column whose middle lies within a triangle at a height."""
    one, other = x0 + long * (y - y0), x1 + (upper if y < y1 else lower) * (y - y1)
    return max(0, math.ceil(min(one, other) - 0.5)), min(width - 1, math.floor(max(one, other) - 0.5))


def _plane(
    one: float,
    two: float,
    three: float,
    ux: float,
    uy: float,
    vx: float,
    vy: float,
    planes: Array,
    f: int,
    first: int,
) -> None:
    """What is `one` at a corner and `two` and `three` at the others: there, and what it grows by to the right and down.
    u and v go from the first to the others, divided by their product.
    """
    two, three = two - one, three - one
    planes[f, first] = one
    planes[f, first + 1], planes[f, first + 2] = two * vy - three * uy, three * ux - two * vx


def _at(planes: Array, f: int, first: int, x: np.float32, y: np.float32) -> np.float32:
    """What a plane is at a place of the picture."""
    right, down = x - planes[f, X], y - planes[f, Y]
    return planes[f, first] + planes[f, first + 1] * right + planes[f, first + 2] * down


def _texel(texture: Array, u: np.float32, v: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """RGBA in 0..255 between four texels [R, C] uint32, two of the channels in one number at a time."""
    u = min(max(u, np.float32(0)), np.float32(texture.shape[1] - 1.01))
    v = min(max(v, np.float32(0)), np.float32(texture.shape[0] - 1.01))
    i, j, one, byte, two = np.uint32(u), np.uint32(v), np.uint32(1), np.uint32(8), np.uint32(0xFF00FF)
    right = np.uint32((u - np.float32(i)) * np.float32(256))
    down = np.uint32((v - np.float32(j)) * np.float32(256))
    g11 = (right * down) >> byte
    g01, g10 = right - g11, down - g11
    g00 = np.uint32(256) - right - g10
    a, b, c, d = texture[j, i], texture[j, i + one], texture[j + one, i], texture[j + one, i + one]
    rb = g00 * (a & two) + g01 * (b & two) + g10 * (c & two) + g11 * (d & two)
    a, b, c, d = a >> byte, b >> byte, c >> byte, d >> byte
    ga = g00 * (a & two) + g01 * (b & two) + g10 * (c & two) + g11 * (d & two)
    return _low(rb), _low(ga), _low(rb >> np.uint32(16)), _low(ga >> np.uint32(16))


def _low(number: np.uint32) -> np.float32:
    return np.float32(np.int32(number & np.uint32(0xFFFF))) * np.float32(1 / 256)


def _colour(
    planes: Array, texture: Array, opaque: bool, f: int, x: np.float32, y: np.float32, alpha: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Premultiplied colour and alpha of a triangle at a place."""
    r, g, b, a = _texel(texture, _at(planes, f, U, x, y), _at(planes, f, V, x, y))
    if not opaque:
        alpha *= a * np.float32(1 / 255)
    bright, most = alpha * _at(planes, f, GAIN, x, y), np.float32(255) * alpha
    return min(bright * r, most), min(bright * g, most), min(bright * b, most), alpha


def _over(picture: Array, behind: Array, out: Array) -> None:
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            left = np.float32(1) - picture[j, i, 3]
            for d in range(3):
                out[j, i, d] = np.uint8(picture[j, i, d] + left * np.float32(behind[j, i, d]) + np.float32(0.5))


# Those that others call come first.
_corners, _plane, _at, _sides, _span, _low = (
    compiled(function, error_model="numpy", inline="always")
    for function in (_corners, _plane, _at, _sides, _span, _low)
)
_texel = compiled(_texel, error_model="numpy", inline="always")
_colour = compiled(_colour, error_model="numpy", inline="always")
_light, _see, _find_edges, _see_edges, _shade, _thin_out, _veil, _over = (
    compiled(function, error_model="numpy")
    for function in (_light, _see, _find_edges, _see_edges, _shade, _thin_out, _veil, _over)
)
