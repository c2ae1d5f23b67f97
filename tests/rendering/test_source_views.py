"""The photos of an avatar: which of them a frame is made of, how many are kept, and what is kept of each."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.driven_head import DrivenHead
from invertavatar.rendering.observation import View
from invertavatar.rendering.source_views import (
    LIMIT,
    FusionSettings,
    SourceViews,
    angle_between,
    blended,
    crossfaded,
    from_bytes,
    front_picture,
    joined,
    num_blended,
    source_view,
    view_weights,
    weighed,
)

SIZE, VERTICES, SETTINGS = 16, 5, FusionSettings()
SETTINGS = FusionSettings()


def picture(channels, value):
    return torch.as_tensor(value, dtype=torch.float32).expand(1, channels, SIZE, SIZE)


def photo(
    colour=0.0, yaw=0.0, matte=1.0, inside=1.0, weight=1.0, even=False, torso_pose=None, size=SIZE
) -> SourceViews:
    """A photo of one colour from one side; its head lies at its yaw."""
    looks = picture(3, colour), picture(1, matte), picture(1, inside)
    skin = torch.full((1, VERTICES, 3), yaw)
    torso_pose = None if torso_pose is None else torch.full((1, 12), torso_pose)
    head = DrivenHead(torch.zeros(1, 478, 3), torch.zeros(478, 3), skin, skin, torso_pose=torso_pose)
    view = View(*looks, rotation_from_angles(yaw)[None], skin, head)
    return source_view(view, front_picture(*looks), torch.tensor([weight]), even, size)


def album(*photos: SourceViews) -> SourceViews:
    views = None
    for view in photos:
        views = joined(views, view)
    return views


def seen(views: SourceViews, yaw: float):
    return blended(views.front, view_weights(views, rotation_from_angles(yaw)[None], None, SETTINGS))


def test_a_frame_in_the_pose_of_a_photo_is_that_photo():
    views = album(photo(-0.6, -20.0), photo(0.1, 0.0), photo(0.7, 20.0))
    for yaw, colour in ((-20.0, -0.6), (0.0, 0.1), (20.0, 0.7)):
        assert (seen(views, yaw) - colour).abs().max() < 0.01


def test_of_two_photos_in_a_pose_the_one_in_the_frame_s_torso_pose_counts():
    views, frontal = (
        album(photo(torso_pose=-0.03), photo(torso_pose=0.03), photo(yaw=25.0, torso_pose=0.03)),
        torch.eye(3)[None],
    )
    weights = view_weights(views, frontal, torch.full((1, 12), 0.03), SETTINGS)[0]
    assert weights[1] == 1 and weights[0] < 0.05 and weights[2] < 0.01  # a turn still counts for more
    torch.testing.assert_close(view_weights(views, frontal, None, SETTINGS)[0, :2], torch.ones(2))


def test_photos_that_count_alike_do_so_in_any_torso_pose():
    views = album(photo(even=True, torso_pose=0.05), photo(even=True, torso_pose=-0.05))
    torch.testing.assert_close(
        view_weights(views, torch.eye(3)[None], torch.full((1, 12), 0.05), SETTINGS), torch.ones(1, 2)
    )


def test_half_way_between_two_photos_both_count_alike_and_the_change_is_gradual():
    views = album(photo(-1.0, -10.0), photo(1.0, 10.0))
    colours = torch.stack([seen(views, yaw).mean() for yaw in (-10.0, -4.0, -1.0, 0.0, 1.0, 4.0, 10.0)])
    assert colours[3].abs() < 1e-4
    assert (colours.diff() > 0).all()
    assert 0.2 < colours[4] < 0.9  # no jump within two degrees


def test_the_sharper_of_two_photos_in_one_pose_counts_more():
    views = album(photo(-1.0, 5.0, weight=0.1), photo(1.0, 5.0, weight=0.9))
    assert seen(views, 5.0).mean() > 0.7


@pytest.mark.parametrize("yaw", [0.0, 60.0, 90.0])
def test_a_photo_that_is_alone_counts_fully_however_far_it_is_turned(yaw):
    assert (seen(album(photo(0.8, yaw)), 0.0) - 0.8).abs().max() < 1e-4


def test_photos_that_shall_count_alike_do_so_in_every_pose():
    views = album(photo(-1.0, -30.0, even=True), photo(0.5, 30.0, even=True))
    for yaw in (-30.0, 0.0, 30.0):
        assert (seen(views, yaw) + 0.25).abs().max() < 1e-4


def test_what_the_nearest_photo_has_no_pixels_for_comes_from_another_near_one():
    lower = torch.ones(SIZE, SIZE)
    lower[: SIZE // 2] = 0
    views = album(photo(-1.0, 0.0, inside=lower), photo(1.0, 4.0))
    colour = seen(views, 0.5)
    assert colour[0, 0, : SIZE // 2 - 1].min() > 0.8
    assert colour[0, 0, SIZE // 2 + 1 :].max() < -0.8


def test_background_colours_do_not_enter():
    views = album(photo(0.8, even=True), photo(-1.0, matte=0.0, even=True))
    assert (seen(views, 0.0) - 0.8).abs().max() < 0.01


def test_beside_the_person_the_frontal_plane_goes_on_with_the_person_s_colours():
    left = torch.zeros(SIZE, SIZE)
    left[:, : SIZE // 2] = 1
    for masks in ((left, 1.0), (1.0, left)):  # the background, and beyond the photo
        colours = photo(torch.where(left > 0, 0.5, -1.0), matte=masks[0], inside=masks[1]).front[0, 0, :3]
        torch.testing.assert_close(colours, torch.full_like(colours, 0.5))


def test_a_photo_in_other_clothes_stays_out_even_in_its_own_pose_and_one_in_a_little_other_light_does_not():
    first = photo(-0.5)
    dressed, lit = weighed(first, photo(0.5, 20.0), SETTINGS), weighed(first, photo(-0.38, 20.0), SETTINGS)
    assert (seen(joined(first, dressed), 20.0) + 0.5).abs().max() < 0.01
    assert (seen(joined(first, lit), 20.0) + 0.38).abs().max() < 0.01


def test_photos_that_share_too_little_to_be_compared_count_as_alike():
    top = torch.zeros(SIZE, SIZE)
    top[0] = 1
    assert weighed(photo(-0.5, inside=top), photo(0.5, inside=top.flip(0)), SETTINGS).weight == 1


def test_more_photos_than_the_limit_give_up_the_lighter_of_the_two_nearest_poses():
    yaws = [10.0 * k for k in range(LIMIT)]
    views = album(*(photo(k / 10, yaw) for k, yaw in enumerate(yaws)), photo(-1.0, 31.0, weight=0.5))
    assert views.weight.shape == (1, LIMIT) and views.weight.min() == 1  # the new one is lighter than that of 30
    views = album(*(photo(k / 10, yaw) for k, yaw in enumerate(yaws)), photo(-1.0, 31.0, weight=2.0))
    assert views.weight.max() == 2
    assert torch.equal(views.front[:, 0], photo(0.0, 0.0).front[:, 0])
    assert (seen(views, 31.0) + 1).abs().max() < 0.01
    kept = torch.stack([seen(views, yaw).mean() for yaw in yaws if yaw != 30.0])
    assert torch.allclose(kept, torch.tensor([k / 10 for k in range(LIMIT) if k != 3]), atol=0.02)


def test_the_first_photo_stays_whatever_comes_near_it():
    views = album(photo(0.3, 0.0, weight=0.1), *(photo(-1.0, 1.0 + k, weight=1.0) for k in range(LIMIT + 3)))
    assert (views.front[0, 0, :3] == 0.3).all()


def test_a_jump_from_one_photo_to_another_is_spread_over_the_frames_of_the_crossfade():
    weights = torch.zeros(40, 2)
    weights[:20, 0] = weights[20:, 1] = 1
    faded = crossfaded(weights, 10)
    second = (faded / faded.sum(1, keepdim=True))[:, 1]
    assert (second.diff() >= -1e-6).all() and second[0] < 1e-3 and second[-1] > 0.999
    assert 8 <= ((second > 0.1) & (second < 0.9)).sum() <= 11
    assert torch.equal(faded.amax(1), torch.ones(40))


def test_without_a_crossfade_or_in_a_still_the_shares_stay():
    weights = torch.rand(5, 3)
    assert crossfaded(weights, 0) is weights
    assert crossfaded(weights[:1], 10).shape == (1, 3)
    assert torch.equal(crossfaded(weights[:1], 10), weights[:1])


def test_subjects_of_a_batch_drop_photos_of_their_own():
    def both(*pair):
        return SourceViews(*(torch.cat(x) for x in zip(*pair, strict=True)))

    views = album(*(both(photo(yaw=5.0 * k), photo(yaw=80.0 - 5.0 * k)) for k in range(LIMIT)))
    views = joined(views, both(photo(yaw=1.0, weight=0.5), photo(yaw=90.0, weight=0.5)))
    assert views.weight.shape == (2, LIMIT)
    assert views.weight.amin(1).tolist() == [1.0, 0.5]  # the second one's new pose is far from all it had


def test_a_photo_that_is_dropped_takes_along_all_that_belongs_to_it():
    views = album(*(photo(k / 10, 10.0 * k) for k in range(LIMIT)), photo(0.9, 31.0, weight=2.0))
    yaws = [10.0 * k for k in range(LIMIT) if k != 3] + [31.0]
    assert views.skin[0, :, 0, 0].tolist() == yaws
    torch.testing.assert_close(views.rotation[0], rotation_from_angles(torch.tensor(yaws)))
    torch.testing.assert_close(from_bytes(views.picture)[0, :, 0], views.front[0, :, 0], atol=0.01, rtol=0)


def test_bytes_hold_a_photo_to_half_a_level():
    line = torch.linspace(-1, 1, SIZE)
    views = photo(line, matte=0.3, inside=0.8)
    assert views.picture.dtype == torch.uint8
    limit = torch.tensor([1.0, 1, 1, 0.5, 0.5]).view(-1, 1, 1) / 255 + 1e-6
    expected = torch.cat([picture(3, line), picture(1, 0.3), picture(1, 0.8)], 1)
    assert ((from_bytes(views.picture)[:, 0] - expected).abs() <= limit).all()


@pytest.mark.parametrize(("size", "kept"), [(SIZE // 2, SIZE // 2), (4 * SIZE, SIZE)])
def test_a_photo_is_kept_no_finer_than_asked_for_and_never_than_it_is(size, kept):
    views = photo(0.5, size=size)
    assert views.picture.shape == (1, 1, 5, kept, kept)
    assert (from_bytes(views.picture)[:, 0, :3] - 0.5).abs().max() < 0.01


def test_of_a_photo_without_torso_pose_the_average_one_is_kept():
    assert torch.equal(photo().torso_pose, torch.zeros(1, 1, 12))
    assert torch.equal(photo(torso_pose=0.1).torso_pose, torch.full((1, 1, 12), 0.1))


def test_a_frame_is_as_far_from_its_photos_as_it_takes_of_them():
    views = album(photo(yaw=0.0), photo(yaw=40.0))
    rotation = rotation_from_angles(torch.tensor([10.0, 10.0, 10.0, 40.0]))
    blend = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    torch.testing.assert_close(angle_between(views, blend, rotation), torch.tensor([10.0, 30.0, 20.0, 0.0]))


def test_the_frame_that_is_made_of_the_most_photos_says_how_many_are_to_be_ready():
    assert num_blended(torch.tensor([[1.0, 0.001, 0.5], [1.0, 0.2, 0.3], [0.002, 1.0, 0.0]]), 0.01) == 3


CHANGED = {
    "sharpness": 100.0,
    "tail": 16.0,
    "posture_share": 0.1,
    "face": 0.2,
    "cell": 0.5,
    "cells": 300,
    "unlike": 0.01,
}


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_changes_how_photos_count(name):
    middle = torch.zeros(SIZE, SIZE)
    middle[4:12, 4:12] = 0.8
    rows = torch.full((SIZE, SIZE), -0.2)
    rows[::2] = 0.2

    def weights(settings):
        first, second = photo(0.0, 0.0, torso_pose=0.0), photo(rows + middle, 8.0, torso_pose=0.05)
        views = joined(first, weighed(first, second, settings))
        return view_weights(views, rotation_from_angles(5.0)[None], torch.full((1, 12), 0.02), settings)

    before, after = weights(SETTINGS), weights(SETTINGS._replace(**{name: CHANGED[name]}))
    assert (before - after).abs().max() > 1e-3 * before.min()


def test_photos_of_different_sizes_are_kept_as_fine_as_the_finest():
    coarse, fine = photo(-0.5, -20.0, size=SIZE // 2), photo(0.5, 20.0)
    for views in (album(coarse, fine), album(fine, coarse)):
        assert views.picture.shape[-1] == SIZE
    torch.testing.assert_close(album(coarse, fine).picture[:, 1], fine.picture[:, 0])
    assert (album(coarse, fine).picture[:, 0, 0] == coarse.picture[0, 0, 0, 0, 0]).all()
