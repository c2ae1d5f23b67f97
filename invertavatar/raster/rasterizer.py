"""Triangles to pixels: which triangle each pixel sees, and attributes carried from vertices to pixels.

Shapes: B batch, V vertices, F triangles, C channels, H W picture.

One interface, three back ends that draw the same picture: `numba` on a CPU, `torch` anywhere, `nvdiffrast` on CUDA
where it is asked for. Positions are what `camera.project` returns: x right and y DOWN in [-1, 1] over the picture, z
larger is nearer; the centre of column i lies at x = (i + 0.5) * 2 / W - 1. Both sides of a triangle are drawn. A pixel
centre on an edge that two triangles share belongs to exactly one of them.
"""

import importlib
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from invertavatar.raster import rasterizer_nvdiffrast
from invertavatar.raster.fixed_point import snap_corners
from invertavatar.runtime.fixed_sizes import current_sizes

BACKENDS = ("numba", "torch", "nvdiffrast")


@dataclass
class Fragments:
    """What each pixel sees.

    Attributes:
        triangle: [B, H, W] int64 row of `triangles`, -1 where the pixel is empty.
        barycentric: [B, H, W, 3] float32 weights of that triangle's corners; they sum to 1, or are 0 where empty.
    """

    triangle: Tensor
    barycentric: Tensor

    @property
    def mask(self) -> Tensor:
        """[B, H, W] bool, true where a triangle was drawn."""
        return self.triangle >= 0


def rasterize(positions: Tensor, triangles: Tensor, size: int | tuple[int, int], backend: str = "auto") -> Fragments:
    """Find the nearest triangle at each pixel centre.

    The result carries no gradient to `positions`. Triangles without area, or with a corner that is not finite, are
    skipped; of equally near ones the first is kept.

    Args:
        positions: [B, V, 3] x right and y down in [-1, 1] over the picture, z larger is nearer.
        triangles: [F, 3] integer vertex indices, shared by the batch, on the same device.
        size: H = W, or (H, W), in pixels.
        backend: "numba", "torch", "nvdiffrast", or "auto" for the usual one on the device of `positions`.

    Raises:
        ValueError: The back end is unknown or cannot be used on this device.
        InvertAvatarError: nvdiffrast is asked for (`rasterizer_nvdiffrast`) and does not work.
    """
    choices = available_backends(positions.device)
    if backend == "auto":
        backend = choices[0] if current_sizes() is None else "torch"
        if positions.device.type == "cuda" and rasterizer_nvdiffrast.is_asked_for():
            backend = "nvdiffrast"
            choices = (*choices, backend)  # what it lacks it says itself
    if backend not in BACKENDS:
        raise ValueError(f'There is no rasterizer back end "{backend}"; choose one of auto, {", ".join(BACKENDS)}.')
    if backend not in choices:
        raise ValueError(
            f'The rasterizer back end "{backend}" cannot be used with tensors on {positions.device}; '
            f"choose auto or one of {', '.join(choices)}."
        )
    height, width = (size, size) if isinstance(size, int) else size
    corners, depths = snap_corners(positions, triangles, height, width)
    module = importlib.import_module(f"invertavatar.raster.rasterizer_{backend}")  # numba costs time to import
    return Fragments(*module.rasterize(corners, depths, height, width))


def interpolate(attributes: Tensor, fragments: Fragments, triangles: Tensor) -> Tensor:
    """Carry vertex attributes to pixels; differentiable in `attributes`.

    Args:
        attributes: [B, V, C], or [V, C] for the whole batch.
        fragments: From `rasterize`.
        triangles: [F, 3], the ones given to `rasterize`.

    Returns:
        [B, C, H, W] in the dtype of `attributes`, zero where the picture is empty.
    """
    batch, height, width = fragments.triangle.shape
    attributes = attributes.expand(batch, -1, -1)  # [B, V, C]
    if _compiled(attributes):
        module = importlib.import_module("invertavatar.raster.rasterizer_numba")
        return module.interpolate(attributes, fragments.triangle, fragments.barycentric, triangles)
    vertex = triangles.long()[fragments.triangle.flatten(1).clamp(min=0)]  # [B, H W, 3]
    vertex = vertex + attributes.shape[1] * torch.arange(batch, device=vertex.device)[:, None, None]
    vertex, weight = vertex.view(-1, 3), fragments.barycentric.reshape(-1, 3, 1).to(attributes.dtype)  # [B H W, ...]
    table = attributes.flatten(0, 1)
    image = reduce(torch.add, (table.index_select(0, vertex[:, k]) * weight[:, k] for k in range(3)))  # [B H W, C]
    image = image.view(batch, height, width, -1).permute(0, 3, 1, 2)
    # Empty pixels read the first triangle with no weight, which is not zero if that holds a NaN.
    return image.masked_fill(~fragments.mask[:, None], 0).contiguous()


def _compiled(attributes: Tensor) -> bool:
    """Whether attributes are carried by the compiled loop."""
    plain = attributes.device.type == "cpu" and attributes.dtype == torch.float32 and current_sizes() is None
    return plain and not (attributes.requires_grad and torch.is_grad_enabled())


def available_backends(device: torch.device | str) -> tuple[str, ...]:
    """The back ends for tensors on this device, the usual one first."""
    kind = torch.device(device).type
    if kind == "cpu":
        return ("numba", "torch")
    if kind == "cuda" and rasterizer_nvdiffrast.is_installed():
        return ("torch", "nvdiffrast")
    return ("torch",)
