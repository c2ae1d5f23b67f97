"""The head's surface and its files, on volumes whose surface is known."""

import numpy as np
import pytest
import torch
import trimesh

from invertavatar.errors import AvatarError, MediaError
from invertavatar.face.topology import LEFT_IRIS, RIGHT_IRIS
from invertavatar.rendering import mesh as mesh_module
from invertavatar.rendering.mesh import Mesh, isosurface, metres_per_unit, sample_grid, vertex_normals
from invertavatar.rendering.volume_renderer import OPTICAL_DEPTH
from tests.landmarks import mean_landmarks

CPU = torch.device("cpu")
ZERO_LOGIT = OPTICAL_DEPTH * float(np.log(2))  # the density of logit 0


def ball(radius, centre=(0.0, 0.0, 0.0)):
    """A volume whose logit is 0 on a sphere."""
    return lambda points: (radius - (points - torch.tensor(centre)).norm(dim=-1)) * 20


def solid(density, resolution=48, threshold=ZERO_LOGIT):
    vertices, triangles = isosurface(density, resolution, threshold, CPU)
    return trimesh.Trimesh(vertices, triangles, process=False)


def test_a_ball_gives_a_closed_sphere_whose_triangles_face_outward():
    surface = solid(ball(0.6))
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), 0.6, atol=0.005)
    assert surface.is_watertight
    np.testing.assert_allclose(surface.volume, 4 / 3 * np.pi * 0.6**3, rtol=0.01)


def test_a_higher_threshold_lies_deeper():
    outer, inner = (np.linalg.norm(solid(ball(0.6), threshold=t).vertices, axis=1).mean() for t in (5.0, 40.0))
    expected = [0.6 - np.log(np.expm1(t / OPTICAL_DEPTH)) / 20 for t in (5.0, 40.0)]
    np.testing.assert_allclose([outer, inner], expected, atol=0.005)


def test_only_the_largest_of_several_things_is_kept():
    both = solid(lambda points: torch.maximum(ball(0.4, (-0.5, 0, 0))(points), ball(0.2, (0.6, 0, 0))(points)))
    np.testing.assert_allclose(both.volume, 4 / 3 * np.pi * 0.4**3, rtol=0.02)
    assert both.vertices[:, 0].max() < 0


def test_a_hollow_has_no_inner_surface():
    shell = solid(lambda points: torch.minimum(ball(0.7)(points), -ball(0.3)(points)))
    assert shell.body_count == 1
    np.testing.assert_allclose(shell.volume, 4 / 3 * np.pi * 0.7**3, rtol=0.01)


def test_what_reaches_the_end_of_the_planes_is_closed_there():
    block = solid(lambda points: torch.full(points.shape[:2], 8.0))
    assert block.is_watertight
    np.testing.assert_allclose(block.bounds, [[-1] * 3, [1] * 3], atol=0.03)


def test_an_empty_volume_is_a_sentence():
    with pytest.raises(AvatarError, match="lower threshold"):
        isosurface(lambda points: torch.full(points.shape[:2], -8.0), 32, 10.0, CPU)


def test_the_grid_is_exact_around_the_surface_and_of_the_right_sign_elsewhere():
    def density(points):
        return ball(0.5)(points) + torch.sin(5 * points).sum(-1)

    field = sample_grid(density, 32, 0.0, CPU)
    line = (torch.arange(32) + 0.5) / 16 - 1
    exact = density(torch.cartesian_prod(line, line, line)[None])[0].reshape(32, 32, 32).numpy()
    assert ((field > 0) == (exact > 0)).all()
    crossing = np.abs(exact) < 0.5
    np.testing.assert_allclose(field[crossing], exact[crossing], atol=1e-5)


def test_points_are_asked_for_in_portions(monkeypatch):
    whole, asked = isosurface(ball(0.5), 32, 10.0, CPU)[0], []
    monkeypatch.setattr(mesh_module, "POINTS_AT_A_TIME", 1000)

    def density(points):
        asked.append(points.shape[1])
        return ball(0.5)(points)

    np.testing.assert_allclose(isosurface(density, 32, 10.0, CPU)[0], whole, atol=1e-6)
    assert max(asked) == 1000


