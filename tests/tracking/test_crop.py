import numpy as np
import pytest

from invertavatar.tracking.crop import framing, inside_picture, transform_points, warp


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_framing_puts_the_centre_in_the_middle_and_the_half_side_at_the_edge():
    transform = framing(np.array([30.0, 20.0]), 10, 64)
    points = transform_points(transform, np.array([[30.0, 20.0], [40.0, 20.0], [30.0, 10.0]]))
    np.testing.assert_allclose(points, [[32, 32], [64, 32], [32, 0]])


def test_framing_with_the_roll_of_a_head_puts_its_top_straight_up():
    # A head rolled clockwise by 90 degrees has its top at the image's right.
    transform = framing(np.array([30.0, 20.0]), 10, 64, roll=90)
    np.testing.assert_allclose(transform_points(transform, np.array([40.0, 20.0])), [32, 0], atol=1e-9)


def test_warping_by_the_identity_changes_nothing(picture):
    np.testing.assert_array_equal(warp(picture, np.eye(2, 3), (60, 40)), picture)


def test_a_shifted_window_is_the_picture_s_own_pixels(picture):
    window = warp(picture, np.array([[1.0, 0, -7], [0, 1, -5]]), (20, 10))
    np.testing.assert_array_equal(window, picture[5:15, 7:27])


def test_halving_averages_two_by_two_pixels(picture):
    half = warp(picture, 0.5 * np.eye(2, 3), (30, 20))
    mean = picture.reshape(20, 2, 30, 2, 3).mean((1, 3))
    assert np.abs(half - mean).max() <= 0.51


def test_shrinking_stripes_of_one_pixel_gives_their_mean_and_no_moire():
    stripes = np.tile(np.array([0, 255], np.uint8), (1000, 500))
    small = warp(stripes, 0.0731 * np.eye(2, 3), (70, 70))
    assert np.abs(small.astype(int) - 127).max() < 12


def test_outside_of_the_picture_is_grey_or_repeats_the_edge(picture):
    transform = np.array([[1.0, 0, 10], [0, 1, 0]])
    assert (warp(picture, transform, (60, 40))[:, :8] == 128).all()
    repeated = warp(picture, transform, (60, 40), repeat_edge=True)
    np.testing.assert_array_equal(repeated[:, :8], np.repeat(picture[:, :1], 8, 1))


def test_inside_is_the_rectangle_that_the_picture_covers():
    transform = framing(np.array([0.0, 20.0]), 20, 80)  # the picture's left edge in the middle, twice as large
    inside = inside_picture((40, 60), transform, 80)
    assert inside[:, 42:].sum() >= 0.9 * inside[:, 40:].size
    assert not inside[:, :40].any()
    assert inside[4:-4, 42:-4].all()
