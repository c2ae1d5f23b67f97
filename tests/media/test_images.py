"""Photos of every kind come in as uint8 RGB, or one sentence says why not."""

import struct

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageCms

from invertavatar.errors import MediaError
from invertavatar.media import contact_sheet, load_image, load_images, save_image, side_by_side


@pytest.fixture
def photo():
    """[96, 128, 3]: red on the left, blue on the lower right, green on the upper right."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:, :64] = 200, 40, 40
    picture[:48, 64:] = 40, 200, 40
    picture[48:, 64:] = 40, 40, 200
    return picture


def assert_close(actual, expected, tolerance=0):
    assert actual.dtype == np.uint8 and actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected.astype(int)).mean() <= tolerance


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p,
        lambda p: p.astype(np.uint16) * 257,
        lambda p: p / 255.0,
        lambda p: (p / 255).astype(np.float32),
        lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]),
        Image.fromarray,
        lambda p: torch.from_numpy(p).permute(2, 0, 1) / 255,
        lambda p: torch.from_numpy(p).permute(2, 0, 1)[None],
        lambda p: (torch.from_numpy(p).permute(2, 0, 1)[None] / 255).requires_grad_(),
    ],
    ids=["uint8", "uint16", "float64", "float32", "opaque rgba", "pil", "tensor", "tensor batch", "needs grad"],
)
def test_every_kind_of_array_gives_the_same_photo(photo, make):
    assert_close(load_image(make(photo)), photo)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_files_come_back_exactly(photo, tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(photo).save(path, lossless=True)
    assert_close(load_image(path), photo)
    assert_close(load_image(str(path)), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_with_an_exif_orientation_comes_upright(photo, tmp_path, orientation):
    stored = {  # what a camera stores so that a viewer that obeys the tag shows `photo`
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, 1),
        7: np.rot90(photo, 2).transpose(1, 0, 2),
        8: np.rot90(photo, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    assert_close(load_image(tmp_path / "photo.png"), photo)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(96 * 128, dtype=np.uint32).reshape(96, 128).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = np.dstack([grey] * 3)
    assert_close(load_image(tmp_path / "grey.png"), expected)
    assert_close(load_image(grey), expected)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 128).astype(np.uint16)[None].repeat(96, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    loaded = load_image(tmp_path / "deep.png")
    assert loaded[0, 0, 0] == 0 and loaded[0, -1, 0] == 255
    assert_close(loaded, np.dstack([np.rint(ramp / 257)] * 3).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_mid_grey(tmp_path, mode):
    rgba = np.zeros((80, 80, 4), np.uint8)  # transparent black
    rgba[:40] = 200, 200, 200, 255
    Image.fromarray(rgba).convert(mode).save(tmp_path / "cut.png")
    loaded = load_image(tmp_path / "cut.png")
    assert_close(loaded[:40], np.full((40, 80, 3), 200, np.uint8))
    assert_close(loaded[40:], np.full((40, 80, 3), 128, np.uint8))


def test_half_transparent_white_over_mid_grey_is_between_them():
    rgba = np.full((64, 64, 4), 255, np.uint8)
    rgba[..., 3] = 51  # a fifth
    assert load_image(rgba)[0, 0].tolist() == [153, 153, 153]  # 255 / 5 + 128 * 4 / 5


def test_a_palette_picture_keeps_its_colours(photo, tmp_path):
    Image.fromarray(photo).quantize(8).save(tmp_path / "palette.png")
    assert_close(load_image(tmp_path / "palette.png"), photo, tolerance=1)


def test_a_cmyk_jpeg_keeps_its_colours(photo, tmp_path):
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert_close(load_image(tmp_path / "print.jpg"), photo, tolerance=5)


def test_of_an_animation_the_first_frame_is_taken(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (128, 96))])
    assert_close(load_image(tmp_path / "moving.gif"), photo, tolerance=1)


def test_an_iphone_photo_loads(photo, tmp_path):
    pillow_heif.from_pillow(Image.fromarray(photo)).save(tmp_path / "photo.heic", quality=95)
    assert_close(load_image(tmp_path / "photo.heic"), photo, tolerance=4)


def test_colours_are_read_through_the_profile_of_the_file(tmp_path):
    blue = Image.new("RGB", (64, 64), (0, 0, 200))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    for name, data, colour in (
        ("srgb", profile, [0, 0, 200]),
        ("swapped", swapped, [200, 0, 0]),
        ("broken", b"not a profile", [0, 0, 200]),
    ):
        blue.save(tmp_path / f"{name}.png", icc_profile=data)
        assert np.abs(load_image(tmp_path / f"{name}.png")[0, 0] - np.array(colour)).max() <= 1, name


def test_a_large_photo_keeps_its_size(tmp_path):
    Image.new("RGB", (4000, 3000), (1, 2, 3)).save(tmp_path / "large.jpg")
    assert load_image(tmp_path / "large.jpg").shape == (3000, 4000, 3)


def test_a_photo_of_64_px_loads_and_one_of_50_px_is_refused(tmp_path):
    assert load_image(Image.new("RGB", (64, 64))).shape == (64, 64, 3)
    Image.new("RGB", (50, 200)).save(tmp_path / "tiny.png")
    with pytest.raises(MediaError, match=r"tiny\.png is 50 x 200 px; use a photo of at least 64 px"):
        load_image(tmp_path / "tiny.png")


def test_files_that_are_no_photo_are_refused_by_name(photo, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("this is not a picture")
    (tmp_path / "empty.jpg").touch()
    for name, words in {
        "half.jpg": "half.jpg is damaged or cut off",
        "text.jpg": "text.jpg is not a picture",
        "empty.jpg": r"empty.jpg is empty \(0 bytes\)",
        "absent.jpg": "absent.jpg does not exist",
    }.items():
        with pytest.raises(MediaError, match=words):
            load_image(tmp_path / name)
    with pytest.raises(MediaError, match="photo 2 of 3 is not a picture"):
        load_image(tmp_path / "text.jpg", name="photo 2 of 3")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "bomb.bmp")
    data = bytearray((tmp_path / "bomb.bmp").read_bytes())
    struct.pack_into("<ii", data, 18, 50_000, 50_000)  # width and height in the header
    (tmp_path / "bomb.bmp").write_bytes(data)
    with pytest.raises(MediaError, match="more than 178 megapixels"):
        load_image(tmp_path / "bomb.bmp")


@pytest.mark.parametrize(
    "array",
    [
        np.full((64, 64, 3), 200.0),
        np.full((64, 64, 3), np.nan),
        np.zeros((64, 64, 3), np.int64),
        np.zeros((64, 64, 5), np.uint8),
        np.zeros((3, 64, 64), np.uint8),
        torch.zeros(2, 3, 64, 64),
        torch.full((3, 64, 64), -1.0),
        3,
    ],
    ids=["0..255 floats", "nan", "int64", "five channels", "channels first", "batch", "-1..1", "number"],
)
def test_arrays_of_another_shape_or_range_are_refused(array):
    with pytest.raises(MediaError):
        load_image(array)


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for number in (10, 9, 1):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / f"photo_{number}.png")
    (tmp_path / "notes.txt").write_text("not a photo")
    photos, names = load_images(tmp_path)
    assert names == ["photo_1.png", "photo_9.png", "photo_10.png"]
    assert [p[0, 0, 0] for p in photos] == [1, 9, 10]


def test_batches_and_mixed_lists_become_single_photos(photo, tmp_path):
    save_image(tmp_path / "file.png", photo)
    photos, names = load_images([tmp_path / "file.png", photo, Image.fromarray(photo)])
    assert names == ["file.png", "photo 2", "photo 3"]
    for batch in (np.stack([photo] * 2), torch.from_numpy(np.stack([photo] * 2)).permute(0, 3, 1, 2)):
        more, names = load_images(batch)
        assert names == ["photo 1", "photo 2"]
        photos += more
    assert len(photos) == 7
    for loaded in photos:
        assert_close(loaded, photo)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="No photo was given"):
        load_images([])
    with pytest.raises(MediaError, match="holds no picture"):
        load_images(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "new/folder/a.webp", "a.jpg", "A.JPEG"])
def test_a_saved_picture_reads_back(photo, tmp_path, name):
    save_image(tmp_path / name, photo)
    assert_close(load_image(tmp_path / name), photo, tolerance=3)


def test_alpha_is_kept_in_png_and_refused_in_jpeg(photo, tmp_path):
    rgba = np.dstack([photo, np.arange(128, dtype=np.uint8)[None].repeat(96, 0)])
    save_image(tmp_path / "a.png", rgba)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == rgba).all()
    with pytest.raises(MediaError, match=r"\.png or \.webp"):
        save_image(tmp_path / "a.jpg", rgba)
    with pytest.raises(MediaError, match="end its name in"):
        save_image(tmp_path / "a.xyz", photo)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_save_leaves_the_older_picture(photo, tmp_path, monkeypatch):
    save_image(tmp_path / "a.png", photo)

    def fail(path, data):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(type(tmp_path), "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        save_image(tmp_path / "a.png", photo // 2)
    assert_close(load_image(tmp_path / "a.png"), photo)
    assert len(list(tmp_path.iterdir())) == 1


def test_side_by_side_brings_pictures_to_one_height(photo):
    joined = side_by_side(photo, photo[::2, ::2])
    assert joined.shape == (96, 256, 3)
    assert_close(joined[:, :128], photo)
    assert side_by_side(photo, height=48).shape == (48, 64, 3)
    assert side_by_side(photo, np.zeros((96, 10, 4), np.uint8))[0, :, 3].tolist() == [255] * 128 + [0] * 10


def test_a_contact_sheet_has_a_square_and_a_label_for_each_picture(photo):
    plain = contact_sheet([photo] * 5, columns=3, size=100)
    assert plain.shape == (200, 300, 3)
    assert (plain[100:, 200:] == 255).all()  # no sixth picture
    assert (plain[50, 10] == photo[0, 0]).all()
    labelled = contact_sheet([photo] * 5, columns=3, labels=["one", "two", "three", "four", ""], size=100)
    assert labelled.shape == (240, 300, 3)
    assert (labelled[100:120, :100] < 128).any()
    assert (labelled[220:, 100:200] == 255).all()
    with pytest.raises(MediaError, match="1 labels for 5 pictures"):
        contact_sheet([photo] * 5, columns=3, labels=["one"])
