"""The files of an avatar: a folder of two, or a .zip of that folder. What is read here may come from anybody.

Nothing is unpacked to a place that an archive names, nothing larger than its reader allows, and a header is read before
what it announces.
"""

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ..errors import AvatarError
from ..head.arkit import REGIONS
from .layout import MAX_PHOTOS, Shape, shortened

TENSOR_FILE, JSON_FILE = "avatar.safetensors", "avatar.json"
MAX_JSON_BYTES = 1 << 23
MAX_HEADER_BYTES = 1 << 20  # of a safetensors file
MAX_DIRECTORY_BYTES = 1 << 20  # of a zip: a few thousand entries, each of which takes memory as it is opened
MAX_TEXT = 1000  # characters of a name
END_OF_ZIP, ZIP64_LOCATOR, LONGEST_END = b"PK\x05\x06", b"PK\x06\x07", (1 << 16) + 42

# What the standard library raises of a damaged, encrypted or outlandish archive.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, ValueError, KeyError, OSError)


@contextmanager
def unpacked(path: str | Path, max_bytes: int) -> Iterator[Path]:
    """Lends the folder of an avatar: the one given, or that of a .zip, for as long as the block lasts.

    The two files may stand in a folder of the archive, as a program that zips folders puts them; all else in it is left
    alone.

    Args:
        path: A folder, or a .zip of one.
        max_bytes: Of the two files together.

    Raises:
        AvatarError: It holds no avatar, several, a damaged one, or more than `max_bytes`.
    """
    path = Path(path)
    if not path.is_file():
        if not all((path / name).is_file() for name in (JSON_FILE, TENSOR_FILE)):
            raise AvatarError(
                f"{path} is no avatar: it needs {JSON_FILE} and {TENSOR_FILE}. Give the folder that holds them, or a "
                ".zip of it."
            )
        _check_bytes(path, sum((path / name).stat().st_size for name in (JSON_FILE, TENSOR_FILE)), max_bytes)
        yield path
        return
    with TemporaryDirectory() as folder:
        try:
            _unzip(path, Path(folder), max_bytes)
        except DAMAGE as error:
            if isinstance(error, AvatarError):
                raise
            raise AvatarError(
                f"{path.name} is no avatar, or a damaged one. Give the folder or the .zip that was saved."
            ) from error
        yield Path(folder)


def pack(folder: Path, file: Path) -> None:
    """Write the two files of a folder as one .zip."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in (JSON_FILE, TENSOR_FILE):
            archive.write(folder / name, name)


def read_description(folder: Path, format_version: int) -> dict:
    """What `avatar.json` says, each part of it of the right kind.

    Raises:
        AvatarError: It is damaged, or of another version.
    """
    file = folder / JSON_FILE
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("far too long")
        description = json.loads(file.read_bytes())
        version = description["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        raise AvatarError(f"{file} is damaged. Save the avatar again.") from error
    if type(version) is not int or version != format_version:
        raise AvatarError(
            f"The avatar in {folder} has format {shortened(version)}; this version of InvertAvatar reads format "
            f"{format_version}. Build it again from its photos."
        )
    return description


def check_description(description: dict) -> None:
    """Hold all parts of a description against what they have to be.

    Raises:
        ValueError: With the first thing that does not fit, as a piece of a sentence.
    """
    if not _is_text(description["model"]):
        raise ValueError("its model has no usable name")
    region = description["residual_region"]
    if not isinstance(region, list) or len(region) > MAX_TEXT or not all(_is_text(r) and r in REGIONS for r in region):
        raise ValueError("its residual_region names what is no region of a face")
    photos = description["photos"]
    if not isinstance(photos, list) or len(photos) > MAX_PHOTOS:
        raise ValueError(f"its photos are no list of at most {MAX_PHOTOS}")
    for photo in photos:
        check_photo(photo)


def check_photo(photo: dict) -> None:
    """The same of what was found in one photo."""
    ranges = {
        "yaw": (-180, 180),
        "pitch": (-180, 180),
        "roll": (-180, 180),
        "face_pixels": (0, 1e6),
        "visible": (0, 1.01),
    }
    if not isinstance(photo, dict) or photo.keys() != {"name", *ranges} or not _is_text(photo["name"]):
        raise ValueError("what was found in a photo is not what it should be")
    for name, (lowest, highest) in ranges.items():
        value = photo[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise ValueError(f"the {name} of a photo is {shortened(value)}")


def read_header(file: Path) -> dict[str, tuple[Shape, str]]:
    """Shape and kind of each tensor of a safetensors file, read from its header alone.

    Raises:
        ValueError: There is no such header, as a piece of a sentence.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ValueError("its tensors have no usable header")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its tensors have no usable header")
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape = entry["shape"]
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 1 << 32 for n in shape):
            raise ValueError("a tensor of it has a shape that is none")
        tensors[name] = tuple(shape), str(entry["dtype"])
        start, end = entry["data_offsets"]
        if math.prod(shape) > size or not 0 <= start <= end <= size - 8 - length:
            raise ValueError(f"its {shortened(name)} is larger than its file")
    return tensors


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _check_bytes(path: Path, count: int, limit: int) -> None:
    if count > limit:
        raise AvatarError(
            f"{path.name} holds {count / 1e6:.0f} MB, and an avatar is at most {limit / 1e6:.0f} MB here. Give the "
            "folder or the .zip that was saved."
        )


def _unzip(file: Path, folder: Path, max_bytes: int) -> None:
    _check_bytes(file, file.stat().st_size, max_bytes + MAX_DIRECTORY_BYTES)
    if _directory_bytes(file) > MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("far too many entries")
    with zipfile.ZipFile(file) as archive:
        found = {}
        for entry in archive.infolist():
            place = PurePosixPath(entry.filename.replace("\\", "/"))
            if place.name in (JSON_FILE, TENSOR_FILE) and "__MACOSX" not in place.parts:
                found.setdefault(place.parent, {}).setdefault(place.name, []).append(entry)
        whole = [parts for parts in found.values() if len(parts) == 2]
        if not whole:
            raise AvatarError(
                f"{file.name} holds no avatar: it needs {JSON_FILE} and {TENSOR_FILE}, by themselves or in one folder. "
                "Zip the folder that was saved."
            )
        if len(whole) > 1 or any(len(entries) > 1 for entries in whole[0].values()):
            raise AvatarError(f"{file.name} holds several avatars. Zip the folder of one of them.")
        entries = [entry for (entry,) in whole[0].values()]
        _check_bytes(file, sum(entry.file_size for entry in entries), max_bytes)
        for name, (entry,) in whole[0].items():
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile("compressed in a way that may ask for any memory")
            (folder / name).write_bytes(archive.read(entry))


def _directory_bytes(file: Path) -> int:
    """How long the list of entries of a zip is: the standard library reads all of it as it opens the file."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - LONGEST_END))
        tail = stream.read()
    start = tail.rfind(END_OF_ZIP)
    if start < 0 or ZIP64_LOCATOR in tail[:start]:  # of which only archives of gigabytes have need
        raise zipfile.BadZipFile("no end, or one of another kind")
    return struct.unpack_from("<L", tail, start + 12)[0]
