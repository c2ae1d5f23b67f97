"""The U-Net shared by E_tex and E_tri, with a ConvGRU, or a ConvFusion, at every decoder scale (paper 3.3, 4.3.1, 6.3).

Shapes: B batch, N source photos, C channels, H W image, h w feature map; scale s means h = H / 2**s.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..runtime.half_precision import Float32Island
from .conv_fusion import ConvFusion
from .conv_gru import ConvGRU
from .stylegan2 import LEAKY_GAIN, LEAKY_SLOPE, channels_last, fir_upsample, init_scaled

FusionMode = Literal["gru", "mean", "first"]


class FusionState(NamedTuple):
    """What an encoder remembers of the photos it has seen; all that is needed to add another one.

    `hidden` holds one map [B, C, h, w] for each decoder scale, from coarse to fine (with ConvFusion the C channels that
    count and what it holds besides, see there); `count` is the number of photos. Before the first one `hidden` is empty
    and `count` 0.
    """

    hidden: list[Tensor]
    count: int


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a linear path; `down` halves the size."""

    def __init__(self, in_channels: int, out_channels: int, down: bool = False):
        super().__init__()
        stride = 2 if down else 1
        self.conv1 = init_scaled(nn.Conv2d(in_channels, out_channels, 3, stride, padding=1), LEAKY_GAIN)
        # Almost the linear path at first: a deep stack starts well conditioned.
        self.conv2 = init_scaled(nn.Conv2d(out_channels, out_channels, 3, padding=1), 0.1)
        self.skip = nn.Identity()
        if down or in_channels != out_channels:
            self.skip = init_scaled(nn.Conv2d(in_channels, out_channels, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, h, w] -> [B, C_out, h, w], half the size with `down`."""
        y = self.conv1(F.leaky_relu(x, LEAKY_SLOPE))
        return self.skip(x) + self.conv2(F.leaky_relu(y, LEAKY_SLOPE))


class RecurrentUNet(nn.Module):
    """Encoder, and a decoder that is either recurrent (E_tex_rec, E_tri_rec) or plain (E_tex, E_tri).

    At each decoder scale the frame's feature f_t updates the hidden state h_t (Eq. 1); h_t, never f_t, goes up to the
    next scale and into the heads, so that the last state alone is the result. The plain decoder is the same network
    without the ConvGRUs; its weights fit the recurrent one's (`load_state_dict(..., strict=False)`), whose encoder can
    then be frozen.

    Args:
        in_channels: C of the input.
        channels: C at each scale, from the input's resolution downward; each scale halves the size.
        head_channels: Scale -> C of the output there. The decoder ends at the finest scale that has a head, at the
            coarsest where none has.
        recurrent: Whether the decoder has ConvGRUs.
        fusion_window: Photos that a ConvFusion takes, one of which then stands in the place of each ConvGRU; 0: none.
        layers_per_block: Residual blocks per scale in the encoder and in the decoder.
        output_gain: Initial scale of the heads: outputs start near zero (DESIGN 5.4), yet gradients pass.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        head_channels: Mapping[int, int],
        recurrent: bool = True,
        layers_per_block: int = 1,
        output_gain: float = 0.01,
        fusion_window: int = 0,
    ):
        super().__init__()
        coarsest = len(channels) - 1
        finest = min(head_channels, default=coarsest)
        self.decoder_scales = tuple(range(coarsest, finest - 1, -1))  # from coarse to fine
        self.recurrent, self.channels = recurrent, tuple(channels)
        self.fusion_window = fusion_window if recurrent else 0

        def stage(in_channels: int, out_channels: int, down: bool = False) -> nn.Sequential:
            more = [ResidualBlock(out_channels, out_channels) for _ in range(layers_per_block - 1)]
            return nn.Sequential(ResidualBlock(in_channels, out_channels, down), *more)

        self.conv_in = init_scaled(nn.Conv2d(in_channels, channels[0], 3, padding=1))
        self.encoder = nn.ModuleList(stage(i, o, down=True) for i, o in itertools.pairwise(channels))
        self.decoder = nn.ModuleList()
        for s in self.decoder_scales:
            below = 0 if s == coarsest else channels[s + 1]
            self.decoder.append(stage(below + channels[s], channels[s]))
        scales, window = self.decoder_scales, self.fusion_window
        self.gru = nn.ModuleList(ConvGRU(channels[s]) for s in scales if recurrent and not window)
        self.conv_fusion = nn.ModuleList(ConvFusion(channels[s], window) for s in scales if window)
        self.heads = nn.ModuleDict()
        for s, out_channels in sorted(head_channels.items()):  # an optimizer knows weights by their order
            self.heads[str(s)] = nn.Sequential(
                init_scaled(nn.Conv2d(channels[s], channels[s], 1), LEAKY_GAIN),
                nn.LeakyReLU(LEAKY_SLOPE),
                init_scaled(nn.Conv2d(channels[s], out_channels, 1), output_gain),
            )

    def forward(self, x: Tensor, state: FusionState | None = None, fusion: FusionMode = "gru") -> FusionState:
        """Adds one photo to the state.

        Args:
            x: [B, in_channels, H, W], H and W divisible by 2 ** (number of scales - 1).
            state: What came before; None, or one of count 0, for the first photo.
            fusion: "gru" as in the paper. Its two baselines: "mean" averages the states that each photo reaches alone,
                "first" keeps the first photo's.

        Returns:
            The new state; the old one is not changed.

        Raises:
            ValueError: The plain decoder is asked to fuse a second photo by "gru".
        """
        if state is None or not state.count:
            return FusionState(self._decode(x, [None] * len(self.decoder), 0), 1)
        count = state.count + 1
        if fusion == "first":
            return FusionState(state.hidden, count)
        if fusion == "mean":
            alone = self._decode(x, [None] * len(self.decoder), 0)
            pairs = zip(state.hidden, alone, strict=True)
            return FusionState([mean + (new - mean) / count for mean, new in pairs], count)
        if not self.recurrent:
            raise ValueError(
                'A U-Net made with recurrent=False cannot fuse photos by "gru": use fusion="mean" or "first".'
            )
        return FusionState(self._decode(x, state.hidden, state.count), count)

    def forward_sequence(self, x: Tensor, state: FusionState | None = None, fusion: FusionMode = "gru") -> FusionState:
        """Adds N photos, x [B, N, in_channels, H, W], in their order; the same bits as N calls of `forward`."""
        # One by one also through the encoder: a kernel may sum in another order for another batch size.
        fused = state or FusionState([], 0)
        for photo in x.unbind(1):
            fused = self(photo, fused, fusion)
        return fused

    def apply_heads(self, state: FusionState) -> dict[int, Tensor]:
        """The outputs of a state: scale -> [B, head_channels[scale], h, w], channels-last."""
        pairs = zip(self.decoder_scales, state.hidden, strict=True)
        hidden = {scale: held[:, : self.channels[scale]] for scale, held in pairs}
        dtype = self.conv_in.weight.dtype  # a saved state may come from a pipeline of another one
        return {int(s): head(channels_last(hidden[int(s)].to(dtype))) for s, head in self.heads.items()}

    @property
    def state_channels(self) -> dict[int, int]:
        """Decoder scale -> channels of the state there."""
        maps = 2 + self.fusion_window if self.fusion_window else 1
        return {scale: maps * self.channels[scale] for scale in self.decoder_scales}

    def _decode(self, x: Tensor, hidden: Sequence[Tensor | None], count: int) -> list[Tensor]:
        skips = [self.conv_in(channels_last(x.to(self.conv_in.weight.dtype)))]
        for stage in self.encoder:
            skips.append(stage(skips[-1]))
        states, y = [], None
        for i, (s, before) in enumerate(zip(self.decoder_scales, hidden, strict=True)):
            y = self.decoder[i](skips[s] if y is None else torch.cat([fir_upsample(y), skips[s]], 1))
            held = None if before is None else channels_last(before)
            if self.fusion_window:
                y, held = self.conv_fusion[i](y, held, count)
            elif self.recurrent:
                y = held = self.gru[i](y, held)  # Eq. 1
            else:
                held = y
            states.append(held)
        return states


class EncoderUNet(Float32Island, RecurrentUNet):
    """The U-Net of E_tex and E_tri, which stays float32: what is added up along its residual blocks grows large.

    Of the shipped weights, over the photos of 14 people, the gates of E_tri's coarsest ConvGRU reach 1,762,000 and its
    encoder 114,300, the gates of E_tex 41,600; float16 ends at 65,504. All other networks stay below 600.
    """
