"""The shipped head model: what it is made of, how it fits people, and that its axes move what their names say."""

import math

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES, ARKIT_REGIONS, mirrored
from invertavatar.head.eyeballs import NUM_SURFACE_LANDMARKS
from invertavatar.head.fitting import HeadShape
from invertavatar.head.head_model import LABELS, HeadModel
from invertavatar.head.landmark_topology import LID_GAPS, RIGHT_EYE
from invertavatar.head.skinning import matrix_root
from invertavatar.head.topology import JOINT_NAMES as JOINTS
from tests.conftest import CHECKPOINTS
from tests.landmarks import mean_person

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
    return mean_person(head_model)


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
    vertices = head_model.shape(1000 * wanted, 1000).vertices  # many photos leave no doubt
    off = (head_model.landmarks(vertices) - wanted)[:NUM_SURFACE_LANDMARKS]
    assert off.norm(dim=-1).median() < 1e-3  # lids are laid onto the eyeball besides


def test_the_sum_over_photos_is_all_that_a_shape_needs(head_model):
    rest = head_model.landmarks(head_model.mean) + torch.tensor([0.01, 0.0, 0.0])
    two = torch.stack([rest - 0.02, rest + 0.02])
    one, other = head_model.shape(2 * rest, 2), head_model.shape(two.sum(0), 2)
    torch.testing.assert_close(one.vertices, other.vertices, atol=1e-5, rtol=0)


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
        head_to_torso = rotation_from_angles(*angles)[None]
        seen = (
            head_model.pose(mean_head.joints, mean_head.vertices[None], head_to_torso) @ head_to_torso.mT
        )  # as the camera sees it
        moved = (seen[0] - mean_head.vertices)[still]
        assert (moved - moved.mean(0)).abs().max() < 1e-3  # carried along with the head, not turned


def test_the_neck_bends_smoothly_between_head_and_shoulders(head_model, mean_head):
    head_to_torso = rotation_from_angles(40.0)[None]
    vertices = head_model.pose(mean_head.joints, mean_head.vertices[None], head_to_torso)[0]
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


def test_a_head_is_given_the_skull_of_another_and_keeps_its_face(head_model, mean_head):
    landmarks = head_model.landmarks(mean_head.vertices)
    high, low = (head_model.shape(landmarks, 1, crown).vertices for crown in (1.0, 0.8))
    moved = high + torch.tensor([0.01, 0.0, 0.02])
    lowered = head_model.with_skull(moved[None, None], low)[0, 0]
    assert (lowered - moved)[head_model.crown_weight == 0].abs().max() == 0
    top = head_model.crown_weight > 0.9
    torch.testing.assert_close(lowered[top, 1], low[top, 1], atol=0.005, rtol=0)


def test_a_frame_is_warped_to_its_landmarks_less_the_more_it_is_turned(head_model, mean_head):
    seen = head_model.landmarks(mean_head.vertices)[None].repeat(3, 1, 1)
    seen[:, 291] += torch.tensor([0.05, 0.0, 0.0])
    yaw = torch.tensor([0.0, 25.0, 60.0])
    moved = head_model.landmarks(head_model(mean_head, scores().expand(3, -1), None, seen, yaw))[:, 291, 0]
    moved = moved - head_model.landmarks(mean_head.vertices)[291, 0]
    assert moved[0] == pytest.approx(0.05, abs=0.002)
    assert 0.01 < moved[1] < 0.04
    assert abs(moved[2]) < 0.002


def test_a_rotation_is_the_power_of_its_root():
    rotation = rotation_from_angles(torch.tensor([50.0, 0.0, -20.0]), torch.tensor([10.0, 0.0, 30.0]))
    root = matrix_root(rotation, 4)
    torch.testing.assert_close(root @ root @ root @ root, rotation, atol=1e-5, rtol=0)
    assert math.isclose(float(torch.linalg.det(root).mean()), 1.0, abs_tol=1e-5)


# What photos and frames tell


