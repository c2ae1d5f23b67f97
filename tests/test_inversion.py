"""The forward pass that the pipeline and the training share, with tiny networks and tracked example photos."""

import pytest
import torch
from torch import Tensor

from invertavatar.camera import rotation_from_angles
from invertavatar.inversion import (
    Inversion,
    Networks,
    View,
    canonical_features,
    invert_step,
    render_frame,
)
from invertavatar.models.recurrent_unet import FusionState
from invertavatar.rendering.observation import relief_sum
from invertavatar.rendering.resize import resize
from invertavatar.rendering.uv import uv_atlas
from tests.landmarks import mean_landmarks
from tests.tiny import tiny_networks

BOTH = pytest.mark.parametrize("preset", ["compact", "paper"])


@pytest.fixture(scope="module")
def atlas(head_model):
    return uv_atlas(head_model.chart, 32)


@pytest.fixture(scope="module")
def views(portrait, head_model) -> list[View]:
    """Three photos, as if each were of the mean face."""
    portraits = [portrait(name) for name in ("anna_1", "anna_2", "anna_3")]
    return [View(p.photo, p.matte, p.inside, p.vertices, mean_landmarks(head_model), p.rotation) for p in portraits]


def networks_of(preset, head_model, **generator) -> Networks:
    return Networks(**tiny_networks(preset, **generator), head_model=head_model)


def inverted(networks, views, atlas, fusion="gru") -> Inversion:
    state = None
    for view in views:
        state, _ = invert_step(networks, state, view, atlas, fusion=fusion)
    return state


def flat(state: FusionState) -> Tensor:
    return torch.cat([hidden.flatten() for hidden in state.hidden])


def frame(networks, views, atlas) -> Tensor:
    """The first photo's own view of an avatar made of all: colours and opacity."""
    state, view = inverted(networks, views, atlas), views[0]
    features = canonical_features(networks, state, atlas)
    drawn = render_frame(networks, state.ws, features, None, view.vertices, view.neutral, view.rotation, 64)
    return torch.cat([drawn.colour, drawn.opacity], 1)


