"""The fast renderer on a few triangles whose pictures are known."""

import numpy as np
import pytest

from invertavatar.baking import fast_numba
from invertavatar.rendering.framing import WHOLE, Window, placed

GREY = np.full((4, 4, 4), (100, 150, 200, 255), np.uint8)
TRIANGLE, CORNERS = np.int32([[0, 1, 2]]), np.float32([[0, 0], [1, 0], [0, 1]])


def drawn(places, size=8, texture=GREY, triangles=TRIANGLE, gain=None, uv=None, part=None, window=WHOLE):
    places = np.float32(places)
    gain = np.ones(len(places), np.float32) if gain is None else np.float32(gain)
    uv = np.resize(CORNERS, (len(places), 2)) if uv is None else np.float32(uv)
    part = np.zeros(len(triangles), np.uint8) if part is None else np.uint8(part)
    return fast_numba.draw(places, triangles, part, uv, triangles, gain, texture, placed(window, size, size))


def test_a_pixel_is_as_opaque_as_it_is_covered():
    """An edge at x = 0.5 pixels beside the third column's left border covers half of that column."""
    edge = (2.5 / 8) * 2 - 1
    picture = drawn([(-3, -3, 0), (edge, -3, 0), (edge, 3, 0), (-3, 3, 0)], triangles=np.int32([[0, 1, 2], [0, 2, 3]]))
    np.testing.assert_allclose(picture[4, :, 3], [1, 1, 0.5, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(picture[4, 2, :3], [50, 75, 100], atol=0.5)


def test_a_window_shows_its_part_of_the_whole_picture():
    places = [(-0.8, -0.9, 0), (0.9, -0.1, 0), (-0.2, 0.8, 0)]
    whole, part = drawn(places, 64), drawn(places, 32, window=Window(-0.5, -0.25, 0.5, 0.75))
    np.testing.assert_allclose(part, whole[24:56, 16:48], atol=0.02)


def test_two_surfaces_share_a_pixel_and_one_surface_does_not():
    """A step in depth within the fourth column: seen at four places where it is high, in the middle where it is not."""
    step = (3.4 / 8) * 2 - 1
    left, right = [(-3, -3), (step, -3), (step, 3), (-3, 3)], [(step, -3), (3, -3), (3, 3), (step, 3)]
    triangles = np.int32([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    for depth, expected in ((0.5, 75), (0.001, 100)):
        places = [(*place, 0) for place in left] + [(*place, depth) for place in right]
        picture = drawn(places, triangles=triangles, gain=[0.5] * 4 + [1] * 4)
        np.testing.assert_allclose(picture[4, [2, 3, 4], 0], [50, expected, 100], atol=0.5)


def test_the_nearer_triangle_is_seen_whichever_comes_first():
    near, far = [(-3, -3, 0.5), (3, -3, 0.5), (0, 3, 0.5)], [(-3, -3, -0.5), (3, -3, -0.5), (0, 3, -0.5)]
    both, gain = np.int32([[0, 1, 2], [3, 4, 5]]), [1, 1, 1, 0.5, 0.5, 0.5]
    for places, lit in ((near + far, gain), (far + near, gain[::-1])):
        assert drawn(places, triangles=both, gain=lit)[4, 4, 0] == pytest.approx(100)


def test_colours_lie_between_texels_as_they_do_between_corners():
    ramp = np.zeros((64, 64, 4), np.uint8)
    ramp[..., 0], ramp[..., 3] = np.arange(64) * 4, 255
    square = [(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)]
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    picture = drawn(square, 16, ramp, np.int32([[0, 1, 2], [0, 2, 3]]), uv=corners)
    np.testing.assert_allclose(picture[8, :, 0], ((np.arange(16) + 0.5) * 4 - 0.5) * 4, atol=0.6)


def test_texture_that_is_see_through_shows_what_is_behind():
    half = GREY.copy()
    half[..., 3] = 128
    picture = drawn([(-3, -3, 0), (3, -3, 0), (0, 3, 0)], texture=half)
    over = fast_numba.over(picture, np.full((8, 8, 3), 10, np.uint8))
    np.testing.assert_allclose(over[4, 4], [55, 80, 105], atol=1)
    np.testing.assert_allclose(fast_numba.straight(picture)[4, 4], [100, 150, 200, 128], atol=1)


def test_a_veil_is_seen_from_outside_and_never_through_what_is_solid():
    """A solid square in a texture that is half see-through, and a steep veil, twice as bright, before or behind it."""
    half = GREY.copy()
    half[..., 3] = 128
    square = [(-1, -3, 0), (1, -3, 0), (1, 3, 0), (-1, 3, 0)]
    opacity, gain, uv = np.float32([0] * 4 + [1] * 3), np.float32([1] * 4 + [2] * 3), np.resize(CORNERS, (7, 2))
    for depth, corners, expected in ((30, [4, 6, 5], 150), (30, [4, 5, 6], 100), (-30, [4, 6, 5], 100)):
        steep = [(-3, -3, depth - 12), (3, -3, depth + 12), (0, 3, depth)]
        triangles, part = np.int32([[0, 1, 2], [0, 2, 3], corners]), np.zeros(3, np.uint8)
        arrays = np.float32(square + steep), triangles, part, np.float32(uv), triangles, gain, half
        picture = fast_numba.draw(*arrays, placed(WHOLE, 8, 8), opacity, 1)
        np.testing.assert_allclose(picture[4, 4, [0, 3]], [expected, 1], atol=1)


def test_triangles_outside_of_the_picture_or_without_area_are_left_out():
    assert drawn([(5, 5, 0), (6, 5, 0), (5, 6, 0)]).max() == 0
    assert drawn([(-1, 0, 0), (0, 0, 0), (1, 0, 0)]).max() == 0
    assert np.isfinite(drawn([(-1e4, -1e4, 0), (1e4, -1e4, 0), (0, 1e4, 0)])).all()


def test_light_falls_on_what_faces_it():
    """A ridge along y, lit from the right, in a texture that is lit evenly."""
    vertices = np.float32([(-1, 0, 0), (0, 0, 1), (-1, 1, 0), (1, 0, 0), (1, 1, 0)])
    gain = fast_numba.lit(vertices, np.int32([[0, 1, 2], [3, 4, 1]]), np.float32([1, 0, 0]), 0.0, 0.5)
    assert gain[3] > 1 > gain[0]
    assert gain.max() <= np.exp(0.5) + 1e-6
