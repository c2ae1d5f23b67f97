"""Pictures to the UV map and back: what a photo shows of a face, and what it hides."""

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres, project, rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.landmark_topology import INNER_LIPS, LEFT_EYE_PATCH, MOUTH, RIGHT_EYE_PATCH, SKIN
from invertavatar.raster.rasterizer import interpolate, rasterize
from invertavatar.rendering.uv import (
    extend_border,
    fill_unseen,
    layered,
    mirror_texture,
    unproject,
    uv_atlas,
    vertex_facing,
)
from tests.landmarks import driven_mean, mean_landmarks

SIZE = 256
CENTRAL = 4  # landmark at the tip of the nose
RIGHT_CHEEK, LEFT_CHEEK = 50, 280


@pytest.fixture(scope="module")
def atlas(head_model):
    return uv_atlas(head_model.chart, 128)


def driven(head_model, **expression):
    """[1, V, 3] landmarks of the mean face."""
    scores = torch.zeros(1, 52)
    for name, score in expression.items():
        scores[0, ARKIT_NAMES.index(name)] = score
    return driven_mean(head_model, scores)


def colours_of(points):
    """[..., 3] in -1..1: a known, smooth function of head position."""
    return torch.sin(points * torch.tensor([4.0, 5.0, 3.0]) + torch.tensor([0.3, -0.5, 1.0]))


def photograph(head_model, vertices, rotation):
    """The mesh painted with `colours_of`, [B, 3, SIZE, SIZE], and the closed mesh."""
    closed = head_model.chart.closed_vertices(vertices, mean_landmarks(head_model))
    drawn = rasterize(layered(project(closed, rotation), head_model.chart), head_model.chart.triangles, SIZE)
    points = interpolate(closed, drawn, head_model.chart.triangles).permute(0, 2, 3, 1)
    return (colours_of(points) * drawn.mask[..., None]).permute(0, 3, 1, 2), closed


def seen_from(head_model, atlas, yaw=0.0, pitch=0.0, picture=None, valid=None, **expression):
    """Colours and visibility of the painted mean face at a pose."""
    vertices, rotation = driven(head_model, **expression), rotation_from_angles(yaw, pitch)[None]
    painted, closed = photograph(head_model, vertices, rotation)
    valid = torch.ones(1, 1, SIZE, SIZE) if valid is None else valid
    picture = painted if picture is None else picture
    return unproject(picture, valid, closed, rotation, head_model.chart.openness(vertices), atlas, head_model.chart)


def texel(head_model, landmark, size=128):
    """(row, column) of a landmark in the map."""
    u, v = head_model.chart.uv[landmark].tolist()
    return int((v + 1) / 2 * size), int((u + 1) / 2 * size)


# The atlas


def test_the_atlas_names_the_region_of_each_texel_and_minus_one_between_charts(head_model, atlas):
    assert set(atlas.region.unique().tolist()) == {-1, SKIN, MOUTH, RIGHT_EYE_PATCH, LEFT_EYE_PATCH}
    assert torch.equal(atlas.region >= 0, atlas.mask[:, 0] == 1)
    assert atlas.region[0][texel(head_model, CENTRAL)] == SKIN
    assert atlas.region[0, :40, 100:].max() == LEFT_EYE_PATCH  # top right of the map: the person's own left eye


def test_v_runs_down_so_the_forehead_is_above_the_chin_in_the_map(head_model):
    assert texel(head_model, 10)[0] < texel(head_model, CENTRAL)[0] < texel(head_model, 152)[0]
    assert texel(head_model, RIGHT_CHEEK)[1] < texel(head_model, LEFT_CHEEK)[1]


def test_each_texel_s_weights_give_back_its_own_place_in_the_map(head_model, atlas):
    place = interpolate(head_model.chart.uv, atlas.fragments, head_model.chart.triangles)[0]  # [2, h, w]
    line = (torch.arange(128) + 0.5) / 64 - 1
    v, u = torch.meshgrid(line, line, indexing="ij")
    error = (place - torch.stack([u, v])).abs() * atlas.mask[0]
    assert error.max() < 2e-3


