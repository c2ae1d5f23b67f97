"""The stages of training: the paper's four (supplement 6) and `joint`, which trains the compact networks end to end.

What differs between stages stands in `STAGES`.
"""

from .base import Stage, StageOutput
from .compositor import CompositorStage
from .distill import DistillStage
from .latent import LatentStage
from .prior import PriorStage
from .reconstruction import ReconstructionStage
from .settings import ON_TOP_OF_THE_PRIOR, STAGES, StageSettings
from .torso_pose import TorsoPoseStage

STAGE_CLASSES: dict[str, type[Stage]] = {
    "prior": PriorStage,
    "latent": LatentStage,
    "distill": DistillStage,
    "oneshot": ReconstructionStage,
    "recurrent": ReconstructionStage,
    "posture": TorsoPoseStage,
    "compositor": CompositorStage,
    "joint": ReconstructionStage,
}

__all__ = [
    "ON_TOP_OF_THE_PRIOR",
    "STAGES",
    "STAGE_CLASSES",
    "CompositorStage",
    "ReconstructionStage",
    "Stage",
    "StageOutput",
    "StageSettings",
]
