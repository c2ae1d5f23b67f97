"""How a live face becomes an avatar's motion: neutral from the first second or by a key, mirrored, smoothed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from invertavatar import Motion
from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.live.driver import LiveDriver

JAW, SMILE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthSmileLeft")


@pytest.fixture
def rest():
    """An avatar that smiles in its first photo, and is turned there."""
    expression = torch.zeros(1, 52)
    expression[0, SMILE] = 0.3
    return Motion(rotation_from_angles(20.0)[None], expression)


@pytest.fixture(scope="module")
def face(face_tracker, example):
    """`face(yaw=10, jawOpen=0.5)`: a track of a driver whose mouth is never quite shut."""
    track = face_tracker.detect(example("anna_1"))

    def faced(yaw=0.0, **scores):
        expression = np.zeros(52, np.float32)
        for name, score in ({"jawOpen": 0.1} | scores).items():
            expression[ARKIT_NAMES.index(name)] = score
        return replace(track, expression=expression, rotation=rotation_from_angles(yaw).numpy())

    return faced


def a_second_of(driver, face, start=0.0):
    return [driver(face, start + k / 10) for k in range(11)][-1]


def test_the_first_second_is_neutral_and_the_avatar_looks_ahead_in_it(rest, face):
    driver = LiveDriver(rest)
    still = a_second_of(driver, face(yaw=15))
    assert driver.neutral is not None
    assert torch.allclose(still.expression, rest.expression, atol=1e-5)
    assert angles_from_rotation(still.rotation).abs().max() < 0.01

    moved = driver(face(yaw=25, jawOpen=0.5), 2.0)
    assert moved.expression[0, JAW] == pytest.approx(0.4, abs=1e-5)
    assert angles_from_rotation(moved.rotation)[0, 0] == pytest.approx(10, abs=0.01)


def test_a_key_takes_the_next_second_as_neutral(rest, face):
    driver = LiveDriver(rest)
    a_second_of(driver, face())
    driver.calibrate()
    assert driver.neutral is None
    again = a_second_of(driver, face(yaw=25, jawOpen=0.5), start=2.0)
    assert again.expression[0, JAW] == pytest.approx(0, abs=1e-5)


def test_a_mirror_changes_left_and_right(rest, face):
    plain, mirror = LiveDriver(rest), LiveDriver(rest, mirror=True)
    for driver in (plain, mirror):
        a_second_of(driver, face())
    moved, seen = (driver(face(yaw=20, eyeBlinkLeft=0.8), 2.0) for driver in (plain, mirror))
    left, right = (ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right"))
    assert (moved.expression[0, left], seen.expression[0, right]) == (pytest.approx(0.8), pytest.approx(0.8))
    assert torch.allclose(angles_from_rotation(seen.rotation)[0, 0], -angles_from_rotation(moved.rotation)[0, 0])


def test_smoothing_steadies_a_trembling_face_and_begins_anew_after_a_pause(rest, face):
    rough, smooth = LiveDriver(rest), LiveDriver(rest, smooth=0.6)
    values = {rough: [], smooth: []}
    for driver, seen in values.items():
        a_second_of(driver, face())
        for k in range(20):
            seen.append(float(driver(face(jawOpen=0.3 + 0.02 * (-1) ** k), 1.1 + k / 25).expression[0, JAW]))
    assert np.std(values[smooth][10:]) < 0.3 * np.std(values[rough][10:])
    after = smooth(face(jawOpen=0.9), 10.0).expression[0, JAW]
    assert after == pytest.approx(0.8, abs=1e-3)
