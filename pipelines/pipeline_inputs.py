"""What users give the pipeline as numbers and names: one sentence for each rule they break, and tensors of the rest."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from invertavatar.avatar import Avatar
from invertavatar.camera import rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.tracking.retargeting import named_scores

OUTPUT_TYPES = ("pil", "np", "pt")
TEXTURE_SIZES = (256, 512, 1024, 2048, 4096)


def check_frames(
    field_of_view: float | None,
    zoom: float,
    height: int,
    batch_size: int | None,
    output_type: str,
    output_types: Sequence[str] = OUTPUT_TYPES,
) -> None:
    """One sentence for each rule that the arguments of frames break."""
    if field_of_view is not None and not 0 <= field_of_view <= 90:
        raise InvertAvatarError(f"The field of view must be between 0 and 90 degrees, not {field_of_view}.")
    if not zoom > 0:
        raise InvertAvatarError(f"The zoom must be above 0, not {zoom}.")
    if not isinstance(height, int) or not 32 <= height <= 4096:
        raise InvertAvatarError(f"The height of the frames must be between 32 and 4096 pixels, not {height}.")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise InvertAvatarError(f"The batch size must be 1 or more frames, not {batch_size}.")
    check_output_type(output_type, output_types)


def check_output_type(output_type: str, output_types: Sequence[str] = OUTPUT_TYPES) -> None:
    """One sentence where there is no such kind of frames."""
    if output_type not in output_types:
        raise InvertAvatarError(f'There is no output type "{output_type}"; use one of {", ".join(output_types)}.')


def check_mesh(texture_size: int) -> None:
    """One sentence where a mesh cannot have such a texture."""
    if texture_size not in TEXTURE_SIZES:
        raise InvertAvatarError(f"The texture size must be one of {TEXTURE_SIZES} pixels, not {texture_size}.")


def rotations(yaw: float | Sequence[float], pitch: float | Sequence[float], roll: float | Sequence[float]) -> Tensor:
    """[..., 3, 3] from degrees, each a number or a list of them."""
    try:
        angles = torch.broadcast_tensors(*(torch.as_tensor(a, dtype=torch.float32) for a in (yaw, pitch, roll)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvertAvatarError("Give yaw, pitch and roll as one number each or as lists of one length.") from error
    if not torch.stack(angles).isfinite().all():
        raise InvertAvatarError("Give yaw, pitch and roll in degrees; one of them is not finite.")
    return rotation_from_angles(*angles)


def posed_expression(avatar: Avatar, expression: Mapping[str, float] | None) -> tuple[Tensor, Tensor]:
    """Scores [1, 52] and residual [1, K] of an expression by ARKit names; of the first photo for None."""
    if expression is None:
        return avatar.rest.expression, avatar.rest.residual
    return named_scores(expression)[None], torch.zeros_like(avatar.rest.residual)
