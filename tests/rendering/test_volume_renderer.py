"""Volume rendering against cases that have an exact answer."""

import math

import pytest
import torch

from invertavatar.camera import pixel_centres, rotation_from_angles
from invertavatar.rendering.volume_renderer import (
    OPTICAL_DEPTH,
    SHELL,
    Planes,
    Solid,
    VolumeRenderer,
    importance,
    march,
    solid_logit,
)

CHANNELS, FEATURES, SIZE = 4, 5, 16
FRONTAL = torch.eye(3)[None]


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def renderer(coarse=48, fine=0, guided=False, gain=0.0, window=0.5):
    """With gain 0 the decoder adds nothing: colours are the planes' first three channels, density is the solid's."""
    return VolumeRenderer(CHANNELS, FEATURES, 8, window, coarse, fine, guided, output_gain=gain).eval()


def constant_planes(colour=(0.2, -0.3, 0.6), batch=1):
    """All of the colour in the frontal plane, nothing in the others."""
    static = torch.zeros(batch, 3, CHANNELS, 8, 8)
    static[:, 0, :3] = torch.tensor(colour)[:, None, None]
    return Planes(static.flatten(1, 2))


def slab(front=0.2, back=-0.6, silhouette=8.0, size=32):
    """Solid between two planes; `silhouette` is a number or a picture [size, size]."""
    maps = (torch.full((1, 1, size, size), float(level)) for level in (front, back))
    return Solid(*maps, torch.as_tensor(silhouette).float().expand(1, 1, size, size))


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


# The solid


def test_the_solid_is_dense_between_front_and_back_inside_the_silhouette_and_nowhere_else():
    right, _ = pixel_centres(32)
    solid = slab(silhouette=torch.where(right < 0, 8.0, -8.0))
    points = torch.tensor([[-0.5, 0, 0], [-0.5, 0, 0.5], [-0.5, 0, -0.9], [0.5, 0, 0], [-1.3, 0, 0]])
    inside, before, behind, beside, beyond = solid_logit(solid, points[None])[0]
    assert inside > 2
    assert max(before, behind, beside, beyond) < -2


def test_the_solid_s_surface_is_where_its_logit_is_zero():
    z = torch.tensor([0.2, -0.6])
    points = torch.stack([torch.zeros(2), torch.zeros(2), z], -1)[None]
    torch.testing.assert_close(solid_logit(slab(), points), torch.zeros(1, 2), atol=1e-5, rtol=0)


# Pictures


def test_empty_space_is_transparent_and_black():
    rendering = renderer()(constant_planes(), slab(silhouette=-8.0), FRONTAL, SIZE)
    assert rendering.opacity.max() < 0.02
    assert rendering.features.abs().max() < 0.02


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("front", [-0.3, 0.0, 0.45])
def test_the_depth_of_an_opaque_slab_is_that_of_its_front_within_a_step(front, guided):
    made = renderer(coarse=48 if not guided else 8, fine=16 if guided else 0, guided=guided)
    rendering = made(constant_planes(), slab(front, -0.95), FRONTAL, SIZE)
    middle = (..., slice(2, -2), slice(2, -2))
    assert rendering.opacity[middle].min() > 0.98
    step = 2 / 48 if not guided else 2 * SHELL / 16
    # The surface is soft: light is stopped within SURFACE_WIDTH of it.
    assert (rendering.depth[middle] - front).abs().max() < step + 0.03


def test_an_opaque_slab_has_the_colour_of_the_planes():
    rendering = renderer()(constant_planes((0.2, -0.3, 0.6)), slab(), FRONTAL, SIZE)
    middle = rendering.features[0, :, 4:-4, 4:-4]
    torch.testing.assert_close(middle[:3].mean((1, 2)), torch.tensor([0.2, -0.3, 0.6]), atol=0.01, rtol=0)
    assert middle[3:].abs().max() < 1e-6


def test_the_shapes_are_those_of_batch_features_and_size():
    batch = Planes(constant_planes(batch=2).static)
    solid = Solid(*(m.expand(2, -1, -1, -1) for m in slab()))
    features, opacity, depth = renderer(8)(batch, solid, FRONTAL.expand(2, -1, -1), 10)
    assert features.shape == (2, FEATURES, 10, 10) and opacity.shape == depth.shape == (2, 1, 10, 10)


