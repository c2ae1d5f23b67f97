"""A motion is free of identity, and retargeting moves exactly what it is asked to move."""

import logging
from fractions import Fraction

import numpy as np
import pytest
import torch

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES, ARKIT_REGIONS, mirrored
from invertavatar.head.rest_pose import LARGEST_TORSO_POSE
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.retargeting import EXPRESSION_RANGE, retarget
from invertavatar.tracking.steadying import hold_missing, smooth_motion

REGION = ("eyes", "lip", "lip", "other")  # of the four residual coefficients in these tests
LARGEST = torch.tensor(LARGEST_TORSO_POSE)
SMILE, JAW = ARKIT_NAMES.index("mouthSmileLeft"), ARKIT_NAMES.index("jawOpen")


def random_motion(num_frames=12, seed=0, **changes) -> Motion:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    values = {
        "rotation": rotation_from_angles(*(uniform(3, num_frames) * 60 - 30)),
        "expression": uniform(num_frames, 52) * 0.8,
        "residual": uniform(num_frames, 4) - 0.5,
        "residual_region": REGION,
        "torso_pose": uniform(num_frames, 12) * 0.1 - 0.05,
        "translation": uniform(num_frames, 2) - 0.5,
        "scale": uniform(num_frames) + 0.5,
        "fps": Fraction(30000, 1001),
    }
    return Motion(**values | changes)


@pytest.fixture
def driver():
    return random_motion()


@pytest.fixture
def rest():
    return random_motion(1, seed=1)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


# ---- the fields


def test_what_is_not_given_is_a_still_head_that_was_found():
    motion = Motion(rotation=torch.eye(3).repeat(2, 1, 1), expression=np.zeros((2, 52)), fps=25)
    assert motion.residual.shape == motion.torso_pose.shape == (2, 0)
    assert motion.translation.tolist() == [[0, 0], [0, 0]]
    assert motion.scale.tolist() == [1, 1]
    assert motion.found.tolist() == [True, True]
    assert {motion.rotation.dtype, motion.expression.dtype, motion.scale.dtype} == {torch.float32}


def test_a_frame_rate_is_kept_as_the_fraction_it_is():
    assert random_motion(fps=29.97).fps == Fraction(2997, 100)
    assert random_motion(fps=Fraction(30000, 1001)).fps == Fraction(30000, 1001)
    assert random_motion(30, fps=60).duration == 0.5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"expression": torch.zeros(12, 51)}, r"expression .* \[12, 52\], not \[12, 51\]"),
        ({"residual": torch.zeros(12, 3)}, r"residual .* \[12, 4\]"),
        ({"expression": torch.full((12, 52), torch.nan)}, "expression .* not finite"),
        ({"rotation": torch.ones(12, 3, 3)}, "no rotations"),
        ({"rotation": -torch.eye(3).repeat(12, 1, 1)}, "no rotations"),
        ({"scale": torch.zeros(12)}, "scale .* above 0"),
        ({"residual_region": ("eyes", "lip", "lip", "ear")}, "residual regions"),
        ({"fps": 0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"rotation": torch.zeros(0, 3, 3)}, "no frames"),
    ],
)
def test_a_field_that_makes_no_motion_is_named(changes, sentence):
    with pytest.raises(MotionError, match=sentence):
        random_motion(**changes)


def test_slices_keep_the_time_of_the_clip(driver):
    assert torch.equal(driver[3:7].expression, driver.expression[3:7])
    assert driver[3:7].fps == driver.fps
    assert torch.equal(driver[-1].rotation, driver.rotation[-1:])
    assert driver[::2].duration == pytest.approx(driver.duration)
    with pytest.raises(MotionError):
        driver[5:5]
    with pytest.raises(IndexError):
        driver[12]


def test_concatenating_the_halves_gives_the_whole(driver):
    whole = Motion.concatenate([driver[:5], driver[5:]])
    assert whole.fps == driver.fps
    for name, value in driver.tensors().items():
        assert torch.equal(getattr(whole, name), value)


def test_clips_of_different_frame_rates_or_face_models_do_not_concatenate(driver):
    with pytest.raises(MotionError, match="fps"):
        Motion.concatenate([driver, random_motion(fps=25)])
    with pytest.raises(MotionError, match="face model"):
        Motion.concatenate([driver, random_motion(residual=torch.zeros(12, 0), residual_region=())])
    with pytest.raises(MotionError):
        Motion.concatenate([])


