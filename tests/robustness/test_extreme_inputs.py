"""Inputs that are legal and far from usual, and every pose and expression that can be asked for."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invertavatar import Motion
from invertavatar.camera import angles_from_rotation
from invertavatar.errors import NoFaceError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.rendering.observation import observed_texture
from invertavatar.rendering.source_views import LIMIT
from invertavatar.tracking.portrait import prepare_portrait
from invertavatar.tracking.retargeting import EXPRESSION_RANGE, retarget
from tests.robustness.damage import fuzz

ANGLE = st.floats(-90, 90)
SCORES = st.lists(st.floats(*EXPRESSION_RANGE), min_size=len(ARKIT_NAMES), max_size=len(ARKIT_NAMES))


def fused(pipe, portraits):
    avatar = None
    for portrait in portraits:
        avatar = pipe.add_portrait(avatar, portrait)
    return avatar


def still(pipe, avatar, **options):
    """A transparent picture [4, 64, 64] that must hold a head, in 0..1."""
    (picture,) = pipe.render(avatar, height=64, background="transparent", output_type="pt", **options)
    assert picture.isfinite().all() and picture.min() >= 0 and picture.max() <= 1
    assert (picture[3] > 0.5).float().mean() > 0.02
    return picture


# Poses and expressions


@fuzz(12)
@given(yaw=ANGLE, pitch=ANGLE, roll=ANGLE, scores=SCORES)
def test_any_pose_and_expression_gives_a_head_of_finite_colours_and_depths(
    tiny_pipeline, tiny_avatar, yaw, pitch, roll, scores
):
    expression = dict(zip(ARKIT_NAMES, scores, strict=True))
    options = {"yaw": yaw, "pitch": pitch, "roll": roll, "expression": expression}
    alpha = still(tiny_pipeline, tiny_avatar, **options)[3]
    _, depth = tiny_pipeline.render(tiny_avatar, height=64, output_type="pt", return_depth=True, **options)
    assert torch.equal(depth[0, 0].isnan(), alpha <= 0.5)
    assert depth.nan_to_num().abs().max() <= 1.5


@pytest.mark.parametrize("angles", [(90, 0, 0), (0, 90, 0), (-90, 90, 90), (180, 0, 0), (0, -90, 180), (720, 0, 0)])
@pytest.mark.parametrize("score", [-1e9, 1e9])
def test_the_outermost_poses_with_scores_beyond_all_bounds_are_drawn(tiny_pipeline, tiny_avatar, angles, score):
    yaw, pitch, roll = angles
    still(tiny_pipeline, tiny_avatar, yaw=yaw, pitch=pitch, roll=roll, expression=dict.fromkeys(ARKIT_NAMES, score))


@fuzz(25)
@given(
    angles=st.lists(st.tuples(ANGLE, ANGLE, ANGLE), min_size=1, max_size=6),
    score=st.floats(*EXPRESSION_RANGE),
    scale=st.floats(0, 10),
    smooth=st.floats(0, 1),
    relative=st.booleans(),
)
def test_any_movement_is_retargeted_to_rotations_and_scores_in_range(
    tiny_avatar, angles, score, scale, smooth, relative
):
    frames = [{"time": k / 25, "yaw": y, "pitch": p, "roll": r, "jawOpen": score} for k, (y, p, r) in enumerate(angles)]
    options = {"motion_scale": scale, "smooth": smooth, "relative_motion": relative, "follow_translation": True}
    motion = retarget(Motion.from_sliders(frames), tiny_avatar.rest, **options)  # which checks itself
    low, high = EXPRESSION_RANGE
    assert motion.expression.min() >= low and motion.expression.max() <= high


# Photos


def test_many_photos_make_an_avatar_no_larger_than_eight_do_but_for_thumbnails(tiny_pipeline, portrait):
    four = [portrait(f"anna_{k}") for k in (1, 2, 3, 4)]
    avatar = fused(tiny_pipeline, 6 * four)  # 64 take three times as long and no other code
    assert avatar.num_images == avatar.texture_state.count == len(avatar.thumbnails) == 24
    still(tiny_pipeline, avatar)
    one = fused(tiny_pipeline, four[:1])
    for name in ("ws", "neutral_sum", "crown"):
        assert getattr(avatar, name).shape == getattr(one, name).shape
    assert (
        apart(tiny_pipeline, avatar, fused(tiny_pipeline, four)) < 0.01
    )  # six times the same show what they show once
    assert avatar.views.picture.shape[:2] == (1, LIMIT)


def apart(pipe, one, other) -> float:
    """How far the observed faces of two avatars differ where the first's photos show it."""
    atlas = pipe._atlas(one.texture_sum.shape[-1])
    faces = [observed_texture(avatar.texture_sum, atlas, 1e-3).texture for avatar in (one, other)]
    return float(((faces[0] - faces[1]).abs() * (one.texture_sum[:, 3:] > 1e-3)).mean())


def test_a_photo_given_again_shows_nothing_new(tiny_pipeline, portrait):
    one, three = (fused(tiny_pipeline, n * [portrait("anna_1")]) for n in (1, 3))
    assert apart(tiny_pipeline, one, three) < 0.01
    options = {"yaw": 10, "height": 64, "framing": "crop", "output_type": "np", "expression": {}}
    drawn, again = (tiny_pipeline.render(x, **options) for x in (one, three))
    assert np.abs(drawn - again).mean() < 0.02
    still(tiny_pipeline, three)


