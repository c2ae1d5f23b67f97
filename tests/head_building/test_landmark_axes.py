"""What tracks teach about landmarks: each step against made-up faces whose truth is known, then all of it together."""

import numpy as np
import pytest

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head_building.landmark_axes import (
    FLIP,
    MIRRORED_AXES,
    Pictures,
    fit_expression,
    learn_axes,
    per_person_mean,
    principal_axes,
    symmetric,
)
from invertavatar.head_building.landmark_regions import GUESSES, expression_guess, expression_support, region_weights
from invertavatar.head_building.tracked_person import TrackedPerson
from tests.head_building.conftest import PICTURES, TRUE_AXES

JAW, BLINK = (ARKIT_NAMES.index(name) for name in ("jawOpen", "eyeBlinkRight"))


@pytest.fixture(scope="module")
def learned(people, mirror, mean):
    return learn_axes(people, mirror, mean, {"eyes": 2, "lip": 3, "other": 2})


def pictures(vertices, scores, angles) -> Pictures:
    """Of one person."""
    count = len(scores)
    straight, whose = np.tile(np.eye(3), (count, 1, 1)), np.zeros(count, np.int64)
    return Pictures(vertices, scores, straight, angles, whose, np.ones(count, bool))


# The steps


def test_the_average_of_each_person_is_taken_over_that_person_s_pictures_only():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 0.0]])
    np.testing.assert_array_equal(per_person_mean(values, np.array([0, 0, 1])), [[2, 3], [10, 0]])


def test_a_symmetric_shape_is_its_own_mirror_image_and_a_second_time_changes_nothing(mirror):
    shape = np.random.default_rng(0).normal(size=(478, 3))
    once = symmetric(shape, mirror)
    np.testing.assert_allclose(once[mirror] * FLIP, once, atol=1e-12)
    np.testing.assert_allclose(symmetric(once, mirror), once, atol=1e-12)


def test_principal_axes_are_the_directions_and_sizes_that_samples_were_drawn_with():
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(30, 3)))[0].T.reshape(3, 10, 3)
    samples = np.einsum("nk,kvc->nvc", random.normal(size=(4000, 3)) * [3, 1, 0.2], directions)
    axes, std = principal_axes(samples, 3)
    np.testing.assert_allclose(std, [3, 1, 0.2], rtol=0.05)
    np.testing.assert_allclose(np.abs(np.einsum("kvc,kvc->k", axes, directions)), 1, atol=1e-2)


def test_region_weights_share_each_landmark_out_between_eyes_lips_and_the_rest(mean):
    weights = region_weights(mean)
    np.testing.assert_allclose(sum(weights.values()), 1, atol=1e-6)
    assert all((w > -1e-6).all() and (w < 1 + 1e-6).all() for w in weights.values())
    for landmark, region in ((159, "eyes"), (386, "eyes"), (336, "eyes"), (14, "lip"), (152, "lip"), (4, "other")):
        assert weights[region][landmark] > 0.8
    for outline in (10, 127, 234, 356, 454):  # of the face: it wobbles, and would fill the axes of the eyes
        assert weights["other"][outline] > 0.8


def test_regression_finds_the_axes_that_moved_the_faces(mean, mirror, truth):
    random = np.random.default_rng(0)
    scores = np.zeros((1500, 52))
    scores[:, TRUE_AXES] = random.uniform(0, 1, (1500, len(TRUE_AXES)))
    vertices = mean + np.einsum("nk,kvc->nvc", scores, truth)
    basis = fit_expression(pictures(vertices, scores, random.normal(0, 9, (1500, 3))), mean, mirror, ridge=1e-4)
    for axis in TRUE_AXES:
        assert np.abs(basis[axis] - truth[axis]).max() < 0.05 * np.abs(truth[axis]).max()


def test_a_deformation_that_goes_with_the_view_is_not_taken_for_part_of_an_expression(mean, mirror):
    random = np.random.default_rng(0)
    scores = np.zeros((800, 52))
    scores[:, JAW] = random.uniform(0, 1, 800)
    pitch = 20 * scores[:, JAW] + random.normal(0, 5, 800)  # who opens the mouth lifts the head
    angles = np.stack([np.zeros(800), pitch, np.zeros(800)], 1)
    stretch = np.zeros((478, 3))
    stretch[:, 1] = 0.02
    faces = pictures(mean + pitch[:, None, None] / 30 * stretch, scores, angles)
    basis = fit_expression(faces, mean, mirror)
    assert np.abs(basis[JAW]).max() < 0.004  # 0.013 where the view is left out of the regression


def test_axes_about_which_the_scores_say_nothing_keep_their_guess(mean, mirror):
    scores = np.zeros((50, 52))
    still = np.broadcast_to(mean, (50, 478, 3))
    basis = fit_expression(pictures(still, scores, np.zeros((50, 3))), mean, mirror)
    np.testing.assert_allclose(basis, expression_guess(mean), atol=1e-5)


def test_guesses_and_supports_of_left_and_right_axes_mirror_each_other(mean, mirror):
    guess, support = expression_guess(mean), expression_support(mean)
    np.testing.assert_allclose(guess[MIRRORED_AXES][:, mirror] * FLIP, guess, atol=1e-5)
    np.testing.assert_allclose(support[MIRRORED_AXES][:, mirror], support, atol=1e-5)
    assert (support >= -1e-6).all() and (support <= 1 + 1e-6).all()
    for name, bumps in GUESSES.items():
        for landmark, displacement, _ in bumps:
            np.testing.assert_allclose(guess[ARKIT_NAMES.index(name), landmark], displacement, atol=0.003)


def test_a_blink_has_no_support_on_irises_lips_and_the_other_eye(mean):
    support = expression_support(mean)[BLINK]
    assert support[159] > 0.9
    assert support[[386, 14, 61, 468, 473]].max() < 0.05


# Everything together


@pytest.mark.parametrize("axis", TRUE_AXES, ids=lambda axis: ARKIT_NAMES[axis])
def test_learning_finds_the_expressions_that_moved_the_faces(learned, truth, axis):
    found, true = learned.expression[axis].ravel(), truth[axis].ravel()
    assert found @ true / np.linalg.norm(found) / np.linalg.norm(true) > 0.9
    assert 0.6 < found @ true / (true @ true) < 1.1  # the ridge holds a short regression back


def test_expressions_and_residuals_explain_nearly_all_that_moves(learned, people):
    moved = np.stack([p.vertices - p.vertices.mean(0) for p in people]).reshape(-1, 478, 3)
    scores = np.stack([p.expression - p.expression.mean(0) for p in people]).reshape(-1, 52)
    left = moved - np.einsum("nk,klc->nlc", scores, learned.expression)
    residual = learned.residual.reshape(len(learned.residual), -1)
    flat = left.reshape(len(left), -1)
    remainder = flat - flat @ np.linalg.pinv(residual) @ residual
    sizes = [np.sqrt(np.mean(x**2)) for x in (moved, left, remainder)]
    assert sizes[0] > 2 * sizes[1] > 2.2 * sizes[2]
    assert learned.residual_regions == {"eyes": 2, "lip": 3, "other": 2} and len(learned.residual_std) == 7


def test_photos_of_a_person_teach_no_expression(people, mirror, mean):
    still = [TrackedPerson(p.vertices, p.expression, p.rotation, np.zeros(PICTURES, bool)) for p in people[1:]]
    with_photos = learn_axes([people[0], *still], mirror, mean, {"eyes": 2}).expression
    np.testing.assert_allclose(with_photos, learn_axes(people[:1], mirror, mean, {"eyes": 2}).expression, atol=1e-6)
