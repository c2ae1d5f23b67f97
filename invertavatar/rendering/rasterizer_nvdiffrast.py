"""The rasterizer on CUDA through nvdiffrast (0.3.3 or later: any picture size), and the map between its conventions
and ours.

Shapes: B batch, F triangles, H W picture.

nvdiffrast takes OpenGL clip space, where a smaller z is nearer and anything outside [-1, 1] is cut away, and stores the
row of y = -1 first. As our y points down and our first row is y = -1 too, y passes through unchanged: the picture is
upside down for nvdiffrast and the right way up for us, and triangles of either winding are drawn. It rounds corners to
1 / 16 of a pixel, so that pixels this close to an edge may go to the neighbour.
"""

import functools
import importlib.util
import logging
import threading

import torch
from torch import Tensor

from invertavatar.rendering.fixed_point import SUBPIXELS

logger = logging.getLogger(__name__)


class _Contexts(threading.local):
    """The rasterizer contexts of one thread, by CUDA device: a context's buffers serve one thread at a time."""

    def __init__(self):
        self.by_device = {}


_contexts = _Contexts()


@functools.cache
def is_usable() -> bool:
    """Whether nvdiffrast is installed and works here; an installation that does not work is warned about once."""
    if not torch.cuda.is_available() or importlib.util.find_spec("nvdiffrast") is None:
        return False
    try:
        _context(torch.device("cuda"))
    except (ImportError, OSError, RuntimeError) as error:  # built for another torch, no compiler for its kernels, ...
        logger.warning("nvdiffrast is installed but does not work (%s); the torch rasterizer is used instead.", error)
        return False
    return True


def rasterize(corners: Tensor, depths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest triangle at each pixel centre; arguments and results as in `rasterizer_numba.rasterize`, on CUDA."""
    import nvdiffrast.torch as nvdiffrast

    count = corners.shape[1]
    size = torch.tensor([width, height], device=corners.device)
    xy = (corners + SUBPIXELS // 2).float() * (2 / SUBPIXELS) / size - 1  # [B, F, 3, 2]
    low, high = torch.aminmax(depths)
    # The nearest corner comes to lie at -0.99, the farthest at 0.99: nothing is cut away.
    z = (low + high - 2 * depths) * (0.99 / (high - low).clamp(min=1e-12))
    clip = torch.cat([xy, z[..., None], torch.ones_like(z)[..., None]], -1)
    # Each triangle brings its own corners, so that one that cannot be drawn in one picture is still drawn in the rest.
    own = torch.arange(3 * count, device=corners.device, dtype=torch.int32).view(count, 3)
    out, _ = nvdiffrast.rasterize(
        _context(corners.device), clip.flatten(1, 2).contiguous(), own, (height, width), grad_db=False
    )
    triangle = out[..., 3].long() - 1  # nvdiffrast counts from one
    first, second = out[..., 0], out[..., 1]
    barycentric = torch.stack([first, second, 1 - first - second], -1).clamp(min=0)
    barycentric = barycentric / barycentric.sum(-1, keepdim=True)
    return triangle, torch.where(triangle[..., None] >= 0, barycentric, 0.0)


def _context(device: torch.device):
    """This thread's rasterizer context for a CUDA device."""
    import nvdiffrast.torch as nvdiffrast

    if device not in _contexts.by_device:
        _contexts.by_device[device] = nvdiffrast.RasterizeCudaContext(device=device)
    return _contexts.by_device[device]
