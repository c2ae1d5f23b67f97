"""Reads MakeHuman's CC0 base mesh, morph targets and proxies (formats in the README of the data folder).

Shapes: N 19,158 vertices of the base mesh, F triangles, P vertices of a proxy, U texture coordinates.

Decimetres, x to the person's left, y up, z out of the face; texture coordinates with v UP.
"""

import gzip
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import MediaError


@dataclass(frozen=True)
class Surface:
    """Triangles with texture coordinates."""

    vertices: np.ndarray  # [N, 3] float64
    uv: np.ndarray  # [U, 2] float64, v UP
    triangles: np.ndarray  # [F, 3] int64 into `vertices`
    uv_triangles: np.ndarray  # [F, 3] int64 into `uv`
    group: np.ndarray  # [F] str, the name of the group that a triangle belongs to


@dataclass(frozen=True)
class Morph:
    """A sparse displacement of the base mesh at weight 1."""

    index: np.ndarray  # [M] int64
    displacement: np.ndarray  # [M, 3] float64, decimetres


@dataclass(frozen=True)
class Proxy:
    """A mesh that hangs on the base mesh: eyes, teeth, hair, clothes."""

    surface: Surface
    anchors: np.ndarray  # [P, 3] int64 base vertices
    weights: np.ndarray  # [P, 3]
    offsets: np.ndarray  # [P, 3]
    scales: tuple[tuple[int, int, int, float], ...]  # (axis, base vertex, base vertex, their distance as made)
    texture: Path | None
    hidden: np.ndarray  # [M] base vertices that it covers and that are not to be drawn

    def fitted(self, base: np.ndarray) -> np.ndarray:
        """The proxy's vertices [P, 3] on a morphed base mesh [N, 3]."""
        scale = np.ones(3)
        for axis, a, b, distance in self.scales:
            scale[axis] = abs(base[a, axis] - base[b, axis]) / distance
        return (base[self.anchors] * self.weights[..., None]).sum(1) + self.offsets * scale


class MakeHuman:
    """A folder of MakeHuman's data.

    Args:
        folder: As it is packed: `3dobjs`, `targets`, `faceunits01`, `rigs`, `mesh_metadata`, `skins`...

    Raises:
        MediaError: It is no such folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "3dobjs" / "base.obj").is_file():
            raise MediaError(f"{folder} holds no 3dobjs/base.obj; give the folder of MakeHuman's data.")

    @cached_property
    def base(self) -> Surface:
        """The base mesh with its helpers."""
        return read_surface(self.folder / "3dobjs" / "base.obj")

    @cached_property
    def mirror(self) -> np.ndarray:
        """[N] the vertex on the other side of the body."""
        mirror = np.arange(len(self.base.vertices))
        for line in (self.folder / "mesh_metadata" / "hm08.mirror").read_text(encoding="utf-8").splitlines():
            vertex, image, *_ = line.split()
            mirror[int(vertex)] = int(image)
        return mirror

    @cached_property
    def sliders(self) -> dict:
        """The slider list of `target.json`: group -> its categories."""
        return json.loads((self.folder / "targets" / "target.json").read_text(encoding="utf-8"))

    @cached_property
    def skin_weights(self) -> dict[str, list[tuple[int, float]]]:
        """Bone -> (vertex, weight) of the standard rig."""
        return json.loads((self.folder / "rigs" / "standard" / "weights.default.json").read_text(encoding="utf-8"))[
            "weights"
        ]

    @cached_property
    def bones(self) -> dict:
        """The standard rig's bones."""
        return json.loads((self.folder / "rigs" / "standard" / "rig.default.json").read_text(encoding="utf-8"))

    @cached_property
    def groups(self) -> dict[str, list]:
        """Vertex group -> inclusive ranges of vertices."""
        return json.loads((self.folder / "mesh_metadata" / "basemesh_vertex_groups.json").read_text(encoding="utf-8"))

    def bone_vertices(self, bone: str) -> list[int]:
        """The base vertices whose mean is the head of a bone."""
        head = self.bones[bone]["head"]
        if head["strategy"] == "CUBE":
            return [v for first, last in self.groups[head["cube_name"]] for v in range(first, last + 1)]
        return head["vertex_indices"] if head["strategy"] == "MEAN" else [head["vertex_index"]]

    def morph(self, name: str) -> Morph:
        """A target by its path below `targets` without ending, such as "ears/l-ear-scale-incr"."""
        return read_morph(self.folder / "targets" / f"{name}.target.gz")

    def face_unit(self, name: str) -> Morph:
        """An ARKit shape by its name."""
        return read_morph(self.folder / "faceunits01" / "targets" / "faceunits" / f"{name}.target")

    def targets(self, group: str) -> list[str]:
        """The names of all targets of a group, sorted."""
        return sorted(path.name.removesuffix(".target.gz") for path in (self.folder / "targets" / group).glob("*.gz"))

    def proxy(self, name: str, material: str | None = None) -> Proxy:
        """A proxy by its path without ending, such as "eyes/low-poly/low-poly".

        Args:
            name: Below the folder.
            material: Another material than the proxy's own, likewise.
        """
        return read_proxy(self.folder / f"{name}.mhclo", self.folder / f"{material}.mhmat" if material else None)

    def skins(self) -> list[str]:
        """The skins that have eyes, brows and no clothes: paths of their materials, without ending."""
        found = sorted((self.folder / "skins").glob("*/*.mhmat"))
        return [str(p.relative_to(self.folder).with_suffix("")) for p in found if "suit" not in p.name]


