from dataclasses import replace

import numpy as np
import pytest

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import NoFaceError
from invertavatar.evaluation.protocols import SIZE, Evaluation
from invertavatar.evaluation.report import flat, markdown, write_report
from invertavatar.evaluation.turned import compared_frames, photo_frames, turned
from invertavatar.metrics.angles import BUCKETS, bucket, yaw
from tests.evaluation.stand_ins import Mirror, nowhere, perfect

YAWS = (-4.0, -25.0, 0.0, 3.0, 14.0, 22.0, 36.0, -12.0)  # degrees: photos are frames 1, 3 and 6


def turning(clip, yaws=YAWS):
    """The clip, its head said to turn by so many degrees in each frame that has a track."""
    tracks = (
        track and replace(track, rotation=rotation_from_angles(degrees).numpy())
        for track, degrees in zip(clip.tracks, yaws, strict=True)
    )
    return replace(clip, tracks=tuple(tracks))


def angles(yaws=YAWS, photos=(1, 3, 6)):
    """Between each photo and each other frame, with the photo's own yaw."""
    return [(abs(yaws[p] - yaws[f]), yaws[p]) for p in photos for f in range(len(yaws)) if f != p]


# Which pairs


def test_photos_are_the_frames_that_look_farthest_to_either_side_and_the_one_between():
    assert photo_frames(turning(nowhere(8))) == [1, 3, 6]
    assert photo_frames(turning(nowhere(8, missing={1, 6}))) == [3, 5, 7]  # never a frame without a face


def test_frames_to_compare_run_evenly_from_the_first_to_the_last_with_a_face():
    assert compared_frames(nowhere(40), 14) == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39]
    assert compared_frames(nowhere(10, missing={0, 4}), 3) == [1, 6, 9]
    assert compared_frames(nowhere(5), 14) == [0, 1, 2, 3, 4]  # each once


@pytest.mark.parametrize("degrees", [-70.0, -20.0, 0.0, 35.0])
def test_yaw_is_the_camera_s_and_a_nod_has_none(degrees):
    assert yaw(rotation_from_angles(degrees).numpy()) == pytest.approx(degrees, abs=1e-3)
    assert yaw(rotation_from_angles(0, degrees).numpy()) == pytest.approx(0, abs=1e-3)


def test_buckets_meet_without_gap_or_overlap():
    assert [bucket(angle) for angle in (0, 4.999, 5, 9.999, 10, 15, 19.999, 20, 29.999, 30, 170)] == [
        *("< 5", "< 5", "5-10", "5-10", "10-15", "15-20", "15-20", "20-30", "20-30", "> 30", "> 30")
    ]


# Scores


@pytest.fixture(scope="module")
def flawless(clips, judge):
    """What the protocol yields for an avatar that shows the truth, and what it asked."""
    evaluation = perfect([turning(clips[0])], judge)
    return turned(evaluation), evaluation


def test_each_pair_is_in_the_bucket_of_its_angle_and_of_its_photo_s_own_yaw(flawless):
    scores = flawless[0].scores
    for name in BUCKETS:
        for case, chosen in (
            (name, angles()),
            (f"{name}, frontal photo", [pair for pair in angles() if abs(pair[1]) < 20]),
            (f"{name}, turned photo", [pair for pair in angles() if abs(pair[1]) > 20]),
        ):
            inside = [angle for angle, _ in chosen if bucket(angle) == name]
            assert (case in scores) == bool(inside)
            if inside:
                assert scores[case]["count"] == len(inside)
                assert scores[case]["angle"] == pytest.approx(np.mean(inside), abs=0.01)
    assert sum(scores[name]["count"] for name in BUCKETS if name in scores) == 3 * 7  # no photo against itself


def test_every_avatar_is_of_one_photo(flawless):
    assert {avatar.modes for avatar in flawless[1].pipe.drawn} == {("gru",)}


def test_an_avatar_that_shows_the_truth_is_perfect_at_every_angle(flawless):
    for scores in flawless[0].scores.values():
        assert (scores["psnr"], scores["l1"], scores["lpips"], scores["csim"], scores["akd"]) == pytest.approx(
            (100, 0, 0, 1, 0), abs=1e-6
        )
        assert scores["missed"] == 0


def test_an_avatar_without_a_face_is_compared_by_pixels_and_missed_by_the_rest(clips, judge):
    nothing = Mirror(lambda motion: np.full((SIZE, SIZE, 3), 128, np.uint8))
    for scores in turned(Evaluation(nothing, [turning(clips[0])], judge), num_frames=3).scores.values():
        assert scores["missed"] == scores["count"] > 0
        assert scores["psnr"] < 25 and "csim" not in scores


def test_a_frame_that_is_no_photo_for_want_of_a_face_is_left_out_with_a_warning(clips, judge, caplog):
    evaluation = perfect([turning(clips[0])], judge)
    prepare = evaluation.portraits

    def blind(clip, frames):
        if 6 in frames:
            raise NoFaceError("No face found.")
        return prepare(clip, frames)

    evaluation.portraits = blind
    scores = turned(evaluation, num_frames=3).scores  # 0, 4 and 7
    assert "talk_a.mp4, frame 6 is left out as a photo: No face found." in caplog.text
    assert sum(scores[name]["count"] for name in BUCKETS if name in scores) == 2 * 3


# What is left behind


def test_the_sheet_shows_each_clip_at_its_two_largest_angles(flawless):
    outcome, evaluation = flawless
    (clip,), ((name, pictures),) = evaluation.clips, outcome.sheet
    assert name == "talk_a, 61 and 61°"  # frames 1 and 6, either way round
    photos = [portrait.picture for portrait in evaluation.portraits(clip, [1, 6])]
    truths = [target.face.picture for target in evaluation.targets(clip, [6, 1])]
    shown = [photos[0], truths[0], truths[0], photos[1], truths[1], truths[1]]
    for picture, expected in zip(pictures, shown, strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_a_report_has_a_row_for_each_bucket_a_sheet_and_the_numbers(flawless, tmp_path):
    outcome, _ = flawless
    write_report(tmp_path, {"turned": outcome}, {"clips": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "metrics.md", "turned.jpg"}
    table = markdown({"turned": outcome}, {})
    assert "| degrees | angle ° | PSNR dB ↑ | L1 ↓ | LPIPS ↓ | CSIM ↑ | AKD % ↓ | compared | missed |" in table
    for case, scores in flat(outcome.scores).items():
        row = f"| {case} | {scores['angle']:.1f} | 100.00 | 0.0000 | 0.000 | 1.000 | 0.00 | {scores['count']} | 0 |"
        assert row in table
