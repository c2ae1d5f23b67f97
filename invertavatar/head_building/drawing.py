"""Draws textured heads: those of MakeHuman's data, in which landmarks are looked for, and rigged meshes for figures.

Shapes: V vertices, F triangles, S side of the picture, H W texture.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..head.makehuman import Surface
from ..raster.mesh import vertex_normals
from ..raster.rasterizer import rasterize

BACKDROP = (0.62, 0.64, 0.68)
LIGHT = np.array([0.35, 0.45, 0.82]) / np.linalg.norm([0.35, 0.45, 0.82])
AMBIENT, DIFFUSE = 0.45, 0.62


@dataclass(frozen=True)
class Layer:
    """A textured surface of a scene."""

    surface: Surface
    vertices: np.ndarray  # [V, 3] where its vertices are
    texture: np.ndarray  # [H, W, 4] in 0..1, straight alpha
    lit: bool = True  # False where the texture holds its own light
    card: bool = False  # cards of hair: seen from both sides, and through where alpha is low

    @staticmethod
    def picture(path: Path) -> np.ndarray:
        """A texture from a file."""
        return np.asarray(Image.open(path).convert("RGBA"), np.float32) / 255


def draw(layers: list[Layer], rotation: np.ndarray, centre: np.ndarray, half: float, size: int) -> np.ndarray:
    """A weak-perspective picture.

    Args:
        layers: Opaque ones first; cards are laid over them in this order.
        rotation: [3, 3] scene -> camera.
        centre: [3] the point in the middle of the picture.
        half: Half the side of the picture, in the scene's unit.
        size: S.

    Returns:
        [S, S, 3] uint8.
    """
    picture, nearest = np.tile(np.array(BACKDROP, np.float32), (size, size, 1)), np.full((size, size), -np.inf)
    for layer in layers:
        camera = (layer.vertices - centre) @ rotation.T / half
        positions = torch.from_numpy((camera * [1, -1, 1]).astype(np.float32))[None]
        fragments = rasterize(positions, torch.from_numpy(layer.surface.triangles), size)
        triangle, barycentric = fragments.triangle[0].numpy(), fragments.barycentric[0].numpy()
        corners = camera[layer.surface.triangles[triangle.clip(min=0)], 2]  # [S, S, 3]
        depth = np.where(triangle >= 0, (corners * barycentric).sum(-1), -np.inf)
        seen = depth > nearest
        colour, alpha = _shaded(layer, triangle[seen], barycentric[seen], rotation)
        if layer.card:
            picture[seen] += alpha[:, None] * (colour - picture[seen])
        else:
            picture[seen], nearest[seen] = colour, depth[seen]
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _shaded(
    layer: Layer,
    triangle: np.ndarray,  # [N]
    barycentric: np.ndarray,  # [N, 3]
    rotation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [N, 3] in 0..1 and alpha [N] of places on a layer."""
    surface, texture = layer.surface, layer.texture
    uv = (surface.uv[surface.uv_triangles[triangle]] * barycentric[..., None]).sum(1)
    height, width = texture.shape[:2]
    column = np.clip(uv[:, 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - uv[:, 1]) * height, 0, height - 1).astype(int)
    texel = texture[row, column]
    if not layer.lit:
        return texel[:, :3], texel[:, 3]
    normals = vertex_normals(layer.vertices, surface.triangles)
    normal = (normals[surface.triangles[triangle]] * barycentric[..., None]).sum(1) @ rotation.T
    lit = normal @ LIGHT / np.linalg.norm(normal, axis=1).clip(1e-9)
    lit = np.abs(lit) if layer.card else lit.clip(0)
    return texel[:, :3] * (AMBIENT + DIFFUSE * lit)[:, None], texel[:, 3]
