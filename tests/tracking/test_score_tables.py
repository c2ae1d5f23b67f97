"""Tables of scores as programs write them: every spelling of names, times and numbers gives the same motion."""

import json
import logging
import math
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
import torch

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.driver_reader import load_motion
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.table_columns import AXES, find_columns

JAW, BLINK = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("eyeBlinkLeft")
SCORES = [round(0.4 - 0.4 * math.cos(i * math.pi / 15), 4) for i in range(60)]


@pytest.fixture
def read(tmp_path):
    """The motion of a table."""

    def read(text, name="take.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_motion(path, **options)

    return read


def table(times, header="time,jawOpen", scores=SCORES, separator=","):
    rows = (f"{time}{separator}{score}" for time, score in zip(times, scores, strict=False))
    return "\n".join([header.replace(",", separator), *rows]) + "\n"


def is_reference(motion):
    assert (motion.num_frames, motion.fps) == (60, 30)
    np.testing.assert_allclose(motion.expression[:, JAW], SCORES, atol=1e-6)


# ---- times


def smpte(i, base=30, separator=":"):
    return f"10:00:{i // base:02}{separator}{i % base:02}"


def clock(seconds, digits=6):
    minutes, seconds_left = divmod(seconds, 60)
    return f"{minutes // 60:02.0f}:{minutes % 60:02.0f}:{seconds_left:0{digits + 2 + (digits > 0)}.{digits}f}"


SPELLINGS = {
    "decimal seconds": ("time", lambda i: f"{i / 30:.4f}"),
    "seconds with two digits": ("timestamp", lambda i: f"{i / 30:.2f}"),
    "seconds since the start of a machine": ("Timestamp", lambda i: f"{81234.5 + i / 30:.6f}"),
    "seconds since 1970": ("timestamp", lambda i: f"{1700000000 + i / 30:.3f}"),
    "milliseconds since 1970": ("timestamp", lambda i: f"{1700000000000 + round(i * 1000 / 30)}"),
    "nanoseconds since 1970": ("timestamp", lambda i: f"{1700000000000000000 + i * 10**9 // 30}"),
    "microseconds": ("t", lambda i: f"{i * 10**6 // 30}"),
    "milliseconds": ("time", lambda i: f"{i * 1000 / 30:.1f}"),
    "milliseconds by their name": ("time_ms", lambda i: f"{i * 1000 / 30:.1f}"),
    "a unit in brackets": ("Time [s]", lambda i: f"{i / 30:.4f}"),
    "numbers with their unit": ("time", lambda i: f"{i * 1000 / 30:.2f} ms"),
    "a timedelta of Python": ("Timecode", lambda i: str(timedelta(seconds=round(i / 30, 6)))),
    "a timedelta of pandas": ("time", lambda i: f"0 days {clock(i / 30)}"),
    "a clock with milliseconds": ("Timecode", lambda i: clock(3600 + i / 30, 3)),
    "a clock with a comma": ("time", lambda i: f'"{clock(i / 30, 3).replace(".", ",")}"'),
    "minutes and seconds": ("time", lambda i: clock(i / 30, 3)[3:]),
    "an ISO duration": ("time", lambda i: f"PT{i / 30:.6f}S"),
    "a date with a clock": (
        "datetime",
        lambda i: (datetime(2024, 5, 1, 23, 59, 59) + timedelta(seconds=i / 30)).isoformat(),
    ),
    "a date in UTC": ("timestamp", lambda i: f"2024-05-01T{clock(i / 30, 3)}Z"),
    "an American date": ("timestamp", lambda i: f"5/1/2024 {clock(11 * 3600 + i / 30, 3)} PM"),
    "time codes of a base of 30": ("Timecode", lambda i: smpte(i)),
    "time codes of a base of 60": ("Timecode", lambda i: f"{smpte(2 * i, 60)}.169"),
    "frames behind a point": ("Timecode", lambda i: smpte(i, separator=".")),
    "milliseconds behind a colon": ("Timecode", lambda i: f"10:00:{i // 30:02}:{i % 30 * 1000 // 30:03}"),
    "a wrap at midnight": ("Timecode", lambda i: f"{('23:59:59', '00:00:00')[i // 30]}:{i % 30:02}.000"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_times_are_read_however_they_are_written(read, caplog, spelling):
    name, write = SPELLINGS[spelling]
    motion = read(table(map(write, range(60)), f"{name},jawOpen"))
    is_reference(motion)
    assert not caplog.records


def test_a_drop_frame_code_leaves_names_out_and_not_time(read):
    def code(i, drop):
        frame = 59 * 30 + i  # from 01:00:59 on; :00 and :01 of the next minute do not exist
        frame += 2 if drop and frame >= 1800 else 0
        return f"10:{frame // 1800:02}:{frame // 30 % 60:02}{';' if drop == ';' else ':'}{frame % 30:02}"

    for drop in (";", ":"):
        motion = read(table(code(i, drop) for i in range(60)).replace("time,", "Timecode,"))
        assert (motion.num_frames, motion.fps) == (60, Fraction(30000, 1001))
        np.testing.assert_allclose(motion.expression[:, JAW], SCORES, atol=1e-6)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), 25, Fraction(30000, 1001), 50, Fraction(60000, 1001), 120])
