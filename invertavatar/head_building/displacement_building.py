"""Makes a `Displacement`: where a head may stand off and which way, and how far people's heads do.

Shapes: V vertices, F triangles, C control points, N people, H side of a crop.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from ..head.displacement import Displacement, Evidence
from ..head.head_model import LABELS, HeadModel
from ..raster.mesh import vertex_normals

NEVER = ("lips", "mouth", "teeth", "tongue", "eye")
EAR_WEIGHT = 0.25  # of an ear: hair lies over it, yet seldom moves it
SMOOTHING, KEPT = 60, 0.3  # rounds in which directions are averaged with their neighbours', and what each keeps
RAMP, FOREHEAD_HEIGHT, CHEEK = (
    12,
    0.45,
    0.45,
)  # rounds over which the scalp's share fades into the face; above it and behind it
FRONT_OF_NECK, BACK_OF_NECK = 0.75, -0.25  # forward part of the direction from which a neck is free, or all hair's
CUT, CUT_FADE = (1.15, -1.15), (0.2, 0.15)  # |x| and y beyond which the shoulders' cut edge tells nothing
# The prior over people where there are few: what one person departs by, over which distance, and its worth in people.
CONTROL_SPREAD, KINSHIP, WORTH = 0.06, 0.35, 25.0
MEAN, MEAN_WORTH = 0.04, 10.0  # the displacement that is expected before anybody is seen
ROUNDS = 30
MIDDLE = 0.03  # head units from the plane of symmetry within which a control point has no twin


class OutlinedPhoto(NamedTuple):
    """A tracked photo with its matte."""

    landmarks: torch.Tensor  # [1, L, 3] as tracked
    expression: torch.Tensor  # [1, 52]
    rotation: torch.Tensor  # [1, 3, 3] head -> camera
    matte: torch.Tensor  # [1, 1, H, H] in 0..1
    inside: torch.Tensor  # [1, 1, H, H] in 0..1


def fill_displacement(model: HeadModel, people: Iterable[Sequence[OutlinedPhoto]]) -> None:
    """Give a head model, complete but for this, its displacement.

    Args:
        model: The head model.
        people: Photos of each person, from as many sides as there are.
    """
    part, mean = model.displacement, model.mean.numpy().astype(np.float64)
    triangles, label = model.triangles.numpy().astype(np.int64), model.label.numpy()
    skin = np.zeros(len(mean), bool)
    skin[triangles[~np.isin(label, [LABELS.index(name) for name in NEVER])]] = True
    around = neighbour_mean(triangles, skin)
    ear = of_label(triangles, label, "ear") & ~of_label(triangles, label, "face", "scalp", "neck")
    direction = smooth_directions(mean, triangles, skin, ear, around)
    share = standing_off(mean, triangles, label, direction, around)
    control = spread_out(mean[share > 0.3], len(part.control))
    for name, array in {"direction": direction, "share": share, "control": control}.items():
        getattr(part, name).copy_(torch.from_numpy(array))
    learned = learn_prior(part, [evidence for photos in people for evidence in both_sides(model, photos)])
    part.mean.copy_(learned[0])
    part.spread.copy_(torch.linalg.cholesky(learned[1]))


def of_label(triangles: np.ndarray, label: np.ndarray, *names: str) -> np.ndarray:
    """[V] bool: the vertices of triangles of these labels."""
    vertices = np.zeros(triangles.max() + 1, bool)
    vertices[triangles[np.isin(label, [LABELS.index(name) for name in names])]] = True
    return vertices


def neighbour_mean(triangles: np.ndarray, skin: np.ndarray) -> sparse.csr_matrix:
    """[V, V] that averages over a vertex' neighbours on the skin."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = pairs[skin[pairs].all(1)]
    graph = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(skin),) * 2).tocsr()
    graph = ((graph + graph.T) > 0).astype(np.float64)
    return sparse.diags(1 / np.asarray(graph.sum(1)).ravel().clip(1)) @ graph


def smooth_directions(
    mean: np.ndarray,  # [V, 3]
    triangles: np.ndarray,
    skin: np.ndarray,  # [V] bool
    ear: np.ndarray,  # [V] bool
    around: sparse.csr_matrix,  # [V, V] from `neighbour_mean`
) -> np.ndarray:
    """[V, 3] the skin's normals without its small folds; ears take those of the skin around them."""
    normal = vertex_normals(mean, triangles).astype(np.float64)
    normal[ear | ~skin] = 0
    for _ in range(SMOOTHING):
        normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-9)
        averaged = around @ normal
        normal = np.where(ear[:, None], averaged, KEPT * normal + (1 - KEPT) * averaged)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-9)


