"""How well the head model fits people: landmarks step by step, turned faces, lids, and the skull against mattes.

Shapes: T frames of a person, L 478 landmarks, V vertices, S side of a crop.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..head.arkit import ARKIT_NAMES
from ..head.fitting import HeadShape
from ..head.head_model import HeadModel
from ..head.landmark_topology import LID_GAPS
from ..head_building.building import FRONTAL, tracker_bias
from ..head_building.tracked_person import TrackedPerson
from ..raster.rasterizer import rasterize

TURNED = 30.0  # degrees of yaw from which a face is turned
LEAST_FRAMES = 3  # turned or frontal ones that a person needs to be measured there
STICKS_OUT = 2.0  # % of the face's height by which an outline may leave the matte


class PersonFit(NamedTuple):
    """Errors of one person in % of the face's height, in the picture plane; lid gaps in % of it too."""

    steps: dict[str, float]
    lid_gaps: tuple[float, float]  # at eyeBlink 1, right and left


def face_height(model: HeadModel) -> float:
    """Chin to the top of the forehead of the mean head, head units."""
    landmarks = model.landmarks(model.mean)
    return float(landmarks[10, 1] - landmarks[152, 1])


@torch.no_grad()
def fit_person(model: HeadModel, person: TrackedPerson) -> PersonFit:
    """One neutral head over all frames of a person, driven by their scores."""
    landmarks, scores, yaw = unbiased_tracks(model, person)
    mean = model.landmarks(model.mean)
    neutral = model.without_expression(landmarks, scores).mean(0)
    unwarped, shape = model.identity(neutral), model.shape(neutral * len(landmarks), len(landmarks))
    driven = model(shape, scores)
    gaze = model.gaze_in(landmarks, driven)
    steps = {
        "mean head": mean.expand_as(landmarks),
        "+ identity": model.landmarks(model.identity(landmarks.mean(0))[0]).expand_as(landmarks),
        "+ expression, without the neutral's warp": model.landmarks(unwarped[0]) + model.moved_landmarks(scores),
        "+ expression": model.landmarks(driven),
        "+ per-frame warp, fading with yaw": model.landmarks(model(shape, scores, None, landmarks, yaw, gaze)),
        "+ per-frame warp, whole": model.landmarks(model(shape, scores, None, landmarks, torch.zeros_like(yaw), gaze)),
    }
    scale = 100 / face_height(model)
    errors = {name: float((landmarks - at)[..., :2].norm(dim=-1).mean()) * scale for name, at in steps.items()}
    gaps = []
    for side, (upper, lower) in zip(("Right", "Left"), LID_GAPS, strict=True):
        blink = torch.zeros(1, len(ARKIT_NAMES))
        blink[0, ARKIT_NAMES.index(f"eyeBlink{side}")] = 1
        closed = model.landmarks(model(shape, blink))[0]
        gaps.append(float(closed[upper, 1] - closed[lower, 1]) * scale)
    return PersonFit(errors, tuple(gaps))


def unbiased_tracks(model: HeadModel, person: TrackedPerson) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks [T, L, 3] without the tracker's bias, scores [T, 52] and yaw [T] of a person's frames."""
    yaw = torch.from_numpy(person.angles[:, 0]).float()
    landmarks, scores, rotation = (
        torch.from_numpy(x).float() for x in (person.vertices, person.expression, person.rotation)
    )
    return model.unbiased(landmarks, rotation), scores, yaw


@torch.no_grad()
def turned_errors(
    model: HeadModel, people: dict[str, TrackedPerson], others: Sequence[TrackedPerson], mirror: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Faces fitted below `FRONTAL` and tested above `TURNED` degrees: person -> % of the face's height, with the bias
    left in and taken out. The bias is learned anew for each person, from the others.
    """
    kept, errors = model.tracker_bias.clone(), {}
    for name, person in people.items():
        yaw = torch.from_numpy(np.abs(person.angles[:, 0]))
        frontal, turned = yaw < FRONTAL, yaw > TURNED
        if min(frontal.sum(), turned.sum()) < LEAST_FRAMES:
            continue
        pair = []
        learned = tracker_bias(model, [p for p in (*people.values(), *others) if p is not person], mirror)
        for bias in (torch.zeros_like(kept), torch.from_numpy(learned).to(kept)):
            model.tracker_bias.copy_(bias)
            landmarks, scores, _ = unbiased_tracks(model, person)
            shape = model.shape(
                model.without_expression(landmarks[frontal], scores[frontal]).sum(0), int(frontal.sum())
            )
            off = landmarks[turned] - model.landmarks(model(shape, scores[turned]))
            seen = off @ torch.from_numpy(person.rotation).float()[turned].mT
            pair.append(float(seen[..., :2].norm(dim=-1).mean()) * 100 / face_height(model))
        errors[name] = tuple(pair)
    model.tracker_bias.copy_(kept)
    return errors


@torch.no_grad()
def crown_outside(
    model: HeadModel,
    person: TrackedPerson,
    picture: Callable[[int], tuple[np.ndarray, np.ndarray]],
    frames: Sequence[int],
    bounded: bool = True,
) -> np.ndarray:
    """Signed distances of the crown's outline from the mattes, in % of the face's height; above 0 it sticks out.

    Args:
        model: The head model.
        person: Whose neutral is fitted over all frames.
        picture: Frame -> matte [S, S] uint8 and real pixels [S, S] bool of its crop.
        frames: Those that are measured; the skull is bounded by the first of them alone.
        bounded: False leaves the skull as it is.
    """
    landmarks, scores, _ = unbiased_tracks(model, person)
    person_sum = model.without_expression(landmarks, scores).sum(0), len(landmarks)
    shape = model.shape(*person_sum)
    if bounded:
        matte, valid = (torch.from_numpy(x.astype(np.float32))[None, None] for x in picture(frames[0]))
        rotation = torch.from_numpy(person.rotation[frames[0]]).float()
        shape = model.shape(*person_sum, model.crown_height(shape, rotation, matte / 255, valid))
    return np.concatenate([_outline(model, shape, person, scores, *picture(i), i) for i in frames])


def _outline(
    model: HeadModel,
    shape: HeadShape,
    person: TrackedPerson,
    scores: Tensor,  # [T, 52]
    matte: np.ndarray,
    valid: np.ndarray,
    frame: int,
) -> np.ndarray:
    """The distances of `crown_outside`, of one frame."""
    size = len(matte)
    vertices = model(shape, scores[frame : frame + 1])[0] @ torch.from_numpy(person.rotation[frame]).float().T
    drawn = rasterize((vertices * torch.tensor([1.0, -1.0, 1.0]))[None], model.triangles, size).triangle[0].numpy()
    crown = (model.crown_weight[model.triangles].min(1).values > 0.99).numpy()  # a triangle's
    head = drawn >= 0
    edge = head & np.logical_not(ndimage.binary_erosion(head)) & crown[drawn.clip(min=0)]
    inside = matte > 127
    outward, inward = (np.asarray(ndimage.distance_transform_edt(side)) for side in (~inside, inside))
    trusted = ndimage.binary_erosion(valid, iterations=4)
    trusted[:4] = trusted[-4:] = trusted[:, :4] = trusted[:, -4:] = False
    return (outward - inward)[edge & trusted] / (size / 2) * 100 / face_height(model)
