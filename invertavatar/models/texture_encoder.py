"""E_tex and E_tex_rec: what the photos show of the skin -> offsets to the neural texture maps (paper 3.2, 3.3).

Shapes: B batch, N source photos, C channels, r resolution of a texture map. All maps live in UV space.
"""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..runtime.half_precision import Network
from .recurrent_unet import EncoderUNet, FusionMode, FusionState


class TextureEncoder(Network):
    """E_tex (`recurrent=False`) and E_tex_rec: U-Net in UV space, pixel-aligned with the textures it corrects.

    Args:
        resolution: Size of the input maps in pixels.
        channels: C at each scale of the U-Net, from `resolution` downward by halves.
        texture_channels: C of the neural textures.
        texture_resolutions: Resolutions of the neural textures; each is `resolution` divided by a power of two; with no
            resolution it is the ablation "without E_tex".
        mirror: Also look at the left-right mirrored photo, which is how an unseen cheek is filled (DESIGN 5.1).
        recurrent: ConvGRUs in the decoder, so that more than one photo can be fused.
        layers_per_block: Residual blocks per scale.
        uv: Look at photos in the UV map; False: as they are, the paper's baseline "posed images" (4.3.2, Tab. 3).
        fusion_window: See `RecurrentUNet`; 0 has ConvGRUs.
    """

    later_settings = MappingProxyType({"uv": True, "fusion_window": 0})

    @register_to_config
    def __init__(
        self,
        resolution: int = 128,
        channels: Sequence[int] = (16, 32, 48, 64, 80),
        texture_channels: int = 16,
        texture_resolutions: Sequence[int] = (32, 64, 128),
        mirror: bool = True,
        recurrent: bool = True,
        layers_per_block: int = 1,
        uv: bool = True,
        fusion_window: int = 0,
    ):
        super().__init__()
        scales = {(resolution // r).bit_length() - 1: texture_channels for r in texture_resolutions}
        in_channels = 3 + 3 + 1 + (3 + 1 if mirror else 0)
        self.unet = EncoderUNet(in_channels, channels, scales, recurrent, layers_per_block, fusion_window=fusion_window)

    def forward(
        self,
        photo: Tensor,
        residual: Tensor,
        visibility: Tensor,
        mirrored_photo: Tensor | None = None,
        mirrored_visibility: Tensor | None = None,
        state: FusionState | None = None,
        fusion: FusionMode = "gru",
    ) -> tuple[dict[int, Tensor], FusionState]:
        """Adds one photo, or N with an axis N after B in each input, to the state.

        Args:
            photo: [B, 3, resolution, resolution], the photo unprojected to UV (without `uv` as it is), in -1..1.
            residual: [B, 3, resolution, resolution], photo - coarse render, likewise.
            visibility: [B, 1, resolution, resolution] in 0..1; without `uv` the matte.
            mirrored_photo: [B, 3, resolution, resolution], with `mirror` only.
            mirrored_visibility: [B, 1, resolution, resolution], with `mirror` only.
            state: The state after the photos so far; None at the first.
            fusion: See `RecurrentUNet.forward`.

        Returns:
            The offsets after these photos, resolution -> [B, C, r, r], and the new state.
        """
        mirrored = (mirrored_photo, mirrored_visibility) if self.config.mirror else ()
        x = torch.cat([photo, residual, visibility, *(x for x in mirrored if x is not None)], -3)
        state = self.unet.forward_sequence(x if x.ndim == 5 else x[:, None], state, fusion)
        return self.offsets(state), state

    @apply_forward_hook
    def offsets(self, state: FusionState) -> dict[int, Tensor]:
        """The offsets a state stands for: resolution -> [B, C, r, r]."""
        return {self.config.resolution >> scale: x for scale, x in self.unet.apply_heads(state).items()}