# ---- neutral and frames without a face


def test_neutral_is_the_median_so_a_short_turn_and_a_blink_do_not_count():
    yaw = torch.tensor([10.0] * 8 + [80.0] * 3)
    expression = torch.zeros(11, 52)
    expression[:4, 0] = 1
    motion = random_motion(11, rotation=rotation_from_angles(yaw), expression=expression)
    assert motion.neutral.num_frames == 1
    assert motion.neutral.expression[0, 0] == 0
    close(motion.neutral.rotation, rotation_from_angles(torch.tensor([10.0])))


def test_neutral_looks_at_found_frames_only():
    expression = torch.zeros(5, 52)
    expression[2:] = 1
    found = torch.tensor([True, True, False, False, False])
    assert random_motion(5, expression=expression, found=found).neutral.expression.max() == 0
    with pytest.raises(MotionError, match="No frame"):
        _ = random_motion(5, found=torch.zeros(5, dtype=torch.bool)).neutral


def test_zero_is_neutral_in_tables_and_sliders_so_what_is_held_shows(rest, tmp_path):
    table = tmp_path / "held.csv"
    table.write_text("fps,jawOpen,yaw\n" + "25,0.8,20\n" * 25)
    for driver in (Motion.from_arkit_csv(table), Motion.from_sliders({"jawOpen": 0.8, "yaw": 20}, duration=1)):
        driver.save(tmp_path / "held.safetensors")
        ways = [driver, Motion.load(tmp_path / "held.safetensors"), driver[5:], driver[3], driver.resampled(50)]
        for motion in (*ways, smooth_motion(driver, 0.5), Motion.concatenate([driver, driver])):
            out = retarget(motion, rest)
            close(out.expression[:, JAW], (rest.expression[:, JAW] + 0.8).expand(len(out)))
            close(out.rotation, (rotation_from_angles(torch.tensor(20.0)) @ rest.rotation).expand(len(out), 3, 3))


@pytest.mark.parametrize(
    ("frame", "index"), [(3, 3), ("3", 3), (0.1, 2), ("0.1", 2), ("0.1s", 2), ("0:00.1", 2), ("0,1 s", 2)]
)
def test_a_chosen_frame_is_neutral_in_every_field(driver, rest, frame, index):
    chosen = driver.with_neutral_frame(frame)
    out = retarget(chosen, rest, follow_translation=True, motion_scale=1.7)
    for name in ("rotation", "expression", "residual", "torso_pose"):
        close(getattr(out, name)[index], getattr(rest, name)[0])
    assert out.translation[index].abs().max() == 0 and out.scale[index] == 1
    close(retarget(chosen[4:], rest).expression, retarget(chosen, rest).expression[4:])


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (12, "no frame 12 .* has 12, numbered from 0 to 11"),
        ("0.41s", "no frame 0.41s"),
        (-1, "number from 0"),
        ("soon", "soon is neither"),
        (float("nan"), "nan is neither"),
        ("1e400", "neither"),
        (None, "neither"),
        (5, "shows no face"),
    ],
)
def test_a_frame_that_cannot_be_neutral_is_a_sentence(frame, sentence):
    with pytest.raises(MotionError, match=sentence):
        random_motion(found=torch.arange(12) != 5).with_neutral_frame(frame)


def test_a_neutral_has_the_fields_of_its_motion(driver):
    for wrong in (driver, random_motion(1, torso_pose=None), random_motion(1, residual=None, residual_region=())):
        with pytest.raises(MotionError, match="neutral of a motion"):
            random_motion(known_neutral=wrong)
    with pytest.raises(MotionError, match="different neutral faces"):
        Motion.concatenate([driver, driver.with_neutral_frame(0)])


def test_a_table_of_a_motion_with_a_chosen_neutral_departs_from_it(driver, rest, tmp_path):
    chosen = driver.with_neutral_frame(4)
    chosen.save(tmp_path / "take.csv")
    back = Motion.from_arkit_csv(tmp_path / "take.csv")
    close(back.expression[4], torch.zeros(52))
    for name in ("expression", "rotation"):
        close(getattr(retarget(back, rest), name), getattr(retarget(chosen, rest), name))