def test_rates_of_films_are_told_apart_by_their_times(read, fps):
    motion = read(table((f"{i / float(fps):.4f}" for i in range(240)), scores=SCORES * 4))
    assert (motion.fps, motion.num_frames) == (fps, 240)


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("fps", [10, 24, 60, 240])
def test_the_unit_of_plain_numbers_is_the_one_that_makes_a_frame_rate(read, unit, fps):
    assert read(table(f"{i * unit / fps:.6f}" for i in range(60))).fps == fps


def test_key_frames_some_seconds_apart_are_taken_at_their_word(read, caplog):
    motion = read("time,jawOpen\n0,0\n2,1\n5,0\n", fps=10)
    np.testing.assert_allclose(motion.expression[[0, 10, 20, 35, 50], JAW], [0, 0.5, 1, 0.5, 0], atol=1e-6)
    assert not caplog.records


def test_a_row_that_repeats_a_time_is_left_out_and_named(read, caplog):
    rows = table(smpte(i) for i in range(60)).replace("time,", "Timecode,").splitlines()
    rows.insert(31, rows[30])
    is_reference(read("\n".join(rows)))
    assert "row 32" in caplog.text


def test_a_row_that_comes_late_is_put_where_it_belongs(read, caplog):
    rows = table(f"{i / 30:.4f}" for i in range(60)).splitlines()
    rows[20], rows[21] = rows[21], rows[20]
    is_reference(read("\n".join(rows)))
    assert "row 22" in caplog.text


def test_a_clock_that_is_set_back_goes_on(read, caplog):
    is_reference(read(table(f"{i % 30 / 30:.4f}" for i in range(60))))
    assert "row 32" in caplog.text and "jumps back" in caplog.text


def test_a_row_without_a_time_lies_between_its_neighbours(read, caplog):
    is_reference(read(table("" if i in (7, 8) else f"{i / 30:.4f}" for i in range(60))))
    assert "row 9" in caplog.text


def test_dropped_frames_leave_a_gap_that_is_filled(read):
    kept = [i for i in range(60) if not 20 <= i < 26]
    for name, times in {"time": [f"{i / 30:.4f}" for i in kept], "frame": kept}.items():
        text = table(times, f"{name},jawOpen", [SCORES[i] for i in kept])
        motion = read(text, fps=30)
        assert (motion.num_frames, motion.fps) == (60, 30)
        np.testing.assert_allclose(motion.expression[kept, JAW], [SCORES[i] for i in kept], atol=1e-3)
        np.testing.assert_allclose(
            motion.expression[22, JAW], np.interp(22, [19, 26], [SCORES[19], SCORES[26]]), atol=1e-3
        )


@pytest.mark.parametrize("write", [lambda i: smpte(30 * i), lambda i: i, lambda i: clock(i, 0)])
def test_rows_a_second_apart_are_doubted_and_a_rate_can_be_stated(read, caplog, write):
    text = table(map(write, range(60)), "Timecode,jawOpen")
    assert (read(text).fps, read(text).duration) == (1, 60)
    assert "--fps 30" in caplog.text
    caplog.clear()
    is_reference(read(text, fps=30))
    assert not caplog.records


