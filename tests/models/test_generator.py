"""Shapes: B batch, C plane channels, D feature channels, r resolution."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.face.arkit import ARKIT_NAMES
from invertavatar.models.generator import AvatarGenerator, add_colour
from invertavatar.rendering.frontal_views import FrontalViews
from invertavatar.rendering.head_shape import face_window
from invertavatar.rendering.observation import ObservedTexture
from invertavatar.rendering.resize import resize
from tests.landmarks import driven_mean, mean_landmarks
from tests.tiny import tiny_networks, tiny_sizes

HAZE = 0.02  # opacity that a whole ray through background gathers at the logit a matte of 0 gives, -8
FRONTAL = torch.eye(3)[None]


def build(preset="compact", seed=0, **overrides):
    return tiny_networks(preset, seed, **overrides)["generator"]


@pytest.fixture(scope="module")
def closed(head_model):
    """The mean face with nothing, an open mouth and a smile: [3, V + E, 3]."""
    expression = torch.zeros(3, 52)
    expression[1, ARKIT_NAMES.index("jawOpen")] = expression[2, ARKIT_NAMES.index("mouthSmileLeft")] = 0.8
    return head_model.chart.close(driven_mean(head_model, expression), mean_landmarks(head_model))


def window_of(generator, closed, head_model):
    return face_window(closed, head_model.chart, generator.config.window, generator.window_resolution)


def observed(colour=(0.5, -0.25, 0.1), matte=1.0, confidence=1.0):
    """One colour everywhere, in the texture and in one photo."""
    colour = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    confidence, matte, inside = (torch.full((1, 1, 32, 32), value) for value in (confidence, matte, 1.0))
    photo = torch.cat([colour, matte, inside], 1)[:, None]
    texture = ObservedTexture(colour, confidence, confidence)
    return {
        "observed": texture,
        "views": FrontalViews(FRONTAL[:, None], torch.zeros(1, 1, 12), torch.ones(1, 1), photo, None),
    }


def codes(generator, count=1, seed=0):
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z)


@torch.no_grad()
def render(generator, closed, head_model, rotation=FRONTAL, observed=None, **camera):
    ws = codes(generator)
    features = generator.canonical(ws, **(observed or {}))
    window = window_of(generator, closed, head_model)
    face = generator.face(ws, features, window)
    shown = observed and torch.ones(len(window.mask), 1)
    return generator.render(features, face, window, head_model.chart.head_height, rotation, shown=shown, **camera)


@pytest.mark.parametrize("preset", ["compact", "paper"])
@torch.no_grad()
def test_shapes_follow_the_configuration(preset, closed, head_model):
    generator = build(preset)
    ws = codes(generator)
    assert ws.shape == (1, 8, 16)  # two layers at each of 4, 8, 16 and 32
    features = generator.canonical(ws)
    assert {r: t.shape for r, t in features.textures.items()} == {r: (1, 4, r, r) for r in (8, 16, 32)}
    assert features.planes.shape == (1, 12, 32, 32)
    assert features.silhouette is None and features.views is None  # which photos bring
    window = window_of(generator, closed, head_model)
    face = generator.face(ws, features, window)
    assert face.features.shape == (3, 4, 32, 32)
    assert face.height.shape == (3, 1, 32, 32)
    rotation = rotation_from_angles(torch.tensor([0.0, 20.0, -40.0]))
    rendering = generator.render(features, face, window, head_model.chart.head_height, rotation)
    assert rendering.features.shape == (3, 8, 32, 32)
    assert rendering.opacity.shape == rendering.depth.shape == (3, 1, 32, 32)
    assert generator.upsample(rendering, ws, 96).residual.shape == (3, 3, 96, 96)


def test_with_silent_heads_the_picture_is_the_observed_colour(closed, head_model):
    generator = build(output_gain=0.0)
    colour = (0.5, -0.25, 0.1)
    rendering = render(generator, closed[:1], head_model, observed=observed(colour))
    assert rendering.opacity[0, 0, 16, 16] > 0.95
    expected = torch.tensor(colour).view(3, 1, 1) * rendering.opacity[0]
    assert (rendering.features[0, :3] - expected).abs().max() < 1e-3


@torch.no_grad()
def test_the_prior_s_colours_stay_where_no_photo_shows_the_face_and_make_way_where_one_does():
    generator = build()
    ws, shown = codes(generator), observed((0.5, 0.5, 0.5))
    prior = generator.canonical(ws).textures[32]
    shown["observed"].weight[..., 16:] = 0  # the right half was not seen
    texture = generator.canonical(ws, **shown).textures[32]
    assert (texture[:, :3, :, :16] - 0.5).abs().max() < 1e-5
    # On the other side the prior is shifted to meet what was seen: its structure stays.
    unseen, own = texture[:, :3, :, 16:], prior[:, :3, :, 16:]
    assert own.std((2, 3)).min() > 0.01
    kept = torch.corrcoef(torch.stack([unseen.diff(dim=2).flatten(), own.diff(dim=2).flatten()]))[0, 1]
    assert kept > 0.7
    assert torch.equal(texture[:, 3:], prior[:, 3:])


def test_without_the_skip_the_observed_colour_does_not_matter(closed, head_model):
    generator = build(observed_colour=False)
    red, blue = (render(generator, closed[:1], head_model, observed=observed(c)) for c in ((1, 0, 0), (0, 0, 1)))
    assert torch.equal(red.features, blue.features)


def test_what_the_matte_calls_background_is_empty(closed, head_model):
    generator = build(output_gain=0.0)
    person, background = (
        render(generator, closed[:1], head_model, observed=observed(matte=matte)).opacity for matte in (1.0, 0.0)
    )
    assert person[0, 0, 12:20, 12:20].min() > 0.9
    assert background.max() < HAZE


def test_the_silhouette_alone_bounds_the_head(closed, head_model):
    generator = build(output_gain=0.0)
    half = observed()
    half["views"].coarse[:, :, 3, :, :16] = 0  # the left half of the head, seen from the front, is background
    opacity = render(generator, closed[:1], head_model, observed=half).opacity[0, 0]
    assert opacity[12:20, :12].max() < HAZE
    assert opacity[12:20, 20:26].min() > 0.9


@torch.no_grad()
def test_the_mesh_outside_the_window_cannot_change_the_frontal_plane(closed, head_model):
    generator = build(window=0.25)
    ws = codes(generator)
    features = generator.canonical(ws, **observed())
    before = generator.face(ws, features, window_of(generator, closed[:1], head_model))
    # A triangle is outside for sure where all its corners are beyond the same side of the window.
    xy = closed[0, :, :2][head_model.chart.triangles]  # [F, 3, 2]
    outside = ((xy > 0.27).all(1) | (xy < -0.27).all(1)).any(1)
    fixed = torch.zeros(closed.shape[1], dtype=torch.bool)
    fixed[head_model.chart.triangles[~outside].flatten()] = True
    moved = closed[:1].clone()
    moved[:, ~fixed] *= 1.2
    assert (~fixed).sum() > 50
    after = generator.face(ws, features, window_of(generator, moved, head_model))
    assert torch.equal(before.features, after.features)
    assert torch.equal(before.height, after.height)
    inside = closed[:1].clone()
    inside[:, fixed] += 0.02
    assert not torch.equal(before.features, generator.face(ws, features, window_of(generator, inside, head_model))[0])


@torch.no_grad()
def test_frames_of_one_avatar_do_not_see_each_other(closed, head_model):
    generator = build()
    ws = codes(generator)
    features = generator.canonical(ws, **observed())
    together = generator.face(ws, features, window_of(generator, closed, head_model)).features
    alone = [generator.face(ws, features, window_of(generator, frame[None], head_model)).features for frame in closed]
    assert (together - torch.cat(alone)).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 0.05


@torch.no_grad()
def test_eyes_and_teeth_that_no_photo_showed_are_left_to_the_network(closed, head_model):
    generator = build(plane_channels=4)
    ws, window = codes(generator), window_of(generator, closed[:1], head_model)
    assert window.patch.sum() > 0

    def blended(confidence):
        shown = {}
        hook = generator.face_backbone.register_forward_pre_hook(
            lambda module, args, kwargs: shown.update(kwargs["condition"]), with_kwargs=True
        )
        generator.face(ws, generator.canonical(ws, **observed(confidence=confidence)), window)
        hook.remove()
        return shown[32][1]

    torch.testing.assert_close(blended(1.0), window.mask, rtol=0, atol=1e-5)  # up to bilinear rounding
    torch.testing.assert_close(blended(0.0), window.mask - window.patch, rtol=0, atol=1e-5)


def test_the_paper_camera_is_perspective_unless_told_otherwise(closed, head_model):
    generator = build("paper")
    rotation = rotation_from_angles(torch.tensor([30.0]))
    own, told, flat = (
        render(generator, closed[:1], head_model, rotation, field_of_view=fov).features
        for fov in (None, generator.config.field_of_view, 0.0)
    )
    assert torch.equal(own, told)
    assert (own - flat).abs().max() > 0.01


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_jitter_repeats_by_its_generator_and_leaves_the_global_one_alone(preset, closed, head_model):
    generator = build(preset)

    def picture(jitter):
        return render(generator, closed[:1], head_model, jitter=jitter).features

    state = torch.get_rng_state()
    first, again, other = (picture(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(picture(False), picture(False))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.no_grad()
def test_the_prior_alone_renders_what_its_parts_render(closed, head_model):
    generator = build()
    ws, window = codes(generator), window_of(generator, closed[:1], head_model)
    turned = rotation_from_angles(20.0)[None]
    whole = generator(ws, window, head_model.chart.head_height, turned)
    half = generator.config.neural_resolution // 2
    parts = render(generator, closed[:1], head_model, turned, size=half, turn=turned)
    assert torch.equal(whole.features, parts.features)


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


def test_guided_samples_without_the_mesh_are_refused():
    with pytest.raises(ValueError, match="Guided samples follow the mesh-guided density"):
        AvatarGenerator(**tiny_sizes()["generator"] | {"mesh_guided_density": False})


def test_colours_join_the_first_three_channels_only():
    features, colour = torch.rand(1, 5, 8, 8), torch.rand(2, 3, 8, 8)
    joined = add_colour(features, colour)
    assert torch.equal(joined[:, :3], features[:, :3] + colour)
    assert torch.equal(joined[:, 3:], features[:, 3:].expand(2, -1, -1, -1))


def test_resizing_keeps_the_mean_and_returns_the_same_picture_at_its_own_size():
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert resize(x, 64) is x
    assert (resize(x, 16).mean() - x.mean()).abs() < 0.01