@pytest.mark.parametrize("fps", [15, 25, 29.97, 60])
def test_another_rate_lasts_as_long_and_passes_through_the_same_curve(fps):
    place = torch.arange(60.0)
    motion = Motion(
        rotation=rotation_from_angles(place),
        expression=(place / 100)[:, None].expand(60, 52),
        scale=1 + place,
        found=place < 30,
        fps=30,
    )
    other = motion.resampled(fps)
    assert other.duration == pytest.approx(motion.duration, abs=0.5 / fps)
    at = (torch.arange(len(other)) * 30 / fps).clamp(max=59)
    close(other.expression[:, 0], at / 100)
    torch.testing.assert_close(other.scale, 1 + at)
    torch.testing.assert_close(angles_from_rotation(other.rotation)[:, 0], at, atol=1e-3, rtol=0)
    assert torch.equal(other.found, at < 29.5)
    assert motion.resampled(30) is motion and motion[3].resampled(60).expression[0, 0] == motion.expression[3, 0]


def test_a_missing_frame_holds_the_last_found_one_and_a_leading_one_the_first():
    found = torch.tensor([False, True, False, False, True, False])
    motion = random_motion(6, found=found)
    held = hold_missing(motion)
    assert torch.equal(held.expression, motion.expression[[1, 1, 1, 1, 4, 4]])
    assert torch.equal(held.rotation, motion.rotation[[1, 1, 1, 1, 4, 4]])
    assert torch.equal(held.found, found)
    assert held.num_missing == 4
    with pytest.raises(MotionError, match="No frame"):
        hold_missing(random_motion(6, found=torch.zeros(6, dtype=torch.bool)))


# ---- retargeting


def test_absolute_motion_at_scale_one_is_the_driver_with_the_residual_on_top_of_rest(driver, rest):
    out = retarget(driver, rest, relative_motion=False, follow_translation=True)
    for name in ("rotation", "expression", "translation", "scale"):
        close(getattr(out, name), getattr(driver, name))
    close(out.residual, rest.residual + driver.residual)
    assert out.fps == driver.fps


def test_relative_motion_of_a_driver_that_does_not_move_is_rest(rest):
    still = random_motion(1, seed=5, residual=torch.zeros(1, 4))
    out = retarget(Motion.concatenate([still] * 4), rest)
    for name in ("rotation", "expression", "residual"):
        close(getattr(out, name), getattr(rest, name).expand_as(getattr(out, name)))


def test_relative_motion_at_scale_zero_is_rest(driver, rest):
    out = retarget(driver, rest, motion_scale=0, follow_translation=True)
    for name in ("rotation", "expression", "residual"):
        close(getattr(out, name), getattr(rest, name).expand_as(getattr(out, name)))
    assert out.translation.abs().max() == 0
    assert torch.equal(out.scale, torch.ones(12))


