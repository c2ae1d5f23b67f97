"""Features of a known surface, and volume rendering against cases that have an exact answer."""

import math

import pytest
import torch

from invertavatar.camera import Camera, pixel_centres, rotation_from_angles
from invertavatar.head.rest_pose import to_rest_pose
from invertavatar.rendering.surface import GROUPS, HeadSurface
from invertavatar.rendering.volume_renderer import OPTICAL_DEPTH, Planes, VolumeRenderer, importance, march

CHANNELS, FEATURES, SIZE = 4, 5, 16
BEHIND = (-0.3, -0.5)
FRONTAL = Camera(torch.eye(3)[None])


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def renderer(coarse=48, fine=0, gain=0.0, window=0.5):
    """With gain 0 the planes are what is drawn: three channels of colours, and the fourth is the logit of density."""
    made = VolumeRenderer(CHANNELS, FEATURES, 8, window, coarse, fine, BEHIND, (0.15, 0.4), output_gain=gain).eval()
    if not gain:
        first, _, last = made.decoder
        with torch.no_grad():
            first.weight.zero_()
            first.bias.zero_()
            first.weight[:2, 3] = last.weight[0, :2] = torch.tensor([1.0, -1.0])  # SiLU(x) - SiLU(-x) = x
    return made


def slab(front=0.2, back=-0.6, colour=(0.2, -0.3, 0.6), silhouette=0.0, size=128):
    """Dense from front to back, where `silhouette`, which is a number or a picture [size, size], does not forbid it."""
    static = torch.zeros(1, 3, CHANNELS, size, size)
    static[:, 0, :3] = torch.tensor(colour)[:, None, None]
    static[:, 0, 3] = silhouette
    _, z = pixel_centres(size)  # the planes (x, z) and (z, y) have z where a picture has up and right
    static[:, 1, 3] = torch.where((z < front) & (z > back), 60.0, -60.0)
    return Planes(static.flatten(1, 2))


# Marching


