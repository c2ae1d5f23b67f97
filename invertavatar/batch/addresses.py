"""Files on this machine or elsewhere: what has a protocol (s3://, gs://, https://...) goes through fsspec."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import fsspec

from ..errors import MediaError


def is_remote(address: str) -> bool:
    """Whether it is an address rather than a path."""
    return "://" in address


@contextmanager
def opened(address: str) -> Iterator[BinaryIO]:
    """A file to read from.

    Raises:
        MediaError: It cannot be opened; the sentence says why.
    """
    with reached(address):
        system, path = fsspec.url_to_fs(address)
        file = system.open(path, "rb")
    with file:
        yield file


def at_hand(address: str, folder: Path, number: int) -> Path:
    """The file at an address as one on this machine: itself, or a copy that is made in the folder.

    Args:
        address: A path, or an address that fsspec opens.
        folder: For the copy.
        number: Keeps apart copies of one name.

    Raises:
        MediaError: There is no such file, or it cannot be had.
    """
    if not is_remote(address):
        if not Path(address).exists():
            raise MediaError(f"{address} does not exist; check the path.")
        return Path(address)
    copy = folder / f"{number}" / (PurePosixPath(urlsplit(address).path).name or "file")
    copy.parent.mkdir(parents=True)
    with opened(address) as source, copy.open("wb") as target, reached(address):
        shutil.copyfileobj(source, target, 1 << 20)
    return copy


@contextmanager
def reached(address: str) -> Iterator[None]:
    """Turns what fsspec and its file systems raise in the block into one sentence.

    Raises:
        MediaError: Something was raised.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MediaError(f"{address} does not exist; check the path.") from error
    except ImportError as error:
        raise MediaError(f"{address} cannot be reached: {error}.") from error
    except Exception as error:  # each file system has errors of its own
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise MediaError(f"{address} cannot be reached ({reason}).") from error
