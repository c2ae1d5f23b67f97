"""The two sizes of the same classes: `paper` as published, `compact` for laptops and short training (DESIGN 5)."""

from collections.abc import Mapping
from typing import TypedDict

from ..camera import EG3D_FIELD_OF_VIEW
from .compositor import CompositionSettings
from .generator import AvatarGenerator
from .latent_encoder import LatentEncoder
from .texture_encoder import TextureEncoder
from .triplane_encoder import TriplaneEncoder

_EG3D_CHANNELS = {"4": 512, "8": 512, "16": 512, "32": 512, "64": 512, "128": 256, "256": 128}

PRESETS: dict[str, dict[str, dict]] = {
    "compact": {
        "generator": {"layerwise_mapping": True, "composition": CompositionSettings(flow=4.0)._asdict()},
        "latent_encoder": {"face_channels": (32, 64, 96, 128), "refinements": 1},
        "texture_encoder": {},
        "triplane_encoder": {},
    },
    "paper": {
        "generator": {
            "w_dim": 512,
            "z_dim": 512,
            "plane_channels": 32,
            "texture_channels": {k: v for k, v in _EG3D_CHANNELS.items() if k != "256"},
            "static_channels": _EG3D_CHANNELS,
            "face_channels": _EG3D_CHANNELS,
            "texture_resolutions": (32, 64, 128),
            "image_resolution": 512,
            "feature_channels": 32,
            "decoder_channels": 64,
            "super_resolution_channels": (128, 128, 64),
            "field_of_view": EG3D_FIELD_OF_VIEW,
            "observed_colour": False,
            "surface_rendering": False,
            "output_gain": 1.0,
        },
        "latent_encoder": {"backbone": "ir_se_50"},
        "texture_encoder": {
            "resolution": 256,
            "channels": (64, 128, 256, 512, 512),
            "texture_channels": 32,
            "mirror": False,
            "layers_per_block": 2,
        },
        "triplane_encoder": {
            "resolution": 512,
            "in_channels": 7,
            "channels": (32, 64, 128, 256, 512, 512, 512, 512),
            "plane_offsets": False,
            "layers_per_block": 2,
            "posture_channels": (),
        },
    },
}


class FreshNetworks(TypedDict):
    """The networks under the names of the pipeline's components."""

    latent_encoder: LatentEncoder
    texture_encoder: TextureEncoder
    triplane_encoder: TriplaneEncoder
    generator: AvatarGenerator


def build_networks(preset: str | Mapping[str, Mapping] = "compact") -> FreshNetworks:
    """Fresh networks; random, so seed torch before.

    Args:
        preset: A name in `PRESETS`, or a table of the same form: component -> arguments of its class.

    Raises:
        ValueError: There is no such preset.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f'There is no preset "{preset}"; choose one of {", ".join(PRESETS)}.')
    sizes = PRESETS[preset] if isinstance(preset, str) else preset
    generator = AvatarGenerator(**sizes["generator"])
    sft = {str(r): c for r, c in generator.static_backbone.sft_channels.items()}
    return {
        "latent_encoder": LatentEncoder(
            num_ws=generator.num_ws, w_dim=generator.config.w_dim, **sizes["latent_encoder"]
        ),
        "texture_encoder": TextureEncoder(**sizes["texture_encoder"]),
        "triplane_encoder": TriplaneEncoder(sft_channels=sft, **sizes["triplane_encoder"]),
        "generator": generator,
    }
