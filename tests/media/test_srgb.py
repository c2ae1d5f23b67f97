"""What is written says that its colours are sRGB, and is read as it was."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from invertavatar.media import VideoReader, VideoWriter, load_image, save_image

COLOURS = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".webp", ".jpg"])
def test_a_picture_has_the_profile_srgb(tmp_path, suffix):
    save_image(tmp_path / f"a{suffix}", COLOURS)
    profile = ImageCms.ImageCmsProfile(BytesIO(Image.open(tmp_path / f"a{suffix}").info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_a_png_has_the_chunk_srgb_and_comes_back_bit_for_bit(tmp_path):
    save_image(tmp_path / "a.png", COLOURS)
    with VideoWriter(tmp_path / "b_%02d.png", 25) as video:
        video.write(COLOURS)
    for name in ("a.png", "b_00.png"):
        assert "srgb" in Image.open(tmp_path / name).info
        np.testing.assert_array_equal(load_image(tmp_path / name), COLOURS)


def test_an_animated_webp_has_the_profile_and_plays(tmp_path):
    with VideoWriter(tmp_path / "a.webp", 10) as video:
        for value in (20, 120, 220):
            video.write(np.full((64, 80, 3), value, np.uint8))
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.n_frames == 3 and "sRGB" in str(picture.info["icc_profile"].replace(b"\0", b""))
    seen = [frame.mean() for frame in VideoReader(tmp_path / "a.webp")]
    assert seen == pytest.approx([20, 120, 220], abs=3)


def test_files_are_the_same_whenever_they_are_written(tmp_path):
    for name in ("a.webp", "b.webp"):
        save_image(tmp_path / name, COLOURS)
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()
