"""Which part of the crop a frame shows, and how the body ends in it."""

import pytest
import torch

from invertavatar.camera import Camera, rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.rendering.framing import (
    WHOLE,
    Framing,
    FramingSettings,
    Window,
    check_framing,
    ends,
    framing_of,
    photo_box,
    placed,
)
from invertavatar.rendering.source_views import SourceViews
from tests.heads import camera_at, mean_head

SETTINGS = FramingSettings()
FRONT = Camera(torch.eye(3)[None])


def views(*boxes, size=100, matte=None):
    """Photos that have pixels (left, top, right, bottom) of a hundred."""
    picture = torch.zeros(1, len(boxes), 5, size, size, dtype=torch.uint8)
    for n, (left, top, right, bottom) in enumerate(boxes):
        picture[0, n, 4, top:bottom, left:right] = 255
        picture[0, n, 3] = picture[0, n, 4] if matte is None else matte
    kept = {name: torch.zeros(1, len(boxes)) for name in SourceViews._fields}
    rotation = torch.eye(3).expand(1, len(boxes), 3, 3)
    return SourceViews(**kept | {"picture": picture, "rotation": rotation})


def framed(head_model, name, photos, height=100, width=None):
    rest = mean_head(head_model, camera_at(0.0)).rest_vertices[0]
    return framing_of(name, SETTINGS, head_model, rest, photos, height, width)


def test_a_photo_s_box_is_where_half_of_the_photos_or_more_have_pixels():
    assert photo_box(views((10, 0, 90, 80)), SETTINGS) == pytest.approx((-0.8, -1, 0.8, 0.6))
    three = views((0, 0, 100, 70), (0, 0, 100, 80), (0, 0, 100, 90))
    assert photo_box(three, SETTINGS) == pytest.approx((-1, -1, 1, 0.6))


@pytest.mark.parametrize("box", [(5, 0, 95, 85), (0, 0, 100, 90), (12, 2, 100, 88)])
def test_by_default_a_frame_shows_nothing_but_what_the_photos_show(head_model, box):
    frame = framed(head_model, "photo", views(box), height=512)
    left, top, right, bottom = frame.window
    pixel = 2 / frame.side
    edges = [2 * edge / 100 - 1 for edge in box]
    assert left >= edges[0] - pixel and top >= edges[1] - pixel
    assert right <= edges[2] + pixel and bottom <= edges[3] + pixel
    assert frame.extent == 1 and frame.bust is None and frame.fades
    assert max(right - left, bottom - top) > min(edges[2] - edges[0], edges[3] - edges[1]) - 2 * pixel


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (64, 64)])
@pytest.mark.parametrize("name", ["photo", "head", "bust"])
def test_frames_of_any_aspect_hold_the_whole_head_undistorted(head_model, name, height, width):
    frame = framed(head_model, name, views((5, 0, 95, 85)), height, width)
    assert (frame.height, frame.width) == (height, width)
    left, top, right, bottom = frame.window
    assert (right - left) / (bottom - top) == pytest.approx(width / height)
    face = mean_head(head_model, camera_at(0.0)).landmarks[0]
    assert left < face[:, 0].min() and face[:, 0].max() < right
    assert top < -face[:, 1].max() and -face[:, 1].min() < bottom


def test_the_crop_is_the_whole_crop_and_stays_as_it_is(head_model):
    frame = framed(head_model, "crop", views((5, 0, 95, 85)))
    assert frame == Framing(100, 0, 0, 100, 100) and frame.window == WHOLE
    picture = torch.rand(1, 5, 100, 100)
    torch.testing.assert_close(frame.cut(picture), picture)


def test_without_photos_the_default_shows_the_whole_crop(head_model):
    assert framed(head_model, "photo", None) == framed(head_model, "crop", None)


def test_a_part_is_cut_out_pixel_by_pixel_and_beyond_what_was_rendered_there_is_nothing():
    frame = placed(Window(-0.5, -1.2, 0.5, 0.0), 60, 50)
    assert (frame.side, frame.left, frame.top) == (100, 25, -10)
    picture = torch.rand(1, 5, 100, 100) + 0.1
    cut = frame.cut(picture)
    assert (cut[..., :10, :] == 0).all()
    torch.testing.assert_close(cut[..., 10:, :], picture[..., :50, 25:75])


def test_a_bust_ends_in_a_curve_above_where_the_photo_ends(head_model):
    frame = framed(head_model, "bust", views((0, 0, 100, 80)))
    opacity = frame.cut(torch.ones(1, 1, frame.side, frame.side))[0, 0]
    rows = (opacity > 0.5).sum(0)
    centre = frame.width // 2
    end = (2 * (frame.top + rows) / frame.side - 1) * frame.extent
    assert 0.4 < end[centre] <= 0.6
    assert rows[centre] > rows[10] and rows[centre] > rows[-10]
    assert (opacity[:, centre].diff() <= 0).all()


def test_the_body_fades_where_the_photo_ends_and_the_head_does_not():
    inside = torch.ones(1, 1, 100, 100)
    inside[..., 85:, :] = inside[..., :10, :] = 0
    left = ends(inside, FRONT, placed(WHOLE, 100, 100), SETTINGS)[0, 0]
    assert (left[:50] == 1).all() and (left[75:85] == 1).all() and (left[85:] == 0).all()


def test_hair_that_a_photo_cuts_off_ends_round_whichever_way_the_head_turns(head_model):
    matte = torch.zeros(100, 100, dtype=torch.uint8)
    matte[:, 30:70] = 255
    frame = framed(head_model, "head", views((0, 5, 100, 95), matte=matte))
    *_, radius = frame.crown
    assert radius >= SETTINGS.crown
    for yaw in (0.0, 25.0):
        camera = Camera(rotation_from_angles(torch.tensor([yaw])), zoom=0.7)
        left = ends(torch.ones(1, 1, 200, 200), camera, frame, SETTINGS)[0, 0]
        first = (left > 0.5).float().argmax(0)  # row of each column
        middle = int(first.argmin())
        top = (1 - 2 * (first[middle] + 0.5) / 200) / 0.7
        assert 0.8 < top < 0.9  # the photo ends at 0.9
        assert first[middle - 30] > first[middle] + 3 and first[middle + 30] > first[middle] + 3


def test_hair_that_a_photo_shows_whole_has_no_round_of_its_own(head_model):
    matte = torch.zeros(100, 100, dtype=torch.uint8)
    matte[20:, 30:70] = 255
    assert framed(head_model, "head", views((0, 0, 100, 90), matte=matte)).crown is None


def test_what_is_no_framing_is_said_in_a_sentence():
    with pytest.raises(InvertAvatarError, match="photo, head, bust, crop"):
        check_framing("torso", None)
    with pytest.raises(InvertAvatarError, match="width"):
        check_framing("photo", 7)


def test_a_body_stands_as_far_as_the_head_stays_in_the_frame(head_model):
    frame = framed(head_model, "photo", views((10, 0, 90, 80)))
    left, top, right, bottom = frame.slack
    assert left < 0 < right and top <= 0 <= bottom
    little, far = torch.tensor([[0.5 * left, 0.0]]), torch.tensor([[4.0, -4.0]])
    torch.testing.assert_close(frame.held(little), little / frame.extent)
    torch.testing.assert_close(frame.held(far), torch.tensor([[right, top]]) / frame.extent)
