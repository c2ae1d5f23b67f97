"""Pictures of an avatar as bytes in its file: without loss, and of photos with grain not too many.

Shapes: N pictures, S side, C channels.
"""

from io import BytesIO

import numpy as np
from PIL import Image

MOST_BITS = 7  # of 8 that are dropped at most


def packed(pictures: np.ndarray) -> bytes:
    """Pictures [N, S, S, C] uint8, of up to 3 channels and 16,383 rows in all, as one lossless WebP."""
    tall = pictures.reshape(-1, *pictures.shape[2:])
    content = BytesIO()
    whole = np.pad(tall, ((0, 0), (0, 0), (0, 3 - tall.shape[-1])))
    Image.fromarray(whole).save(content, "WEBP", lossless=True, quality=0, method=0)
    return content.getvalue()


def unpacked(content: bytes, count: int, channels: int, largest: int) -> np.ndarray:
    """The inverse of `packed`: [N, S, S, C] uint8.

    Args:
        content: From anybody.
        count: N.
        channels: C.
        largest: S at most; of anything larger only the header is read.

    Raises:
        ValueError: It is something else, as a piece of a sentence.
    """
    try:
        with Image.open(BytesIO(content), formats=("WEBP",)) as picture:
            side, height = picture.size
            if height != count * side or side > largest or getattr(picture, "n_frames", 1) != 1:
                raise ValueError(f"its pictures are {side} x {height} pixels in a row of {count}")
            tall = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("its pictures cannot be read") from error
    return tall.reshape(count, side, side, 3)[..., :channels]


def thinned(picture: np.ndarray, most_bytes: int) -> np.ndarray:
    """A picture [S, S, 3] uint8 that packs into so many bytes: where grain takes more, as few of the lowest bits as
    that takes are rounded away.
    """
    thin = picture
    for bits in range(1, MOST_BITS + 1):
        if len(packed(thin[None])) <= most_bytes:
            break
        step = 1 << bits
        thin = ((picture.astype(np.uint16) + step // 2) // step * step).clip(max=255).astype(np.uint8)
    return thin
