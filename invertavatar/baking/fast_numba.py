"""A textured mesh drawn in milliseconds on one core of a CPU, its edges smooth.

Shapes: V vertices, F triangles, U places in the texture, S side of the picture, H W texture.

Which triangle is seen is found at four places of each pixel. Where all four see one surface it is coloured once, else
each by itself: outlines, lids and lips are as smooth as in a picture twice as fine, which would cost four times more.
The camera is far away, so what a triangle carries is a plane over the picture; near cameras are close to that, as the
triangles are small.
"""

import math

import numpy as np

from ..raster.rasterizer_numba import compiled

# Cosines to the line of sight: from each on a veil is whole, thins out, is gone.
EDGE, ASLANT, SQUARELY = 0.15, 0.3, 0.45
STEP = 0.004  # of depth in head units between triangles that are drawn as one surface
Z, U, V, GAIN, OPACITY = 0, 3, 6, 9, 12  # where the planes of what a triangle carries begin in its row


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
    size: int,
    opacity: np.ndarray | None = None,
    veil: int = 0,
) -> np.ndarray:
    """A picture of a mesh over nothing.

    Args:
        places: [V, 3] float32 x right and y down in -1..1 over the picture, z larger is nearer.
        triangles: [F, 3] int32; both sides are drawn.
        part: [F] uint8; triangles of two parts are never one surface.
        uv: [U, 2] float32 in 0..1, v down.
        uv_triangles: [F, 3] int32.
        gain: [V] float32 that colours are multiplied by.
        texture: [H, W, 4] uint8, straight alpha.
        size: S.
        opacity: [V] float32, of a veil.
        veil: So many triangles, the last, are a veil over the others: they are blended in their order, and seen from
            outside only. The texture's alpha is theirs alone.

    Returns:
        [S, S, 4] float32 colours in 0..255, premultiplied by the alpha in 0..1 that is the last.
    """
    points = np.concatenate([(places[:, :2] + 1) * size, places[:, 2:]], 1, dtype=np.float64)
    seen, depth = np.full((2 * size, 2 * size), -1, np.int32), np.full((2 * size, 2 * size), -np.inf, np.float32)
    planes, picture = np.empty((len(triangles), 12)), np.zeros((size, size, 4), np.float32)
    scaled = uv * (texture.shape[1], texture.shape[0]) - 0.5
    solid = len(triangles) - veil
    _see(points, triangles[:solid], scaled, uv_triangles, gain, planes, seen, depth)
    _shade(planes, part, texture, veil > 0, seen, picture)
    if veil:
        thin = np.empty_like(opacity)
        _thin_out(points, triangles[solid:], size, opacity, thin)
        _veil(points, triangles[solid:], scaled, uv_triangles[solid:], gain, thin, texture, depth, picture)
    return picture