# The mirrored texture


def test_a_texture_mirrored_twice_is_the_texture(atlas):
    line = torch.linspace(-2, 2, 128)
    texture = torch.sin(line[:, None] * 2 + line * 1.5)[None, None]
    twice = mirror_texture(mirror_texture(texture * atlas.mask, atlas), atlas)
    inner = -F.max_pool2d(-atlas.mask, 5, 1, 2)  # away from the charts' borders, which blend with the void
    assert inner.sum() > 0.5 * atlas.mask.sum()
    assert ((twice - texture) * inner).abs().max() < 0.05


def test_the_mirrored_texture_shows_the_other_cheek(head_model, atlas):
    texture = torch.zeros(1, 1, 128, 128)
    row, column = texel(head_model, RIGHT_CHEEK)
    texture[0, 0, row - 4 : row + 5, column - 4 : column + 5] = 1
    mirrored = mirror_texture(texture, atlas)[0, 0]
    assert mirrored[texel(head_model, LEFT_CHEEK)] > 0.95
    assert mirrored[row, column] < 0.05


def test_the_mirrored_eye_chart_is_that_of_the_other_eye(atlas):
    texture = (atlas.region == RIGHT_EYE_PATCH)[:, None].float()
    mirrored = mirror_texture(texture, atlas)[0, 0]
    assert mirrored[atlas.region[0] == LEFT_EYE_PATCH].mean() > 0.9
    assert mirrored[(atlas.region[0] != LEFT_EYE_PATCH)].max() < 0.05


# Facing


def test_facing_is_the_cosine_between_the_skin_s_normal_and_the_view(head_model):
    closed = head_model.chart.closed_vertices(mean_landmarks(head_model)[None], mean_landmarks(head_model))
    turned = rotation_from_angles(40.0)[None]
    front, side = (vertex_facing(closed, r, head_model.chart)[0] for r in (torch.eye(3)[None], turned))
    assert front[:468].abs().max() <= 1 + 1e-5
    assert front[[151, 195]].min() > 0.7  # forehead and bridge of the nose look at the viewer
    # The face turns to the image's right: its right cheek (the image's left) comes to the front.
    assert side[RIGHT_CHEEK] > front[RIGHT_CHEEK] and side[LEFT_CHEEK] < front[LEFT_CHEEK]
    torch.testing.assert_close(side[478:], torch.full((95,), turned[0, 2, 2].item()))


# Unprojection


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (35.0, 0.0), (-35.0, 10.0), (10.0, -20.0)])
def test_where_a_texel_is_seen_it_has_the_colour_of_its_point_on_the_face(head_model, atlas, yaw, pitch):
    colour, visibility = seen_from(head_model, atlas, yaw, pitch)
    closed = head_model.chart.closed_vertices(driven(head_model), mean_landmarks(head_model))
    truth = colours_of(interpolate(closed, atlas.fragments, head_model.chart.triangles).permute(0, 2, 3, 1))
    error = (colour - truth.permute(0, 3, 1, 2)).abs().amax(1)
    seen = (visibility[:, 0] > 0.3) & (atlas.region == SKIN)
    assert seen.sum() > 0.3 * (atlas.region == SKIN).sum()
    # At the silhouette a pixel is half background.
    assert error[seen].mean() < 0.01 and error[seen].quantile(0.98) < 0.05


def test_a_cheek_that_is_turned_away_is_not_seen_and_the_other_one_is(head_model, atlas):
    _, right = seen_from(head_model, atlas, yaw=60.0)
    assert right[0, 0][texel(head_model, LEFT_CHEEK)] < 0.05
    assert right[0, 0][texel(head_model, RIGHT_CHEEK)] > 0.5
    _, left = seen_from(head_model, atlas, yaw=-60.0)
    assert left[0, 0][texel(head_model, RIGHT_CHEEK)] < 0.05
    assert left[0, 0][texel(head_model, LEFT_CHEEK)] > 0.5