def test_relative_motion_is_the_change_from_the_neutral_on_top_of_rest():
    yaw = torch.tensor([10.0, 10.0, 10.0, 25.0])
    expression = torch.full((4, 52), 0.1)
    expression[3, SMILE] = 0.5
    driver = random_motion(4, rotation=rotation_from_angles(yaw), expression=expression)
    rest = random_motion(1, rotation=rotation_from_angles(torch.tensor([-5.0])), expression=torch.full((1, 52), 0.2))
    out = retarget(driver, rest, motion_scale=1.5)
    close(out.expression[3, SMILE], torch.tensor(0.2 + 1.5 * 0.4))
    close(out.expression[:3], torch.full((3, 52), 0.2))
    torch.testing.assert_close(
        angles_from_rotation(out.rotation)[:, 0], torch.tensor([-5, -5, -5, 17.5]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("region", ["exp", "pose", "lip", "eyes"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_region_moves_its_own_axes_as_all_does_and_leaves_the_others_at_rest(driver, rest, region, relative):
    everything = retarget(driver, rest, relative_motion=relative, follow_translation=True)
    out = retarget(driver, rest, animation_region=region, relative_motion=relative, follow_translation=True)
    for name, regions in (("expression", ARKIT_REGIONS), ("residual", REGION)):
        for axis, of in enumerate(regions):
            source = everything if region in ("exp", of) else rest
            assert torch.equal(getattr(out, name)[:, axis], getattr(source, name)[:, axis].expand(12)), (name, axis)
    source = everything if region == "pose" else rest
    assert torch.equal(out.rotation, source.rotation.expand(12, 3, 3))
    assert torch.equal(out.scale, everything.scale if region == "pose" else torch.ones(12))
    assert torch.equal(out.translation, everything.translation if region == "pose" else torch.zeros(12, 2))


def test_left_drives_left_and_the_mirrored_driver_drives_the_mirrored_axis():
    mirror = [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES]
    expression = torch.zeros(5, 52)
    expression[4, SMILE] = 0.7
    rest = random_motion(1, seed=3, expression=torch.zeros(1, 52))
    one = retarget(random_motion(5, expression=expression), rest)
    two = retarget(random_motion(5, expression=expression[:, mirror]), rest)
    assert one.expression.nonzero().tolist() == [[4, SMILE]]
    assert two.expression.nonzero().tolist() == [[4, ARKIT_NAMES.index("mouthSmileRight")]]


def test_an_absolute_torso_pose_is_the_driver_s_and_a_relative_one_its_change(driver, rest):
    close(retarget(driver, rest, relative_motion=False).torso_pose, driver.torso_pose)
    expected = (rest.torso_pose + 0.5 * (driver.torso_pose - driver.neutral.torso_pose)).clamp(-LARGEST, LARGEST)
    close(retarget(driver, rest, motion_scale=0.5).torso_pose, expected)


@pytest.mark.parametrize("region", ["exp", "lip", "eyes"])
def test_a_torso_pose_is_moved_with_the_pose_only(driver, rest, region):
    close(retarget(driver, rest, animation_region=region).torso_pose, rest.torso_pose.repeat(12, 1))
    assert not torch.equal(retarget(driver, rest, animation_region="pose").torso_pose, rest.torso_pose.repeat(12, 1))


def test_a_driver_of_unknown_torso_pose_leaves_the_avatar_its_own(driver, rest):
    unknown = random_motion(torso_pose=None)
    close(retarget(unknown, rest, relative_motion=False).torso_pose, rest.torso_pose.repeat(12, 1))
    assert retarget(driver, random_motion(1, torso_pose=None)).torso_pose.shape == (12, 0)
    with pytest.raises(MotionError, match="torso pose"):
        Motion.concatenate([driver, unknown])


def test_no_torso_pose_goes_beyond_what_a_network_can_read(rest):
    wild = random_motion(torso_pose=torch.full((12, 12), 3.0))
    close(retarget(wild, rest, relative_motion=False).torso_pose, LARGEST.repeat(12, 1))


def test_head_translation_is_followed_on_request_only(driver, rest):
    assert retarget(driver, rest).translation.abs().max() == 0
    assert torch.equal(retarget(driver, rest).scale, torch.ones(12))
    assert torch.equal(retarget(driver, rest, follow_translation=True).translation, driver.translation)


@pytest.mark.parametrize("scale", [0.3, 1, 4])
@pytest.mark.parametrize("smooth", [0, 0.7])
def test_rotations_stay_orthonormal_and_expressions_within_range(rest, scale, smooth):
    out = retarget(random_motion(40), rest, motion_scale=scale, smooth=smooth)
    close(out.rotation @ out.rotation.mT, torch.eye(3).expand(40, 3, 3))
    close(torch.linalg.det(out.rotation), torch.ones(40))
    assert out.expression.min() >= EXPRESSION_RANGE[0]
    assert out.expression.max() <= EXPRESSION_RANGE[1]


def test_a_photo_drives_absolutely_because_it_has_no_neutral(driver, rest, caplog):
    with caplog.at_level(logging.WARNING):
        out = retarget(driver[4], rest)
    assert "no neutral" in caplog.text
    close(out.expression, driver.expression[4:5])
    close(out.rotation, driver.rotation[4:5])


def test_the_residual_of_another_face_model_is_left_out_with_a_warning(driver, rest, caplog):
    other = random_motion(12, residual=torch.ones(12, 2), residual_region=("lip", "eyes"))
    with caplog.at_level(logging.WARNING):
        out = retarget(other, rest)
    assert "another face model" in caplog.text
    assert torch.equal(out.residual, rest.residual.expand(12, 4))
    caplog.clear()
    retarget(Motion(rotation=driver.rotation, expression=driver.expression), rest)
    assert not caplog.records  # a CSV has no residual to lose


@pytest.mark.parametrize(
    "options", [{"animation_region": "nose"}, {"motion_scale": -1}, {"motion_scale": float("nan")}, {"smooth": 1.5}]
)
def test_an_option_out_of_range_is_named(driver, rest, options):
    with pytest.raises(MotionError, match=next(iter(options))):
        retarget(driver, rest, **options)


def test_rest_is_one_frame(driver):
    with pytest.raises(MotionError, match="one frame"):
        retarget(driver, driver)
