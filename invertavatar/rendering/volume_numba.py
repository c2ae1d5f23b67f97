"""The volume renderer on a CPU where no gradient is wanted: one compiled loop over rays and their samples.

Shapes: N rays, S samples on a ray, C plane channels, D feature channels, K width of the decoder's hidden layer.

It does what `VolumeRenderer` does with guided samples, and tests hold the two together. A sample here passes from its
place to its weight within the core's own cache, where torch writes and reads each step for all samples of a picture;
and what lies behind an opaque surface is not computed at all.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import exp, log1p

import numba
import numpy as np
import torch
from torch import Tensor

from .rasterizer_numba import compiled

TRANSPARENT = 1e-4  # of the light: what lies behind so little of it is not decoded
DARK = 1e-7  # and what lies behind so little does not count for the guide, whose squares of depth feel more
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)  # plain numbers would make everything float64


# `CONSTANTS` of `volume_renderer`. They are arguments, as numba's cache does not notice when another file's constant
# changes.
Constants = tuple[float, ...]


def trace(
    planes: Tensor,
    window: Tensor,
    soft: Tensor,
    behind: Tensor | None,
    reach: float,
    solid: Tensor,
    decoder: torch.nn.Sequential,
    origin: Tensor,
    direction: Tensor,
    surface: Tensor,
    shell: Sequence[float],
    spread: Sequence[float],
    turn: Tensor | None,
    posture: Tensor | None,
    constants: Constants,
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples of one picture's rays, decoded and marched through.

    Args:
        planes: [3 C, r, r] tri-plane.
        window: [C, w, w] dynamic frontal features.
        soft: [1, w, w] how much they replace the static ones.
        behind: [3, r, r] colours of the back of the head, or None.
        reach: Half the side of the window in head units.
        solid: [3, H, W] front, back and silhouette.
        decoder: Linear C -> K, SiLU, Linear K -> 1 + D.
        origin: [N, 3].
        direction: [N, 3].
        surface: [N, 2] t of the guide, and how far from it samples are wanted.
        shell: Places of samples around the surface, in -1..1.
        spread: Places of samples on every ray.
        turn: [3, 3] or None, see `rest_pose`.
        posture: [12] or None likewise.
        constants: See `Constants`.

    Returns:
        [N, D], [N, 1] and [N, 1]: what `Rendering` holds.
    """
    channels, hidden = len(window), decoder[0].out_features
    padded = [1, 1, 1, 1]  # the window is nothing beyond its border
    first, second = ((layer.weight.float().T, layer.bias.float()) for layer in (decoder[0], decoder[2]))
    maps = _arrays(
        planes.unflatten(0, (3, channels)).permute(0, 2, 3, 1),
        torch.nn.functional.pad(window * soft, padded).permute(1, 2, 0),
        torch.nn.functional.pad(soft[0], padded),
        torch.zeros(0, 0, 3) if behind is None else behind.permute(1, 2, 0),
        solid.permute(1, 2, 0),
        *first,
        second[0][:, 0],
    )
    rays = _arrays(origin, direction, surface)
    places = np.array(shell, np.float32), np.array(spread, np.float32)
    count = len(origin)
    # Made by torch, whose memory is aligned: a matrix product rounds otherwise where it is not.
    filled = torch.zeros(count, hidden), torch.zeros(count, 3), torch.zeros(count, 2)
    numbers = np.float32(reach), np.float32(second[1][0]), *_numbers(turn, posture, constants)
    _in_parts(_trace_loop, count, (*rays, *(x.numpy() for x in filled)), (*maps, *places, *numbers))
    mixed, colour, marched = filled
    # The decoder's last layer is linear, so it is applied to the sum over a ray's samples instead of to each.
    features = torch.addmm(marched[:, :1] * second[1][1:], mixed, second[0][:, 1:].contiguous())
    features[:, :3] += colour
    return features, marched[:, :1].clamp(max=1), marched[:, 1:]


