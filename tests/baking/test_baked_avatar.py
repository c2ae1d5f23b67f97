"""An avatar that needs no network any more: drawn as the full renderer draws it, kept in one file."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from invertavatar.baking.baked_avatar import BakedAvatar
from invertavatar.baking.bust import lowest_edge
from invertavatar.baking.gltf_reader import read_glb
from invertavatar.baking.hair import veiled
from invertavatar.camera import Camera, rotation_from_angles
from invertavatar.errors import InvertAvatarError, MediaError
from invertavatar.head.driven_head import driven_head
from invertavatar.raster.rasterizer import rasterize
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.retargeting import named_scores
from tests.baking.test_rigged_mesh import validator_reports

SIZE = 128


@pytest.fixture(scope="module")
def baked(tiny_pipeline, tiny_avatar) -> BakedAvatar:
    return tiny_pipeline.bake(tiny_avatar, texture_size=256)


def driven(pipe, avatar, scores, rotation):
    """The head [1, V, 3] that the full renderer draws."""
    head_model = pipe.head_model
    off, residual = head_model.stand_off(avatar.displacement), torch.zeros_like(avatar.rest.residual)
    moves = scores[None], residual, rotation, rotation, avatar.rest.torso_pose
    return driven_head(head_model, avatar.shape, off, *moves).vertices


@pytest.mark.parametrize(
    ("yaw", "pitch", "expression"),
    [(0, 0, {}), (25, 0, {"jawOpen": 0.5}), (-30, 10, {"mouthSmileLeft": 1}), (10, -15, {"browInnerUp": 0.8})],
)
def test_frames_lie_on_those_of_the_full_renderer(yaw, pitch, expression, baked, tiny_pipeline, tiny_avatar):
    """Landmarks to one and a half pixels of 256, outlines but for what photos' outlines have moved."""
    rotation, scores = rotation_from_angles(yaw, pitch)[None], named_scores(expression)
    head_model, camera = tiny_pipeline.head_model, Camera(rotation)
    full = driven(tiny_pipeline, tiny_avatar, scores, rotation)
    fast = baked.posed(scores, rotation[0], rotation=rotation)
    fast = fast[:, : full.shape[1]]  # a bust and a veil come after the head
    off = head_model.landmarks(camera.project(full) - camera.project(fast))[0, :468, :2]
    assert off.norm(dim=-1).mean() < 1.5 / 128
    mask = rasterize(camera.project(full), head_model.triangles, SIZE).mask[0].numpy()
    options = {"size": SIZE, "background": "transparent", "framing": "crop"}
    shown = baked.still(yaw, pitch, expression=expression, **options)[..., 3] > 127
    assert (mask & shown).sum() / (mask | shown).sum() > 0.93


@pytest.mark.parametrize("options", [{"framing": "crop", "zoom": 0.7, "turn_body": True}, {"framing": "photo"}])
def test_a_camera_shows_the_baked_avatar_as_it_shows_the_full_one(options, baked, tiny_pipeline, tiny_avatar):
    options |= {"yaw": 20.0, "background": "transparent"}
    full = np.asarray(tiny_pipeline.render(tiny_avatar, expression={}, height=SIZE, **options)[0])[..., 3] > 127
    fast = baked.still(expression={}, size=SIZE, **options)[..., 3] > 127
    assert (full & fast).sum() / (full | fast).sum() > 0.8


def test_a_motion_that_stays_at_its_neutral_is_the_rest_of_the_avatar(baked):
    motion = Motion(rotation=torch.eye(3).expand(3, 3, 3), expression=torch.zeros(3, 52))
    head_to_torso, camera = baked.rest.rotation[0], baked.camera(torch.eye(3))
    frame = baked.framing("photo", SIZE)
    expected = baked.frame(baked.rest.expression[0], head_to_torso, camera, baked.behind("gray", frame), frame)
    for frame in baked.render(motion, size=SIZE):
        np.testing.assert_array_equal(frame, expected)


def test_a_motion_moves_it_in_the_picture_where_that_is_asked_for(baked):
    motion = Motion(
        rotation=torch.eye(3).expand(2, 3, 3),
        expression=torch.zeros(2, 52),
        translation=torch.tensor([[0.0, 0.0], [0.25, 0.0]]),
        known_neutral=Motion(rotation=torch.eye(3)[None], expression=torch.zeros(1, 52)),
    )
    one, two = baked.render(motion, size=SIZE, follow_translation=True, framing="crop")
    moved = int(0.25 * SIZE / 2)
    np.testing.assert_allclose(two[:, moved:].astype(int), one[:, :-moved].astype(int), atol=2)


