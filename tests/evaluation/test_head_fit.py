"""Measuring how well the head model fits, on people that the model itself makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.evaluation.head_fit import crown_outside, fit_person, turned_errors
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head_building.tracked_person import TrackedPerson

YAWS = (-45.0, -38.0, -33.0, -10.0, -4.0, 0.0, 5.0, 9.0, 34.0, 41.0)


@pytest.fixture(scope="module")
def person(head_model) -> TrackedPerson:
    """Somebody of the identity space, tracked without error but for the bias that all faces have."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.randn(len(head_model.identity_std), generator=generator) * head_model.identity_std
    vertices = head_model.mean + torch.einsum("k,kvc->vc", axes, head_model.identity_basis)
    shape = head_model.shape(head_model.landmarks(vertices), 1)
    scores = torch.rand(len(YAWS), len(ARKIT_NAMES), generator=generator) * 0.2
    rotation = rotation_from_angles(torch.tensor(YAWS))
    biased = head_model.landmarks(head_model(shape, scores)) + head_model.bias(rotation)
    return TrackedPerson(biased.numpy(), scores.numpy(), rotation.numpy())


def test_each_step_explains_more_of_a_person(head_model, person):
    fit = fit_person(head_model, person)
    mean, identity, unwarped, expression, fading, whole = fit.steps.values()
    assert mean > 2 * identity > 4 * unwarped
    assert max(expression, fading, whole) < 0.1
    assert max(map(abs, fit.lid_gaps)) < 0.3


def test_turned_faces_are_nearer_once_the_bias_of_others_is_taken_out(head_model, person):
    kept = head_model.tracker_bias.clone()
    mirror = np.arange(478)
    ((with_bias, without),) = turned_errors(head_model, {"a": person}, [replace(person)], mirror).values()
    assert without < 0.6 * with_bias
    assert torch.equal(head_model.tracker_bias, kept)


def test_a_bounded_crown_stays_inside_of_a_matte_that_is_lower(head_model, person):
    size, frontal = 256, YAWS.index(0.0)
    person = replace(person, vertices=person.vertices - np.float32([0, 0.25, 0]))  # so that the crop holds the crown
    neutral = head_model.without_expression(*map(torch.from_numpy, (person.vertices, person.expression)))
    shape = head_model.shape(neutral.sum(0), len(neutral))
    limit = float(shape.vertices[:, 1].max()) - 0.1
    up = 1 - (np.arange(size) + 0.5) * (2 / size)
    matte = np.repeat((up < limit)[:, None], size, 1).astype(np.uint8) * 255
    valid = np.ones((size, size), bool)
    free, bounded = (crown_outside(head_model, person, lambda _: (matte, valid), [frontal], b) for b in (False, True))
    assert free.max() > 6
    assert bounded.max() < 2
