"""The shipped head model: what it is made of, how it fits people, and that its axes move what their names say."""

import math

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.face.arkit import ARKIT_NAMES, mirrored
from invertavatar.face.topology import LID_GAPS
from invertavatar.head.head_model import JOINTS, LABELS, NUM_SURFACE_LANDMARKS, HeadShape, matrix_root
from tests.conftest import CHECKPOINTS

FLIP = torch.tensor([-1.0, 1.0, 1.0])
# Axis -> (landmark, direction, least way in head units) that the axis moves; a person's left is +x.
MOVES = {
    "jawOpen": (152, (0, -1, 0), 0.08),
    "jawLeft": (152, (1, 0, 0), 0.02),
    "jawForward": (152, (0, 0, 1), 0.02),
    "mouthSmileLeft": (291, (0.5, 1, 0), 0.03),
    "mouthFrownRight": (61, (0, -1, 0), 0.01),
    "mouthPucker": (291, (-1, 0, 0), 0.025),
    "mouthFunnel": (14, (0, -1, 0), 0.02),
    "mouthUpperUpLeft": (312, (0, 1, 0), 0.01),
    "mouthLowerDownRight": (87, (0, -1, 0), 0.01),
    "mouthStretchLeft": (291, (1, 0, 0), 0.005),
    "browInnerUp": (9, (0, 1, 0), 0.01),
    "browDownRight": (105, (0, -1, 0), 0.01),
    "browOuterUpLeft": (334, (0, 1, 0), 0.01),
    "eyeBlinkRight": (159, (0, -1, 0), 0.03),
    "eyeWideLeft": (386, (0, 1, 0), 0.005),
    "cheekPuff": (425, (1, 0, 0.5), 0.02),
    "cheekSquintRight": (118, (0, 1, 0), 0.003),
    "noseSneerLeft": (294, (0, 1, 0), 0.003),
}


@pytest.fixture(scope="module")
def mean_head(head_model) -> HeadShape:
    return HeadShape(head_model.mean, head_model.joint_mean, head_model.blink_correction(head_model.mean))


@pytest.fixture(scope="module")
def strangers(head_model) -> list[HeadShape]:
    """People of the identity space."""
    generator, people = torch.Generator().manual_seed(1), []
    for _ in range(6):
        axes = torch.randn(len(head_model.identity_std), generator=generator) * head_model.identity_std
        vertices = head_model.mean + torch.einsum("k,kvc->vc", axes, head_model.identity_basis)
        people.append(head_model.shape(head_model.landmarks(vertices), 1))
    return people


def scores(**named: float) -> torch.Tensor:
    values = torch.zeros(1, len(ARKIT_NAMES))
    for name, value in named.items():
        values[0, ARKIT_NAMES.index(name)] = value
    return values


def part(head_model, *labels: str) -> torch.Tensor:
    """The vertices of triangles with one of the labels."""
    wanted = torch.isin(head_model.label, torch.tensor([LABELS.index(name) for name in labels]))
    return head_model.triangles[wanted].unique().long()


def test_its_files_stay_below_six_megabytes():
    assert sum(file.stat().st_size for file in (CHECKPOINTS / "head_model").iterdir()) < 6e6


def test_left_and_right_are_mirror_images(head_model):
    mirror = head_model.mirror.long()
    assert (mirror[mirror] == torch.arange(len(mirror))).all()
    assert (head_model.mean - head_model.mean[mirror] * FLIP).abs().max() < 0.002  # stored in half precision
    swap = torch.tensor([ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES])
    difference = head_model.expression_basis - head_model.expression_basis[swap][:, mirror] * FLIP
    assert difference.norm(dim=-1).mean() < 0.002


def test_each_vertex_is_held_by_joints_and_each_triangle_has_a_label(head_model):
    torch.testing.assert_close(head_model.skin_weights.sum(1), torch.ones(len(head_model.mean)), atol=2e-3, rtol=0)
    assert sorted(head_model.label.unique().tolist()) == list(range(len(LABELS)))


def test_the_neutral_head_meets_the_landmarks_of_its_person(head_model):
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(len(head_model.identity_std), generator=generator) * head_model.identity_std
    person = head_model.mean + torch.einsum("k,kvc->vc", axes, head_model.identity_basis)
    wanted = head_model.landmarks(person) + 0.01 * torch.randn(478, 3, generator=generator)
    vertices = head_model.shape(wanted, 1).vertices
    off = (head_model.landmarks(vertices) - wanted)[:NUM_SURFACE_LANDMARKS]
    assert off.norm(dim=-1).median() < 1e-3  # lids are laid onto the eyeball besides


