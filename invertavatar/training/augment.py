"""Augmentation, so that what is learned on clean crops survives phones: light, blur, compression, cut-off photos,
glasses and imperfect tracks.

Shapes: V 478 landmarks, S side of the crop.

Colours, glasses and mirroring change a whole episode alike, so that sources and targets still show one person in one
light; the rest happens to source photos only: targets stay as good as they are.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from ..camera import rotation_from_angles
from ..head_building.landmark_axes import FLIP, MIRRORED_AXES
from .glasses import Glasses, worn
from .observation import Observation


@dataclass(frozen=True)
class Augmentation:
    """How often and how much.

    Attributes:
        mirror: Probability that an episode is mirrored.
        colour: Strength of the change of light of an episode.
        glasses: Probability that the person of an episode wears glasses that are drawn.
        exposure: Strength of the difference in light between its source photos.
        degrade: Probability that a source photo is blurred or compressed.
        cut: Probability that a source photo lacks a side.
        vertex_noise: Standard deviation of a source's landmarks, head units.
        pose_noise: Standard deviation of a source's yaw, pitch and roll, degrees.
    """

    mirror: float = 0.5
    colour: float = 1.0
    glasses: float = 0.1
    exposure: float = 0.2
    degrade: float = 0.35
    cut: float = 0.15
    vertex_noise: float = 0.004
    pose_noise: float = 0.7

    def __call__(
        self, sources: list[Observation], targets: list[Observation], mirror: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[Observation], list[Observation]]:
        """Augment an episode.

        Args:
            sources: N source photos.
            targets: T frames to be rendered.
            mirror: [V] the landmark on the other side of the face.
            rng: Decides everything.
        """
        if rng.random() < self.mirror:
            sources, targets = ([mirrored(o, mirror) for o in group] for group in (sources, targets))
        if rng.random() < self.glasses:
            pair = Glasses.random(rng)
            sources, targets = ([worn(o, pair) for o in group] for group in (sources, targets))
        light = colour_change(rng, self.colour)
        sources, targets = ([replace(o, picture=light(o.picture)) for o in group] for group in (sources, targets))
        # The first photo's light is that of the avatar: it stays as the targets have it.
        sources = [
            replace(o, picture=colour_change(rng, self.exposure)(o.picture)) if i else o for i, o in enumerate(sources)
        ]
        return [self._spoil(o, rng) for o in sources], targets

    def _spoil(self, o: Observation, rng: np.random.Generator) -> Observation:
        if rng.random() < self.degrade:
            o = degraded(o, rng)
        if rng.random() < self.cut:
            o = cut_off(o, int(rng.integers(4)), float(rng.uniform(0.1, 0.35)))
        return shaken(o, rng, self.vertex_noise, self.pose_noise)


def mirrored(o: Observation, mirror: np.ndarray) -> Observation:
    """The mirror image of a face: pixels, landmarks, pose, and the 52 scores with left and right swapped."""
    size = o.picture.shape[1]
    left, top, right, bottom = o.inside
    return replace(
        o,
        picture=o.picture[:, ::-1],
        matte=o.matte[:, ::-1],
        vertices=o.vertices[mirror] * FLIP,
        expression=o.expression[MIRRORED_AXES],
        rotation=o.rotation * np.outer(FLIP, FLIP),
        inside=np.array([size - right, top, size - left, bottom]),
    )


def colour_change(rng: np.random.Generator, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    """A random change of exposure, contrast, white balance and saturation: a function [S, S, 3] uint8 -> the same."""
    gain = np.exp(strength * (rng.normal(0, 0.12) + rng.normal(0, 0.05, 3)))
    gamma = np.exp(strength * rng.normal(0, 0.12))
    saturation = np.exp(strength * rng.normal(0, 0.15))
    curve = np.linspace(0, 1, 256)[:, None] ** gamma * gain  # [256, 3]
    grey = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * grey[:, None]

    def change(picture: np.ndarray) -> np.ndarray:
        light = np.stack([curve[:, c].astype(np.float32)[picture[..., c]] for c in range(3)], -1)
        return (light @ mix.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)

    return change


def degraded(o: Observation, rng: np.random.Generator) -> Observation:
    """A soft, small or strongly compressed photo."""
    picture, size, sharpness = Image.fromarray(np.ascontiguousarray(o.picture)), o.picture.shape[0], o.sharpness
    choice = rng.integers(3)
    if choice == 0:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.6) * size / 256))
        sharpness *= 0.6
    elif choice == 1:
        small = round(size * rng.uniform(0.35, 0.8))
        picture = picture.resize((small, small), Image.Resampling.BOX).resize((size, size), Image.Resampling.BICUBIC)
        sharpness *= small / size
    if choice == 2 or rng.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(20, 75)))
        picture = Image.open(file)
    return replace(o, picture=np.asarray(picture), sharpness=sharpness)


def cut_off(o: Observation, side: int, fraction: float) -> Observation:
    """A photo that lacks a share of a side (0 left, 1 top, 2 right, 3 bottom); its edge is repeated, as in crops."""
    size = o.picture.shape[0]
    inside = o.inside.copy()
    edge = round(fraction * size)
    inside[side] = max(inside[side], edge) if side < 2 else min(inside[side], size - edge)
    left, top, right, bottom = inside
    if right - left < size // 2 or bottom - top < size // 2:  # cut off already
        return o
    rows, columns = np.arange(size).clip(top, bottom - 1), np.arange(size).clip(left, right - 1)
    matte = np.zeros_like(o.matte)
    matte[top:bottom, left:right] = o.matte[top:bottom, left:right]
    return replace(o, picture=o.picture[rows][:, columns], matte=matte, inside=inside)


def shaken(o: Observation, rng: np.random.Generator, vertex_noise: float, pose_noise: float) -> Observation:
    """A track as a less careful tracker finds it: the whole face a little off, each landmark too, the pose as well."""
    shift, scale = rng.normal(0, vertex_noise, 3), 1 + rng.normal(0, vertex_noise)
    vertices = o.vertices * scale + shift + rng.normal(0, vertex_noise / 4, o.vertices.shape)
    error = rotation_from_angles(*rng.normal(0, pose_noise, 3).tolist()).numpy()
    return replace(o, vertices=vertices.astype(np.float32), rotation=(error @ o.rotation).astype(np.float32))
