"""The head turns on the neck, the body stays; hair and shoulders move by themselves."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.rest_pose import (
    CHIN_HEIGHT,
    COLLAR_HEIGHT,
    FACE_HEIGHT,
    FACE_MIDDLE,
    FACE_WIDTH,
    PIVOT,
    TORSO_POSE_NAMES,
    body_weight,
    displacement,
    hair_weight,
    row_rotations,
    to_rest_pose,
)

TURN = rotation_from_angles(35.0, -10.0, 8.0)[None]


def points(low, high, count=200):
    generator = torch.Generator().manual_seed(0)
    scattered = torch.rand(1, count, 3, generator=generator) * 2 - 1
    scattered[..., 1] = low + (high - low) * torch.rand(1, count, generator=generator)
    return scattered


def test_a_head_that_is_not_turned_is_at_rest_already():
    scattered = points(-1, 1)
    torch.testing.assert_close(to_rest_pose(scattered, torch.eye(3)[None]), scattered)


def test_above_the_chin_nothing_moves():
    head = points(0, 1) * torch.tensor([0.5, 1.0, 0.5])
    torch.testing.assert_close(to_rest_pose(head, TURN), head)


def test_the_body_keeps_its_place_before_the_camera():
    pivot = torch.tensor(PIVOT)
    body = points(COLLAR_HEIGHT - 0.6, COLLAR_HEIGHT - 0.4) * torch.tensor([0.5, 1.0, 0.5])
    # A body that does not turn with the head is, from the pivot on, in camera space what it is at rest.
    camera = body - pivot + (TURN[0] @ pivot)
    head_space = camera @ TURN[0]
    torch.testing.assert_close(to_rest_pose(head_space, TURN), body, atol=1e-5, rtol=0)


@pytest.mark.parametrize("yaw", [-40.0, 15.0, 60.0])
def test_rows_go_back_to_where_points_come_from(yaw):
    head_to_torso = rotation_from_angles(yaw)[None]  # about the vertical axis heights stay, so both are exact inverses
    rest = points(-1, 1)
    rows = row_rotations(rest[0, :, 1], head_to_torso)[0]  # [N, 3, 3]
    pivot = torch.tensor(PIVOT)
    head_space = torch.einsum("nij,nj->ni", rows, rest[0] - pivot) + pivot
    torch.testing.assert_close(to_rest_pose(head_space[None], head_to_torso), rest, atol=1e-4, rtol=0)


def test_the_share_of_the_body_rises_smoothly_from_chin_to_collar():
    weights = body_weight(torch.linspace(CHIN_HEIGHT, COLLAR_HEIGHT, 50))
    assert weights[0] == 0 and weights[-1] == 1
    assert (weights.diff() > 0).all() and weights.diff().max() < 0.04


@pytest.mark.parametrize("name", TORSO_POSE_NAMES)
def test_a_torso_pose_is_undone_at_rest(name):
    torso_pose, size = torch.zeros(1, 12), 0.03 if name.startswith("hair") else 0.08
    torso_pose[0, TORSO_POSE_NAMES.index(name)] = size
    rest = points(-1, 1)
    moved = rest.clone()
    moved[..., :2] += displacement(rest[..., :2], torso_pose)
    assert (moved - rest).abs().max() > size / 2
    torch.testing.assert_close(to_rest_pose(moved, torso_pose=torso_pose), rest, atol=4e-3, rtol=0)


def test_the_average_torso_pose_moves_nothing():
    scattered = points(-1, 1)
    torch.testing.assert_close(to_rest_pose(scattered, TURN, torch.zeros(1, 12)), to_rest_pose(scattered, TURN))


def test_no_torso_pose_moves_the_face():
    radius, angle = torch.meshgrid(torch.linspace(0, 0.79, 9), torch.linspace(0, 6.3, 40), indexing="ij")
    right, up = radius * FACE_WIDTH * angle.cos(), FACE_MIDDLE + radius * FACE_HEIGHT * angle.sin()
    assert hair_weight(right, up).max() == 0
    face = torch.stack([right, up], -1).view(1, -1, 2)
    assert displacement(face, torch.full((1, 12), 0.2)).abs().max() == 0


def test_shoulders_and_hair_share_what_is_not_the_face():
    border = torch.linspace(-1, 1, 21)
    for right, up in ((border, torch.full_like(border, 0.9)), (torch.full_like(border, 0.9), border)):
        torch.testing.assert_close(hair_weight(right, up) + body_weight(up), torch.ones(21))


def test_a_roll_is_counter_clockwise_and_a_size_outward():
    top = torch.tensor([[[0.0, 0.9]]])
    roll, size = torch.zeros(1, 12), torch.zeros(1, 12)
    roll[0, TORSO_POSE_NAMES.index("hairRoll")] = size[0, TORSO_POSE_NAMES.index("hairSize")] = 0.1
    torch.testing.assert_close(displacement(top, roll), torch.tensor([[[-0.09, 0.0]]]))
    torch.testing.assert_close(displacement(top, size), torch.tensor([[[0.0, 0.09]]]))
