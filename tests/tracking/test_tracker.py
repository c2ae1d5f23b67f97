import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from invertavatar.camera import angles_from_rotation, project
from invertavatar.errors import InvertAvatarError, NoFaceError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.pose import write_template
from invertavatar.tracking.tracker import DEFAULT_FOLDER, FaceTracker

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
LEFT_EYE = [362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382]  # the person's own left


@pytest.fixture(scope="module")
def tracker():
    with FaceTracker.from_pretrained() as tracker:
        yield tracker


def photo(name):
    return cv2.cvtColor(cv2.imread(str(EXAMPLES / f"{name}.jpg")), cv2.COLOR_BGR2RGB)


def clip(name, count):
    video = cv2.VideoCapture(str(EXAMPLES / f"{name}.mp4"))
    return [cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in range(count)]


def angles(track):
    return angles_from_rotation(torch.from_numpy(track.rotation)).numpy()


def turned(image, degrees):
    """The picture turned clockwise about its middle."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def beside(*images):
    """Pictures side by side on one canvas."""
    height = max(image.shape[0] for image in images)
    return np.hstack([cv2.copyMakeBorder(i, 0, height - len(i), 0, 0, cv2.BORDER_REPLICATE) for i in images])


def face_heights(track, other):
    """Root mean square distance of two tracks' vertices in face heights."""
    return np.sqrt(((track.vertices - other.vertices) ** 2).sum(-1).mean()) / np.ptp(track.vertices[:, 1])


# Pose


@pytest.mark.parametrize("person", ["anna", "ben", "dan", "finn"])
def test_yaw_is_negative_when_the_face_turns_to_the_left_of_the_image_and_positive_to_the_right(tracker, person):
    assert angles(tracker.detect(photo(f"{person}_2")))[0] < -10
    assert angles(tracker.detect(photo(f"{person}_3")))[0] > 10


def test_a_mirrored_picture_has_mirrored_yaw_and_roll_and_the_same_pitch(tracker):
    image = turned(photo("ben_2"), 8)
    np.testing.assert_allclose(
        angles(tracker.detect(image[:, ::-1])), angles(tracker.detect(image)) * [-1, 1, -1], atol=2.5
    )


def test_turning_the_picture_clockwise_adds_to_the_roll_and_leaves_the_head_as_it_is(tracker):
    image = photo("anna_1")
    upright, rolled = tracker.detect(image), tracker.detect(turned(image, 20))
    assert angles(rolled)[2] - angles(upright)[2] == pytest.approx(20, abs=0.3)
    assert face_heights(rolled, upright) < 0.005


@pytest.mark.parametrize("degrees", [90, 180, 225])
def test_a_photo_lying_on_its_side_or_upside_down_is_recognised_as_such(tracker, degrees):
    roll = angles(tracker.detect(turned(photo("anna_3"), degrees)))[2]
    expected = degrees + angles(tracker.detect(photo("anna_3")))[2]
    assert (roll - expected + 180) % 360 - 180 == pytest.approx(0, abs=2)


def test_vertices_and_pose_give_back_the_landmarks(tracker):
    track = tracker.detect(photo("dan_3"))
    points = track.scale * track.vertices @ track.rotation.T * [1, -1, -1]
    np.testing.assert_allclose(points[:, :2] + track.centre, track.landmarks[:, :2], atol=1e-2)


# Robustness


@pytest.mark.parametrize("framing", ["zoomed out", "shifted"])
def test_the_head_does_not_depend_on_how_the_picture_is_framed(tracker, framing):
    image = photo("finn_3")
    whole = tracker.detect(image)
    if framing == "zoomed out":
        framed = cv2.copyMakeBorder(image, 300, 300, 300, 300, cv2.BORDER_REPLICATE)
    else:
        framed = np.roll(image, (-20, 30), (0, 1))
    assert face_heights(tracker.detect(framed), whole) < 0.005


def test_a_photo_of_100_pixels_is_tracked_like_the_large_one(tracker):
    large = tracker.detect(photo("dan_1"))
    small = tracker.detect(cv2.resize(photo("dan_1"), (100, 100), interpolation=cv2.INTER_AREA))
    assert small.size == (100, 100)
    np.testing.assert_allclose(small.centre, large.centre * 100 / 768, atol=0.5)
    assert face_heights(small, large) < 0.015


def test_a_face_of_a_twentieth_of_a_4000_pixel_photo_is_found(tracker):
    canvas = np.full((3000, 4000, 3), 110, np.uint8)
    canvas[700:1164, 2300:2764] = cv2.resize(photo("anna_1"), (464, 464), interpolation=cv2.INTER_AREA)
    track = tracker.detect(canvas)
    expected = tracker.detect(photo("anna_1")).centre * 464 / 768 + [2300, 700]
    np.testing.assert_allclose(track.centre, expected, atol=1.5)


