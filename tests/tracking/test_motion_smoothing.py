"""One-Euro smoothing quiets a still face and lets fast movement pass."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.smoothing import OneEuroFilter, smooth_rotations, smooth_vectors
from invertavatar.tracking.steadying import smooth_motion


def clip(expression, angles=None, **changes) -> Motion:
    angles = torch.zeros(3, len(expression)) if angles is None else angles
    return Motion(rotation=rotation_from_angles(*angles), expression=expression, **changes)


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_half_smoothing_keeps_four_fifths_of_a_three_frame_blink_and_halves_jitter(fps):
    jitter = np.random.default_rng(0).normal(0, 0.02, (400, 52)).astype(np.float32)
    expression = 0.2 + jitter
    expression[200:203] += np.array([[0.35], [0.7], [0.35]])  # on every axis, so that the mean shows no jitter
    smoothed = smooth_motion(clip(expression, fps=fps), 0.5).expression.numpy()
    assert smoothed.mean(1)[200:205].max() - 0.2 > 0.8 * 0.7
    assert (smoothed[20:200].std(0) < 0.5 * expression[20:200].std(0)).mean() > 0.9
    assert smoothed[20:200].std() < 0.5 * expression[20:200].std()


def test_jitter_of_the_head_falls_by_half_and_a_turn_arrives_within_two_frames():
    generator = torch.Generator().manual_seed(0)
    angles = torch.randn(3, 200, generator=generator) * 0.4
    angles[0, 100:] += torch.cat([torch.linspace(0, 40, 10), torch.full((90,), 40.0)])
    smoothed = angles_from_rotation(smooth_motion(clip(torch.zeros(200, 52), angles, fps=25), 0.5).rotation)
    assert (smoothed[20:100].std(0) < 0.5 * angles[:, 20:100].std(1)).all()
    assert (smoothed[105:110, 0] > angles[0, 103:108]).all()


def test_more_smoothing_leaves_less_jitter_and_none_leaves_the_clip_as_it_is():
    expression = np.random.default_rng(1).normal(0.3, 0.02, (200, 52))
    motion = clip(expression)
    left = [smooth_motion(motion, smooth).expression[20:].std() for smooth in (0, 0.25, 0.5, 0.75, 1)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] / 3
    assert torch.equal(smooth_motion(motion, 0).expression, motion.expression)


def test_a_constant_stays_constant():
    values = np.full((10, 3), 0.4)
    np.testing.assert_allclose(smooth_vectors(values, np.ones(10, bool), 25, 0.5), values, atol=1e-12)


def test_a_frame_without_a_face_is_no_measurement():
    values = np.random.default_rng(2).normal(size=(30, 2))
    found = np.ones(30, bool)
    found[[0, 1, 10, 11, 12]] = False
    garbage = np.where(found[:, None], values, 1e6)
    smoothed = smooth_vectors(garbage, found, 25, 0.5)
    assert np.abs(smoothed).max() < 5
    np.testing.assert_array_equal(smoothed[10:13], np.repeat(smoothed[9:10], 3, 0))
    np.testing.assert_array_equal(smoothed[:2], np.repeat(smoothed[2:3], 2, 0))
    np.testing.assert_array_equal(smooth_vectors(garbage, np.zeros(30, bool), 25, 0.5), garbage)


def test_a_stream_comes_out_as_the_clip_does():
    values = np.random.default_rng(3).normal(size=(20, 4))
    one_euro = OneEuroFilter(1.0, 4.0)
    stream = np.stack([one_euro(value, 1 / 25) for value in values])
    np.testing.assert_allclose(stream, smooth_vectors(values, np.ones(20, bool), 25, 0.5))


def test_rotations_smooth_alike_whichever_way_the_camera_stands():
    rng = np.random.default_rng(4)
    rotations = Rotation.from_rotvec(rng.normal(0, 0.2, (40, 3)))
    camera = Rotation.from_rotvec([0.3, 2.5, -1.0])
    found = np.ones(40, bool)
    turned = smooth_rotations((camera * rotations).as_matrix(), found, 25, 0.5)
    np.testing.assert_allclose(
        turned, camera.as_matrix() @ smooth_rotations(rotations.as_matrix(), found, 25, 0.5), atol=1e-9
    )


def test_the_unit_of_the_residual_does_not_matter():
    residual = np.random.default_rng(5).normal(size=(50, 3)).astype(np.float32)
    region = ("eyes", "lip", "other")

    def smoothed(unit):
        motion = clip(torch.zeros(50, 52), residual=residual * unit, residual_region=region)
        return smooth_motion(motion, 0.5).residual / unit

    torch.testing.assert_close(smoothed(1.0), smoothed(1024.0))
