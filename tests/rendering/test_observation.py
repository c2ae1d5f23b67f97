"""The face as photos show it: carried to its UV map and fused by a running sum."""

import math

import pytest
import torch

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.head.driven_head import DrivenHead
from invertavatar.rendering.observation import (
    PhotoMaps,
    View,
    log_angle_weight,
    observe,
    observed_texture,
    texture_sum,
)
from invertavatar.rendering.source_views import FusionSettings
from invertavatar.rendering.uv import mirror_texture, uv_atlas
from tests.landmarks import mean_person

SIZE, MIRRORED = 64, 1e-3

MIRRORED = FusionSettings().mirrored


@pytest.fixture(scope="module")
def atlas(head_model):
    return uv_atlas(head_model.chart, SIZE)


def picture(channels, value):
    return torch.as_tensor(value, dtype=torch.float32).expand(1, channels, SIZE, SIZE)


def maps(colour=0.0, visibility=1.0):
    """Constant maps."""
    return PhotoMaps(picture(3, colour), picture(1, visibility))


def random_maps(seed):
    generator = torch.Generator().manual_seed(seed)
    return PhotoMaps(
        2 * torch.rand(1, 3, SIZE, SIZE, generator=generator) - 1, torch.rand(1, 1, SIZE, SIZE, generator=generator)
    )


def photograph(head_model, atlas, yaw=0.0, matte=None, inside=None):
    """A picture whose red rises to the right, of the mean face at a yaw."""
    right, up = pixel_centres(128)
    photo = torch.stack([right, up, torch.zeros_like(up)])[None]
    one, person = torch.ones(1, 1, 128, 128), mean_person(head_model)
    looks = photo, one if matte is None else matte, one if inside is None else inside
    skin = person.vertices[None]
    head = DrivenHead(person.landmarks[None], person.landmarks, skin, skin)
    return observe(View(*looks, rotation_from_angles(yaw)[None], skin, head), atlas, head_model.chart)


# One photo


def test_in_the_texture_a_frontal_photo_shows_each_landmark_with_the_colour_at_its_place(head_model, atlas):
    seen = photograph(head_model, atlas)
    for landmark in (4, 50, 280, 9, 17):
        u, v = head_model.chart.uv[landmark].tolist()
        at = (0, slice(None), int((v + 1) / 2 * SIZE), int((u + 1) / 2 * SIZE))
        assert seen.visibility[at].item() > 0.3
        torch.testing.assert_close(
            seen.texture[at][:2], mean_person(head_model).landmarks[landmark, :2], atol=0.05, rtol=0
        )


def test_of_a_turned_head_the_side_that_faces_the_viewer_shows_more_squarely(head_model, atlas):
    seen = photograph(head_model, atlas, yaw=40.0).visibility  # the face looks to the picture's right
    right_cheek, left_cheek = (
        seen[0, 0, int((v + 1) / 2 * SIZE), int((u + 1) / 2 * SIZE)]
        for u, v in (head_model.chart.uv[landmark].tolist() for landmark in (50, 280))
    )
    assert right_cheek > 2 * left_cheek and right_cheek > 0.5


@pytest.mark.parametrize("mask", ["matte", "inside"])
def test_neither_background_nor_missing_pixels_are_seen(mask, head_model, atlas):
    half = torch.ones(1, 1, 128, 128)
    half[..., 64:] = 0
    seen = photograph(head_model, atlas, **{mask: half}).visibility
    assert seen[..., 40:].max() == 0  # the map's right is the picture's right
    assert seen.max() > 0.5


# The running sum


def test_sums_are_additive_in_photos_and_do_not_depend_on_their_order():
    one, two, three = (texture_sum(random_maps(seed), 2.0) for seed in range(3))
    torch.testing.assert_close(one + two + three, three + two + one)


def test_the_same_photo_twice_gives_the_same_colours(atlas):
    photo = texture_sum(maps(colour=0.4, visibility=0.8), 2.0)
    for once, twice in zip(
        observed_texture(photo, atlas, MIRRORED), observed_texture(photo + photo, atlas, MIRRORED), strict=True
    ):
        torch.testing.assert_close(once, twice, atol=1e-4, rtol=0)


def test_with_equal_views_the_colour_is_the_mean_and_the_sharper_the_more_the_squarest_view_decides(atlas):
    square, oblique = maps(colour=1.0, visibility=0.9), maps(colour=-1.0, visibility=0.6)
    red = []
    for sharpness in (0.0, 2.0, 6.0):
        fused = texture_sum(square, sharpness) + texture_sum(oblique, sharpness)
        red.append(observed_texture(fused, atlas, MIRRORED).texture[0, 0].mean().item())
    weights = [(0.9**s - 0.6**s) / (0.9**s + 0.6**s) for s in (0.0, 2.0, 6.0)]
    assert red == pytest.approx(weights, abs=0.01)


# What was not seen


def test_confidence_tells_seen_from_unseen_texels(atlas):
    half = torch.ones(SIZE, SIZE)
    half[:, SIZE // 2 :] = 0
    confidence = observed_texture(texture_sum(maps(visibility=half), 2.0), atlas, MIRRORED).confidence
    assert confidence[..., : SIZE // 2].min() == 1 and confidence[..., SIZE // 2 :].max() == 0


def test_an_unseen_half_of_the_face_takes_the_colours_of_the_mirrored_half(head_model, atlas):
    line = torch.linspace(-1, 1, SIZE)
    rows = line[:, None].expand(SIZE, SIZE)  # colour changes from forehead to chin
    half = (line < 0).float().expand(SIZE, SIZE)  # only the right half of the face was seen
    fused = texture_sum(maps(colour=torch.where(half > 0, rows, 0.77), visibility=half), 2.0)
    texture = observed_texture(fused, atlas, MIRRORED).texture[0, 0]
    for landmark in (280, 425, 361):  # on the unseen left cheek
        u, v = head_model.chart.uv[landmark].tolist()
        at = int((v + 1) / 2 * SIZE), int((u + 1) / 2 * SIZE)
        assert texture[at].item() == pytest.approx(v, abs=0.06)
    torch.testing.assert_close(texture[:, : SIZE // 2 - 2], rows[:, : SIZE // 2 - 2], atol=0.01, rtol=0)


def test_the_mirrored_face_leaves_seen_texels_alone(atlas):
    line = torch.linspace(-1, 1, SIZE).expand(SIZE, SIZE)
    texture = observed_texture(texture_sum(maps(colour=line), 2.0), atlas, MIRRORED).texture
    assert (texture[0, 0] - line).abs().max() < 0.005  # mirrored it would be -line
    assert mirror_texture(line.expand(1, 1, -1, -1), atlas).shape == (1, 1, SIZE, SIZE)


def test_colours_stay_in_range_and_finite_whatever_was_seen(atlas):
    for photo in (random_maps(3), maps(visibility=0.0), maps(colour=1.0, visibility=0.01)):
        colours = observed_texture(texture_sum(photo, 6.0), atlas, MIRRORED)
        assert all(torch.isfinite(x).all() and x.abs().max() <= 1 + 1e-4 for x in colours)


def test_a_photo_weighs_less_the_further_the_head_is_turned_and_never_nothing():
    cosines = torch.tensor([1.0, 0.99, 0.9, 0.5, 0.0, -1.0])
    weights = log_angle_weight(cosines, 300.0, 16.0).exp()
    assert weights[0] == 1
    assert (weights.diff() < 0).all()
    assert weights[-1] > 1e-30  # far above the smallest float32
    assert weights[1].item() == pytest.approx(math.exp(-3), rel=0.4)
