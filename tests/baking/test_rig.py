"""The mesh of an avatar that other programs can move."""

import numpy as np
import pytest
import torch

from invertavatar.baking.hidden_parts import whole_eyes, with_tongue
from invertavatar.baking.rig import metres_per_unit
from invertavatar.baking.rigged_mesh import RiggedMesh
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.head_model import LABELS
from invertavatar.head.landmark_topology import LEFT_IRIS, RIGHT_IRIS
from invertavatar.head.topology import JOINT_NAMES as JOINTS
from invertavatar.raster.rasterizer import interpolate, rasterize
from invertavatar.rendering.overlay import fitted_to, head_overlay
from tests.landmarks import mean_landmarks


@pytest.fixture(scope="module")
def mesh(tiny_pipeline, tiny_avatar) -> RiggedMesh:
    return tiny_pipeline.extract_mesh(tiny_avatar, texture_size=256)


def test_a_mesh_is_the_head_model_on_a_bust(mesh, head_model):
    count = len(head_model.triangles)
    np.testing.assert_array_equal(mesh.triangles[:count], head_model.triangles)
    assert (mesh.triangles[count:].max(1) >= head_model.config.num_vertices).all()
    assert list(mesh.morphs) == list(ARKIT_NAMES)
    assert tuple(mesh.joint_names) == JOINTS


def test_pupils_are_63_millimetres_apart(head_model):
    pupils = (mean_landmarks(head_model)[RIGHT_IRIS[0]] - mean_landmarks(head_model)[LEFT_IRIS[0]]).norm()
    assert float(pupils) * metres_per_unit(head_model) == pytest.approx(0.063)


def test_all_morph_targets_move_something(mesh):
    for name, moved in mesh.morphs.items():
        assert np.linalg.norm(moved, axis=1).max() > 0.004, name


def test_an_expression_poses_the_mesh_as_its_morph_targets_do(tiny_pipeline, tiny_avatar, mesh):
    posed = tiny_pipeline.extract_mesh(tiny_avatar, expression={"jawOpen": 0.5}, texture_size=256)
    np.testing.assert_allclose(posed.vertices, mesh.vertices + 0.5 * mesh.morphs["jawOpen"], atol=2e-3)


def test_the_mesh_is_the_person_of_the_avatar(head_model, tiny_pipeline, tiny_avatar, portrait):
    """Their landmarks without expression, whichever photo came first."""
    other = tiny_pipeline.add_portrait(None, portrait("anna_2"))
    other = tiny_pipeline.add_portrait(other, portrait("anna_1"))
    one, two = tiny_avatar.shape, other.shape
    below = head_model.crown_weight == 0  # the skull is bounded by each photo as it joins
    torch.testing.assert_close(one.vertices[below], two.vertices[below], atol=1e-4, rtol=0)
    assert (one.vertices - two.vertices).abs().max() < 0.05
    landmarks = head_model.landmarks(one.vertices)[:468]
    wanted = (tiny_avatar.neutral_sum / tiny_avatar.num_images)[:468]
    assert (landmarks - wanted).norm(dim=-1).mean() < 0.02
    stranger = tiny_pipeline.add_portrait(None, portrait("ben_1"))
    assert (stranger.shape.vertices - one.vertices).norm(dim=-1).mean() > 0.02


def test_the_overlay_lies_where_the_face_is(head_model, portrait):
    photo = portrait("anna_1")
    _, vertices = fitted_to(head_model, photo)
    off = (head_model.landmarks(vertices) - photo.vertices)[0, :468, :2]
    assert off.norm(dim=-1).mean() < 0.003
    shown = head_overlay(head_model, photo)
    changed = (shown != photo.picture).any(-1)
    assert 0.2 < changed.mean() < 0.8
    assert not changed[:, :20].all(0).any()
    centre = photo.matte[0, 0] > 0.9
    assert (torch.from_numpy(changed) & centre).sum() > 0.8 * changed.sum()


def test_eyes_teeth_and_tongue_have_texture_of_their_own(head_model):
    """No triangle of one part lies over another's in the atlas."""
    for name in ("eye", "teeth", "tongue", "lips"):
        triangles = head_model.uv_triangles[head_model.label == LABELS.index(name)].long()
        a, b, c = head_model.uv[triangles].unbind(1)
        area = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()
        assert (area > 0).all()


def test_an_eyeball_is_whole_and_keeps_the_band_that_lids_let_be_seen(head_model):
    """Eyes of two colours between lids of a third: no lid is left on them, the iris and the white are."""
    size, (lid, iris, white) = 512, ((200, 120, 100), (30, 60, 120), (220, 215, 210))
    texture = np.full((size, size, 3), lid, np.uint8)
    eyes = head_model.label == LABELS.index("eye")
    flat = torch.nn.functional.pad(head_model.uv[head_model.uv_triangles[eyes]].reshape(1, -1, 2) * 2 - 1, (0, 1))
    drawn = rasterize(flat, torch.arange(flat.shape[1]).view(-1, 3), size)
    centres = torch.stack([head_model.mean[part].mean(0) for part in head_model.eye_part])
    owner = torch.where(head_model.eye_part[0], 0, 1)
    direction = torch.nn.functional.normalize(head_model.mean - centres[owner], dim=-1)
    seen = interpolate(direction, drawn, head_model.triangles[eyes])[0]
    _, y, z = torch.nn.functional.normalize(seen, dim=0)
    mask, away = drawn.mask[0], torch.rad2deg(torch.acos(z.clamp(-1, 1)))
    between = mask & (torch.rad2deg(torch.asin(y.clamp(-1, 1))).sub(2).abs() < 12)
    between = between & (away < 34)
    texture[between.numpy()] = white
    texture[(between & (away < 20)).numpy()] = iris
    whole = whole_eyes(texture, between.numpy().astype(np.float32), head_model)
    assert np.abs(whole[(mask & (away < 14)).numpy()].astype(int) - iris).max() < 30
    assert np.abs(whole[(mask & (away > 32)).numpy()].astype(int) - white).max() < 30
    assert (whole[~mask.numpy()] == texture[~mask.numpy()]).all()


def test_the_tongue_has_the_lips_colour(head_model):
    texture = np.full((256, 256, 3), 90, np.uint8)
    painted = with_tongue(texture, head_model)
    changed = painted != texture
    assert changed.any()
    assert 0.3 * 90 < painted[changed].min() < painted[changed].max() < 0.75 * 90  # beside the lips': root and tip
