"""The linear face model: identity from running sums, the named expression axes, the residual, and how it is stored."""

import numpy as np
import pytest
import torch

from invertavatar.face.arkit import ARKIT_NAMES, ARKIT_REGIONS, mirrored
from invertavatar.face.face_model import OPEN_EYE, OPEN_MOUTH, FaceModel
from invertavatar.face.topology import LEFT_EYE_PATCH, LID_GAPS, LIP_GAP, MOUTH, RIGHT_EYE_PATCH, SKIN

FLIP = torch.tensor([-1.0, 1.0, 1.0])
LEFT_CORNER, RIGHT_CORNER = 291, 61  # of the mouth
# Axes that the tracker's scores measure; the others follow a geometric guess (see `training.face_learning.GUESSES`).
LANDMARKS = {  # landmarks that an axis must move most of all, and where to: (right, up), 0 = either way
    "eyeBlinkLeft": (386, (0, -1)),
    "eyeBlinkRight": (159, (0, -1)),
    "eyeWideLeft": (386, (0, 1)),
    "eyeSquintRight": (145, (0, 1)),
    "browInnerUp": (107, (0, 1)),
    "browOuterUpLeft": (334, (0, 1)),
    "browDownRight": (52, (0, -1)),
    "jawOpen": (17, (0, -1)),
    "jawLeft": (200, (1, 0)),
    "jawRight": (200, (-1, 0)),
    "mouthLeft": (14, (1, 0)),
    "mouthRight": (14, (-1, 0)),
    "mouthSmileLeft": (LEFT_CORNER, (1, 1)),
    "mouthSmileRight": (RIGHT_CORNER, (-1, 1)),
    "mouthStretchLeft": (LEFT_CORNER, (1, 0)),
    "mouthFrownRight": (RIGHT_CORNER, (0, -1)),
    "mouthPucker": (LEFT_CORNER, (-1, 0)),
    "mouthUpperUpLeft": (269, (0, 1)),
    "mouthLowerDownRight": (179, (0, -1)),
    "noseSneerLeft": (294, (0, 1)),
    "cheekSquintRight": (118, (0, 1)),
}


def scores(**expression):
    """[1, 52]."""
    values = torch.zeros(1, 52)
    for name, score in expression.items():
        values[0, ARKIT_NAMES.index(name)] = score
    return values


def axis(face_model, name):
    """[V, 3]."""
    return face_model.expression_basis[ARKIT_NAMES.index(name)]


