"""Shapes: B batch, D feature channels, L w-layers."""

import pytest
import torch

from invertavatar.models.super_resolution import SuperResolution


def build(channels=(8, 8), output_gain=1.0, seed=0):
    torch.manual_seed(seed)
    return SuperResolution(4, 16, channels, 8, output_gain).eval()


@pytest.fixture
def inputs():
    """Features and w+."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 3, 8, generator=generator)


@pytest.mark.parametrize("size", [8, 16, 31, 32, 100])
def test_any_size_of_picture_comes_out_of_one_size_of_features(size, inputs):
    assert build()(*inputs, size).shape == (2, 3, size, size)


@pytest.mark.parametrize(("channels", "size"), [((8,), 16), ((8, 8), 32), ((8, 8, 4), 64)])
def test_each_width_after_the_first_doubles_the_size(channels, size, inputs):
    network = build(channels)
    sizes = []
    network.head.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    network(*inputs, 16)
    assert sizes == [size]


def test_a_fresh_head_of_no_gain_adds_nothing(inputs):
    assert (build(output_gain=0.0)(*inputs, 32) == 0).all()


def test_only_the_last_w_styles_the_picture(inputs):
    network, (features, ws) = build(), inputs
    picture = network(features, ws, 32)
    other = ws.clone()
    other[:, :-1] += 1
    assert torch.equal(network(features, other, 32), picture)
    other[:, -1] += 1
    assert (network(features, other, 32) - picture).abs().max() > 0.1


def test_it_draws_no_random_numbers(inputs):
    network = build()
    state = torch.get_rng_state()
    network(*inputs, 32)
    assert torch.equal(torch.get_rng_state(), state)


def test_float32_features_meet_half_precision_weights(inputs):
    features, ws = inputs
    full, half = build()(features, ws, 32), build().half()(features, ws.half(), 32)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.02 * full.abs().max()
