"""The driven face window, the head's height field, and a turned head resampled into the frontal plane."""

import math

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.face.arkit import ARKIT_NAMES
from invertavatar.face.topology import LEFT_EYE_PATCH, MOUTH, RIGHT_EYE_PATCH
from invertavatar.rendering.head_shape import (
    EAR_PLANE,
    FaceWindow,
    canonicalize,
    driven_heights,
    face_window,
    head_solid,
    inflate,
    soften,
)
from invertavatar.rendering.rest_pose import CHIN, COLLAR
from tests.landmarks import driven_mean, mean_landmarks

WINDOW, SIZE = 0.65, 128


def mesh(head_model, **expression):
    """[1, V + E, 3] the mean face, closed."""
    scores = torch.zeros(1, 52)
    for name, score in expression.items():
        scores[0, ARKIT_NAMES.index(name)] = score
    return head_model.chart.close(driven_mean(head_model, scores), mean_landmarks(head_model))


@pytest.fixture(scope="module")
def window(head_model):
    return face_window(mesh(head_model), head_model.chart, WINDOW, SIZE)


def pixel(point, half=WINDOW, size=SIZE):
    """(row, column) of a head-space point in the window."""
    x, y, _ = point.tolist()
    return int((1 - y / half) / 2 * size), int((1 + x / half) / 2 * size)


def disc(radius, size=128):
    """[1, 1, size, size] signed distance to a circle in head units, positive inside."""
    right, up = pixel_centres(size)
    return (radius - torch.hypot(right, up))[None, None]


# The window


def test_the_window_shows_each_landmark_at_its_place_with_its_own_texture_coordinates_and_height(head_model, window):
    for landmark in (151, 50, 280, 152, 195, 4):
        row, column = pixel(mean_landmarks(head_model)[landmark] * 0.98)
        assert window.mask[0, 0, row, column] == 1
        assert (window.grid[0, row, column] - head_model.chart.uv[landmark]).abs().max() < 0.06
        height = mean_landmarks(head_model)[landmark, 2].item()
        assert window.height[0, 0, row, column] == pytest.approx(height, abs=0.05)


def test_the_patch_mask_marks_eyes_and_an_open_mouth(head_model):
    opened = face_window(mesh(head_model, jawOpen=1.0), head_model.chart, WINDOW, SIZE)
    for landmark in (468, 473):
        assert opened.patch[0, 0][pixel(mean_landmarks(head_model)[landmark])] == 1
    assert opened.patch[0, 0][pixel(mesh(head_model, jawOpen=1.0)[0, [13, 14]].mean(0))] == 1
    assert opened.patch[0, 0][pixel(mean_landmarks(head_model)[4])] == 0
    assert (opened.patch <= opened.mask).all()


def test_a_symmetrical_face_has_a_symmetrical_window(window):
    flipped = FaceWindow(window.grid.flip(2), *(m.flip(-1) for m in window[1:]))
    assert (window.mask != flipped.mask).float().mean() < 0.003
    assert (window.soft - flipped.soft).abs().mean() < 0.003
    assert ((window.height - flipped.height) * window.mask * flipped.mask).abs().mean() < 0.003


def test_the_window_is_not_used_at_the_edge_of_the_mesh_and_wholly_used_in_the_middle_of_the_face(head_model, window):
    edge = window.mask - -F.max_pool2d(-window.mask, 3, 1, 1)
    assert edge.sum() > 100
    assert window.soft[edge == 1].max() < 0.3
    assert window.soft[window.mask == 0].max() == 0
    for landmark in (4, 50, 280, 14, 9, 468, 473):
        assert window.soft[0, 0][pixel(mean_landmarks(head_model)[landmark])] == 1


def test_a_mesh_beyond_the_window_leaves_the_window_as_it_is(head_model):
    near = mesh(head_model)
    far = near.clone()
    outside = near[..., :2].abs().amax(-1) > WINDOW * 0.75
    triangles = head_model.chart.triangles
    # Only vertices all of whose triangles lie beyond a small window.
    beyond = outside[0, triangles].all(1)
    held = torch.zeros(len(outside[0]), dtype=torch.bool)
    held[triangles[~beyond].flatten()] = True
    free = outside[0] & ~held
    assert free.sum() > 5
    far[:, free] *= 1.3
    small = WINDOW * 0.6
    for one, other in zip(
        face_window(near, head_model.chart, small, 64), face_window(far, head_model.chart, small, 64), strict=True
    ):
        assert torch.equal(one, other)


def test_meshes_of_a_batch_are_drawn_independently(head_model):
    both = torch.cat([mesh(head_model), mesh(head_model, jawOpen=1.0)])
    together = face_window(both, head_model.chart, WINDOW, 64)
    for k in range(2):
        for alone, batched in zip(face_window(both[k : k + 1], head_model.chart, WINDOW, 64), together, strict=True):
            torch.testing.assert_close(alone, batched[k : k + 1])


def test_softening_keeps_the_inside_of_a_mask_and_spreads_nothing_beyond_it():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    soft = soften(mask)
    assert soft[mask == 0].max() == 0
    assert soft[..., 24:40, 24:40].min() == 1
    profile = soft[0, 0, 32, 16:33]
    assert (profile.diff() >= 0).all() and profile[0] < 0.4
    large = F.interpolate(mask, scale_factor=8.0)
    torch.testing.assert_close(F.avg_pool2d(soften(large), 8), soft, atol=0.12, rtol=0)


# Heights


