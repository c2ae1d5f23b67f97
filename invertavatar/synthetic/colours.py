"""Colours of skin, hair and cloth, and the textures that hold them.

Shapes: H W texture.

Light adds up in linear RGB; files and pictures are sRGB.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

GAMMA = 2.2
SHOULDER = 0.6  # linear brightness above which a picture stops short of clipping
# sRGB of hair, and how often each is met on heads of African, Asian and Caucasian descent.
HAIR_COLOURS = {
    "black": ((0.07, 0.06, 0.06), (0.75, 0.65, 0.12)),
    "dark brown": ((0.16, 0.11, 0.08), (0.2, 0.25, 0.26)),
    "brown": ((0.30, 0.20, 0.13), (0.03, 0.06, 0.24)),
    "light brown": ((0.45, 0.32, 0.21), (0.01, 0.02, 0.14)),
    "blond": ((0.66, 0.52, 0.34), (0.01, 0.01, 0.16)),
    "red": ((0.46, 0.20, 0.10), (0.0, 0.01, 0.08)),
}
GREY_HAIR = (0.62, 0.61, 0.60)


@dataclass(frozen=True)
class Texture:
    """Colours and what is seen through."""

    colour: np.ndarray  # [H, W, 4] float32 linear RGB, then straight alpha in 0..1
    alpha: np.ndarray  # [H, W] uint8, the same alpha as a rasterizer tests it

    @classmethod
    def of(cls, colour: np.ndarray) -> "Texture":
        """From [H, W, 4] linear."""
        alpha = (colour[..., 3].clip(0, 1) * 255).round().astype(np.uint8)
        return cls(np.ascontiguousarray(colour, np.float32), np.ascontiguousarray(alpha))

    @classmethod
    def plain(cls, rgb: np.ndarray, opacity: float = 1.0) -> "Texture":
        """One texel of a linear colour."""
        return cls.of(np.array([[[*rgb, opacity]]], np.float32))

    @classmethod
    def read(cls, path: Path, most: int) -> "Texture":
        """From a file, reduced to a side of at most `most`; without dark or bright fringes where alpha ends."""
        picture = Image.open(path)
        picture = picture.convert("RGBA" if "A" in picture.mode else "RGB")
        whole = np.asarray(picture, np.float32) / 255
        colour = whole[..., :3] ** GAMMA
        alpha = whole[..., 3:] if whole.shape[2] == 4 else np.ones_like(colour[..., :1])
        mean = (colour * alpha).sum((0, 1)) / max(alpha.sum(), 1e-6)
        step = max(1, -(-max(picture.size) // most))
        small = _reduced(np.concatenate([colour * alpha, alpha], -1), step)
        filled = (small[..., :3] + 1e-3 * mean) / (small[..., 3:] + 1e-3)
        return cls.of(np.concatenate([filled, small[..., 3:]], -1))

    @cached_property
    def mean(self) -> np.ndarray:
        """[3] the mean colour of what is there."""
        weight = self.colour[..., 3:]
        return (self.colour[..., :3] * weight).sum((0, 1)) / max(weight.sum(), 1e-6)

    def times(self, gain: np.ndarray | float) -> "Texture":
        """With its colours multiplied by one number, [3] or [H, W, 3]."""
        return Texture.of(np.concatenate([self.colour[..., :3] * gain, self.colour[..., 3:]], -1))

    def dyed(self, colour: np.ndarray, contrast: float = 1.0) -> "Texture":
        """With its brightness kept and its colour taken from [3] or [H, W, 3] linear RGB."""
        brightness = self.colour[..., :3].mean(-1, keepdims=True) / max(float(self.mean.mean()), 1e-4)
        rgb = brightness.clip(0.05, 4) ** contrast * colour
        return Texture.of(np.concatenate([rgb.clip(0, 1), self.colour[..., 3:]], -1))


def blended(one: Texture, other: Texture, weight: float) -> Texture:
    """A mixture of two textures of the same layout; the coarser one is repeated."""
    a, b = one.colour, other.colour
    size = max(len(a), len(b))
    a, b = (np.kron(x, np.ones((size // len(x),) * 2 + (1,), np.float32)) for x in (a, b))
    return Texture.of(a * (1 - weight) + b * weight)


def tinted(skin: Texture, rng: np.random.Generator) -> Texture:
    """A skin lighter or darker, redder or yellower than it was."""
    return skin.times(np.exp(rng.normal(0, 0.14) + rng.normal(0, (0.05, 0.03, 0.06))))


def hair_colour(rng: np.random.Generator, races: np.ndarray, age: float) -> np.ndarray:
    """[3] linear RGB.

    Args:
        rng: Decides.
        races: [3] shares of African, Asian and Caucasian descent.
        age: 0 young to 1 old.
    """
    colours, shares = (np.array(x) for x in zip(*HAIR_COLOURS.values(), strict=True))
    shares = shares @ races
    colour = colours[rng.choice(len(colours), p=shares / shares.sum())] * np.exp(rng.normal(0, 0.1, 3))
    grey = np.clip(rng.normal(1.6 * age - 0.7, 0.3), 0, 1)
    if rng.random() < 0.03:  # dyed
        colour = rng.uniform(0.1, 0.8, 3)
    return ((1 - grey) * colour + grey * np.array(GREY_HAIR)).clip(0, 1) ** GAMMA


def encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light -> sRGB in 0..1, with a shoulder instead of a hard end."""
    beyond = np.maximum(linear - SHOULDER, 0) / (1 - SHOULDER)
    linear = np.minimum(linear, SHOULDER) + (1 - SHOULDER) * (1 - np.exp(-beyond))
    return linear.clip(0, 1) ** (1 / GAMMA)


def _reduced(texture: np.ndarray, step: int) -> np.ndarray:
    height, width = (side // step * step for side in texture.shape[:2])
    cells = texture[:height, :width].reshape(height // step, step, width // step, step, -1)
    return cells.mean((1, 3))
