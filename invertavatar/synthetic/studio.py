"""What all synthetic people share: MakeHuman's data, the head model that drives them, and the tracker's template.

Shapes: N base vertices, V vertices of the head model, F triangles of the skin, J joints.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from ..head.head_model import LABELS, HeadModel
from ..head.makehuman import MakeHuman, Surface
from ..head.pose import PoseTemplate
from ..head.topology import JOINT_NAMES, JOINTS, PART_NAMES, SHOULDER_HEIGHT, cut_head
from ..head_building.random_heads import RandomHeads
from .wardrobe import Wardrobe

BODY_TOP = SHOULDER_HEIGHT + 0.5  # decimetres, below which all that is cut off from the head lies
LOWEST = 4.0  # decimetres; what is below is in no picture
DRESSED_LABELS = ("background", *LABELS, "hair", "brow", "cloth", "hat", "glasses")
BODY = 13380  # base vertices before this are the body, the others helpers that proxies hang on
HEADS_IN_MEAN = 100
FOLLOWED, FAR = 4, 1e-3  # nearest head vertices that a helper follows; softens their weights


class Studio:
    """Read once for each process.

    Args:
        data: MakeHuman's folder.
        head_model: Cut from the same data; its expressions are those of the pictures.
        template: The tracker's, which defines head space.
        texture_size: The most texels that a texture has along its side.
    """

    def __init__(
        self, data: str | Path | MakeHuman, head_model: HeadModel, template: PoseTemplate, texture_size: int = 1024
    ):
        self.data = data if isinstance(data, MakeHuman) else MakeHuman(data)
        self.head_model, self.template = head_model, template
        self.heads, self.topology = RandomHeads(self.data), cut_head(self.data)
        self.wardrobe = Wardrobe(self.data, texture_size)

    @cached_property
    def skin(self) -> tuple[Surface, np.ndarray]:
        """The skin of the head, without the sockets of the eyes, and of the body below; [F] labels of its triangles."""
        base, top = self.data.base, self.topology
        skin = top.triangle_part == PART_NAMES.index("skin")
        head, head_uv = top.base_vertex[top.triangles[skin]], top.uv_triangles[skin]
        known = {tuple(triangle) for triangle in np.sort(head, 1)}
        height = base.vertices[base.triangles, 1].mean(1)
        body = np.flatnonzero((base.group == "body") & (height > LOWEST) & (height < BODY_TOP))
        below = [face for face in body if tuple(np.sort(base.triangles[face])) not in known]
        triangles = np.concatenate([head, base.triangles[below]])
        uv_triangles = np.concatenate([head_uv, base.uv_triangles[below]])
        names = [LABELS[k] for k in self.head_model.label.numpy()[skin]] + ["torso"] * len(below)
        label = np.array([DRESSED_LABELS.index(name) for name in names], np.uint8)
        return Surface(base.vertices, base.uv, triangles, uv_triangles, np.full(len(triangles), "body")), label

    @cached_property
    def joint_weights(self) -> np.ndarray:
        """[N, J] of all base vertices: the head model's, or what the rig says of the body and the helpers."""
        weights = np.zeros((len(self.data.base.vertices), len(JOINTS)))
        for joint, (_, _, bones, _) in enumerate(JOINTS.values()):
            for bone, pairs in self.data.skin_weights.items():
                if bones and bone.startswith(bones):
                    vertex, weight = np.array(pairs).T
                    np.add.at(weights[:, joint], vertex.astype(np.int64), weight)
        weights[self.topology.base_vertex] = self.topology.skin_weights
        helper, near, mix = self.following
        free = weights[helper].sum(1) == 0  # lashes: their bones are none of ours
        weights[helper[free]] = (self.topology.skin_weights[near[free]] * mix[free, :, None]).sum(1)
        weights[weights.sum(1) == 0, JOINT_NAMES.index("torso")] = 1
        return weights / weights.sum(1, keepdims=True)

    @cached_property
    def following(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The helpers [H] that the head model lacks, the [H, 4] vertices of it that each follows, and their weights."""
        known = np.isin(np.arange(len(self.data.base.vertices)), self.topology.base_vertex)
        helper = np.flatnonzero(~known & (np.arange(len(known)) >= BODY))
        skin = np.flatnonzero(self.topology.part == PART_NAMES.index("skin"))
        tree = KDTree(self.data.base.vertices[self.topology.base_vertex[skin]])
        distance, near = tree.query(self.data.base.vertices[helper], FOLLOWED)
        weight = 1 / (distance + FAR)
        return helper, skin[near], weight / weight.sum(1, keepdims=True)

    @cached_property
    def toward_people(self) -> np.ndarray:
        """[V, 3] head units that random heads are moved by, so that faces are on average those of the people whom the
        head model has learned from, as the tracker sees them.
        """
        rng, model, faces = np.random.default_rng(0), self.head_model, []
        for _ in range(HEADS_IN_MEAN):
            base = self.heads.base(self.heads.draw(rng))[self.topology.base_vertex]
            landmarks = model.landmarks(torch.from_numpy(base)).numpy()
            faces.append(self.template.laid_on(landmarks).back(landmarks))
        lack = model.landmarks(model.mean) - torch.from_numpy(np.mean(faces, 0)).float()
        moved = model.warp(lack[None])[0].double().numpy()
        return (moved + moved[model.mirror.numpy()] * [-1, 1, 1]) / 2

    @cached_property
    def scalp(self) -> np.ndarray:
        """[N] 1 on the scalp, less toward the face."""
        return self._softened("scalp", 2) ** 3  # short of the hairline, which cards of hair make

    def _softened(self, label: str, rounds: int) -> np.ndarray:
        surface, labels = self.skin
        corners = surface.triangles.ravel()
        of_triangle = (labels == DRESSED_LABELS.index(label)).astype(float)
        count = np.bincount(corners, minlength=len(surface.vertices)).clip(1)
        for _ in range(rounds):
            of_vertex = np.bincount(corners, np.repeat(of_triangle, 3), len(surface.vertices)) / count
            of_triangle = of_vertex[surface.triangles].mean(1)
        return of_vertex
