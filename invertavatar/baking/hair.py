"""What of a head is hair, how its strands fall, and a veil of them that makes a mesh end as softly as hair does.

Shapes: V vertices, F triangles, K copies of vertices, M points, H side of a texture.

A mesh ends in a line. Around what is hair it gets a few more surfaces, each a little farther out and more see-through
than the one below, in the texture that the head itself has: seen squarely they are of the colour of what lies behind
them, and at the outline they thin out. The texture's alpha is theirs alone: strands, which fall from the crown.
"""

from dataclasses import replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from ..head.head_model import LABELS, HeadModel
from ..raster.mesh import vertex_normals
from ..raster.rasterizer import interpolate, rasterize
from .rigged_mesh import RiggedMesh, extended
from .texturing import adjacency

INSET = 0.004  # head units by which what is opaque draws back behind the outline
LAYERS = ((0.004, 0.6), (0.012, 0.3))  # each surface's place beside it, and its opacity
UNEVEN = 0.5  # share of that by which strands stand off more and less
LEAST = 0.1  # of being hair, below which there is no veil
SMOOTHING = 4  # rounds in which the directions that surfaces stand off in mix with their neighbours'
SEEN = 0.5  # from which on a place's colours are a photo's own
FINE = 0.004  # of a texture's side: what changes over less is strands
BALD, STRANDS = 0.025, 0.05  # contrast of what is fine on a scalp of skin, and on one of hair
STRONGEST = 0.2  # contrast that strands are given where nobody has seen them
PER_TURN = (23, 59, 149)  # strands of three widths around the crown
WANDERING = 4.0  # changes of a strand per head unit of its length
CROWN_Z, CROWN = -0.35, 0.2  # head units: where the crown lies, and within which its strands are too fine to draw


def hairiness(head_model: HeadModel, texture: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """What is hair: the scalp, and what lies around it in its colour rather than the face's.

    Args:
        head_model: The model.
        texture: [H, H, 3] uint8.
        seen: [H, H] in 0..1, how well photos show it.

    Returns:
        [V] in 0..1, 0 throughout on a bald head, and the contrast of its strands, a share of their brightness.
    """
    lab = cv2.cvtColor(texture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    scalp, face, neck = (_vertices(head_model, name) for name in ("scalp", "face", "neck"))
    colour, known = at_vertices(head_model, lab), at_vertices(head_model, seen[..., None])[:, 0] > SEEN
    skin = np.median(colour[face & ~scalp], 0)
    hair = np.median(colour[scalp & known if (scalp & known).any() else scalp], 0)
    unlike_skin, unlike_hair = (np.linalg.norm(colour - mean, axis=1) for mean in (skin, hair))
    alike = (unlike_skin - unlike_hair) / max(np.linalg.norm(skin - hair), 1e-3)  # -1..1
    beside = (head_model.displacement.share.cpu().numpy() > LEAST) & (face | neck)
    scalp_weight = np.where(known, (1 + 2 * alike).clip(0, 1), 1)
    weight = np.where(scalp, scalp_weight, beside * alike.clip(0, 1))
    visible = (on_atlas(head_model, torch.from_numpy(scalp)[:, None].float(), len(texture))[0] > 0.5) & (seen > SEEN)
    fine = lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), FINE * len(texture))
    contrast = float(fine[visible].std() / max(lab[..., 0][visible].mean(), 1)) if visible.any() else 0.0
    return weight * np.clip((contrast - BALD) / (STRANDS - BALD), 0, 1), contrast


def strands(points: np.ndarray) -> np.ndarray:
    """Of strands that fall from the crown: [M] how bright each is, of mean 0 and deviation 1; points are [M, 3]."""
    x, y, z = points.T
    azimuth, away, total = np.arctan2(x, z - CROWN_Z) / (2 * np.pi), np.hypot(x, z - CROWN_Z), 0.0
    for number, count in enumerate(PER_TURN):
        grid = np.random.default_rng(number).standard_normal((64, count))
        total = total + map_coordinates(grid, [y * WANDERING, azimuth * count], order=1, mode="grid-wrap")
    return total / np.sqrt(len(PER_TURN) * 4 / 9) * np.clip(away / CROWN, 0, 1)  # of what lies between: 4 / 9 is left