def test_x_runs_right_and_y_up_in_the_planes():
    static = torch.zeros(1, 3, CHANNELS, 32, 32)
    static[0, 0, 0, :16] = 1  # top half of the (x, y) plane
    static[0, 0, 1, :, 16:] = 1  # right half
    rendering = renderer()(Planes(static.flatten(1, 2)), slab(), FRONTAL, SIZE)
    top, right = rendering.features[0, 0] > 0.5, rendering.features[0, 1] > 0.5
    assert top[:7].all() and not top[9:].any()
    assert right[:, 9:].all() and not right[:, :7].any()


def test_a_head_that_is_turned_to_the_right_shows_what_was_on_its_nose_at_the_right():
    static = torch.zeros(1, 3, CHANNELS, 64, 64)
    static[0, 0, 0, 28:36, 28:36] = 1  # a spot at x = y = 0, in front of everything at z = 0.5
    turned = rotation_from_angles(30.0)[None]
    rendering = renderer(96)(Planes(static.flatten(1, 2)), slab(0.5, -0.2), turned, 32)
    spot = rendering.features[0, 0].argmax()
    x = (int(spot % 32) + 0.5) / 16 - 1
    assert x == pytest.approx(0.5 * math.sin(math.radians(30)), abs=0.1)


def test_a_point_is_seen_larger_from_near_by_and_nothing_changes_at_the_plane_of_the_head_s_centre():
    right, _ = pixel_centres(64)
    picture = torch.where(right.abs() < 0.4, 8.0, -8.0)
    widths = {}
    for front in (0.5, 0.0):
        solid = slab(front, front - 0.2, picture, 64)
        for fov in (0.0, 40.0):
            opacity = renderer(96)(constant_planes(), solid, FRONTAL, 64, field_of_view=fov).opacity
            widths[front, fov] = (opacity[0, 0, 32] > 0.5).sum().item()
    assert widths[0.5, 0.0] == pytest.approx(0.4 * 64, abs=2)
    assert widths[0.5, 40.0] == pytest.approx(0.4 * 64 / (1 - 0.5 * math.tan(math.radians(20))), abs=2)
    assert widths[0.0, 40.0] == pytest.approx(widths[0.0, 0.0], abs=2)


def test_zoom_enlarges_the_picture():
    right, _ = pixel_centres(64)
    solid = slab(0.2, -0.6, torch.where(right.abs() < 0.3, 8.0, -8.0), 64)
    once, twice = (renderer()(constant_planes(), solid, FRONTAL, 64, zoom=z).opacity[0, 0, 32] for z in (1.0, 2.0))
    assert (twice > 0.5).sum() == pytest.approx(2 * int((once > 0.5).sum()), abs=3)


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


def test_behind_the_ear_plane_the_colours_are_those_of_the_head_s_back_and_no_other_feature_changes():
    planes = Planes(torch.ones(1, 3 * CHANNELS, 4, 4), behind=torch.full((1, 3, 4, 4), -0.8))
    front, back = renderer().sample(planes, torch.tensor([[[0.1, 0.2, 0.0], [0.1, 0.2, -0.6]]]))[0]
    assert front.tolist() == [3] * CHANNELS
    assert back.tolist() == pytest.approx([-0.8] * 3 + [3] * (CHANNELS - 3))


# Samples


def test_guided_samples_lie_in_a_shell_around_the_surface():
    made = renderer(coarse=2, fine=12, guided=True)
    places = []
    made._decode, decode = lambda *args: places.append(args[-1]) or decode(*args), made._decode
    made(constant_planes(), slab(0.25, -0.95), FRONTAL, SIZE)
    near = ((places[0] - 0.25).abs() < SHELL + 0.06)[0].unflatten(0, (SIZE, SIZE))[3:-3, 3:-3]
    assert (near.sum(-1) >= 12).all()
    assert places[0].shape[-1] == 14
    assert (places[0].diff(dim=-1) <= 0).all()  # from near to far


def test_a_ray_that_grazes_one_surface_and_goes_on_to_another_finds_both(monkeypatch):
    right, _ = pixel_centres(64)
    nose = (0.6 - 2.5 * right.abs()).clamp(min=-0.3).expand(1, 1, -1, -1)
    solid, turned = slab(back=-0.9, size=64)._replace(front=nose), rotation_from_angles(-35.0)
    grazing = constant_planes()._replace(static=torch.linspace(-1, 1, 64).repeat(1, 3 * CHANNELS, 64, 1))
    errors = []
    for deviations in (0.0, 2.0):
        monkeypatch.setattr("invertavatar.rendering.volume_renderer.DEVIATIONS", deviations)
        few, many = (
            renderer(coarse, fine, guided=True)(grazing, solid, turned[None], 64)
            for coarse, fine in ((2, 10), (200, 10))
        )
        errors.append((few.features - many.features)[0, :3, 4:-4, 4:-4].abs().amax())
    assert errors[1] < 0.2 < 1 < errors[0]


