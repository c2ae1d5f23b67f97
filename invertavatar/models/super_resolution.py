"""Super-resolution: raw features at the neural rendering resolution -> picture (paper 3.1, part of R).

Shapes: B batch, D feature channels, L w-layers, h w rendered size, H W picture.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .stylegan2 import ModulatedConv2d, SynthesisLayer


class SuperResolution(nn.Module):
    """Style-modulated convolutions with one up-sampling by two for each entry of `channels` after the first.

    Args:
        feature_channels: D.
        rendered_size: h = w.
        channels: C at h, 2h, 4h, ...
        w_dim: Length of w.
        output_gain: Initial scale of the head (DESIGN 5.4).
    """

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
        self.head = ModulatedConv2d(channels[-1], 3, w_dim, kernel_size=1, demodulate=False, init_gain=output_gain)

    def forward(self, features: Tensor, ws: Tensor, size: int) -> Tensor:
        """What is to be added to the up-sampled raw colours: features [B, D, h, w], ws [B, L, w_dim], whose last one
        styles all layers -> [B, 3, H, W] of H = W = `size`.
        """
        w = ws[:, -1]
        x = self.first(features.to(w.dtype), w)
        for layers in self.up:
            up, refine = layers.children()
            x = refine(up(x, w), w)
        maps = self.head(x, w).float()
        if maps.shape[-1] != size:
            maps = F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)
        return maps
