"""The observed-colour skip: photos carried to both canonical spaces and fused by running sums."""

import math

import pytest
import torch

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.rendering.observation import (
    ObservedSums,
    PhotoMaps,
    frontal_weight,
    observe,
    observed_colours,
    observed_sums,
)
from invertavatar.rendering.uv import mirror_texture, uv_atlas

SIZE, WINDOW = 64, 0.65


@pytest.fixture(scope="module")
def atlas(face_model):
    return uv_atlas(face_model, SIZE)


def maps(colour=0.0, visibility=1.0, matte=1.0, inside=1.0, frontal=1.0, canonical=None):
    """Constant maps."""

    def picture(channels, value):
        return torch.as_tensor(value, dtype=torch.float32).expand(1, channels, SIZE, SIZE)

    return PhotoMaps(
        texture=picture(3, colour),
        visibility=picture(1, visibility),
        canonical=picture(3, colour if canonical is None else canonical),
        matte=picture(1, matte),
        facing=picture(1, inside),
        inside=picture(1, inside),
        frontal=torch.full((1, 1, 1, 1), float(frontal)),
        heights=picture(1, 0.0),
    )


def random_maps(seed):
    generator = torch.Generator().manual_seed(seed)

    def picture(channels):
        return torch.rand(1, channels, SIZE, SIZE, generator=generator)

    frontal = torch.rand(1, 1, 1, 1, generator=generator)
    seen = (2 * picture(3) - 1, picture(1), 2 * picture(3) - 1, picture(1), picture(1), picture(1))
    return PhotoMaps(*seen, frontal, picture(1))


def sums(photo, texture_sharpness=2.0, canonical_sharpness=2.0, **kwargs):
    return observed_sums(photo, texture_sharpness, canonical_sharpness, **kwargs)


def photograph(face_model, atlas, yaw=0.0, matte=None, inside=None):
    """A picture whose red rises to the right, of the mean face at a yaw."""
    right, up = pixel_centres(128)
    photo = torch.stack([right, up, torch.zeros_like(up)])[None]
    one = torch.ones(1, 1, 128, 128)
    return observe(
        photo,
        one if matte is None else matte,
        one if inside is None else inside,
        face_model.mean[None],
        face_model.mean,
        rotation_from_angles(yaw)[None],
        atlas,
        face_model,
        WINDOW,
    )


# One photo


def test_a_frontal_photo_is_its_own_canonical_picture(face_model, atlas):
    seen = photograph(face_model, atlas)
    right, up = pixel_centres(SIZE)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(seen.canonical[:, 0][inner], right[None][inner], atol=0.01, rtol=0)
    torch.testing.assert_close(seen.canonical[:, 1][inner], up[None][inner], atol=0.01, rtol=0)
    assert seen.frontal.item() == 1 and seen.inside.min() == 1


def test_in_the_texture_a_frontal_photo_shows_each_landmark_with_the_colour_at_its_place(face_model, atlas):
    seen = photograph(face_model, atlas)
    for landmark in (4, 50, 280, 9, 17):
        u, v = face_model.uv[landmark].tolist()
        at = (0, slice(None), int((v + 1) / 2 * SIZE), int((u + 1) / 2 * SIZE))
        assert seen.visibility[at].item() > 0.3
        torch.testing.assert_close(seen.texture[at][:2], face_model.mean[landmark, :2], atol=0.05, rtol=0)


def test_frontal_is_the_cosine_of_the_angle_to_the_viewer(face_model, atlas):
    assert photograph(face_model, atlas, yaw=60.0).frontal.item() == pytest.approx(0.5, abs=1e-4)


def test_missing_pixels_are_neither_visible_nor_inside_and_background_is_inside_but_no_person(face_model, atlas):
    half = torch.ones(1, 1, 128, 128)
    half[..., 64:] = 0
    cut, matted = photograph(face_model, atlas, inside=half), photograph(face_model, atlas, matte=half)
    for seen in (cut, matted):
        assert seen.visibility[..., 40:].max() == 0  # the map's right is the picture's right
        assert seen.visibility.max() > 0.5
    assert cut.inside[..., 34:].max() == 0 and matted.inside.min() == 1
    assert matted.matte[..., 34:].max() == 0


