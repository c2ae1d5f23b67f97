"""Hair and clothes as a displacement: mattes say how far they stand off, people say the rest."""

import copy

import numpy as np
import pytest
import torch

from invertavatar.camera import project, rotation_from_angles
from invertavatar.head.displacement import Evidence
from invertavatar.head.head_model import LABELS
from invertavatar.head_building.displacement_building import (
    MIDDLE,
    OutlinedPhoto,
    both_sides,
    fill_displacement,
    learn_prior,
    spread_out,
)
from invertavatar.raster.rasterizer import rasterize
from tests.landmarks import mean_person

SIZE, FLIP = 128, torch.tensor([-1.0, 1.0, 1.0])
FRONT, LEFT = (rotation_from_angles(torch.tensor([yaw]))[0] for yaw in (0.0, -60.0))
WHOLE = torch.ones(1, 1, SIZE, SIZE)


@pytest.fixture(scope="module")
def head(head_model) -> torch.Tensor:
    """[V, 3] of the mean person, as it is in every photo here: the body turns along."""
    return mean_person(head_model).vertices


def drawn(head_model, vertices, rotation) -> torch.Tensor:
    """The matte [1, 1, S, S] of a mesh."""
    return rasterize(project(vertices[None], rotation[None]), head_model.triangles, SIZE).mask[:, None].float()


def grown(head_model, head, controls) -> torch.Tensor:
    """The mesh with hair."""
    part = head_model.displacement
    return head + (part.weight(head_model.mean) @ controls)[:, None] * part.direction


def dressed(head_model, vertices, evidence) -> torch.Tensor:
    """Meshes [B, V, 3] as far out as photos say."""
    return head_model.dressed(vertices, head_model.stand_off(evidence))


def apart(one, other) -> float:
    """Share of the two mattes' union that is not in both."""
    return 1 - float((one * other).sum() / torch.maximum(one, other).sum())


@pytest.fixture(scope="module")
def curls(head_model) -> torch.Tensor:
    """[C] of a person with much hair: more than three quarters of people have less."""
    part = head_model.displacement
    return part.mean + (part.spread @ part.spread.T).diagonal().sqrt()


@pytest.mark.parametrize("rotation", [FRONT, LEFT])
def test_hair_is_seen_in_the_matte(head_model, head, curls, rotation):
    matte = drawn(head_model, grown(head_model, head, curls), rotation)
    evidence = head_model.outline_evidence(head, rotation, matte, WHOLE)
    found = dressed(head_model, head[None], evidence)[0]
    assert apart(drawn(head_model, head, rotation), matte) > 0.1  # bald it is another outline
    assert apart(drawn(head_model, found, rotation), matte) < 0.04


def test_a_bald_head_stays_bald_where_it_is_seen(head_model, head):
    matte = drawn(head_model, head, FRONT)
    found = dressed(head_model, head[None], head_model.outline_evidence(head, FRONT, matte, WHOLE))[0]
    average = dressed(head_model, head[None], head_model.displacement.no_evidence())[0]
    assert apart(drawn(head_model, found, FRONT), matte) < 0.05
    assert apart(drawn(head_model, average, FRONT), matte) > 0.1


def test_what_two_sides_say_adds_up(head_model, head, curls):
    hairy = grown(head_model, head, curls)
    front, left = (head_model.outline_evidence(head, r, drawn(head_model, hairy, r), WHOLE) for r in (FRONT, LEFT))
    both = dressed(head_model, head[None], front + left)
    torch.testing.assert_close(both, dressed(head_model, head[None], left + front))
    nape = drawn(head_model, hairy, LEFT)
    alone = dressed(head_model, head[None], front)
    assert apart(drawn(head_model, both[0], LEFT), nape) < apart(drawn(head_model, alone[0], LEFT), nape)


def test_a_photo_without_pixels_says_nothing(head_model, head):
    evidence = head_model.outline_evidence(head, FRONT, 0 * WHOLE, 0 * WHOLE)
    assert not evidence.gram.any() and not evidence.target.any()
    part = head_model.displacement
    torch.testing.assert_close(part.solve(evidence), part.mean, atol=1e-3, rtol=0)


