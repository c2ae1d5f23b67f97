"""Shapes: B batch, C plane channels, D feature channels, r resolution."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.models.generator import add_colour
from invertavatar.rendering.face_window import face_window
from invertavatar.rendering.observation import ObservedTexture
from invertavatar.rendering.resize import resize
from invertavatar.rendering.source_views import SourceViews
from invertavatar.rendering.surface import head_surface
from tests.heads import camera_at, mean_head
from tests.tiny import tiny_networks

FRONTAL = torch.eye(3)[None]
FRONT = camera_at(0.0)


def build(preset="compact", seed=0, **overrides):
    return tiny_networks(preset, seed, **overrides)["generator"]


@pytest.fixture(scope="module")
def heads(head_model):
    """The mean head with nothing, an open mouth and a smile."""
    expression = torch.zeros(3, 52)
    expression[1, ARKIT_NAMES.index("jawOpen")] = expression[2, ARKIT_NAMES.index("mouthSmileLeft")] = 0.8
    return mean_head(head_model, camera_at(0.0, 0.0, 0.0), expression=expression)._replace(blend=torch.ones(3, 1))


@pytest.fixture(scope="module")
def head(head_model):
    """The mean head."""
    return mean_head(head_model, FRONT)._replace(blend=torch.ones(1, 1))


def closed_mesh(head_model, head):
    return head_model.chart.closed_vertices(head.landmarks, head.neutral)


def window_of(generator, closed, head_model):
    return face_window(closed, head_model.chart, generator.config.window, generator.window_resolution)


def observed(colour=(0.5, -0.25, 0.1), confidence=1.0):
    """One colour everywhere, in the texture and in one photo."""
    colour = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    confidence, whole = torch.full((1, 1, 32, 32), confidence), torch.ones(1, 2, 32, 32)
    front, one = torch.cat([colour, whole], 1)[:, None], torch.ones(1, 1)
    kept = torch.zeros(1, 1, 0, 3), front, torch.zeros(1, 1, 5, 0, 0, dtype=torch.uint8)
    return {
        "observed": ObservedTexture(colour, confidence, confidence),
        "views": SourceViews(FRONTAL[:, None], torch.zeros(1, 1, 12), one, one, *kept),
    }


def codes(generator, count=1, seed=0):
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z)


@torch.no_grad()
def render(generator, head, head_model, camera=FRONT, observed=None, size=None, **options):
    ws = codes(generator)
    features = generator.canonical(ws, **(observed or {}))
    window = window_of(generator, closed_mesh(head_model, head), head_model)
    face, surface = generator.face(ws, features, window), None
    if generator.config.surface_rendering:
        surface = head_surface(head_model, head, camera, size or generator.config.neural_resolution)
    return generator.render(features, face, window, surface, head, camera, **options)


@pytest.mark.parametrize("preset", ["compact", "paper"])
@torch.no_grad()
def test_shapes_follow_the_configuration(preset, heads, head_model):
    generator = build(preset)
    ws = codes(generator)
    assert ws.shape == (1, 8, 16)  # two layers at each of 4, 8, 16 and 32
    features = generator.canonical(ws)
    assert {r: t.shape for r, t in features.textures.items()} == {r: (1, 4, r, r) for r in (8, 16, 32)}
    assert features.planes.shape == (1, 12, 32, 32)
    assert features.views is features.sources is features.fill is None  # which photos bring
    window = window_of(generator, closed_mesh(head_model, heads), head_model)
    face = generator.face(ws, features, window)
    assert face.shape == (3, 4, 32, 32)
    camera = camera_at(0.0, 20.0, -40.0)
    surface = head_surface(head_model, heads, camera, 32) if preset == "compact" else None
    rendering = generator.render(features, face, window, surface, heads, camera)
    assert rendering.features.shape == (3, 8, 32, 32)
    assert rendering.opacity.shape == rendering.depth.shape == (3, 1, 32, 32)
    if preset == "paper":
        assert generator.upsample(rendering, ws, 96).shape == (3, 3, 96, 96)


@pytest.mark.parametrize("yaw", [0.0, 40.0])
def test_with_silent_heads_the_raw_picture_is_the_observed_colour(head, head_model, yaw):
    generator, colour, camera = build(output_gain=0.0), (0.5, -0.25, 0.1), camera_at(yaw)
    rendering = render(generator, head, head_model, camera, observed(colour))
    surface = head_surface(head_model, head, camera, 32)
    assert torch.equal(rendering.opacity, surface.mask) and torch.equal(rendering.depth, surface.depth)
    expected = torch.tensor(colour).view(3, 1, 1) * surface.mask[0]
    assert (rendering.features[0, :3] - expected).abs().max() < 1e-3


def test_behind_the_head_are_the_colours_of_what_does_not_show_from_the_front(head, head_model):
    generator, camera = build(output_gain=0.0, behind=(-0.1, -0.2)), camera_at(180.0)
    rendering = render(generator, head, head_model, camera, observed((1.0, 1.0, 1.0)), hidden=torch.zeros(1, 3, 32, 32))
    surface = head_surface(head_model, head, camera, 32)
    behind = (surface.rest_position[:, 2:] < -0.2) & (surface.mask > 0)
    assert behind.sum() > 300
    assert rendering.features[:, :1][behind].abs().max() < 1e-5
    front = render(generator, head, head_model, observed=observed((1.0, 1.0, 1.0)), hidden=torch.zeros(1, 3, 32, 32))
    assert front.features[0, 0, 16, 16] > 0.99


@torch.no_grad()
def test_the_prior_s_colours_stay_where_no_photo_shows_the_face_and_make_way_where_one_does():
    generator = build()
    ws, seen = codes(generator), observed((0.5, 0.5, 0.5))
    prior = generator.canonical(ws).textures[32]
    seen["observed"].weight[..., 16:] = 0  # the right half was not seen
    texture = generator.canonical(ws, **seen).textures[32]
    assert (texture[:, :3, :, :16] - 0.5).abs().max() < 1e-5
    # On the other side the prior is shifted to meet what was seen: its structure stays.
    unseen, own = texture[:, :3, :, 16:], prior[:, :3, :, 16:]
    assert own.std((2, 3)).min() > 0.01
    kept = torch.corrcoef(torch.stack([unseen.diff(dim=2).flatten(), own.diff(dim=2).flatten()]))[0, 1]
    assert kept > 0.7
    assert torch.equal(texture[:, 3:], prior[:, 3:])


def test_without_the_skip_the_observed_colour_does_not_matter(head, head_model):
    generator = build(observed_colour=False)
    red, blue = (render(generator, head, head_model, observed=observed(c)) for c in ((1, 0, 0), (0, 0, 1)))
    assert torch.equal(red.features, blue.features)


@torch.no_grad()
def test_the_mesh_outside_the_window_cannot_change_the_frontal_plane(head, head_model):
    generator, closed = build(window=0.25), closed_mesh(head_model, head)
    ws = codes(generator)
    features = generator.canonical(ws, **observed())
    before = generator.face(ws, features, window_of(generator, closed, head_model))
    # A triangle is outside for sure where all its corners are beyond the same side of the window.
    xy = closed[0, :, :2][head_model.chart.triangles]  # [F, 3, 2]
    outside = ((xy > 0.27).all(1) | (xy < -0.27).all(1)).any(1)
    fixed = torch.zeros(closed.shape[1], dtype=torch.bool)
    fixed[head_model.chart.triangles[~outside].flatten()] = True
    moved = closed.clone()
    moved[:, ~fixed] *= 1.2
    assert (~fixed).sum() > 50
    after = generator.face(ws, features, window_of(generator, moved, head_model))
    assert torch.equal(before, after)
    inside = closed.clone()
    inside[:, fixed] += 0.02
    assert not torch.equal(before, generator.face(ws, features, window_of(generator, inside, head_model)))


@torch.no_grad()
def test_frames_of_one_avatar_do_not_see_each_other(heads, head_model):
    generator, closed = build(), closed_mesh(head_model, heads)
    ws = codes(generator)
    features = generator.canonical(ws, **observed())
    together = generator.face(ws, features, window_of(generator, closed, head_model))
    alone = [generator.face(ws, features, window_of(generator, frame[None], head_model)) for frame in closed]
    assert (together - torch.cat(alone)).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 0.05


@torch.no_grad()
def test_eyes_and_teeth_that_no_photo_showed_are_left_to_the_network(head, head_model):
    generator = build(plane_channels=4)
    ws, window = codes(generator), window_of(generator, closed_mesh(head_model, head), head_model)
    assert window.patch.sum() > 0

    def blended(confidence):
        seen = {}
        hook = generator.face_backbone.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(kwargs["condition"]), with_kwargs=True
        )
        generator.face(ws, generator.canonical(ws, **observed(confidence=confidence)), window)
        hook.remove()
        return seen[32][1]

    torch.testing.assert_close(blended(1.0), window.mask, rtol=0, atol=1e-5)  # up to bilinear rounding
    torch.testing.assert_close(blended(0.0), window.mask - window.patch, rtol=0, atol=1e-5)


def test_rays_follow_the_camera(head, head_model):
    generator = build("paper")
    flat, perspective, near = (
        render(generator, head, head_model, camera_at(30.0, **options)).features
        for options in ({}, {"field_of_view": generator.config.field_of_view}, {"zoom": 1.5})
    )
    assert (flat - perspective).abs().max() > 0.01 and (flat - near).abs().max() > 0.1


def test_jitter_repeats_by_its_generator_and_leaves_the_global_one_alone(head, head_model):
    generator = build("paper")

    def picture(jitter):
        return render(generator, head, head_model, jitter=jitter).features

    state = torch.get_rng_state()
    first, again, other = (picture(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(picture(False), picture(False))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("preset", ["compact", "paper"])
@torch.no_grad()
def test_the_prior_alone_renders_what_its_parts_render(preset, head, head_model):
    generator, camera = build(preset), camera_at(20.0)
    half, window = generator.coarse_resolution, window_of(generator, closed_mesh(head_model, head), head_model)
    surface = head_surface(head_model, head, camera, half) if preset == "compact" else None
    whole = generator(codes(generator), window, surface, head, camera)
    parts = render(generator, head, head_model, camera, size=half)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


@torch.no_grad()
def test_the_mapping_is_conditioned_on_the_pose_and_frontal_by_default():
    generator = build()
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    turned = rotation_from_angles(torch.tensor([40.0, 40.0]))
    assert torch.equal(generator.mapping(z), generator.mapping(z, FRONTAL.expand(2, -1, -1)))
    assert (generator.mapping(z) - generator.mapping(z, turned)).abs().max() > 0.01


@torch.no_grad()
def test_truncation_0_is_the_average_person():
    generator = build()
    generator.mapping_network.w_avg.uniform_(generator=torch.Generator().manual_seed(0))
    ws = generator.mapping(torch.ones(1, 16), truncation_psi=0.0)
    assert torch.equal(ws[0], generator.mapping_network.w_avg.expand(8, -1))


def test_colours_join_the_first_three_channels_only():
    features, colour = torch.rand(1, 5, 8, 8), torch.rand(2, 3, 8, 8)
    joined = add_colour(features, colour)
    assert torch.equal(joined[:, :3], features[:, :3] + colour)
    assert torch.equal(joined[:, 3:], features[:, 3:].expand(2, -1, -1, -1))


def test_resizing_keeps_the_mean_and_returns_the_same_picture_at_its_own_size():
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert resize(x, 64) is x
    assert (resize(x, 16).mean() - x.mean()).abs() < 0.01
