"""Motions come back from files as they went in, and a file that is none is a sentence."""

import json
import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.driver_reader import load_motion
from invertavatar.tracking.motion import Motion

JAW = ARKIT_NAMES.index("jawOpen")
LIVE_LINK_NAMES = [name[0].upper() + name[1:] for name in ARKIT_NAMES]
EYES = [f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")]
LIVE_LINK_HEADER = ["Timecode", "BlendshapeCount", *LIVE_LINK_NAMES, "HeadYaw", "HeadPitch", "HeadRoll", *EYES]
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def motion():
    generator = torch.Generator().manual_seed(0)
    return Motion(
        rotation=rotation_from_angles(*(torch.rand(3, 6, generator=generator) * 40 - 20)),
        expression=torch.rand(6, 52, generator=generator),
        residual=torch.randn(6, 2, generator=generator),
        residual_region=("eyes", "lip"),
        torso_pose=torch.randn(6, 12, generator=generator),
        translation=torch.randn(6, 2, generator=generator),
        scale=torch.rand(6, generator=generator) + 0.5,
        found=[True, True, False, True, True, True],
        fps=Fraction(30000, 1001),
    )


@pytest.fixture
def csv_file(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def live_link(rows, header=LIVE_LINK_HEADER):
    """A Live Link Face table from (time code, {column: value}) rows."""
    lines = [",".join(header)]
    for timecode, values in rows:
        cells = {"Timecode": timecode, "BlendshapeCount": "61"} | values
        lines.append(",".join(str(cells.get(name, "0.0000000000")) for name in header))
    return "\n".join(lines) + "\n"


# ---- the motion's own file


def test_a_saved_motion_comes_back_bit_for_bit_with_its_exact_frame_rate(motion, tmp_path):
    motion.save(tmp_path / "talk.safetensors")
    loaded = load_motion(tmp_path / "talk.safetensors")
    assert loaded.fps == Fraction(30000, 1001)
    assert loaded.residual_region == ("eyes", "lip")
    for name, value in motion.tensors().items():
        assert torch.equal(getattr(loaded, name), value)


def test_a_slice_and_a_motion_without_residual_save_too(motion, tmp_path):
    motion[2:4].save(tmp_path / "slice.safetensors")
    assert torch.equal(Motion.load(tmp_path / "slice.safetensors").scale, motion.scale[2:4])
    Motion(rotation=motion.rotation, expression=motion.expression).save(tmp_path / "bare.safetensors")
    assert Motion.load(tmp_path / "bare.safetensors").residual.shape == (6, 0)


@pytest.mark.parametrize("name", ["talk.pkl", "talk", "nowhere/talk.safetensors"])
def test_a_motion_is_not_saved_under_another_ending_or_into_no_folder(motion, tmp_path, name):
    with pytest.raises(MotionError, match="talk"):
        motion.save(tmp_path / name)


def test_a_truncated_file_is_a_sentence_at_every_length(motion, tmp_path):
    path = tmp_path / "cut.safetensors"
    motion.save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(MotionError, match=r"cut\.safetensors"):
            Motion.load(path)


def saved_with(motion, path, metadata=(), tensors=()):
    """The motion's file with some metadata or tensors replaced (None removes one)."""
    motion.save(path)
    good = {
        "format": "invertavatar_motion",
        "version": "3",
        "fps": "25",
        "expression_names": json.dumps(ARKIT_NAMES),
        "residual_region": json.dumps(motion.residual_region),
    }
    changed = {k: v for k, v in (good | dict(metadata)).items() if v is not None}
    stored = {k.replace("torso_pose", "posture"): v for k, v in (motion.tensors() | dict(tensors)).items()}
    save_file({k: v for k, v in stored.items() if v is not None}, path, changed)
    return path


def test_the_test_writes_the_same_format(motion, tmp_path):
    assert Motion.load(saved_with(motion, tmp_path / "m.safetensors")).fps == 25


@pytest.mark.parametrize(
    ("metadata", "tensors", "sentence"),
    [
        ({"format": None}, {}, "not a motion"),
        ({"version": "4"}, {}, "version 4"),
        ({"version": "1"}, {}, "fields"),
        ({"fps": "0"}, {}, "frame rate"),
        ({"fps": "1/0"}, {}, "frame rate"),
        ({"fps": "1e999999999"}, {}, "frame rate"),
        ({"fps": None}, {}, "frame rate"),
        ({"expression_names": json.dumps(ARKIT_NAMES[::-1])}, {}, "expression axes"),
        ({"expression_names": "["}, {}, "metadata"),
        ({"residual_region": "[1, 2]"}, {}, "region"),
        ({"residual_region": '["eyes"]'}, {}, "residual"),
        ({}, {"scale": None}, "fields"),
        ({}, {"extra": torch.zeros(1)}, "fields"),
        ({}, {"scale": torch.ones(5)}, r"scale .* \[6\]"),
        ({}, {"scale": torch.ones(6, dtype=torch.float64)}, "scale as the wrong kind"),
        ({}, {"rotation": torch.zeros(())}, "no frames"),
        ({}, {"expression": torch.full((6, 52), torch.inf)}, "not finite"),
        ({}, {"rotation": torch.zeros(6, 3, 3)}, "no rotations"),
    ],
)
def test_a_file_that_is_no_usable_motion_says_what_is_wrong(motion, tmp_path, metadata, tensors, sentence):
    path = saved_with(motion, tmp_path / "bad.safetensors", metadata, tensors)
    with pytest.raises(MotionError, match=rf"bad\.safetensors.*{sentence}"):
        Motion.load(path)


def test_a_known_neutral_comes_back_and_older_files_know_none(motion, tmp_path):
    chosen = motion.with_neutral_frame(3)
    chosen.save(tmp_path / "talk.safetensors")
    back = load_motion(tmp_path / "talk.safetensors").known_neutral
    for name, value in motion[3].tensors().items():
        assert torch.equal(getattr(back, name), value)
    for version in ("2", "3"):
        path = saved_with(motion, tmp_path / f"{version}.safetensors", {"version": version})
        assert Motion.load(path).known_neutral is None


@pytest.mark.parametrize("changes", [{"neutral.scale": None}, {"neutral.rotation": torch.zeros(1, 3, 3)}])
def test_a_damaged_neutral_is_a_sentence(motion, tmp_path, changes):
    neutral = {f"neutral.{name}": value for name, value in motion[0].tensors().items()}
    path = saved_with(motion, tmp_path / "bad.safetensors", tensors=neutral | changes)
    with pytest.raises(MotionError, match=r"bad\.safetensors"):
        Motion.load(path)


def test_a_motion_of_before_there_were_torso_poses_is_read_without_one(motion, tmp_path):
    old = Motion.load(saved_with(motion, tmp_path / "old.safetensors", {"version": "1"}, {"torso_pose": None}))
    assert old.torso_pose.shape == (6, 0) and torch.equal(old.residual, motion.residual)


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.csv", "talk.mp4"])
def test_a_missing_file_or_another_kind_of_file_is_named(tmp_path, name):
    with pytest.raises(MotionError, match=name):
        load_motion(tmp_path / name)


@FUZZ
@given(st.binary(max_size=300))
def test_random_bytes_are_never_a_motion_and_never_another_error(tmp_path, content):
    for suffix in ("safetensors", "csv"):
        path = tmp_path / f"random.{suffix}"
        path.write_bytes(content)
        with pytest.raises(MotionError):
            load_motion(path)


# ---- tables


def test_live_link_face_signs_and_units_are_those_of_the_docstring(csv_file):
    rows = [
        ("10:00:00:00.000", {"HeadYaw": 0.5}),  # to the person's left: the image's right
        ("10:00:00:01.000", {"HeadPitch": 0.25}),  # up
        ("10:00:00:02.000", {"HeadRoll": 0.1}),  # to the person's right: the image's left
    ]
    angles = angles_from_rotation(Motion.from_arkit_csv(csv_file(live_link(rows))).rotation)
    torch.testing.assert_close(angles, torch.rad2deg(torch.tensor([[0.5, 0, 0], [0, 0.25, 0], [0, 0, -0.1]])))


def test_live_link_face_turns_about_the_neck_last(csv_file):
    rows = [("10:00:00:00.000", {"HeadYaw": 0.6, "HeadPitch": 0.3, "HeadRoll": 0.2})]
    rotation = Motion.from_arkit_csv(csv_file(live_link(rows))).rotation[0]
    yaw, pitch, roll = torch.rad2deg(torch.tensor([[0.6, 0, 0], [0, 0.3, 0], [0, 0, -0.2]]))
    parts = [rotation_from_angles(*angles) for angles in (yaw, pitch, roll)]
    torch.testing.assert_close(rotation, parts[0] @ parts[1] @ parts[2], atol=1e-6, rtol=0)


def test_live_link_face_scores_keep_their_side_in_any_column_order(csv_file):
    rows = [("10:00:00:00.000", {"MouthSmileLeft": 0.7, "EyeBlinkRight": 0.3, "LeftEyeYaw": 0.9})]
    for header in (LIVE_LINK_HEADER, LIVE_LINK_HEADER[::-1]):
        expression = Motion.from_arkit_csv(csv_file(live_link(rows, header))).expression[0]
        moved = {ARKIT_NAMES[i]: round(expression[i].item(), 6) for i in expression.nonzero().flatten()}
        assert moved == {"mouthSmileLeft": 0.7, "eyeBlinkRight": 0.3}


def timecodes(frames, base):
    return [f"23:59:{58 + f // base:02d}:{f % base:02d}.169" for f in frames]


@pytest.mark.parametrize(("base", "step", "fps"), [(60, 1, 60), (60, 2, 30), (30, 1, 30), (24, 1, 24), (25, 1, 25)])
def test_the_frame_rate_is_worked_out_from_the_time_codes(csv_file, base, step, fps):
    codes = timecodes(range(0, 2 * base, step), base)
    motion = Motion.from_arkit_csv(csv_file(live_link([(code, {}) for code in codes])))
    assert motion.fps == fps
    assert motion.num_frames == len(codes)


def test_time_codes_of_under_a_second_count_in_sixtieths(csv_file):
    rows = [("10:00:00:10.000", {}), ("10:00:00:12.000", {}), ("10:00:00:14.000", {})]
    assert Motion.from_arkit_csv(csv_file(live_link(rows))).fps == 30


def test_a_recording_may_run_past_midnight(csv_file):
    rows = [(f"{hms}:{f:02d}.000", {"JawOpen": 0.5}) for hms in ("23:59:59", "00:00:00", "00:00:01") for f in range(60)]
    motion = Motion.from_arkit_csv(csv_file(live_link(rows)))
    assert (motion.fps, motion.num_frames) == (60, 180)


@pytest.mark.parametrize("times", ["Timecode", "time"])
def test_a_clock_that_stands_still_gives_the_usual_or_a_stated_rate_and_a_warning(csv_file, caplog, times):
    text = live_link([("10:00:00:00.000" if times == "Timecode" else "7", {})] * 5).replace("Timecode", times)
    motion = Motion.from_arkit_csv(csv_file(text))
    assert (motion.fps, motion.num_frames) == (60, 5)
    assert "times do not tell" in caplog.text
    assert Motion.from_arkit_csv(csv_file(text), default_fps=50).fps == 50


def test_a_row_without_a_face_holds_the_last_one(csv_file):
    text = live_link(
        [(code, {"JawOpen": jaw}) for code, jaw in zip(timecodes(range(4), 60), (0.1, 0.2, 0.9, 0.4), strict=True)]
    )
    lines = text.splitlines()
    lines[3] = lines[3].replace(",61,", ",0,")  # the third frame
    lines[1] = lines[1].split(",")[0] + ",0"  # the first, cut off as the app does
    motion = Motion.from_arkit_csv(csv_file("\n".join(lines)))
    assert motion.found.tolist() == [False, True, False, True]
    np.testing.assert_allclose(motion.expression[:, JAW], [0.2, 0.2, 0.2, 0.4])


def test_a_plain_table_takes_degrees_and_any_subset_of_scores(csv_file):
    motion = Motion.from_arkit_csv(csv_file("fps,jawOpen,yaw,roll\n25,0.5,20,0\n25,0.25,-20,10\n"))
    assert motion.fps == 25
    np.testing.assert_allclose(motion.expression[:, JAW], [0.5, 0.25])
    torch.testing.assert_close(angles_from_rotation(motion.rotation), torch.tensor([[20.0, 0, 0], [-20, 0, 10]]))


@pytest.mark.parametrize(
    "text", ["jawOpen\n0.5\n0.25\n", "\ufeffJAWOPEN;fps\n0.5;60\n0.25;60\n", "jawOpen\tx\n0.5\t\n\n0.25\t1\n"]
)
def test_byte_order_marks_blank_lines_and_the_usual_separators_are_read(csv_file, text):
    motion = Motion.from_arkit_csv(csv_file(text))
    assert motion.fps == 60
    np.testing.assert_allclose(motion.expression[:, JAW], [0.5, 0.25])


def test_uneven_times_are_brought_to_the_frame_rate(csv_file):
    motion = Motion.from_arkit_csv(csv_file("time,fps,jawOpen,yaw\n5,10,0,0\n5.4,10,0.8,40\n5.5,10,0.8,40\n"))
    assert (motion.num_frames, motion.fps) == (6, 10)
    np.testing.assert_allclose(motion.expression[:, JAW], [0, 0.2, 0.4, 0.6, 0.8, 0.8], atol=1e-6)
    np.testing.assert_allclose(angles_from_rotation(motion.rotation)[:, 0], [0, 10, 20, 30, 40, 40], atol=1e-3)


def test_unknown_columns_are_named_in_a_warning(csv_file, caplog):
    with caplog.at_level(logging.WARNING):
        Motion.from_arkit_csv(csv_file("jawOpen,mood,LeftEyeYaw\n0.5,happy,0\n"))
    assert "mood" in caplog.text
    assert "LeftEyeYaw" not in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no rows"),
        ("jawOpen\n", "no rows"),
        ("mood,time\nhappy,0\n", "no column"),
        ("time,jawOpen\n0,0.1\n1,wide\n", 'row 3, column jawOpen: "wide" is not a number'),
        ("jawOpen,yaw\n0.1,\n", "row 2, column yaw: the cell is empty"),
        ("jawOpen\n0.1\nnan\n", "row 3, column jawOpen"),
        ("jawOpen\n7\n", "go up to 7"),
        ("jawOpen,JawOpen\n0,0\n", "twice"),
        ("yaw,HeadYaw\n0,0\n", "both"),
        ("time,jawOpen\n0,0\n1,0\n2,0\n1e9,0\n", "too long"),
        ("time,jawOpen\n0,0\n1e308,0\n", "frame rate"),
        ("fps,jawOpen\n0,0\n", "frame rate"),
        ("Timecode,JawOpen\nnoon,0\n", 'row 2: "noon" is not a time code'),
        ("BlendshapeCount,JawOpen\n0,0.5\n", "No row"),
        ("yaw\n1e300\n", "not finite"),
    ],
)
def test_a_table_that_cannot_be_used_says_where_and_why(csv_file, text, sentence):
    with pytest.raises(MotionError, match=sentence):
        Motion.from_arkit_csv(csv_file(text))


