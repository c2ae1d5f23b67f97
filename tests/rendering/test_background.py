"""What stands behind the avatar."""

import numpy as np
import pytest
import torch
from PIL import Image

from invertavatar.errors import MediaError
from invertavatar.rendering.background import COLOURS, backdrop, compose, resolve_background
from invertavatar.rendering.framing import WHOLE, Window, placed

SIZE = 48
ORIGINAL = (torch.arange(3 * 64 * 64) % 256).view(3, 64, 64).to(torch.uint8)


def square(size):
    return placed(WHOLE, size, size)


def corner(picture):
    return picture[0, :, 0, 0].tolist()


# Names


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("gray", (128, 128, 128)),
        ("grey", (128, 128, 128)),
        ("white", (255, 255, 255)),
        ("black", (0, 0, 0)),
        ("green", (0, 177, 64)),
        ("#3366cc", (51, 102, 204)),
        ("#FFAA00", (255, 170, 0)),
    ],
)
def test_a_colour_fills_the_picture(name, rgb):
    picture = resolve_background(name, ORIGINAL, square(SIZE))
    assert picture.shape == (1, 3, SIZE, SIZE)
    assert corner(picture) == pytest.approx([c / 255 for c in rgb])
    assert (picture == picture[..., :1, :1]).all()


def test_every_named_colour_is_one_of_the_tested_kind():
    assert set(COLOURS) == {"gray", "grey", "white", "black", "green"}


def test_transparent_is_no_picture():
    assert resolve_background("transparent", ORIGINAL, square(SIZE)) is None


def test_the_original_at_its_own_size_is_the_photo_s_background_as_it_was():
    picture = resolve_background("original", ORIGINAL, square(64))
    torch.testing.assert_close(picture[0] * 255, ORIGINAL.float(), atol=1e-3, rtol=0)


def test_the_blurred_original_has_its_mean_colour_and_hardly_any_contrast_between_neighbours():
    right = (torch.arange(64) % 2 * 200).to(torch.uint8).expand(3, 64, 64)
    blurred = resolve_background("blur", right, square(64))
    assert blurred.mean().item() * 255 == pytest.approx(100, abs=2)
    assert blurred.diff(dim=-1).abs().max() < 0.2
    assert blurred.min() >= 0 and blurred.max() <= 1


def test_a_picture_is_cut_to_its_middle_square(tmp_path):
    wide = np.zeros((80, 160, 3), np.uint8)
    wide[:, :40] = (255, 0, 0)  # what lies beside the middle square
    wide[:, 40:120] = (0, 102, 255)
    Image.fromarray(wide).save(tmp_path / "beach.png")
    for source in (tmp_path / "beach.png", str(tmp_path / "beach.png"), wide, Image.fromarray(wide)):
        picture = resolve_background(source, ORIGINAL, square(SIZE))
        torch.testing.assert_close(picture, torch.tensor([0, 0.4, 1.0]).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE))


@pytest.mark.parametrize("name", ["purple", "#12345", "#gg0000", ""])
def test_a_name_that_means_nothing_is_an_error_that_lists_what_there_is(name):
    with pytest.raises(MediaError, match=f'no background "{name}".*transparent.*white.*#3366cc'):
        resolve_background(name, ORIGINAL, square(SIZE))


def test_a_picture_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(MediaError, match="background"):
        resolve_background("nowhere/beach.png", ORIGINAL, square(SIZE))


# Composition


def test_an_opaque_avatar_hides_its_background_and_an_absent_one_shows_it():
    behind = resolve_background("green", ORIGINAL, square(SIZE))
    colour = torch.full((1, 3, SIZE, SIZE), 0.2)
    opaque = compose(colour, torch.ones(1, 1, SIZE, SIZE), behind)
    torch.testing.assert_close(opaque, torch.full_like(opaque, 0.6))
    absent = compose(torch.zeros_like(colour), torch.zeros(1, 1, SIZE, SIZE), behind)
    torch.testing.assert_close(absent, behind)