def guide(
    solid: Tensor,
    origin: Tensor,
    direction: Tensor,
    t: Sequence[float],
    turn: Tensor | None,
    posture: Tensor | None,
    constants: Constants,
) -> Tensor:
    """The solid alone, marched through along one picture's rays: [N, 3] opacity and premultiplied depth and its square.

    Args:
        solid: [3, H, W].
        origin: [N, 3].
        direction: [N, 3].
        t: Falling places of the samples, the same on every ray.
        turn: As in `trace`.
        posture: As in `trace`.
        constants: As in `trace`.
    """
    marched = np.zeros((len(origin), 3), np.float32)
    shared = (*_arrays(solid.permute(1, 2, 0)), np.array(t, np.float32), *_numbers(turn, posture, constants))
    _in_parts(_guide_loop, len(origin), (*_arrays(origin, direction), marched), shared)
    return torch.from_numpy(marched)


def _arrays(*tensors):
    return tuple(np.ascontiguousarray(x.detach().float().numpy()) for x in tensors)


def _numbers(turn, posture, constants):
    """How the body lacks the head's turn, the posture (no numbers where there is none), and the constants: float32."""
    lack = np.zeros((3, 3), np.float32) if turn is None else (turn.T - torch.eye(3)).numpy()
    moved = np.zeros(0, np.float32) if posture is None else posture.float().numpy()
    return np.ascontiguousarray(lack), np.ascontiguousarray(moved), np.array(constants, np.float32)


