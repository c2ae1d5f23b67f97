"""The synthesis backbone in its three roles: texture, static and face (paper 3.1, Fig. 2 and 8).

Shapes: B batch, L w-layers, C channels, h w feature map; a resolution r means h = w = r.

- `texture_backbone`: a head at 32, 64 and 128, one neural texture map each.
- `static_backbone`: `skip_heads`, the head of every resolution is added to the up-sampled sum of the coarser ones and
  gives the tri-plane [B, 3C, h, w]; `sft` modulates it.
- `face_backbone`: `condition` blends the rasterized neural textures in, one head at the finest resolution gives the
  dynamic frontal plane.
"""

from collections.abc import Mapping

import torch
import torch.nn as nn
from torch import Tensor

from .stylegan2 import ModulatedConv2d, NoiseMode, SynthesisLayer, channels_last, fir_upsample

# Resolution -> C; keys may be strings, which is what a saved configuration makes of them.
ChannelTable = Mapping[int, int] | Mapping[str, int]


def spatial_feature_transform(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """CS-SFT: the last channels become `x * (1 + scale) + shift`, the others pass through unchanged.

    Args:
        x: [B, C, h, w].
        scale: [B, C // 2, h, w]; zero, with a zero shift, leaves x as it is.
        shift: [B, C // 2, h, w].

    Returns:
        [B, C, h, w].
    """
    unchanged, modulated = x.split([x.shape[1] - scale.shape[1], scale.shape[1]], 1)
    return torch.cat([unchanged, modulated * (1 + scale.to(x.dtype)) + shift.to(x.dtype)], 1)


class AlphaBlend(nn.Module):
    """Lays rasterized texture features over a feature map: alpha 1 shows the texture only, alpha 0 the map only.

    Args:
        texture_channels: C of the texture features.
        channels: C of the feature map; a 1x1 convolution brings the texture to it where the two differ.
    """

    def __init__(self, texture_channels: int, channels: int):
        super().__init__()
        self.project = nn.Conv2d(texture_channels, channels, 1) if texture_channels != channels else nn.Identity()

    def forward(self, x: Tensor, texture: Tensor, alpha: Tensor) -> Tensor:
        """x [B, C, h, w], texture [B, C_texture, h, w], alpha [B, 1, h, w] in 0..1 -> [B, C, h, w]."""
        alpha = alpha.to(x.dtype)
        return alpha * self.project(channels_last(texture.to(x.dtype))) + (1 - alpha) * x


class SynthesisBlock(nn.Module):
    """One resolution: up-sampling layer, modulation from outside, second layer, head.

    What comes from outside enters between the two layers, so that the second one can already work on it.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int | None,  # None for the coarsest block, which starts from a learned constant
        channels: int,
        w_dim: int,
        head_channels: int | None,
        texture_channels: int | None,
        output_gain: float,
    ):
        super().__init__()
        if in_channels is None:
            self.constant = nn.Parameter(torch.randn(1, channels, resolution, resolution))
            self.up_layer = None
        else:
            self.up_layer = SynthesisLayer(in_channels, channels, w_dim, resolution, up=True)
        if texture_channels:
            self.blend = AlphaBlend(texture_channels, channels)
        self.layer = SynthesisLayer(channels, channels, w_dim, resolution)
        self.head = None
        if head_channels:
            self.head = ModulatedConv2d(
                channels, head_channels, w_dim, kernel_size=1, demodulate=False, init_gain=output_gain
            )

    def forward(
        self,
        x: Tensor | None,  # [B, C, h, w]
        ws: tuple[Tensor, Tensor, Tensor],  # [B, w_dim] each
        sft: tuple[Tensor, Tensor] | None,
        condition: tuple[Tensor, Tensor] | None,
        noise_mode: NoiseMode,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None]:
        """ws: w of the up-sampling layer (unused by the coarsest block), of the second layer and of the head."""
        if self.up_layer is None:
            y = channels_last(self.constant.expand(ws[0].shape[0], -1, -1, -1))
        else:
            y = self.up_layer(x, ws[0], noise_mode, generator)
        if sft is not None:
            y = spatial_feature_transform(y, *sft)
        if condition is not None:
            y = self.blend(y, *condition)
        y = self.layer(y, ws[1], noise_mode, generator)
        return y, None if self.head is None else self.head(y, ws[2])


class SynthesisBackbone(nn.Module):
    """StyleGAN2 synthesis network: `generator.texture_backbone`, `.static_backbone` or `.face_backbone`.

    Args:
        w_dim: Length of w.
        channels: Resolution -> C of its feature map, e.g. {4: 512, 8: 512, ...}, each resolution twice the one before.
        out_channels: Resolution -> C of its output, for the resolutions that have a head; the finest must have one.
        skip_heads: Add the up-sampled output of the coarser resolution to each output; then from the coarsest head on
            every resolution has one.
        condition_channels: Resolution -> C of the texture features blended in there; none by default.
        output_gain: Initial scale of the heads: outputs start near zero (DESIGN 5.4), yet gradients pass.
    """

    def __init__(
        self,
        w_dim: int,
        channels: ChannelTable,
        out_channels: ChannelTable,
        skip_heads: bool = False,
        condition_channels: ChannelTable | None = None,
        output_gain: float = 0.1,
    ):
        super().__init__()
        self.channels, heads, textures = (
            {int(r): c for r, c in (table or {}).items()} for table in (channels, out_channels, condition_channels)
        )
        self.skip_heads = skip_heads
        self.blocks = nn.ModuleDict()
        in_channels = None
        for r, channels_here in sorted(self.channels.items()):
            self.blocks[str(r)] = SynthesisBlock(
                r, in_channels, channels_here, w_dim, heads.get(r), textures.get(r), output_gain
            )
            in_channels = channels_here

    @property
    def resolutions(self) -> tuple[int, ...]:
        """From coarse to fine."""
        return tuple(sorted(self.channels))

    @property
    def num_ws(self) -> int:
        """L this backbone reads: one for each convolution, and one for the last head (14 at 4..256)."""
        return 2 * len(self.channels)

    @property
    def sft_channels(self) -> dict[int, int]:
        """Resolution -> C of the scale and of the shift that `sft` takes there."""
        return {r: self.channels[r] // 2 for r in self.resolutions}

    def forward(
        self,
        ws: Tensor,
        sft: Mapping[int, tuple[Tensor, Tensor]] | None = None,
        condition: Mapping[int, tuple[Tensor, Tensor]] | None = None,
        noise_mode: NoiseMode = "const",
        generator: torch.Generator | None = None,
    ) -> dict[int, Tensor]:
        """Args:
            ws: [B, L, w_dim] with L >= `num_ws`; the first `num_ws` are read.
            sft: Resolution -> (scale, shift), each [B, C // 2, r, r]; for some or all resolutions.
            condition: Resolution -> (texture features [B, C, r, r], alpha [B, 1, r, r] in 0..1), for some or all
                resolutions of `condition_channels`.
            noise_mode: "const", "random" or "none", see `SynthesisLayer`.
            generator: Source of the random noise.

        Returns:
            Resolution -> output [B, C, r, r] of each head, channels-last.
        """
        sft, condition = sft or {}, condition or {}
        outputs, x, previous = {}, None, None
        for i, r in enumerate(self.resolutions):
            # As in StyleGAN2 a head shares its w with the up-sampling layer of the next resolution.
            block_ws = (ws[:, max(2 * i - 1, 0)], ws[:, 2 * i], ws[:, 2 * i + 1])
            x, output = self.blocks[str(r)](x, block_ws, sft.get(r), condition.get(r), noise_mode, generator)
            if self.skip_heads and previous is not None:
                output = output + fir_upsample(previous)
            if output is not None:
                outputs[r] = previous = output
        return outputs
