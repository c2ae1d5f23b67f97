"""Networks of both presets' structure, with widths and resolutions so small that a test takes a blink."""

import torch

from invertavatar.models.presets import PRESETS, build_networks

WIDTHS = {"4": 8, "8": 8, "16": 8, "32": 8}


def tiny_sizes(preset: str = "compact") -> dict[str, dict]:
    """A preset with its own switches and small numbers; heads loud enough to be heard."""
    small = {
        "generator": {
            "w_dim": 16,
            "z_dim": 16,
            "plane_channels": 4,
            "texture_channels": WIDTHS,
            "static_channels": WIDTHS,
            "face_channels": WIDTHS,
            "texture_resolutions": (8, 16, 32),
            "neural_resolution": 32,
            "image_resolution": 128,
            "feature_channels": 8,
            "decoder_channels": 8,
            "coarse_samples": 6,
            "fine_samples": 6,
            "super_resolution_channels": (8, 8),
            "output_gain": 0.2,
            "detail_resolution": 64,
        },
        "latent_encoder": {
            "image_size": 128,
            "compact_channels": (4, 4, 8, 8, 8),
            "ir_se_stages": ((64, 1), (64, 2), (64, 2), (64, 1)),  # 64: squeeze-and-excitation keeps a sixteenth
        },
        "texture_encoder": {
            "resolution": 32,
            "channels": (8, 8, 8),
            "texture_channels": 4,
            "texture_resolutions": (8, 16, 32),
        },
        "triplane_encoder": {"resolution": 64, "channels": (8, 8, 8, 8, 8), "plane_channels": 4},
    }
    if preset == "compact":
        small["generator"]["compositor_channels"] = (8, 8, 8)
        small["latent_encoder"]["face_channels"] = (4, 8)
        small["generator"]["reprojection"] = {"depth_size": 128, "flow_size": 64, "rounds": 60}
        small["triplane_encoder"]["posture_channels"] = (4, 4, 4, 8, 8)
    return {name: PRESETS[preset][name] | sizes for name, sizes in small.items()}


def tiny_networks(preset: str = "compact", seed: int = 0, **generator) -> dict:
    """Networks under the names of the pipeline's components; further arguments override the generator's."""
    sizes = tiny_sizes(preset)
    sizes["generator"] |= generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = build_networks(sizes)
    for network in networks.values():
        network.eval()
    return networks
