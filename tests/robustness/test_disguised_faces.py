"""Photos of faces that are hidden in part, painted or badly lit: an avatar of finite colours, never a crash."""

import cv2
import numpy as np
import pytest

from invertavatar.errors import NoFaceError
from invertavatar.tracking.portrait import prepare_portrait
from tests.robustness.test_extreme_inputs import fused, small, still

LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)  # corners of the eyes among the landmarks


@pytest.fixture
def landmarks(face_tracker, example):
    """`landmarks("anna_1")`: [478, 2] pixels of an example photo."""
    return lambda name: face_tracker.detect(example(name), name).landmarks[:, :2]


def with_sunglasses(photo, points):
    photo = photo.copy()
    centres = [points[list(eye)].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
    apart = np.linalg.norm(centres[1] - centres[0])
    for x, y in centres:
        cv2.ellipse(
            photo, (round(x), round(y)), (round(0.42 * apart), round(0.32 * apart)), 0, 0, 360, (12, 12, 14), -1
        )
    ends = [tuple(int(v) for v in centre) for centre in centres]
    cv2.line(photo, *ends, (12, 12, 14), round(0.1 * apart))
    return photo


def with_a_scarf(photo, points):
    photo = photo.copy()
    photo[round(points[1, 1]) :] = (90, 30, 30)  # from the tip of the nose down
    return photo


def as_a_painting(photo, points):
    return cv2.stylization(photo, sigma_s=40, sigma_r=0.5)


def as_a_drawing(photo, points):
    grey, _ = cv2.pencilSketch(photo, sigma_s=40, sigma_r=0.07, shade_factor=0.04)
    return np.repeat(grey[..., None], 3, -1)


def in_the_dark(photo, points):
    return (photo * 0.08).astype(np.uint8)


def against_the_light(photo, points):
    return np.clip(photo.astype(np.float32) * 3 + 60, 0, 255).astype(np.uint8)


DISGUISES = (with_sunglasses, with_a_scarf, as_a_painting, as_a_drawing, in_the_dark, against_the_light)


@pytest.mark.parametrize("disguise", DISGUISES, ids=lambda disguise: disguise.__name__)
def test_a_disguised_face_is_an_avatar_or_a_sentence(tiny_pipeline, face_tracker, example, landmarks, disguise):
    photo = disguise(example("anna_1"), landmarks("anna_1"))
    try:
        avatar = fused(tiny_pipeline, [prepare_portrait(photo, face_tracker, "disguise")])
    except NoFaceError as error:
        assert "No face found in disguise" in str(error)
    else:
        still(tiny_pipeline, avatar)
        still(tiny_pipeline, avatar, yaw=30, expression={"jawOpen": 0.5, "eyeBlinkLeft": 1.0})


def test_sunglasses_and_a_painting_still_show_whose_pose_it_is(face_tracker, example, landmarks):
    plain = prepare_portrait(example("anna_1"), face_tracker)
    for disguise in (with_sunglasses, as_a_painting):
        photo = disguise(example("anna_1"), landmarks("anna_1"))
        hidden = prepare_portrait(photo, face_tracker)
        assert np.abs(np.subtract(hidden.angles, plain.angles)).max() < 8


def test_a_disguised_driver_drives(tiny_pipeline, tiny_avatar, example, landmarks):
    points = landmarks("anna_2")
    clip = [small(disguise(example("anna_2"), points)) for disguise in (with_sunglasses, as_a_painting)]
    motion = tiny_pipeline.track(clip)
    assert motion.found.all()
    assert len(tiny_pipeline.animate(tiny_avatar, motion=motion, height=64).frames) == 2