def test_of_a_clock_that_counts_whole_seconds_rows_are_spread_evenly(read, caplog):
    motion = read(table(clock(i // 30, 0) for i in range(90)).replace("time,", "Timecode,"), fps=None)
    assert motion.fps == 30
    assert "30 per second" in caplog.text


def test_a_table_without_times_says_so_and_takes_the_stated_rate(read, caplog):
    assert read("jawOpen\n" + "\n".join(map(str, SCORES))).fps == 60
    assert "states no times" in caplog.text
    caplog.clear()
    is_reference(read("jawOpen\n" + "\n".join(map(str, SCORES)), fps=30))
    assert not caplog.records


@pytest.mark.parametrize("fps", [15, 25, 60, Fraction(30000, 1001)])
def test_a_stated_rate_resamples_a_table_of_known_times_in_its_own_length(read, fps):
    motion = read(table((f"{i / 30:.5f}" for i in range(60)), "time,yaw", range(60)), fps=fps)
    assert motion.fps == fps
    assert motion.duration == pytest.approx(2, abs=0.5 / fps)
    expected = (np.arange(len(motion)) * 30 / float(fps)).clip(max=59)
    np.testing.assert_allclose(angles_from_rotation(motion.rotation)[:, 0], expected, atol=0.06)


# ---- names


def test_no_spelling_means_two_axes():
    assert len(set(AXES.values())) == 52
    for spelling, axis in AXES.items():
        assert {letter for letter in spelling} <= {letter for letter in axis.lower()} | set("lr")


@pytest.mark.parametrize(
    "write",
    [
        lambda base, side: f"{base}{side}",
        lambda base, side: f"{base[0].upper()}{base[1:]}{side}",
        lambda base, side: f"{base}{side}".upper(),
        lambda base, side: f"{base}{side}".lower(),
        lambda base, side: f"{base}_{side[:1]}".rstrip("_"),
        lambda base, side: f"{base}{side[:1]}",
        lambda base, side: f"{side[:1]}_{base}".lstrip("_"),
        lambda base, side: f"{side.lower()} {base}".lstrip(),
        lambda base, side: "".join(f"_{c.lower()}" if c.isupper() else c for c in f"{base}{side}"),
        lambda base, side: f"blendShapes.{base[0].upper()}{base[1:]}{side}",
        lambda base, side: f"Face|head_geo.{base}_{side[:1]}".rstrip("_"),
        lambda base, side: f"arkit_{base}{side}",
        lambda base, side: f"anna:{base}.{side[:1]}".rstrip("."),
        lambda base, side: f"{base}{side} (%)",
        lambda base, side: f"{base}{side}_weight",
    ],
)
def test_names_are_read_however_they_are_spelt(caplog, write):
    parts = []
    for axis in ARKIT_NAMES:
        side = next((side for side in ("Left", "Right") if axis.endswith(side)), "")
        parts.append((axis.removesuffix(side), side))
    index = find_columns("t", [write(*part) for part in parts]).index
    assert index == {axis: i for i, axis in enumerate(ARKIT_NAMES)}
    assert not caplog.records


def test_a_plain_name_goes_before_the_same_one_behind_a_prefix(caplog):
    with caplog.at_level(logging.WARNING):
        index = find_columns("t", ["raw_jawOpen", "jawOpen", "upper_mouth_left", "left_eye_yaw"]).index
    assert index == {"jawOpen": 1}
    assert len(caplog.records) == 1
    assert "raw_jawOpen, upper_mouth_left." in caplog.text


# ---- numbers and text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_of_european_spreadsheets_are_read_in_every_encoding(read, encoding, separator):
    text = table((f"{i / 30:.4f}" for i in range(60)), separator=separator).replace(".", ",")
    is_reference(read(text.replace("\n", "\r\n").encode(encoding), "take.txt"))


def test_excel_s_first_line_and_comments_are_no_header(read):
    is_reference(read("sep=;\n" + table((f"{i / 30:.4f}" for i in range(60)), separator=";")))
    is_reference(read("# made by hand\n" + table(f"{i / 30:.4f}" for i in range(60))))


def test_decimal_commas_between_commas_are_refused_with_the_cure(read):
    with pytest.raises(MotionError, match=r"row 2 has more cells.*semicolons"):
        read("time,jawOpen\n0,0,0,25\n0,04,0,5\n")


@pytest.mark.parametrize("write", [lambda score: f"{100 * score:.2f}", lambda score: f"{100 * score:.2f}%"])
def test_percentages_are_shares(read, write):
    is_reference(read(table((f"{i / 30:.4f}" for i in range(60)), scores=map(write, SCORES))))


def test_one_score_out_of_all_others_is_an_error_with_its_place(read):
    scores = [87 if i == 30 else score for i, score in enumerate(SCORES)]
    with pytest.raises(MotionError, match=r"up to 87 \(row 32, jawOpen\)"):
        read(table((f"{i / 30:.4f}" for i in range(60)), scores=scores))
    with pytest.raises(MotionError, match="up to 255"):
        read("jawOpen\n255\n")


@pytest.mark.parametrize("name", ["HeadYaw", "head_yaw", "HeadYaw (deg)", "yaw_rad", "yaw"])
def test_angles_are_degrees_or_radians_by_name_and_size(read, name):
    radians = name in ("yaw_rad",)
    motion = read(f"fps,{name}\n25,{math.radians(20) if radians else 20}\n")
    assert angles_from_rotation(motion.rotation)[0, 0] == pytest.approx(20, abs=1e-3)


# ---- JSON


def audio2face(**changes):
    names = ["eyeBlinkLeft", "jawOpen"]
    weights = [[0.25, score] for score in SCORES]
    export = {"exportFps": 30.0, "trackPath": "a.wav", "numPoses": 2, "numFrames": 60, "facsNames": names}
    return {**export, "weightMat": weights, **changes}


def streamed(i):
    face = {"Names": ["EyeBlinkLeft", "JawOpen"], "Weights": [0.25, SCORES[i]]}
    return {"Audio2Face": {"Body": {}, "Facial": face, "FrameTiming": {"FPS": 30}}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(audio2face()),
        json.dumps(audio2face(joints=["jaw"], rotations=[[[0, 0, 0, 1]]] * 60), indent=2),
        "\n".join(json.dumps(streamed(i)) for i in range(60)),
        json.dumps([streamed(i) for i in range(60)]),
        json.dumps([{"time": i / 30, "blendshapes": {"jawOpen": SCORES[i], "eyeBlinkLeft": 0.25}} for i in range(60)]),
        json.dumps({"fps": 30, "frames": [{"jawOpen": score, "eyeBlink_L": 0.25} for score in SCORES]}),
        json.dumps(
            {
                "names": ["jawOpen", "eyeBlinkLeft"],
                "metadata": {"fps": 30},
                "frames": [{"weights": [SCORES[i], 0.25], "time": i / 30, "rotation": []} for i in range(60)],
            }
        ),
    ],
)
def test_json_of_audio2face_and_lists_of_frames_are_tables(read, text):
    motion = read(text, "a2f.json")
    is_reference(motion)
    np.testing.assert_allclose(motion.expression[:, BLINK], 0.25)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no frames"),
        ("{", "no scores"),
        ("[1, 2]", "no scores"),
        ("{}", "no scores"),
        ("[" * 5000, "no scores"),
        (json.dumps(audio2face(weightMat=[[0.1]])), "as many weights"),
        (json.dumps(audio2face(weightMat=[])), "no frames"),
        (json.dumps(audio2face(facsNames=["browLowerL", "cheekRaiserL"])), "no column that moves a head"),
        (json.dumps(audio2face(weightMat=[[0.1, None]])), "row 1, column jawOpen: the cell is empty"),
        (json.dumps(audio2face(exportFps="fast")), "no scores"),
        (json.dumps(audio2face(exportFps=0)), "frame rate"),
    ],
)
def test_json_that_holds_no_scores_is_a_sentence(read, text, sentence):
    with pytest.raises(MotionError, match=rf"(?s){sentence}.*\.$"):
        read(text, "a2f.json")