@BOTH
def test_gradient_reaches_every_parameter_in_one_training_step(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    frame(networks, views[:2], atlas).square().mean().backward()
    without = {
        f"{box}.{name}"
        for box, network in networks.trainable.items()
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    # The mapping network belongs to the prior: an inverted w+ comes from the encoder.
    mapping = {f"generator.mapping_network.{name}" for name, _ in networks.generator.mapping_network.named_parameters()}
    # The posture is learned from pairs of pictures, and photos come with theirs.
    posture = {name for name in without if name.startswith("triplane_encoder.posture_network.")}
    assert without == mapping | posture


@torch.enable_grad()
def test_gradient_reaches_the_mapping_through_the_prior(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    ws = networks.generator.mapping(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)))
    state = inverted(networks, views[:1], atlas)._replace(ws=ws)
    canonical_features(networks, state, atlas).planes.square().mean().backward()
    assert all(parameter.grad.any() for parameter in networks.generator.mapping_network.parameters())


@BOTH
@torch.no_grad()
def test_two_people_in_a_batch_do_not_see_each_other(preset, views, atlas, head_model, portrait):
    networks = networks_of(preset, head_model)
    ben = portrait("ben_1")
    ben = View(ben.photo, ben.matte, ben.inside, ben.vertices, mean_landmarks(head_model), ben.rotation)
    both = [torch.cat([x, y]) if x.ndim > 2 else x for x, y in zip(views[0][:-1], ben[:-1], strict=True)]
    together = frame(networks, [View(*both)], atlas)
    alone = torch.cat([frame(networks, [view], atlas) for view in (views[0], ben)])
    assert (together - alone).abs().max() < 1e-3
    assert (alone[0] - alone[1]).abs().max() > 0.1


@BOTH
@torch.no_grad()
def test_only_the_first_photo_decides_w_plus(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    one, three, other = (inverted(networks, chosen, atlas).ws for chosen in (views[:1], views, views[::-1]))
    assert torch.equal(one, three)
    assert not torch.equal(one, other)


@BOTH
@torch.no_grad()
def test_the_residual_to_the_coarse_render_feeds_both_encoders(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    state = inverted(networks, views[:1], atlas)
    step, _ = invert_step(networks, state, views[1], atlas)
    moved, _ = invert_step(networks, state._replace(ws=state.ws + 1), views[1], atlas)  # another coarse render
    assert (flat(step.texture_state) - flat(moved.texture_state)).abs().max() > 1e-3
    assert (flat(step.triplane_state) - flat(moved.triplane_state)).abs().max() > 1e-3


@BOTH
@torch.no_grad()
def test_e_tri_looks_at_the_photo_in_the_paper_and_at_the_frontal_plane_in_compact(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    seen = []
    networks.triplane_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args), with_kwargs=True
    )
    _, maps = invert_step(networks, None, views[1], atlas)  # a head turned by 24 degrees
    if preset == "paper":
        expected = resize(resize(views[1].photo, 128) * resize(views[1].matte, 128), 64)
    else:
        expected = resize(maps.canonical * maps.matte, 64)
    assert torch.equal(seen[0][0], expected)
    assert [look.shape for look in seen[0]] == [(1, c, 64, 64) for c in (3, 1, 3, 1)[: len(seen[0])]]


@torch.no_grad()
def test_fusion_first_keeps_the_first_photos_features(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    one, three = inverted(networks, views[:1], atlas), inverted(networks, views, atlas, "first")
    assert torch.equal(flat(one.texture_state), flat(three.texture_state))
    assert torch.equal(flat(one.triplane_state), flat(three.triplane_state))
    assert three.texture_state.count == 3
    assert torch.equal(one.texture_sum, three.texture_sum)
    assert torch.equal(one.relief_sum, three.relief_sum)
    assert torch.equal(one.views.coarse, three.views.coarse)


@torch.no_grad()
def test_fusion_mean_does_not_depend_on_the_order_of_later_photos_but_gru_does(views, atlas, head_model):
    networks = networks_of("compact", head_model)

    def difference(fusion):
        a, b, c = views
        states = [inverted(networks, order, atlas, fusion) for order in ([a, b, c], [a, c, b])]
        return max(
            (flat(getattr(states[0], name)) - flat(getattr(states[1], name))).abs().max()
            for name in ("texture_state", "triplane_state")
        )

    assert difference("mean") < 1e-5
    assert difference("gru") > 1e-2


@torch.no_grad()
def test_fusion_mean_of_one_photo_twice_is_that_photo_once(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    once, twice = (inverted(networks, views[:1] * count, atlas, "mean") for count in (1, 2))
    assert torch.equal(flat(once.texture_state), flat(twice.texture_state))


@pytest.mark.parametrize("fusion", ["gru", "mean"])
@torch.no_grad()
def test_observed_colours_and_reliefs_add_up_in_any_order(fusion, views, atlas, head_model):
    networks = networks_of("compact", head_model)
    forward, backward = (inverted(networks, order, atlas, fusion) for order in (views, views[::-1]))
    assert (forward.texture_sum - backward.texture_sum).abs().max() < 1e-5
    assert torch.equal(forward.views.coarse, backward.views.coarse.flip(1))
    assert (forward.relief_sum - backward.relief_sum).abs().max() < 1e-5


@torch.no_grad()
def test_fine_detail_is_chosen_by_gru_averaged_by_mean_and_the_first_photos_by_first(views, atlas, head_model):
    networks, fine, half = networks_of("compact", head_model), uv_atlas(head_model.chart, 64), torch.full((1,), 0.5)
    dark, light = (views[0]._replace(photo=torch.full_like(views[0].photo, value)) for value in (-1.0, 1.0))
    shown = {}
    for fusion in ("gru", "mean", "first"):
        state, _ = invert_step(networks, None, dark, atlas, fine, half, fusion)
        state, _ = invert_step(networks, state, light, atlas, fine, None, fusion)
        seen = state.detail_sum[:, 3:] > 0.1
        shown[fusion] = (state.detail_sum[:, :1] / state.detail_sum[:, 3:])[seen].mean().item()
        assert state.views.fine.shape == (1, 1 if fusion == "first" else 2, 5, 64, 64)
    assert shown == pytest.approx({"gru": 1.0, "mean": 1 / 3, "first": -1.0}, abs=1e-4)


@torch.no_grad()
def test_the_relief_of_a_turned_photo_counts_less(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    view = views[0]
    turned = view._replace(rotation=rotation_from_angles(40.0)[None])
    (_, frontal), (_, aside) = (invert_step(networks, None, v, atlas) for v in (view, turned))
    weights = [relief_sum(maps, 8.0)[:, 1] for maps in (frontal, aside)]
    assert weights[0].min() > 0 and weights[1].min() > 0
    assert weights[1].max() < 0.2 * weights[0].max()


def test_the_paper_preset_has_no_relief(views, atlas, head_model):
    assert inverted(networks_of("paper", head_model), views, atlas).relief_sum is None


@BOTH
@pytest.mark.parametrize(("dtype", "mean", "largest"), [(torch.float16, 0.001, 0.02), (torch.bfloat16, 0.01, 0.2)])
@torch.no_grad()
def test_half_precision_networks_draw_the_same_picture(preset, dtype, mean, largest, views, atlas, head_model):
    full = frame(networks_of(preset, head_model), views[:2], atlas)
    half = {name: network.to(dtype) for name, network in tiny_networks(preset).items()}
    difference = (frame(Networks(**half, head_model=head_model), views[:2], atlas) - full).abs()
    assert difference.mean() < mean and difference.max() < largest


@BOTH
@torch.no_grad()
def test_bfloat16_autocast_draws_the_same_picture(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    full = frame(networks, views[:2], atlas)
    with torch.autocast("cpu", torch.bfloat16):
        difference = (frame(networks, views[:2], atlas) - full).abs()
    assert 0 < difference.mean() < 0.01
