"""A mesh whose outline is laid onto a matte."""

import cv2
import numpy as np
import pytest
import torch

from invertavatar.baking.outline import outlined
from invertavatar.camera import Camera, rotation_from_angles
from invertavatar.raster.rasterizer import rasterize
from invertavatar.rendering.surface import vertex_normals

SIZE = 256


@pytest.fixture
def seen(head_model):
    """Of the mean head from 0 and 40 degrees: places, how squarely it is seen, rotations and silhouettes."""
    rotation = rotation_from_angles(torch.tensor([0.0, 40.0]))
    vertices = head_model.mean.expand(2, -1, -1)
    places = Camera(rotation).project(vertices)
    facing = (vertex_normals(vertices, head_model.triangles) @ rotation.mT)[..., 2]
    return places, facing, rotation, silhouettes(head_model, places)


def silhouettes(head_model, places):
    return rasterize(places, head_model.triangles, SIZE).mask.float()


def agreement(one, other):
    one, other = (x[:, : SIZE // 2] > 0.5 for x in (one, other))  # the skull; the bust is cut off by the picture
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("hair", [13, -9])  # pixels
def test_a_head_takes_the_outline_of_the_person(hair, seen, head_model):
    places, facing, rotation, mask = seen
    change, kernel = (cv2.dilate if hair > 0 else cv2.erode), np.ones((abs(hair), abs(hair)), np.uint8)
    matte = torch.from_numpy(np.stack([change(picture.numpy(), kernel) for picture in mask]))
    moved = outlined(head_model, places, facing, rotation, matte, torch.ones_like(matte))
    after = silhouettes(head_model, Camera(rotation).project(head_model.mean + moved))
    assert agreement(after, matte) > 0.97 > agreement(mask, matte)
    face = head_model.displacement.share == 0
    assert moved[face].abs().max() == 0


def test_an_outline_that_fits_already_moves_nothing(seen, head_model):
    places, facing, rotation, mask = seen
    moved = outlined(head_model, places, facing, rotation, mask, torch.ones_like(mask))
    assert moved.norm(dim=1).mean() < 0.01


def test_where_a_photo_has_no_pixels_it_says_nothing(seen, head_model):
    places, facing, rotation, mask = seen
    moved = outlined(head_model, places, facing, rotation, torch.zeros_like(mask), torch.zeros_like(mask))
    assert moved.abs().max() == 0
