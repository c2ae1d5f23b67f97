import math

import numpy as np
import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.metrics import paper as metrics
from invertavatar.metrics.auxiliary import find_auxiliary
from invertavatar.metrics.perceptual import LPIPS
from invertavatar.tracking.crop import framing, warp
from invertavatar.tracking.tracker import Track


def network(load):
    """An auxiliary network, which only a development machine has."""
    try:
        return load()
    except InvertAvatarError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lpips():
    return network(LPIPS.from_file)


@pytest.fixture(scope="module")
def recognizer():
    return network(metrics.FaceRecognizer)


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def track(rotation=None, expression=None):
    rotation = np.eye(3, dtype=np.float32) if rotation is None else rotation
    expression = np.zeros(52, np.float32) if expression is None else expression
    points = np.zeros((478, 3), np.float32)
    return Track(points, expression, rotation, 100.0, np.zeros(2, np.float32), points, (256, 256), 1)


# Pixels


def test_a_difference_of_a_tenth_everywhere_is_20_db_and_an_l1_of_a_tenth(pictures):
    pictures = 0.9 * pictures
    torch.testing.assert_close(metrics.psnr(pictures + 0.1, pictures), torch.full((2,), 20.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(metrics.l1(pictures + 0.1, pictures), torch.full((2,), 0.1))


def test_equal_pictures_have_a_finite_psnr_of_100_db(pictures):
    assert metrics.psnr(pictures, pictures).tolist() == [100, 100]


# LPIPS


def test_lpips_agrees_with_the_package_lpips_on_a_known_pair(lpips):
    # The number is what lpips 0.1.4 prints for these two, a ramp to the right and a ramp downwards.
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    assert lpips(ramp, ramp.mT).item() == pytest.approx(0.510936, abs=1e-5)


def test_lpips_is_symmetric_and_zero_for_equal_pictures():
    torch.manual_seed(0)
    lpips, (x, y) = LPIPS(), torch.rand(2, 1, 3, 64, 64) * 2 - 1
    assert lpips(x, x).item() == 0
    assert lpips(x, y).item() == pytest.approx(lpips(y, x).item(), abs=1e-6)


def test_the_gradient_of_lpips_reaches_the_picture_and_not_the_weights():
    torch.manual_seed(0)
    lpips, picture = LPIPS(), torch.zeros(1, 3, 64, 64, requires_grad=True)  # even where all features are equal
    lpips(picture, torch.rand(1, 3, 64, 64)).sum().backward()
    assert torch.isfinite(picture.grad).all() and (picture.grad != 0).any()
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_lpips_of_a_batch_is_that_of_its_pictures():
    torch.manual_seed(0)
    lpips, x, y = LPIPS(), torch.rand(3, 3, 64, 64), torch.rand(3, 3, 64, 64)
    single = torch.cat([lpips(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(lpips(x, y), single, rtol=1e-4, atol=1e-6)


# Identity


def test_five_points_are_the_eyes_middles_the_nose_and_the_mouth_corners_right_side_first():
    landmarks = np.stack([np.arange(478.0), 2 * np.arange(478.0), np.zeros(478)], -1)
    middles = (33 + 133) / 2, (362 + 263) / 2
    np.testing.assert_allclose(metrics.five_points(landmarks)[:, 0], [*middles, 1, 61, 291])


def test_the_identity_does_not_depend_on_how_the_photo_is_framed(recognizer, face_tracker, example):
    def identity(image):
        return recognizer.embed(image, face_tracker.detect(image).landmarks)

    photo = example("ben_1")
    tilted = warp(photo, framing(np.array([384.0, 384.0]), 420, 512, roll=15), (512, 512))
    assert metrics.csim(identity(photo), identity(tilted)) > 0.9


def test_two_frames_of_a_person_are_nearer_to_each_other_than_to_another_person(recognizer, face_tracker, example):
    anna, again, ben = (
        recognizer.embed(image, face_tracker.detect(image).landmarks)
        for image in (example(name) for name in ("anna_1", "anna_3", "ben_1"))
    )
    assert metrics.csim(anna, again) > 0.3 > metrics.csim(anna, ben)


def test_csim_is_the_cosine_whatever_the_lengths():
    assert metrics.csim(np.array([2.0, 0]), np.array([3.0, 3])) == pytest.approx(math.sqrt(0.5))


# Landmarks


def test_akd_of_a_shift_is_its_length_in_percent_of_the_side():
    points = np.random.default_rng(0).random((478, 3)) * 200
    assert metrics.akd(points + [3, 4, 50], points, side=200) == pytest.approx(2.5)


def test_alignment_undoes_any_shift_turn_and_scale():
    points = np.random.default_rng(0).random((478, 3)) * 200
    turn = rotation_from_angles(0, 0, 33).numpy()
    np.testing.assert_allclose(metrics.aligned(1.7 * points @ turn.T + [20, -5, 0], points), points[:, :2], atol=1e-3)


def test_alignment_keeps_what_is_no_similarity():
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    stretched = square * [1, 3]  # the best scale back is (2 + 6) / (2 + 18) = 0.4
    np.testing.assert_allclose(metrics.aligned(stretched, square), square * [0.4, 1.2])


def test_a_steady_movement_has_no_jitter():
    frames = np.arange(8.0)[:, None, None] * np.array([2.0, -1]) + np.random.default_rng(0).random((478, 2))
    assert metrics.jitter(frames, 256) == pytest.approx(0, abs=1e-10)


def test_jitter_of_landmarks_that_jump_by_one_percent_back_and_forth_is_two_percent():
    frames = np.zeros((10, 5, 2))
    frames[::2, :, 0] = 2.56 / 2
    frames[1::2, :, 0] = -2.56 / 2
    assert metrics.jitter(frames, 256) == pytest.approx(2)


def test_pose_error_is_the_angle_between_the_heads():
    turned = track(rotation_from_angles(12.0, 0, 0).numpy() @ rotation_from_angles(5.0, 20.0, -8.0).numpy())
    straight = track(rotation_from_angles(5.0, 20.0, -8.0).numpy())
    assert metrics.pose_error(turned, straight) == pytest.approx(12, abs=1e-2)
    assert metrics.pose_error(straight, straight) == pytest.approx(0, abs=0.05)


def test_expression_error_is_the_mean_over_all_52_scores():
    smiling = np.zeros(52, np.float32)
    smiling[:13] = 0.4
    assert metrics.expression_error(track(expression=smiling), track()) == pytest.approx(0.1)


# Files


def test_a_file_given_goes_before_that_of_the_environment(tmp_path, monkeypatch):
    given, other = tmp_path / "given", tmp_path / "other"
    given.touch(), other.touch()
    monkeypatch.setenv("A_NETWORK", str(other))
    assert find_auxiliary(given, "A_NETWORK", "name", "Get it.") == given
    assert find_auxiliary(None, "A_NETWORK", "name", "Get it.") == other


@pytest.mark.parametrize("load", [LPIPS.from_file, metrics.FaceRecognizer])
def test_a_missing_network_is_a_sentence_that_names_the_file(load, tmp_path):
    with pytest.raises(InvertAvatarError, match=r"There is no file .*nowhere\.bin\. .*INVERTAVATAR_"):
        load(tmp_path / "nowhere.bin")


@pytest.mark.parametrize("load", [LPIPS.from_file, metrics.FaceRecognizer])
def test_another_file_is_a_sentence_too(load, tmp_path):
    (tmp_path / "text.onnx").write_text("this is no network")
    with pytest.raises(InvertAvatarError, match=r"text\.onnx"):
        load(tmp_path / "text.onnx")
