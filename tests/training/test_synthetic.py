"""Synthetic people from MakeHuman's data: exact, and the same from the same seed."""

import os

import numpy as np
import pytest
import torch

from invertavatar.camera import project
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.pose import read_template
from invertavatar.head_building.random_heads import RandomHeads
from invertavatar.synthetic.person import SyntheticPerson
from invertavatar.synthetic.studio import DRESSED_LABELS, LOWEST, Studio
from invertavatar.training.shards import Shards, pack
from invertavatar.training.synthetic import SyntheticSet, synthetic_faces
from tests.conftest import CHECKPOINTS

DATA = os.environ.get("MAKEHUMAN_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MAKEHUMAN_DATA does not name the folder of MakeHuman's data")
WANTED = SyntheticSet(yaws=(0.0, 40.0, 150.0), size=128, seed=3)
NOSE_TIP, CHIN = 4, 152


@pytest.fixture(scope="module")
def studio(head_model) -> Studio:
    return Studio(DATA, head_model, read_template(CHECKPOINTS / "face_tracker"), texture_size=256)


@pytest.fixture(scope="module")
def faces(studio):
    return synthetic_faces(studio, 0, WANTED)


@pytest.fixture(scope="module")
def shards(faces, tmp_path_factory) -> Shards:
    folder = tmp_path_factory.mktemp("synthetic")
    pack(faces, folder)
    return Shards([folder])


def test_the_same_seed_gives_the_same_bits_whoever_was_drawn_before(studio, faces):
    synthetic_faces(studio, 1, SyntheticSet(1, size=64))
    for one, again in zip(faces, synthetic_faces(studio, 0, WANTED), strict=True):
        assert (one.picture, one.matte, one.geometry) == (again.picture, again.matte, again.geometry)
        np.testing.assert_array_equal(one.vertices, again.vertices)


def test_another_number_is_another_person(studio, faces):
    other = synthetic_faces(studio, 1, WANTED)[0]
    assert other.person != faces[0].person
    assert np.abs(other.vertices - faces[0].vertices).max() > 0.01


def test_landmarks_lie_on_the_drawn_surface(shards):
    """Depth of the picture at a landmark is the landmark's own, unless hair or a hat is before it."""
    for face in (0, 1):
        geometry, size = shards.geometry(face), shards.picture_size
        vertices, rotation = (torch.from_numpy(x[face].astype(np.float32)) for x in (shards.vertices, shards.rotation))
        x, y, depth = project(vertices[None], rotation[None])[0].numpy().T
        column, row = (((v + 1) * size / 2).astype(int).clip(0, size - 1) for v in (x, y))
        skin = np.isin(geometry.labels[row, column], [DRESSED_LABELS.index(name) for name in ("face", "lips")])
        assert skin.sum() > 80
        away = geometry.depth[row, column] - depth
        front = skin & (away < 0.08)  # others are on the far side
        assert front.mean() > 0.15
        assert np.median(np.abs(away[front])) < 0.02
        assert (away[skin] > -0.05).mean() > 0.94  # nothing is seen that lies behind a landmark


def test_the_pose_is_what_the_tracker_would_find(shards, studio):
    for face in range(len(shards)):
        laid = studio.template.laid_on(shards.vertices[face].astype(np.float64))
        np.testing.assert_allclose(laid.scale, 1, atol=1e-3)
        np.testing.assert_allclose(laid.rotation, np.eye(3), atol=1e-3)
        np.testing.assert_allclose(laid.translation, 0, atol=1e-3)


def test_the_mesh_holds_the_landmarks_and_the_matte_holds_the_mesh(shards, head_model):
    for face in range(len(shards)):
        geometry = shards.geometry(face)
        mesh = torch.from_numpy(geometry.mesh.astype(np.float32))
        skin = head_model.landmarks(mesh).numpy()[:468] - shards.vertices[face][:468]
        assert np.abs(skin).max() < 0.02  # the neck's bend moves the lowest by a little
        head = mesh[head_model.crown_weight > 0.3] @ torch.from_numpy(shards.rotation[face]).T
        inside = (head[:, :2].abs() < 0.97).all(1)
        column, row = (((v + 1) * 64).long().clip(0, 127).numpy() for v in (head[inside, 0], -head[inside, 1]))
        assert (shards.matte(face)[row, column] > 100).mean() > 0.97
        assert np.isfinite(geometry.depth).mean() > 0.25
        assert ((shards.matte(face) > 127) == np.isfinite(geometry.depth)).mean() > 0.97