# Running sums


def test_sums_are_additive_in_photos_and_do_not_depend_on_their_order():
    one, two, three = (sums(random_maps(seed)) for seed in range(3))
    forth, back = one + two + three, three + two + one
    for a, b in zip(forth, back, strict=True):
        torch.testing.assert_close(a, b)
    assert all(torch.equal(a, b) for a, b in zip(one + two, two + one, strict=True))


def test_a_photo_counted_at_half_weight_twice_is_that_photo(atlas):
    photo = random_maps(0)
    whole, half = sums(photo), sums(photo, photo_weight=0.5)
    for a, b in zip(half + half, whole, strict=True):
        torch.testing.assert_close(a, b)


def test_the_same_photo_twice_gives_the_same_colours(atlas):
    photo = sums(maps(colour=0.4, visibility=0.8))
    for once, twice in zip(observed_colours(photo, atlas), observed_colours(photo + photo, atlas), strict=True):
        torch.testing.assert_close(once, twice, atol=1e-4, rtol=0)


def test_with_equal_views_the_colour_is_the_mean_and_the_sharper_the_more_the_squarest_view_decides(atlas):
    square, oblique = maps(colour=1.0, visibility=0.9), maps(colour=-1.0, visibility=0.6)
    red = []
    for sharpness in (0.0, 2.0, 6.0):
        fused = sums(square, sharpness) + sums(oblique, sharpness)
        red.append(observed_colours(fused, atlas).texture[0, 0].mean().item())
    weights = [(0.9**s - 0.6**s) / (0.9**s + 0.6**s) for s in (0.0, 2.0, 6.0)]
    assert red == pytest.approx(weights, abs=0.01)


