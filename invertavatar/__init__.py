"""InvertAvatar: one to N portrait photos in, an animatable 3D head avatar out.

The names below are loaded on first use, so that a command's `--help` need not wait for torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "InvertAvatarPipeline": "invertavatar.pipelines.pipeline_invertavatar",
    "InvertAvatarPipelineOutput": "invertavatar.pipelines.pipeline_output",
    "Avatar": "invertavatar.avatar",
    "BakedAvatar": "invertavatar.baking.baked_avatar",
    "Motion": "invertavatar.tracking.motion",
    "HeadModel": "invertavatar.head.head_model",
    "FaceTracker": "invertavatar.tracking.tracker",
    "AvatarGenerator": "invertavatar.models.generator",
    "LatentEncoder": "invertavatar.models.latent_encoder",
    "TextureEncoder": "invertavatar.models.texture_encoder",
    "TriplaneEncoder": "invertavatar.models.triplane_encoder",
    "InvertAvatarError": "invertavatar.errors",
    "ModelMixin": "diffusers",  # diffusers looks this name up in a component's library to find its load method
}
__all__ = [name for name in _HOMES if name != "ModelMixin"]


def __getattr__(name: str) -> type:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'invertavatar' has no attribute '{name}'")
