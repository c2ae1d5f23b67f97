"""Pictures at another size, and looked up at places of their own."""

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres
from invertavatar.rendering.resize import halved, resample, resize


@pytest.fixture
def photo():
    """[1, 3, 64, 64] about as sharp as a lens."""
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        picture = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="reflect"), 3, 1)
    return picture


def grid(size, shift=0.0):
    right, up = pixel_centres(size)
    return torch.stack(torch.broadcast_tensors(right + shift, -up), -1)[None]


def high_pass_detail(picture):
    return (picture[..., 1:-1, 2:] + picture[..., 1:-1, :-2] - 2 * picture[..., 1:-1, 1:-1]).abs().mean()


def test_there_and_back_by_half_a_pixel_a_photo_keeps_most_of_its_high_pass_detail(photo):
    there, back = grid(64, 1 / 64), grid(64, -1 / 64)
    cubic = resample(resample(photo, there), back)
    linear = F.grid_sample(F.grid_sample(photo, there, align_corners=False), back, align_corners=False)
    assert high_pass_detail(cubic) > 0.8 * high_pass_detail(photo)
    assert high_pass_detail(linear) < 0.7 * high_pass_detail(photo)


def test_at_its_own_pixels_a_photo_is_looked_up_as_it_is(photo):
    torch.testing.assert_close(resample(photo, grid(64)), photo, atol=1e-5, rtol=0)


def test_a_coarser_grid_averages(photo):
    torch.testing.assert_close(resample(photo, grid(32)), F.avg_pool2d(photo, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "left"), [(64, 64), (48, 64), (32, 32), (20, 32), (1, 1)])
def test_a_picture_is_halved_until_it_is_less_than_twice_as_fine(photo, size, left):
    small = halved(photo, size)
    assert small.shape[-1] == left
    torch.testing.assert_close(small.mean((2, 3)), photo.mean((2, 3)))


def test_a_picture_of_the_right_size_is_left_alone(photo):
    assert resize(photo, 64) is photo
    assert resize(photo, 24).shape == (1, 3, 24, 24)
