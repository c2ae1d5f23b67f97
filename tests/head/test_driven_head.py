"""A driven head: on the landmarks asked for, dressed, its neck bent, hair and shoulders moved."""

import pytest
import torch

from invertavatar.camera import Camera, rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.driven_head import DrivenHead, dressed_head, driven_head, driven_skin
from invertavatar.head.eyeballs import NUM_SURFACE_LANDMARKS
from invertavatar.head.head_model import LABELS
from invertavatar.head.rest_pose import TORSO_POSE_NAMES, body_weight, hair_weight
from invertavatar.head.topology import JOINT_NAMES as JOINTS
from invertavatar.rendering.drive import standing
from tests.landmarks import mean_person

TURN = rotation_from_angles(torch.tensor([35.0]), -10.0)
SHOULDERS_RIGHT = torch.eye(12)[[TORSO_POSE_NAMES.index("shouldersRight")]] * 0.1
HAIR_UP = torch.eye(12)[[TORSO_POSE_NAMES.index("hairUp")]] * 0.05


@pytest.fixture(scope="module")
def anna(head_model, portrait):
    """A person with what a tracker and a matte tell of her: shape, scores, landmarks, how far hair stands off."""
    photo = portrait("anna_1")
    shape = head_model.shape(head_model.without_expression(photo.vertices, photo.expression)[0], 1)
    vertices = head_model.seen_in(shape, photo.expression, photo.vertices, photo.rotation)[0]
    evidence = head_model.outline_evidence(vertices, photo.rotation[0], photo.matte, photo.inside)
    return shape, photo.expression, photo.vertices, evidence


@pytest.fixture(scope="module")
def skin(head_model, anna):
    return driven_skin(head_model, *anna[:3])


def wear(head_model, anna, skin, head_to_torso=None, torso_pose=None) -> DrivenHead:
    shape, _, landmarks, evidence = anna
    off = head_model.stand_off(evidence)
    return dressed_head(head_model, skin, landmarks, shape.landmarks, off, shape.joints, head_to_torso, torso_pose)


def labelled(head_model, *names):
    """[V] bool: vertices all of whose triangles have one of these labels."""
    label = torch.isin(head_model.label, torch.tensor([LABELS.index(name) for name in names]))
    other = torch.zeros(len(head_model.mean), dtype=torch.bool)
    other[head_model.triangles[~label].flatten()] = True
    return ~other


def test_the_skin_lies_on_the_landmarks_asked_for(head_model, anna, skin):
    away = (head_model.landmarks(skin) - anna[2])[0, :NUM_SURFACE_LANDMARKS].norm(dim=-1)
    assert away.median() < 1e-3 and away.max() < 0.03  # lids are laid onto the eyeballs
    assert (away > 5e-3).sum() < 30


def test_the_eyeballs_look_where_the_irises_are(head_model, anna, skin):
    shape, expression, landmarks, _ = anna
    aside = landmarks.clone()
    aside[:, NUM_SURFACE_LANDMARKS:, 0] += 0.02
    moved = head_model.landmarks(driven_skin(head_model, shape, expression, aside) - skin)[0]
    assert moved[NUM_SURFACE_LANDMARKS:, 0].mean() == pytest.approx(0.02, abs=0.005)
    assert moved[:NUM_SURFACE_LANDMARKS].abs().max() < 0.01


def test_dressing_moves_the_hair_outward_and_not_the_face(head_model, anna, skin):
    moved = (wear(head_model, anna, skin).rest_vertices - skin)[0].norm(dim=-1)
    assert moved[labelled(head_model, "face", "lips", "eye", "teeth")].median() == 0
    hair = labelled(head_model, "scalp")
    assert moved[hair].mean() > 0.03
    middle = skin[0, hair].mean(0)
    bare, haired = ((x[0, hair] - middle).norm(dim=-1) for x in (skin, wear(head_model, anna, skin).rest_vertices))
    assert (haired > bare).float().mean() > 0.9


def test_without_turn_and_torso_pose_a_head_is_seen_at_rest(head_model, anna, skin):
    head = wear(head_model, anna, skin)
    assert torch.equal(head.rest_vertices, head.vertices)


def test_a_turn_leaves_the_head_and_has_the_body_face_the_viewer(head_model, anna, skin):
    head = wear(head_model, anna, skin, TURN)
    moved = (head.vertices - head.rest_vertices)[0].norm(dim=-1)
    face = moved[labelled(head_model, "face", "eye", "lips", "teeth", "ear")]
    assert face.quantile(0.9) == 0 and face.max() < 0.05  # below the jaw it goes along a little
    assert moved[labelled(head_model, "torso")].median() > 0.1
    # In camera space the shoulders are what they are at rest, but for a place of their own.
    body = head_model.skin_weights[:, JOINTS.index("torso")] > 0.99
    away = (head.vertices @ TURN.mT - head.rest_vertices)[0, body]
    assert body.sum() > 20 and (away - away.mean(0)).abs().max() < 0.01
    assert torch.equal(head.rest_vertices, wear(head_model, anna, skin).rest_vertices)


