import pytest
import torch

from invertavatar.models.conv_fusion import ConvFusion

CHANNELS, WINDOW = 4, 2


@pytest.fixture
def fusion():
    torch.manual_seed(0)
    return ConvFusion(CHANNELS, WINDOW)


def fused(fusion, photos):
    """Photos [N, B, C, h, w] -> the result of them all, [B, C, h, w]."""
    held = None
    for count, photo in enumerate(photos):
        _, held = fusion(photo, held, count)
        assert held.shape[1] == (2 + WINDOW) * CHANNELS
    return held[:, :CHANNELS]


def test_a_full_window_is_one_convolution_over_its_photos(fusion):
    photos = torch.randn(WINDOW, 2, CHANNELS, 8, 8)
    torch.testing.assert_close(fused(fusion, photos), torch.tanh(fusion.conv(torch.cat([*photos], 1))))


def test_a_window_that_is_not_full_repeats_its_first_photo(fusion):
    photo = torch.randn(1, 1, CHANNELS, 8, 8)
    torch.testing.assert_close(fused(fusion, photo), fused(fusion, photo.expand(WINDOW, -1, -1, -1, -1)))


@pytest.mark.parametrize("count", [3, 4, 6, 7])
def test_longer_sequences_average_their_windows_by_the_photos_in_each(count, fusion):
    photos = torch.randn(count, 1, CHANNELS, 8, 8)
    windows = photos.split(WINDOW)
    mean = sum(len(window) * fused(fusion, window) for window in windows) / count
    torch.testing.assert_close(fused(fusion, photos), mean)
