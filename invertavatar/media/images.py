"""Photos of any kind in, as uint8 RGB; pictures out.

Shapes: N photos, H W picture, C channels.
"""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import MediaError
from . import srgb
from .files import existing_file, written_whole
from .kinds import PICTURE_FORMATS
from .stills import over_grey, to_rgb

ImageSource = str | os.PathLike | Image.Image | np.ndarray | Tensor

MIN_SIDE = 64  # px; below it no face is large enough to track
MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**30 // 12)  # about 179 Mpx, where Pillow refuses to unpack a file
SAVE_OPTIONS = {  # by suffix: Pillow's format, and how it is asked to write
    ".png": ("PNG", {"compress_level": 4}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
}


def load_image(source: ImageSource, name: str | None = None) -> np.ndarray:
    """Reads one photo.

    Files are turned upright by their EXIF tag and brought to sRGB by their colour profile, high dynamic range (HLG,
    PQ) to SDR; of an animation the first frame is taken. Grey becomes RGB, 16 bits are scaled to 8, and what is
    transparent lies over mid grey.

    Args:
        source: A path (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF...), a PIL image, an array [H, W] or [H, W, C] of
            uint8, uint16 or floats in [0, 1], or a tensor [C, H, W] or [1, C, H, W] of uint8 or floats in [0, 1];
            C is 1, 3 or 4.
        name: What messages call it; the file's name by default.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        MediaError: It is missing, not a picture, cut off, smaller than 64 px on a side, larger than about 179
            megapixels, or an array of another shape or range.
    """
    if isinstance(source, (str, os.PathLike)):
        path = existing_file(source, name)
        return _read_file(path, name or path.name)
    name = name or "The photo"
    if isinstance(source, Image.Image):
        return _from_pillow(source, name)
    if isinstance(source, Tensor):
        if source.ndim == 4 and len(source) == 1:
            source = source[0]
        if source.ndim != 3:
            raise MediaError(f"{name} is a tensor of shape {tuple(source.shape)}; give [3, H, W] or [1, 3, H, W].")
        array = source.detach().permute(1, 2, 0).cpu()
        return _from_array((array.float() if array.is_floating_point() else array).numpy(), name)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    raise MediaError(f"{name} is a {type(source).__name__}; give a path, a PIL image, an array or a tensor.")


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a picture; it appears whole or not at all, and missing folders are made.

    Args:
        path: Ends in .png, .jpg, .jpeg or .webp.
        image: [H, W, 3] RGB or [H, W, 4] RGBA, uint8. JPEG has no alpha.

    Raises:
        MediaError: Another suffix, an array of another shape or type, alpha into a JPEG, or a place that is
            read-only or full.
    """
    path = Path(path)
    if path.suffix.lower() not in SAVE_OPTIONS:
        raise MediaError(f"Cannot write a picture as {path.name}; end its name in {', '.join(SAVE_OPTIONS)}.")
    kind, options = SAVE_OPTIONS[path.suffix.lower()]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise MediaError(f"{path.name} cannot be made of {_described(image)}; give uint8 [H, W, 3] or [H, W, 4].")
    if kind == "JPEG" and image.shape[2] == 4:
        raise MediaError(f"{path.name} cannot be transparent as JPEG has no alpha; write a .png or .webp instead.")
    held = BytesIO()  # written at once, as Pillow does not notice when a disk takes half a JPEG only
    Image.fromarray(image).save(held, kind, **options, **srgb.tags(kind))
    with written_whole(path) as partial:
        partial.write_bytes(held.getvalue())


def _read_file(path: Path, name: str) -> np.ndarray:
    try:
        with Image.open(path, formats=(*PICTURE_FORMATS, "TGA")) as image:
            _check_size(image.width, image.height, name)  # before the pixels are unpacked
            return _from_pillow(image, name)
    except Image.DecompressionBombError as error:
        raise MediaError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} is not a picture that can be read. Save it as JPEG, PNG, WebP or HEIC.") from error
    except MediaError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:  # each codec's word for bad data
        raise MediaError(f"{name} is damaged or cut off. Copy or download it again.") from error


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    _check_size(image.width, image.height, name)
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey, which Pillow would clip to 8 bits, or floats
        array = np.asarray(ImageOps.exif_transpose(image))
        return _from_array(array if image.mode == "F" else array.clip(0, 65535).astype(np.uint16), name)
    return to_rgb(image, name)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise MediaError(f"{name} is {_described(array)}; give [H, W] or [H, W, C] with 1, 3 or 4 channels.")
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == np.uint16:
        array = np.rint(array / np.float32(257)).astype(np.uint8)  # 65535 = 257 * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= -1e-3 and array.max() <= 1 + 1e-3):  # also true for nan
            raise MediaError(f"{name} holds floats from {array.min():g} to {array.max():g}; bring them to 0..1.")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"{name} is an array of {array.dtype}; give uint8, uint16 or floats in 0..1.")
    if array.shape[2] == 4:
        return over_grey(array)
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise MediaError(f"{name} is {width} x {height} px; use a photo of at least {MIN_SIDE} px on each side.")
    if width * height > MAX_PIXELS:
        raise MediaError(_too_large(name))


def _too_large(name: str) -> str:
    return f"{name} has more than {MAX_PIXELS // 10**6} megapixels. Make it smaller; 2000 px on a side is plenty."


def _described(array: np.ndarray) -> str:
    return f"an array {list(array.shape)} of {array.dtype}"
