"""A textured mesh that other programs can move: morph targets, joints and a skin, and its files.

Shapes: V vertices, F triangles, U places in the texture, J joints, H W texture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.obj import export_obj
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import SimpleMaterial

from .. import endings
from ..errors import InvertAvatarError, MediaError
from ..media.files import written_whole
from ..raster.mesh import split_at_seams, vertex_normals
from .gltf import MOST_JOINTS, Part, Rig, textured_glb


@dataclass(frozen=True, eq=False)
class RiggedMesh:
    """A mesh in head space (y up, z out of the face, triangles counter-clockwise from outside) and how it moves.

    First the morph targets move the neutral's vertices, each in proportion to its score, then the joints turn what they
    hold. At rest no joint is turned: the axes of each are those of head space.

    Raises:
        InvertAvatarError: The parts do not fit each other, or hold what is no number; the message names the part.
    """

    vertices: np.ndarray  # [V, 3] float, head units: the neutral
    triangles: np.ndarray  # [F, 3] int
    uv: np.ndarray  # [U, 2] float in 0..1, u right and v UP
    uv_triangles: np.ndarray  # [F, 3] int: the places in `uv` of each triangle's corners
    texture: np.ndarray  # [H, W, 3] or [H, W, 4] uint8 RGB(A); no surface where alpha is below a half,
    # but where there is a veil: then alpha is that of the veil alone
    morphs: Mapping[str, np.ndarray]  # [V, 3] float, head units: how each moves the vertices at score 1
    joint_names: Sequence[str]  # J
    joint_parents: Sequence[int]  # J: the first joint is the root and has -1, the others come after their parents
    joint_positions: np.ndarray  # [J, 3] float, head units, at rest
    skin_weights: np.ndarray  # [V, J] float, not negative; files keep the four largest of a row, scaled to the sum 1
    metres_per_unit: float  # a head unit of an average adult
    veil: int = 0  # so many of the triangles, the last, are see-through from outside and nothing from inside
    opacity: np.ndarray | None = None  # [V] float in 0..1 by which the veil's alpha is multiplied

    def __post_init__(self):
        count, corners, joints = len(self.vertices), np.shape(self.triangles), len(self.joint_names)
        check_numbers("vertices", self.vertices, (count, 3))
        check_indices("triangles", self.triangles, (len(self.triangles), 3), count)
        check_numbers("uv", self.uv, (len(self.uv), 2))
        if self.uv.min() < 0 or self.uv.max() > 1:
            raise InvertAvatarError("The mesh's uv must lie in 0..1, u right and v up.")
        check_indices("uv_triangles", self.uv_triangles, corners, len(self.uv))
        texture = self.texture
        if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] not in (3, 4) or not texture.size:
            raise InvertAvatarError(
                f"The mesh's texture must be uint8 of [H, W, 3] or [H, W, 4], not {texture.dtype} of {texture.shape}."
            )
        for name, displacement in self.morphs.items():
            check_numbers(f"morph target {name}", displacement, (count, 3))
        self._check_joints(joints)
        check_numbers("joint_positions", self.joint_positions, (joints, 3))
        check_numbers("skin_weights", self.skin_weights, (count, joints))
        if self.skin_weights.min() < 0:
            raise InvertAvatarError("The mesh's skin_weights must not be negative.")
        loose = np.flatnonzero(~self.skin_weights.any(1))
        if len(loose):
            raise InvertAvatarError(f"No joint holds vertex {loose[0]} of the mesh: give it a weight above 0.")
        if not 0 <= self.veil < len(self.triangles):
            raise InvertAvatarError(
                f"The mesh's veil must be 0 to {len(self.triangles) - 1} triangles, not {self.veil}."
            )
        if self.veil:
            check_numbers("opacity", np.asarray(self.opacity), (count,))
        if not 0 < self.metres_per_unit < np.inf:
            raise InvertAvatarError(f"metres_per_unit of the mesh must be above 0, not {self.metres_per_unit}.")

    @property
    def solid(self) -> slice:
        """The triangles that are no veil."""
        return slice(len(self.triangles) - self.veil)

    def save(self, path: str | Path, extras: Mapping | None = None) -> None:
        """Write the mesh in metres, y up, the face looking along +z, as glTF wants it.

        Args:
            path: Ends in .glb (all of it in one file), or .obj (textured, with its .mtl and .png beside it) or .ply
                (vertex colours), which hold the neutral only: these kinds know no morph targets and no joints.
            extras: What a .glb shall hold beside the mesh, of what JSON knows; other programs leave it alone.

        Raises:
            MediaError: Another ending, or the place cannot be written to.
        """
        path = Path(path)
        written: dict[str, Callable] = dict(zip(endings.MESHES, (self._glb, self._obj, self._ply), strict=True))
        if path.suffix.lower() not in written:
            raise MediaError(f"{path.name} is no kind of mesh; end its name in {', '.join(endings.MESHES)}.")
        for name, content in written[path.suffix.lower()](path.name, extras).items():
            with written_whole(path.with_name(name)) as partial:
                partial.write_bytes(content)

    # The content of each file by its name.

    def _glb(self, name: str, extras: Mapping | None) -> dict[str, bytes]:
        # Parts may come in half precision, whose steps would show.
        vertices, joints = self.vertices.astype(np.float64), self.joint_positions.astype(np.float64)
        scale, normals = self.metres_per_unit, vertex_normals(vertices, self.triangles)
        turned = {
            name: vertex_normals(vertices + moved, self.triangles) - normals for name, moved in self.morphs.items()
        }
        parts = []
        for which in (self.solid, slice(self.solid.stop, None))[: 2 if self.veil else 1]:
            split, uv, triangles = self._split(which)
            morphs = {
                name: (moved[split].astype(np.float64) * scale, turned[name][split])
                for name, moved in self.morphs.items()
            }
            opacity = self.opacity[split] if parts and self.opacity is not None else None
            shape = vertices[split] * scale, normals[split], uv, triangles
            parts.append(Part(*shape, morphs, self.skin_weights[split], opacity))
        rig = Rig(tuple(self.joint_names), tuple(map(int, self.joint_parents)), joints * scale)
        return {name: textured_glb(parts, self.texture, rig, extras)}

    def _obj(self, name: str, _extras: Mapping | None) -> dict[str, bytes]:
        split, uv, triangles = self._split(self.solid)
        stem = Path(name).stem
        material = SimpleMaterial(image=Image.fromarray(self.texture[..., :3]), name=stem)
        mesh = self._trimesh(split, triangles, TextureVisuals(uv=uv, material=material))
        text, beside = export_obj(mesh, return_texture=True, mtl_name=f"{stem}.mtl", include_normals=True)
        return {name: text.encode()} | beside

    def _ply(self, name: str, _extras: Mapping | None) -> dict[str, bytes]:
        height, width = self.texture.shape[:2]
        u, v = self.uv[self.uv_triangles.ravel()].T
        column, row = (u * width).astype(int).clip(max=width - 1), ((1 - v) * height).astype(int).clip(max=height - 1)
        colours = np.zeros((len(self.vertices), 3), np.uint8)
        colours[self.triangles.ravel()] = self.texture[row, column, :3]  # a vertex on a seam has one of its places'
        solid = slice(int(self.triangles[self.solid].max()) + 1) if self.veil else slice(None)
        mesh = self._trimesh(solid, self.triangles[self.solid], ColorVisuals(vertex_colors=colours[solid]))
        content = mesh.export(file_type="ply", vertex_normal=True)
        return {name: content}  # pyright: ignore[reportReturnType] # trimesh says what all of its kinds may be

    def _split(self, which: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `split_at_seams`, of some triangles."""
        return split_at_seams(self.triangles[which], self.uv[self.uv_triangles[which]].astype(np.float32))

    def _trimesh(
        self, split: np.ndarray | slice, triangles: np.ndarray, visual: ColorVisuals | TextureVisuals
    ) -> trimesh.Trimesh:
        """The neutral in metres, no vertex merged or left out."""
        vertices = self.vertices.astype(np.float32)
        normals = vertex_normals(vertices, self.triangles)[split]
        vertices = vertices[split] * self.metres_per_unit
        return trimesh.Trimesh(vertices, triangles, vertex_normals=normals, visual=visual, process=False)

    def _check_joints(self, joints: int) -> None:
        if not 1 <= joints <= MOST_JOINTS:
            raise InvertAvatarError(f"The mesh must have 1 to {MOST_JOINTS} joints, not {joints}.")
        twice = [name for name in self.joint_names if list(self.joint_names).count(name) > 1]
        if twice:
            raise InvertAvatarError(f"Two joints of the mesh are called {twice[0]}: give each a name of its own.")
        parents = list(self.joint_parents)
        if len(parents) != joints:
            raise InvertAvatarError(f"The mesh has {joints} joint_names and {len(parents)} joint_parents.")
        if parents[0] != -1 or not all(0 <= parent < joint for joint, parent in enumerate(parents) if joint):
            raise InvertAvatarError(
                "Of the mesh's joint_parents the first must be -1, the root's, and each other an earlier joint."
            )