CELL = st.one_of(
    st.sampled_from(["0.5", "", "0", "-1", "1e308", "nan", "1e-320", "61", "10:00:00:01.5", "99:99:99:999", '"', "é"]),
    st.text(max_size=4),
)
HEADER_CELL = st.sampled_from(["jawOpen", "time", "fps", "Timecode", "BlendshapeCount", "yaw", "HeadYaw", "mood", ""])


@FUZZ
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(st.lists(HEADER_CELL, min_size=1, max_size=4), st.lists(st.lists(CELL, max_size=4), max_size=5))
def test_a_random_table_is_a_motion_or_a_motion_error(tmp_path, header, rows):
    path = tmp_path / "random.csv"
    path.write_text("\n".join(",".join(cells) for cells in [header, *rows]), encoding="utf-8", errors="replace")
    try:
        assert Motion.from_arkit_csv(path).num_frames >= 1
    except MotionError as error:
        assert str(error).endswith(".")


# ---- sliders


def test_one_key_frame_is_one_frame_or_a_still_of_a_given_length():
    motion = Motion.from_sliders({"jawOpen": 0.4, "yaw": 20, "pitch": -10})
    assert motion.num_frames == 1
    assert motion.expression[0, JAW].item() == pytest.approx(0.4)
    torch.testing.assert_close(angles_from_rotation(motion.rotation), torch.tensor([[20.0, -10.0, 0.0]]))
    assert Motion.from_sliders({"jawOpen": 0.4}, fps=30, duration=2).num_frames == 60


