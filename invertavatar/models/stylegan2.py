"""The pieces of a StyleGAN2 synthesis network: style-modulated convolution, FIR resampling, noise (paper 3.1).

Shapes: B batch, C channels, h w feature map. Maps run in channels-last memory, the fast layout of both CPU and CUDA.

Learning rates are not equalised: weights are drawn with the scale they need instead of being scaled at run time.
"""

import math
from typing import Literal, TypeVar

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

NoiseMode = Literal["const", "random", "none"]
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)

LEAKY_SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2)  # keeps the variance through a leaky ReLU


def channels_last(x: Tensor) -> Tensor:
    """The same values [B, C, h, w] in channels-last memory, so that a map's history cannot change a kernel's choice."""
    return x.contiguous(memory_format=torch.channels_last)


def init_scaled(layer: Layer, gain: float = 1.0, bias: float = 0.0) -> Layer:
    """Draws normal weights that multiply the standard deviation of an input by `gain`; returns the layer."""
    nn.init.normal_(layer.weight, std=gain * layer.weight[0].numel() ** -0.5)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


def fir_upsample(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w] through the filter [1, 3, 3, 1] / 4 in each direction, edges repeated."""
    # Bilinear interpolation by two has exactly these taps (1/4 and 3/4), and a native kernel on every device.
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def fir_downsample(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, h/2, w/2] through the filter [1, 3, 3, 1] / 8 in each direction, edges repeated."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=x.shape[1])


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style (StyleGAN2).

    Scaling the input, and after the convolution the output by the demodulation, equals modulating the weights, but the
    whole batch shares one kernel: an ordinary convolution, fast on a CPU too.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        w_dim: Length of w.
        kernel_size: Odd.
        up: Double the size through the FIR filter first. StyleGAN2 filters after a transposed convolution, which is
            the same linear map away from the border.
        demodulate: Bring each output channel back to the variance of the input.
        init_gain: Multiplies the initial weights; a small one makes a head that starts near zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        kernel_size: int = 3,
        up: bool = False,
        demodulate: bool = True,
        init_gain: float = 1.0,
    ):
        super().__init__()
        self.up, self.demodulate = up, demodulate
        self.affine = init_scaled(nn.Linear(w_dim, in_channels), bias=1.0)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.normal_(self.weight, std=init_gain / math.sqrt(in_channels * kernel_size**2))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor, gain: float = 1.0) -> Tensor:
        """[B, C_in, h, w] and w [B, w_dim] -> [B, C_out, h, w] (twice the size with `up`), times `gain`, plus bias."""
        if self.up:
            x = fir_upsample(x)
        style = self.affine(w)  # [B, C_in]
        padding = self.weight.shape[-1] // 2
        if not self.demodulate:
            style = (style * gain).to(x.dtype)
            return F.conv2d(x * style[:, :, None, None], self.weight, self.bias, padding=padding)
        style, scale = self._demodulation(style)  # [B, C_in], [B, C_out]
        x = F.conv2d(x * style.to(x.dtype)[:, :, None, None], self.weight, padding=padding)
        scale = (scale * gain).to(x.dtype)
        return torch.addcmul(self.bias.to(x.dtype)[:, None, None], x, scale[:, :, None, None])

    def _demodulation(self, style: Tensor) -> tuple[Tensor, Tensor]:
        # Squares of half-precision numbers overflow, so this is a float32 island. The style is normalised such that
        # the loudest output channel has unit power before the demodulation: the convolution stays in float16's range.
        with torch.autocast(style.device.type, enabled=False):
            style = style.float()
            power = style.square() @ self.weight.float().square().sum((2, 3)).T + 1e-8  # [B, C_out]
            loudest = power.amax(1, keepdim=True)
            return style * loudest.rsqrt(), (power / loudest + 1e-8).rsqrt()


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise and leaky ReLU.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        w_dim: Length of w.
        resolution: h = w of the output.
        up: Whether the output is twice the size of the input.
    """

    noise: Tensor  # [h, w]

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, w_dim, up=up)
        self.register_buffer("noise", torch.randn(resolution, resolution))
        self.noise_strength = nn.Parameter(torch.zeros(()))

    def forward(
        self, x: Tensor, w: Tensor, noise_mode: NoiseMode = "const", generator: torch.Generator | None = None
    ) -> Tensor:
        """[B, C_in, h, w] and w [B, w_dim] -> [B, C_out, resolution, resolution].

        `noise_mode` "const" adds the layer's own picture of noise, "random" draws a new one for each sample from
        `generator`, "none" adds nothing.
        """
        # The gain may stand before the activation, where it costs nothing: leaky ReLU commutes with positive factors.
        x = self.conv(x, w, gain=LEAKY_GAIN)
        if noise_mode == "random":
            shape = (x.shape[0], 1, *x.shape[2:])
            noise = randn_tensor(shape, generator, device=x.device, dtype=torch.float32)  # drawn alike for every dtype
            x = x + (noise * self.noise_strength).to(x.dtype)
        elif noise_mode == "const":
            x = x + (self.noise * self.noise_strength).to(x.dtype)
        return F.leaky_relu(x, LEAKY_SLOPE)
