"""E_tri and E_tri_rec: what the photos show of the whole head -> modulation of the static tri-plane (paper 3.2, 3.3).

Shapes: B batch, N source photos, C channels, H W image, r resolution of a feature map.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..runtime.half_precision import Network
from .backbones import ChannelTable
from .recurrent_unet import EncoderUNet, FusionMode, FusionState
from .stylegan2 import fir_upsample
from .torso_pose import TorsoPoseNetwork


class StaticModulation(NamedTuple):
    """How the photos change the static tri-plane.

    `sft` maps a resolution to (scale, shift), each [B, C, r, r], ready for `SynthesisBackbone.forward`. `plane_offsets`
    [B, 3C, r, r] adds to the planes. Where the network was made without, `sft` is empty and `plane_offsets` None.
    """

    sft: dict[int, tuple[Tensor, Tensor]]
    plane_offsets: Tensor | None


class TriplaneEncoder(Network):
    """E_tri (`recurrent=False`) and E_tri_rec: U-Net from the picture, or the canonical frontal plane, to CS-SFT maps.

    Args:
        sft_channels: Resolution -> C of the scale and of the shift, as `static_backbone.sft_channels` has it. Keys may
            be strings, which is what a saved configuration makes of them.
        resolution: Size of the input maps in pixels.
        in_channels: 7 = photo, matte and residual in the picture domain (paper); 8 with the visibility that comes with
            resampling them into the canonical frontal plane (DESIGN 5.1).
        channels: C at each scale of the U-Net, from `resolution` downward by halves, to the coarsest of `sft_channels`.
        plane_offsets: Also predict offsets to the planes, at the finest SFT resolution; without `sft` at each.
        plane_channels: C of each of the three planes; matters with `plane_offsets` only.
        recurrent: ConvGRUs in the decoder, so that more than one photo can be fused.
        layers_per_block: Residual blocks per scale.
        posture_channels: C at each scale of the network that finds how shoulders and hair lie; none leaves them where
            the head's pose puts them.
        sft: Modulate G_static. Offsets alone are the paper's baseline "E_tri offsets" (4.3.2, Tab. 3), neither of the
            two is the ablation "without E_tri".
        fusion_window: See `RecurrentUNet`; 0 has ConvGRUs.
    """

    later_settings = MappingProxyType({"sft": True, "fusion_window": 0})

    @register_to_config
    def __init__(
        self,
        sft_channels: ChannelTable,
        resolution: int = 128,
        in_channels: int = 8,
        channels: Sequence[int] = (16, 32, 48, 64, 72, 72),
        plane_offsets: bool = True,
        plane_channels: int = 16,
        recurrent: bool = True,
        layers_per_block: int = 1,
        posture_channels: Sequence[int] = (24, 32, 64, 96, 128),
        sft: bool = True,
        fusion_window: int = 0,
    ):
        super().__init__()
        self.posture_network = TorsoPoseNetwork(posture_channels) if posture_channels else None
        self.sft_channels = {int(r): c for r, c in sft_channels.items()}
        self.finest = max(self.sft_channels)
        heads = {self._scale(r): 2 * c for r, c in self.sft_channels.items() if sft}
        if plane_offsets:
            for r in (self.finest,) if sft else self.sft_channels:
                heads[self._scale(r)] = heads.get(self._scale(r), 0) + 3 * plane_channels
        self.unet = EncoderUNet(in_channels, channels, heads, recurrent, layers_per_block, fusion_window=fusion_window)

    @property
    def canonical(self) -> bool:
        """Whether it looks at the canonical frontal plane (DESIGN 5.1), or at the picture itself (paper)."""
        return self.config.in_channels == 8

    def _scale(self, resolution: int) -> int:
        return (self.config.resolution // resolution).bit_length() - 1

    def forward(
        self,
        photo: Tensor,
        matte: Tensor,
        residual: Tensor,
        visibility: Tensor | None = None,
        state: FusionState | None = None,
        fusion: FusionMode = "gru",
    ) -> tuple[StaticModulation, FusionState]:
        """Adds one photo, or N with an axis N after B in each input, to the state.

        Args:
            photo: [B, 3, resolution, resolution] in -1..1.
            matte: [B, 1, resolution, resolution] in 0..1, the person.
            residual: [B, 3, resolution, resolution], photo - coarse render.
            visibility: [B, 1, resolution, resolution] in 0..1, with `in_channels` 8 only.
            state: The state after the photos so far; None at the first.
            fusion: See `RecurrentUNet.forward`.

        Returns:
            The modulation after these photos, and the new state.
        """
        x = torch.cat([photo, matte, residual, *([] if visibility is None else [visibility])], -3)
        state = self.unet.forward_sequence(x if x.ndim == 5 else x[:, None], state, fusion)
        return self.modulation(state), state

    @apply_forward_hook
    def torso_pose(
        self, photo: Tensor, matte: Tensor, inside: Tensor, rotation: Tensor, head_height: Tensor
    ) -> Tensor | None:
        """How shoulders and hair lie in a picture: see `TorsoPoseNetwork.forward`; None without that network."""
        if self.posture_network is None:
            return None
        return self.posture_network(photo, matte, inside, rotation, head_height)

    @apply_forward_hook
    def modulation(self, state: FusionState) -> StaticModulation:
        """The modulation a state stands for."""
        outputs = self.unet.apply_heads(state)
        sft, offsets = {}, None
        if not self.config.sft:
            for scale in sorted(outputs, reverse=True):  # from coarse to fine
                offsets = outputs[scale] if offsets is None else fir_upsample(offsets) + outputs[scale]
            return StaticModulation(sft, offsets)
        for r, c in self.sft_channels.items():
            scale, shift, remainder = outputs[self._scale(r)].tensor_split([c, 2 * c], 1)
            sft[r] = (scale, shift)
            if self.config.plane_offsets and r == self.finest:
                offsets = remainder
        return StaticModulation(sft, offsets)