def test_how_many_threads_solve_it_changes_no_bit(head_model, head):
    evidence = head_model.outline_evidence(head, FRONT, drawn(head_model, head, FRONT), WHOLE)
    alone = head_model.displacement.solve(evidence)
    torch.set_num_threads(2)
    try:
        assert torch.equal(head_model.displacement.solve(evidence), alone) and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_face_never_moves(head_model, head, curls):
    evidence = head_model.outline_evidence(head, FRONT, WHOLE, WHOLE)
    moved = (dressed(head_model, head[None], evidence)[0] - head).norm(dim=1)
    kept = head_model.triangles[
        torch.isin(head_model.label, torch.tensor([LABELS.index(n) for n in ("lips", "teeth", "eye", "tongue")]))
    ]
    assert not moved[kept.long()].any()
    landmarks = (head_model.landmarks(dressed(head_model, head[None], evidence)) - head_model.landmarks(head[None]))[0]
    inner = [1, 4, 9, 33, 61, 133, 152, 199, 263, 291, 362]
    assert landmarks[inner].norm(dim=1).max() < 1e-3
    assert moved.max() > 0.2  # the matte is everywhere


def test_people_are_symmetrical(head_model):
    part = head_model.displacement
    twin = torch.cdist(part.control * FLIP, part.control).argmin(1)
    torch.testing.assert_close(part.mean[twin], part.mean, atol=2e-3, rtol=0)
    torch.testing.assert_close(part.control[twin] * FLIP, part.control)


def test_points_spread_out_in_pairs():
    places = np.random.default_rng(0).normal(size=(500, 3))
    places = np.concatenate([places, places * [-1, 1, 1]])
    points = spread_out(places, 31)
    assert len(points) == 31
    away = np.linalg.norm(points[:, None] - points * [-1, 1, 1], axis=-1)
    assert away.min(1).max() == 0
    between = np.linalg.norm(points[:, None] - points, axis=-1) + 9 * np.eye(31)
    assert between.min() > 2 * MIDDLE


@pytest.mark.slow
def test_the_prior_is_that_of_people_seen_in_part(head_model):
    """Each photo tells half of the control points; what they have in common is found."""
    part, generator = head_model.displacement, torch.Generator().manual_seed(0)
    count, people = len(part.mean), []
    for _ in range(300):
        volume = 0.15 + 0.1 * torch.randn((), generator=generator)  # one number, for all of the head
        known = (torch.rand(count, generator=generator) < 0.5).float() * 5
        people.append(Evidence(torch.diag(known), known * volume))
    mean, covariance = learn_prior(part, people)
    assert (mean - 0.15).abs().max() < 0.03
    correlation = covariance / (covariance.diagonal()[:, None] * covariance.diagonal()).sqrt()
    assert correlation.median() > 0.6 and 0.05 < covariance.diagonal().sqrt().median() < 0.14


@pytest.mark.slow
def test_a_displacement_is_learned_from_photos_with_mattes(head_model, head, curls):
    shape = mean_person(head_model)
    photos = []
    for rotation in (FRONT, LEFT):
        silent = torch.zeros(1, 52)
        landmarks = head_model.driven_landmarks(shape.landmarks, silent, None, rotation[None])
        seen = head_model.seen_in(shape, silent, landmarks, rotation[None])
        matte = drawn(head_model, dressed(head_model, seen, Evidence(torch.eye(90) * 1e4, curls * 1e4))[0], rotation)
        photos.append(OutlinedPhoto(landmarks, silent, rotation[None], matte, WHOLE))
    own, mirrored = both_sides(head_model, photos)
    assert own.gram.trace() == pytest.approx(mirrored.gram.trace()) and not torch.equal(own.gram, mirrored.gram)
    fresh = copy.deepcopy(head_model)
    for buffer in fresh.displacement.buffers():
        buffer.zero_()
    fresh.displacement.spread.copy_(torch.eye(90))
    fill_displacement(fresh, [photos] * 40)
    parallel = (fresh.displacement.direction * head_model.displacement.direction).sum(1)
    assert parallel[head_model.displacement.share > 0.3].min() > 0.9  # ears were moved since
    assert fresh.displacement.mean.mean() > head_model.displacement.mean.mean() + 0.01