def test_skin_that_turns_toward_the_light_becomes_brighter(baked):
    lit = BakedAvatar(baked.mesh, np.float32([0.6, 0, 0]), 0.7, baked.rest)
    picture = lit.still(expression={}, size=SIZE, framing="crop").astype(float).mean(-1)
    plain = BakedAvatar(baked.mesh, np.zeros(3, np.float32), 0.7, baked.rest).still(
        expression={}, size=SIZE, framing="crop"
    )
    change = picture - plain.astype(float).mean(-1)
    assert change[:, SIZE // 2 + 20 :].sum() > 0 > change[:, : SIZE // 2 - 20].sum()


@pytest.fixture(scope="module")
def veiled_head(baked, head_model) -> BakedAvatar:
    """One with hair throughout, whatever the tiny networks have drawn."""
    solid = baked.mesh
    if solid.veil:
        solid = dataclasses.replace(
            solid,
            triangles=solid.triangles[solid.solid],
            uv_triangles=solid.uv_triangles[solid.solid],
            veil=0,
            opacity=None,
        )
    texture = solid.texture.copy()
    texture[..., 3] = 150
    mesh = veiled(dataclasses.replace(solid, texture=texture), (head_model.displacement.share > 0.9).float().numpy())
    return dataclasses.replace(baked, mesh=mesh)


@pytest.mark.parametrize("yaw", [0, 90, 180])
def test_hair_ends_softly_where_a_solid_head_ends_in_a_line(yaw, veiled_head):
    solid = dataclasses.replace(
        veiled_head, mesh=dataclasses.replace(veiled_head.mesh, opacity=0 * veiled_head.mesh.opacity)
    )
    options = {"size": 256, "background": "transparent", "framing": "crop", "expression": {}, "turn_body": True}
    soft, hard = (head.still(yaw, **options)[..., 3].astype(int) for head in (veiled_head, solid))
    between = [((alpha > 10) & (alpha < 245)).sum() for alpha in (soft, hard)]
    assert between[0] > 1.2 * between[1]
    assert (soft[hard == 255] == 255).all()


def test_nobody_sees_into_the_bust_from_below(baked):
    """The solid mesh is closed but for the sockets of eyes, teeth and tongue: its lowest opening lies in the face."""
    solid = baked.mesh.triangles[baked.mesh.solid]
    places, joined = np.unique(baked.mesh.vertices, axis=0, return_inverse=True)  # the lid has an edge of its own
    opening = places[lowest_edge(places, joined.ravel()[solid])]
    assert opening[:, 1].min() > -0.6


def test_a_shut_lid_hides_the_eye_at_every_stage(baked):
    """Blinks are straight ways, eyeballs are round: lids are laid onto them."""
    shown = baked._drawn
    for score in (0.3, 0.6, 1.0):
        vertices = baked.posed(named_scores({"eyeBlinkLeft": score, "eyeBlinkRight": score}))[0]
        for eye, lid in zip(shown.eyes, shown.lids, strict=True):
            middle = vertices[eye].mean(0)
            radius = (vertices[eye] - middle).norm(dim=1).mean()
            assert (vertices[lid] - middle).norm(dim=1).min() > radius


def test_a_file_holds_all_of_it(baked, tmp_path):
    baked.save(tmp_path / "me.glb")
    loaded = BakedAvatar.load(tmp_path / "me.glb")
    assert len(loaded.mesh.vertices) == len(baked.mesh.vertices)
    np.testing.assert_array_equal(loaded.mesh.texture, baked.mesh.texture)
    options = {"yaw": 20.0, "expression": {"jawOpen": 0.6, "eyeLookInLeft": 1}, "size": SIZE}
    one, two = (head.still(**options).astype(int) for head in (baked, loaded))
    assert np.abs(one - two).mean() < 0.05
    torch.testing.assert_close(loaded.rest.rotation, baked.rest.rotation)


def test_the_file_keeps_the_background_of_the_photo_to_itself(baked, tmp_path):
    assert baked.still(background="original", size=SIZE).std() > 0
    baked.save(tmp_path / "me.glb")
    with pytest.raises(MediaError, match="without the photo's background"):
        BakedAvatar.load(tmp_path / "me.glb").still(background="original")


def test_khronos_validator_finds_nothing_to_say(baked, veiled_head, tmp_path):
    baked.save(tmp_path / "me.glb")
    veiled_head.save(tmp_path / "hair.glb")
    for report in validator_reports(tmp_path / "me.glb", tmp_path / "hair.glb"):
        assert report["issues"]["messages"] == []
        assert report["info"]["hasMorphTargets"]


def test_a_file_keeps_the_veil_apart_from_what_is_solid(veiled_head, tmp_path):
    veiled_head.save(tmp_path / "me.glb")
    mesh, loaded = veiled_head.mesh, BakedAvatar.load(tmp_path / "me.glb").mesh
    assert (loaded.veil, len(loaded.vertices)) == (mesh.veil, len(mesh.vertices))
    np.testing.assert_allclose(np.sort(loaded.opacity), np.sort(mesh.opacity))
    solid, veil = read_glb(tmp_path / "me.glb").json["materials"]
    assert ("alphaMode" not in solid, veil["alphaMode"]) == (True, "BLEND")


@pytest.mark.parametrize("damage", ["cut", "another program's", "not a file", "no .glb", "texture"])
def test_a_file_that_is_no_baked_avatar_is_a_sentence(damage, baked, tmp_path):
    path = tmp_path / "me.glb"
    baked.save(path)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "another program's":
        baked.mesh.save(path)
    elif damage == "not a file":
        path.unlink()
    elif damage == "texture":  # whose halves are no pixels
        tiny = dataclasses.replace(baked.mesh, texture=baked.mesh.texture[:1, :1])
        dataclasses.replace(baked, mesh=tiny).save(path)
    else:
        path.write_text(json.dumps({}))
    with pytest.raises(MediaError, match=r"me\.glb"):
        BakedAvatar.load(path)


def test_an_unknown_axis_is_a_sentence(baked):
    with pytest.raises(InvertAvatarError, match="no expression axis grin"):
        baked.still(expression={"grin": 1})
