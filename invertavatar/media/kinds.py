"""What a file is: a photo, an animated picture, a video or sound. Its content decides, not the ending of its name."""

import os
from pathlib import Path
from typing import Literal

import av
import av.container
import av.stream
import pillow_heif
from PIL import Image

from .. import endings
from ..errors import MediaError
from .files import check_name, shortened

pillow_heif.register_heif_opener()

# Pillow's names of what is taken for a picture. Left out are those without a mark of their own (TGA), those that start
# another program (EPS), and MPEG, which Pillow recognises but cannot decode.
PICTURE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "BMP", "DIB", "TIFF", "GIF", "JPEG2000", "PPM", "PSD", "PCX"),
    *("QOI", "ICO", "ICNS"),
)
# Of these several pictures are one that moves; in others they are sizes, pages or gain maps beside the photo.
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
# The formats ffmpeg may recognise. Left out are playlists, which would make it open other files or addresses for the
# one who sent them, and text, which it would draw as a film.
DEMUXERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,ivf,mp3,wav,flac,aac"
DRIVERS = (
    "a driver is a video (mp4, mov, webm, mkv, avi, mts, ogv...), a photo (JPEG, PNG, HEIC, AVIF...), an animated GIF, "
    "WebP or PNG, a saved motion (.safetensors) or a table of ARKit scores (.csv, .json...)"
)

Kind = Literal["photo", "animation", "video", "sound"]


def kind_of(path: str | os.PathLike) -> Kind | None:
    """What a file holds.

    Args:
        path: A file; of one that is missing or damaged the ending of its name decides.

    Returns:
        "photo" for one still picture, "animation" for a GIF, WebP, PNG or AVIF of several frames, "video", "sound" for
        a film without picture, and None for anything else, folders too.
    """
    path = Path(path)
    kind = (_as_picture(path) or _as_film(path)) if os.path.isfile(path) else None
    suffix = path.suffix.lower()
    return kind or ("photo" if suffix in endings.PHOTOS else "video" if suffix in endings.VIDEOS else None)


def is_photo(path: str | os.PathLike) -> bool:
    """Whether a file is a single picture, by its content, and no recorded motion."""
    return not endings.is_motion(Path(path)) and kind_of(path) == "photo"


def check_driver(path: str | os.PathLike) -> Kind:
    """The kind of a driver that is no motion and no table.

    Raises:
        MediaError: It is none; the sentence lists what a driver may be.
    """
    check_name(Path(path))
    kind, name = kind_of(path), shortened(Path(path).name)
    if kind == "sound":
        raise MediaError(f"{name} holds no video, only sound: give it as speech (--speech), for {DRIVERS}.")
    if kind is None and os.path.isfile(path):
        raise MediaError(f"{name} cannot drive an avatar; {DRIVERS}.")
    return kind or "photo"


def open_container(path: Path) -> av.container.InputContainer:
    """Opens a video or sound file and nothing but that file: no address, no playlist."""
    options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}
    # An absolute path, as ffmpeg would take "a:b.mp4" for an address.
    return av.open(str(path.resolve()), options=options, metadata_errors="ignore")


def is_cover(stream: av.VideoStream) -> bool:
    """Whether a stream is the picture of a song's cover, or a thumbnail, rather than a video."""
    return bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))


def _as_picture(path: Path) -> Kind | None:
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            moves = image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False)
            return "animation" if moves else "photo"
    except Image.DecompressionBombError:
        return "photo"
    except (OSError, SyntaxError, ValueError):  # no picture, or a damaged one
        return None


def _as_film(path: Path) -> Kind | None:
    try:
        with open_container(path) as container:
            if any(s.codec_context and not is_cover(s) for s in container.streams.video):
                return "video"
            return "sound" if container.streams.audio else None
    except av.FFmpegError:
        return None
