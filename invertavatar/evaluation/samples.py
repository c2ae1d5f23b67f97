"""The protocol `samples`: whether people of the prior look like people, differ, and stay who they are.

Shapes: N people, C channels, S side of a crop.
"""

from collections.abc import Iterable
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..avatar import Avatar
from ..camera import project
from ..errors import InvertAvatarError
from ..metrics import paper as metrics
from ..metrics.angles import angles_between
from ..metrics.perceptual import LPIPS
from ..tracking.motion import Motion
from ..training.shards import Shards
from .protocols import GREY, SIZE, Judge, Outcome, average
from .synthetic import person_over_grey

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

FRONTAL = 15.0  # degrees from the front within which a photo is compared with samples, which look ahead
TURN = 30.0  # degrees of yaw at which a sample ought to be itself still
BATCH = 16  # pictures at a time through LPIPS' network
SHOWN_SAMPLES, COLUMNS = 16, ["front", f"-{TURN:.0f}°", f"{TURN:.0f}°", "moved"]


def samples(pipe: "InvertAvatarPipeline", shards: Shards, judge: Judge, count: int, moved: int) -> Outcome:
    """People of seeds 0 to `count` - 1, rendered over grey, against as many photos of people whom no network has seen.

    Args:
        pipe: The model.
        shards: Of the photos.
        judge: Looks at them.
        count: N.
        moved: Of how many people identity and landmarks are measured, turned and moved.

    Returns:
        `frechet`, the Frechet distance between samples and photos of LPIPS' last features, pooled; `identities`, the
        same of what face recognition says; `nearest`, the mean similarity of each sample to the one most like it;
        `turned`, of a sample at +-`TURN` degrees to itself from the front; and `akd`, between the landmarks that are
        found in a frame and those it was to show, of samples moved like one of the photos each.

    Raises:
        InvertAvatarError: Fewer than two photos look ahead.
    """
    frontal = np.flatnonzero(angles_between(np.eye(3), shards.rotation) < FRONTAL)
    if len(frontal) < 2:
        raise InvertAvatarError(
            f"{len(frontal)} of the photos in these shards look ahead: there is nothing to compare."
        )
    photos = np.random.default_rng(0).permutation(frontal)[:count]
    rows, fronts, identities = [], [], []
    outcome, bar = Outcome(columns=COLUMNS), pipe.progress_bar(range(count))
    bar.set_description("Samples")
    for seed in bar:
        person = pipe.sample(seed=seed)
        fronts.append(_rendered(pipe, person, 0.0))
        front = judge.look(fronts[-1])
        if front.identity is not None:
            identities.append(front.identity)
        if seed >= moved:
            continue
        sides = [_rendered(pipe, person, yaw) for yaw in (-TURN, TURN)]
        seen = [judge.look(side).identity for side in sides]
        alike = [metrics.csim(front.identity, x) for x in seen if x is not None and front.identity is not None]
        picture, akd = _reenacted(pipe, person, shards, int(photos[seed % len(photos)]), judge)
        rows.append(({"turned": float(np.mean(alike))} if alike else {}) | akd)
        if seed < SHOWN_SAMPLES:
            outcome.sheet.append((f"seed {seed}", [fronts[-1], *sides, picture]))
    # A photo ends where a sample goes on: each sample is cut as one of the photos is.
    cuts = [shards.inside[int(face)] for face in photos]
    shown = [within(person_over_grey(shards, int(face)), cut) for face, cut in zip(photos, cuts, strict=True)]
    cut_fronts = [within(front, cut) for front, cut in zip(fronts, cycle(cuts), strict=False)]
    real = [identity for x in shown if (identity := judge.look(x).identity) is not None]
    unit, real_unit = (F.normalize(torch.from_numpy(np.stack(found)).double()) for found in (identities, real))
    scores = {
        "frechet": frechet(pooled_features(judge.lpips, cut_fronts), pooled_features(judge.lpips, shown)),
        "identities": frechet(unit, real_unit),
        "nearest": nearest(unit),
    }
    outcome.scores[""] = scores | average(rows, ("turned", "akd"))
    return outcome


def within(picture: np.ndarray, rectangle: np.ndarray) -> np.ndarray:
    """[S, S, 3] uint8 with grey outside of a rectangle: left, top, right, bottom."""
    left, top, right, bottom = rectangle
    cut = np.full_like(picture, GREY)
    cut[top:bottom, left:right] = picture[top:bottom, left:right]
    return cut


def _rendered(pipe: "InvertAvatarPipeline", person: Avatar, yaw: float) -> np.ndarray:
    """[S, S, 3] uint8 over grey."""
    picture = pipe.render(person, yaw=[yaw], height=SIZE, framing="crop", background="gray")[0]
    return np.asarray(picture)[..., :3]


def _reenacted(
    pipe: "InvertAvatarPipeline", person: Avatar, shards: Shards, face: int, judge: Judge
) -> tuple[np.ndarray, dict[str, float]]:
    """A sample with expression and pose of a face, and how far the landmarks found in it are from the driven ones."""
    rotation = torch.from_numpy(shards.rotation[face])[None]
    scores = torch.from_numpy(shards.expression[face].astype(np.float32) / 255)[None]
    motion = Motion(rotation=rotation, expression=scores)
    (picture,) = pipe.animate_stream(
        person, motion=motion, relative_motion=False, height=SIZE, framing="crop", background="gray"
    )
    found = judge.look(picture)
    if found.track is None:
        return picture, {}
    head_model, neutral = pipe.head_model, person.shape.landmarks
    still = scores.new_zeros(1, len(head_model.residual_region))
    driven = head_model.driven_landmarks(neutral, *(x.to(neutral.device) for x in (scores, still, rotation)))
    places = (project(driven, rotation.to(neutral.device))[0, :, :2].cpu().numpy() + 1) * SIZE / 2
    return picture, {"akd": metrics.akd(found.track.landmarks, places, SIZE)}


@torch.no_grad()
def pooled_features(lpips: LPIPS, pictures: Iterable[np.ndarray]) -> Tensor:
    """The last features of LPIPS' network, averaged over each picture [S, S, 3] uint8: [N, C] float64."""
    found, pictures = [], iter(pictures)
    while batch := list(islice(pictures, BATCH)):
        x = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).to(lpips.shift.device) / 127.5 - 1
        found.append(lpips.activations(x)[-1].mean((2, 3)).double().cpu())
    return torch.cat(found)


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared Frechet distance between the normal distributions that fit features [N, C] and [M, C] best."""
    (mean, covariance), (other_mean, other_covariance) = ((x.mean(0), x.T.cov()) for x in (one, other))
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    spread = covariance.trace() + other_covariance.trace() - 2 * between
    return float((mean - other_mean).square().sum() + spread)


def nearest(identities: Tensor) -> float:
    """The mean similarity of each of N identities [N, C] of length 1 to the one most like it."""
    return float((identities @ identities.T).fill_diagonal_(-1).amax(1).mean())
