"""The photos in the frontal plane: which of them a frame is made of, and how many are kept."""

import pytest
import torch

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.rendering.frontal_views import (
    LIMIT,
    FrontalViews,
    blended,
    continued,
    crossfaded,
    from_bytes,
    frontal_view,
    hair_colour,
    joined,
    nearness,
    sampled,
    weighed,
)
from invertavatar.rendering.head_shape import inflate, silhouette_logit
from invertavatar.rendering.observation import PhotoMaps

SIZE = 16


def photo(colour=0.0, yaw=0.0, matte=1.0, inside=1.0, weight=1.0, even=False, posture=None) -> FrontalViews:
    """A photo of one colour from one side."""

    def picture(channels, value):
        return torch.as_tensor(value, dtype=torch.float32).expand(1, channels, SIZE, SIZE)

    face = picture(3, colour), picture(1, 1.0)
    plane = picture(3, colour), picture(1, matte), picture(1, inside), picture(1, inside)
    maps = PhotoMaps(*face, *plane, rotation_from_angles(yaw)[None], picture(1, 0.0))
    posture = None if posture is None else torch.full((1, 12), posture)
    return frontal_view(maps, maps, posture, torch.tensor([weight]), even)


def album(*photos: FrontalViews) -> FrontalViews:
    views = None
    for view in photos:
        views = joined(views, view)
    return views


def seen(views: FrontalViews, yaw: float):
    return blended(views.coarse, nearness(views, rotation_from_angles(yaw)[None]))


def test_a_frame_in_the_pose_of_a_photo_is_that_photo():
    views = album(photo(-0.6, -20.0), photo(0.1, 0.0), photo(0.7, 20.0))
    for yaw, colour in ((-20.0, -0.6), (0.0, 0.1), (20.0, 0.7)):
        assert (seen(views, yaw)[0] - colour).abs().max() < 0.01


def test_of_two_photos_in_a_pose_the_one_in_the_frame_s_posture_counts():
    views, frontal = album(photo(posture=-0.03), photo(posture=0.03), photo(yaw=25.0, posture=0.03)), torch.eye(3)[None]
    share = nearness(views, frontal, torch.full((1, 12), 0.03))[0]
    assert share[1] == 1 and share[0] < 0.05 and share[2] < 0.01  # a turn still counts for more
    torch.testing.assert_close(nearness(views, frontal)[0, :2], torch.ones(2))


def test_photos_that_count_alike_do_so_in_any_posture():
    views = album(photo(even=True, posture=0.05), photo(even=True, posture=-0.05))
    torch.testing.assert_close(nearness(views, torch.eye(3)[None], torch.full((1, 12), 0.05)), torch.ones(1, 2))


def test_half_way_between_two_photos_both_count_alike_and_the_change_is_gradual():
    views = album(photo(-1.0, -10.0), photo(1.0, 10.0))
    colours = torch.stack([seen(views, yaw)[0].mean() for yaw in (-10.0, -4.0, -1.0, 0.0, 1.0, 4.0, 10.0)])
    assert colours[3].abs() < 1e-4
    assert (colours.diff() > 0).all()
    assert 0.2 < colours[4] < 0.9  # no jump within two degrees


def test_the_sharper_of_two_photos_in_one_pose_counts_more():
    views = album(photo(-1.0, 5.0, weight=0.1), photo(1.0, 5.0, weight=0.9))
    assert seen(views, 5.0)[0].mean() > 0.7


@pytest.mark.parametrize("yaw", [0.0, 60.0, 90.0])
def test_a_photo_that_is_alone_counts_fully_however_far_it_is_turned(yaw):
    colour, matte = seen(album(photo(0.8, yaw)), 0.0)
    assert (colour - 0.8).abs().max() < 1e-4
    assert (matte - 1).abs().max() < 1e-5


def test_photos_that_shall_count_alike_do_so_in_every_pose():
    views = album(photo(-1.0, -30.0, even=True), photo(0.5, 30.0, even=True))
    for yaw in (-30.0, 0.0, 30.0):
        assert (seen(views, yaw)[0] + 0.25).abs().max() < 1e-4


