"""A source photo as tensors: ranges, framing, and what stays of the photo as it was given."""

import cv2
import numpy as np
import pytest
import torch

from invertavatar.camera import project
from invertavatar.errors import NoFaceError
from invertavatar.tracking.portrait import FEATHER, THUMBNAIL_SIZE, Portrait, feathered, prepare_portrait


@pytest.fixture(scope="module")
def portrait(face_tracker, example):
    return prepare_portrait(example("anna_1"), face_tracker, "anna_1.jpg", size=256)


def test_a_portrait_holds_the_shapes_and_ranges_that_it_promises(portrait):
    shapes = {name: tuple(getattr(portrait, name).shape) for name in Portrait._fields if name not in ("name", "scale")}
    assert shapes == {
        "photo": (1, 3, 256, 256),
        "matte": (1, 1, 256, 256),
        "inside": (1, 1, 256, 256),
        "vertices": (1, 478, 3),
        "expression": (1, 52),
        "rotation": (1, 3, 3),
        "thumbnail": (3, THUMBNAIL_SIZE, THUMBNAIL_SIZE),
    }
    assert -1 <= portrait.photo.min() < -0.5 and 0.5 < portrait.photo.max() <= 1
    assert portrait.matte.min() == 0 and portrait.matte.max() == 1
    assert portrait.thumbnail.dtype == torch.uint8
    assert all(x.dtype == torch.float32 for x in portrait[1:7])
    assert portrait.name == "anna_1.jpg"


def test_the_photo_is_the_tracker_s_crop(portrait, face_tracker, example):
    track = face_tracker.detect(example("anna_1"))
    crop = face_tracker.crop(example("anna_1"), track, 256)
    pixels = (portrait.photo[0].permute(1, 2, 0) + 1) * 127.5
    np.testing.assert_allclose(pixels, crop.image, atol=1e-3)
    np.testing.assert_array_equal(portrait.picture, crop.image)
    np.testing.assert_array_equal(portrait.matte[0, 0], crop.matte)


def test_the_vertices_project_onto_the_face_in_the_crop(portrait):
    points = project(portrait.vertices, portrait.rotation)[0, :, :2]
    left_iris, right_iris, nose = ((points[k] + 1) * 128 for k in (473, 468, 4))
    grey = portrait.photo[0].mean(0)
    for x, y in (left_iris, right_iris):  # pupils are darker than the tip of the nose
        assert grey[int(y), int(x)] < grey[int(nose[1]), int(nose[0])] - 0.2
    assert portrait.matte[0, 0, int(nose[1]), int(nose[0])] == 1


def test_real_pixels_fade_out_toward_the_border_of_the_photo_over_a_fixed_part_of_the_head():
    inside = np.zeros((200, 200), bool)
    inside[:, 40:] = True
    fade = feathered(inside)[100]
    pixels = FEATHER * 100
    assert (fade[:40] == 0).all() and (fade[40 + round(pixels) : 180] == 1).all()
    np.testing.assert_allclose(fade[40:44], np.arange(1, 5) / pixels, atol=0.03)
    assert fade[-1] == pytest.approx(1 / pixels, abs=0.02)  # the crop's own border counts too


def test_the_thumbnail_is_the_crop_made_small(portrait):
    small = torch.nn.functional.interpolate(portrait.photo, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), mode="area")
    assert ((portrait.thumbnail / 127.5 - 1) - small[0]).abs().mean() < 0.02


def test_a_frontal_photo_has_small_angles_and_one_that_looks_to_the_left_a_negative_yaw(
    portrait, face_tracker, example
):
    assert np.abs(portrait.angles).max() < 10
    assert prepare_portrait(example("anna_2"), face_tracker, size=64).angles[0] < -10


def test_a_photo_is_as_sharp_as_its_pixels_fill_the_crop(portrait, face_tracker, example):
    assert portrait.sharpness == 1
    tiny = cv2.resize(example("anna_1"), (128, 128), interpolation=cv2.INTER_AREA)
    blurred = prepare_portrait(tiny, face_tracker, size=256)
    assert blurred.scale == pytest.approx(portrait.scale / 6, rel=0.02)
    assert blurred.sharpness == pytest.approx(blurred.scale / 128)
    assert 0.1 < blurred.sharpness < 0.6


def test_on_another_device_only_the_tensors_move(portrait):
    moved = portrait.to(torch.device("meta"))
    assert all(x.device.type == "meta" for x in moved if isinstance(x, torch.Tensor))
    assert (moved.name, moved.scale) == (portrait.name, portrait.scale)


def test_a_photo_without_a_face_is_an_error_that_names_it(face_tracker):
    with pytest.raises(NoFaceError, match=r"wall\.jpg"):
        prepare_portrait(np.full((200, 200, 3), 128, np.uint8), face_tracker, "wall.jpg")


def test_a_photo_that_is_finer_than_the_crop_gets_a_crop_of_twice_the_size(face_tracker, example):
    photo = example("anna_1")
    sizes = [prepare_portrait(photo, face_tracker, size=256, finest=n).photo.shape[-1] for n in (300, 1024, 4096)]
    assert sizes == [256, 1024, 1024]  # the photo has some 890 pixels for the crop
