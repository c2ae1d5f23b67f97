"""The head turns on the neck; the body stays."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.rendering.neck import CHIN, COLLAR, PIVOT, body_share, row_rotations, to_rest

TURN = rotation_from_angles(35.0, -10.0, 8.0)[None]


def points(low, high, count=200):
    generator = torch.Generator().manual_seed(0)
    scattered = torch.rand(1, count, 3, generator=generator) * 2 - 1
    scattered[..., 1] = low + (high - low) * torch.rand(1, count, generator=generator)
    return scattered


def test_a_head_that_is_not_turned_is_at_rest_already():
    scattered = points(-1, 1)
    torch.testing.assert_close(to_rest(scattered, torch.eye(3)[None]), scattered)


def test_above_the_chin_nothing_moves():
    head = points(0, 1) * torch.tensor([0.5, 1.0, 0.5])
    torch.testing.assert_close(to_rest(head, TURN), head)


def test_the_body_keeps_its_place_before_the_camera():
    pivot = torch.tensor(PIVOT)
    body = points(COLLAR - 0.6, COLLAR - 0.4) * torch.tensor([0.5, 1.0, 0.5])
    # A body that does not turn with the head is, from the pivot on, in camera space what it is at rest.
    camera = body - pivot + (TURN[0] @ pivot)
    head_space = camera @ TURN[0]
    torch.testing.assert_close(to_rest(head_space, TURN), body, atol=1e-5, rtol=0)


@pytest.mark.parametrize("yaw", [-40.0, 15.0, 60.0])
def test_rows_go_back_to_where_points_come_from(yaw):
    turn = rotation_from_angles(yaw)[None]  # about the vertical axis heights stay, so both are exact inverses
    rest = points(-1, 1)
    rows = row_rotations(rest[0, :, 1], turn)[0]  # [N, 3, 3]
    pivot = torch.tensor(PIVOT)
    head_space = torch.einsum("nij,nj->ni", rows, rest[0] - pivot) + pivot
    torch.testing.assert_close(to_rest(head_space[None], turn), rest, atol=1e-4, rtol=0)


def test_the_share_of_the_body_rises_smoothly_from_chin_to_collar():
    shares = body_share(torch.linspace(CHIN, COLLAR, 50))
    assert shares[0] == 0 and shares[-1] == 1
    assert (shares.diff() > 0).all() and shares.diff().max() < 0.04