def test_a_face_that_fills_its_picture_is_found(tracker):
    image = photo("anna_1")
    whole = tracker.detect(image)
    x, y = whole.centre.astype(int)
    half = int(0.35 * whole.scale)
    tight = tracker.detect(image[y - half : y + half, x - half : x + half])
    np.testing.assert_allclose(tight.centre, half, atol=0.1 * whole.scale)


def test_a_picture_without_a_face_is_an_error_that_names_it(tracker):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    with pytest.raises(NoFaceError, match=r"holiday\.png.*larger than 64 px"):
        tracker.detect(noise, name="holiday.png")


def test_a_picture_of_another_type_is_an_error_that_says_so(tracker):
    with pytest.raises(InvertAvatarError, match=r"front\.jpg is float32 \[64, 64, 3\]"):
        tracker.detect(np.zeros((64, 64, 3), np.float32), name="front.jpg")


# Several faces


def test_face_index_chooses_by_size_and_several_large_faces_are_worth_a_warning(tracker, caplog):
    small = cv2.resize(photo("ben_1"), (560, 560), interpolation=cv2.INTER_AREA)
    group = beside(small, photo("anna_1"))
    largest = tracker.detect(group, name="group.jpg")
    assert largest.num_faces == 2
    assert largest.centre[0] > 560
    assert "2 faces" in caplog.text and "group.jpg" in caplog.text
    assert tracker.detect(group, face_index=1).centre[0] < 560
    with pytest.raises(NoFaceError, match=r"no face number 2 in group\.jpg: 2 found"):
        tracker.detect(group, name="group.jpg", face_index=2)


def test_one_face_is_no_reason_for_a_warning(tracker, caplog):
    assert tracker.detect(photo("ben_1")).num_faces == 1
    assert not caplog.records


# Expression


def test_eye_blink_left_closes_the_person_s_own_left_eye_on_the_image_s_right(tracker):
    image = photo("clara_1")
    eye = tracker.detect(image).landmarks[LEFT_EYE, :2]
    assert eye[:, 0].min() > image.shape[1] / 2
    lid = np.zeros(image.shape[:2], np.uint8)
    around = eye.mean(0) + (eye - eye.mean(0)) * [1.15, 1.5]
    cv2.fillConvexPoly(lid, cv2.convexHull(around.round().astype(np.int32)), 255)
    wink = cv2.inpaint(image, lid, 5, cv2.INPAINT_TELEA)
    cv2.polylines(wink, [eye[8:].round().astype(np.int32)], False, (60, 40, 30), 3)
    change = tracker.detect(wink).expression - tracker.detect(image).expression
    assert change[ARKIT_NAMES.index("eyeBlinkLeft")] > 0.15
    assert abs(change[ARKIT_NAMES.index("eyeBlinkRight")]) < 0.08


def test_jaw_open_follows_the_gap_between_the_lips(tracker):
    tracks = list(tracker.detect_video(clip("talk_b", 40), 25))
    jaw = [track.expression[ARKIT_NAMES.index("jawOpen")] for track in tracks]
    gap = [track.vertices[13, 1] - track.vertices[14, 1] for track in tracks]
    assert np.corrcoef(jaw, gap)[0, 1] > 0.8


def test_the_tongue_is_not_measured(tracker):
    assert tracker.detect(photo("eva_4")).expression[ARKIT_NAMES.index("tongueOut")] == 0


# Video


def test_a_video_s_frames_are_tracked_as_if_they_were_photos(tracker):
    frames = clip("talk_a", 12)
    for frame, track in list(zip(frames, tracker.detect_video(frames, 25), strict=True))[::4]:
        assert face_heights(track, tracker.detect(frame)) < 0.006


def test_frames_without_a_face_give_none_and_the_face_is_found_again(tracker):
    frames = clip("talk_a", 4)
    frames[1:3] = [np.full_like(frames[0], 90)] * 2
    assert [track is not None for track in tracker.detect_video(frames, 25)] == [True, False, False, True]


def test_a_video_stays_with_the_person_it_began_with(tracker):
    near, far = photo("anna_1"), cv2.resize(photo("ben_1"), (560, 560), interpolation=cv2.INTER_AREA)
    # From the second frame on the other person is the larger one.
    frames = [beside(far, near), beside(cv2.resize(far, (768, 768)), cv2.resize(near, (560, 560)))[:, 100:1228]]
    followed = list(tracker.detect_video(frames, 25))
    assert [track.centre[0] > 560 for track in followed] == [True, True]
    other = list(tracker.detect_video(frames, 25, face_index=1))
    assert [track.centre[0] < 560 for track in other] == [True, True]


# Crop


