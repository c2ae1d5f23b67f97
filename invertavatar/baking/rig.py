"""A person's head model as other programs take it: textured, with 52 morph targets, joints and skinning.

Shapes: V vertices, F triangles, L 478 landmarks, J joints.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..head.arkit import ARKIT_NAMES
from ..head.eyeballs import irises
from ..head.fitting import HeadShape
from ..head.head_model import LABELS, HeadModel
from ..head.topology import JOINT_NAMES as JOINTS
from ..head.topology import JOINT_PARENTS
from .rigged_mesh import RiggedMesh

# What shows the teeth and the lids while they are painted, and the parts that are painted with the mouth open.
CLOSED_EYES = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
OPEN_MOUTH = {"jawOpen": 0.6, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4, "mouthLowerDownLeft": 0.4,
              "mouthLowerDownRight": 0.4}  # fmt: skip
SMILE = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "mouthUpperUpLeft": 0.3, "mouthUpperUpRight": 0.3,
         "mouthLowerDownLeft": 0.3, "mouthLowerDownRight": 0.3, "jawOpen": 0.1}  # fmt: skip
LESSER = 0.1  # what a pose counts for vertices of which another shows more
INSIDE_OF_MOUTH = ("mouth", "teeth", "tongue")
# Inner edges of upper and lower lip, landmark by landmark.
LIP_PAIRS = ((191, 95), (80, 88), (81, 178), (82, 87), (13, 14), (312, 317), (311, 402), (310, 318), (415, 324))
LIPS_OVERLAP = 0.002  # head units by which they are pressed together
UPPER_LIP = 13  # MediaPipe's landmark on the inner edge of the upper lip
# Head units: how far below it incisors end, how far they cover the lower ones, how deep they reach, and how much
# farther back than the model's they lie, so as not to stick out of lips that move.
TEETH_BELOW_LIP, BITE, INCISORS, TEETH_BEHIND = 0.014, 0.006, 0.1, 0.02
PUPIL_DISTANCE = 0.063  # metres, of an average adult


class PaintingPose(NamedTuple):
    """An expression in which some of the head is painted."""

    expression: dict[str, float]
    weight: Tensor  # [V, 1] in 0..1: which vertices


def painting_poses(head_model: HeadModel) -> tuple[PaintingPose, ...]:
    """The neutral face for all but the mouth's inside, which is seen when it is open, teeth, which show in a smile,
    and as much of the lids as is seen when they are shut.
    """
    mouth, lids = inside_of_mouth(head_model), head_model.lid_part.any(0).to(head_model.mean)[:, None]
    teeth = _vertices_of(head_model, "teeth").to(mouth)[:, None]
    return (
        PaintingPose({}, 1 - mouth),
        PaintingPose(OPEN_MOUTH, mouth * (1 - (1 - LESSER) * teeth)),
        PaintingPose(SMILE, teeth),
        PaintingPose(CLOSED_EYES, LESSER * lids),
    )


def inside_of_mouth(head_model: HeadModel) -> Tensor:
    """[V, 1] 1 on teeth, tongue and the mouth's inside, else 0."""
    labels = torch.tensor([LABELS.index(name) for name in INSIDE_OF_MOUTH], device=head_model.label.device)
    weight = head_model.mean.new_zeros(len(head_model.mean), 1)
    weight[head_model.triangles[torch.isin(head_model.label, labels)].flatten().long()] = 1
    return weight


def lips_shut(head_model: HeadModel, vertices: Tensor) -> Tensor:
    """[V, 3] what closes the lips of a neutral head [V, 3]: by landmarks they lie apart a little, and teeth shine."""
    upper, lower = torch.tensor(LIP_PAIRS, device=vertices.device).T
    landmarks, moved = head_model.landmarks(vertices), torch.zeros_like(head_model.landmarks(vertices))
    gap = (landmarks[upper, 1] - landmarks[lower, 1] + LIPS_OVERLAP) / 2
    moved[upper, 1], moved[lower, 1] = -gap, gap
    return head_model.warp(moved[None])[0] * (1 - head_model.eye_part.any(0).to(moved)[:, None])


def teeth_shift(head_model: HeadModel, vertices: Tensor) -> Tensor:
    """[V, 3] what brings teeth and tongue of a neutral head [V, 3] to where lips open before them.

    Lips follow a person's landmarks, teeth only the bones below: mostly they end up too high to be seen.
    """
    shift, upper_lip = torch.zeros_like(vertices), head_model.landmarks(vertices)[UPPER_LIP, 1]
    teeth, tongue = (_vertices_of(head_model, name) for name in ("teeth", "tongue"))
    jaw = head_model.skin_weights[:, JOINTS.index("jaw")] > 0.5
    edge = upper_lip - TEETH_BELOW_LIP
    for row, overlap, pick in ((teeth & ~jaw, 0.0, torch.amin), (teeth & jaw, BITE, torch.amax)):
        front = row & (vertices[:, 2] > vertices[row, 2].max() - INCISORS)
        shift[row, 1] = edge + overlap - pick(vertices[front, 1], 0)
    shift[tongue, 1] = shift[teeth & jaw, 1][0]
    shift[teeth | tongue, 2] = -TEETH_BEHIND
    return shift


def _vertices_of(head_model: HeadModel, label: str) -> Tensor:
    """[V] bool."""
    part = torch.zeros_like(head_model.eye_part[0])
    part[head_model.triangles[head_model.label == LABELS.index(label)].flatten().long()] = True
    return part


@torch.no_grad()
def neutral_head(head_model: HeadModel, shape: HeadShape) -> Tensor:
    """[1, V, 3] a person without expression, who looks where their landmarks look."""
    return _moved(head_model, shape, torch.zeros(1, len(ARKIT_NAMES), device=shape.vertices.device))


def _moved(head_model: HeadModel, shape: HeadShape, scores: Tensor) -> Tensor:
    """[B, V, 3] a person with ARKit scores [B, 52], and their own gaze."""
    own_gaze = head_model.gaze_in(shape.landmarks[None], shape.vertices[None])
    return head_model(shape, scores, gaze=own_gaze + head_model.gaze_of(scores))


@torch.no_grad()
def morph_targets(head_model: HeadModel, shape: HeadShape) -> dict[str, np.ndarray]:
    """ARKit name -> [V, 3] what a score of 1 moves on this person; gaze turns the eyeballs, blinks close the lids."""
    scores = torch.eye(len(ARKIT_NAMES)).to(shape.vertices.device)
    moved = _moved(head_model, shape, scores) - neutral_head(head_model, shape)
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
