"""How light reaches a person: a sky that hair, hats and chins keep off, a lamp with a shadow, and glints.

Shapes: P vertices of a part, N points, D directions, T side of a depth map.

All in head space.
"""

import numpy as np

from ..raster.layers_numba import Layers, lit_fraction
from .light import BRIGHT, Light
from .person import Part

EXTENT = 1.9  # head units from the middle that depth maps cover
SKY_TEXELS, LAMP_TEXELS = 128, 448
SKY_BIAS, LAMP_BIAS = 0.03, 0.015  # head units behind what the light meets first that are still lit
LIFTED = 0.02  # head units along the normal at which shadows are looked up
SKY_WRAP = 0.1
SOLID = 128  # alpha from which a card throws a shadow


class LightView:
    """What a light sees from one direction.

    Args:
        direction: [3] unit, to the light.
        texels: T.
    """

    def __init__(self, direction: np.ndarray, texels: int):
        right = np.cross([0, 1, 0] if abs(direction[1]) < 0.9 else [1, 0, 0], direction)
        right /= np.linalg.norm(right)
        x, y = right / EXTENT, np.cross(direction, right) / EXTENT
        self.axes = np.stack([x * texels / 2, -y * texels / 2, direction]).astype(np.float32)
        self.middle = np.array([texels / 2, texels / 2, 0], np.float32)
        self.layers = Layers.empty(texels, texels, 1)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """[N, 3] in pixels of the depth map, then depth, larger is nearer to the light."""
        return points @ self.axes.T + self.middle

    def meet(self, part: Part, points: np.ndarray) -> None:
        """Add a part with its vertices [P, 3] in pixels to what throws shadows."""
        surface = part.surface
        if not part.material.shades:
            return
        if part.card:
            self.layers.add(
                points, surface.triangles, 0, surface.uv, surface.uv_triangles, part.texture.alpha, least=SOLID
            )
        else:
            self.layers.add(points, surface.triangles, least=SOLID)

    def lit(self, points: np.ndarray, bias: float, radius: int) -> np.ndarray:
        """[N] share of the light that reaches points [N, 3] in pixels."""
        return lit_fraction(points, self.layers.depth[..., 0], bias, radius)


def skylight(parts: list[Part], light: Light) -> list[np.ndarray]:
    """[P, 3] for each part: what its vertices get of the sky, as a white surface would send it to the viewer."""
    ends = np.cumsum([len(part.vertices) for part in parts])[:-1]
    vertices, normals = (
        np.concatenate([getattr(p, n) for p in parts]).astype(np.float32) for n in ("vertices", "normals")
    )
    lifted = vertices + LIFTED * normals
    through = np.concatenate([np.full(len(p.vertices), p.material.through, np.float32) for p in parts])
    irradiance = np.zeros_like(vertices)
    for direction, radiance in zip(light.directions, light.radiance, strict=True):
        view = LightView(direction, SKY_TEXELS)
        for part, points in zip(parts, np.split(view(vertices), ends), strict=True):
            view.meet(part, points)
        seen = through + (1 - through) * view.lit(view(lifted), SKY_BIAS, 0)
        weight = seen * facing(normals @ direction, SKY_WRAP) * np.float32(4 / len(light.directions))
        irradiance += weight[:, None] * radiance
    return np.split(irradiance, ends)


def facing(cosine: np.ndarray, wrap: float | tuple[float, float, float]) -> np.ndarray:
    """Lambert's law for light that creeps around by `wrap`, without adding any."""
    far = np.asarray(wrap, np.float32)
    return np.maximum(cosine + far, 0) / (1 + far) ** 2


class Lamp:
    """The lamp's shadow on a scene.

    Args:
        parts: What throws it.
        light: In head space.
    """

    def __init__(self, parts: list[Part], light: Light):
        self.dark = not light.lamp_colour.any()
        self.view = LightView(light.lamp, LAMP_TEXELS)
        for part in parts if not self.dark else ():
            self.view.meet(part, self.view(part.vertices.astype(np.float32)))

    def fraction(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """[N] in 0..1 of points [N, 3] with normals [N, 3]."""
        if self.dark:
            return np.zeros(len(points), np.float32)
        return self.view.lit(self.view(points + LIFTED * normals), LAMP_BIAS, 2)


def glints(part: Part, normals: np.ndarray, viewer: np.ndarray, light: Light, lamp_fraction: np.ndarray) -> np.ndarray:
    """[N, 3] reflections (Blinn and Phong) of the lamp and of the brightest parts of the sky."""
    material = part.material
    total = np.zeros((len(normals), 3), np.float32)
    if not material.gloss:
        return total
    brightest = np.argsort(-light.radiance.sum(1), kind="stable")[:BRIGHT]
    sources = [(light.lamp, light.lamp_colour * lamp_fraction[:, None])]
    sources += [(light.directions[k], light.radiance[k] * 4 / len(light.directions)) for k in brightest]
    for direction, colour in sources:
        half = direction + viewer
        half = half / max(np.linalg.norm(half), 1e-6)
        peak = np.maximum(normals @ half, 0) ** material.sharpness * (material.sharpness + 8) / 25
        total += (material.gloss * peak)[:, None] * colour
    return total
