"""A synthetic person: a random head, dressed, and driven by ARKit scores as the head model drives any person.

Shapes: N base vertices, V vertices of the head model, L 478 landmarks, P vertices of a part, F its triangles.

Spaces: MakeHuman's (decimetres); the scene, in which the neutral head lies on the tracker's template; and head space,
in which the landmarks of each expression do, as they do of a tracked photo.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from ..head.fitting import HeadShape
from ..head.head_model import LABELS
from ..head.makehuman import Surface
from ..head.pose import procrustes
from ..head.skinning import skinned
from ..head_building.random_heads import Mixture
from ..raster.mesh import vertex_normals
from .colours import Texture
from .studio import DRESSED_LABELS, LOWEST, Studio
from .wardrobe import FRAME, LENS, SKIN, Garment, Material, Outfit

CHIN_LANDMARK, NOSE_LANDMARK, MOUTH_CORNERS, LOWER_LIP, JAWS = 152, 2, (61, 291), 17, (172, 397)
NEVER_SHAVED = 0.75  # how dark a full beard's shadow is
HAIR_ROUNDNESS = 0.75  # how far cards of hair are shaded as the round thing that they make up


@dataclass(frozen=True)
class Part:
    """A textured surface of a person, in the neutral pose."""

    surface: Surface
    vertices: np.ndarray  # [P, 3] where they are
    normals: np.ndarray  # [P, 3]
    texture: Texture
    label: np.ndarray  # [F] uint8 into DRESSED_LABELS
    material: Material
    card: bool = False
    gain: np.ndarray | None = None  # [P, 3] that colours are multiplied by


@dataclass(frozen=True)
class PosedPerson:
    """A person in one picture; all in head space."""

    parts: list[Part]
    landmarks: np.ndarray  # [L, 3]
    mesh: np.ndarray  # [V, 3] the head model's mesh under hair and clothes
    expression: np.ndarray  # [52]


class SyntheticPerson:
    """Somebody.

    Args:
        studio: What people share.
        mixture: The shape.
        outfit: The rest.
    """

    def __init__(self, studio: Studio, mixture: Mixture, outfit: Outfit):
        self.studio, self.outfit = studio, outfit
        model, topology = studio.head_model, studio.topology
        self.base = studio.heads.base(mixture)
        landmarks = model.landmarks(torch.from_numpy(self.base[topology.base_vertex])).numpy()
        self.laid = studio.template.laid_on(landmarks)  # scene -> MakeHuman's space
        head = torch.from_numpy(self.laid.back(topology.head_and_joints(self.base))).float()
        count = len(topology.part)
        vertices = head[:count] + torch.from_numpy(studio.toward_people).float()
        vertices = model.outside_of_eyeballs(vertices[None])[0]
        self.shape = HeadShape(vertices, head[count:], model.blink_correction(vertices), model.landmarks(vertices))
        self.glasses = self._glasses()

    @classmethod
    def random(cls, studio: Studio, rng: np.random.Generator) -> "SyntheticPerson":
        """Somebody drawn by `rng`."""
        mixture = studio.heads.draw(rng)
        return cls(studio, mixture, studio.wardrobe.outfit(rng, mixture))

    @property
    def albedo(self) -> float:
        """Mean linear brightness of the skin."""
        return float(self.outfit.skin.mean.mean())

    @torch.no_grad()
    def posed(self, expression: np.ndarray, head_to_torso: np.ndarray) -> PosedPerson:
        """The person with an expression, the head turned on its body.

        Args:
            expression: [52] ARKit scores.
            head_to_torso: [3, 3] the head's rotation relative to the body.
        """
        model, studio = self.studio.head_model, self.studio
        scores = torch.from_numpy(np.asarray(expression, np.float32))[None]
        straight = model(self.shape, scores, gaze=torch.zeros(1, 2, 2))
        driven = model.rotated_eyes(straight, model.gaze_of(scores))
        base = self._driven_base(straight[0].double().numpy())
        neck = [x.double() for x in model.neck(self.shape.joints, torch.from_numpy(head_to_torso)[None].float())]
        landmarks = model.landmarks(driven)[0].numpy()
        head = studio.template.laid_on(landmarks)  # head space -> scene

        def placed(vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
            moved = skinned(torch.from_numpy(vertices)[None], torch.from_numpy(weights), *neck)[0].numpy()
            return head.back(moved)

        parts = []
        skin, labels = self._skin_surface()
        vertices = placed(self.laid.back(base), studio.joint_weights)
        normals = vertex_normals(vertices, skin.triangles)
        parts.append(Part(skin, vertices, normals, self.outfit.skin, labels, SKIN, gain=self._stain()))
        for garment in self.outfit.garments:
            weights = (studio.joint_weights[garment.proxy.anchors] * garment.proxy.weights[..., None]).sum(1).clip(0)
            vertices = self.laid.back(self._worn(garment, base))
            if garment.label == "eye":
                vertices = self._gazing(vertices, straight[0], driven[0])
            parts.append(self._part(garment, placed(vertices, weights)))
        for part in self.glasses:
            vertices = head.back(part.vertices)
            parts.append(replace(part, vertices=vertices, normals=vertex_normals(vertices, part.surface.triangles)))
        mesh = placed(driven[0].double().numpy(), studio.topology.skin_weights)
        return PosedPerson(parts, head.back(landmarks), mesh, np.asarray(expression, np.float32))

    def _driven_base(self, straight: np.ndarray) -> np.ndarray:
        """The base mesh [N, 3] with the head model's vertices [V, 3] in it; helpers follow the skin beside them."""
        topology = self.studio.topology
        base = self.base.copy()
        base[topology.base_vertex] = self.laid(straight)
        helper, near, weight = self.studio.following
        moved = base[topology.base_vertex] - self.base[topology.base_vertex]
        base[helper] += (moved[near] * weight[..., None]).sum(1)
        return base

    def _skin_surface(self) -> tuple[Surface, np.ndarray]:
        """Without what clothes cover."""
        surface, labels = self.studio.skin
        covered = np.zeros(len(surface.vertices), bool)
        for garment in self.outfit.garments:
            covered[garment.proxy.hidden] = True
        seen = ~covered[surface.triangles].all(1)
        return replace(surface, triangles=surface.triangles[seen], uv_triangles=surface.uv_triangles[seen]), labels[
            seen
        ]

    def _stain(self) -> np.ndarray:
        """[N, 3] the scalp under hair and the beard's shadow, in the hair's colour."""
        studio, outfit = self.studio, self.outfit
        towards = (outfit.hair_colour / outfit.skin.mean.clip(0.02)).clip(0, 1)
        weight = (studio.scalp * outfit.scalp).clip(0, 1)[:, None]
        beard = np.zeros((len(weight), 1))
        beard[studio.topology.base_vertex, 0] = self._beard() * outfit.beard * NEVER_SHAVED
        weight = np.maximum(weight, beard)
        return (1 - weight * (1 - towards)).astype(np.float32)

    def _beard(self) -> np.ndarray:
        """[V] where a beard grows: chin, jaw and above the lip, fading out over the cheeks and the throat."""
        place = self.shape.vertices.numpy()
        marks = self.studio.head_model.landmarks(self.shape.vertices).numpy()
        nose, chin, lip = marks[NOSE_LANDMARK], marks[CHIN_LANDMARK], marks[LOWER_LIP]
        corner = marks[list(MOUTH_CORNERS)].mean(0)
        height = nose[1] - chin[1]
        # The upper edge runs from under the nose outward, down to the mouth and up again along the jaw.
        away = np.abs(place[:, 0] - nose[0]) / np.abs(marks[JAWS[1], 0] - marks[JAWS[0], 0])
        edge = (
            nose[1] - 0.1 * height - 0.9 * height * np.clip(away, 0, 0.28) + 2.6 * height * np.clip(away - 0.36, 0, 1)
        )
        above = ((edge - place[:, 1]) / (0.2 * height)).clip(0, 1)
        throat = ((place[:, 1] - chin[1] + 0.35 * height) / (0.3 * height)).clip(0, 1)
        front = ((place[:, 2] - marks[list(JAWS), 2].mean() + 0.12) / 0.15).clip(0, 1)
        bare = np.exp(-(((place[:, 0] - nose[0]) / (0.55 * abs(corner[0] - marks[MOUTH_CORNERS[0], 0]) + 0.09)) ** 2)
                      - ((place[:, 1] - lip[1] + 0.01) / 0.03) ** 2)  # fmt: skip
        triangles, label = self.studio.topology.triangles, self.studio.head_model.label.numpy()
        hairless = np.isin(label, [LABELS.index(name) for name in ("lips", "mouth", "teeth", "tongue", "ear", "eye")])
        weight = above * throat * front * (1 - 0.5 * bare)
        weight[np.unique(triangles[hairless])] = 0
        return weight

    def _worn(self, garment: Garment, base: np.ndarray) -> np.ndarray:
        """The vertices [P, 3] of a garment on a driven base, in decimetres; hair grown."""
        vertices = garment.proxy.fitted(base)
        if garment.label != "hair":
            return vertices
        skull = self.base[self.studio.topology.base_vertex][self.studio.head_model.crown_weight.numpy() > 0.5]
        middle = (skull.max(0) + skull.min(0)) / 2
        chin = self.laid(self.studio.head_model.landmarks(self.shape.vertices).double().numpy())[CHIN_LANDMARK, 1]
        low = np.minimum(vertices[:, 1] - chin, 0)
        vertices = middle + (vertices - middle) * garment.grown
        if garment.mirrored:
            vertices[:, 0] = 2 * middle[0] - vertices[:, 0]
        vertices[:, 1] += low * (garment.length - 1)
        return vertices

    def _gazing(self, vertices: np.ndarray, straight: Tensor, driven: Tensor) -> np.ndarray:
        """Eyeballs [P, 3] turned as the head model turns its own from `straight` to `driven` [V, 3]."""
        vertices = vertices.copy()
        before, after = straight.double().numpy(), driven.double().numpy()
        middle = before[self.studio.head_model.eye_part.any(0).numpy(), 0].mean()
        for part, side in zip(self.studio.head_model.eye_part.numpy(), (1, -1), strict=True):
            mine = (vertices[:, 0] - middle) * side > 0  # the left eye is on the picture's right
            vertices[mine] = procrustes(before[part], after[part])(vertices[mine])
        return vertices

    def _part(self, garment: Garment, vertices: np.ndarray) -> Part:
        """A garment at vertices [P, 3] in head space."""
        surface = garment.proxy.surface
        kept = garment.proxy.fitted(self.base)[surface.triangles, 1].mean(1) > LOWEST
        if garment.label == "hair":
            kept &= ~self._under_hat(garment)
        surface = replace(surface, triangles=surface.triangles[kept], uv_triangles=surface.uv_triangles[kept])
        label = np.full(len(surface.triangles), DRESSED_LABELS.index(garment.label), np.uint8)
        normals = vertex_normals(vertices, surface.triangles)
        if garment.material.hair:
            outward = vertices - [0, 0, vertices[:, 2].mean()]  # from the middle of the head
            outward /= np.linalg.norm(outward, axis=1, keepdims=True).clip(1e-6)
            normals = normals * np.sign((normals * outward).sum(1, keepdims=True))
            normals = normals + (outward - normals) * HAIR_ROUNDNESS
        return Part(surface, vertices, normals, garment.texture, label, garment.material, garment.card)

    def _under_hat(self, hair: Garment) -> np.ndarray:
        """[F] bool: the triangles of hair that a hat covers."""
        middle = hair.proxy.fitted(self.base)[hair.proxy.surface.triangles].mean(1)
        covered = np.zeros(len(middle), bool)
        for garment in self.outfit.garments:
            if garment.label == "hat":
                hat = garment.proxy.fitted(self.base)
                _, nearest = KDTree(hat[:, [0, 2]]).query(middle[:, [0, 2]], 8)
                covered |= middle[:, 1] > hat[nearest, 1].min(1) - 0.02
        return covered

    def _glasses(self) -> list[Part]:
        """Frame and lenses in the scene, or nothing."""
        glasses, model = self.outfit.glasses, self.studio.head_model
        if glasses is None:
            return []
        ear = model.triangles[model.label == LABELS.index("ear")].long().unique()
        landmarks = model.landmarks(self.shape.vertices).double().numpy()
        surfaces = glasses.on(landmarks, self.shape.vertices[ear].double().numpy())
        textures = Texture.plain(glasses.frame), Texture.plain(glasses.lens[:3], glasses.lens[3])
        parts = []
        for surface, texture, material in zip(surfaces, textures, (FRAME, LENS), strict=True):
            label = np.full(len(surface.triangles), DRESSED_LABELS.index("glasses"), np.uint8)
            vertices = surface.vertices
            parts.append(Part(surface, vertices, vertices, texture, label, material, card=material.clear))
        return parts
