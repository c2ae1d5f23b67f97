"""Pictures that say that their colours are sRGB, so that no program has to guess."""

from pathlib import Path

from PIL import ImageCms, PngImagePlugin

PROFILE = ImageCms.createProfile("sRGB")
_WRITTEN = ImageCms.ImageCmsProfile(PROFILE).tobytes()
# The same bytes at all times: the date at which it was made is that of the standard.
PROFILE_BYTES = _WRITTEN[:24] + b"\x07\xcf\0\x0a\0\x01\0\0\0\0\0\0" + _WRITTEN[36:]
HAS_PROFILE = 0x20  # in the flags of a WebP file


def tags(kind: str) -> dict:
    """What Pillow takes to save a picture of a kind ("PNG", "JPEG", "WEBP") with its tag."""
    if kind != "PNG":
        return {"icc_profile": PROFILE_BYTES}
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")  # perceptual
    return {"pnginfo": info}


def tag_animated_webp(path: Path) -> None:
    """Put the profile into an animated WebP file, which ffmpeg writes without."""
    content = path.read_bytes()
    header, remainder = content[:30], content[30:]  # RIFF, its size, WEBP, then VP8X with its size, flags and canvas
    if header[12:16] != b"VP8X":
        return
    padded = PROFILE_BYTES + b"\0" * (len(PROFILE_BYTES) % 2)
    chunk = b"ICCP" + len(PROFILE_BYTES).to_bytes(4, "little") + padded
    size = (len(content) - 8 + len(chunk)).to_bytes(4, "little")
    flags = bytes([header[20] | HAS_PROFILE])
    path.write_bytes(header[:4] + size + header[8:20] + flags + header[21:] + chunk + remainder)
