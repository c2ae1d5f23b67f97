"""A visible mark on pictures that show nobody who was really filmed.

Shapes: H W picture, C channels (3 RGB, 4 RGBA).
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARK = "synthetic"
TEXT_SHARE, SMALLEST_TEXT = 1 / 24, 9  # text height over the picture's shorter side, px
INK, PLATE, PLATE_OPACITY = 255, 0, 0.45


def mark_synthetic(picture: np.ndarray, text: str = MARK) -> np.ndarray:
    """The picture with a small label in its lower right corner; the one given stays as it is.

    Args:
        picture: [H, W, 3] or [H, W, 4] uint8, alpha not premultiplied. What is transparent becomes opaque under the
            letters and half opaque around them.
        text: What the label says.

    Returns:
        [H, W, C] uint8, the same everywhere but in the corner.
    """
    height, width, channels = picture.shape
    letters, plate = _label(text, height, width)
    rows, columns = letters.shape
    marked = picture.copy()
    corner = marked[height - rows :, width - columns :]
    below = corner.astype(np.float32)
    # The letters over the plate over the picture, with straight alpha.
    cover = letters + plate * (1 - letters)
    opacity = below[..., 3] / 255 if channels == 4 else np.ones_like(cover)
    total = cover + opacity * (1 - cover)
    ink = letters * INK + (cover - letters) * PLATE
    colour = (ink[..., None] + below[..., :3] * (opacity * (1 - cover))[..., None]) / np.maximum(total, 1e-6)[..., None]
    touched = cover > 0
    corner[..., :3][touched] = np.rint(colour[touched])
    if channels == 4:
        corner[..., 3] = np.rint(total * 255)
    return marked


@lru_cache(maxsize=8)
def _label(text: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage in 0..1 of the letters and of the plate behind them, for the lower right corner of a picture."""
    size = max(SMALLEST_TEXT, round(min(height, width) * TEXT_SHARE))
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = font.getbbox(text)
    pad = max(2, size // 3)
    columns, rows = round(right - left) + 4 * pad, round(bottom - top) + 3 * pad
    plate, letters = Image.new("L", (columns, rows)), Image.new("L", (columns, rows))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, columns - pad - 1, rows - pad - 1), pad, fill=255)
    ImageDraw.Draw(letters).text((1.5 * pad - left, pad - top), text, 255, font)
    rows, columns = min(rows, height), min(columns, width)
    letters, plate = (np.asarray(image, np.float32)[-rows:, -columns:] / 255 for image in (letters, plate))
    return letters, plate * PLATE_OPACITY
