"""A textured mesh as one binary file of glTF 2.0 (.glb), with morph targets, joints and skin.

Written here because trimesh, which writes the other kinds, leaves morph targets and skins out.

Shapes: N vertices as the file counts them (one for each vertex and place in the texture), F triangles, J joints.
"""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .. import __version__

INFLUENCES = 4  # joints that may move one vertex, in the first set of a skin, which is all that most viewers read
MOST_JOINTS = 256  # their numbers are bytes
NEGLIGIBLE = 1e-6  # metres, and radians of a normal: a morph target's smaller displacements are left out

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
COMPONENT_TYPES = {"u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
RESTART = np.iinfo(np.uint16).max  # as an index it does not name a vertex
HEADER, JSON_CHUNK, BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"


@dataclass(frozen=True, eq=False)
class Rig:
    """Joints, none of which is turned at rest, and how they hold on to the mesh."""

    names: tuple[str, ...]
    parents: tuple[int, ...]  # the first joint is the root and has -1; each later one comes after its parent
    positions: np.ndarray  # [J, 3] metres


@dataclass(frozen=True, eq=False)
class Part:
    """A surface in one material."""

    vertices: np.ndarray  # [N, 3] metres, y up, the face along +z
    normals: np.ndarray  # [N, 3], unit
    uv: np.ndarray  # [N, 2], u right and v UP
    triangles: np.ndarray  # [F, 3], counter-clockwise from outside
    morphs: Mapping[str, tuple[np.ndarray, np.ndarray]]  # how each moves vertices and adds to normals, [N, 3] each
    weights: np.ndarray  # [N, J], at least one in a row above 0; the four largest of it count, scaled to the sum 1
    opacity: np.ndarray | None = None  # [N] of a veil


def textured_glb(parts: Sequence[Part], texture: np.ndarray, rig: Rig, extras: Mapping | None = None) -> bytes:
    """The content of a .glb file.

    Args:
        parts: One that is solid, and perhaps a veil after it; they have the same morph targets.
        texture: [H, W, 3] or [H, W, 4] uint8. It holds all light, so that the material adds no shine. Alpha is that of
            the veil; without one there is no surface where it is below a half.
        rig: Joints and skin.
        extras: What stands in the file's JSON beside it.
    """
    file = Container()
    mesh = {"name": "avatar", "primitives": [primitive(file, part, number) for number, part in enumerate(parts)]}
    if morphs := parts[0].morphs:
        mesh |= {"weights": [0] * len(morphs), "extras": {"targetNames": list(morphs)}}
    # The mesh stays beside the joints: as a skin moves it, it must not hang below them.
    nodes = [{"name": "avatar", "mesh": 0, "skin": 0}, *joint_nodes(rig, first=1)]
    to_joint = np.tile(np.eye(4), (len(rig.names), 1, 1))
    to_joint[:, 3, :3] = -rig.positions  # glTF counts along columns: this is the transposed matrix
    skin = {
        "name": "rig",
        "joints": list(range(1, len(nodes))),
        "skeleton": 1,
        "inverseBindMatrices": file.accessor(to_joint, "f4"),
    }
    scene = {
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": nodes,
        "meshes": [mesh],
        "skins": [skin],
        "materials": materials(len(parts) > 1, bool((texture[..., 3:] < 255).any())),
        "textures": [{"source": 0, "sampler": 0}],
        "images": [file.picture(texture)],
        "samplers": [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ],
    }
    return file.content(scene, extras)


def primitive(file: "Container", part: Part, material: int) -> dict:
    """The entry of one surface."""
    joints, weights = strongest_joints(part.weights)
    attributes = {
        "POSITION": file.accessor(part.vertices, "f4", ARRAY_BUFFER, bounded=True),
        "NORMAL": file.accessor(part.normals, "f4", ARRAY_BUFFER),
        "TEXCOORD_0": file.accessor(np.column_stack([part.uv[:, 0], 1 - part.uv[:, 1]]), "f4", ARRAY_BUFFER),
        "JOINTS_0": file.accessor(joints, "u1", ARRAY_BUFFER),
        "WEIGHTS_0": file.accessor(weights, "f4", ARRAY_BUFFER),
    }
    if part.opacity is not None:
        white = np.ones((len(part.opacity), 3))
        attributes["COLOR_0"] = file.accessor(np.column_stack([white, part.opacity]), "f4", ARRAY_BUFFER)
    numbers = "u2" if len(part.vertices) <= RESTART else "u4"
    entry = {
        "attributes": attributes,
        "indices": file.accessor(part.triangles.ravel(), numbers, ELEMENT_ARRAY_BUFFER),
        "material": material,
    }
    if part.morphs:
        entry["targets"] = [
            {"POSITION": file.displacements(moved, bounded=True), "NORMAL": file.displacements(turned)}
            for moved, turned in part.morphs.values()
        ]
    return entry


def materials(veil: bool, cut_out: bool) -> list[dict]:
    """A dull surface in the colours of the first texture, cut out where alpha is low, as blending needs an order; and
    a veil over a solid surface, whose order does not matter as it is of one colour.
    """
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 1}
    # A mesh may be open, and its inside hides what lies behind it.
    solid = {"name": "avatar", "pbrMetallicRoughness": surface, "doubleSided": True}
    if veil:
        return [solid, {"name": "veil", "pbrMetallicRoughness": surface, "alphaMode": "BLEND"}]
    return [solid | ({"alphaMode": "MASK", "alphaCutoff": 0.5} if cut_out else {})]