def test_a_half_transparent_avatar_is_mixed_half_and_half():
    behind = resolve_background("black", ORIGINAL, square(SIZE))
    opacity = torch.full((1, 1, SIZE, SIZE), 0.5)
    white = torch.ones(1, 3, SIZE, SIZE) * opacity  # premultiplied
    mixed = compose(white, opacity, behind)
    torch.testing.assert_close(mixed, torch.full_like(mixed, 0.5))


def test_straight_alpha_laid_over_a_background_gives_the_picture_composed_with_it():
    generator = torch.Generator().manual_seed(0)
    opacity = torch.rand(2, 1, SIZE, SIZE, generator=generator)
    opacity[..., :4] = 0
    colour = (2 * torch.rand(2, 3, SIZE, SIZE, generator=generator) - 1) * opacity
    cut_out = compose(colour, opacity, None)
    assert cut_out.shape == (2, 4, SIZE, SIZE) and cut_out.min() >= 0 and cut_out.max() <= 1
    behind = resolve_background("#3366cc", ORIGINAL, square(SIZE))
    over = cut_out[:, :3] * cut_out[:, 3:] + behind * (1 - cut_out[:, 3:])
    torch.testing.assert_close(over, compose(colour, opacity, behind), atol=2e-3, rtol=0)


def test_straight_alpha_keeps_the_avatar_s_colour_at_half_opacity():
    opacity = torch.full((1, 1, 4, 4), 0.5)
    cut_out = compose(torch.full((1, 3, 4, 4), 0.6) * opacity, opacity, None)
    torch.testing.assert_close(cut_out[:, :3], torch.full((1, 3, 4, 4), 0.8))


# The backdrop


def test_the_person_is_painted_over_with_what_surrounds_them_and_the_rest_stays():
    photo = np.full((256, 256, 3), (40, 90, 160), np.uint8)
    photo[80:200, 90:170] = (250, 30, 30)
    matte = np.zeros((256, 256), np.float32)
    matte[80:200, 90:170] = 1
    behind = backdrop(photo, matte, np.ones_like(matte))
    assert behind.dtype == np.uint8 and behind.shape == photo.shape
    assert np.abs(behind.astype(int) - (40, 90, 160)).max() <= 5


def test_without_a_person_the_backdrop_is_the_photo():
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    nobody = np.zeros((128, 128), np.float32)
    np.testing.assert_array_equal(backdrop(photo, nobody, nobody + 1), photo)


def test_a_person_who_fills_the_photo_leaves_a_soft_version_of_it():
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    everywhere = np.ones((128, 128), np.float32)
    behind = backdrop(photo, everywhere, everywhere)
    assert behind.std() < 0.3 * photo.std()
    assert behind.mean() == pytest.approx(photo.mean(), abs=3)


def test_what_a_photo_has_no_pixels_of_is_filled_from_it_and_not_in_columns():
    photo = np.full((256, 256, 3), (40, 90, 160), np.uint8)
    photo[200:] = np.random.default_rng(0).integers(0, 256, (1, 256, 3), np.uint8)  # its edge, repeated
    nobody, inside = np.zeros((256, 256), np.float32), np.ones((256, 256), np.float32)
    inside[200:] = 0
    assert np.abs(backdrop(photo, nobody, inside)[210:].astype(int) - (40, 90, 160)).max() <= 5


def test_a_part_of_the_crop_has_that_part_of_the_background():
    frame = placed(Window(-1, -1, 0, 0), 32, 32)
    picture = resolve_background("original", ORIGINAL, frame)
    torch.testing.assert_close(picture[0] * 255, ORIGINAL[:, :32, :32].float(), atol=1e-3, rtol=0)


def test_a_picture_fills_a_wide_frame_without_being_squeezed():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[50:] = 255
    behind = resolve_background(picture, ORIGINAL, placed(Window(-1.0, -0.5, 1.0, 0.5), 20, 40))
    assert behind.shape == (1, 3, 20, 40)
    assert behind[..., :10, :].max() == 0 and behind[..., 10:, :].min() == 1
