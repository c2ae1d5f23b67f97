"""Tracks of a driver -> a motion free of whose face it is."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import NoFaceError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.capture import capture
from invertavatar.tracking.tracker import Track

FRAMES = 8


def tracks(head_model, person, expression, residual=None, centre=(300.0, 200.0), scale=120.0):
    """A clip in which a made-up person moves as told: their shape, [T, 52], [T, K] or None -> T tracks."""
    turns = rotation_from_angles(torch.linspace(-20, 20, len(expression)))
    vertices, turns = head_model.driven_landmarks(person.landmarks, expression, residual, turns).numpy(), turns.numpy()
    return [
        Track(
            landmarks=face * scale,
            expression=scores,
            rotation=turn,
            scale=scale,
            centre=np.array(centre, np.float32),
            vertices=face,
            size=(640, 480),
            num_faces=1,
        )
        for face, scores, turn in zip(vertices, expression.numpy(), turns, strict=True)
    ]


def stranger(head_model, axis, size):
    coefficients = torch.zeros_like(head_model.identity_std)
    coefficients[axis] = size * head_model.identity_std[axis]
    return head_model.person(coefficients)


@pytest.fixture(scope="module")
def person(head_model):
    return stranger(head_model, 2, 0.3)


@pytest.fixture(scope="module")
def expression():
    """[T, 52]: a jaw that opens and shuts."""
    values = torch.zeros(FRAMES, 52)
    values[:, ARKIT_NAMES.index("jawOpen")] = torch.tensor([0, 0.3, 0.6, 0.9, 0.6, 0.3, 0.0, 0.0])
    return values


@pytest.fixture(scope="module")
def residual(head_model):
    """[T, K], zero on average."""
    values = torch.randn(FRAMES, len(head_model.residual_std), generator=torch.Generator().manual_seed(0))
    return 0.5 * (values - values.mean(0)) * head_model.residual_std


def test_expression_and_rotation_are_those_of_the_tracks(head_model, person, expression):
    clip = tracks(head_model, person, expression)
    motion = capture(clip, head_model, fps=30)
    assert torch.equal(motion.expression, expression)
    np.testing.assert_array_equal(motion.rotation, np.stack([track.rotation for track in clip]))
    assert motion.fps == 30 and motion.found.all()


def test_a_frame_rate_that_is_a_fraction_is_kept_exactly(head_model, person, expression):
    assert capture(tracks(head_model, person, expression), head_model, Fraction(30000, 1001)).fps == Fraction(
        30000, 1001
    )


def test_the_residual_is_what_moved_beyond_the_named_axes(head_model, person, expression, residual):
    motion = capture(tracks(head_model, person, expression, residual), head_model)
    error = (motion.residual - residual) / head_model.residual_std
    assert error.square().mean().sqrt() < 0.05
    assert motion.residual_region == head_model.residual_region


def test_the_shape_of_the_driver_s_face_leaves_no_trace_in_the_motion(head_model, person, expression, residual):
    mine = capture(tracks(head_model, person, expression, residual), head_model)
    other = stranger(head_model, 0, -0.4)
    yours = capture(tracks(head_model, other, expression, residual), head_model)
    torch.testing.assert_close(mine.residual, yours.residual, atol=1e-3, rtol=0)


def test_a_residual_solved_frame_by_frame_is_the_one_beyond_the_neutral_of_the_whole_clip(
    head_model, person, expression, residual
):
    clip = tracks(head_model, person, expression, residual)
    vertices, turns = (
        torch.from_numpy(np.stack([getattr(track, name) for track in clip])) for name in ("vertices", "rotation")
    )
    vertices = head_model.unbiased(vertices, turns)
    neutral = head_model.shape(head_model.without_expression(vertices, expression).sum(0), FRAMES).landmarks
    expected = head_model.residual(vertices, neutral, expression)
    torch.testing.assert_close(capture(clip, head_model).residual, expected, atol=1e-4, rtol=0)


def test_movement_in_the_picture_counts_from_the_median_place_and_size_in_head_units_with_y_down(
    head_model, person, expression
):
    clip = tracks(head_model, person, expression, centre=(300, 200), scale=100.0)
    clip[3] = replace(clip[3], centre=np.array([350, 180], np.float32), scale=110.0)
    motion = capture(clip, head_model)
    expected = torch.zeros(FRAMES, 2)
    expected[3] = torch.tensor([0.5, -0.2])
    torch.testing.assert_close(motion.translation, expected)
    assert motion.scale.tolist() == pytest.approx([1, 1, 1, 1.1, 1, 1, 1, 1])


def test_frames_without_a_face_hold_the_last_pose_and_are_marked_and_counted(head_model, person, expression, caplog):
    clip = tracks(head_model, person, expression)
    clip[0] = clip[4] = clip[5] = None
    motion = capture(clip, head_model)
    assert motion.found.tolist() == [False, True, True, True, False, False, True, True]
    held = [1, 1, 2, 3, 3, 3, 6, 7]
    assert torch.equal(motion.expression, expression[held])
    assert "3 of 8 frames of the driving video show no face; the last pose is held." in caplog.text
    assert torch.equal(motion.rotation, motion.rotation[held])


def test_tracks_may_come_one_by_one(head_model, person, expression):
    clip = tracks(head_model, person, expression)
    assert torch.equal(capture(iter(clip), head_model).residual, capture(clip, head_model).residual)


def test_a_driver_without_any_face_is_an_error_that_names_it(head_model):
    with pytest.raises(NoFaceError, match=r"No face found in any frame of walk\.mp4\. Use one"):
        capture([None, None], head_model, name="walk.mp4")


def test_a_video_without_frames_is_an_error_too(head_model):
    with pytest.raises(NoFaceError, match="the driving video"):
        capture([], head_model)


def test_the_torso_pose_is_that_of_the_tracks_without_their_trembling(head_model, person, expression):
    generator = torch.Generator().manual_seed(0)
    seen = 0.06 + 0.003 * torch.randn(FRAMES, 12, generator=generator)
    clip = [
        replace(track, torso_pose=numbers)
        for track, numbers in zip(tracks(head_model, person, expression), seen.numpy(), strict=True)
    ]
    torso_pose = capture([None, *clip], head_model).torso_pose
    assert torso_pose.shape == (FRAMES + 1, 12)
    assert (torso_pose - 0.06).abs().max() < 0.01
    assert torso_pose[1:].diff(n=2, dim=0).abs().mean() < 0.7 * seen.diff(n=2, dim=0).abs().mean()
    assert capture(tracks(head_model, person, expression), head_model).torso_pose.shape == (FRAMES, 0)
