"""The still part of a picture, and a rendered head in it."""

import cv2
import numpy as np
import pytest

from invertavatar.rendering.paste_settings import PasteSettings
from invertavatar.rendering.plate import Layer, plate_of, without_person

SETTINGS = PasteSettings()
HEIGHT, WIDTH, SCALE, CENTRE = 240, 320, 90.0, np.array([170.0, 110.0])
SIDE, MAP = 216, 128


def square(size):
    """Right and down from the head's middle in head units, [size, size] each."""
    line = ((np.arange(size) + 0.5) * 2 / size - 1) * SETTINGS.room
    return np.meshgrid(line.astype(np.float32), line.astype(np.float32))


@pytest.fixture(scope="module")
def plate():
    """A grainy picture with a person who is a disk."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    x, y = square(128)
    return plate_of(picture, CENTRE, SCALE, (np.hypot(x, y) < 0.6).astype(np.float32), SETTINGS)


def layer(right=0.0, value=90.0, kept=1.0):
    """A grey disk that has moved to the right by so much, and the surface with it."""
    x, y = square(SIDE)
    opacity = (np.hypot(x - right, y) < 0.5).astype(np.float32)
    colour = np.full((SIDE, SIDE, 3), value, np.float32)
    place = np.dstack(square(MAP)) - np.float32([right, 0])
    return Layer(colour, opacity, place, np.full((MAP, MAP), kept, np.float32))


def test_a_head_at_rest_is_the_picture_itself(plate):
    same = plate.with_rendering(layer()).pasted(layer())
    np.testing.assert_allclose(same.astype(int), plate.picture, atol=3)


def test_a_head_that_moves_takes_the_picture_s_detail_along(plate):
    pixels = 9
    moved = plate.with_rendering(layer()).pasted(layer(pixels / SCALE)).astype(int)
    near = (slice(90, 130), slice(150, 190))
    before = plate.picture[near].astype(int)
    np.testing.assert_allclose(moved[near[0], 150 + pixels : 190 + pixels], before, atol=6)
    assert np.abs(moved[near] - before).mean() > 20


def test_what_the_picture_does_not_show_is_as_it_is_rendered(plate):
    pasted = plate.with_rendering(layer()).pasted(layer(value=200.0, kept=0.0))
    assert (pasted[90:130, 150:190] == 200).all()


def test_far_from_the_head_and_beneath_its_neck_the_picture_stays_bit_for_bit(plate):
    pasted = plate.with_rendering(layer()).pasted(layer(0.2, value=255.0))
    np.testing.assert_array_equal(pasted[:, :60], plate.picture[:, :60])
    below = int(CENTRE[1] + SETTINGS.body[1] * SCALE) + 1
    np.testing.assert_array_equal(pasted[below:], plate.picture[below:])


def test_behind_the_person_is_what_is_around_them_with_its_grain():
    rng = np.random.default_rng(0)
    around = (np.full((200, 200, 3), (60, 120, 180)) + rng.normal(0, 6, (200, 200, 3))).clip(0, 255).astype(np.uint8)
    person = np.zeros((200, 200), np.float32)
    person[60:160, 70:130] = 1
    part = np.where(person[..., None] > 0, np.uint8(255), around)
    behind = without_person(part, person, 6.0, 100)
    assert np.abs(behind[65:155, 75:125].mean((0, 1)) - (60, 120, 180)).max() < 4
    assert 3 < behind[65:155, 75:125].std((0, 1)).max() < 9
    np.testing.assert_array_equal(behind[:40], part[:40])