def test_nothing_is_black_and_a_face_looks_like_skin(shards):
    labels, picture = shards.geometry(0).labels, shards.picture(0).astype(float)
    face = picture[labels == DRESSED_LABELS.index("face")]
    assert len(face) > 500
    assert face.mean() > 40
    assert (np.diff(face.mean(0)) < 0).all()  # more red than green than blue
    assert (face.max(1) < 8).mean() < 0.02


def test_a_body_that_does_not_turn_with_the_head_stays_where_it_was(studio):
    person = SyntheticPerson.random(studio, np.random.default_rng(7))
    neutral, angle = np.zeros(52, np.float32), np.radians(40)
    head_to_torso = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32
    )
    ahead, turned = person.posed(neutral, np.eye(3, dtype=np.float32)), person.posed(neutral, head_to_torso)
    np.testing.assert_allclose(ahead.landmarks[:468], turned.landmarks[:468], atol=1e-6)  # head space is the head's
    torso = studio.topology.skin_weights[:, 0] > 0.9999
    about_the_neck = turned.mesh[torso] @ head_to_torso.T - ahead.mesh[torso]
    spread = np.abs(about_the_neck - about_the_neck.mean(0)).max()
    assert spread < 0.004  # the neck bends in the scene, which lies within a degree of head space
    assert np.abs(about_the_neck).max() < 0.6


def test_scores_move_what_their_names_say_and_eyes_follow(studio):
    person = SyntheticPerson.random(studio, np.random.default_rng(8))
    straight, scores = np.eye(3, dtype=np.float32), np.zeros(52, np.float32)
    still = person.posed(scores, straight)
    scores[[ARKIT_NAMES.index(name) for name in ("jawOpen", "eyeLookOutLeft", "eyeLookInRight")]] = 0.8
    moved = person.posed(scores, straight)
    assert (
        moved.landmarks[CHIN, 1] - moved.landmarks[NOSE_TIP, 1]
        < still.landmarks[CHIN, 1] - still.landmarks[NOSE_TIP, 1]
    )
    assert (moved.landmarks[[468, 473], 0] > still.landmarks[[468, 473], 0] + 0.01).all()  # to the picture's right
    eyes = [next(p for p in q.parts if p.label[0] == DRESSED_LABELS.index("eye")).vertices for q in (still, moved)]
    assert eyes[1][:, 0].max() > eyes[0][:, 0].max() - 0.02
    assert np.abs(eyes[1] - eyes[0]).max() > 0.01


def test_every_garment_finds_its_texture_and_lies_about_the_head(studio):
    heads, rng = RandomHeads(studio.data), np.random.default_rng(2)
    labels = set()
    for _ in range(8):
        mixture = heads.draw(rng)
        outfit = studio.wardrobe.outfit(rng, mixture)
        labels |= {garment.label for garment in outfit.garments}
        for garment in outfit.garments:
            assert garment.texture.colour.min() >= 0
            assert garment.texture.alpha.max() > 100
    assert labels >= {"eye", "teeth", "tongue", "brow", "cloth", "hair"}


def test_the_skin_is_the_heads_and_the_bodys_each_triangle_once_and_no_socket_of_an_eye(studio):
    surface, _ = studio.skin
    assert len(np.unique(np.sort(surface.triangles, 1), axis=0)) == len(surface.triangles)
    # Open only at the edges of the cuts: around the eyes, and far below.
    edges = np.sort(np.concatenate([surface.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), 1)
    edge, count = np.unique(edges, axis=0, return_counts=True)
    height = surface.vertices[edge[count == 1], 1].mean(1)
    assert ((height < LOWEST + 0.5) | (height > 6.8)).all()