def over(picture: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """A picture of `draw` over one of [S, S, 3] uint8: [S, S, 3] uint8."""
    out = np.empty(behind.shape, np.uint8)
    _over(picture, behind, out)
    return out


def straight(picture: np.ndarray) -> np.ndarray:
    """A picture of `draw` with straight alpha: [S, S, 4] uint8."""
    alpha = picture[..., 3:]
    return np.dstack([picture[..., :3] / alpha.clip(1e-3), alpha * 255]).round().clip(0, 255).astype(np.uint8)


def _light(vertices, triangles, light, even, most, gain):
    normals = np.zeros(vertices.shape)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
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


def _see(points, triangles, uv, uv_triangles, gain, planes, seen, depth):
    """Fills in planes [F, 12], and the nearest triangle [2S, 2S] and its depth at each place."""
    side = len(depth)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        # From top to bottom.
        if points[b, 1] < points[a, 1]:
            a, b = b, a
        if points[c, 1] < points[b, 1]:
            b, c = c, b
        if points[b, 1] < points[a, 1]:
            a, b = b, a
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        top, bottom = max(0, math.ceil(y0 - 0.5)), min(side - 1, math.floor(y2 - 0.5))
        left, right = min(x0, x1, x2), max(x0, x1, x2)
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if top > bottom or right < 0.5 or left > side - 0.5 or not abs(area) > 1e-9:
            continue

        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        p, q, r = uv_triangles[f, 0], uv_triangles[f, 1], uv_triangles[f, 2]
        px, py = points[a, 0], points[a, 1]
        ux, uy, vx, vy = points[b, 0] - px, points[b, 1] - py, points[c, 0] - px, points[c, 1] - py
        inverse = 1 / (ux * vy - uy * vx)
        _plane(points[a, 2], points[b, 2], points[c, 2], px, py, ux, uy, vx, vy, inverse, planes[f], Z)
        _plane(uv[p, 0], uv[q, 0], uv[r, 0], px, py, ux, uy, vx, vy, inverse, planes[f], U)
        _plane(uv[p, 1], uv[q, 1], uv[r, 1], px, py, ux, uy, vx, vy, inverse, planes[f], V)
        _plane(gain[a], gain[b], gain[c], px, py, ux, uy, vx, vy, inverse, planes[f], GAIN)

        long = (x2 - x0) / (y2 - y0)
        upper = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
        lower = (x2 - x1) / (y2 - y1) if y2 > y1 else 0.0
        along, down, at = planes[f, Z], planes[f, Z + 1], planes[f, Z + 2]
        for j in range(top, bottom + 1):
            y = j + 0.5
            one = x0 + long * (y - y0)
            other = x0 + upper * (y - y0) if y < y1 else x1 + lower * (y - y1)
            first = max(0, math.ceil(min(one, other) - 0.5))
            last = min(side - 1, math.floor(max(one, other) - 0.5))
            z = along * (first + 0.5) + down * y + at
            for i in range(first, last + 1):
                if z > depth[j, i]:
                    depth[j, i], seen[j, i] = z, f
                z += along


def _plane(one, two, three, px, py, ux, uy, vx, vy, inverse, row, first):
    """What is `one` at (px, py), `two` at u and `three` at v from there, as factors of x, of y and of 1."""
    two, three = two - one, three - one
    along, down = (two * vy - three * uy) * inverse, (three * ux - two * vx) * inverse
    row[first], row[first + 1], row[first + 2] = along, down, one - along * px - down * py


def _shade(planes, part, texture, opaque, seen, picture):
    size, rows, columns = len(picture), texture.shape[0], texture.shape[1]
    shown = np.empty(4, np.int32)
    right, low, one = columns - 1.001, rows - 1.001, np.float32(1)
    for j in range(size):
        for i in range(size):
            shown[0], shown[1] = seen[2 * j, 2 * i], seen[2 * j, 2 * i + 1]
            shown[2], shown[3] = seen[2 * j + 1, 2 * i], seen[2 * j + 1, 2 * i + 1]
            alike = shown[0] == shown[1] and shown[0] == shown[2] and shown[0] == shown[3]
            if alike and shown[0] < 0:
                continue
            x, y = 2.0 * i + 1, 2.0 * j + 1
            if not alike and min(shown[0], shown[1], shown[2], shown[3]) >= 0:
                f = shown[0]
                near = far = planes[f, Z] * x + planes[f, Z + 1] * y + planes[f, Z + 2]
                alike = True
                for n in range(1, 4):
                    g = shown[n]
                    z = planes[g, Z] * x + planes[g, Z + 1] * y + planes[g, Z + 2]
                    near, far = max(near, z), min(far, z)
                    alike = alike and part[g] == part[f]
                alike = alike and near - far < STEP
            red, green, blue, opacity = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            share = one if alike else np.float32(0.25)
            for n in range(1 if alike else 4):
                f = shown[n]
                if f < 0:
                    continue
                if not alike:
                    x, y = 2 * i + n % 2 + 0.5, 2 * j + n // 2 + 0.5
                u = min(max(planes[f, U] * x + planes[f, U + 1] * y + planes[f, U + 2], 0.0), right)
                v = min(max(planes[f, V] * x + planes[f, V + 1] * y + planes[f, V + 2], 0.0), low)
                k, m = int(u), int(v)
                s, t = np.float32(u - k), np.float32(v - m)
                g00, g01, g10, g11 = (one - s) * (one - t), s * (one - t), (one - s) * t, s * t
                alpha = share
                if not opaque:
                    alpha *= _between(texture, m, k, 3, g00, g01, g10, g11) * np.float32(1 / 255)
                bright = alpha * np.float32(planes[f, GAIN] * x + planes[f, GAIN + 1] * y + planes[f, GAIN + 2])
                red += bright * _between(texture, m, k, 0, g00, g01, g10, g11)
                green += bright * _between(texture, m, k, 1, g00, g01, g10, g11)
                blue += bright * _between(texture, m, k, 2, g00, g01, g10, g11)
                opacity += alpha
            most = np.float32(255) * opacity
            picture[j, i, 0], picture[j, i, 1] = min(red, most), min(green, most)
            picture[j, i, 2], picture[j, i, 3] = min(blue, most), opacity


def _thin_out(points, triangles, size, opacity, thin):
    """The opacity [V] of a veil that is seen at the outline alone: squarely before a surface it would but blur it,
    and its own edge shall be no line.
    """
    normals = np.zeros(points.shape)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], size * (points[b, 2] - points[a, 2])
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], size * (points[c, 2] - points[a, 2])
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