@pytest.fixture(scope="module")
def people(face_model):
    """[5, V, 3] neutral faces made of identity axes, and a little that no axis holds."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, len(face_model.identity_std), generator=generator) * face_model.identity_std * 0.5
    shapes = torch.einsum("pk,kvc->pvc", weights, face_model.identity_basis)
    return face_model.mean + shapes + 0.003 * torch.randn(5, 478, 3, generator=generator)


# Identity


def test_the_identity_axes_are_orthonormal_and_sorted_by_how_much_people_differ_along_them(face_model):
    flat = face_model.identity_basis.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), atol=1e-4, rtol=0)
    assert (face_model.identity_std.diff() <= 1e-6).all() and (face_model.identity_std >= 0).all()


def test_the_mean_face_seen_once_is_its_own_neutral(face_model):
    torch.testing.assert_close(face_model.neutral(face_model.mean, 1), face_model.mean, atol=1e-5, rtol=0)


def test_a_face_of_identity_axes_alone_is_its_own_neutral_from_the_first_photo_on(face_model):
    person = face_model.mean + 0.1 * face_model.identity_basis[0] - 0.05 * face_model.identity_basis[3]
    for count in (1, 4):
        torch.testing.assert_close(face_model.neutral(count * person, count), person, atol=1e-4, rtol=0)


def test_the_neutral_face_does_not_depend_on_the_order_of_the_photos(face_model, people):
    forth, back = people.cumsum(0)[-1], people.flip(0).cumsum(0)[-1]
    torch.testing.assert_close(face_model.neutral(forth, 5), face_model.neutral(back, 5), atol=1e-5, rtol=0)


def test_of_what_identity_cannot_explain_n_photos_make_a_share_of_n_over_n_plus_2_believable(face_model):
    person = face_model.mean + 2 * face_model.residual_std[0] * face_model.residual_basis[0]
    one, two, four = (face_model.neutral(n * person, n) for n in (1, 2, 4))  # shares 2/6, 3/6 and 4/6
    torch.testing.assert_close(four - one, 2 * (two - one), atol=1e-5, rtol=0)
    assert (person - four).norm() < (person - two).norm() < (person - one).norm() < (person - face_model.mean).norm()


def test_the_expression_is_taken_off_before_photos_are_summed(face_model, people):
    smile = scores(mouthSmileLeft=0.8, jawOpen=0.4)
    face = face_model(people[0], smile)
    torch.testing.assert_close(face_model.at_rest(face, smile)[0], people[0], atol=1e-6, rtol=0)


# Driving


def test_a_neutral_face_driven_with_zeros_stays_neutral(face_model, people):
    driven = face_model(people[1], scores(), torch.zeros(1, len(face_model.residual_basis)))
    assert torch.equal(driven[0], people[1])


def test_the_residual_of_a_driven_face_is_what_drove_it(face_model, people):
    generator = torch.Generator().manual_seed(1)
    residual = torch.randn(3, len(face_model.residual_std), generator=generator) * face_model.residual_std
    expression = torch.rand(3, 52, generator=generator)
    face = face_model(people[0], expression, residual)
    found = face_model.residual(face, people[0], expression)
    error = (found - residual) / face_model.residual_std
    assert error.abs().max() < 0.25 and error.square().mean().sqrt() < 0.05
    torch.testing.assert_close(face_model(people[0], expression, found), face, atol=2e-3, rtol=0)


def test_driving_without_residual_is_driving_with_a_residual_of_zero(face_model):
    smile, zeros = scores(mouthSmileRight=1.0), torch.zeros(1, len(face_model.residual_basis))
    assert torch.equal(face_model(face_model.mean, smile), face_model(face_model.mean, smile, zeros))


def test_frames_are_driven_independently_of_the_batch_they_are_in(face_model, people):
    batch = torch.cat([scores(jawOpen=0.5), scores(eyeBlinkLeft=1.0)])
    together = face_model(people[:2], batch)
    for k in range(2):
        torch.testing.assert_close(together[k], face_model(people[k], batch[k : k + 1])[0], atol=1e-6, rtol=0)


def test_each_residual_axis_names_the_region_it_moves_most(face_model):
    rows = {region: [] for region in ("eyes", "lip", "other")}
    for region, basis in zip(face_model.residual_region, face_model.residual_basis, strict=True):
        rows[region].append(basis.norm(dim=-1))
    moved = {region: torch.stack(norms).mean(0) for region, norms in rows.items()}
    assert sum(map(len, rows.values())) == len(face_model.residual_basis)
    for landmark, region in ((386, "eyes"), (159, "eyes"), (14, "lip"), (152, "lip"), (234, "other"), (454, "other")):
        assert max(moved, key=lambda name, at=landmark: moved[name][at]) == region


# The named axes


@pytest.mark.parametrize("name", LANDMARKS)
def test_an_axis_moves_its_landmark_where_its_name_says(face_model, name):
    landmark, (right, up) = LANDMARKS[name]
    moved = axis(face_model, name)
    for coordinate, sign in enumerate((right, up)):
        assert sign == 0 or sign * moved[landmark, coordinate] > 0.008
    # Nothing moves much more than the landmark that the axis is named after.
    assert moved[landmark].norm() > 0.6 * moved.norm(dim=-1).max()


def test_a_left_smile_moves_the_left_corner_of_the_mouth_and_not_the_right_one(face_model):
    smile = axis(face_model, "mouthSmileLeft")
    assert smile[RIGHT_CORNER].norm() < 0.2 * smile[LEFT_CORNER].norm()
    assert smile[[33, 133, 263, 362]].norm(dim=-1).max() < 0.35 * smile[LEFT_CORNER].norm()


@pytest.mark.parametrize("name", [name for name in ARKIT_NAMES if name.endswith("Left")])
def test_a_left_axis_is_the_mirror_image_of_the_right_one(face_model, name):
    image = axis(face_model, mirrored(name))[face_model.mirror[:478]] * FLIP
    torch.testing.assert_close(axis(face_model, name), image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in ARKIT_NAMES if mirrored(name) == name])
def test_an_axis_without_a_side_is_symmetrical(face_model, name):
    image = axis(face_model, name)[face_model.mirror[:478]] * FLIP
    torch.testing.assert_close(axis(face_model, name), image, atol=1e-4, rtol=0)


def test_only_the_tongue_has_no_axis(face_model):
    largest = face_model.expression_basis.norm(dim=-1).amax(1)
    still = [name for name, moved in zip(ARKIT_NAMES, largest, strict=True) if moved < 0.01]
    assert still == ["tongueOut"]


@pytest.mark.parametrize(
    ("region", "quiet"), [("eyes", [13, 14, 61, 291, 152]), ("lip", [33, 133, 263, 362, 468, 473])]
)
def test_axes_of_the_eyes_leave_the_lips_alone_and_the_other_way_round(face_model, region, quiet):
    for basis, of in zip(face_model.expression_basis, ARKIT_REGIONS, strict=True):
        if of == region:
            assert basis[quiet].norm(dim=-1).max() <= 0.4 * basis.norm(dim=-1).max() + 1e-6


def test_a_blink_does_not_turn_the_eyeballs(face_model):
    assert axis(face_model, "eyeBlinkLeft")[468:].abs().max() < 1e-4


# What shows


def test_openness_is_the_gap_between_lips_or_lids_over_the_gap_that_counts_as_open(face_model):
    face = face_model.mean[None].clone()
    for (upper, lower), gap in ((LIP_GAP, 0.25 * OPEN_MOUTH), (LID_GAPS[0], 0.5 * OPEN_EYE), (LID_GAPS[1], 0)):
        face[0, upper] = face[0, lower] + torch.tensor([0, gap, 0])
    openness = face_model.openness(face)[0]
    assert openness[[SKIN, MOUTH, RIGHT_EYE_PATCH, LEFT_EYE_PATCH]].tolist() == pytest.approx(
        [1, 0.25, 0.5, 0], abs=1e-5
    )


def test_openness_ends_at_one(face_model):
    wide = face_model(face_model.mean, scores(jawOpen=1.0, eyeWideLeft=1.0, eyeWideRight=1.0))
    torch.testing.assert_close(face_model.openness(wide), torch.ones(1, 4))


def test_the_head_s_heights_are_those_of_the_mean_face_and_fall_to_the_ear_plane_at_the_border(face_model):
    heights = face_model.head_height[0, 0]
    for landmark in (10, 50, 152, 280, 6):  # forehead, cheeks, chin, bridge of the nose
        x, y, z = face_model.mean[landmark].tolist()
        assert heights[int((1 - y) * 64), int((1 + x) * 64)] == pytest.approx(z, abs=0.05)
    assert heights.max() == pytest.approx(float(face_model.mean[:, 2].max()), abs=0.06)
    border = torch.cat([heights[0], heights[-1], heights[:, 0], heights[:, -1]])
    assert border.abs().max() < 0.01


# Storage


def test_a_saved_face_model_is_the_same_to_the_bit_when_loaded(face_model, tmp_path):
    face_model.save_pretrained(tmp_path)
    loaded = FaceModel.from_pretrained(tmp_path)
    assert loaded.config.residual_axes == face_model.config.residual_axes
    assert loaded.state_dict().keys() == face_model.state_dict().keys()
    assert all(torch.equal(value, face_model.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_face_model_stays_float32_when_it_is_loaded_in_half_precision(face_model, tmp_path, dtype):
    face_model.save_pretrained(tmp_path)
    loaded = FaceModel.from_pretrained(tmp_path, torch_dtype=dtype)
    assert all(torch.equal(value, face_model.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("how", [(torch.float16,), ("cpu", torch.float16), (torch.device("cpu"), torch.bfloat16)])
def test_the_face_model_stays_float32_when_a_pipeline_is_moved_to_half_precision(how):
    model = FaceModel(identity_axes=2).to(*how)
    assert model.mean.dtype == torch.float32 and model.triangles.dtype == torch.int64


def test_a_face_model_has_no_parameters_to_train(face_model):
    assert not list(face_model.parameters())


def test_a_face_model_without_residual_axes_has_empty_residuals():
    model = FaceModel(identity_axes=2)
    face = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 478, 3))).float()
    assert model.residual(face, model.mean, torch.zeros(3, 52)).shape == (3, 0)
    assert model.residual_region == ()
    assert torch.equal(model(face, torch.zeros(3, 52), torch.zeros(3, 0)), face)
