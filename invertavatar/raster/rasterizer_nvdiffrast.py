"""The rasterizer on CUDA through nvdiffrast 0.3.3, and the map between its conventions and ours.

It is used where `INVERTAVATAR_RASTERIZER=nvdiffrast` asks for it, and never tried else: its kernels are compiled at
first use, which takes about a minute.

Shapes: B batch, F triangles, H W picture.

nvdiffrast takes OpenGL clip space, where a smaller z is nearer and anything outside [-1, 1] is cut away, and stores the
row of y = -1 first. As our y points down and our first row is y = -1 too, y passes through unchanged: the picture is
upside down for nvdiffrast and the right way up for us, and triangles of either winding are drawn. It rounds corners to
1 / 16 of a pixel, so that pixels this close to an edge may go to the neighbour.
"""

import functools
import importlib.util
import os
import sys
import threading
from types import ModuleType

import torch
from torch import Tensor

from invertavatar.errors import InvertAvatarError
from invertavatar.raster.fixed_point import SUBPIXELS

ASKED = "INVERTAVATAR_RASTERIZER"


class _Contexts(threading.local):
    """The rasterizer contexts of one thread, by CUDA device: a context's buffers serve one thread at a time."""

    def __init__(self):
        self.by_device: dict[torch.device, object] = {}  # nvdiffrast's `RasterizeCudaContext`


_contexts = _Contexts()


def is_asked_for() -> bool:
    """Whether the user wants it on CUDA.

    Raises:
        InvertAvatarError: The environment names another rasterizer, between which there is no choice.
    """
    name = os.environ.get(ASKED, "")
    if name not in ("", "nvdiffrast"):
        raise InvertAvatarError(f"{ASKED} may be nvdiffrast or nothing, not {name}.")
    return bool(name)


def is_installed() -> bool:
    """Whether there is the package, and a device for it."""
    return torch.cuda.is_available() and importlib.util.find_spec("nvdiffrast") is not None


def rasterize(corners: Tensor, depths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Nearest triangle at each pixel centre; arguments and results as in `rasterizer_numba.rasterize`, on CUDA."""
    nvdiffrast, count = loaded(), corners.shape[1]
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


@functools.cache
def loaded() -> ModuleType:
    """nvdiffrast with its kernels.

    Raises:
        InvertAvatarError: It is not installed, or its kernels cannot be compiled.
    """
    try:
        import nvdiffrast.torch as nvdiffrast
        from nvdiffrast.torch import ops
        from torch.utils import cpp_extension

        try:
            ops._get_plugin()
        except ModuleNotFoundError as error:
            # Since torch 2.9, whose pybind11 3 initialises modules in several phases, a module that torch has compiled
            # and loaded is not among the imported ones, where nvdiffrast looks for it.
            name = error.name or ""
            if not name.startswith("nvdiffrast_plugin"):
                raise
            folder = cpp_extension._get_build_directory(name, False)
            plugin = cpp_extension._import_module_from_library(name, folder, True)
            sys.modules[name] = plugin  # pyright: ignore[reportArgumentType] # torch gives a path only where not told True
            ops._get_plugin()
    except (ImportError, OSError, RuntimeError) as error:  # no compiler for its kernels, built for another torch, ...
        reason = str(error).strip().split("\n")[0]
        raise InvertAvatarError(
            f"nvdiffrast, which {ASKED} asks for, does not work here ({reason}). Install requirements-cuda.txt, the "
            "nvcc of torch's CUDA version and a C++ compiler, or unset the variable."
        ) from error
    return nvdiffrast


def _context(device: torch.device) -> object:
    """This thread's rasterizer context for a CUDA device."""
    if device not in _contexts.by_device:
        _contexts.by_device[device] = loaded().RasterizeCudaContext(device=device)
    return _contexts.by_device[device]
