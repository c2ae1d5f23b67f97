"""The head as a triangle mesh: the surface of the volume that the pictures are rendered from, and its files.

Shapes: V vertices, F triangles, M points, R resolution of the sampling grid, H texture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image
from scipy import ndimage
from skimage.measure import marching_cubes
from torch import Tensor
from trimesh.exchange.obj import export_obj
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import SimpleMaterial

from ..errors import AvatarError, MediaError
from ..head.head_model import HeadModel, irises
from ..media.files import written_whole
from .gltf import textured_glb
from .volume_renderer import OPTICAL_DEPTH

MESH_SUFFIXES = (".glb", ".ply", ".obj")
CELL = 4  # grid points along a cell of the coarse pass that finds where the surface is
POINTS_AT_A_TIME = 1 << 17
PUPIL_DISTANCE = 0.063  # metres, of an average adult
EMPTY, FULL = -8.0, 8.0  # logits far from any surface, as `solid_logit` clamps them

Density = Callable[[Tensor], Tensor]  # head-space points [1, M, 3] -> density logits [1, M]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A textured head in head space: y up, z out of the face, triangles counter-clockwise as seen from outside."""

    vertices: np.ndarray  # [V, 3] float32, head units
    triangles: np.ndarray  # [F, 3] int64
    vertex_colors: np.ndarray  # [V, 3] uint8 RGB
    uv: np.ndarray  # [F, 3, 2] float32 in 0..1 for the corners of each triangle, u right and v UP
    texture: np.ndarray  # [H, H, 3] uint8 RGB
    metres_per_unit: float  # a head unit of an average adult

    def save(self, path: str | Path) -> None:
        """Write the mesh in metres, y up, the face looking along +z, as glTF wants it.

        Args:
            path: Ends in .glb (textured, one file), .obj (textured, with its .mtl and .png beside it) or .ply (vertex
                colours).

        Raises:
            MediaError: Another ending, or the place cannot be written to.
        """
        path = mesh_path(path)
        suffix = path.suffix.lower()
        vertices, normals = self.vertices * self.metres_per_unit, vertex_normals(self.vertices, self.triangles)
        if suffix == ".ply":
            visual = ColorVisuals(vertex_colors=self.vertex_colors)
            mesh = as_trimesh(vertices, self.triangles, normals, visual)
            return write_files({path: mesh.export(file_type="ply", vertex_normal=True)})
        split, uv, triangles = split_at_seams(self.triangles, self.uv)
        if suffix == ".glb":
            return write_files({path: textured_glb(vertices[split], normals[split], uv, triangles, self.texture)})
        material = SimpleMaterial(image=Image.fromarray(self.texture), name=path.stem)
        mesh = as_trimesh(vertices[split], triangles, normals[split], TextureVisuals(uv=uv, material=material))
        text, beside = export_obj(mesh, return_texture=True, mtl_name=f"{path.stem}.mtl", include_normals=True)
        write_files({path: text.encode()} | {path.with_name(name): content for name, content in beside.items()})


def mesh_path(path: str | Path) -> Path:
    """The path, if its ending is that of a mesh; MediaError else."""
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise MediaError(f"{path.name} is no kind of mesh; end its name in {', '.join(MESH_SUFFIXES)}.")
    return path


def write_files(files: dict[Path, bytes]) -> None:
    """Each whole or not at all."""
    for path, content in files.items():
        with written_whole(path) as partial:
            partial.write_bytes(content)


def as_trimesh(vertices, triangles, normals, visual: ColorVisuals | TextureVisuals) -> trimesh.Trimesh:
    """With its vertices as they are: none merged or left out."""
    return trimesh.Trimesh(vertices, triangles, vertex_normals=normals, visual=visual, process=False)


def split_at_seams(triangles: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What files need that give a vertex one place in the texture: a vertex of its own for each place it has.

    Args:
        triangles: [F, 3].
        uv: [F, 3, 2] float32, of the corners of each triangle.

    Returns:
        Which vertex each of the N split ones was [N], in the order of the old ones; its place [N, 2]; triangles [F, 3].
    """
    corner, places = triangles.ravel(), np.ascontiguousarray(uv.reshape(-1, 2))
    pairs = np.column_stack([corner, places.view(np.int32)])
    _, first, index = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return corner[first], places[first], index.reshape(-1, 3)


def isosurface(density: Density, resolution: int, threshold: float, device: torch.device) -> tuple[np.ndarray, ...]:
    """The closed surface of the largest thing in [-1, 1]^3 that is denser than `threshold`.

    Args:
        density: Of the volume.
        resolution: R, grid points along an axis, a multiple of `CELL`.
        threshold: Density per head unit, above 0.
        device: Where `density` wants its points.

    Returns:
        Vertices [V, 3] float32 in head space and triangles [F, 3] int64, counter-clockwise as seen from outside.

    Raises:
        AvatarError: Nothing is that dense.
    """
    level = float(np.log(np.expm1(threshold / OPTICAL_DEPTH)))  # softplus(level) * OPTICAL_DEPTH = threshold
    field = sample_grid(density, resolution, level, device)
    solid, _ = ndimage.label(field > level)
    sizes = np.bincount(solid.ravel())
    if len(sizes) == 1:
        raise AvatarError(f"No part of this avatar is denser than {threshold:g}; use a lower threshold.")
    head = solid == sizes[1:].argmax() + 1
    field[(solid > 0) & ~head] = EMPTY
    field[ndimage.binary_fill_holes(head) & ~head] = FULL
    field = np.pad(field, 1, constant_values=EMPTY)  # closes the surface where the planes end
    vertices, triangles, _, _ = marching_cubes(field, level)
    vertices = (vertices - 0.5) * (2 / resolution) - 1  # index 1 is the first cell's centre
    return vertices.astype(np.float32), np.ascontiguousarray(triangles[:, ::-1], np.int64)


def sample_grid(density: Density, resolution: int, level: float, device: torch.device) -> np.ndarray:
    """Density logits [R, R, R] at x, y, z of the centres of R^3 voxels: exact near the surface, coarse elsewhere."""

    def centres(count):
        return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1

    def evaluated(points):
        chunks = points.split(POINTS_AT_A_TIME)
        return torch.cat([density(chunk[None])[0].float().cpu() for chunk in chunks]).numpy()

    cells = resolution // CELL
    coarse = evaluated(torch.cartesian_prod(*[centres(cells)] * 3)).reshape((cells,) * 3)
    inside, cube = coarse > level, np.ones((3, 3, 3))
    near = ndimage.binary_dilation(inside, cube) & ~ndimage.binary_erosion(inside, cube, border_value=0)
    field = np.kron(coarse, np.ones((CELL,) * 3, np.float32))
    near = np.kron(near, np.ones((CELL,) * 3, bool))
    index = torch.from_numpy(np.argwhere(near)).to(device)
    field[near] = evaluated(centres(resolution)[index])
    return field


def metres_per_unit(head_model: HeadModel) -> float:
    """The size of a head unit, from how far apart pupils usually are."""
    left, right = irises(head_model.landmarks(head_model.mean)[None])[0]
    return PUPIL_DISTANCE / float((right - left).norm())


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] float32; larger triangles count more. Along z where no triangle has an area."""
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))  # areas of small triangles are tiny
    normals = np.zeros(vertices.shape)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1), (0, 0, 1)).astype(np.float32)
