"""Random light: a sky of directions with a colour each, and one lamp that casts a sharp shadow.

Shapes: D directions, H W environment picture.

Directions point to the light, in camera space: x right, y up, z to the viewer. Colours are linear, without a scale:
`Light.exposed` sets one by which a white face that looks at the viewer is about as bright as asked for.
"""

from dataclasses import dataclass, replace

import numpy as np

SKY_DIRECTIONS = 24
USUAL_ALBEDO, EXPOSED_FOR_SKIN = 0.25, 0.4  # of skin, and how far (as a power) exposure follows another one's
BRIGHT = 3  # directions of the sky that glints come from


@dataclass(frozen=True)
class Light:
    """What shines on a person."""

    directions: np.ndarray  # [D, 3] unit
    radiance: np.ndarray  # [D, 3] RGB, each over an equal share of the sphere
    lamp: np.ndarray  # [3] unit direction
    lamp_colour: np.ndarray  # [3] RGB, irradiance of a surface that faces it; 0 where there is no lamp

    def turned(self, rotation: np.ndarray) -> "Light":
        """The light with all directions turned by [3, 3]."""
        directions, lamp = (x.astype(rotation.dtype) @ rotation.T for x in (self.directions, self.lamp))
        colours = self.radiance.astype(rotation.dtype), self.lamp_colour.astype(rotation.dtype)
        return Light(directions, colours[0], lamp, colours[1])

    def exposed(self, brightness: float) -> "Light":
        """Scaled so that a white surface toward the viewer reflects `brightness` on average over its channels."""
        toward = np.maximum(self.directions[:, 2], 0)
        irradiance = 4 * (toward @ self.radiance) / len(toward) + self.lamp_colour * max(self.lamp[2], 0)
        # What shines from the side counts half: a face lit from there is meant to look so, and to be seen at all.
        irradiance = (irradiance + 4 * self.radiance.mean(0) + self.lamp_colour) / 2
        gain = brightness / irradiance.mean()
        return replace(self, radiance=self.radiance * gain, lamp_colour=self.lamp_colour * gain)


def sphere(count: int) -> np.ndarray:
    """[count, 3] unit directions, evenly over the sphere (Fibonacci's lattice)."""
    n = np.arange(count)
    height, angle = 1 - (2 * n + 1) / count, n * np.pi * (3 - 5**0.5)
    radius = np.sqrt(1 - height**2)
    return np.column_stack([radius * np.cos(angle), height, radius * np.sin(angle)])


def random_light(rng: np.random.Generator, albedo: float = USUAL_ALBEDO) -> Light:
    """Indoors or out, soft or with a lamp; one in four has a strong one from the side.

    Args:
        rng: Decides.
        albedo: Mean linear brightness of the skin that is seen: a photographer exposes dark skin longer.
    """
    directions = sphere(SKY_DIRECTIONS)
    sky = environment_light(rng, directions) if rng.random() < 0.6 else harmonic_light(rng, directions)
    strong = rng.random() < 0.25
    if strong:
        yaw, pitch = rng.choice([-1, 1]) * rng.uniform(45, 100), rng.uniform(-5, 45)
        fraction = rng.uniform(0.5, 0.8)
    else:
        yaw, pitch = rng.normal(0, 45), rng.uniform(5, 60)
        fraction = rng.uniform(0, 0.5) * (rng.random() < 0.7)
    yaw, pitch = np.radians([yaw, pitch])
    lamp = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    warmth = rng.normal(0, 0.12)
    colour = np.array([1 + warmth, 1, 1 - warmth]).clip(0.4)
    toward = 4 * sky.mean()
    exposure = rng.uniform(1.05, 1.75) * (USUAL_ALBEDO / max(albedo, 0.02)) ** EXPOSED_FOR_SKIN
    return Light(directions, sky * (1 - fraction), lamp, toward * fraction * colour * 1.5).exposed(exposure)


def environment_light(rng: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """[D, 3] light of a made-up picture of all around: sky or ceiling, ground, and some windows and walls."""
    height, width = 16, 32
    up = np.sin(np.pi * (0.5 - (np.arange(height) + 0.5) / height))[:, None, None]
    above, below = _tint(rng, 0.08) * rng.uniform(0.4, 1.2), _tint(rng, 0.12) * rng.uniform(0.1, 0.5)
    picture = np.broadcast_to(below + (above - below) * ((up + 0.3) / 0.6).clip(0, 1), (height, width, 3)).copy()
    for _ in range(rng.integers(1, 5)):
        row, column = rng.integers(1, height * 5 // 8), rng.integers(0, width)
        tall, wide = rng.integers(1, 5), rng.integers(1, 8)
        where = np.arange(row, min(row + tall, height))[:, None], np.arange(column, column + wide) % width
        picture[where] = _tint(rng, 0.1) * rng.uniform(1, 8)
    # Each direction gathers the pixels that are nearest to it.
    theta = np.pi * (0.5 - (np.arange(height) + 0.5) / height)
    phi = 2 * np.pi * (np.arange(width) + 0.5) / width
    rays = np.stack(np.broadcast_arrays(
        np.cos(theta)[:, None] * np.sin(phi), np.sin(theta)[:, None] + 0 * phi, np.cos(theta)[:, None] * np.cos(phi)
    ), -1)  # fmt: skip
    near = (rays.reshape(-1, 3) @ directions.T).argmax(1)
    weight = np.broadcast_to(np.cos(theta)[:, None], (height, width)).ravel()
    total = np.bincount(near, weight, len(directions))
    colours = picture.reshape(-1, 3) * weight[:, None]
    return np.stack([np.bincount(near, colours[:, k], len(directions)) for k in range(3)], 1) / total[:, None]


def harmonic_light(rng: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """[D, 3] light of random spherical harmonics up to the second order, cut at a little above 0."""
    x, y, z = directions.T
    basis = np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, 3 * z * z - 1, x * x - y * y], 1)
    grey = rng.normal(0, [0, 0.45, 0.3, 0.4, 0.3, 0.3, 0.3, 0.12, 0.25])
    grey[2] += 0.35  # more light comes from above
    grey[3] += 0.15
    grey[0] = 1
    colour = rng.normal(0, 0.08, (9, 3)) * np.abs(grey[:, None])
    return (basis @ (grey[:, None] + colour - colour.mean(1, keepdims=True))).clip(0.03)


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    return np.exp(rng.normal(0, spread, 3))
