"""What may be uploaded, looked at before it is read: a small file can unpack to gigabytes, or last for hours.

And what is kept of it on the disk: what is oldest gives way.
"""

import contextlib
import struct
import warnings
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from .. import endings
from ..errors import MediaError
from ..media import probe
from ..media.files import existing_file
from ..media.sound_length import sound_seconds

MAX_FILES = 16  # photos, or drivers, in one go
PICTURE_PIXELS = 64_000_000  # of a photo: half a gigabyte while it is read
VIDEO_PIXELS = 36_000_000  # of a video's frame: 8K
TABLE_BYTES = 20_000_000  # of a table or a motion; a minute of either is far below one
DISK_BYTES = 4_000_000_000  # of all that visitors uploaded and made


def check(path: str, longest: float) -> None:
    """Refuse a file that would take too much memory or time; what else is wrong with it its reader says.

    Args:
        path: A photo, a video, a saved motion or a table of scores.
        longest: Seconds that a video may last.

    Raises:
        MediaError: It is too large, or lasts too long.
    """
    file = existing_file(path)
    suffix = file.suffix.lower()
    if endings.is_motion(file):
        if (size := file.stat().st_size) > TABLE_BYTES:
            raise MediaError(
                f"{file.name} has {size / 1e6:.0f} MB, and this app takes motions of {TABLE_BYTES / 1e6:.0f} MB. Cut "
                "it shorter."
            )
    elif picture_size := _picture_size(file):
        _check_pixels(file.name, *picture_size, PICTURE_PIXELS)
    elif suffix not in endings.PHOTOS:  # what is wrong with a photo is said where it is read
        info = probe(file)
        _check_pixels(file.name, *info.size, VIDEO_PIXELS)
        if info.duration > longest + 0.5:
            raise MediaError(
                f"{file.name} lasts {info.duration:.0f} s, and this app takes {longest:.0f} s at a time. Cut it "
                "shorter."
            )


def check_sound(path: str, longest: float) -> None:
    """Refuse a file without sound, or one whose sound lasts longer than a film may.

    Args:
        path: A sound or video file.
        longest: Seconds.

    Raises:
        MediaError: See above.
    """
    seconds = sound_seconds(path)
    if seconds > longest + 0.5:
        raise MediaError(
            f"The sound of {Path(path).name} lasts {seconds:.0f} s, and this app takes {longest:.0f} s at a time. Cut "
            "it shorter."
        )


def _picture_size(file: Path) -> tuple[int, int] | None:
    """Width and height from a picture's header, or None of what is no picture."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as picture:
            return picture.size
    except Image.DecompressionBombError:
        return PICTURE_PIXELS, 2  # more than are taken, how many more does not matter
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error):  # each codec's word for bad data
        return None


def _check_pixels(name: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise MediaError(
            f"{name} has {width * height // 10**6} megapixels, and this app takes {most // 10**6}. Make it smaller; "
            "2000 px on a side is plenty."
        )


def make_room(folder: Path, limit: int, spared: Collection[str] = ()) -> int:
    """Delete the oldest files below a folder until what is left fits; returns its bytes.

    Args:
        folder: Of uploads and results.
        limit: Bytes.
        spared: Paths of files that stay.
    """
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # what has just gone takes no room
            if path.is_file() and not path.is_symlink():
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            break
        if str(path) not in spared:
            path.unlink(missing_ok=True)
            total -= size
            with contextlib.suppress(OSError):  # its folder may hold another
                path.parent.rmdir()
    return total