def test_sliders_pass_through_their_key_frames_smoothly_without_overshoot():
    motion = Motion.from_sliders(
        [{"time": 1, "jawOpen": 1}, {"jawOpen": 0}, {"time": 2, "jawOpen": 1, "yaw": 30}], fps=50
    )
    jaw = motion.expression[:, JAW]
    assert motion.num_frames == 101
    np.testing.assert_allclose(jaw[[0, 50, 100]], [0, 1, 1], atol=1e-6)
    assert jaw.min() >= 0
    assert jaw.max() <= 1
    assert jaw.diff().abs().max() < 2 / 50  # no jump: at most twice the mean speed
    torch.testing.assert_close(angles_from_rotation(motion.rotation)[:, 0], torch.full((101,), 30.0))


@pytest.mark.parametrize(
    ("keyframes", "sentence"),
    [
        ([], "no key frames"),
        ({"jawopen": 1}, "did you mean jawOpen"),
        ([{}, {"time": -1, "jawOpen": 1}], "Key frame 2"),
        ({"jawOpen": "wide"}, "not a number"),
        ({"jawOpen": float("inf")}, "not a number"),
        ([{"jawOpen": 0}, {"jawOpen": 1}], "Two key frames"),
        ({"time": 1e308, "jawOpen": 1}, "too long"),
    ],
)
def test_sliders_that_cannot_be_used_say_which(keyframes, sentence):
    with pytest.raises(MotionError, match=sentence):
        Motion.from_sliders(keyframes)


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": -5}, {"duration": float("nan")}, {"duration": 1e9}])
def test_a_frame_rate_or_duration_that_makes_no_clip_is_refused(options):
    with pytest.raises(MotionError):
        Motion.from_sliders({"jawOpen": 1}, **options)