def test_the_sum_over_photos_is_all_that_a_shape_needs(head_model):
    rest = head_model.landmarks(head_model.mean) + torch.tensor([0.01, 0.0, 0.0])
    one, three = head_model.shape(rest, 1), head_model.shape(3 * rest, 3)
    torch.testing.assert_close(one.vertices, three.vertices, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MOVES)
def test_an_axis_moves_what_its_name_says(head_model, mean_head, name):
    landmark, direction, least = MOVES[name]
    direction = torch.tensor(direction, dtype=torch.float32)
    before, after = (head_model.landmarks(head_model(mean_head, s))[0] for s in (scores(), scores(**{name: 1.0})))
    way = (after - before)[landmark] @ direction / direction.norm()
    assert way > least
    other = head_model.landmarks(head_model(mean_head, scores(**{mirrored(name): 1.0})))[0]
    if mirrored(name) != name and name not in ("jawLeft",):
        assert (other - before)[landmark].norm() < (after - before)[landmark].norm() / 2


def test_the_tongue_comes_out_between_the_lips(head_model, mean_head):
    tongue = part(head_model, "tongue")
    inside, out = (head_model(mean_head, s)[0, tongue] for s in (scores(jawOpen=0.7), scores(jawOpen=0.7, tongueOut=1)))
    lips = head_model.landmarks(head_model(mean_head, scores(jawOpen=0.7)))[0, 14]
    assert inside[:, 2].max() < lips[2] < out[:, 2].max() - 0.05


def test_lower_teeth_follow_the_jaw_and_upper_teeth_stay(head_model, mean_head):
    teeth = part(head_model, "teeth")
    moved = (head_model(mean_head, scores(jawOpen=1)) - head_model(mean_head, scores()))[0, teeth, 1]
    lower = moved != 0
    front = head_model.mean[teeth, 2] > head_model.mean[teeth, 2].quantile(0.8)
    assert head_model.mean[teeth][lower, 1].mean() < head_model.mean[teeth][~lower, 1].mean() - 0.05
    assert moved[lower & front].max() < -0.08
    assert 0.4 < lower.float().mean() < 0.6


@pytest.mark.parametrize(
    ("name", "eye", "axis", "sign"),
    [
        ("eyeLookOutLeft", 0, 0, 1),
        ("eyeLookInLeft", 0, 0, -1),
        ("eyeLookUpRight", 1, 1, 1),
        ("eyeLookDownRight", 1, 1, -1),
    ],
)
def test_gaze_turns_the_eyeball_about_its_centre(head_model, mean_head, name, eye, axis, sign):
    still, turned = head_model(mean_head, scores()), head_model(mean_head, scores(**{name: 1.0}))
    torch.testing.assert_close(head_model.eye_centres(still), head_model.eye_centres(turned), atol=1e-4, rtol=0)
    iris = 473 if eye == 0 else 468
    moved = (head_model.landmarks(turned) - head_model.landmarks(still))[0, iris]
    assert sign * moved[axis] > 0.2 * head_model.eye_radius(still)[0, eye]


def test_tracked_irises_are_looked_through_to_the_gaze(head_model, mean_head):
    asked = torch.tensor([[[12.0, -8.0], [15.0, -8.0]]])
    vertices = head_model(mean_head, scores(), gaze=asked)
    found = head_model.gaze_in(head_model.landmarks(vertices), vertices)
    straight = head_model.gaze_in(head_model.landmarks(head_model(mean_head, scores())), vertices)
    torch.testing.assert_close(found - straight, asked, atol=2.0, rtol=0)


def test_a_blink_closes_the_lids_of_every_person(head_model, strangers):
    landmarks = head_model.landmarks(head_model.mean)
    height = landmarks[10, 1] - landmarks[152, 1]
    for person in strangers:
        for side, (upper, lower) in zip(("Right", "Left"), LID_GAPS, strict=True):
            shut = head_model.landmarks(head_model(person, scores(**{f"eyeBlink{side}": 1.0})))[0]
            assert (shut[upper, 1] - shut[lower, 1]).abs() < 0.003 * height


