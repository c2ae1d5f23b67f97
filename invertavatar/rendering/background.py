"""The last step of a frame: moved in the picture as the driver moves, and laid over what the user chose (DESIGN 5).

Shapes: H W picture, S side of the whole crop.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MediaError
from ..media import load_image
from ..tracking.motion import Motion
from .framing import Framing

COLOURS = {"gray": "#808080", "grey": "#808080", "white": "#ffffff", "black": "#000000", "green": "#00b140"}
FILL_SIZE = 128  # pixels at which the person is taken out of their background: what stays is meant to be soft


def backdrop(photo: np.ndarray, matte: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The background of a crop [S, S, 3] uint8 with the person, matte [S, S] in 0..1, painted over from around them,
    and so is what is not `inside` [S, S] in 0..1 of the photo.
    """
    size = (FILL_SIZE, FILL_SIZE)
    unknown = np.maximum(matte, (inside == 0).astype(np.float32))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(unknown, size, interpolation=cv2.INTER_AREA) > 0.05
    hole = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8))
    filled = cv2.GaussianBlur(small if hole.all() else surrounded(small, hole), (0, 0), 2)
    filled = cv2.resize(filled, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # Grown by three deviations of the blur, so that nothing of the person's own edge shines through.
    unit = len(photo) / 512
    kernel = 2 * round(15 * unit) + 1
    grown = cv2.GaussianBlur(cv2.dilate(unknown, np.ones((kernel, kernel), np.uint8)), (0, 0), 5 * unit)[..., None]
    return (photo * (1 - grown) + filled * grown).clip(0, 255).round().astype(np.uint8)


def surrounded(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A picture [H, W, C] uint8 with its holes [H, W] (not 0) filled: by inpainting near their border, and softly by
    what is around them further in, where inpainting would draw streaks.
    """
    known = (hole == 0).astype(np.float32)
    near = cv2.inpaint(picture, hole, 3, cv2.INPAINT_TELEA).astype(np.float32)
    far, weight = np.zeros_like(near), np.zeros_like(known)
    for deviation in 2.0 ** np.arange(6, 0, -1):  # from wide to narrow: what is nearer takes over
        coverage = cv2.GaussianBlur(known, (0, 0), deviation)
        mean = cv2.GaussianBlur(picture * known[..., None], (0, 0), deviation) / np.maximum(coverage, 1e-6)[..., None]
        trust = np.clip(coverage / 0.25, 0, 1) if weight.any() else np.ones_like(coverage)
        far, weight = far + (mean - far) * trust[..., None], np.maximum(weight, trust)
    depth = cv2.distanceTransform((hole != 0).astype(np.uint8), cv2.DIST_L2, 3)
    blend = np.clip(depth / (0.04 * len(picture)), 0, 1)[..., None]
    return (near * (1 - blend) + far * blend).clip(0, 255).round().astype(np.uint8)


def resolve_background(background: str | Path | np.ndarray, original: Tensor, frame: Framing) -> Tensor | None:
    """A background picture.

    Args:
        background: "original", "blur", "transparent", a colour name of `COLOURS`, "#rrggbb", a picture's path or
            anything else `load_image` takes.
        original: [3, r, r] uint8 `Avatar.backdrop`.
        frame: How frames [H, W] are cut out of the crop.

    Returns:
        [1, 3, H, W] in 0..1 on the device of `original`, or None for transparent.

    Raises:
        MediaError: There is no such colour or picture.
    """
    shape = (frame.height, frame.width)
    if isinstance(background, str) and background == "transparent":
        return None
    if isinstance(background, str) and background in ("original", "blur"):
        picture = original[None].float() / 255
        if background == "blur":
            picture = F.interpolate(picture, size=(24, 24), mode="area")
        side = max(round(frame.side / frame.extent), 1)  # of the crop
        square, shrinks = (side, side), picture.shape[-1] > side
        picture = F.interpolate(picture, size=square, mode="bicubic", align_corners=False, antialias=shrinks)
        window, size = frame.window, frame.window.size
        theta = picture.new_tensor(
            [[size[0] / 2, 0, window.left + size[0] / 2], [0, size[1] / 2, window.top + size[1] / 2]]
        )
        grid = F.affine_grid(theta[None], [1, 3, *shape], align_corners=False)
        return F.grid_sample(picture, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)
    code = COLOURS.get(background, background) if isinstance(background, str) else background
    if isinstance(code, str) and re.fullmatch("#[0-9a-fA-F]{6}", code):
        colour = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return torch.tensor(colour, device=original.device).view(1, 3, 1, 1).expand(1, 3, *shape)
    if isinstance(code, str) and not Path(code).suffix:
        names = ", ".join(COLOURS)
        raise MediaError(
            f'There is no background "{background}"; give original, blur, transparent, {names}, a colour such as '
            "#3366cc, or a picture."
        )
    picture = load_image(code, "the background")
    scale = min(n / side for n, side in zip(picture.shape, shape, strict=False))  # of the largest part of that aspect
    rows, columns = (max(1, round(side * scale)) for side in shape)
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    part = cv2.resize(picture[top : top + rows, left : left + columns], shape[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(part).to(original.device).permute(2, 0, 1)[None].float() / 255


def compose(colour: Tensor, opacity: Tensor, background: Tensor | None) -> Tensor:
    """Lay the avatar over its background.

    Args:
        colour: [B, 3, H, W] in -1..1, premultiplied by opacity.
        opacity: [B, 1, H, W] in 0..1.
        background: [1, 3, H, W] in 0..1, or None.

    Returns:
        [B, 3, H, W], or [B, 4, H, W] with straight alpha where there is no background, in 0..1.
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
    return F.grid_sample(picture, F.affine_grid(theta, [*picture.shape], align_corners=False), align_corners=False)
