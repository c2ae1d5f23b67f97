"""Paths: what is read must exist, and what is written appears whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MediaError


def existing_file(path: str | os.PathLike, name: str | None = None) -> Path:
    """The path, if a file with something in it stands there.

    Args:
        path: A file on this machine.
        name: What messages call it; its file name by default.

    Raises:
        MediaError: It is missing, a folder, or holds no bytes.
    """
    path = Path(path)
    name = name or path.name
    if not path.exists():
        raise MediaError(f"{name} does not exist ({path}). Check the path.")
    if path.is_dir():
        raise MediaError(f"{name} is a folder, and one file is needed here. Name a file inside it.")
    if path.stat().st_size == 0:
        raise MediaError(f"{name} is empty (0 bytes). Copy or download it again.")
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lends a hidden neighbour to write to, which takes the place of `path` at the end of the block.

    If the block raises, anything at all, the neighbour is removed and what stood at `path` before stays as it was.
    The folder is made where it is missing.

    Raises:
        MediaError: A folder stands at `path`, or nothing can be written beside it.
    """
    if path.is_dir():
        raise MediaError(f"Cannot write {path}: a folder of that name is in the way. Choose another name.")
    make_folder(path.parent)
    neighbour = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield neighbour
        os.replace(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it where they are missing; MediaError where that, or writing, is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"Cannot make the folder {folder}: {error.strerror}. Choose another place.") from error
    if not os.access(folder, os.W_OK):
        raise MediaError(f"Cannot write into {folder}: it is read-only here. Choose another place.")
