"""Shapes: B batch, D feature channels, L w-layers."""

import pytest
import torch

from invertavatar.models.super_resolution import SuperResolution


def build(channels=(8, 8), output_gain=1.0, seed=0, context=()):
    torch.manual_seed(seed)
    return SuperResolution(4, 16, channels, 8, output_gain, context).eval()


@pytest.fixture
def inputs():
    """Features, opacity, depth and w+ of an opaque plane."""
    generator = torch.Generator().manual_seed(1)
    features, ws = torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 3, 8, generator=generator)
    return features, torch.ones(2, 1, 16, 16), torch.zeros(2, 1, 16, 16), ws


@pytest.mark.parametrize("size", [8, 16, 31, 32, 100])
def test_any_size_of_picture_comes_out_of_one_size_of_features(size, inputs):
    residual, gate, outline = build(context=(8, 8))(*inputs, size)
    assert residual.shape == (2, 3, size, size)
    assert gate.shape == outline.shape == (2, 1, size, size)


@pytest.mark.parametrize(("channels", "size"), [((8,), 16), ((8, 8), 32), ((8, 8, 4), 64)])
def test_each_width_after_the_first_doubles_the_size(channels, size, inputs):
    network = build(channels)
    sizes = []
    network.head.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    network(*inputs, 16)
    assert sizes == [size]


def test_a_fresh_head_of_no_gain_adds_nothing_and_lets_95_percent_of_the_fine_band_through(inputs):
    residual, gate, outline = build(output_gain=0.0, context=(8, 8))(*inputs, 32)
    assert (residual == 0).all() and (outline == 0).all()
    assert gate.min() > 0.95 and gate.max() < 0.96


def test_the_gate_stays_between_0_and_1_for_loud_features(inputs):
    gate = build()(1e4 * inputs[0], *inputs[1:], 32).gate
    assert gate.min() >= 0 and gate.max() <= 1
    assert gate.std() > 0.1


def test_only_the_last_w_styles_the_picture(inputs):
    network, (*rendering, ws) = build(), inputs
    picture = network(*rendering, ws, 32).residual
    other = ws.clone()
    other[:, :-1] += 1
    assert torch.equal(network(*rendering, other, 32).residual, picture)
    other[:, -1] += 1
    assert (network(*rendering, other, 32).residual - picture).abs().max() > 0.1


def test_it_draws_no_random_numbers(inputs):
    network = build()
    state = torch.get_rng_state()
    network(*inputs, 32)
    assert torch.equal(torch.get_rng_state(), state)


def test_float32_features_meet_half_precision_weights(inputs):
    (*rendering, ws), context = inputs, (8, 8)
    full = build(context=context)(*rendering, ws, 32).residual
    half = build(context=context).half()(*rendering, ws.half(), 32).residual
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.02 * full.abs().max()


def test_without_the_u_net_there_is_no_outline(inputs):
    assert build()(*inputs, 32).outline is None


@torch.no_grad()
def test_the_u_net_sees_a_change_from_further_away_than_the_other_layers(inputs):
    features, *rest = inputs
    changed = features.clone()
    changed[..., 0] += 5

    def reach(context):
        network = build(context=context)
        change = (network(changed, *rest, 16).residual - network(features, *rest, 16).residual).abs().amax((0, 1, 2))
        return int((change > 1e-6).nonzero().max())

    assert reach(()) < 6
    assert reach((8, 8, 8)) == 15


@torch.no_grad()
def test_nothing_is_painted_far_beside_the_head(inputs):
    features, opacity, depth, ws = inputs
    network, opacity = build(context=(8, 8)), opacity.clone()
    opacity[..., 6:] = 0
    residual, _, outline = network(features, opacity, depth, ws, 32)
    end = 2 * (6 + network.REACH) + 1  # of the picture
    for painted in (residual, outline):
        assert painted[..., :12].abs().max() > 0.01
        assert (painted[..., end:] == 0).all()


@torch.no_grad()
def test_nothing_is_painted_below_the_edge_where_the_photo_cuts_the_body(inputs):
    features, opacity, depth, ws = inputs
    network, opacity = build(context=(8, 8)), opacity.clone()
    opacity[..., 10:, :] = 0
    opacity[..., :4, :] = 0
    _, _, outline = network(features, opacity, depth, ws, 16)
    assert (outline[..., 12:, :] == 0).all()
    assert outline[..., 4 - network.REACH, :].abs().max() > 0.01  # above it, hair may stand off