def test_the_crop_has_the_head_s_origin_in_its_middle_and_projected_vertices_on_its_landmarks(tracker):
    image = photo("ben_3")
    track = tracker.detect(image)
    crop = tracker.crop(image, track, size=256)
    homogeneous = np.column_stack([track.landmarks[:, :2], np.ones(478)])
    landmarks = (homogeneous @ crop.transform.T) / 128 - 1  # [-1, 1]
    np.testing.assert_allclose(crop.transform @ [*track.centre, 1], [128, 128], atol=1e-3)
    projected = project(torch.from_numpy(track.vertices)[None], torch.from_numpy(track.rotation)[None])[0]
    np.testing.assert_allclose(projected[:, :2], landmarks, atol=1e-3)


def test_tracking_a_crop_finds_the_head_where_the_crop_put_it(tracker):
    image = photo("dan_2")
    crop = tracker.crop(image, tracker.detect(image), size=512)
    track = tracker.detect(crop.image)
    np.testing.assert_allclose(track.centre, 256, atol=2)
    assert track.scale == pytest.approx(256, rel=0.01)


def test_the_matte_holds_the_face_and_not_the_wall_and_nothing_outside_of_the_picture(tracker):
    image = photo("dan_1")
    track = tracker.detect(image)
    crop = tracker.crop(image, track, size=256)
    assert crop.matte.dtype == np.float32 and crop.inside.dtype == bool
    columns, rows = (crop.transform @ [*track.landmarks[1, :2], 1]).astype(int)
    assert crop.matte[rows, columns] == 1  # tip of the nose
    assert crop.matte[60:120, 10:30].max() < 0.1  # the wall
    assert not crop.inside[-10:].any() and (crop.matte[~crop.inside] == 0).all()


def test_the_matte_leaves_out_a_second_person_who_stands_apart(tracker):
    wall = np.full((768, 200, 3), 120, np.uint8)
    pair = np.hstack([photo("finn_1"), wall, photo("dan_1")])
    track = tracker.detect(pair, face_index=0)
    whole = tracker.crop(pair, track, size=256)
    assert whole.matte[128, 110:146].min() > 0.9
    assert whole.matte[:, :4].max() == whole.matte[:, -4:].max() == 0


# Component


def test_a_saved_tracker_is_the_same_when_loaded(tracker, tmp_path):
    tracker.save_pretrained(tmp_path / "pipeline" / "face_tracker")
    loaded = FaceTracker.from_pretrained(tmp_path / "pipeline", subfolder="face_tracker")
    image = photo("eva_2")
    np.testing.assert_array_equal(loaded.detect(image).landmarks, tracker.detect(image).landmarks)
    loaded.close()


def test_a_pickled_tracker_is_the_same_when_loaded(tracker):
    image = photo("eva_2")
    with pickle.loads(pickle.dumps(tracker)) as copy:
        np.testing.assert_array_equal(copy.detect(image).landmarks, tracker.detect(image).landmarks)


def test_a_replaced_template_is_used_by_the_tracker(tracker, tmp_path):
    tracker.save_pretrained(tmp_path)
    write_template(tmp_path, 0.5 * tracker.template.mean, tracker.template.rigid)
    image = photo("ben_1")
    with FaceTracker.from_pretrained(tmp_path) as replaced:
        assert replaced.detect(image).scale == pytest.approx(2 * tracker.detect(image).scale, rel=0.01)


@pytest.mark.parametrize("name", ["face_landmarker.task", "selfie_segmenter.tflite"])
def test_a_tampered_or_missing_model_file_is_an_error_that_names_it(tmp_path, name):
    folder = shutil.copytree(DEFAULT_FOLDER, tmp_path / "face_tracker")
    content = bytearray((folder / name).read_bytes())
    content[1000] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InvertAvatarError, match=f"{name} is damaged"):
        FaceTracker.from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(InvertAvatarError, match=f"has no {name}"):
        FaceTracker.from_pretrained(folder)


def test_two_threads_get_the_same_results_as_one(tracker):
    images = [photo("anna_2"), photo("ben_4")] * 2
    expected = [tracker.detect(image).landmarks for image in images]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda image: tracker.detect(image).landmarks, images))
    np.testing.assert_array_equal(found, expected)


def test_a_closed_tracker_starts_again_when_used(tracker):
    image = photo("clara_4")
    expected = tracker.detect(image).landmarks
    tracker.close()
    np.testing.assert_array_equal(tracker.detect(image).landmarks, expected)


@pytest.mark.parametrize("first", ["mediapipe", "invertavatar.tracking.tracker"])
def test_a_program_that_never_closes_its_tracker_ends_without_a_word(first):
    program = (
        f"import {first}, numpy as np; from invertavatar.tracking.tracker import FaceTracker; "
        "t = FaceTracker.from_pretrained(); print(t._search(np.zeros((64, 64, 3), np.uint8)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
