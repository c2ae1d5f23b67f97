"""How light reaches a person: a sky that hair, hats and chins keep off, a lamp with a shadow, and glints.

Shapes: P vertices of a part, N points, D directions, T side of a depth map.

All in head space.
"""

import numpy as np

from ...rendering.layers_numba import Layers, lit_share
from .light import BRIGHT, Light
from .person import Part

REACH = 1.9  # head units from the middle that depth maps cover
SKY_TEXELS, LAMP_TEXELS = 128, 448
SKY_BIAS, LAMP_BIAS = 0.03, 0.012  # head units behind what the light meets first that are still lit
LIFTED = 0.012  # head units along the normal at which shadows are looked up
THROUGH_HAIR = 0.3  # share of a lamp that hair in its own shadow still gets
SOLID = 128  # alpha from which a card throws a shadow


def towards(direction: np.ndarray) -> np.ndarray:
    """[3, 3] whose rows are right, up and the direction itself."""
    right = np.cross([0, 1, 0] if abs(direction[1]) < 0.9 else [1, 0, 0], direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])


def in_map(points: np.ndarray, axes: np.ndarray, texels: int) -> np.ndarray:
    """Points [N, 3] in pixels of a light's depth map."""
    x, y, z = (points @ axes.T).T
    return np.column_stack([(x / REACH + 1) * texels / 2, (1 - y / REACH) * texels / 2, z])


def depth_map(parts: list[Part], direction: np.ndarray, texels: int) -> np.ndarray:
    """[T, T] float32: what is met first from a direction."""
    axes, layers = towards(direction), Layers.empty(texels, texels, 1)
    for part in parts:
        if part.material.clear:
            continue
        surface, points = part.surface, in_map(part.vertices, axes, texels)
        card = {"uv": surface.uv, "uv_triangles": surface.uv_triangles, "alpha": part.texture.alpha} if part.card else {}
        layers.add(points, surface.triangles, least=SOLID, **card)
    return layers.depth[..., 0]


def skylight(parts: list[Part], light: Light) -> list[np.ndarray]:
    """[P, 3] for each part: what its vertices get of the sky, as a white surface would send it to the viewer."""
    irradiance = [np.zeros((len(part.vertices), 3)) for part in parts]
    share = 4 / len(light.directions)
    for direction, radiance in zip(light.directions, light.radiance, strict=True):
        axes, nearest = towards(direction), depth_map(parts, direction, SKY_TEXELS)
        for part, total in zip(parts, irradiance, strict=True):
            lifted = in_map(part.vertices + LIFTED * part.normals, axes, SKY_TEXELS)
            seen = lit_share(lifted, nearest, SKY_BIAS, 0)
            if part.material.hair:
                seen = THROUGH_HAIR + (1 - THROUGH_HAIR) * seen
            total += (seen * facing(part.normals @ direction, 0.1) * share)[:, None] * radiance
    return irradiance


def facing(cosine: np.ndarray, wrap) -> np.ndarray:
    """Lambert's law for light that creeps around by `wrap`, without adding any."""
    wrap = np.asarray(wrap)
    return np.maximum(cosine + wrap, 0) / (1 + wrap) ** 2


class Lamp:
    """The lamp's shadow on a scene.

    Args:
        parts: What throws it.
        light: In head space.
    """

    def __init__(self, parts: list[Part], light: Light):
        self.light, self.axes = light, towards(light.lamp)
        self.dark = not light.lamp_colour.any()
        self.nearest = None if self.dark else depth_map(parts, light.lamp, LAMP_TEXELS)

    def share(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """[N] in 0..1 of points [N, 3] with normals [N, 3]."""
        if self.dark:
            return np.zeros(len(points), np.float32)
        lifted = points + LIFTED * normals
        return lit_share(in_map(lifted, self.axes, LAMP_TEXELS), self.nearest, LAMP_BIAS, 2)


def glints(part: Part, normals: np.ndarray, viewer: np.ndarray, light: Light, lamp_share: np.ndarray) -> np.ndarray:
    """[N, 3] reflections (Blinn and Phong) of the lamp and of the brightest parts of the sky."""
    material = part.material
    total = np.zeros((len(normals), 3), np.float32)
    if not material.gloss:
        return total
    brightest = np.argsort(-light.radiance.sum(1), kind="stable")[:BRIGHT]
    sources = [(light.lamp, light.lamp_colour * lamp_share[:, None])]
    sources += [(light.directions[k], light.radiance[k] * 4 / len(light.directions)) for k in brightest]
    for direction, colour in sources:
        half = direction + viewer
        half = half / max(np.linalg.norm(half), 1e-6)
        peak = np.maximum(normals @ half, 0) ** material.sharpness * (material.sharpness + 8) / 25
        total += (material.gloss * peak)[:, None] * colour
    return total
