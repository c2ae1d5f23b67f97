"""Super-resolution: raw features at the neural rendering resolution -> picture (paper 3.1, part of R).

Beside the paper, a U-Net may look at the whole rendering first. What a place should look like, such as the far side of
a turned head or the outline of hair, often shows only from further away than a few convolutions reach.

Shapes: B batch, D feature channels, L w-layers, h w rendered size, H W picture.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .recurrent_unet import RecurrentUNet
from .stylegan2 import ModulatedConv2d, SynthesisLayer


class Upsampled(NamedTuple):
    """What super-resolution adds."""

    residual: Tensor  # [B, 3, H, W], to be added to the up-sampled raw colours
    gate: Tensor  # [B, 1, H, W] in 0..1: how much of the observed fine band to let through
    outline: Tensor | None  # [B, 1, H, W] to be added to the up-sampled opacity; None without the U-Net


class SuperResolution(nn.Module):
    """Style-modulated convolutions with one up-sampling by two for each entry of `channels` after the first.

    Args:
        feature_channels: D.
        rendered_size: h = w.
        channels: C at h, 2h, 4h, ...
        w_dim: Length of w.
        output_gain: Initial scale of the head (DESIGN 5.4).
        context_channels: C of the U-Net at each scale, from h downward by halves; none leaves it out.
    """

    REACH = 2  # pixels at h beyond the rendered head that may still be painted: more would be invented
    GATE_BIAS = 3.0  # sigmoid(3) = 0.95: the fine band passes until training finds where it should not

    def __init__(
        self,
        feature_channels: int,
        rendered_size: int,
        channels: Sequence[int],
        w_dim: int,
        output_gain: float,
        context_channels: Sequence[int] = (),
    ):
        super().__init__()
        self.context = self.outline = None
        if context_channels:
            looks = feature_channels + 2
            self.context = RecurrentUNet(looks, context_channels, {0: channels[0]}, recurrent=False)
            self.outline = ModulatedConv2d(
                channels[-1], 1, w_dim, kernel_size=1, demodulate=False, init_gain=output_gain
            )
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

    def forward(self, features: Tensor, opacity: Tensor, depth: Tensor, ws: Tensor, size: int) -> Upsampled:
        """A rendering becomes maps of `size` pixels.

        Args:
            features: [B, D, h, w].
            opacity: [B, 1, h, w] in 0..1.
            depth: [B, 1, h, w] see `Rendering`.
            ws: [B, L, w_dim]; the last one styles all layers.
            size: H = W.
        """
        w = ws[:, -1]
        x = self.first(features.to(w.dtype), w)
        if self.context is not None:
            looks = torch.cat([features, opacity, depth], 1).to(w.dtype)
            x = x + self.context.apply_heads(self.context(looks))[0]
        for up, refine in self.up:
            x = refine(up(x, w), w)
        maps = self.head(x, w)
        if self.outline is not None:
            maps = torch.cat([maps, self.outline(x, w)], 1)
        maps = maps.float()
        if self.context is not None:
            # Not downward: what lies below the photo's edge is anyone's guess, and no target shows it.
            near = F.pad(opacity.float(), (self.REACH, self.REACH, 0, self.REACH))
            near = F.max_pool2d(near, (self.REACH + 1, 2 * self.REACH + 1), 1)
            near = F.interpolate(near, size=maps.shape[-2:], mode="bilinear", align_corners=False)
            maps = torch.cat([maps[:, :3] * near, maps[:, 3:4], maps[:, 4:] * near], 1)
        if maps.shape[-1] != size:
            maps = F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)
        outline = None if self.outline is None else maps[:, 4:]
        return Upsampled(maps[:, :3], (maps[:, 3:4] + self.GATE_BIAS).sigmoid(), outline)
