"""The visible mark of synthetic pictures."""

import numpy as np
import pytest

from invertavatar.media import mark_synthetic

SIZES = [(512, 512), (256, 768), (64, 64), (33, 20)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [3, 4])
def test_the_mark_changes_nothing_but_the_lower_right_corner(height, width, channels):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    before = picture.copy()
    marked = mark_synthetic(picture)
    assert np.array_equal(picture, before)
    assert (marked.shape, marked.dtype) == (picture.shape, np.uint8)
    rows, columns = np.nonzero((marked != picture).any(-1))
    assert len(rows) > 20
    assert rows.min() >= height // 2 - 2
    if height >= 64:
        assert columns.min() >= width // 3 or width == height == 64


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_letters_stand_out_on_any_background(grey):
    marked = mark_synthetic(np.full((256, 256, 3), grey, np.uint8))
    corner = marked[-30:, -90:].astype(int)
    assert corner.max() - corner.min() > 80


def test_where_the_picture_is_transparent_the_letters_are_opaque_white():
    marked = mark_synthetic(np.zeros((256, 256, 4), np.uint8))
    letters = marked[marked[..., 3] > 200]
    assert len(letters) > 50
    assert (letters[:, :3] > 180).all()
    assert marked[:128].max() == 0


def test_opaque_pictures_are_marked_alike_with_and_without_alpha():
    picture = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    with_alpha = mark_synthetic(np.dstack([picture, np.full((128, 128), 255, np.uint8)]))
    assert np.array_equal(with_alpha[..., :3], mark_synthetic(picture))
    assert (with_alpha[..., 3] == 255).all()