def test_the_nose_hides_the_cheek_behind_it_though_that_faces_the_viewer(head_model, atlas):
    chart, turned = head_model.chart, rotation_from_angles(50.0)[None]
    closed = chart.closed_vertices(driven(head_model), mean_landmarks(head_model))
    _, visibility = seen_from(head_model, atlas, yaw=50.0)
    facing = interpolate(vertex_facing(closed, turned, chart)[..., None], atlas.fragments, chart.triangles)
    hidden = (facing > 0.3) & (visibility < 0.05) & (atlas.region == SKIN)[:, None]
    assert hidden.sum() > 20
    columns = hidden[0, 0].nonzero()[:, 1].float()
    assert (columns > 64).float().mean() > 0.9  # beyond the nose, on the image's right


def test_looked_at_from_the_back_nothing_is_seen(head_model, atlas):
    _, visibility = seen_from(head_model, atlas, yaw=180.0)
    assert visibility[:, :, atlas.region[0] == SKIN].max() < 0.05


def test_lips_that_meet_show_no_teeth_and_an_open_mouth_does(head_model, atlas):
    shut = driven(head_model)
    for upper, lower in zip(INNER_LIPS[1:10], INNER_LIPS[:10:-1], strict=True):
        shut[:, lower] = shut[:, upper]
    painted, closed = photograph(head_model, shut, torch.eye(3)[None])
    valid = torch.ones(1, 1, SIZE, SIZE)
    openness = head_model.chart.openness(shut)
    _, closed_mouth = unproject(painted, valid, closed, torch.eye(3)[None], openness, atlas, head_model.chart)
    teeth = atlas.region[0] == MOUTH
    assert closed_mouth[0, 0][teeth].max() == 0
    _, open_mouth = seen_from(head_model, atlas, jawOpen=1.0)
    assert (open_mouth[0, 0][teeth] > 0.5).float().mean() > 0.15


def test_an_open_eye_shows_its_iris_and_a_blink_takes_part_of_it_away(head_model, atlas):
    _, opened = seen_from(head_model, atlas)
    _, shut = seen_from(head_model, atlas, eyeBlinkLeft=1.0)
    left, right = atlas.region[0] == LEFT_EYE_PATCH, atlas.region[0] == RIGHT_EYE_PATCH
    assert opened[0, 0, 13, 114] > 0.8  # centre of the left eye's chart, at (0.79, -0.79)
    assert shut[0, 0][left].sum() < 0.5 * opened[0, 0][left].sum()
    # A few texels at the lids flip: the left eye's axis tails off smoothly over the nose.
    assert (shut[0, 0][right] - opened[0, 0][right]).abs().mean() < 0.03


