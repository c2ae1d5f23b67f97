"""A picture that Pillow has opened, as upright uint8 RGB in the colours of a usual screen.

Shapes: H W picture.
"""

import logging
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps

from . import colour, srgb

logger = logging.getLogger(__name__)

MID_GREY = 128  # behind transparent pictures: neither a white nor a black fringe on hair


def to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """Turns a picture upright by its EXIF tag and brings its colours to SDR and sRGB.

    Colours of high dynamic range or a wide gamut are known by a colour profile or by the numbers that HEIC, AVIF and
    PNG state; of a photo with a gain map (Ultra HDR, iPhone) the SDR picture is taken. What is transparent lies over
    grey.

    Args:
        image: Of any mode of 8 bits a channel.
        name: What messages call it.

    Returns:
        [H, W, 3] uint8.
    """
    profile, (primaries, transfer) = image.info.get("icc_profile"), _stated_colours(image)
    image = ImageOps.exif_transpose(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if transfer in colour.HDR or (not profile and colour.is_foreign(primaries, transfer)):
        picture = colour.to_sdr(np.asarray(image.convert("RGB")), primaries, transfer)
    else:
        picture = np.array((_to_srgb(image, profile, name) if profile else image).convert("RGB"))
    return picture if alpha is None else over_grey(np.dstack([picture, alpha]))


def over_grey(rgba: np.ndarray) -> np.ndarray:
    """A transparent picture over mid grey: [H, W, 4] -> [H, W, 3], uint8, alpha not premultiplied."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * alpha + MID_GREY * (1 - alpha)).astype(np.uint8)


def _stated_colours(image: Image.Image) -> tuple[int, int]:
    """Primaries and transfer (ITU-T H.273) that a picture states, its profile first."""
    unknown = colour.UNSPECIFIED, colour.UNSPECIFIED
    if tag := _icc_numbers(image.info.get("icc_profile") or b""):
        return tag
    path = Path(getattr(image, "filename", ""))
    if image.format in ("HEIF", "AVIF"):
        info = image.info
        if image.format == "AVIF" and path.is_file():  # whose numbers Pillow does not tell
            info = pillow_heif.open_heif(path).info
        nclx = info.get("nclx_profile")
        return (nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else unknown
    if image.format == "PNG" and path.is_file():
        with path.open("rb") as file:
            head = file.read(2**16).partition(b"IDAT")[0]
        _, found, numbers = head.partition(b"cICP")
        return (numbers[0], numbers[1]) if found else unknown
    return unknown


def _icc_numbers(profile: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of a profile for HDR: from its `cicp` tag, or from the name that such profiles bear."""
    _, _, numbers = profile[128:].partition(b"cicp\0\0\0\0")  # the tag's type, behind the table that names it too
    if len(numbers) >= 4 and numbers[1] in colour.HDR:
        return numbers[0], numbers[1]
    names = profile[:4096].replace(b"\0", b"").upper()
    if b"2100" in names and (b"PQ" in names or b"HLG" in names):
        return colour.BT2020, colour.PQ if b"PQ" in names else colour.HLG
    return None


def _to_srgb(image: Image.Image, profile: bytes, name: str) -> Image.Image:
    if profile == srgb.PROFILE_BYTES:
        return image
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(image, own, srgb.PROFILE, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError) as error:
        logger.debug("The colour profile of %s cannot be used (%s); its colours are taken as sRGB.", name, error)
        return image