def test_the_weights_of_a_ray_are_transmittance_times_absorption_multiplied_out():
    t = torch.tensor([0.9, 0.5, 0.3, -0.1, -0.8])
    logit = torch.tensor([-3.0, 0.5, -1.0, 2.0, 0.0])
    steps = [0.4, 0.2, 0.4, 0.7, 0.1]  # the last sample stands for 0.1 head units
    expected, passed = [], 1.0
    for density, step in zip(torch.nn.functional.softplus(logit).tolist(), steps, strict=True):
        kept = math.exp(-density * step * OPTICAL_DEPTH)
        expected.append(passed * (1 - kept))
        passed *= kept
    assert march(logit[None, None], t[None, None])[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_weights_of_a_ray_never_add_up_to_more_than_one():
    t = torch.rand(2, 50, 24).sort(-1, descending=True).values
    weight = march(8 * torch.randn(2, 50, 24), t)
    assert (weight >= -1e-6).all() and weight.sum(-1).max() <= 1 + 1e-5


def test_a_denser_sample_takes_weight_from_those_behind_it_and_from_no_other():
    t, logit = torch.linspace(1, -1, 10)[None, None], torch.zeros(1, 1, 10) - 3
    denser = logit.clone()
    denser[..., 4] = 1
    before, after = march(logit, t)[0, 0], march(denser, t)[0, 0]
    assert torch.equal(before[:4], after[:4])
    assert after[4] > before[4] and (after[5:] < before[5:]).all()


# Importance sampling (paper preset)


def test_importance_samples_gather_where_the_weight_is():
    t = torch.linspace(1, -1, 48)[None, None]
    weight = torch.exp(-(((t - 0.3) / 0.05) ** 2))
    u = (torch.arange(48) + 0.5)[None, None] / 48
    fine = importance(weight, t, u)
    assert ((fine - 0.3).abs() < 0.15).float().mean() > 0.8
    assert fine.min() >= -1 and fine.max() <= 1


def test_importance_samples_of_an_empty_ray_are_spread_evenly():
    t, u = torch.linspace(1, -1, 33)[None, None], torch.linspace(0.02, 0.98, 25)[None, None]
    fine = importance(torch.zeros_like(t), t, u)
    torch.testing.assert_close(fine, 1 - 2 * u, atol=0.04, rtol=0)


def test_importance_samples_fall_as_their_numbers_rise():
    fine = importance(
        torch.rand(1, 7, 20), torch.linspace(1, -1, 20).expand(1, 7, -1), torch.linspace(0, 1, 30).expand(1, 7, -1)
    )
    assert (fine.diff(dim=-1) <= 1e-6).all()


# Pictures


def test_empty_space_is_transparent_and_black():
    rendering = renderer()(slab(silhouette=-200.0), FRONTAL, SIZE)
    assert rendering.opacity.max() < 1e-5
    assert rendering.features.abs().max() < 1e-5


@pytest.mark.parametrize("front", [-0.3, 0.0, 0.45])
def test_the_depth_of_an_opaque_slab_is_that_of_its_front_within_a_step(front):
    rendering = renderer()(slab(front, -0.95), FRONTAL, SIZE)
    assert rendering.opacity.min() > 0.99
    assert (rendering.depth - front).abs().max() < 2 / 48 + 1 / 64  # a sample, a texel


def test_an_opaque_slab_has_the_colour_of_the_planes():
    features = renderer()(slab(colour=(0.2, -0.3, 0.6)), FRONTAL, SIZE).features[0]
    torch.testing.assert_close(features[:3].mean((1, 2)), torch.tensor([0.2, -0.3, 0.6]), atol=0.01, rtol=0)
    assert features[3:].abs().max() < 1e-6


def test_the_shapes_are_those_of_batch_features_and_size():
    planes, camera = Planes(slab().static.expand(2, -1, -1, -1)), Camera(torch.eye(3).expand(2, -1, -1))
    features, opacity, depth = renderer(8)(planes, camera, 10)
    assert features.shape == (2, FEATURES, 10, 10) and opacity.shape == depth.shape == (2, 1, 10, 10)


def test_x_runs_right_and_y_up_in_the_planes():
    planes = slab(colour=(0.0, 0.0, 0.0)).static
    planes[0, 0, :64] = 1  # top half of the (x, y) plane
    planes[0, 1, :, 64:] = 1  # right half
    rendering = renderer()(Planes(planes), FRONTAL, SIZE)
    top, right = rendering.features[0, 0] > 0.5, rendering.features[0, 1] > 0.5
    assert top[:8].all() and not top[8:].any()
    assert right[:, 8:].all() and not right[:, :8].any()


def test_a_head_that_is_turned_to_the_right_shows_what_was_on_its_nose_at_the_right():
    planes = slab(0.5, -0.2, (0.0, 0.0, 0.0)).static
    planes[0, 0, 56:72, 56:72] = 1  # a spot at x = y = 0, in front of everything at z = 0.5
    rendering = renderer(96)(Planes(planes), Camera(rotation_from_angles(30.0)[None]), 32)
    spot = rendering.features[0, 0].argmax()
    x = (int(spot % 32) + 0.5) / 16 - 1
    assert x == pytest.approx(0.5 * math.sin(math.radians(30)), abs=0.1)


def test_a_point_is_seen_larger_from_near_by_and_nothing_changes_at_the_plane_of_the_head_s_centre():
    right, _ = pixel_centres(128)
    column = torch.where(right.abs() < 0.4, 0.0, -200.0)
    widths = {}
    for front in (0.5, 0.0):
        planes = slab(front, front - 0.2, silhouette=column)
        for fov in (0.0, 40.0):
            opacity = renderer(96)(planes, FRONTAL._replace(field_of_view=fov), 64).opacity
            widths[front, fov] = (opacity[0, 0, 32] > 0.5).sum().item()
    assert widths[0.5, 0.0] == pytest.approx(0.4 * 64, abs=2)
    assert widths[0.5, 40.0] == pytest.approx(0.4 * 64 / (1 - 0.5 * math.tan(math.radians(20))), abs=2)
    assert widths[0.0, 40.0] == pytest.approx(widths[0.0, 0.0], abs=2)


def test_zoom_enlarges_the_picture():
    right, _ = pixel_centres(128)
    planes = slab(silhouette=torch.where(right.abs() < 0.3, 0.0, -200.0))
    once, twice = (renderer()(planes, FRONTAL._replace(zoom=zoom), 64).opacity[0, 0, 32] for zoom in (1.0, 2.0))
    assert (twice > 0.5).sum() == pytest.approx(2 * int((once > 0.5).sum()), abs=3)


def test_the_body_of_a_turned_head_is_drawn_where_it_lies_at_rest():
    planes, (head_to_torso, torso_pose) = (
        slab(silhouette=0.0),
        (rotation_from_angles(30.0)[None], torch.full((1, 12), 0.05)),
    )
    planes.static[0, :2] = torch.stack(pixel_centres(128))  # colours say where a place lies at rest
    drawn = renderer(200)(planes, FRONTAL, 32, head_to_torso=head_to_torso, torso_pose=torso_pose)
    place = (drawn.features[0, :2] / drawn.opacity[0]).permute(1, 2, 0)
    right, up = pixel_centres(32)
    seen = torch.stack([right, up, (drawn.depth / drawn.opacity)[0, 0]], -1)
    expected = to_rest_pose(seen.view(1, -1, 3), head_to_torso, torso_pose).view(32, 32, 3)[..., :2]
    within = (expected.abs() < 0.95).all(-1)
    assert ((place - expected).abs().amax(-1) * within).max() < 0.05
    body, face = (up < -0.9) & within, (right.abs() < 0.3) & (up.abs() < 0.3)
    assert (place - seen[..., :2])[body].abs().amax() > 0.1 > 0.02 > (place - seen[..., :2])[face].abs().amax()


# The face window


def test_the_window_replaces_the_frontal_features_where_soft_is_one_and_leaves_them_where_it_is_zero():
    static = torch.zeros(1, 3, CHANNELS, 8, 8)
    static[:, 0], static[:, 1], static[:, 2] = 1.0, 0.1, 0.01
    window = torch.full((1, CHANNELS, 16, 16), 5.0)
    soft = torch.zeros(1, 1, 16, 16)
    soft[..., :8] = 1  # the left half of the window |x|, |y| < 0.5
    planes = Planes(static.flatten(1, 2), window, soft)
    points = torch.tensor([[-0.25, 0.0, 0.3], [0.25, 0.0, 0.3], [-0.8, 0.0, 0.3], [-0.25, 0.8, 0.3]])
    sampled = renderer(window=0.5).sample(planes, points[None])[0, :, 0]
    torch.testing.assert_close(sampled, torch.tensor([5.11, 1.11, 1.11, 1.11]))


def test_a_half_soft_window_is_laid_half_over_the_static_plane():
    planes = Planes(
        torch.full((1, 3 * CHANNELS, 4, 4), 1.0), torch.full((1, CHANNELS, 8, 8), 3.0), torch.full((1, 1, 8, 8), 0.5)
    )
    sampled = renderer(window=0.5).sample(planes, torch.zeros(1, 1, 3))
    torch.testing.assert_close(sampled, torch.full((1, 1, CHANNELS), 0.5 * 3 + 0.5 * 1 + 2))


# A surface


def surface(rest_position, mask=1.0):
    """What pixels [3, H, H] see, of a head whose depth is its height."""
    size = rest_position.shape[-1]
    mask = torch.as_tensor(mask).expand(1, 1, size, size)
    groups = torch.zeros(1, len(GROUPS), size, size)
    return HeadSurface(
        None,
        mask,
        rest_position[None],
        torch.zeros(1, 3, size, size),
        rest_position[None, 2:],
        torch.ones(1, 1, size, size),
        groups,
    )


def plane_at(z, size=SIZE):
    right, up = pixel_centres(size)
    return torch.stack([right, up, torch.full_like(right, z)])


def test_on_a_surface_each_pixel_has_the_features_of_the_place_that_it_sees():
    made, planes = renderer(gain=1.0), Planes(torch.randn(1, 3 * CHANNELS, 8, 8))
    places = torch.rand(3, SIZE, SIZE) * 1.6 - 0.8
    drawn = made.on_surface(planes, surface(places))
    _, expected = made.query(planes, places.flatten(1).mT[None])
    torch.testing.assert_close(drawn.features.flatten(2).mT, expected)
    assert expected[..., 3:].std() > 0.1
    torch.testing.assert_close(drawn.depth[0], places[2:])


def test_beside_a_surface_there_is_nothing():
    half = torch.zeros(SIZE, SIZE)
    half[:, :8] = 1
    drawn = renderer(gain=1.0).on_surface(slab(), surface(plane_at(0.4), half))
    assert torch.equal(drawn.opacity[0, 0], half)
    assert all(x[..., 8:].abs().max() == 0 and x[..., :8].abs().min() > 0 for x in (drawn.features[:, :1], drawn.depth))


@pytest.mark.parametrize(("z", "weight"), [(-0.2, 0.0), (-0.4, 0.5), (-0.6, 1.0)])
def test_what_does_not_show_from_the_front_has_the_hidden_colours_and_no_other_feature_changes(z, weight):
    made, planes = renderer(gain=1.0), slab()
    open_, given = (
        made.on_surface(planes, surface(plane_at(z)), hidden) for hidden in (None, torch.ones(1, 3, 16, 16))
    )
    torch.testing.assert_close(given.features[:, :3], open_.features[:, :3] * (1 - weight) + weight, atol=1e-4, rtol=0)
    assert torch.equal(given.features[:, 3:], open_.features[:, 3:])


# Samples


def test_the_two_passes_find_a_thin_surface_that_the_first_alone_would_blur():
    errors = []
    for fine in (0, 24):
        rendering = renderer(coarse=10, fine=fine)(slab(0.21, -0.95), FRONTAL, SIZE)
        depth = rendering.depth / rendering.opacity
        errors.append((depth - 0.21).abs().mean())
    assert errors[1] < 0.5 * errors[0]


def test_without_jitter_two_renderings_are_the_same_to_the_bit_and_leave_the_random_state_alone():
    made, state = renderer(8, 6), torch.random.get_rng_state()
    first, second = (made(slab(), FRONTAL, SIZE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_jitter_is_decided_by_its_generator():
    made = renderer(8, 6)
    same, again, other = (
        made(slab(), FRONTAL, SIZE, jitter=torch.Generator().manual_seed(seed)).depth for seed in (1, 1, 2)
    )
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


@pytest.mark.parametrize("rays", [1, 37, 1000])
def test_a_picture_in_tiles_is_the_picture_at_once(rays):
    made, planes = renderer(8, 6, gain=1.0), Planes(torch.randn(1, 3 * CHANNELS, 8, 8))
    whole = made(planes, FRONTAL, 9)
    made.rays_per_tile = rays
    for tiled, expected in zip(made(planes, FRONTAL, 9), whole, strict=True):
        torch.testing.assert_close(tiled, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("marched", [True, False])
def test_gradients_reach_the_planes_the_window_and_the_decoder(marched):
    made = renderer(6, 6, gain=1.0)
    static = torch.randn(1, 3 * CHANNELS, 8, 8).requires_grad_()
    window, soft = torch.zeros(1, CHANNELS, 8, 8).requires_grad_(), torch.full((1, 1, 8, 8), 0.5)
    planes = Planes(static, window, soft)
    if marched:
        rendering = made(planes, FRONTAL, SIZE)
        (rendering.features.square().sum() + rendering.opacity.sum() + rendering.depth.sum()).backward()
    else:
        made.on_surface(planes, surface(plane_at(0.3))).features.square().sum().backward()
    for tensor in (static, window, *made.decoder.parameters()):
        assert tensor.grad.abs().sum() > 0