def test_normals_of_a_sphere_point_away_from_its_centre():
    surface = solid(ball(0.6))
    normals = vertex_normals(np.asarray(surface.vertices, np.float32), np.asarray(surface.faces))
    np.testing.assert_allclose(normals, surface.vertices / 0.6, atol=0.1)


def test_pupils_are_63_millimetres_apart(head_model):
    pupils = (mean_landmarks(head_model)[RIGHT_IRIS[0]] - mean_landmarks(head_model)[LEFT_IRIS[0]]).norm()
    assert float(pupils) * metres_per_unit(head_model) == pytest.approx(0.063)


# Files


@pytest.fixture
def tetrahedron() -> Mesh:
    """One corner up, each side with a quarter of the texture of its own."""
    vertices = np.array([[0, 1, 0], [-1, -1, 1], [1, -1, 1], [0, -1, -1]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    corner = np.array([[0.05, 0.05], [0.45, 0.05], [0.05, 0.45]], np.float32)
    uv = np.stack([corner + offset for offset in ([0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5])]).astype(np.float32)
    texture = np.zeros((32, 32, 3), np.uint8)
    texture[16:, :16], texture[16:, 16:], texture[:16, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)  # v is up
    colours = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    return Mesh(vertices, triangles, colours, uv, texture, 0.1)


@pytest.mark.parametrize("name", ["me.glb", "me.obj"])
def test_a_textured_file_shows_each_triangle_in_its_own_colour_in_metres_with_y_up(tetrahedron, tmp_path, name):
    tetrahedron.save(tmp_path / name)
    loaded = trimesh.load_mesh(tmp_path / name, process=False)
    np.testing.assert_allclose(loaded.bounds, [[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]], atol=1e-6)
    assert loaded.volume > 0
    material = loaded.visual.material
    picture = np.asarray((getattr(material, "baseColorTexture", None) or material.image).convert("RGB"))
    middle = loaded.visual.uv[loaded.faces].mean(1)  # v up
    shown = picture[((1 - middle[:, 1]) * 32).astype(int), (middle[:, 0] * 32).astype(int)]
    front = loaded.triangles_center[:, 2].argmax()
    np.testing.assert_array_equal(shown[front], (255, 0, 0))
    assert {tuple(map(int, c)) for c in shown} == {(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)}


def test_normals_are_smooth_across_the_seams_of_the_texture(tetrahedron, tmp_path):
    tetrahedron.save(tmp_path / "me.glb")
    (loaded,) = trimesh.load_scene(tmp_path / "me.glb", process=False).geometry.values()
    top = np.isclose(loaded.vertices[:, 1], 0.1)
    assert top.sum() == 3
    np.testing.assert_allclose(loaded.vertex_normals[top], [[0, 1, 0]] * 3, atol=1e-6)


def test_a_ply_file_carries_vertex_colours_and_shared_vertices(tetrahedron, tmp_path):
    tetrahedron.save(tmp_path / "me.ply")
    loaded = trimesh.load_mesh(tmp_path / "me.ply", process=False)
    np.testing.assert_allclose(loaded.vertices, tetrahedron.vertices * 0.1, atol=1e-6)
    np.testing.assert_array_equal(loaded.faces, tetrahedron.triangles)
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], tetrahedron.vertex_colors)


def test_two_obj_files_in_one_folder_keep_their_own_textures(tetrahedron, tmp_path):
    for name in ("me.obj", "you.obj"):
        tetrahedron.save(tmp_path / name)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"me.obj", "me.mtl", "you.obj", "you.mtl"} <= names
    assert len(names) == 6
    assert "mtllib me.mtl" in (tmp_path / "me.obj").read_text()


def test_another_ending_is_a_sentence(tetrahedron, tmp_path):
    with pytest.raises(MediaError, match=r"me\.stl is no kind of mesh"):
        tetrahedron.save(tmp_path / "me.stl")
