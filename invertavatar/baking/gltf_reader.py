"""Reads back what `gltf` writes: one textured, rigged mesh out of a .glb file.

Shapes: N vertices as the file counts them, V as the mesh does, F triangles, J joints.
"""

import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import MediaError
from .gltf import BINARY_CHUNK, COMPONENT_TYPES, ELEMENT_TYPES, HEADER, JSON_CHUNK
from .rigged_mesh import RiggedMesh

MOST_BYTES = 1 << 28
DTYPES = {number: f"<{name}" for name, number in COMPONENT_TYPES.items()}
SHAPES = {name: shape for shape, name in ELEMENT_TYPES.items()}
DAMAGE = (LookupError, TypeError, ValueError, OSError, struct.error, Image.DecompressionBombError)


class GlbFile:
    """A .glb file in memory."""

    def __init__(self, json_chunk: dict, binary: bytes):
        self.json, self.binary = json_chunk, binary

    @property
    def extras(self) -> dict:
        """What its writer has put beside the mesh."""
        return self.json["asset"]["extras"]

    def array(self, number: int) -> np.ndarray:
        """[N, ...] of an accessor."""
        entry = self.json["accessors"][number]
        dtype, shape, count = DTYPES[entry["componentType"]], SHAPES[entry["type"]], entry["count"]
        if count > MOST_BYTES // 4:
            raise ValueError("more numbers than a file holds")
        values = np.zeros((count, *shape), dtype)
        if "bufferView" in entry:
            values = self._values(entry["bufferView"], dtype, (count, *shape)).copy()
        if sparse := entry.get("sparse"):
            places = sparse["indices"]
            index = self._values(places["bufferView"], DTYPES[places["componentType"]], (sparse["count"],))
            values[index] = self._values(sparse["values"]["bufferView"], dtype, (sparse["count"], *shape))
        return values

    def mesh(self, metres_per_unit: float) -> RiggedMesh:
        """The mesh, its vertices joined again that were split at seams of the texture."""
        mesh, skin, nodes = self.json["meshes"][0], self.json["skins"][0], self.json["nodes"]
        names, joints = mesh["extras"]["targetNames"], skin["joints"]
        solid, *veil = (self._part(primitive, len(joints)) for primitive in mesh["primitives"])
        whole = [np.concatenate(arrays) for arrays in zip(solid[:5], *(part[:5] for part in veil), strict=True)]
        vertices, uv, morphs, weights, opacity = whole
        further = np.array([[0, 0], [len(solid[0]), len(solid[1])]])[: 1 + len(veil)]  # vertices and places before each
        triangles, uv_triangles = (
            np.concatenate([part[5 + k] + before[k] for part, before in zip((solid, *veil), further, strict=True)])
            for k in range(2)
        )
        parents = {child: parent for parent in joints for child in nodes[parent].get("children", ())}
        positions = np.zeros((len(joints), 3))
        for place, joint in enumerate(joints):  # each comes after its parent
            above = positions[joints.index(parents[joint])] if joint in parents else 0
            positions[place] = above + np.array(nodes[joint]["translation"])
        return RiggedMesh(
            vertices=vertices / metres_per_unit,
            triangles=triangles,
            uv=np.column_stack([uv[:, 0], 1 - uv[:, 1]]).clip(0, 1),
            uv_triangles=uv_triangles,
            texture=self._picture(),
            morphs=dict(zip(names, morphs.swapaxes(0, 1) / metres_per_unit, strict=True)),
            joint_names=tuple(nodes[joint]["name"] for joint in joints),
            joint_parents=tuple(joints.index(parents[joint]) if joint in parents else -1 for joint in joints),
            joint_positions=positions / metres_per_unit,
            skin_weights=weights,
            metres_per_unit=metres_per_unit,
            veil=sum(len(part[5]) for part in veil),
            opacity=opacity if veil else None,
        )

    def _part(self, primitive: dict, joints: int) -> tuple[np.ndarray, ...]:
        """Vertices [V, 3], places [N, 2] in the texture, morph targets [V, 52, 3], weights [V, J], opacity [V], and
        triangles of vertices and of places, [F, 3] each.
        """
        attributes = {name: self.array(number) for name, number in primitive["attributes"].items()}
        names = "POSITION", "NORMAL", "TEXCOORD_0", "JOINTS_0", "WEIGHTS_0"
        points, normals, uv, held, weights = (attributes[name] for name in names)
        _, first, joined = np.unique(np.hstack([points, normals]), axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)  # as they were: splitting keeps the order
        first, joined = first[order], np.argsort(order)[joined.ravel()]
        morphs = np.stack([self.array(target["POSITION"])[first] for target in primitive["targets"]], 1)
        whole = np.zeros((len(first), joints), np.float32)
        np.add.at(whole, (np.arange(len(first))[:, None], held[first].astype(int)), weights[first])
        opacity = attributes["COLOR_0"][first, 3] if "COLOR_0" in attributes else np.ones(len(first), np.float32)
        triangles = self.array(primitive["indices"]).astype(np.int64).reshape(-1, 3)
        return points[first], uv, morphs, whole, opacity, joined[triangles], triangles

    def _picture(self) -> np.ndarray:
        with Image.open(io.BytesIO(self._view(self.json["images"][0]["bufferView"]))) as picture:
            return np.asarray(picture.convert("RGBA" if picture.mode == "RGBA" else "RGB"))

    def _view(self, number: int) -> bytes:
        view = self.json["bufferViews"][number]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def _values(self, view: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self._view(view), dtype).reshape(shape)


def read_glb(path: str | Path) -> GlbFile:
    """A .glb file.

    Raises:
        MediaError: There is none, or it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"There is no file {path}.")
    if path.stat().st_size > MOST_BYTES:
        raise MediaError(f"{path.name} is larger than {MOST_BYTES >> 20} MB, which no baked avatar is.")
    try:
        content = path.read_bytes()
        if content[:4] != HEADER:
            raise ValueError("its first bytes are not those of a .glb")
        length, kind = struct.unpack_from("<I4s", content, 12)
        size, binary = struct.unpack_from("<I4s", content, 20 + length)
        if (kind, binary) != (JSON_CHUNK, BINARY_CHUNK):
            raise ValueError("its chunks are not those of a .glb")
        return GlbFile(json.loads(content[20 : 20 + length]), content[28 + length : 28 + length + size])
    except DAMAGE as error:
        raise MediaError(f"{path.name} is no .glb file, or a damaged one: {error}.") from error
