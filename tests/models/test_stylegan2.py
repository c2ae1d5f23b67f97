import pytest
import torch
from scipy import ndimage, signal

from invertavatar.models.stylegan2 import (
    ModulatedConv2d,
    SynthesisLayer,
    channels_last,
    fir_downsample,
    fir_upsample,
    init_scaled,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("resample", [fir_upsample, fir_downsample])
def test_resampling_preserves_constants_up_to_the_border(resample):
    x = torch.full((2, 3, 8, 6), 0.7)
    torch.testing.assert_close(resample(x), torch.full_like(resample(x), 0.7))


def test_fir_upsample_is_the_1331_filter_of_scipy_with_repeated_edges():
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")[0, 0].numpy()
    for axis in (0, 1):
        padded = signal.upfirdn([0.25, 0.75, 0.75, 0.25], padded, up=2, axis=axis)
    expected = padded[3:-3, 3:-3]  # the pad's own pixels and the filter's tail
    torch.testing.assert_close(fir_upsample(x)[0, 0], torch.from_numpy(expected))


def test_fir_downsample_is_the_1331_filter_of_scipy_with_repeated_edges():
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    expected = x[0, 0].numpy()
    for axis in (0, 1):
        # scipy puts the middle of four taps at the later of the two inner ones: shift it to the earlier
        expected = ndimage.correlate1d(expected, [1 / 8, 3 / 8, 3 / 8, 1 / 8], axis=axis, mode="nearest", origin=-1)
    torch.testing.assert_close(fir_downsample(x)[0, 0], torch.from_numpy(expected[::2, ::2].copy()))


def test_init_scaled_multiplies_the_deviation_by_the_gain_and_returns_the_layer():
    layer = init_scaled(torch.nn.Linear(512, 512), gain=3.0)
    assert layer(torch.randn(256, 512)).std().item() == pytest.approx(3.0, rel=0.05)


def test_modulated_convolution_equals_modulating_and_demodulating_the_weights_of_each_sample():
    conv = ModulatedConv2d(5, 7, w_dim=6)
    torch.nn.init.normal_(conv.bias)
    x, w = torch.randn(3, 5, 8, 8), torch.randn(3, 6)
    style = conv.affine(w)
    weight = conv.weight[None] * style[:, None, :, None, None]  # [B, C_out, C_in, 3, 3]
    weight = weight * weight.square().sum((2, 3, 4), keepdim=True).rsqrt()
    one_by_one = [torch.nn.functional.conv2d(x[i : i + 1], weight[i], conv.bias, padding=1) for i in range(3)]
    torch.testing.assert_close(conv(x, w), torch.cat(one_by_one), atol=1e-5, rtol=1e-5)


def test_without_demodulation_the_style_only_scales_the_input():
    conv = ModulatedConv2d(4, 3, w_dim=6, kernel_size=1, demodulate=False)
    x, w = torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    expected = torch.einsum("oi,bi,bihw->bohw", conv.weight[:, :, 0, 0], conv.affine(w), x)
    torch.testing.assert_close(conv(x, w), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("style_size", [1e-3, 1.0, 1e4])
def test_demodulated_output_has_unit_variance_whatever_the_style(style_size):
    conv = ModulatedConv2d(32, 32, w_dim=8)
    y = conv(torch.randn(4, 32, 32, 32), torch.randn(4, 8) * style_size)
    assert y[..., 1:-1, 1:-1].std().item() == pytest.approx(1.0, abs=0.1)


def test_up_doubles_the_size_and_filters_before_convolving():
    conv = ModulatedConv2d(4, 3, w_dim=6, up=True)
    x, w = torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    up = conv(x, w)
    conv.up = False
    assert up.shape == (2, 3, 10, 10)
    assert torch.equal(up, conv(fir_upsample(x), w))


def test_large_styles_and_weights_stay_finite_in_float16():
    conv = ModulatedConv2d(64, 64, w_dim=8)
    conv.affine.weight.data.mul_(100)
    conv.weight.data.mul_(1000)
    x, w = torch.randn(1, 64, 8, 8), torch.randn(1, 8)
    expected = conv(x, w)
    y = conv.half()(x.half(), w.half())
    torch.testing.assert_close(y.float(), expected, atol=2e-2, rtol=2e-2)


def test_bfloat16_autocast_agrees_with_float32():
    layer = SynthesisLayer(16, 16, w_dim=8, resolution=16, up=True)
    x, w = torch.randn(2, 16, 8, 8), torch.randn(2, 8)
    expected = layer(x, w)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, w)
    assert (y.float() - expected).square().mean().sqrt() < 0.02 * expected.std()


def test_channels_last_maps_give_channels_last_maps():
    layer = SynthesisLayer(6, 5, w_dim=8, resolution=16, up=True)
    y = layer(channels_last(torch.randn(2, 6, 8, 8)), torch.randn(2, 8))
    assert y.is_contiguous(memory_format=torch.channels_last)


def noisy_layer():
    layer = SynthesisLayer(4, 4, w_dim=8, resolution=8)
    layer.noise_strength.data.fill_(0.5)
    return layer, torch.randn(2, 4, 8, 8), torch.randn(2, 8)


def test_same_generator_same_noise():
    layer, x, w = noisy_layer()
    a, b, c = (layer(x, w, "random", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_drawing_noise_from_a_generator_leaves_the_global_one_alone():
    layer, x, w = noisy_layer()
    before = torch.get_rng_state()
    layer(x, w, "random", torch.Generator().manual_seed(1))
    layer(x, w, "const")
    assert torch.equal(torch.get_rng_state(), before)


def test_random_noise_differs_between_the_samples_of_a_batch_and_constant_noise_does_not():
    layer, x, w = noisy_layer()
    x, w = x[:1].expand(2, -1, -1, -1), w[:1].expand(2, -1)
    first, second = layer(x, w, "random", torch.Generator().manual_seed(1))
    assert not torch.allclose(first, second)
    first, second = layer(x, w, "const")
    assert torch.equal(first, second)


def test_noise_mode_none_adds_nothing():
    layer, x, w = noisy_layer()
    quiet = layer(x, w, "none")
    assert not torch.allclose(layer(x, w, "const"), quiet)
    layer.noise_strength.data.zero_()
    assert torch.equal(layer(x, w, "const"), quiet)


def test_two_layers_share_neither_weights_nor_noise():
    a, b = SynthesisLayer(4, 4, 8, 8), SynthesisLayer(4, 4, 8, 8)
    before = b.noise.clone()
    a.noise.zero_()
    a.conv.weight.data.zero_()
    assert torch.equal(b.noise, before)
    assert b.conv.weight.abs().sum() > 0