def joint_nodes(rig: Rig, first: int) -> list[dict]:
    """A node for each joint, placed from its parent; `first` is the number of the root's."""
    nodes = []
    for joint, (name, parent) in enumerate(zip(rig.names, rig.parents, strict=True)):
        offset = rig.positions[joint] - (rig.positions[parent] if parent >= 0 else 0)
        children = [first + child for child, its_parent in enumerate(rig.parents) if its_parent == joint]
        nodes.append(
            {"name": name, "translation": offset.tolist()} | ({"children": children} if children else {}),
        )
    return nodes


def strongest_joints(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [N, 4] and weights [N, 4] float32 of the joints that count most, largest first and of sum 1."""
    weights = np.pad(weights.astype(np.float64), [(0, 0), (0, max(0, INFLUENCES - weights.shape[1]))])
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    kept = np.take_along_axis(weights, joints, 1)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    kept[:, 0] = 1 - kept[:, 1:].sum(1)  # what float32 has rounded away
    joints[kept == 0] = 0  # the number that glTF asks for where no joint is meant
    return joints, kept


class Container:
    """Collects arrays and pictures and gives the bytes of a .glb file."""

    def __init__(self):
        self.binary = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def accessor(self, values: np.ndarray, dtype: str, target: int | None = None, bounded: bool = False) -> int:
        """Add an array, one element a row, and return its number.

        Args:
            values: [N, ...] of one of `ELEMENT_TYPES`.
            dtype: One of `COMPONENT_TYPES`.
            target: What a graphics card will use it for, if it will.
            bounded: The range of its values is stated, as positions need it.
        """
        values = np.ascontiguousarray(values, f"<{dtype}")
        return self._describe(values, {"bufferView": self.view(values.tobytes(), target)}, bounded)

    def displacements(self, values: np.ndarray, bounded: bool = False) -> int:
        """Add the displacements [N, 3] of a morph target, only those that move anything where that is shorter."""
        values = np.where(np.abs(values) < NEGLIGIBLE, 0, values).astype("<f4")
        moving = np.flatnonzero(values.any(1))
        index = moving.astype("<u2" if len(values) <= RESTART else "<u4")
        if index.nbytes + values[moving].nbytes >= values.nbytes:
            return self.accessor(values, "f4", ARRAY_BUFFER, bounded)
        if not len(moving):
            return self._describe(values, {}, bounded)  # an accessor without data is 0 throughout
        sparse = {
            "count": len(moving),
            "indices": {
                "bufferView": self.view(index.tobytes()),
                "componentType": COMPONENT_TYPES[index.dtype.str[1:]],
            },
            "values": {"bufferView": self.view(values[moving].tobytes())},
        }
        return self._describe(values, {"sparse": sparse}, bounded)

    def picture(self, texture: np.ndarray) -> dict:
        """Add a picture [H, W, C] uint8, without loss, and return its entry."""
        encoded = io.BytesIO()
        Image.fromarray(texture).save(encoded, "PNG")
        return {"name": "avatar", "mimeType": "image/png", "bufferView": self.view(encoded.getvalue())}

    def view(self, data: bytes, target: int | None = None) -> int:
        """Add bytes, where any kind of number may begin, and return their number."""
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        if target is not None:
            self.views[-1]["target"] = target
        self.binary += padded(data, b"\0")
        return len(self.views) - 1

    def content(self, scene: dict, extras: Mapping | None = None) -> bytes:
        """The whole file around the entries of a scene."""
        described = scene | {
            "asset": {"version": "2.0", "generator": f"InvertAvatar {__version__}"}
            | ({"extras": extras} if extras else {}),
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(described, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        chunks = b"".join(
            struct.pack("<I4s", len(data), kind) + data
            for kind, data in ((JSON_CHUNK, padded(text, b" ")), (BINARY_CHUNK, bytes(self.binary)))
        )
        return struct.pack("<4sII", HEADER, 2, 12 + len(chunks)) + chunks

    def _describe(self, values: np.ndarray, source: dict, bounded: bool) -> int:
        entry = source | {
            "componentType": COMPONENT_TYPES[values.dtype.str[1:]],
            "count": len(values),
            "type": ELEMENT_TYPES[values.shape[1:]],
        }
        if bounded:
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def padded(data: bytes, filling: bytes) -> bytes:
    """Up to the next multiple of four bytes."""
    return data + filling * (-len(data) % 4)