def test_driven_heights_are_the_face_s_where_the_window_is_used_and_the_template_s_elsewhere(head_model, window):
    heights = driven_heights(head_model.chart.head_height, window, WINDOW)
    nose = mean_landmarks(head_model)[4]
    assert heights[0, 0][pixel(nose, 1.0)] == pytest.approx(nose[2].item(), abs=0.05)
    right, up = pixel_centres(128)
    outside = torch.maximum(right.abs(), up.abs()) > WINDOW + 0.02
    assert torch.equal(heights[0, 0][outside], head_model.chart.head_height[0, 0][outside])


def test_opening_the_jaw_moves_the_heights_of_the_chin_and_not_those_of_the_forehead(head_model, window):
    opened = face_window(mesh(head_model, jawOpen=1.0), head_model.chart, WINDOW, SIZE)
    template = head_model.chart.head_height
    change = (driven_heights(template, opened, WINDOW) - driven_heights(template, window, WINDOW))[0, 0].abs()
    assert change[pixel(mean_landmarks(head_model)[17], 1.0)] > 0.02
    assert change[:58].max() < 0.5 * change.max()
    assert change[pixel(mean_landmarks(head_model)[9], 1.0)] < 0.02


def test_heights_that_a_network_has_refined_replace_those_of_the_mesh(head_model, window):
    raised = driven_heights(head_model.chart.head_height, window, WINDOW, window.height + 0.1)
    plain = driven_heights(head_model.chart.head_height, window, WINDOW)
    right, up = pixel_centres(128)
    grid = torch.stack([right, -up], -1)[None] / WINDOW
    share = F.grid_sample(window.soft, grid, align_corners=False)
    torch.testing.assert_close(raised - plain, 0.1 * share, atol=1e-5, rtol=0)


# The solid


def test_a_head_is_flat_at_its_silhouette_and_round_deep_inside():
    roundness = inflate(disc(0.8) * 100)[0, 0]
    right, up = pixel_centres(128)
    radius = torch.hypot(right, up)
    assert roundness[radius > 0.83].max() < 0.25
    assert roundness[radius < 0.5].min() > 0.85 and roundness[radius < 0.35].min() > 0.95
    assert roundness[radius > 1.1].max() <= 0.0101  # its floor
    row = roundness[64, 64:115]  # from the middle out
    assert (row.diff() <= 1e-4).all()


def test_at_a_straight_silhouette_the_head_begins_at_the_ear_plane():
    right, _ = pixel_centres(128)
    roundness = inflate((-right * 100).expand(1, 1, -1, -1))[0, 0]
    assert roundness[64, 63] < 0.3 and roundness[64, 65] < 0.05


def test_the_back_of_the_head_lies_behind_its_front_everywhere(head_model, window):
    heights = driven_heights(head_model.chart.head_height, window, WINDOW)
    front, back = head_solid(heights, window, inflate(disc(0.8) * 50), WINDOW)
    assert (front - back).min() > 0.099
    assert back[0, 0, 64, 64] < -0.55


def test_rounding_leaves_the_face_as_it_is_and_brings_the_silhouette_to_the_ear_plane(head_model, window):
    heights = driven_heights(head_model.chart.head_height, window, WINDOW)
    silhouette = disc(0.8) * 100
    front, _ = head_solid(heights, window, inflate(silhouette), WINDOW)
    for landmark in (4, 50, 280, 9):
        at = (0, 0, *pixel(mean_landmarks(head_model)[landmark], 1.0))
        assert front[at] == pytest.approx(heights[at].item(), abs=1e-4)
    right, up = pixel_centres(128)
    outside = (torch.hypot(right, up) > 0.95)[None, None]
    assert (front[outside] - EAR_PLANE).abs().max() < 0.05


def test_relief_lifts_the_head_outside_of_the_face_and_leaves_the_face_alone(head_model, window):
    heights, roundness = driven_heights(head_model.chart.head_height, window, WINDOW), inflate(disc(0.8) * 100)
    flat, _ = head_solid(heights, window, roundness, WINDOW)
    lifted, back = head_solid(heights, window, roundness, WINDOW, torch.full_like(heights, 0.2))
    nose, hair = (pixel(mean_landmarks(head_model)[4], 1.0), pixel(torch.tensor([0.0, 0.7, 0.0]), 1.0))
    assert (lifted - flat)[0, 0][nose] == pytest.approx(0.0, abs=1e-4)
    assert (lifted - flat)[0, 0][hair] == pytest.approx(0.2, abs=1e-4)
    assert (lifted - back).min() > 0.099


# Canonicalization


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
    outside = (right * 0.766 + 0.8 * 0.643 > 1.02) & (up > CHIN)  # below, the body faces the viewer
    assert outside.sum() > 300
    assert inside[0, 0][outside].max() == 0 and facing[0, 0][outside].max() == 0
    assert inside[0, 0, 32, 20] == 1
    assert inside[0, 0][(up < COLLAR) & (right.abs() < 0.8)].min() == 1


def test_patches_named_in_the_topology_are_what_the_window_calls_patches(head_model, window):
    triangle_kinds = {LEFT_EYE_PATCH, RIGHT_EYE_PATCH, MOUTH}
    uv = window.grid[0][window.patch[0, 0] == 1]
    charts = torch.stack(
        [
            head_model.chart.uv[head_model.chart.triangles[head_model.chart.triangle_region == k]].mean((0, 1))
            for k in sorted(triangle_kinds)
        ]
    )
    assert torch.cdist(uv, charts).amin(1).max() < 0.25
