"""A photo joins an avatar, the first as the hundredth (paper 3.3); `prior` makes one before its first photo."""

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from ..avatar import Avatar, PhotoRecord
from ..errors import AvatarError
from ..head.driven_head import dressed_head
from ..head.known_head import KnownHead, unknown_head, with_outline
from ..inversion import Inversion, Networks, invert_step, torso_pose_of
from ..models.recurrent_unet import FusionMode
from ..rendering.background import backdrop
from ..rendering.observation import View
from ..rendering.uv import UVAtlas
from ..runtime.half_precision import all_finite
from ..tracking.likeness import UNLIKE, likeness
from ..tracking.motion import Motion
from ..tracking.portrait import Portrait

logger = logging.getLogger(__name__)


def with_photo(
    networks: Networks,
    avatar: Avatar | None,
    portrait: Portrait,
    atlas: UVAtlas,
    fusion: FusionMode,
    model: str,
    step: Callable = invert_step,
) -> Avatar:
    """An avatar and one photo more; the avatar given stays as it is.

    Args:
        networks: Of a pipeline.
        avatar: What is known so far; None at the first photo.
        portrait: The tracked photo, on the networks' device.
        atlas: At the texture encoder's resolution.
        fusion: See `invert_step`.
        model: `InvertAvatarPipeline.fingerprint`.
        step: `invert_step`, or what does the same by other means.

    Raises:
        AvatarError: The networks' numbers leave the range of their dtype.
    """
    head_model = networks.head_model

    # The person's head over all photos so far.
    known = unknown_head(head_model)
    if avatar is not None:
        known = KnownHead(avatar.neutral_sum, avatar.num_images, avatar.crown, avatar.displacement)
    looks = (portrait.photo, portrait.matte, portrait.inside, portrait.rotation)
    known, shape, skin = with_outline(
        head_model, known, portrait.vertices, portrait.expression, portrait.rotation, portrait.matte, portrait.inside
    )
    state = avatar and inversion_of(avatar)
    head = dressed_head(
        head_model,
        skin,
        portrait.vertices,
        shape.landmarks,
        head_model.stand_off(known.displacement),
        shape.joints,
        portrait.rotation,
        torso_pose_of(networks, *looks),
    )
    view = View(*looks, skin, head)
    weight = skin.new_tensor([portrait.sharpness**2])
    state, maps = step(networks, state, view, atlas, weight, fusion)
    if not all_finite((state, view, known)):
        raise AvatarError(
            f"{portrait.name} has not joined the avatar, as numbers that are not finite came out of the networks in "
            f"{str(networks.generator.dtype).removeprefix('torch.')}: load the model with dtype=torch.float32, and "
            "download it again if that does not help."
        )
    alike = avatar and likeness(avatar.texture_sum, maps.texture, maps.visibility)
    if alike is not None and alike < UNLIKE:
        logger.warning("%s seems to show another person than the photos before; leave it out if so.", portrait.name)
    visible = float((maps.visibility > 0.1).float().sum() / atlas.mask.sum())
    record = PhotoRecord(portrait.name, *portrait.angles, float(portrait.scale), visible)
    kept = {"neutral_sum": known.neutral_sum, "crown": known.crown, "shape": shape, "displacement": known.displacement}
    if avatar is None or not avatar.photos:
        landmarks = head_model.unbiased(portrait.vertices, portrait.rotation)
        behind = backdrop(portrait.picture, *(x[0, 0].cpu().numpy() for x in (portrait.matte, portrait.inside)))
        rest = Motion(
            rotation=portrait.rotation,
            expression=portrait.expression,
            residual=head_model.residual(landmarks, shape.landmarks, portrait.expression),
            residual_region=head_model.residual_region,
            torso_pose=head.torso_pose,
        )
        return Avatar(
            **state._asdict(),
            **kept,
            rest=rest,
            thumbnails=portrait.thumbnail[None],
            backdrop=torch.from_numpy(behind).permute(2, 0, 1).to(landmarks.device),
            photos=(record,),
            model=model,
        )
    return replace(
        avatar,
        **state._asdict(),
        **kept,
        thumbnails=torch.cat([avatar.thumbnails, portrait.thumbnail[None]]),
        photos=(*avatar.photos, record),
    )


def inversion_of(avatar: Avatar) -> Inversion:
    """What the networks remember in an avatar."""
    return Inversion(*(getattr(avatar, name) for name in Inversion._fields))
