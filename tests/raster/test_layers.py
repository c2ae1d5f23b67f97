"""Layers of see-through triangles: order, alpha, what they carry, and shadows."""

import numpy as np
import pytest
import torch

from invertavatar.raster.layers_numba import Layers, carried, composed, lit_fraction, sampled
from invertavatar.raster.rasterizer import rasterize

SQUARE = np.array([[0, 1, 2], [0, 2, 3]])


def square(depth: float, size: int = 8) -> np.ndarray:
    return np.array([[0, 0, depth], [size, 0, depth], [size, size, depth], [0, size, depth]], float)


def test_one_opaque_layer_is_what_the_rasterizer_draws():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    triangles = rng.permutation(40)[:39].reshape(-1, 3)
    fragments = rasterize(torch.from_numpy(points)[None], torch.from_numpy(triangles), 32)
    layers = Layers.empty(32, 32, 1)
    layers.add(points * [16, 16, 1] + [16, 16, 0], triangles)
    assert (layers.triangle[..., 0] == fragments.triangle[0].numpy()).mean() > 0.99  # a centre on an edge may differ
    same = layers.triangle[..., 0] == fragments.triangle[0].numpy()
    barycentric = fragments.barycentric[0].numpy()
    np.testing.assert_allclose(layers.barycentric[same][:, 0], barycentric[same], atol=2e-3)


def test_layers_come_nearest_first_whatever_the_order_they_were_drawn_in():
    uv, veil = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float), np.full((2, 2), 100, np.uint8)
    for order in ((0, 1, 2), (2, 0, 1)):
        layers = Layers.empty(8, 8, 2)
        for k in order:
            layers.add(square(k * 0.1), SQUARE, 10 * k, uv, SQUARE, veil)
        assert (layers.triangle[..., 0] // 10 == 2).all()
        assert (layers.triangle[..., 1] // 10 == 1).all()  # the third has no room
        np.testing.assert_allclose(layers.depth[..., 0], 0.2)


def test_nothing_is_kept_behind_what_is_opaque():
    uv, veil = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float), np.full((2, 2), 100, np.uint8)
    layers = Layers.empty(8, 8, 3)
    layers.add(square(0.1), SQUARE, 10, uv, SQUARE, veil)
    layers.add(square(0.2), SQUARE, 20)
    layers.add(square(0.0), SQUARE, 0, uv, SQUARE, veil)
    assert (layers.triangle[..., 0] // 10 == 2).all()
    assert (layers.triangle[..., 1:] == -1).all()


def test_a_hole_in_the_texture_is_a_hole_in_the_layer_and_v_points_up():
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float)
    alpha = np.full((4, 4), 255, np.uint8)
    alpha[0, 0] = 0  # the texture's upper left corner
    layers = Layers.empty(8, 8, 1)
    layers.add(square(0), SQUARE, 0, uv, SQUARE, alpha)
    assert (layers.triangle[:2, :2] == -1).all()
    assert (layers.triangle >= 0).sum() == 60


def test_what_shines_through_at_the_edge_of_a_hole_hides_nothing():
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], float)
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, 0] = 0
    layers = Layers.empty(8, 8, 2)
    layers.add(square(0.1), SQUARE, 0, uv, SQUARE, alpha)
    layers.add(square(0.0), SQUARE, 10)
    assert (layers.triangle[:, 1, 1] >= 10).all()  # beside the hole; between texels alpha is less than in any
    assert (layers.triangle[:, 2:, 1] == -1).all()


def test_attributes_and_textures_are_carried_linearly():
    layers = Layers.empty(8, 8, 1)
    layers.add(square(0), SQUARE)
    out = carried(square(0)[:, :2], SQUARE, layers.triangle[..., 0].ravel(), layers.barycentric[:, :, 0].reshape(-1, 3))
    rows, columns = np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.5, indexing="ij")
    np.testing.assert_allclose(out, np.stack([columns.ravel(), rows.ravel()], 1), atol=1e-5)
    ramp = np.arange(4, dtype=np.float32).reshape(4, 1, 1).repeat(4, 1)  # brighter downward
    np.testing.assert_allclose(sampled(ramp, np.array([[0.5, 0.5], [0.5, 1], [0.5, 0]])).ravel(), [1.5, 0, 3])


def test_what_is_composed_is_front_over_back():
    triangle = np.array([[[0, 1, -1]]], np.int32)
    colour, opacity = np.float32([[0.25, 0, 0], [0, 1, 0]]), np.float32([0.25, 1])
    rgb, alpha = composed(triangle, colour, opacity)
    np.testing.assert_allclose(rgb[0, 0], [0.25, 0.75, 0])
    assert alpha[0, 0, 0] == 1


@pytest.mark.parametrize(("depth", "fraction"), [(0.6, 1.0), (0.45, 1.0), (0.2, 0.0)])
def test_a_point_is_lit_unless_something_is_nearer_to_the_light(depth, fraction):
    layers = Layers.empty(8, 8, 1)
    layers.add(square(0.5), SQUARE)
    assert lit_fraction(np.array([[4, 4, depth]]), layers.depth[..., 0], 0.1, 1) == fraction


def test_what_lies_outside_of_a_depth_map_is_lit():
    assert lit_fraction(np.array([[-5, 4, -1]]), np.ones((8, 8), np.float32), 0, 0) == 1