def with_strands(
    texture: np.ndarray, seen: np.ndarray, weight: np.ndarray, contrast: float, points: torch.Tensor, model: HeadModel
) -> np.ndarray:
    """The texture [H, H, 4] uint8 with the veil's alpha, and strands where nobody has seen the hair.

    Args:
        texture: [H, H, 3] uint8.
        seen: See `hairiness`, as are `weight` and `contrast`.
        weight: [V].
        contrast: Of strands.
        points: [V, 3] the head.
        model: The head model.
    """
    carried = torch.cat([points.cpu(), torch.from_numpy(weight).float()[:, None]], 1)
    *places, hair = on_atlas(model, carried, len(texture))
    bright = strands(np.stack([x.ravel() for x in places], 1)).reshape(hair.shape)
    unseen = hair * (1 - seen) * min(contrast, STRONGEST)
    colour = texture * (1 + unseen * bright)[..., None].clip(0, 2)
    alpha = np.where(hair > 0, (0.6 + 0.3 * bright).clip(0.1, 1), 1) * 255
    return np.dstack([colour, alpha]).round().clip(0, 255).astype(np.uint8)


def veiled(mesh: RiggedMesh, weight: np.ndarray) -> RiggedMesh:
    """A mesh whose hair, [V] in 0..1, ends softly."""
    hair = np.zeros(len(mesh.vertices))
    hair[: len(weight)] = weight
    faces = (hair[mesh.triangles] > LEAST).any(1)
    if not faces.any():
        return mesh
    away = vertex_normals(mesh.vertices, mesh.triangles).astype(np.float64)
    beside = adjacency(mesh.triangles, len(away))
    for _ in range(SMOOTHING):
        away = away + beside @ away
        away /= np.linalg.norm(away, axis=1, keepdims=True).clip(1e-6)
    corners, numbers = np.unique(mesh.triangles[faces], return_inverse=True)
    outward, uneven = away[corners] * hair[corners, None], UNEVEN * strands(mesh.vertices[corners]).clip(-1, 1)
    surfaces = [mesh.vertices[corners] + outward * (far * (1 + uneven))[:, None] for far, _ in LAYERS]
    triangles = numbers.reshape(-1, 3)
    layers = np.arange(len(LAYERS))[:, None, None] * len(corners)
    return extended(
        replace(mesh, vertices=mesh.vertices - INSET * hair[:, None] * away),
        sources=np.tile(corners, len(LAYERS)),
        vertices=np.concatenate(surfaces),
        triangles=(len(mesh.vertices) + triangles + layers).reshape(-1, 3),
        uv_triangles=np.tile(mesh.uv_triangles[faces], (len(LAYERS), 1)),
        opacity=np.concatenate([opacity * hair[corners] for _, opacity in LAYERS]),
    )


def at_vertices(head_model: HeadModel, texture: np.ndarray) -> np.ndarray:
    """[V, C] what a texture [H, H, C] holds at the vertices; one on a seam has one of its places'."""
    column, row = (head_model.uv.cpu().numpy() * len(texture)).astype(int).clip(0, len(texture) - 1).T
    values = np.zeros((len(head_model.mean), texture.shape[2]), texture.dtype)
    values[head_model.triangles.cpu().numpy().ravel()] = texture[row, column][head_model.uv_triangles.cpu().ravel()]
    return values


def on_atlas(head_model: HeadModel, carried: torch.Tensor, size: int) -> np.ndarray:
    """[C, size, size] what vertices carry [V, C], over the atlas; 0 where no triangle lies."""
    flat = F.pad(head_model.uv[head_model.uv_triangles].cpu().reshape(1, -1, 2) * 2 - 1, (0, 1))
    drawn = rasterize(flat, torch.arange(flat.shape[1]).view(-1, 3), size)
    return (interpolate(carried, drawn, head_model.triangles.cpu())[0] * drawn.mask).numpy()


def _vertices(head_model: HeadModel, label: str) -> np.ndarray:
    part = np.zeros(len(head_model.mean), bool)
    part[head_model.triangles[head_model.label == LABELS.index(label)].cpu().numpy().ravel()] = True
    return part
