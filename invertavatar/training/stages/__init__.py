"""The stages of training: the paper's four (supplement 6) and `joint`, which trains the compact networks end to end.

What differs between stages stands in `STAGES`.
"""

from .base import Stage, StageOutput
from .compositor import CompositorStage
from .latent import LatentStage
from .prior import PriorStage
from .reconstruction import ReconstructionStage
from .settings import STAGES, StageSettings
from .torso_pose import TorsoPoseStage

STAGE_CLASSES: dict[str, type[Stage]] = {
    "prior": PriorStage,
    "latent": LatentStage,
    "oneshot": ReconstructionStage,
    "recurrent": ReconstructionStage,
    "posture": TorsoPoseStage,
    "compositor": CompositorStage,
    "joint": ReconstructionStage,
}

__all__ = [
    "STAGES",
    "STAGE_CLASSES",
    "CompositorStage",
    "ReconstructionStage",
    "Stage",
    "StageOutput",
    "StageSettings",
]