def extended(
    mesh: RiggedMesh,
    sources: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    uv_triangles: np.ndarray,
    opacity: np.ndarray | None = None,
) -> RiggedMesh:
    """A mesh with more triangles, on vertices that move as others do.

    Args:
        mesh: Without a veil.
        sources: [K] the vertex as which each new one moves.
        vertices: [K, 3] head units.
        triangles: [F, 3], the new vertices after the mesh's own.
        uv_triangles: [F, 3] places among the mesh's own.
        opacity: [K] in 0..1, of what shall be a veil.
    """
    return replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, vertices]).astype(np.float32),
        triangles=np.concatenate([mesh.triangles, triangles]),
        uv_triangles=np.concatenate([mesh.uv_triangles, uv_triangles]),
        morphs={name: np.concatenate([moved, moved[sources]]) for name, moved in mesh.morphs.items()},
        skin_weights=np.concatenate([mesh.skin_weights, mesh.skin_weights[sources]]),
        veil=0 if opacity is None else len(triangles),
        opacity=None if opacity is None else np.concatenate([np.ones(len(mesh.vertices)), opacity]).astype(np.float32),
    )


def check_numbers(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse what is empty, of another shape, or not finite."""
    if np.shape(values) != shape or not np.size(values):
        raise InvertAvatarError(f"The mesh's {name} must be an array of {shape}, not of {np.shape(values)}.")
    if not np.isfinite(values).all():
        raise InvertAvatarError(f"The mesh's {name} must be finite numbers.")


def check_indices(name: str, indices: np.ndarray, shape: tuple[int, ...], count: int) -> None:
    """Refuse what is empty, of another shape, or points to none of `count` things."""
    check_numbers(name, indices, shape)
    if not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0 or indices.max() >= count:
        raise InvertAvatarError(f"The mesh's {name} must be whole numbers from 0 to {count - 1}.")