def test_what_the_nearest_photo_has_no_pixels_for_comes_from_another_near_one():
    lower = torch.ones(SIZE, SIZE)
    lower[: SIZE // 2] = 0
    views = album(photo(-1.0, 0.0, inside=lower), photo(1.0, 4.0))
    colour, _ = seen(views, 0.5)
    assert colour[0, 0, : SIZE // 2 - 1].min() > 0.8
    assert colour[0, 0, SIZE // 2 + 1 :].max() < -0.8


def test_where_only_a_far_photo_has_pixels_its_matte_counts_little():
    left = torch.ones(SIZE, SIZE)
    left[:, SIZE // 2 :] = 0
    _, matte = seen(album(photo(inside=left), photo(yaw=45.0)), 0.0)
    assert matte[..., : SIZE // 2].min() > 0.99
    assert matte[..., SIZE // 2 :].max() < 0.01


def test_background_colours_do_not_enter_and_the_matte_is_the_weighted_share_of_person():
    views = album(photo(0.8, even=True), photo(-1.0, matte=0.0, even=True))
    colour, matte = seen(views, 0.0)
    assert (colour - 0.8).abs().max() < 0.01
    assert (matte - 0.5).abs().max() < 0.02


def test_a_photo_in_other_clothes_stays_out_even_in_its_own_pose_and_one_in_a_little_other_light_does_not():
    first = photo(-0.5)
    dressed, lit = weighed(first, photo(0.5, 20.0)), weighed(first, photo(-0.38, 20.0))
    assert (seen(joined(first, dressed), 20.0)[0] + 0.5).abs().max() < 0.01
    assert (seen(joined(first, lit), 20.0)[0] + 0.38).abs().max() < 0.01


def test_photos_that_share_too_little_to_be_compared_count_as_alike():
    top = torch.zeros(SIZE, SIZE)
    top[0] = 1
    assert weighed(photo(-0.5, inside=top), photo(0.5, inside=top.flip(0))).weight == 1


def test_more_photos_than_the_limit_give_up_the_lighter_of_the_two_nearest_poses():
    yaws = [10.0 * k for k in range(LIMIT)]
    views = album(*(photo(k / 10, yaw) for k, yaw in enumerate(yaws)), photo(-1.0, 31.0, weight=0.5))
    assert views.weight.shape == (1, LIMIT) and views.weight.min() == 1  # the new one is lighter than that of 30
    views = album(*(photo(k / 10, yaw) for k, yaw in enumerate(yaws)), photo(-1.0, 31.0, weight=2.0))
    assert views.weight.max() == 2
    assert torch.equal(views.coarse[:, 0], photo(0.0, 0.0).coarse[:, 0])
    assert (seen(views, 31.0)[0] + 1).abs().max() < 0.01
    kept = torch.stack([seen(views, yaw)[0].mean() for yaw in yaws if yaw != 30.0])
    assert torch.allclose(kept, torch.tensor([k / 10 for k in range(LIMIT) if k != 3]), atol=0.02)


def test_the_first_photo_stays_whatever_comes_near_it():
    views = album(photo(0.3, 0.0, weight=0.1), *(photo(-1.0, 1.0 + k, weight=1.0) for k in range(LIMIT + 3)))
    assert (views.coarse[0, 0, :3] == 0.3).all()


def test_a_jump_from_one_photo_to_another_is_spread_over_the_frames_of_the_crossfade():
    share = torch.zeros(40, 2)
    share[:20, 0] = share[20:, 1] = 1
    faded = crossfaded(share, 10)
    second = (faded / faded.sum(1, keepdim=True))[:, 1]
    assert (second.diff() >= -1e-6).all() and second[0] < 1e-3 and second[-1] > 0.999
    assert 8 <= ((second > 0.1) & (second < 0.9)).sum() <= 11
    assert torch.equal(faded.amax(1), torch.ones(40))


def test_without_a_crossfade_or_in_a_still_the_shares_stay():
    share = torch.rand(5, 3)
    assert crossfaded(share, 0) is share
    assert crossfaded(share[:1], 10).shape == (1, 3)
    assert torch.equal(crossfaded(share[:1], 10), share[:1])


def test_people_of_a_batch_drop_photos_of_their_own():
    def both(*pair):
        return FrontalViews(*(torch.cat(x) for x in zip(*pair, strict=True)))

    views = album(*(both(photo(yaw=5.0 * k), photo(yaw=80.0 - 5.0 * k)) for k in range(LIMIT)))
    views = joined(views, both(photo(yaw=1.0, weight=0.5), photo(yaw=90.0, weight=0.5)))
    assert views.weight.shape == (2, LIMIT)
    assert views.weight.amin(1).tolist() == [1.0, 0.5]  # the second one's new pose is far from all it had


def test_bytes_hold_a_photo_to_half_a_level():
    views = photo(torch.linspace(-1, 1, SIZE), matte=0.3)
    assert views.fine.dtype == torch.uint8
    limit = torch.tensor([1.0, 1, 1, 0.5, 0.5]).view(-1, 1, 1) / 255 + 1e-6
    assert ((from_bytes(views.fine) - views.coarse).abs() <= limit).all()


def test_places_are_looked_up_in_the_photos_that_count_alone():
    column = torch.linspace(-1, 1, SIZE)
    views = album(photo(column, 0.0), photo(9.0, 40.0))
    grid = torch.tensor([[0.5, 0.0], [-0.25, 0.5]]).view(1, 1, 2, 2)
    share = nearness(views, rotation_from_angles(torch.tensor([0.0, 1.0])))
    colour = sampled(views.coarse, grid.expand(2, SIZE, -1, -1), share)
    assert colour.shape == (2, 3, SIZE, 2)
    assert torch.allclose(colour[:, 0, 5], torch.tensor([0.5, -0.25]).expand(2, -1) * SIZE / (SIZE - 1), atol=0.02)


@pytest.mark.parametrize("hair", [-0.9, 0.3])  # dark, or none: the skin's own colour
def test_the_back_of_the_head_has_the_colour_of_the_hair_above_it_and_not_of_face_or_ears(hair):
    right, up = pixel_centres(128)
    matte = (torch.hypot(right, up) < 0.7).float()[None, None]
    colour = torch.where(torch.hypot(right, up) > 0.55, hair, 0.3).expand(1, 3, -1, -1).clone()
    colour[..., 50:80, :] = torch.where(right[50:80].abs() > 0.5, 0.9, 0.3)  # ears
    found = hair_colour(colour, matte, inflate(silhouette_logit(matte)))
    inside = matte.expand(1, 3, -1, -1) == 1
    torch.testing.assert_close(found[inside], torch.full_like(found[inside], hair), atol=0.05, rtol=0)


def test_below_a_photo_s_lower_edge_the_body_goes_straight_on_and_counts_little():
    inside = torch.ones(1, 1, SIZE, SIZE)
    inside[:, :, 13:] = 0
    matte = torch.zeros(1, 1, SIZE, SIZE)
    matte[:, :, :, 4:12] = inside[:, :, :, 4:12]
    colour = torch.full((1, 3, SIZE, SIZE), 0.5)
    picture = continued(torch.cat([colour, matte, inside], 1))
    below = picture[0, :, 13:]
    assert (below[3, :, 4:12] == 1).all() and (below[3, :, :4] == 0).all()
    torch.testing.assert_close(below[:3], torch.full_like(below[:3], 0.5))
    assert (below[4] < 0.5).all()
    assert ((below[4] > 0) == (below[3] > 0)).all()  # beside the body nothing is known
    assert torch.equal(picture[:, :, :13], torch.cat([colour, matte, inside], 1)[:, :, :13])


def test_stripes_at_a_photo_s_lower_edge_fade_below_it():
    inside = torch.ones(1, 1, 256, 256)
    inside[:, :, 200:] = 0
    colour = torch.linspace(-1, 1, 256).repeat(1, 3, 256, 1)
    colour[..., ::2] -= 0.5
    picture = continued(torch.cat([colour, inside, inside], 1))[0, 0]
    stripes = (picture[:, 1:] - picture[:, :-1]).abs()[:, 32:-32].mean(1)
    assert stripes[200] > 0.9 * stripes[199] and stripes[-1] < 0.1 * stripes[199]
    assert picture[-1, 192] > picture[-1, 64] + 0.5  # what is wide stays


def test_a_photo_that_ends_at_the_face_is_not_continued():
    inside = torch.ones(1, 1, SIZE, SIZE)
    inside[:, :, 8:] = 0
    picture = torch.cat([torch.zeros(1, 3, SIZE, SIZE), inside, inside], 1)
    assert torch.equal(continued(picture), picture)