def _veil(points, triangles, uv, uv_triangles, gain, opacity, texture, depth, picture):
    """Blends triangles over the picture where the solid's depth [2S, 2S] lies behind them."""
    size, right, low, one = len(picture), texture.shape[1] - 1.001, texture.shape[0] - 1.001, np.float32(1)
    row = np.empty(15)
    for f in range(len(triangles)):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        px, py = points[a, 0], points[a, 1]
        ux, uy, vx, vy = points[b, 0] - px, points[b, 1] - py, points[c, 0] - px, points[c, 1] - py
        area = ux * vy - uy * vx
        if opacity[a] + opacity[b] + opacity[c] == 0:
            continue
        if not area < -1e-9:  # down is positive: what faces the viewer goes clockwise
            continue
        left, end = px + min(0.0, ux, vx), px + max(0.0, ux, vx)
        top, bottom = py + min(0.0, uy, vy), py + max(0.0, uy, vy)
        first, last = max(0, math.ceil((left - 1) / 2)), min(size - 1, math.floor((end - 1) / 2))
        upper, lower = max(0, math.ceil((top - 1) / 2)), min(size - 1, math.floor((bottom - 1) / 2))
        if first > last or upper > lower:
            continue
        p, q, r = uv_triangles[f, 0], uv_triangles[f, 1], uv_triangles[f, 2]
        inverse = 1 / area
        _plane(points[a, 2], points[b, 2], points[c, 2], px, py, ux, uy, vx, vy, inverse, row, Z)
        _plane(uv[p, 0], uv[q, 0], uv[r, 0], px, py, ux, uy, vx, vy, inverse, row, U)
        _plane(uv[p, 1], uv[q, 1], uv[r, 1], px, py, ux, uy, vx, vy, inverse, row, V)
        _plane(gain[a], gain[b], gain[c], px, py, ux, uy, vx, vy, inverse, row, GAIN)
        _plane(opacity[a], opacity[b], opacity[c], px, py, ux, uy, vx, vy, inverse, row, OPACITY)
        for j in range(upper, lower + 1):
            y = 2.0 * j + 1
            for i in range(first, last + 1):
                x = 2.0 * i + 1
                second = ((x - px) * vy - (y - py) * vx) * inverse
                third = ((y - py) * ux - (x - px) * uy) * inverse
                if second < 0 or third < 0 or second + third > 1:
                    continue
                z, behind = row[Z] * x + row[Z + 1] * y + row[Z + 2], 0
                for n in range(4):
                    behind += z > depth[2 * j + n // 2, 2 * i + n % 2]
                if not behind:
                    continue
                s = min(max(row[U] * x + row[U + 1] * y + row[U + 2], 0.0), right)
                t = min(max(row[V] * x + row[V + 1] * y + row[V + 2], 0.0), low)
                k, m = int(s), int(t)
                s, t = np.float32(s - k), np.float32(t - m)
                g00, g01, g10, g11 = (one - s) * (one - t), s * (one - t), (one - s) * t, s * t
                alpha = _between(texture, m, k, 3, g00, g01, g10, g11) * np.float32(behind / 1020)
                alpha *= np.float32(row[OPACITY] * x + row[OPACITY + 1] * y + row[OPACITY + 2])
                bright = np.float32(row[GAIN] * x + row[GAIN + 1] * y + row[GAIN + 2])
                for d in range(3):
                    colour = min(bright * _between(texture, m, k, d, g00, g01, g10, g11), np.float32(255))
                    picture[j, i, d] += alpha * (colour - picture[j, i, d])
                picture[j, i, 3] += alpha * (one - picture[j, i, 3])


def _between(texture, m, k, channel, g00, g01, g10, g11):
    return (
        g00 * texture[m, k, channel]
        + g01 * texture[m, k + 1, channel]
        + g10 * texture[m + 1, k, channel]
        + g11 * texture[m + 1, k + 1, channel]
    )


def _over(picture, behind, out):
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            left = np.float32(1) - picture[j, i, 3]
            for d in range(3):
                out[j, i, d] = np.uint8(picture[j, i, d] + left * np.float32(behind[j, i, d]) + np.float32(0.5))


_light, _plane, _see, _between, _shade, _thin_out, _veil, _over = (
    compiled(function, error_model="numpy")
    for function in (_light, _plane, _see, _between, _shade, _thin_out, _veil, _over)
)