# ---- Live Link Face, written


@pytest.mark.parametrize(
    "fps", [Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, Fraction(60000, 1001), 60, 5]
)
@pytest.mark.parametrize("num_frames", [4, 70])
def test_a_motion_written_as_a_live_link_face_table_comes_back(tmp_path, fps, num_frames):
    generator = torch.Generator().manual_seed(1)
    found = torch.ones(num_frames, dtype=torch.bool)
    expression = torch.rand(num_frames, 52, generator=generator)
    rotation = rotation_from_angles(*(torch.rand(3, num_frames, generator=generator) * 80 - 40))
    found[2], expression[2], rotation[2] = False, expression[1], rotation[1]
    Motion(rotation=rotation, expression=expression, found=found, fps=fps).save(tmp_path / "take.csv")
    back = load_motion(tmp_path / "take.csv")
    assert (back.fps, back.num_frames) == (fps, num_frames)
    assert torch.equal(back.found, found)
    torch.testing.assert_close(back.expression, expression, atol=1e-7, rtol=0)
    torch.testing.assert_close(back.rotation, rotation, atol=1e-6, rtol=0)


def test_the_written_table_is_one_of_the_app(tmp_path):
    Motion.from_sliders({"jawOpen": 0.5, "yaw": 20, "eyeLookOutRight": 0.5, "eyeLookInLeft": 0.4}, duration=2).save(
        tmp_path / "take.csv"
    )
    header, first, *rows = (tmp_path / "take.csv").read_text().splitlines()
    assert header.startswith("Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,") and len(rows) == 49
    assert header.endswith(
        "TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
    )
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells["Timecode"] == "00:00:00:24.000" and rows[0].startswith("00:00:01:00.000,61,")
    assert cells["BlendshapeCount"] == "61" and float(cells["JawOpen"]) == 0.5
    assert float(cells["HeadYaw"]) == pytest.approx(math.radians(20), abs=1e-6)
    # As in recordings: positive to the person's right, and called left where the right eye's scores are.
    assert float(cells["LeftEyeYaw"]) == pytest.approx(0.3) and float(cells["RightEyeYaw"]) == pytest.approx(0.24)


def test_a_motion_without_any_face_is_not_written_as_a_table(tmp_path):
    with pytest.raises(MotionError, match="nothing to write"):
        Motion(rotation=torch.eye(3)[None], expression=torch.zeros(1, 52), found=[False]).save(tmp_path / "t.csv")
