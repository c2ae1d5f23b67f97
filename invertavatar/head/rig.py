"""A person's head model as other programs take it: textured, with 52 morph targets, joints and skinning.

Shapes: V vertices, F triangles, L 478 landmarks, J joints.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..face.arkit import ARKIT_NAMES
from ..rendering.rigged_mesh import RiggedMesh
from .head_model import JOINTS, LABELS, HeadModel, HeadShape, irises
from .topology import JOINT_PARENTS

# What shows the teeth and the lids while they are painted, and the parts that are painted with the mouth open.
CLOSED_EYES = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
OPEN_MOUTH = {"jawOpen": 0.6, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4, "mouthLowerDownLeft": 0.4,
              "mouthLowerDownRight": 0.4}  # fmt: skip
INSIDE_OF_MOUTH = ("mouth", "teeth", "tongue")
PUPIL_DISTANCE = 0.063  # metres, of an average adult


class PaintingPose(NamedTuple):
    """An expression in which some of the head is painted."""

    expression: dict[str, float]
    weight: Tensor  # [V, 1] in 0..1: which vertices


def painting_poses(head_model: HeadModel) -> tuple[PaintingPose, ...]:
    """The neutral face for all but the mouth's inside and the lids, which are seen when it is open or they are shut."""
    mouth, lids = inside_of_mouth(head_model), head_model.lid_part.any(0).to(head_model.mean)[:, None]
    neutral = PaintingPose({}, 1 - mouth - lids)
    return neutral, PaintingPose(OPEN_MOUTH, mouth), PaintingPose(CLOSED_EYES, lids)


def inside_of_mouth(head_model: HeadModel) -> Tensor:
    """[V, 1] 1 on teeth, tongue and the mouth's inside, else 0."""
    labels = torch.tensor([LABELS.index(name) for name in INSIDE_OF_MOUTH], device=head_model.label.device)
    weight = head_model.mean.new_zeros(len(head_model.mean), 1)
    weight[head_model.triangles[torch.isin(head_model.label, labels)].flatten().long()] = 1
    return weight


@torch.no_grad()
def morph_targets(head_model: HeadModel, shape: HeadShape) -> dict[str, np.ndarray]:
    """ARKit name -> [V, 3] what a score of 1 moves on this person; gaze turns the eyeballs, blinks close the lids."""
    scores = torch.eye(len(ARKIT_NAMES)).to(shape.vertices.device)
    neutral = head_model(shape, torch.zeros_like(scores[:1]))
    moved = head_model(shape, scores) - neutral
    close = ARKIT_NAMES.index("mouthClose")  # driven alone it is capped to nothing; programs add it to an open jaw
    moved[close] = head_model.expression_basis[close]
    return dict(zip(ARKIT_NAMES, moved.cpu().numpy(), strict=True))


def metres_per_unit(head_model: HeadModel) -> float:
    """The size of a head unit, from how far apart pupils usually are."""
    left, right = irises(head_model.landmarks(head_model.mean)[None])[0]
    return PUPIL_DISTANCE / float((right - left).norm())


def rigged_mesh(head_model: HeadModel, shape: HeadShape, vertices: Tensor, texture: np.ndarray) -> RiggedMesh:
    """The mesh that goes into files.

    Args:
        head_model: The model.
        shape: The person.
        vertices: [V, 3] as the mesh shall stand: the neutral, or an expression to which morph targets add.
        texture: [H, H, 3] uint8 over the model's atlas.
    """
    uv = head_model.uv.cpu().numpy()  # v down
    return RiggedMesh(
        vertices=vertices.cpu().numpy(),
        triangles=head_model.triangles.cpu().numpy().astype(np.int64),
        uv=np.column_stack([uv[:, 0], 1 - uv[:, 1]]),
        uv_triangles=head_model.uv_triangles.cpu().numpy().astype(np.int64),
        texture=texture,
        morphs=morph_targets(head_model, shape),
        joint_names=JOINTS,
        joint_parents=JOINT_PARENTS,
        joint_positions=shape.joints.cpu().numpy(),
        skin_weights=head_model.skin_weights.cpu().numpy(),
        metres_per_unit=metres_per_unit(head_model),
    )
