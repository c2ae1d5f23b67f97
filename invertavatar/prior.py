"""A new person out of the prior: an avatar before its first photo (paper 3.1).

Shapes: L w-layers, V 478 landmarks, K identity axes, r resolution of a map.

Nothing was observed, so every sum is zero and the recurrent encoders are empty: such an avatar is what the coarse stage
makes of its w+. The first photo given to it counts as the first photo of any avatar, only that w+ stays.
"""

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from .avatar import Avatar
from .face.arkit import ARKIT_NAMES
from .face.face_model import FaceModel
from .face.motion import Motion
from .face.portrait import THUMBNAIL_SIZE
from .inversion import Networks
from .models.recurrent_unet import FusionState

BACKDROP_SIZE, GREY = 128, 128


def sample_avatar(
    networks: Networks, generator: torch.Generator, truncation_psi: float, model: str, device: torch.device
) -> Avatar:
    """Draw a person.

    Args:
        networks: Of a pipeline.
        generator: What is random comes from here: first z, then the identity.
        truncation_psi: 0..1; 1 draws people as they differ, 0 gives the average person.
        model: `InvertAvatarPipeline.fingerprint`.
        device: Where the avatar shall be.

    Returns:
        An avatar of no photos, with a frontal pose and no expression, before a grey background.
    """
    config, face_model = networks.generator.config, networks.face_model
    z = randn_tensor((1, config.z_dim), generator, device, torch.float32).to(networks.generator.dtype)
    neutral = sample_identity(face_model, generator, truncation_psi).to(device)
    residual_region = face_model.residual_region
    return Avatar(
        ws=networks.generator.mapping(z, truncation_psi=truncation_psi),
        texture_state=FusionState([], 0),
        triplane_state=FusionState([], 0),
        texture_sum=empty_sum(networks.texture_encoder.config.resolution, device),
        detail_sum=empty_sum(config.detail_resolution, device),
        views=None,
        rest_sum=torch.zeros_like(neutral),
        neutral=neutral,
        rest=Motion(
            rotation=torch.eye(3)[None],
            expression=torch.zeros(1, len(ARKIT_NAMES)),
            residual=torch.zeros(1, len(residual_region)),
            residual_region=residual_region,
        ),
        thumbnails=torch.zeros(0, 3, THUMBNAIL_SIZE, THUMBNAIL_SIZE, dtype=torch.uint8, device=device),
        backdrop=torch.full((3, BACKDROP_SIZE, BACKDROP_SIZE), GREY, dtype=torch.uint8, device=device),
        photos=(),
        model=model,
    )


def sample_identity(face_model: FaceModel, generator: torch.Generator, spread: float) -> Tensor:
    """A neutral face [V, 3] whose identity coefficients are normal with `spread` times their usual deviation."""
    usual = face_model.identity_std
    coefficients = randn_tensor(usual.shape, generator, usual.device, torch.float32) * usual * spread
    return face_model.mean + torch.einsum("k,kvc->vc", coefficients, face_model.identity_basis)


def empty_sum(resolution: int, device: torch.device) -> Tensor:
    """The running sum of the UV map before any photo, r = `resolution`."""
    return torch.zeros(1, 4, resolution, resolution, device=device)