@pytest.fixture(scope="module")
def faces(strangers) -> torch.Tensor:
    """[6, L, 3] neutral landmarks, and a little that no axis holds."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([p.landmarks + 0.003 * torch.randn(478, 3, generator=generator) for p in strangers])


def test_a_neutral_head_does_not_depend_on_the_order_of_the_photos(head_model, faces):
    forth, back = (head_model.shape(x.cumsum(0)[-1], len(faces)) for x in (faces, faces.flip(0)))
    torch.testing.assert_close(forth.vertices, back.vertices, atol=1e-5, rtol=0)


def test_of_what_identity_cannot_explain_n_photos_make_a_share_believable(head_model, mean_head):
    """n / (n + neutral_prior), on the landmarks and on the mesh under them."""
    bump = torch.zeros(478, 3)
    bump[50, 2] = 0.05  # on one cheek
    apart = []
    for count in (1, 2, 4):
        shape = head_model.shape(count * (mean_head.landmarks + bump), count)
        explained = head_model.landmarks(head_model.identity(mean_head.landmarks + bump)[0])[50, 2]
        away = mean_head.landmarks[50, 2] + 0.05 - explained
        fraction = (shape.landmarks[50, 2] - explained) / away
        assert fraction == pytest.approx(count / (count + head_model.config.neutral_prior), abs=1e-3)
        assert head_model.landmarks(shape.vertices)[50, 2] == pytest.approx(float(shape.landmarks[50, 2]), abs=2e-3)
        apart.append(float(fraction))
    assert apart == sorted(apart) and apart[0] < 0.9


def test_the_expression_is_taken_off_before_photos_are_summed(head_model, strangers):
    smile = scores(mouthSmileLeft=0.8, jawOpen=0.4, eyeLookOutLeft=0.5)
    face = head_model.driven_landmarks(strangers[0].landmarks, smile)
    torch.testing.assert_close(head_model.without_expression(face, smile)[0], strangers[0].landmarks, atol=1e-6, rtol=0)


def test_the_bias_is_added_to_a_frame_that_a_tracker_would_see_and_taken_off_a_track(head_model, strangers):
    rotation = rotation_from_angles(torch.tensor([25.0, 0.0]), torch.tensor([-10.0, 0.0]))
    seen = head_model.driven_landmarks(strangers[0].landmarks, scores().expand(2, -1), rotation=rotation)
    torch.testing.assert_close(head_model.unbiased(seen, rotation), strangers[0].landmarks.expand(2, -1, -1))
    away = (seen - strangers[0].landmarks).norm(dim=-1)
    assert away[0].max() > 0.03 and away[1].max() < 1e-6
    bias = head_model.bias(rotation)  # where eyes look is none: irises go along with their lids
    torch.testing.assert_close(bias[:, 468], bias[:, list(RIGHT_EYE)].mean(1), atol=1e-3, rtol=0)


def test_the_residual_of_a_driven_face_is_what_drove_it(head_model, strangers):
    generator = torch.Generator().manual_seed(1)
    residual = torch.randn(3, len(head_model.residual_std), generator=generator) * head_model.residual_std
    expression = torch.rand(3, 52, generator=generator)
    face = head_model.driven_landmarks(strangers[0].landmarks, expression, residual)
    found = head_model.residual(face, strangers[0].landmarks, expression)
    error = (found - residual) / head_model.residual_std
    assert error.abs().max() < 0.25 and error.square().mean().sqrt() < 0.05
    torch.testing.assert_close(
        head_model.driven_landmarks(strangers[0].landmarks, expression, found), face, atol=2e-3, rtol=0
    )


def test_the_mesh_moves_as_its_landmarks_do_with_the_residual_too(head_model, strangers):
    generator = torch.Generator().manual_seed(2)
    residual = torch.randn(3, len(head_model.residual_std), generator=generator) * head_model.residual_std
    expression = torch.rand(3, 52, generator=generator) * 0.3
    for person in strangers[:2]:
        mesh = head_model.landmarks(head_model(person, expression, residual))
        still = head_model.landmarks(head_model(person, expression))
        wanted = head_model.driven_landmarks(person.landmarks, expression, residual)
        assert (wanted - mesh)[:, :NUM_SURFACE_LANDMARKS].norm(dim=-1).mean() < 0.005  # lids lie on eyeballs
        moved, asked = (mesh - still)[:, [468, 473], :2], (residual @ head_model.residual_basis.flatten(1))
        asked = asked.unflatten(1, (-1, 3))[:, [468, 473], :2]
        torch.testing.assert_close(moved, asked, atol=0.01, rtol=0.2)  # eyeballs turn until the irises are there


def test_driving_without_residual_is_driving_with_a_residual_of_zero(head_model, mean_head):
    smile, zeros = scores(mouthSmileRight=1.0), torch.zeros(1, len(head_model.residual_basis))
    for drive, of in ((head_model, mean_head), (head_model.driven_landmarks, mean_head.landmarks)):
        torch.testing.assert_close(drive(of, smile), drive(of, smile, zeros), atol=1e-6, rtol=0)


def test_frames_are_driven_independently_of_the_batch_they_are_in(head_model, mean_head):
    batch = torch.cat([scores(jawOpen=0.5), scores(eyeBlinkLeft=1.0)])
    for drive, of in ((head_model, mean_head), (head_model.driven_landmarks, mean_head.landmarks)):
        together = drive(of, batch)
        for k in range(2):
            torch.testing.assert_close(together[k], drive(of, batch[k : k + 1])[0], atol=1e-5, rtol=0)


def test_each_residual_axis_names_the_region_it_moves_most(head_model):
    rows = {region: [] for region in ("eyes", "lip", "other")}
    for region, basis in zip(head_model.residual_region, head_model.residual_basis, strict=True):
        rows[region].append(basis.norm(dim=-1))
    moved = {region: torch.stack(norms).mean(0) for region, norms in rows.items()}
    assert sum(map(len, rows.values())) == len(head_model.residual_basis)
    for landmark, region in ((386, "eyes"), (159, "eyes"), (14, "lip"), (152, "lip"), (234, "other"), (454, "other")):
        assert max(moved, key=lambda name, at=landmark: moved[name][at]) == region


def test_axes_that_tracks_are_silent_about_move_landmarks_in_frames_too(head_model):
    for name, least in (("jawForward", 0.03), ("cheekPuff", 0.03), ("noseSneerLeft", 0.004), ("mouthShrugLower", 0.02)):
        assert head_model.moved_landmarks(scores(**{name: 1.0}))[0].norm(dim=-1).max() > least, name


@pytest.mark.parametrize(
    ("region", "quiet"), [("eyes", [13, 14, 61, 291, 152]), ("lip", [33, 133, 263, 362, 468, 473])]
)
def test_axes_of_the_eyes_leave_the_lips_alone_and_the_other_way_round(head_model, region, quiet):
    moved = head_model.moved_landmarks(torch.eye(len(ARKIT_NAMES)))
    for axis, of in zip(moved, ARKIT_REGIONS, strict=True):
        if of == region:
            assert axis[quiet].norm(dim=-1).max() <= 0.4 * axis.norm(dim=-1).max() + 1e-6


def test_a_blink_does_not_turn_the_eyeballs(head_model):
    assert not head_model.moved_landmarks(scores(eyeBlinkLeft=1.0))[:, NUM_SURFACE_LANDMARKS:].any()


def test_landmarks_of_several_sums_are_those_of_each_shape(head_model, faces):
    sums, counts = faces.cumsum(0), torch.arange(1, len(faces) + 1)
    for found, total, count in zip(head_model.neutral_landmarks(sums, counts), sums, counts.tolist(), strict=True):
        torch.testing.assert_close(found, head_model.shape(total, count).landmarks, atol=1e-5, rtol=0)


# Storage


def test_a_saved_head_model_is_the_same_to_the_bit_when_loaded(head_model, tmp_path):
    head_model.save_pretrained(tmp_path)
    for dtype in (None, torch.float16, torch.bfloat16):  # it stays float32
        loaded = HeadModel.from_pretrained(tmp_path, torch_dtype=dtype)
        assert loaded.config.residual_axes == head_model.config.residual_axes
        assert loaded.state_dict().keys() == head_model.state_dict().keys()
        for name, value in head_model.state_dict().items():
            stored = loaded.state_dict()[name]
            assert torch.equal(stored, value) and stored.dtype == value.dtype
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 6e6


def test_a_head_model_has_no_parameters_to_train(head_model):
    assert not list(head_model.parameters())


def test_a_head_model_without_residual_axes_has_empty_residuals():
    model = HeadModel(num_vertices=478, num_triangles=1, num_texture_coordinates=3, identity_axes=2)
    face = torch.randn(3, 478, 3, generator=torch.Generator().manual_seed(0))
    assert model.residual(face, face[0], torch.zeros(3, 52)).shape == (3, 0)
    assert model.residual_region == ()
