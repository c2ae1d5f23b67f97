"""Paths: what is read must exist, and what is written appears whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import MediaError

NAME_BYTES = 255  # that file systems allow for one name
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # of the disk, of a quota, of a limit on one file


def existing_file(path: str | os.PathLike, name: str | None = None) -> Path:
    """The path, if a file with something in it stands there.

    Args:
        path: A file on this machine.
        name: What messages call it; its file name by default.

    Raises:
        MediaError: It is missing, a folder, closed to this user, or holds no bytes.
    """
    path = Path(path)
    name = name or shortened(path.name)
    check_name(path)
    if not os.path.exists(path):  # which, unlike pathlib's, does not fail at a path that is too long
        raise MediaError(f"{name} does not exist ({path}). Check the path.")
    if path.is_dir():
        raise MediaError(f"{name} is a folder, and one file is needed here. Name a file inside it.")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{name} may not be read by you. Change its permissions or copy it.")
    if path.stat().st_size == 0:
        raise MediaError(f"{name} is empty (0 bytes). Copy or download it again.")
    return path


def check_name(path: Path) -> None:
    """Refuses names that are longer than file systems allow.

    Raises:
        MediaError: Some part of the path is.
    """
    for part in path.parts:
        if (length := len(os.fsencode(part))) > NAME_BYTES:
            raise MediaError(
                f"The name {shortened(part)} is {length} bytes long, and a file may have {NAME_BYTES}. "
                "Choose a shorter one."
            )


def shortened(name: str) -> str:
    """A name that fits into a sentence."""
    return name if len(name) <= 80 else f"{name[:40]}...{name[-20:]}"


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room for what is being written."""
    # safetensors, which is written in Rust, gives the system's number in its text only
    words = ("No space left", *(f"os error {number})" for number in FULL))
    return getattr(error, "errno", None) in FULL or any(word in str(error) for word in words)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lends a hidden neighbour to write to, which takes the place of `path` at the end of the block.

    If the block raises, anything at all, the neighbour is removed and what stood at `path` before stays as it was.
    The folder is made where it is missing, and goes again if the block raises.

    Raises:
        MediaError: A folder stands at `path`, nothing can be written beside it, or the disk is full.
    """
    check_name(path)
    if path.is_dir():
        raise MediaError(f"Cannot write {path}: a folder of that name is in the way. Choose another name.")
    with made_folder(path.parent), full_disk_said(path):
        neighbour = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
        try:
            yield neighbour
            os.replace(neighbour, path)
        finally:
            neighbour.unlink(missing_ok=True)


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Turns an error of the block that means a full disk, whoever raised it, into one sentence.

    Raises:
        MediaError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        place = shortened(path.name)
        raise MediaError(f"Cannot write {place}: the disk is full. Free some space or choose another place.") from error


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes the folder and those above it where they are missing; those made go again if the block raises.

    Raises:
        MediaError: Making it, or writing into it, is not allowed.
    """
    check_name(folder)
    missing = [place for place in (folder, *folder.parents) if not place.exists()]  # the innermost first
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"Cannot make the folder {folder}: {error.strerror}. Choose another place.") from error
        if not os.access(folder, os.W_OK):
            raise MediaError(f"Cannot write into {folder}: it is read-only here. Choose another place.")
        yield
    except BaseException:
        for place in missing:
            with suppress(OSError):  # it was not made yet, or somebody else has put something there
                place.rmdir()
        raise
