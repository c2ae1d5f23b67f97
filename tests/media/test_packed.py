import numpy as np
import pytest

from invertavatar.media.packed import packed, thinned, unpacked

SIZE = 64
GRAIN = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
WHOLE = packed(GRAIN)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pictures_come_back_bit_for_bit(channels):
    pictures = GRAIN[..., :channels]
    assert np.array_equal(unpacked(packed(pictures), 3, channels, SIZE), pictures)


@pytest.mark.parametrize(
    ("content", "count", "largest"),
    [(b"", 3, SIZE), (b"no picture", 3, SIZE), (WHOLE[:-40], 3, SIZE), (WHOLE, 2, SIZE), (WHOLE, 3, SIZE // 2)],
)
def test_what_is_no_such_picture_is_refused(content, count, largest):
    with pytest.raises(ValueError, match="pictures"):
        unpacked(content, count, 3, largest)


def test_a_picture_that_fits_is_left_alone():
    smooth = np.tile(np.arange(SIZE, dtype=np.uint8)[:, None, None], (1, SIZE, 3))
    assert thinned(smooth, 4000) is smooth


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_grain_that_takes_too_much_is_rounded_as_little_as_that_needs(bits):
    most = len(packed(GRAIN[:1])) * (8.6 - bits) / 8
    thin = thinned(GRAIN[0], most)
    assert len(packed(thin[None])) <= most
    assert np.abs(thin.astype(int) - GRAIN[0]).max() == 1 << (bits - 1)
    assert abs(thin.mean() - GRAIN[0].mean()) < 1
