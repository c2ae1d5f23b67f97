"""Colours that come from the view that sees a place."""

import numpy as np
import torch
import torch.nn.functional as F
import trimesh

from invertavatar.baking.texturing import BakingView, paint, spread_colours
from invertavatar.camera import rotation_from_angles

RED, GREEN, BLUE = (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)
BALL = trimesh.creation.icosphere(3, 0.8)
VERTICES, TRIANGLES = np.asarray(BALL.vertices, np.float32), np.asarray(BALL.faces)
MIDDLES = VERTICES[TRIANGLES].mean(1)
DARK = torch.zeros(3)


def view(
    colour,
    yaw=0.0,
    pitch=0.0,
    weight=1.0,
    opacity=1.0,
    field_of_view=0.0,
    vertices=VERTICES,
    counts=1.0,
    light=DARK,
):
    """A picture, of one colour or of one for each column, of the ball or of other vertices."""
    opacity, vertices = torch.full((1, 1, 64, 64), opacity), torch.from_numpy(vertices)
    picture = torch.tensor(colour).view(1, 3, 1, -1) * opacity
    parts = (opacity, rotation_from_angles(yaw, pitch)[None], field_of_view, weight)
    return BakingView(picture, *parts, vertices, torch.full((len(vertices), 1), counts), light, 0.7)


def painted(*views, triangles=TRIANGLES) -> np.ndarray:
    """The colour [F, 3] in the middle of each triangle, each of which has a square of the texture to itself."""
    side = int(np.ceil(len(triangles) ** 0.5))
    square = np.stack(np.divmod(np.arange(len(triangles)), side), 1)[:, None]
    layout = (square + [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]]) * (2 / side) - 1
    texture = torch.from_numpy(paint(triangles, views, 512, layout)[0]).permute(2, 0, 1)[None].float()
    middle = torch.from_numpy(layout.mean(1)).float()[None, None]
    return F.grid_sample(texture, middle, align_corners=False)[0, :, 0].T.numpy().round(3)


def test_each_side_takes_the_colour_of_the_view_that_faces_it():
    colours = painted(view(RED), view(GREEN, yaw=-90), view(BLUE, pitch=-90))
    for direction, expected in (((0, 0, 1), (255, 0, 0)), ((1, 0, 0), (0, 255, 0)), ((0, 1, 0), (0, 0, 255))):
        np.testing.assert_allclose(colours[(MIDDLES @ direction).argmax()], expected, atol=3)


def test_what_no_view_shows_takes_the_colours_around_it():
    np.testing.assert_array_equal(painted(view(RED)), [(255, 0, 0)] * len(TRIANGLES))


def test_a_surface_behind_another_takes_no_colour_from_the_one_in_front():
    small = VERTICES * 0.3
    both = np.concatenate([small + np.float32([0, 0, 0.7]), small - np.float32([0, 0, 0.7])])
    faces = np.concatenate([TRIANGLES, TRIANGLES + len(small)])
    colours = painted(view(RED, vertices=both), view(GREEN, yaw=-60, vertices=both), triangles=faces)
    hidden = len(TRIANGLES) + MIDDLES[:, 2].argmax()
    np.testing.assert_allclose(colours[hidden], (0, 255, 0), atol=3)


def test_see_through_pixels_colour_nothing():
    colours = painted(view(RED), view(GREEN, weight=100.0, opacity=0.5))
    np.testing.assert_array_equal(colours, [(255, 0, 0)] * len(TRIANGLES))


def test_a_view_colours_only_the_places_that_it_counts_for():
    """Each half is painted while the ball is elsewhere, where only its own view sees it."""
    left, right = (VERTICES * np.float32(0.3) + np.float32([x, 0, 0]) for x in (-0.6, 0.6))
    seen = [view(colour, vertices=place) for colour, place in ((RED, left), (GREEN, right))]
    upper = torch.from_numpy(VERTICES[:, 1:2] > 0).float()
    colours = painted(seen[0]._replace(vertex_weight=upper), seen[1]._replace(vertex_weight=1 - upper))
    front = MIDDLES[:, 2] > 0.4
    np.testing.assert_allclose(colours[front & (MIDDLES[:, 1] > 0.2)].mean(0), (255, 0, 0), atol=1)
    np.testing.assert_allclose(colours[front & (MIDDLES[:, 1] < -0.2)].mean(0), (0, 255, 0), atol=1)


def test_a_perspective_view_paints_what_it_shows():
    columns = torch.where(torch.arange(64) < 32, -1.0, 1.0).expand(3, 64).tolist()  # black left, white right
    colours = painted(view(columns, field_of_view=40.0))
    x, front = MIDDLES[:, 0], MIDDLES[:, 2] > 0.5
    assert (colours[front & (x > 0.1)] > 200).all()
    assert (colours[front & (x < -0.1)] < 55).all()


def test_spread_colours_are_harmonic_between_those_seen():
    vertices, triangles = [], []
    for k in range(11):  # a strip of squares
        vertices += [(k, 0, 0), (k, 1, 0)]
        if k:
            a = 2 * k
            triangles += [(a - 2, a, a - 1), (a, a + 1, a - 1)]
    weight = np.zeros((22, 1), np.float32)
    weight[[0, 1, 20, 21]] = 1
    colour = np.zeros((22, 3), np.float32)
    colour[[20, 21]] = 1
    spread = spread_colours(colour, weight, np.array(triangles))
    np.testing.assert_allclose(spread[::2, 0], np.arange(11) / 10, atol=0.05)