@pytest.mark.parametrize("torso_pose", [SHOULDERS_RIGHT, HAIR_UP])
def test_a_torso_pose_moves_hair_and_shoulders_alone_and_within_the_picture_s_plane(head_model, anna, skin, torso_pose):
    head = wear(head_model, anna, skin, torso_pose=torso_pose)
    moved = (head.vertices - head.rest_vertices)[0]
    right, up, _ = head.rest_vertices[0].unbind(-1)
    shoulders, hair = body_weight(up), hair_weight(right, up)
    torch.testing.assert_close(moved[:, 0], 0.1 * shoulders * (torso_pose is SHOULDERS_RIGHT))
    torch.testing.assert_close(moved[:, 1], 0.05 * hair * (torso_pose is HAIR_UP))
    assert moved.abs().max() > 0.049 and moved[:, 2].abs().max() == 0


def test_expressions_and_residuals_of_frames_move_the_face(head_model, anna):
    shape, off = anna[0], head_model.stand_off(anna[3])
    still, opened, residual = torch.zeros(1, 52), torch.zeros(1, 52), torch.zeros(1, len(head_model.residual_region))
    opened[0, ARKIT_NAMES.index("jawOpen")] = 1
    front = torch.eye(3)[None]
    calm, gaping, odd = (
        driven_head(head_model, shape, off, scores, left, front).rest_vertices
        for scores, left in ((still, residual), (opened, residual), (still, residual + 0.05))
    )
    chin = head_model.landmarks(calm - gaping)[0, 152]
    assert chin[1] > 0.05
    assert (odd - calm)[0, labelled(head_model, "face")].abs().max() > 1e-3
    assert (gaping - calm)[0, labelled(head_model, "scalp")].abs().max() < 0.02


def test_a_frame_s_landmarks_are_where_a_tracker_would_see_them_in_that_pose(head_model, anna):
    shape, expression, off = *anna[:2], head_model.stand_off(anna[3])
    residual = torch.zeros(1, len(head_model.residual_region))
    front, aside = (
        driven_head(head_model, shape, off, expression, residual, rotation) for rotation in (torch.eye(3)[None], TURN)
    )
    torch.testing.assert_close(front.landmarks, head_model.driven_landmarks(shape.landmarks, expression))
    torch.testing.assert_close(aside.landmarks - front.landmarks, head_model.bias(TURN))
    assert (aside.rest_vertices - front.rest_vertices).abs().max() > 5e-3  # and the mesh goes along


def test_heads_of_a_batch_with_joints_and_hair_of_their_own_are_those_of_each_alone(head_model, anna, skin):
    people = [anna[0], mean_person(head_model)]
    skins = torch.cat([skin, people[1].vertices[None]])
    landmarks, neutral = torch.cat([anna[2], people[1].landmarks[None]]), torch.stack([p.landmarks for p in people])
    off = torch.stack([head_model.stand_off(e) for e in (anna[3], head_model.displacement.no_evidence())])
    joints, head_to_torso = torch.stack([p.joints for p in people]), torch.cat([TURN, TURN.mT])
    torso_pose = torch.cat([SHOULDERS_RIGHT, HAIR_UP])
    together = dressed_head(head_model, skins, landmarks, neutral, off, joints, head_to_torso, torso_pose)
    assert (off[0] - off[1]).abs().max() > 0.01
    for k, person in enumerate(people):
        one = slice(k, k + 1)
        arguments = (
            skins[one],
            landmarks[one],
            person.landmarks,
            off[k],
            person.joints,
            head_to_torso[one],
            torso_pose[one],
        )
        alone = dressed_head(head_model, *arguments)
        torch.testing.assert_close(together.rest_vertices[one], alone.rest_vertices)
        torch.testing.assert_close(together.vertices[one], alone.vertices)


def test_a_standing_body_stays_where_it_is_in_the_picture_as_the_head_turns(head_model):
    person, count = mean_person(head_model), 3
    head_to_torso = rotation_from_angles(torch.tensor([0.0, 25.0, -15.0]), torch.tensor([4.0, -10.0, 12.0]))
    off = head_model.stand_off(head_model.displacement.no_evidence())
    still = torch.zeros(count, 52), torch.zeros(count, len(head_model.residual_region))
    head = driven_head(head_model, person, off, *still, head_to_torso, head_to_torso)
    stay = standing(person.joints, head_to_torso, torch.eye(3), head_to_torso[:1])
    torso = labelled(head_model, "torso") & (head_model.skin_weights[:, JOINTS.index("torso")] > 0.999)
    seen = Camera(head_to_torso, shift=stay).project(head.vertices)[:, torso, :2]
    assert stay.abs().amax(1).tolist()[0] == 0 and stay[1:].norm(dim=1).min() > 0.03
    assert (seen - seen[:1]).abs().max() < 0.01