def test_pixels_that_do_not_belong_to_the_person_are_not_seen(head_model, atlas):
    valid = torch.ones(1, 1, SIZE, SIZE)
    valid[..., : SIZE // 2] = 0  # the left half of the picture: the person's own right
    _, visibility = seen_from(head_model, atlas, valid=valid)
    assert visibility[0, 0][texel(head_model, RIGHT_CHEEK)] == 0
    assert visibility[0, 0][texel(head_model, LEFT_CHEEK)] > 0.3


def test_what_lies_outside_of_the_picture_is_not_seen(head_model, atlas):
    grown = 2.2 * driven(head_model)  # the cheeks and the chin leave the picture
    closed, rotation = head_model.chart.closed_vertices(grown, 2.2 * mean_landmarks(head_model)), torch.eye(3)[None]
    picture, valid = torch.zeros(1, 3, SIZE, SIZE), torch.ones(1, 1, SIZE, SIZE)
    openness = head_model.chart.openness(grown)
    _, visibility = unproject(picture, valid, closed, rotation, openness, atlas, head_model.chart)
    place = interpolate(project(closed, rotation), atlas.fragments, head_model.chart.triangles)[:, :2]
    outside = (place.abs().amax(1) > 1.01) & (atlas.region >= 0)
    assert outside.sum() > 500
    assert visibility[:, 0][outside].max() == 0
    assert visibility[0, 0][texel(head_model, 195)] > 0.5


def test_faces_of_a_batch_are_carried_over_independently(head_model, atlas):
    vertices = torch.cat([driven(head_model), driven(head_model, jawOpen=1.0)])
    rotation = rotation_from_angles(torch.tensor([20.0, -20.0]))
    picture, closed = photograph(head_model, vertices, rotation)
    valid, openness = torch.ones(2, 1, SIZE, SIZE), head_model.chart.openness(vertices)
    together = unproject(picture, valid, closed, rotation, openness, atlas, head_model.chart)
    for k in range(2):
        one = (x[k : k + 1] for x in (picture, valid, closed, rotation, openness))
        for alone, batched in zip(unproject(*one, atlas, head_model.chart), together, strict=True):
            torch.testing.assert_close(alone, batched[k : k + 1], atol=1e-5, rtol=0)


# Filling


def test_filling_keeps_the_texels_that_were_seen_and_gives_the_others_the_constant_of_a_constant():
    generator = torch.Generator().manual_seed(0)
    weight = (torch.rand(1, 1, 64, 64, generator=generator) > 0.98).float()
    weight[..., :32, :32] = 0  # a quarter without any
    noise = torch.rand(1, 3, 64, 64, generator=generator)
    seen = weight.expand_as(noise) > 0
    assert torch.equal(fill_unseen(noise, weight)[seen], noise[seen])
    constant = torch.where(seen, 0.7, noise)
    torch.testing.assert_close(fill_unseen(constant, weight), torch.full_like(noise, 0.7))


@pytest.mark.parametrize("size", [128, 101, 300])
def test_one_seen_texel_colours_the_whole_map(size):
    colour, weight = torch.zeros(1, 1, size, size), torch.zeros(1, 1, size, size)
    colour[..., 3, 100], weight[..., 3, 100] = 0.4, 1e-3
    torch.testing.assert_close(fill_unseen(colour, weight), torch.full((1, 1, size, size), 0.4))


def test_an_unseen_texel_takes_the_colour_of_its_nearest_surroundings():
    colour, weight = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    colour[..., 32:] = 1
    weight[..., 30:34, 4:8] = weight[..., 30:34, 52:56] = 0  # a hole on the black and one on the white side
    filled = fill_unseen(colour, weight)
    torch.testing.assert_close(filled[..., 30:34, 4:8], torch.zeros(1, 1, 4, 4))
    torch.testing.assert_close(filled[..., 30:34, 52:56], torch.ones(1, 1, 4, 4))


def test_a_map_of_which_nothing_was_seen_is_filled_with_zero():
    assert fill_unseen(torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)).abs().max() == 0


@pytest.mark.parametrize("size", [64, 75, 200])
def test_a_map_of_any_size_goes_on_beyond_its_mask(size):
    right, up = pixel_centres(size)
    mask = (right < 0).float()[None, None]
    inside = mask[0, 0] > 0
    whole = extend_border(torch.where(mask > 0, torch.stack([up, torch.full_like(up, 0.4)]), 9.0), mask, 64)[0]
    assert torch.equal(whole[0, inside], up[inside])
    torch.testing.assert_close(whole[1], torch.full_like(up, 0.4))
    beside = ~inside & (right < 4 / size)
    assert torch.corrcoef(torch.stack([whole[0, beside], up[beside]]))[0, 1] > 0.95 and whole[0].abs().max() < 1