def test_the_decoder_refines_the_solid_and_makes_nothing_out_of_nothing():
    made, nothing = renderer(gain=1.0), slab(silhouette=-12.0)
    made.decoder[2].bias.data[0] = 30
    rendering = made(constant_planes(), nothing, FRONTAL, SIZE)
    assert rendering.opacity.max() < 0.05
    rendering.opacity.sum().backward()
    assert made.decoder[2].bias.grad[0] > 0  # it still learns to want less
    made.decoder[2].bias.data[0] = -30
    assert made(constant_planes(), slab(), FRONTAL, SIZE).opacity.max() < 0.05  # but it may take away


def test_the_paper_s_two_passes_find_a_thin_surface_that_the_first_alone_would_blur():
    solid = slab(0.21, -0.95)
    errors = []
    for fine in (0, 24):
        rendering = renderer(coarse=10, fine=fine)(constant_planes(), solid, FRONTAL, SIZE)
        depth = (rendering.depth / rendering.opacity)[0, 0, 4:-4, 4:-4]
        errors.append((depth - 0.21).abs().mean())
    assert errors[1] < 0.5 * errors[0]


def test_without_a_solid_the_decoder_alone_decides_the_density():
    made = renderer(gain=1.0)
    made.decoder[2].bias.data[0] = 5
    assert made(constant_planes(), None, FRONTAL, SIZE).opacity.min() > 0.99
    made.decoder[2].bias.data[0] = -30
    assert made(constant_planes(), None, FRONTAL, SIZE).opacity.max() < 0.01


def test_without_jitter_two_renderings_are_the_same_to_the_bit_and_leave_the_random_state_alone():
    made, state = renderer(8, 6, guided=True), torch.random.get_rng_state()
    first, second = (made(constant_planes(), slab(), FRONTAL, SIZE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("guided", [False, True])
def test_jitter_is_decided_by_its_generator(guided):
    made = renderer(8, 6, guided=guided)
    same, again, other = (
        made(constant_planes(), slab(), FRONTAL, SIZE, jitter=torch.Generator().manual_seed(seed)).depth
        for seed in (1, 1, 2)
    )
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


def test_gradients_reach_the_planes_the_decoder_and_the_solid():
    made = renderer(6, 6, guided=True, gain=1.0)
    static = constant_planes().static.requires_grad_()
    window, soft = torch.zeros(1, CHANNELS, 8, 8).requires_grad_(), torch.full((1, 1, 8, 8), 0.5)
    maps = Solid(*(m.clone().requires_grad_() for m in slab(silhouette=0.0)))
    rendering = made(Planes(static, window, soft), maps, FRONTAL, SIZE)
    (rendering.features.square().sum() + rendering.opacity.sum() + rendering.depth.sum()).backward()
    for tensor in (static, window, maps.front, maps.silhouette, *made.decoder.parameters()):
        assert tensor.grad.abs().sum() > 0


def test_leaving_out_rays_that_miss_the_solid_does_not_change_the_others(monkeypatch):
    right, up = pixel_centres(64)
    narrow, wide = (slab(0.2, -0.6, torch.where(torch.hypot(right, up) < r, 8.0, -12.0), 64) for r in (0.3, 0.7))
    solid = Solid(*(torch.cat(pair) for pair in zip(narrow, wide, strict=True)))
    planes = Planes(constant_planes().static.expand(2, -1, -1, -1))
    made, traced = renderer(6, 10, guided=True), []
    made._decode, decode = lambda *args: traced.append(args[-1].shape[1]) or decode(*args), made._decode
    some = made(planes, solid, FRONTAL.expand(2, -1, -1), 64)
    monkeypatch.setattr("invertavatar.rendering.volume_renderer.HIT", -1.0)
    all_rays = made(planes, solid, FRONTAL.expand(2, -1, -1), 64)
    assert traced[0] < 0.6 * traced[1] == 0.6 * 64**2
    for few, every in zip(some, all_rays, strict=True):
        torch.testing.assert_close(few, every, atol=2e-3, rtol=0)
