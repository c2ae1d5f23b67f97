"""Super-resolution: raw features at the neural rendering resolution -> picture (paper 3.1, part of R).

Shapes: B batch, D feature channels, L w-layers, h w rendered size, H W picture.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .stylegan2 import ModulatedConv2d, SynthesisLayer


class Upsampled(NamedTuple):
    """What super-resolution adds."""

    residual: Tensor  # [B, 3, H, W], to be added to the up-sampled raw colours
    gate: Tensor  # [B, 1, H, W] in 0..1: how much of the observed fine band to let through


class SuperResolution(nn.Module):
    """Style-modulated convolutions with one up-sampling by two for each entry of `channels` after the first.

    Args:
        feature_channels: D.
        rendered_size: h = w.
        channels: C at h, 2h, 4h, ...
        w_dim: Length of w.
        output_gain: Initial scale of the head (DESIGN 5.4).
    """

    GATE_BIAS = 3.0  # sigmoid(3) = 0.95: the fine band passes until training finds where it should not

    def __init__(
        self, feature_channels: int, rendered_size: int, channels: Sequence[int], w_dim: int, output_gain: float
    ):
        super().__init__()
        self.first = SynthesisLayer(feature_channels, channels[0], w_dim, rendered_size)
        self.up = nn.ModuleList(
            nn.ModuleList(
                [
                    SynthesisLayer(previous, now, w_dim, rendered_size << step, up=True),
                    SynthesisLayer(now, now, w_dim, rendered_size << step),
                ]
            )
            for step, (previous, now) in enumerate(pairwise(channels), 1)
        )
        self.head = ModulatedConv2d(channels[-1], 4, w_dim, kernel_size=1, demodulate=False, init_gain=output_gain)

    def forward(self, features: Tensor, ws: Tensor, size: int) -> Upsampled:
        """Features [B, D, h, w] and ws [B, L, w_dim] (the last one styles all layers) -> maps of `size` pixels."""
        w = ws[:, -1]
        x = self.first(features.to(w.dtype), w)
        for up, refine in self.up:
            x = refine(up(x, w), w)
        x = self.head(x, w).float()
        if x.shape[-1] != size:
            x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        return Upsampled(x[:, :3], (x[:, 3:] + self.GATE_BIAS).sigmoid())
