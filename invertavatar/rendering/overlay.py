"""The fitted head drawn over a photo, so that one sees at a glance whether the head was understood.

Shapes: V vertices, S side of the crop.
"""

import cv2
import numpy as np
import torch

from ..camera import project
from ..head.fitting import HeadShape
from ..head.head_model import LABELS, HeadModel
from ..raster.mesh import vertex_normals
from ..raster.rasterizer import interpolate, rasterize
from ..tracking.portrait import Portrait

TINTS = {  # RGB in 0..1 of each label
    "face": (0.95, 0.80, 0.70), "scalp": (0.55, 0.50, 0.75), "ear": (0.45, 0.85, 0.55), "neck": (0.60, 0.75, 0.95),
    "torso": (0.45, 0.60, 0.85), "lips": (0.95, 0.45, 0.55), "mouth": (0.50, 0.15, 0.20),
    "teeth": (1.0, 1.0, 0.9), "tongue": (0.9, 0.45, 0.5), "eye": (1.0, 1.0, 1.0),
}  # fmt: skip
OPACITY, OUTLINE = 0.45, (255, 255, 255)


@torch.no_grad()
def fitted_to(head_model: HeadModel, portrait: Portrait) -> tuple[HeadShape, torch.Tensor]:
    """The head of one photo alone: its neutral, and [1, V, 3] as it is in the photo."""
    portrait = portrait.to(head_model.device)
    landmarks = head_model.unbiased(portrait.vertices, portrait.rotation)
    neutral = head_model.without_expression(landmarks, portrait.expression)[0]
    shape = head_model.shape(neutral, 1)
    crown = head_model.crown_height(shape, portrait.rotation[0], portrait.matte, portrait.inside)
    shape = head_model.shape(neutral, 1, crown)
    return shape, head_model.seen_in(shape, portrait.expression, portrait.vertices, portrait.rotation)


@torch.no_grad()
def head_overlay(head_model: HeadModel, portrait: Portrait) -> np.ndarray:
    """The crop with the fitted head over it: [S, S, 3] uint8."""
    picture = portrait.picture
    _, vertices = fitted_to(head_model, portrait)
    vertices, rotation = vertices.cpu(), portrait.rotation.cpu()
    triangles = head_model.triangles.cpu()
    fragments = rasterize(project(vertices, rotation), triangles, len(picture))
    normals = torch.from_numpy(vertex_normals(vertices[0].numpy(), triangles.numpy()))[None] @ rotation.mT
    facing = interpolate(normals, fragments, triangles)[0, 2].clamp(0, 1).numpy()
    label = head_model.label.cpu()[fragments.triangle[0].clamp(min=0).long()].numpy()
    tint = np.array([TINTS[name] for name in LABELS], np.float32)[label] * (0.35 + 0.65 * facing[..., None])
    mask = fragments.mask[0].numpy()
    shown = picture.copy()
    shown[mask] = ((1 - OPACITY) * picture[mask] + OPACITY * 255 * tint[mask]).round().clip(0, 255).astype(np.uint8)
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(shown, outline, -1, OUTLINE, 2, cv2.LINE_AA)
