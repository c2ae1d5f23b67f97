"""Charts that do not overlap, and colours that come from the view that sees a place."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh

from invertavatar.camera import rotation_from_angles
from invertavatar.rendering.rasterizer import rasterize
from invertavatar.rendering.texturing import CHART_MARGIN, BakingView, pack, paint, spread_colours, unwrap

RED, GREEN, BLUE = (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0)


@pytest.fixture(scope="module")
def sphere():
    mesh = trimesh.creation.icosphere(4, 0.8)
    return np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces)


def view(colour, yaw=0.0, pitch=0.0, weight=1.0, opacity=1.0, field_of_view=0.0):
    opacity = torch.full((1, 1, 64, 64), opacity)
    rotation = rotation_from_angles(yaw, pitch)[None]
    return BakingView(torch.tensor(colour).view(1, 3, 1, 1) * opacity, opacity, rotation, field_of_view, weight)


def test_no_two_triangles_share_a_texel(sphere):
    size = 512
    flat = torch.from_numpy(unwrap(*sphere, size))
    assert flat.abs().max() < 1
    edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = (edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]).abs().sum() / 2 * (size / 2) ** 2
    drawn = rasterize(F.pad(flat.reshape(1, -1, 2), (0, 1)), torch.arange(flat.shape[0] * 3).view(-1, 3), size)
    assert float(drawn.mask.sum()) == pytest.approx(float(area), rel=0.01)
    assert float(area) > 0.4 * size**2  # and little of the texture is wasted


def test_charts_keep_lengths_up_to_a_slant_of_less_than_two(sphere):
    vertices, triangles = sphere
    flat = unwrap(vertices, triangles, 512)
    solid, shown = (np.linalg.norm(np.roll(x, 1, 1) - x, axis=-1) for x in (vertices[triangles], flat))
    ratio = shown / solid
    assert ratio.max() / np.median(ratio) < 1.5
    assert np.median(ratio) / ratio.min() < 2.5


def test_packed_rectangles_lie_apart_inside_the_square():
    sizes = np.random.default_rng(0).uniform(0.1, 1, (40, 2))
    place, scale = pack(sizes, 256)
    taken = np.zeros((256, 256), int)
    for (x, y), (width, height) in zip(place.astype(int), np.ceil(sizes * scale).astype(int), strict=True):
        taken[y : y + height + 2 * CHART_MARGIN, x : x + width + 2 * CHART_MARGIN] += 1
    assert taken.max() == 1
    assert (np.ceil(sizes * scale) + place <= 256).all()


def test_each_side_takes_the_colour_of_the_view_that_faces_it(sphere):
    colours, _, _ = paint(*sphere, [view(RED), view(GREEN, yaw=-90), view(BLUE, pitch=-90)], 256)
    axis = sphere[0] / 0.8
    for direction, expected in (((0, 0, 1), (255, 0, 0)), ((1, 0, 0), (0, 255, 0)), ((0, 1, 0), (0, 0, 255))):
        np.testing.assert_allclose(colours[(axis @ direction).argmax()], expected, atol=3)


def test_texture_and_vertex_colours_are_the_same_picture(sphere):
    colours, uv, texture = paint(*sphere, [view(RED), view(GREEN, yaw=-90), view(BLUE, yaw=90)], 256)
    grid = torch.from_numpy(np.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], -1))[None]
    picture = torch.from_numpy(texture).permute(2, 0, 1)[None].float()
    at_corners = F.grid_sample(picture, grid, align_corners=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(at_corners - colours[sphere[1]]).mean() < 4


def test_what_no_view_shows_takes_the_colours_around_it(sphere):
    colours, _, texture = paint(*sphere, [view(RED)], 256)
    assert (colours == (255, 0, 0)).all()
    assert (texture == (255, 0, 0)).all()


def test_a_surface_behind_another_takes_no_colour_from_the_one_in_front(sphere):
    vertices, triangles = sphere
    small = vertices * 0.3
    both = np.concatenate([small + np.float32([0, 0, 0.7]), small - np.float32([0, 0, 0.7])])
    faces = np.concatenate([triangles, triangles + len(small)])
    colours, _, _ = paint(both, faces, [view(RED), view(GREEN, yaw=-60)], 256)
    hidden = len(small) + (small @ np.array([0, 0, 1])).argmax()
    np.testing.assert_allclose(colours[hidden], (0, 255, 0), atol=3)


def test_see_through_pixels_colour_nothing(sphere):
    colours, _, _ = paint(*sphere, [view(RED), view(GREEN, weight=100.0, opacity=0.5)], 256)
    assert (colours == (255, 0, 0)).all()


def test_a_perspective_view_paints_what_it_shows(sphere):
    half = torch.ones(1, 1, 64, 64)
    colour = torch.where(torch.arange(64) < 32, -1.0, 1.0).expand(1, 3, 64, 64)  # black left, white right
    colours, _, _ = paint(*sphere, [BakingView(colour, half, torch.eye(3)[None], 40.0, 1.0)], 256)
    x, z = sphere[0][:, 0], sphere[0][:, 2]
    front = z > 0.5
    assert (colours[front & (x > 0.05)] > 200).all()
    assert (colours[front & (x < -0.05)] < 55).all()


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
