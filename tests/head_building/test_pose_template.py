"""The tracker's template learned from tracks."""

import numpy as np
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.landmark_topology import LEFT_EYE, RIGHT_EYE
from invertavatar.head.pose import PoseTemplate
from invertavatar.head_building.landmark_axes import FLIP, symmetric
from invertavatar.head_building.pose_template import laid_on, learn_template, rigid_weights
from invertavatar.head_building.tracked_person import TrackedPerson


def test_the_pose_fit_trusts_what_stays_put_and_neither_irises_nor_what_moves(mirror):
    spread = np.full(478, 0.002)
    spread[[14, 17]] = 0.05
    spread[263] = 0.05  # on one side only: both sides count alike
    weights = rigid_weights(spread, mirror)
    assert weights.max() == 1 and (weights >= 0).all()
    assert (weights[468:] == 0).all() and (weights[[14, 17, 33, 263]] == 0).all()
    assert weights[list(LEFT_EYE[1:] + RIGHT_EYE[1:])].max() < 0.25
    np.testing.assert_allclose(weights, weights[mirror])


def test_another_template_takes_pose_size_and_place_away_anew(mean):
    turn = rotation_from_angles(20.0, -10.0, 5.0).numpy()
    tilted = TrackedPerson(1.3 * mean[None] @ turn.T + 0.1, np.zeros((1, 52)), np.eye(3, dtype=np.float32)[None])
    laid = laid_on(tilted, PoseTemplate(mean.astype(np.float32), np.ones(478, np.float32)))
    np.testing.assert_allclose(laid.vertices[0], mean, atol=1e-4)
    np.testing.assert_allclose(laid.all_angles[0], [20, -10, 5], atol=0.01)


def test_the_learned_template_is_symmetrical_and_lies_where_the_first_guess_is_even_if_that_is_tilted(
    mean,
    mirror,
    people,
):
    tilted = mean @ rotation_from_angles(0.0, 0.0, 3.0).numpy().T + np.array([0.01, 0, 0], np.float32)
    guess = PoseTemplate(tilted.astype(np.float32), np.ones(478, np.float32))
    learned = learn_template(people, mirror, guess, rounds=1)
    np.testing.assert_allclose(learned.mean[mirror] * FLIP, learned.mean, atol=2e-4)
    assert np.abs(learned.mean - symmetric(tilted, mirror)).max() < 0.12  # six people are not everybody
    assert learned.rigid.max() == 1 and not learned.rigid[468:].any()
    assert torch.from_numpy(learned.rigid).bool().sum() > 50
