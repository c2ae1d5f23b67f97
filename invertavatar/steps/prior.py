"""A new person out of the prior: an avatar before its first photo (paper 3.1).

Shapes: L w-layers, K identity axes, r resolution of a map.

Nothing was observed, so every sum is zero and the recurrent encoders are empty: such an avatar is what the coarse stage
makes of its w+. The first photo given to it counts as the first photo of any avatar, only that w+ stays.
"""

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..avatar import Avatar
from ..head.arkit import ARKIT_NAMES
from ..head.displacement import Evidence
from ..head.fitting import HeadShape
from ..head.head_model import HeadModel
from ..head.pose import NUM_LANDMARKS
from ..inversion import Networks
from ..models.recurrent_unet import FusionState
from ..tracking.motion import Motion
from ..tracking.portrait import THUMBNAIL_SIZE

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
    head_model = networks.head_model
    z = randn_tensor((1, networks.generator.config.z_dim), generator, device, torch.float32).to(
        networks.generator.dtype
    )
    shape = sample_identity(head_model, generator, truncation_psi)
    residual_region = head_model.residual_region
    return Avatar(
        ws=networks.generator.mapping(z, truncation_psi=truncation_psi),
        texture_state=FusionState([], 0),
        triplane_state=FusionState([], 0),
        texture_sum=empty_sum(networks.texture_encoder.config.resolution, device),
        views=None,
        neutral_sum=torch.zeros(NUM_LANDMARKS, 3, device=device),
        crown=torch.ones(1, device=device),
        shape=HeadShape(*(x.to(device) for x in shape)),
        displacement=Evidence(*(x.to(device) for x in head_model.displacement.no_evidence())),
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


def sample_identity(head_model: HeadModel, generator: torch.Generator, spread: float) -> HeadShape:
    """A neutral head whose identity coefficients are normal with `spread` times their usual deviation."""
    usual = head_model.identity_std
    return head_model.person(randn_tensor(usual.shape, generator, usual.device, torch.float32) * usual * spread)


def empty_sum(resolution: int, device: torch.device) -> Tensor:
    """The running sum of the UV map before any photo, r = `resolution`."""
    return torch.zeros(1, 4, resolution, resolution, device=device)