def _in_parts(function: Callable, count: int, per_ray: tuple, shared: tuple) -> None:
    """Calls `function` on stretches of the rays, one thread each."""
    workers = max(1, min(torch.get_num_threads(), count // 256))
    bounds = [count * k // workers for k in range(workers + 1)]
    parts = [tuple(x[a:b] for x in per_ray) for a, b in pairwise(bounds)]
    if workers == 1:
        function(*parts[0], *shared)
        return
    with ThreadPoolExecutor(workers) as pool:  # see `rasterizer_numba`
        list(pool.map(lambda part: function(*part, *shared), parts))


@numba.njit(inline="always")
def _place(x, size):
    """Grid coordinate -> the left of the two texels around it and the right one's share; beyond the border its own."""
    place = ((x + ONE) * np.float32(size) - ONE) * HALF
    if not place > 0:  # a NaN too
        place = np.float32(0)
    if place > size - 1:
        place = np.float32(size - 1)
    left = min(int(place), size - 2)
    return left, place - np.float32(left)


@numba.njit(inline="always")
def _smooth(share):
    share = min(max(share, ZERO), ONE)
    return share * share * (np.float32(3) - np.float32(2) * share)


@numba.njit(inline="always")
def _at_rest(x, y, z, lack, posture, numbers):
    """`rest_pose.to_rest` for one point."""
    u, v, w = x - numbers[3], y - numbers[4], z - numbers[5]
    right = u * lack[0, 0] + v * lack[1, 0] + w * lack[2, 0]
    up = u * lack[0, 1] + v * lack[1, 1] + w * lack[2, 1]
    out = u * lack[0, 2] + v * lack[1, 2] + w * lack[2, 2]
    a, b, share = x, y, ZERO
    for _ in range(3):
        share = _smooth((numbers[7] - b) / (numbers[7] - numbers[6]))
        rightward, upward = ZERO, ZERO
        if len(posture):
            wide, high = a / numbers[9], (b - numbers[11]) / numbers[10]
            hair = _smooth((wide * wide + high * high - numbers[12]) / (numbers[13] - numbers[12])) * (ONE - share)
            above = b - numbers[8]
            roll, size, width, shear = posture[2], posture[3], posture[4], posture[5]
            rightward = share * (posture[0] + (size + width) * a + (shear - roll) * above)
            upward = share * (posture[1] + (size - width) * above + (shear + roll) * a)
            roll, size, width, shear = posture[8], posture[9], posture[10], posture[11]
            rightward += hair * (posture[6] + (size + width) * a + (shear - roll) * b)
            upward += hair * (posture[7] + (size - width) * b + (shear + roll) * a)
        a, b = x + share * right - rightward, y + share * up - upward
    return a, b, z + share * out


@numba.njit(inline="always")
def _solid_logit(solid, x, y, z, numbers):
    """`volume_renderer.solid_logit` for one point; solid [H, W, 3]."""
    i, a = _place(x, solid.shape[1])
    j, b = _place(-y, solid.shape[0])
    p, q, r, s = (ONE - a) * (ONE - b), a * (ONE - b), (ONE - a) * b, a * b
    front = p * solid[j, i, 0] + q * solid[j, i + 1, 0] + r * solid[j + 1, i, 0] + s * solid[j + 1, i + 1, 0]
    back = p * solid[j, i, 1] + q * solid[j, i + 1, 1] + r * solid[j + 1, i, 1] + s * solid[j + 1, i + 1, 1]
    outline = p * solid[j, i, 2] + q * solid[j, i + 1, 2] + r * solid[j + 1, i, 2] + s * solid[j + 1, i + 1, 2]
    logit = min(min((front - z) / numbers[0], (z - back) / numbers[1]), outline)
    logit = min(logit, (ONE - max(abs(x), abs(y))) / numbers[0])
    return min(max(logit, np.float32(-12)), np.float32(8))


@numba.njit(inline="always")
def _softplus(x):
    if x > np.float32(20):
        return x
    small = np.float32(exp(x))
    return small if x < np.float32(-10) else np.float32(log1p(small))


def _guide_loop(origin, direction, marched, solid, t, lack, posture, numbers):
    """Fills marched [N, 3]: opacity and premultiplied depth and its square, of the solid alone."""
    for n in range(len(origin)):
        passed, left = np.float32(0), ONE
        for k in range(len(t)):
            x = origin[n, 0] + t[k] * direction[n, 0]
            y = origin[n, 1] + t[k] * direction[n, 1]
            z = origin[n, 2] + t[k] * direction[n, 2]
            x, y, z = _at_rest(x, y, z, lack, posture, numbers)
            step = t[k] - t[k + 1] if k + 1 < len(t) else np.float32(0.1)
            passed += _softplus(_solid_logit(solid, x, y, z, numbers)) * step * numbers[2]
            behind = np.float32(exp(-passed))
            marched[n, 0] += left - behind
            marched[n, 1] += (left - behind) * t[k]
            marched[n, 2] += (left - behind) * t[k] * t[k]
            left = behind
            if left < DARK:
                break


@numba.njit(inline="always")
def _bilinear(picture, j, i, b, a, keep, feature):
    """feature [C] becomes feature * keep + picture [H, W, C] between rows j, j + 1 and columns i, i + 1."""
    p, q, r, s = (ONE - a) * (ONE - b), a * (ONE - b), (ONE - a) * b, a * b
    u, v, w, x = picture[j, i], picture[j, i + 1], picture[j + 1, i], picture[j + 1, i + 1]
    for c in range(len(feature)):
        feature[c] = feature[c] * keep + (p * u[c] + q * v[c] + r * w[c] + s * x[c])


@numba.njit(inline="always")
def _silu(x):
    """x sigmoid(x) by Lambert's continued fraction of tanh, which has no branch and no call; to within 1e-5 |x|."""
    half = HALF * x
    half = np.float32(-6) if half < np.float32(-6) else half
    half = np.float32(6) if half > np.float32(6) else half
    square = half * half
    above = np.float32(34459425) + square * (
        np.float32(4729725) + square * (np.float32(135135) + square * (np.float32(990) + square))
    )
    below = np.float32(34459425) + square * (
        np.float32(16216200) + square * (np.float32(945945) + square * (np.float32(13860) + square * np.float32(45)))
    )
    return x * (HALF + HALF * half * above / below)


def _trace_loop(
    origin, direction, surface,  # [N, 3], [N, 3], [N, 2]
    mixed, colour, marched,  # filled: [N, K], [N, 3], [N, 2] opacity and premultiplied depth
    planes, window, soft,  # [3, r, r, C], [w + 2, w + 2, C], [w + 2, w + 2]
    rear, solid,  # [r, r, 3] or nothing, [H, W, 3]
    weight, bias, density,  # [C, K], [K], [K] the decoder's first layer, and the row of the second that is density
    shell, spread, reach, density_bias, lack, posture, numbers,
):  # fmt: skip
    """Fills mixed, colour and marched: what `trace` makes of the rays."""
    channels, hidden = planes.shape[3], weight.shape[1]
    samples, size, wide = len(shell) + len(spread), planes.shape[1], window.shape[0] - 2
    t, feature, node = np.empty(samples, np.float32), np.zeros(channels, np.float32), np.empty(hidden, np.float32)
    for n in range(len(origin)):
        # Both kinds of samples, each already in falling order, merged.
        i, j = 0, 0
        for k in range(samples):
            place = surface[n, 0] + surface[n, 1] * shell[min(i, len(shell) - 1)]
            if j == len(spread) or (i < len(shell) and place >= spread[j]):
                t[k] = place
                i += 1
            else:
                t[k] = spread[j]
                j += 1
        passed, left = np.float32(0), ONE
        for k in range(samples):
            x = origin[n, 0] + t[k] * direction[n, 0]
            y = origin[n, 1] + t[k] * direction[n, 1]
            z = origin[n, 2] + t[k] * direction[n, 2]
            x, y, z = _at_rest(x, y, z, lack, posture, numbers)

            # The features of the planes, the window laid over the first.
            (ix, ax), (iy, ay), (iz, az) = _place(x, size), _place(-y, size), _place(-z, size)
            jz, bz = _place(z, size)
            _bilinear(planes[0], iy, ix, ay, ax, ZERO, feature)
            u = ((x / reach + ONE) * np.float32(wide) - ONE) * HALF + ONE  # one for the border of zeros
            v = ((ONE - y / reach) * np.float32(wide) - ONE) * HALF + ONE
            if u > 0 and v > 0 and u < wide + 1 and v < wide + 1:
                iu, iv = int(u), int(v)
                au, av = u - np.float32(iu), v - np.float32(iv)
                p, q, r, s = (ONE - au) * (ONE - av), au * (ONE - av), (ONE - au) * av, au * av
                under = ONE - p * soft[iv, iu] - q * soft[iv, iu + 1] - r * soft[iv + 1, iu] - s * soft[iv + 1, iu + 1]
                _bilinear(window, iv, iu, av, au, under, feature)
            _bilinear(planes[1], iz, ix, az, ax, ONE, feature)
            _bilinear(planes[2], iy, jz, ay, bz, ONE, feature)

            share = _smooth((numbers[14] - z) / (numbers[14] - numbers[15]))
            if share > 0 and len(rear):
                p, q, r, s = (ONE - ax) * (ONE - ay), ax * (ONE - ay), (ONE - ax) * ay, ax * ay
                for c in range(3):
                    there = p * rear[iy, ix, c] + q * rear[iy, ix + 1, c]
                    there += r * rear[iy + 1, ix, c] + s * rear[iy + 1, ix + 1, c]
                    feature[c] += share * (there - feature[c])

            # The decoder's hidden layer and the density.
            for h in range(hidden):
                node[h] = bias[h]
            for c in range(0, channels - 3, 4):
                f0, f1, f2, f3 = feature[c], feature[c + 1], feature[c + 2], feature[c + 3]
                w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
                for h in range(hidden):
                    node[h] += f0 * w0[h] + f1 * w1[h] + f2 * w2[h] + f3 * w3[h]
            for c in range(channels // 4 * 4, channels):
                f0, w0 = feature[c], weight[c]
                for h in range(hidden):
                    node[h] += f0 * w0[h]
            for h in range(hidden):
                node[h] = _silu(node[h])
            logit = density_bias
            for h in range(hidden):
                logit += node[h] * density[h]
            logit = min(logit * np.float32(4), numbers[16]) + _solid_logit(solid, x, y, z, numbers)
            step = t[k] - t[k + 1] if k + 1 < samples else np.float32(0.1)
            passed += _softplus(logit) * step * numbers[2]
            behind = np.float32(exp(-passed))
            share, left = left - behind, behind
            for h in range(hidden):
                mixed[n, h] += share * node[h]
            for c in range(3):
                colour[n, c] += share * feature[c]
            marched[n, 0] += share
            marched[n, 1] += share * t[k]
            if left < TRANSPARENT:
                break


# A division by zero gives infinity, as in torch: a check of each would keep loops from becoming vector instructions.
_guide_loop = compiled(_guide_loop, error_model="numpy")
_trace_loop = compiled(_trace_loop, error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})