def read_surface(path: Path) -> Surface:
    """A Wavefront .obj of triangles and quads, which are split."""
    vertices, uv, triangles, uv_triangles, group, current = [], [], [], [], [], ""
    for line in path.read_text(encoding="utf8", errors="ignore").splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in fields[:2]])
        elif kind == "g":
            current = fields[0]
        elif kind == "f":
            corners = [(corner.split("/") + ["1"])[:2] for corner in fields]
            corners = [(int(v) - 1, int(t or 1) - 1) for v, t in corners]
            for k in range(1, len(corners) - 1):
                fan = corners[0], corners[k], corners[k + 1]
                triangles.append([v for v, _ in fan])
                uv_triangles.append([t for _, t in fan])
                group.append(current)
    arrays = np.array(vertices), np.array(uv), np.array(triangles, np.int64), np.array(uv_triangles, np.int64)
    return Surface(*arrays, np.array(group))


def read_morph(path: Path) -> Morph:
    """A .target, packed or not."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [line.split() for line in text.decode("utf8").splitlines()]
    rows = np.array([row for row in rows if len(row) == 4 and not row[0].startswith("#")], np.float64).reshape(-1, 4)
    return Morph(rows[:, 0].astype(np.int64), rows[:, 1:])


def read_proxy(path: Path, material: Path | None = None) -> Proxy:
    """A .mhclo with its .obj and, where it has one, the texture of its material; MediaError where it names no .obj."""
    rows, scales, obj, in_vertices, covered = [], [], None, False, []
    for line in path.read_text(encoding="utf8", errors="ignore").splitlines():
        word, *fields = line.split() or ["#"]
        if word.startswith("#"):
            continue
        if word == "obj_file":
            obj = path.parent / fields[0]
        elif word == "material":
            material = material or path.parent / fields[0]
        elif word in ("x_scale", "y_scale", "z_scale"):
            scales.append(("xyz".index(word[0]), int(fields[0]), int(fields[1]), float(fields[2])))
        elif word in ("verts", "delete_verts"):
            in_vertices = word == "verts"
        elif not in_vertices and word.isdigit():
            covered += [word, *fields]  # "7 - 9 12" of `delete_verts`
        elif in_vertices and word.isdigit():
            row = [float(x) for x in (word, *fields)]
            rows.append(row[:9] if len(row) >= 9 else [row[0]] * 3 + [1, 0, 0, 0, 0, 0])
    if obj is None:
        raise MediaError(f"{path} names no obj_file; give a whole folder of MakeHuman's data.")
    rows = np.array(rows)
    anchors = rows[:, :3].astype(np.int64)
    surface = read_surface(obj)
    texture = material and texture_of(material)
    return Proxy(surface, anchors, rows[:, 3:6], rows[:, 6:], tuple(scales), texture, _ranges(covered))


def _ranges(words: list[str]) -> np.ndarray:
    """The words 7 - 9 12 -> [7, 8, 9, 12]."""
    numbers, last = [], None
    for word in words:
        if word == "-":
            last = numbers[-1]
        else:
            numbers += [int(word)] if last is None else range(last + 1, int(word) + 1)
            last = None
    return np.array(numbers, np.int64)


def texture_of(material: Path) -> Path | None:
    """The picture that a .mhmat names; pictures are packed as WebP, whatever it says."""
    named = re.search(r"^diffuseTexture\s+(\S+)", material.read_text(encoding="utf8", errors="ignore"), re.MULTILINE)
    return named and material.parent / f"{Path(named.group(1)).stem}.webp"
