"""The torso pose network: bounded numbers of any picture; and pictures moved on purpose, which it learns from."""

import pytest
import torch

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.head.rest_pose import LARGEST_TORSO_POSE, TORSO_POSE_NAMES, hair_weight
from invertavatar.models.torso_pose import TorsoPoseNetwork
from invertavatar.rendering.frontal_plane import canonicalize
from invertavatar.training.reconstruction import Crop
from invertavatar.training.stages.torso_pose import moved_on_purpose


def crop(size=128, yaw=0.0):
    """A picture of soft stripes, all of it a person."""
    right, up = pixel_centres(size)
    photo = torch.stack([(3 * right).sin(), (4 * up).sin(), (2 * (right + up)).cos()])[None]
    whole = torch.ones(1, 1, size, size)
    return Crop(photo, whole, whole, rotation_from_angles(yaw)[None])


@torch.no_grad()
def test_its_numbers_stay_within_their_range_in_any_precision():
    torch.manual_seed(0)
    network = TorsoPoseNetwork((4, 4, 4, 8, 8))
    torch.nn.init.normal_(network.out.weight, std=50.0)
    photo, matte, inside, rotation = crop()
    for dtype in (torch.float32, torch.bfloat16):
        torso_pose = network.to(dtype)(photo, matte, inside, rotation, torch.zeros(1, 1, 64, 64))
        assert torso_pose.shape == (1, len(TORSO_POSE_NAMES)) and torso_pose.dtype == torch.float32
        assert (torso_pose.abs() <= torch.tensor(LARGEST_TORSO_POSE)).all() and torso_pose.abs().max() > 0.05


@pytest.mark.parametrize("name", TORSO_POSE_NAMES)
def test_a_picture_moved_on_purpose_lies_in_the_frontal_plane_as_before(name):
    original, torso_pose, flat = crop(), torch.zeros(1, 12), torch.zeros(1, 1, 64, 64)
    torso_pose[0, TORSO_POSE_NAMES.index(name)] = 0.08 if name.startswith("shoulders") else 0.04
    moved = moved_on_purpose(original, torso_pose)
    before, _, _ = canonicalize(original.photo, original.matte, flat, original.rotation)
    after, _, _ = canonicalize(moved.photo, moved.matte, flat, original.rotation, torso_pose)
    naive, _, _ = canonicalize(moved.photo, moved.matte, flat, original.rotation)
    right, up = pixel_centres(64)
    within = (right.abs() < 0.85) & (up.abs() < 0.85)
    error, unmoved = (((x - before).abs() * within).mean() for x in (after, naive))
    assert unmoved > 0.001 and error < 0.4 * unmoved
    face = hair_weight(right, up) == 0
    assert ((moved.photo - original.photo).abs().mean(1)[0, ::2, ::2] * (face & (up > -0.6))).max() < 0.02
