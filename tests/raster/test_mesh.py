"""Normals of a triangle mesh, and its vertices as files count them."""

import numpy as np
import pytest
import trimesh

from invertavatar.raster.mesh import split_at_seams, vertex_normals


def test_normals_of_a_sphere_point_away_from_its_centre():
    ball = trimesh.creation.icosphere(3, 0.6)
    normals = vertex_normals(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces))
    np.testing.assert_allclose(normals, ball.vertices / 0.6, atol=0.02)


def test_a_larger_triangle_counts_more_for_a_normal_and_one_without_area_for_nothing():
    """Two triangles share the first vertex: one of area 2 that faces up, one of area 1 that faces the viewer."""
    vertices = np.array([[0, 0, 0], [0, 0, 2], [2, 0, 0], [0, 1, 0], [-2, 0, 0], [0, 0, 4]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 3, 4], [0, 1, 5]])
    normals = vertex_normals(vertices, triangles)
    np.testing.assert_allclose(normals[0], np.array([0, 2, 1]) / 5**0.5, atol=1e-6)
    np.testing.assert_allclose(normals[5], (0, 0, 1))


@pytest.fixture
def seamed() -> tuple[np.ndarray, np.ndarray]:
    """Two triangles with a common edge; one end of it has two places in the texture."""
    uv = np.array([[[0, 0], [1, 0], [0, 1]], [[0.5, 0.5], [1, 1], [1, 0]]], np.float32)
    return np.array([[0, 1, 2], [0, 3, 1]]), uv


def test_a_vertex_is_split_only_where_it_has_several_places(seamed):
    vertex, place, split = split_at_seams(*seamed)
    assert vertex.tolist() == [0, 0, 1, 2, 3]
    triangles, uv = seamed
    np.testing.assert_array_equal(vertex[split], triangles)
    np.testing.assert_array_equal(place[split], uv)
