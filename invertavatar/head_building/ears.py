"""Ears where people have them: MakeHuman's lie below and before those that profiles show on tracked heads.

Shapes: V vertices, F triangles, n ears.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ..camera import angles_from_rotation
from ..head.head_model import LABELS, HeadModel
from ..tracking.tracker import Track

FADE = 0.12  # head units around an ear over which the skin goes along
HELD = 0.04  # head units around landmarks over which the skin stays
ROUNDS = 3  # as a person's own warp takes some of the way back


@torch.no_grad()
def ear_offset(model: HeadModel, track: Track, box: Sequence[float]) -> np.ndarray:
    """How far the ear that a turned photo shows lies behind and above where the model has it: [2] head units.

    Args:
        model: The head model, fitted to this photo alone.
        track: The photo's.
        box: Of the ear in the photo: left, top, right and bottom in pixels.
    """
    rotation, landmarks, scores = (
        torch.from_numpy(x)[None] for x in (track.rotation, track.vertices, track.expression)
    )
    yaw = float(angles_from_rotation(rotation)[0, 0])
    shape = model.shape(model.without_expression(model.unbiased(landmarks, rotation), scores)[0], 1)
    ears = ear_vertices(model)
    ear = ears[model.mean[ears, 0] * yaw < 0]  # a face that looks to the right shows its left side, the picture's left
    seen = model.seen_in(shape, scores, landmarks, rotation)[0, ear] @ rotation[0].mT
    middle = (seen.amax(0) + seen.amin(0))[:2].numpy() / 2
    wanted = ((np.array(box[:2]) + np.array(box[2:])) / 2 - track.centre) / track.scale * [1, -1]
    return (wanted - middle) * [-np.sign(yaw), 1]


@torch.no_grad()
def place_ears(model: HeadModel, tracks: Sequence[Track], boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Move the ears of the mean head to where photos of turned heads have theirs on average.

    Args:
        model: Its mean is changed in place.
        tracks: Of n photos.
        boxes: Of the ear in each, see `ear_offset`.

    Returns:
        [2] by how much they were moved back and up, head units.
    """
    rotations = torch.from_numpy(np.stack([track.rotation for track in tracks]))
    turned = angles_from_rotation(rotations)[:, 0].deg2rad().sin().abs().mean()  # how much of depth the photos show
    free = model.triangles[
        torch.isin(model.label, torch.tensor([LABELS.index("scalp"), LABELS.index("neck")]))
    ].unique()
    away = torch.cdist(model.mean[free.long()], model.mean[ear_vertices(model)]).amin(1)
    weight = torch.zeros_like(model.mean[:, :1])
    weight[free.long()] = (1 - away / FADE).clamp(min=0)[:, None]
    weight[ear_vertices(model)] = 1
    held = model.mean[model.landmark_vertex.unique().long()]  # the face stays, also where landmarks lie on an ear
    weight *= (torch.cdist(model.mean, held).amin(1, keepdim=True) / HELD).clamp(max=1)
    whole = np.zeros(2)
    for _ in range(ROUNDS):
        off = np.mean([ear_offset(model, *ear) for ear in zip(tracks, boxes, strict=True)], 0) / [float(turned), 1]
        model.mean += weight * torch.tensor([0, off[1], -off[0]], dtype=model.mean.dtype)
        whole += off
    return whole


def ear_vertices(model: HeadModel) -> torch.Tensor:
    """Numbers of the vertices of both ears."""
    return model.triangles[model.label == LABELS.index("ear")].unique().long()
