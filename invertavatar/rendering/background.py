"""The last step of a frame: moved in the picture as the driver moves, and laid over what the user chose (DESIGN 5).

Shapes: H W picture, S side of the output.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MediaError
from ..face.motion import Motion
from ..media import load_image

COLOURS = {"gray": "#808080", "grey": "#808080", "white": "#ffffff", "black": "#000000", "green": "#00b140"}
FILL_SIZE = 128  # pixels at which the person is taken out of their background: what stays is meant to be soft


def backdrop(photo: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The background of a crop [H, W, 3] uint8 with the person, matte [H, W] in 0..1, painted over from around them."""
    size = (FILL_SIZE, FILL_SIZE)
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(matte, size, interpolation=cv2.INTER_AREA) > 0.05
    hole = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8))
    filled = small if hole.all() else cv2.inpaint(small, hole, 3, cv2.INPAINT_TELEA)
    filled = cv2.resize(cv2.GaussianBlur(filled, (0, 0), 2), photo.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # Grown by three deviations of the blur, so that nothing of the person's own edge shines through.
    grown = cv2.GaussianBlur(cv2.dilate(matte, np.ones((31, 31), np.uint8)), (0, 0), 5)[..., None]
    return (photo * (1 - grown) + filled * grown).clip(0, 255).astype(np.uint8)


def resolve_background(background: str | Path | np.ndarray, original: Tensor, size: int) -> Tensor | None:
    """A background picture.

    Args:
        background: "original", "blur", "transparent", a colour name of `COLOURS`, "#rrggbb", a picture's path or
            anything else `load_image` takes.
        original: [3, r, r] uint8 `Avatar.backdrop`.
        size: S.

    Returns:
        [1, 3, S, S] in 0..1 on the device of `original`, or None for transparent.

    Raises:
        MediaError: There is no such colour or picture.
    """
    if isinstance(background, str) and background == "transparent":
        return None
    if isinstance(background, str) and background in ("original", "blur"):
        picture = original[None].float() / 255
        if background == "blur":
            picture = F.interpolate(picture, size=(24, 24), mode="area")
        return F.interpolate(picture, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
    code = COLOURS.get(background, background) if isinstance(background, str) else background
    if isinstance(code, str) and re.fullmatch("#[0-9a-fA-F]{6}", code):
        colour = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return torch.tensor(colour, device=original.device).view(1, 3, 1, 1).expand(1, 3, size, size)
    if isinstance(code, str) and not Path(code).suffix:
        names = ", ".join(COLOURS)
        raise MediaError(
            f'There is no background "{background}"; give original, blur, transparent, {names}, a colour such as '
            "#3366cc, or a picture."
        )
    picture = load_image(code, "the background")
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    square = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(square).to(original.device).permute(2, 0, 1)[None].float() / 255


def compose(colour: Tensor, opacity: Tensor, background: Tensor | None) -> Tensor:
    """Lay the avatar over its background.

    Args:
        colour: [B, 3, S, S] in -1..1, premultiplied by opacity.
        opacity: [B, 1, S, S] in 0..1.
        background: [1, 3, S, S] in 0..1, or None.

    Returns:
        [B, 3, S, S], or [B, 4, S, S] with straight alpha where there is no background, in 0..1.
    """
    light = (colour + opacity) / 2  # -1..1 premultiplied -> 0..1 premultiplied
    if background is None:
        return torch.cat([light / opacity.clamp(min=1e-3), opacity], 1).clamp(0, 1)
    return (light + (1 - opacity) * background).clamp(0, 1)


def shifts(clip: Motion) -> Tensor | None:
    """How the clip's frames are moved and scaled in the picture, [T, 2, 3] for `shifted`; None where none is."""
    if not ((clip.translation != 0).any() or (clip.scale != 1).any()):
        return None
    theta = torch.zeros(clip.num_frames, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / clip.scale
    theta[:, :, 2] = -clip.translation / clip.scale[:, None]
    return theta


def shifted(picture: Tensor, theta: Tensor) -> Tensor:
    """Pictures [B, C, S, S] moved and scaled by `shifts` [B, 2, 3]."""
    return F.grid_sample(picture, F.affine_grid(theta, picture.shape, align_corners=False), align_corners=False)
