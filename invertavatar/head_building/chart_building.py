"""Makes the arrays of a `FaceChart` of MediaPipe's canonical face and of a mean one."""

import numpy as np
import torch
from scipy import ndimage

from ..head.face_chart import HEIGHT_SIZE
from ..head.landmark_topology import SKIN, Topology
from ..raster.rasterizer import interpolate, rasterize


def chart_arrays(mean: np.ndarray, topology: Topology) -> dict[str, np.ndarray]:
    """The buffers of a `FaceChart` by name.

    Args:
        mean: [478, 3] landmarks of the mean head, head space.
        topology: From `build_topology`.
    """
    names = ("triangles", "triangle_region", "uv", "mirror", "live", "rest", "offset")
    return {name: getattr(topology, name) for name in names} | {"head_height": head_heights(mean, topology)}


def head_heights(mean: np.ndarray, topology: Topology, size: int = HEIGHT_SIZE, slope: float = 0.3) -> np.ndarray:
    """[1, 1, size, size]: the mean face's height field, falling to the plane of the ears within `slope` head units."""
    skin = torch.from_numpy(topology.triangles[topology.triangle_region == SKIN])
    vertices = torch.from_numpy(mean)[None]
    drawn = rasterize(vertices * torch.tensor([1.0, -1.0, 1.0]), skin, size)
    height = interpolate(vertices[..., 2:], drawn, skin)[0, 0].numpy()
    # scipy does not say what it returns: arrays.
    face = np.asarray(ndimage.binary_fill_holes(drawn.mask[0].numpy()))
    nearest = ndimage.distance_transform_edt(~drawn.mask[0].numpy(), return_distances=False, return_indices=True)
    nearest, away = np.asarray(nearest), np.asarray(ndimage.distance_transform_edt(~face)) * (2 / size)
    height = height[tuple(nearest)] * np.clip(1 - away / slope, 0, 1)
    return ndimage.gaussian_filter(height, 1.5)[None, None].astype(np.float32)
