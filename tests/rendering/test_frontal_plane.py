"""A turned head resampled into the frontal plane, through heights that are known."""

import math

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.head.rest_pose import CHIN_HEIGHT, COLLAR_HEIGHT
from invertavatar.rendering.frontal_plane import canonicalize


def test_canonicalizing_a_frontal_picture_gives_the_picture():
    generator = torch.Generator().manual_seed(0)
    picture, matte = torch.rand(1, 3, 64, 64, generator=generator), torch.rand(1, 1, 64, 64, generator=generator)
    heights = 0.5 * torch.rand(1, 1, 64, 64, generator=generator)  # of no account from the front
    colour, inside, facing = canonicalize(picture, matte, heights, torch.eye(3)[None])
    torch.testing.assert_close(colour, picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(inside, matte, atol=1e-5, rtol=0)
    assert facing.min() > 0


def test_facing_is_the_cosine_between_the_height_field_s_normal_and_the_view():
    right, up = pixel_centres(64)
    slope = (0.5 * right + 0.2 * up)[None, None]  # normal (-0.5, -0.2, 1)
    picture, matte = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    rotation = rotation_from_angles(20.0, 10.0)[None]
    _, _, facing = canonicalize(picture, matte, slope, rotation)
    normal = F.normalize(torch.tensor([-0.5, -0.2, 1.0]), dim=0)
    assert facing[0, 0, 32, 32] == pytest.approx((rotation[0, 2] @ normal).item(), abs=1e-4)


@pytest.mark.parametrize(("yaw", "pitch"), [(25.0, 0.0), (-25.0, 0.0), (0.0, 20.0), (15.0, -10.0)])
def test_canonicalizing_undoes_a_turn_for_what_lies_on_the_height_field(yaw, pitch):
    right, up = pixel_centres(128)
    heights = (0.35 - 0.4 * (right**2 + up**2))[None, None]
    rotation = rotation_from_angles(yaw, pitch)
    points = torch.stack([right, up, heights[0, 0]], -1)

    def colours(x):
        return torch.sin(x @ torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0], [1.0, 0.0, 3.0]]))

    # A picture of the surface, by marching each pixel's ray down to it.
    depth = torch.zeros(128, 128)
    for _ in range(60):
        x, y, z = (torch.stack([right, up, depth], -1) @ rotation).unbind(-1)
        depth = depth - 0.5 * (z - (0.35 - 0.4 * (x**2 + y**2)))
    picture = colours(torch.stack([right, up, depth], -1) @ rotation).permute(2, 0, 1)[None]

    colour, _, facing = canonicalize(picture, torch.ones(1, 1, 128, 128), heights, rotation[None])
    truth = colours(points).permute(2, 0, 1)[None]
    middle = ((right.abs() < 0.6) & (up.abs() < 0.6)).expand_as(facing) & (facing > 0.3)
    assert middle.float().mean() > 0.25
    assert ((colour - truth).abs() * middle).max() < 0.02


def test_two_views_of_a_surface_agree_at_its_height_and_nowhere_else():
    size, height, yaw = 64, 0.3, 20.0
    right, up = pixel_centres(size)

    def photograph(angle):
        """A plane at `height` with stripes across, seen at an angle."""
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return torch.sin(6 * (right - sine * height) / cosine)[None, None]

    def disagreement(assumed):
        heights, matte = torch.full((1, 1, size, size), assumed), torch.ones(1, 1, size, size)
        views = [
            canonicalize(photograph(angle), matte, heights, rotation_from_angles(angle)[None])[0][0, 0]
            for angle in (-yaw, yaw)
        ]
        return (views[0] - views[1])[(up > -0.5) & (right.abs() < 0.7)].abs().mean().item()

    errors = {assumed: disagreement(assumed) for assumed in (0.0, 0.15, height, 0.45, 0.6)}
    assert errors[height] < 0.03
    assert min(error for assumed, error in errors.items() if assumed != height) > 10 * errors[height]


def test_beyond_the_crop_there_is_neither_matte_nor_facing():
    picture, matte, heights = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64), torch.full((1, 1, 64, 64), 0.8)
    _, inside, facing = canonicalize(picture, matte, heights, rotation_from_angles(40.0)[None])
    # x' = x cos 40 + z sin 40 leaves the picture at the right.
    right, up = pixel_centres(64)
    outside = (right * 0.766 + 0.8 * 0.643 > 1.02) & (up > CHIN_HEIGHT)  # below, the body faces the viewer
    assert outside.sum() > 300
    assert inside[0, 0][outside].max() == 0 and facing[0, 0][outside].max() == 0
    assert inside[0, 0, 32, 20] == 1
    assert inside[0, 0][(up < COLLAR_HEIGHT) & (right.abs() < 0.8)].min() == 1
