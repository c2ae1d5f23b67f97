"""What each stage trains, on what, and with which losses: a table."""

from dataclasses import dataclass
from typing import Literal

from ..episodes import MIX
from ..looks import FRAMES_OF_A_LOOK
from ..losses import LossWeights


@dataclass(frozen=True)
class StageSettings:
    """What a stage trains, on what, and with which losses.

    Attributes:
        parts: Prefixes of the names of the parameters that learn; the others stay as they are.
        weights: Of the loss terms.
        learning_rate: Of the networks.
        discriminator_learning_rate: Of the discriminator.
        photos: The smallest and the largest N.
        targets: T.
        mix: See `EpisodeSizes`.
        synthetic_subjects: Share of the episodes whose person is a sample of the prior.
        adversarial_from: Step from which the adversarial terms count.
        discriminator: Of pictures: the paper's "dual", or "features" on top of LPIPS' network, where there is no time
            for one that begins with pixels.
    """

    parts: tuple[str, ...]
    weights: LossWeights
    learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-3
    photos: tuple[int, int] = (1, 1)
    targets: int = 1
    mix: tuple[float, ...] = MIX
    synthetic_subjects: float = 0.0
    adversarial_from: int = 0
    discriminator: Literal["dual", "features"] = "dual"


# Eq. 3, for E_tex and E_tri in both settings.
_ENCODER_WEIGHTS = LossWeights(l1=1.0, lpips=1.0, planes=0.001, textures=0.001, features=1.0, adversarial=0.1)
_ENCODERS = ("latent_encoder", "texture_encoder", "triplane_encoder.unet")
_DECODERS = tuple(f"{encoder}.unet.{part}" for encoder in ("texture_encoder", "triplane_encoder")
                  for part in ("decoder", "gru", "heads"))  # fmt: skip

ON_TOP_OF_THE_PRIOR = (*_ENCODERS[1:], "generator.compositor")  # what `joint` teaches where the prior stays

STAGES: dict[str, StageSettings] = {
    # 6.1: the animatable GAN. Without equalised learning rates EG3D's 2.5e-3 would diverge.
    "prior": StageSettings(("generator",), LossWeights(l1=0.0, adversarial=1.0), 5e-4, 5e-4),
    # 6.2.1 with Eq. 2; the deviation is e4e's. Who a person is takes many people, of whom clips have the fewest.
    "latent": StageSettings(
        ("latent_encoder",),
        LossWeights(l1=1.0, lpips=0.5, face=0.25, matte=0.2, latent_adversarial=1.0, deviation=2e-4),
        1e-4,
        1e-4,
        mix=(0.25, 0.5, 0.25),
    ),
    # Not in the paper: its prior, where there is no compute for a GAN alone, from people that are inverted. The
    # compositor stays, as it serves photos first.
    "distill": StageSettings(
        (
            "latent_encoder",
            *(f"generator.{part}_backbone" for part in ("texture", "static", "face")),
            "generator.renderer",
        ),
        LossWeights(l1=1.0, lpips=0.5, face=0.25, matte=0.2, adversarial=0.2, deviation=2e-4),
        5e-4,
        5e-4,
        mix=(0.25, 0.5, 0.25),
        discriminator="features",
    ),
    # 6.2.2 with Eq. 3
    "oneshot": StageSettings(_ENCODERS[1:], _ENCODER_WEIGHTS, synthetic_subjects=0.5, adversarial_from=100_000),
    # 6.2.3: the encoding backbones stay fixed.
    "recurrent": StageSettings(
        _DECODERS, _ENCODER_WEIGHTS, photos=(4, 32), targets=4, synthetic_subjects=0.5, adversarial_from=100_000
    ),
    # Not in the paper: how shoulders and hair lie, without rendering anything.
    "posture": StageSettings(
        ("triplane_encoder.posture_network",),
        LossWeights(l1=0.0, consistency=3.0, equivariance=0.5, deviation=0.01),
        1e-3,
        targets=3,
    ),
    # Not in the paper: the last step of R, on looks that were made before (see `looks`); hours on a CPU.
    "compositor": StageSettings(
        ("generator.compositor",),
        LossWeights(l1=1.0, lpips=1.0, face=0.5, matte=0.5),
        1e-3,
        photos=(1, 4),
        targets=FRAMES_OF_A_LOOK,
    ),
    # DESIGN 8
    "joint": StageSettings(
        (*_ENCODERS, "generator"),
        LossWeights(
            l1=2.0,
            lpips=1.0,
            face=0.5,
            raw=0.3,
            matte=0.5,
            coarse=0.2,
            coarse_frame=0.2,
            colour=0.3,
            deviation=2e-4,
            adversarial=0.02,
        ),
        4e-4,
        4e-4,
        photos=(1, 4),
        targets=2,  # photos cost more than targets do
        adversarial_from=10_000,
    ),
}
