"""A voice for the mouth and a driver for the rest."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES, ARKIT_REGIONS
from invertavatar.speech.blending import over_photo, with_speech
from invertavatar.tracking.motion import Motion, still_face
from invertavatar.tracking.retargeting import retarget

LIPS = torch.tensor([region == "lip" for region in ARKIT_REGIONS])
JAW, PRESS, SMILE, BLINK = (
    ARKIT_NAMES.index(name) for name in ("jawOpen", "mouthPressLeft", "mouthSmileLeft", "eyeBlinkLeft")
)


@pytest.fixture
def speech():
    generator = torch.Generator().manual_seed(0)
    expression = torch.rand(20, 52, generator=generator)
    return Motion(torch.eye(3).repeat(20, 1, 1), expression, fps=25, known_neutral=still_face(25))


@pytest.fixture
def driver():
    generator = torch.Generator().manual_seed(1)
    expression = torch.rand(6, 52, generator=generator)
    turns = rotation_from_angles(torch.linspace(0, 25, 6))
    return Motion(turns, expression, torch.rand(6, 2, generator=generator), ("lip", "eyes"), fps=25)


@pytest.mark.parametrize("region", ["pose", "eyes", "exp", "all"])
def test_the_mouth_is_the_speechs_and_the_region_the_drivers(speech, driver, region):
    motion = with_speech(driver, speech, region)
    assert motion.num_frames == 20 and motion.fps == 25
    assert torch.equal(motion.expression[:, LIPS], speech.expression[:, LIPS])
    eyes = driver if region != "pose" else speech
    assert torch.equal(motion.expression[:6, BLINK], eyes.expression[:6, BLINK])
    turned = driver if region in ("pose", "all") else speech
    assert torch.equal(motion.rotation[:6], turned.rotation[:6])
    assert not motion.residual[:, 0].any()


def test_a_driver_that_ends_goes_back_and_forth(speech, driver):
    motion = with_speech(driver, speech, "pose")
    assert torch.equal(motion.rotation[5:11], driver.rotation.flip(0))
    assert torch.equal(motion.rotation[10:16], driver.rotation)


def test_what_is_neutral_stays_each_ones_own(speech, driver):
    neutral = with_speech(driver, speech, "all").neutral
    assert not neutral.expression[:, LIPS].any()
    assert neutral.expression[0, BLINK] == driver.neutral.expression[0, BLINK]
    assert torch.equal(neutral.rotation, driver.neutral.rotation)


def test_the_driver_cannot_move_the_lips_too(speech, driver):
    with pytest.raises(MotionError, match="Speech moves the lips"):
        with_speech(driver, speech, "lip")


def test_a_smile_of_the_photo_gives_way_where_lips_close_and_stays_elsewhere():
    expression = torch.zeros(3, 52)
    expression[1, PRESS], expression[2, JAW] = 0.4, 0.5
    speech = Motion(torch.eye(3).repeat(3, 1, 1), expression, known_neutral=still_face(25))
    smile = torch.zeros(1, 52)
    smile[0, SMILE], smile[0, BLINK] = 0.8, 0.3
    rest = Motion(torch.eye(3)[None], smile)
    shown = retarget(over_photo(speech, rest), rest).expression
    assert shown[:, SMILE].tolist() == pytest.approx([0.8, 0.12, 0.8])
    assert shown[:, BLINK].tolist() == pytest.approx([0.3] * 3)
    assert shown[1, PRESS] == pytest.approx(0.4)