def test_in_the_frontal_plane_the_most_frontal_photo_decides_wherever_it_has_pixels(atlas):
    inside = torch.ones(SIZE, SIZE)
    inside[: SIZE // 2] = 0  # the frontal photo is cut off at the top
    frontal, turned = maps(colour=1.0, frontal=1.0, inside=inside), maps(colour=-1.0, frontal=0.7)
    canonical = observed_colours(sums(frontal, 2, 20.0) + sums(turned, 2, 20.0), atlas).canonical
    assert canonical[0, 0, 40:].min() > 0.98
    assert canonical[0, 0, :24].max() < -0.98


def test_background_colours_do_not_enter_and_the_matte_is_the_weighted_share_of_person(atlas):
    person, background = maps(canonical=0.8, matte=1.0), maps(canonical=-1.0, matte=0.0)
    colours = observed_colours(sums(person) + sums(background), atlas)
    torch.testing.assert_close(colours.canonical, torch.full((1, 3, SIZE, SIZE), 0.8))
    torch.testing.assert_close(colours.matte, torch.full((1, 1, SIZE, SIZE), 0.5))


def test_where_only_a_far_turned_photo_has_pixels_its_matte_counts_little(atlas):
    left = torch.ones(SIZE, SIZE)
    left[:, SIZE // 2 :] = 0
    frontal = maps(matte=1.0, inside=left)
    turned = maps(matte=1.0, frontal=0.7)  # about 45 degrees
    matte = observed_colours(sums(frontal) + sums(turned, canonical_sharpness=40.0), atlas).matte
    torch.testing.assert_close(matte[..., : SIZE // 2], torch.ones(1, 1, SIZE, SIZE // 2))
    assert matte[..., SIZE // 2 :].max() < 0.01


@pytest.mark.parametrize("frontal", [1.0, 0.5, 0.0])  # from the front, turned by 60 degrees, in profile
def test_a_photo_that_is_alone_counts_fully_however_far_it_is_turned(atlas, frontal):
    photo = maps(canonical=0.8, frontal=frontal)
    colours = observed_colours(sums(photo, canonical_sharpness=60.0), atlas)
    torch.testing.assert_close(colours.matte, torch.ones(1, 1, SIZE, SIZE))
    torch.testing.assert_close(colours.canonical, torch.full((1, 3, SIZE, SIZE), 0.8))


# What was not seen


def test_confidence_tells_seen_from_unseen_texels(atlas):
    half = torch.ones(SIZE, SIZE)
    half[:, SIZE // 2 :] = 0
    confidence = observed_colours(sums(maps(visibility=half)), atlas).confidence
    assert confidence[..., : SIZE // 2].min() == 1 and confidence[..., SIZE // 2 :].max() == 0


def test_an_unseen_half_of_the_face_takes_the_colours_of_the_mirrored_half(face_model, atlas):
    line = torch.linspace(-1, 1, SIZE)
    rows = line[:, None].expand(SIZE, SIZE)  # colour changes from forehead to chin
    half = (line < 0).float().expand(SIZE, SIZE)  # only the right half of the face was seen
    fused = sums(maps(colour=torch.where(half > 0, rows, 0.77), visibility=half))
    texture = observed_colours(fused, atlas).texture[0, 0]
    for landmark in (280, 425, 361):  # on the unseen left cheek
        u, v = face_model.uv[landmark].tolist()
        at = int((v + 1) / 2 * SIZE), int((u + 1) / 2 * SIZE)
        assert texture[at].item() == pytest.approx(v, abs=0.06)
    torch.testing.assert_close(texture[:, : SIZE // 2 - 2], rows[:, : SIZE // 2 - 2], atol=0.01, rtol=0)


def test_the_mirrored_face_leaves_seen_texels_alone(atlas):
    line = torch.linspace(-1, 1, SIZE).expand(SIZE, SIZE)
    texture = observed_colours(sums(maps(colour=line)), atlas).texture
    assert (texture[0, 0] - line).abs().max() < 0.005  # mirrored it would be -line
    assert mirror_texture(line.expand(1, 1, -1, -1), atlas).shape == (1, 1, SIZE, SIZE)


def test_colours_stay_in_range_and_finite_whatever_was_seen(atlas):
    for photo in (random_maps(3), maps(visibility=0.0, inside=0.0), maps(colour=1.0, visibility=0.01, matte=0.01)):
        colours = observed_colours(sums(photo, 6.0, 20.0), atlas)
        assert all(torch.isfinite(x).all() and x.abs().max() <= 1 + 1e-4 for x in colours)


def test_sums_know_nothing_of_the_photos_but_their_contribution():
    assert ObservedSums._fields == ("texture", "canonical")
    photo = sums(maps())
    assert photo.texture.shape == (1, 4, SIZE, SIZE) and photo.canonical.shape == (1, 5, SIZE, SIZE)


def test_of_two_photos_the_one_that_shows_a_place_better_gives_its_fine_detail_unmixed():
    left = torch.zeros(1, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1
    dark, light = sums(maps(-0.5, visibility=0.3 + 0.5 * left)), sums(maps(0.5, visibility=0.8 - 0.5 * left))
    for best in (dark.best(light), light.best(dark)):
        colour = best.texture[:, :3] / best.texture[:, 3:]
        assert (colour[..., : SIZE // 2] + 0.5).abs().max() < 1e-6
        assert (colour[..., SIZE // 2 :] - 0.5).abs().max() < 1e-6
    frontal, turned = sums(maps(-0.5, frontal=0.99)), sums(maps(0.5, frontal=0.8))
    assert torch.equal(frontal.best(turned).canonical, frontal.canonical)
    assert torch.equal(turned.best(frontal).canonical, frontal.canonical)


def test_a_photo_weighs_less_the_further_the_head_is_turned_and_never_nothing():
    cosines = torch.tensor([1.0, 0.99, 0.9, 0.5, 0.0, -1.0])
    weights = frontal_weight(cosines, 300.0)
    assert weights[0] == 1
    assert (weights.diff() < 0).all()
    assert weights[-1] > 1e-30  # far above the smallest float32
    assert weights[1].item() == pytest.approx(math.exp(-3), rel=0.4)