@pytest.mark.parametrize(
    "expression",
    [{"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, {"jawOpen": 1.2}, {"mouthPucker": 1.2, "browInnerUp": 1}],
)
def test_a_face_at_the_end_of_its_range_is_animated(tiny_pipeline, portrait, expression):
    scores = torch.tensor([[float(expression.get(name, 0)) for name in ARKIT_NAMES]])
    photo = portrait("anna_1")
    model = tiny_pipeline.head_model
    vertices = model.without_expression(photo.vertices, photo.expression) + model.moved_landmarks(scores)
    avatar = fused(tiny_pipeline, [photo._replace(vertices=vertices, expression=scores)])
    still(tiny_pipeline, avatar)
    still(tiny_pipeline, avatar, expression={})


def test_a_profile_is_an_avatar_or_a_sentence(tiny_pipeline, face_tracker, example):
    # The half of the face that a turned head hides, hidden from the tracker.
    photo = example("ben_3").copy()
    for fraction in (0.4, 0.55, 0.7):
        photo[:, : int(fraction * photo.shape[1])] = 127
        try:
            avatar = fused(tiny_pipeline, [prepare_portrait(photo, face_tracker, "profile")])
        except NoFaceError as error:
            assert "No face found in profile" in str(error)
        else:
            still(tiny_pipeline, avatar)


def test_a_photo_of_noise_or_of_one_colour_has_no_face(face_tracker):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for picture in (noise, np.zeros((64, 64, 3), np.uint8), np.full((64, 500, 3), 255, np.uint8)):
        with pytest.raises(NoFaceError, match="No face found in it"):
            face_tracker.detect(picture, "it")


def test_photos_of_two_people_are_warned_about_and_of_one_are_not(tiny_pipeline, portrait, caplog):
    first = fused(tiny_pipeline, [portrait("anna_1"), portrait("anna_2")])
    tiny_pipeline.add_portrait(first, portrait("anna_3"))
    tiny_pipeline.add_portrait(first, portrait("anna_4"))
    assert not caplog.messages
    tiny_pipeline.add_portrait(first, portrait("clara_3"))
    assert caplog.messages == ["clara_3 seems to show another person than the photos before; leave it out if so."]


def test_an_avatar_drawn_from_a_seed_has_no_photos_to_be_unlike(tiny_pipeline, portrait, caplog):
    tiny_pipeline.add_portrait(tiny_pipeline.sample(3), portrait("ben_2"))
    assert not caplog.messages


# Drivers


def small(picture):
    return np.ascontiguousarray(picture[::3, ::3])


def test_a_driver_without_a_face_for_half_its_length_holds_the_last_pose(tiny_pipeline, tiny_avatar, example, caplog):
    face, wall = small(example("ben_2")), np.full((256, 256, 3), 128, np.uint8)
    motion = tiny_pipeline.track([wall, face, face, wall, wall, face])
    assert motion.found.tolist() == [False, True, True, False, False, True]
    assert "3 of 6 frames of photo 1 show no face; the last pose is held." in caplog.text
    assert torch.equal(motion.rotation[3], motion.rotation[2]) and torch.equal(motion.rotation[0], motion.rotation[1])
    assert len(tiny_pipeline.animate(tiny_avatar, motion=motion, height=64).frames) == 6


def test_a_driver_without_any_face_is_refused(tiny_pipeline, tiny_avatar):
    wall = np.full((128, 128, 3), 128, np.uint8)
    with pytest.raises(NoFaceError, match="No face found in any frame"):
        tiny_pipeline.animate(tiny_avatar, driving_video=[wall, wall])


def test_after_a_cut_the_other_person_is_followed(tiny_pipeline, tiny_avatar, example, portrait):
    names = ["anna_2", "anna_2", "ben_3", "ben_3"]
    motion = tiny_pipeline.track([small(example(name)) for name in names])
    assert motion.found.all()
    expected = torch.tensor([portrait(name).angles for name in names])
    assert (angles_from_rotation(motion.rotation) - expected).abs().max() < 6
    assert len(tiny_pipeline.animate(tiny_avatar, motion=motion, height=64).frames) == 4


def test_an_upside_down_driver_moves_the_avatar_like_an_upright_one(tiny_pipeline, tiny_avatar, example):
    clip = [small(example(name)) for name in ("anna_1", "anna_1", "anna_4", "anna_1")]
    upright, hanging = (tiny_pipeline.track(frames) for frames in (clip, [frame[::-1, ::-1] for frame in clip]))
    assert angles_from_rotation(hanging.rotation)[:, 2].abs().min() > 150
    options = {"smooth": 0.0, "animation_region": "exp"}
    a, b = (retarget(motion, tiny_avatar.rest, **options) for motion in (upright, hanging))
    assert (a.expression - b.expression).abs().max() < 0.25


def test_one_frame_drives(tiny_pipeline, tiny_avatar, example, caplog):
    with caplog.at_level(logging.WARNING):
        output = tiny_pipeline.animate(tiny_avatar, driving_video=[small(example("ben_2"))], height=64)
    assert len(output.frames) == 1
    assert "A single picture has no neutral to be relative to" in caplog.text
