"""The paper's variants of the encoders (Tab. 3, Fig. 6), each to be trained alike.

All begin with the same networks, of which E_tex and E_tri are new, and learn on the same episodes; E_latent and G stay
as they are (supplement 6.2.2, 6.2.3). The renderer does not reproject photos, which would carry their colours past the
encoders: what an avatar shows of a photo came through w+, E_tex and E_tri, as in the paper.
"""

from dataclasses import dataclass, field, replace

import torch

from ..inversion import Networks
from ..runtime.half_precision import Network
from .stages import STAGES

STAGE = "recurrent"
WINDOW = 4  # photos, of ConvFusion
AS_PAPER = {
    "generator": {"observed_colour": False, "reproject_photos": False},
    "triplane_encoder": {"plane_offsets": False},
}
NO_E_TEX = {"texture_encoder": {"texture_resolutions": ()}}
NO_E_TRI = {"triplane_encoder": {"sft": False}}
FRESH = ("texture_encoder", "triplane_encoder.unet")

# As the paper's second and third stage without samples of the prior and adversarial loss, which count late: Eq. 3 has
# L1 and LPIPS left. Twenty times the rate, as there are minutes instead of days.
SETTINGS = replace(
    STAGES[STAGE],
    parts=FRESH,
    weights=replace(STAGES[STAGE].weights, planes=0.0, textures=0.0, features=0.0, adversarial=0.0),
    learning_rate=2e-3,
    photos=(1, WINDOW),
    targets=1,
    synthetic_subjects=0.0,
)


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        title: What the row is called.
        paper: What the paper calls it; empty where it has no such row.
        switches: Component -> settings that differ, besides `AS_PAPER`.
        seed: Of the new weights and of the episodes.
        learns: Whether anything is left to train.
    """

    title: str
    paper: str = ""
    switches: dict[str, dict] = field(default_factory=dict)
    seed: int = 0
    learns: bool = True


VARIANTS: dict[str, Variant] = {
    "ours": Variant("E_tex in UV, E_tri by SFT, ConvGRUs", "Ours"),
    "ours_again": Variant("the same with another seed", seed=1),
    "offsets": Variant(
        "E_tri by offsets instead of SFT", "E_tri offsets", {"triplane_encoder": {"sft": False, "plane_offsets": True}}
    ),
    "posed": Variant("E_tex sees the picture instead of UV", "wo NT Enc", {"texture_encoder": {"uv": False}}),
    "without_e_tex": Variant("without E_tex", switches=NO_E_TEX),
    "without_e_tri": Variant("without E_tri", switches=NO_E_TRI),
    "without_both": Variant("without both: w+ alone", "wo both Enc", NO_E_TEX | NO_E_TRI, learns=False),
    "conv_fusion": Variant(
        "ConvFusion instead of ConvGRUs",
        "ConvFusion",
        {name: {"fusion_window": WINDOW} for name in ("texture_encoder", "triplane_encoder")},
    ),
}


def variant_networks(networks: Networks, variant: Variant) -> Networks:
    """The networks of a variant: E_tex and E_tri's U-Net new, with the same weights in parts that variants of a seed
    have in common; all else copied.

    Args:
        networks: That everything else is of; they stay as they are.
        variant: From `VARIANTS`.
    """
    parts = networks._asdict()
    for name in ("texture_encoder", "triplane_encoder", "generator"):
        torch.manual_seed(variant.seed)
        switches = AS_PAPER.get(name, {}) | variant.switches.get(name, {})
        parts[name] = switched(parts[name], switches)
        known = networks._asdict()[name].state_dict()
        known = {key: known[key] for key in parts[name].state_dict() if not f"{name}.{key}".startswith(FRESH)}
        parts[name].load_state_dict(known, strict=False)
    return Networks(**parts)


def switched(component: Network, switches: dict) -> Network:
    """A component of the same configuration but for some switches, with new weights."""
    config = {key: value for key, value in component.config.items() if not key.startswith("_")}
    return type(component)(**config | switches)
