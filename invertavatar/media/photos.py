"""All photos of one person, from files, folders, videos and arrays.

Shapes: N photos, H W picture, C channels.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from .. import endings
from ..errors import MediaError
from .images import ImageSource, load_image
from .kinds import kind_of
from .video import VideoReader


def load_images(source: ImageSource | Sequence[ImageSource], max_frames: int = 8) -> tuple[list[np.ndarray], list[str]]:
    """Reads all photos of one person.

    Args:
        source: Anything `load_image` takes, a folder (its pictures in the order of their names), a video (evenly
            spaced frames of it), a batch [N, H, W, C] or tensor [N, C, H, W], or a list that mixes these.
        max_frames: How many frames to take from a video.

    Returns:
        The photos, each [H, W, 3] uint8 RGB, and as many names for messages: the file's name, or "photo 2".

    Raises:
        MediaError: As for `load_image`, or there is no picture in the folder or the list.
    """
    photos: list[np.ndarray] = []
    names: list[str] = []
    for item in source if isinstance(source, Sequence) and not isinstance(source, (str, bytes)) else [source]:
        if isinstance(item, (str, os.PathLike)) and kind_of(item) == "video":
            frames = _spaced_frames(Path(item), max_frames)
            photos += frames
            names += [f"{Path(item).name} (frame {k + 1} of {len(frames)})" for k in range(len(frames))]
        elif isinstance(item, (str, os.PathLike)):
            files = _photos_in(Path(item)) if Path(item).is_dir() else [Path(item)]
            photos += [load_image(file) for file in files]
            names += [file.name for file in files]
        else:
            for picture in item if isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4 else [item]:
                names.append(f"photo {len(names) + 1}")
                photos.append(load_image(picture, names[-1]))
    if not photos:
        raise MediaError("No photo was given. Give one or more pictures of the person.")
    return photos, names


def _photos_in(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in endings.PHOTOS and not f.name.startswith(".")]
    if not files:
        raise MediaError(f"The folder {folder} holds no picture. Put JPEG, PNG, WebP or HEIC photos there.")
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[str | int]:
    """Sorts photo_2 before photo_10. Other digits than 0 to 9, such as ②, are letters."""
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", name))]


def _spaced_frames(path: Path, count: int) -> list[np.ndarray]:
    """Frames [H, W, 3] from the whole length of a video: at a rate that makes it `count` frames long."""
    with VideoReader(path) as video:
        rate = min(video.fps, count / video.duration)
    with VideoReader(path, fps=rate) as video:
        return [load_image(frame, path.name) for frame, _ in zip(video, range(count), strict=False)]