def test_lids_lie_outside_of_the_eyeballs(head_model, strangers):
    for person in strangers:
        for pose in (scores(), scores(eyeBlinkLeft=0.5, eyeBlinkRight=0.5), scores(eyeBlinkLeft=1, eyeBlinkRight=1)):
            vertices = head_model(person, pose)
            radius, centres = head_model.eye_radius(vertices), head_model.eye_centres(vertices)
            for eye in range(2):
                away = (vertices[0, head_model.lid_part[eye]] - centres[0, eye]).norm(dim=-1)
                assert away.min() > radius[0, eye]


def test_lips_are_closed_by_mouth_close_only_as_far_as_the_jaw_is_open(head_model, mean_head):
    still = head_model(mean_head, scores())
    torch.testing.assert_close(head_model(mean_head, scores(mouthClose=1)), still)
    opened, closed = (head_model.landmarks(head_model(mean_head, s))[0] for s in
                      (scores(jawOpen=0.5), scores(jawOpen=0.5, mouthClose=0.5)))  # fmt: skip
    assert closed[13, 1] - closed[14, 1] < 0.85 * (opened[13, 1] - opened[14, 1])


def test_shoulders_stay_while_the_head_turns(head_model, mean_head):
    still = head_model.skin_weights[:, JOINTS.index("torso")] > 0.99
    for angles in ((40.0, 0.0, 0.0), (0.0, 25.0, 0.0), (-30.0, 10.0, 15.0)):
        turn = rotation_from_angles(*angles)[None]
        seen = head_model.pose(mean_head, mean_head.vertices[None], turn) @ turn.mT  # as the camera sees it
        moved = (seen[0] - mean_head.vertices)[still]
        assert (moved - moved.mean(0)).abs().max() < 1e-3  # carried along with the head, not turned


def test_the_neck_bends_smoothly_between_head_and_shoulders(head_model, mean_head):
    turn = rotation_from_angles(40.0)[None]
    vertices = head_model.pose(mean_head, mean_head.vertices[None], turn)[0]
    head = head_model.skin_weights[:, JOINTS.index("head")] == 1
    torch.testing.assert_close(vertices[head], mean_head.vertices[head], atol=2e-4, rtol=0)  # weights are halves
    triangles = head_model.triangles[head_model.label == LABELS.index("neck")].long()

    def areas(at):
        a, b, c = at[triangles].unbind(1)
        return torch.linalg.cross(b - a, c - a).norm(dim=-1)

    stretched = areas(vertices) / areas(mean_head.vertices)
    assert stretched.quantile(0.98) < 3
    assert stretched.quantile(0.02) > 0.3


def test_the_skull_is_lowered_until_the_matte_holds_it(head_model, mean_head):
    size = 128
    up = 1 - (torch.arange(size) + 0.5) * (2 / size)
    landmarks = head_model.landmarks(mean_head.vertices)
    top, forehead = mean_head.vertices[:, 1].max(), landmarks[10, 1]
    limit = forehead + 0.75 * (top - forehead)
    matte = (up < limit).float()[None, None, :, None].expand(1, 1, size, size)
    crown = head_model.crown_height(mean_head, torch.eye(3), matte)
    assert head_model.config.crown_least < crown < 0.85
    lowered = head_model.shape(landmarks, 1, crown).vertices
    assert lowered[:, 1].max() < limit + 0.03
    assert head_model.crown_height(mean_head, torch.eye(3), torch.ones_like(matte)) == 1


def test_a_frame_is_warped_to_its_landmarks_less_the_more_it_is_turned(head_model, mean_head):
    seen = head_model.landmarks(mean_head.vertices)[None].repeat(3, 1, 1)
    seen[:, 291] += torch.tensor([0.05, 0.0, 0.0])
    yaw = torch.tensor([0.0, 25.0, 60.0])
    moved = head_model.landmarks(head_model(mean_head, scores().expand(3, -1), seen, yaw))[:, 291, 0]
    moved = moved - head_model.landmarks(mean_head.vertices)[291, 0]
    assert moved[0] == pytest.approx(0.05, abs=0.002)
    assert 0.01 < moved[1] < 0.04
    assert abs(moved[2]) < 0.002


def test_a_rotation_is_the_power_of_its_root():
    rotation = rotation_from_angles(torch.tensor([50.0, 0.0, -20.0]), torch.tensor([10.0, 0.0, 30.0]))
    root = matrix_root(rotation, 4)
    torch.testing.assert_close(root @ root @ root @ root, rotation, atol=1e-5, rtol=0)
    assert math.isclose(float(torch.linalg.det(root).mean()), 1.0, abs_tol=1e-5)