def standing_off(
    mean: np.ndarray,  # [V, 3]
    triangles: np.ndarray,
    label: np.ndarray,  # [F]
    direction: np.ndarray,  # [V, 3]
    around: sparse.csr_matrix,  # [V, V] from `neighbour_mean`
) -> np.ndarray:
    """[V] in 0..1 how far each vertex may stand off: scalp and torso wholly, the neck at its sides, the face not."""
    share = of_label(triangles, label, "scalp", "torso").astype(np.float64)
    neck, ear = of_label(triangles, label, "neck"), of_label(triangles, label, "ear")
    sideways = (FRONT_OF_NECK - direction[:, 2]) / (FRONT_OF_NECK - BACK_OF_NECK)
    share[neck] = smoothstep(sideways[neck])
    share[ear] = EAR_WEIGHT
    face = of_label(triangles, label, "face", "lips") & ~of_label(triangles, label, "scalp", "torso", "neck", "ear")
    share[face] = 0
    ramp = ~(face & ((mean[:, 1] < FOREHEAD_HEIGHT) | (mean[:, 2] > CHEEK)))
    for _ in range(RAMP):
        share = np.where(ramp, around @ share, share)
    edge = np.column_stack([CUT[0] - np.abs(mean[:, 0]), mean[:, 1] - CUT[1]]) / CUT_FADE
    return share * smoothstep(edge).prod(1)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def spread_out(places: np.ndarray, count: int) -> np.ndarray:
    """[count, 3] of places as far from each other as there are, from the highest on, symmetric to the bit."""
    middle = np.abs(places[:, 0]) < MIDDLE
    places = places[middle | (places[:, 0] > 0)] * np.where(middle[middle | (places[:, 0] > 0), None], [0, 1, 1], 1)
    away = np.full(len(places), np.inf)
    chosen = [places[places[:, 1].argmax()] * [0, 1, 1]]
    while len(chosen) < count:
        for place in chosen[-2:]:
            away = np.minimum(away, np.linalg.norm(places - place, axis=1))
        fits = away if len(chosen) < count - 1 else np.where(places[:, 0] == 0, away, -1)
        place = places[fits.argmax()]
        chosen += [place] if place[0] == 0 else [place, place * [-1, 1, 1]]
    return np.array(chosen)


@torch.no_grad()
def both_sides(model: HeadModel, photos: Sequence[OutlinedPhoto]) -> list[Evidence]:
    """What the photos of a person say, and the same of the person in a mirror."""
    straight = (model.without_expression(model.unbiased(p.landmarks, p.rotation), p.expression)[0] for p in photos)
    neutral = reduce(torch.add, straight)
    shape = model.shape(neutral, len(photos))
    crown = min(model.crown_height(shape, p.rotation[0], p.matte, p.inside) for p in photos)
    shape = model.shape(neutral, len(photos), crown)
    whole = model.displacement.no_evidence()
    for photo in photos:
        vertices = model.seen_in(shape, photo.expression, photo.landmarks, photo.rotation)[0]
        whole += model.outline_evidence(vertices, photo.rotation[0], photo.matte, photo.inside)
    swap = torch.cdist(model.displacement.control * torch.tensor([-1.0, 1, 1]), model.displacement.control).argmin(1)
    return [whole, Evidence(whole.gram[swap][:, swap], whole.target[swap])]


def learn_prior(part: Displacement, evidence: Sequence[Evidence]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [C] and covariance [C, C] over people of whom photos tell a part each (expectation maximization)."""
    control, count = part.control.double(), len(evidence)
    kernel = (-torch.cdist(control, control).square() / (2 * KINSHIP**2)).exp()
    believed = (kernel + 0.02 * torch.eye(len(control))) * CONTROL_SPREAD**2
    noise = part.noise**2
    mean, covariance = torch.full_like(control[:, 0], MEAN), believed * 2
    for _ in range(ROUNDS):
        inverse = torch.linalg.inv(covariance)
        likely, doubt = [], torch.zeros_like(covariance)
        for said in evidence:
            spread = torch.linalg.inv(said.gram.double() / noise + inverse)
            likely.append(spread @ (said.target.double() / noise + inverse @ mean))
            doubt += spread
        likely = torch.stack(likely)
        mean = (likely.sum(0) + MEAN_WORTH * MEAN) / (count + MEAN_WORTH)
        apart = likely - mean
        covariance = (apart.mT @ apart + doubt + WORTH * believed) / (count + WORTH)
    return mean.float(), covariance.float()
