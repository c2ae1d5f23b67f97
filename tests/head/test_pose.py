import numpy as np
import pytest
import torch

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.head.pose import PIXELS_TO_HEAD, PoseTemplate, procrustes, read_template, write_template


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(40, 3))


def rotation(yaw, pitch, roll):
    return rotation_from_angles(yaw, pitch, roll).double().numpy()


def test_procrustes_recovers_a_known_similarity(points):
    known = rotation(30, -20, 75)
    scale, turn, shift = procrustes(points, 3.5 * points @ known.T + [5, -7, 2])
    assert scale == pytest.approx(3.5, abs=1e-5)
    np.testing.assert_allclose(turn, known, atol=1e-6)
    np.testing.assert_allclose(shift, [5, -7, 2], atol=1e-5)


def test_a_similarity_maps_points_there_and_back(points):
    found = procrustes(points, 3.5 * points @ rotation(30, -20, 75).T + [5, -7, 2])
    np.testing.assert_allclose(found(points), 3.5 * points @ rotation(30, -20, 75).T + [5, -7, 2], atol=1e-5)
    np.testing.assert_allclose(found.back(found(points)), points, atol=1e-9)


def test_points_without_weight_do_not_change_the_similarity(points):
    target = 2 * points @ rotation(-40, 5, 10).T
    target[:10] += 100
    weights = np.r_[np.zeros(10), np.ones(30)]
    scale, turn, _ = procrustes(points, target, weights)
    assert scale == pytest.approx(2, abs=1e-5)
    np.testing.assert_allclose(turn, rotation(-40, 5, 10), atol=1e-6)


def test_a_mirrored_target_gives_a_proper_rotation(points):
    _, turn, _ = procrustes(points, points * [-1, 1, 1])
    assert np.linalg.det(turn) == pytest.approx(1)


def test_a_template_finds_the_pose_that_its_mean_was_drawn_with(points):
    template = PoseTemplate(points.astype(np.float32), np.ones(40, np.float32))
    turn = rotation(25, 10, -15)
    landmarks = (200 * points @ turn.T) * PIXELS_TO_HEAD + [320, 240, 0]
    pose = template.fit(landmarks)
    assert pose.scale == pytest.approx(200, rel=1e-5)
    np.testing.assert_allclose(pose.centre, [320, 240], atol=1e-3)
    np.testing.assert_allclose(angles_from_rotation(torch.from_numpy(pose.rotation)), [25, 10, -15], atol=1e-3)
    np.testing.assert_allclose(pose.vertices, points, atol=1e-4)
    assert pose.roll == pytest.approx(-15, abs=1e-3)


def test_a_written_template_is_read_back_and_can_be_replaced(tmp_path):
    rigid = np.ones(478)
    for fill in (1.0, 2.0):
        write_template(tmp_path, np.full((478, 3), fill), rigid)
        template = read_template(tmp_path)
        assert template.mean.dtype == template.rigid.dtype == np.float32
        assert (template.mean == fill).all()


@pytest.mark.parametrize(
    ("mean", "rigid"),
    [(np.zeros((468, 3)), np.ones(478)), (np.zeros((478, 3)), np.zeros(478)), (np.zeros((478, 3)), -np.ones(478))],
)
def test_a_template_that_no_pose_can_be_fitted_with_is_refused(tmp_path, mean, rigid):
    with pytest.raises(ValueError, match="A template needs"):
        write_template(tmp_path, mean, rigid)
