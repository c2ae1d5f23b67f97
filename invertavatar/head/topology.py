"""The head cut from MakeHuman's base mesh: triangles, parts, mirror image, joints and skinning.

Shapes: N base vertices, V vertices of the head, F triangles, J joints.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .makehuman import MakeHuman, Surface

HOLDING_JOINTS = 4  # of a vertex at most, as files of rigged meshes have it
SHOULDER_HEIGHT = 5.5  # decimetres above which the body's quads belong to the head model
PARTS = {  # group of the base mesh -> part
    "body": "skin",
    "helper-r-eye": "eyeRight",
    "helper-l-eye": "eyeLeft",
    "helper-upper-teeth": "upperTeeth",
    "helper-lower-teeth": "lowerTeeth",
    "helper-tongue": "tongue",
}
PART_NAMES = tuple(PARTS.values())
# Joint -> (its parent, the bone at whose head it lies, the bones whose weights it gathers, the parts that follow it).
JOINTS = {
    "torso": (None, "spine01", ("spine", "clavicle"), ()),
    "neck01": ("torso", "neck01", ("neck01",), ()),
    "neck02": ("neck01", "neck02", ("neck02",), ()),
    "neck03": ("neck02", "neck03", ("neck03",), ()),
    "head": ("neck03", "head", ("head",), ("upperTeeth",)),
    "jaw": ("head", "jaw", ("jaw", "tongue"), ("lowerTeeth", "tongue")),
    "eyeLeft": ("head", "eye.L", (), ("eyeLeft",)),
    "eyeRight": ("head", "eye.R", (), ("eyeRight",)),
}
JOINT_NAMES = tuple(JOINTS)
JOINT_PARENTS = tuple(-1 if parent is None else JOINT_NAMES.index(parent) for parent, *_ in JOINTS.values())


@dataclass(frozen=True)
class HeadTopology:
    """What no head changes."""

    base_vertex: np.ndarray  # [V] int64 the base vertex that each one is
    triangles: np.ndarray  # [F, 3] int64
    uv_triangles: np.ndarray  # [F, 3] int64 into the base mesh's texture coordinates
    part: np.ndarray  # [V] int64 into PART_NAMES
    mirror: np.ndarray  # [V] int64
    skin_weights: np.ndarray  # [V, J] float64, rows sum to 1
    joint_vertices: tuple[np.ndarray, ...]  # J of [M] base vertices whose mean a joint is

    @property
    def triangle_part(self) -> np.ndarray:
        """[F] the part of each triangle."""
        return self.part[self.triangles[:, 0]]

    def head_and_joints(self, base: np.ndarray) -> np.ndarray:
        """A morphed base mesh [N, 3] -> [V + J, 3]: the head's vertices, then its joints."""
        joints = np.stack([base[vertices].mean(0) for vertices in self.joint_vertices])
        return np.concatenate([base[self.base_vertex], joints])


def cut_head(data: MakeHuman) -> HeadTopology:
    """Everything above the shoulders, with eyeballs, teeth and tongue, and without the skin behind the eyeballs, which
    would show through lids that close.
    """
    base = data.base
    kept = np.concatenate([_faces_of(base, group) for group in PARTS])
    kept = kept[~_eye_sockets(base, kept)]
    base_vertex, triangles = np.unique(base.triangles[kept], return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    row = np.full(len(base.vertices), -1)
    row[base_vertex] = np.arange(len(base_vertex))
    part = np.empty(len(base_vertex), np.int64)
    for number, group in enumerate(PARTS):
        part[triangles[base.group[kept] == group]] = number
    mirror = row[data.mirror[base_vertex]]
    joint_vertices = tuple(np.array(data.bone_vertices(bone)) for _, bone, _, _ in JOINTS.values())
    weights = _skin_weights(data, row, part)
    return HeadTopology(base_vertex, triangles, base.uv_triangles[kept], part, mirror, weights, joint_vertices)


def _faces_of(base: Surface, group: str) -> np.ndarray:
    """The triangles of a group; of the body the whole quads that lie above the shoulders."""
    faces = np.flatnonzero(base.group == group)
    if group != "body":
        return faces
    quads = faces.reshape(-1, 2)  # the body is of quads, and each was split in two that follow each other
    heights = base.vertices[base.triangles[quads].reshape(len(quads), -1)][..., 1]  # a0 a1 a2 a0 a2 a3
    return quads[heights[:, [0, 1, 2, 5]].mean(1) > SHOULDER_HEIGHT].ravel()


def _eye_sockets(base: Surface, faces: np.ndarray) -> np.ndarray:
    """Which of some triangles line an eye socket: the island of the skin's texture about each eyeball."""
    island, body = texture_islands(base.uv_triangles[faces]), base.group[faces] == "body"
    middles = {k: base.vertices[base.triangles[faces[island == k]]].mean((0, 1)) for k in np.unique(island[body])}
    lining = np.zeros(len(faces), bool)
    for group in ("helper-l-eye", "helper-r-eye"):
        eye = base.vertices[base.triangles[faces[base.group[faces] == group]]].mean((0, 1))
        lining |= body & (island == min(middles, key=lambda k: np.linalg.norm(middles[k] - eye)))
    return lining


def texture_islands(uv_triangles: np.ndarray) -> np.ndarray:
    """[F] number of the island that each triangle belongs to in a texture."""
    edges = np.concatenate([uv_triangles[:, [0, 1]], uv_triangles[:, [1, 2]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(uv_triangles.max() + 1,) * 2)
    return connected_components(graph, directed=False)[1][uv_triangles[:, 0]]


def _skin_weights(data: MakeHuman, row: np.ndarray, part: np.ndarray) -> np.ndarray:
    weights = np.zeros((len(part), len(JOINTS)))
    for joint, (_, _, bones, parts) in enumerate(JOINTS.values()):
        for bone, pairs in data.skin_weights.items():
            if bones and bone.startswith(bones):
                vertex, weight = np.array(pairs).T
                vertex = row[vertex.astype(np.int64)]
                np.add.at(weights[:, joint], vertex[vertex >= 0], weight[vertex >= 0])
        followers = np.isin(part, [PART_NAMES.index(name) for name in parts])
        weights[followers] = np.eye(len(JOINTS))[joint]
    weights[weights.sum(1) == 0, JOINT_NAMES.index("head")] = 1
    fourth = np.sort(weights, 1)[:, -HOLDING_JOINTS, None]
    weights[weights < fourth] = 0
    return weights / weights.sum(1, keepdims=True)
