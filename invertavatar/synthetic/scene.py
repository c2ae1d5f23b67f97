"""Draws a posed person: the picture, and what is exactly known about each of its pixels.

Shapes: S side of the picture, K layers, N points of triangles, F triangles of all parts together.
"""

from dataclasses import dataclass

import numpy as np

from ..raster.layers_numba import Layers, carried, composed, sampled
from .colours import GAMMA, encoded
from .light import Light
from .person import Part, PosedPerson
from .shading import Lamp, facing, glints, skylight

FINER = 2  # times as many pixels along a side as the picture has, then averaged
CARDS = 6  # cards of hair that are seen through each other
FAINT = 8  # alpha of 255 below which a card is not there
HIDING = 0.5  # opacity from which a surface is what a pixel shows


@dataclass(frozen=True)
class SyntheticPicture:
    """A crop and its truth."""

    picture: np.ndarray  # [S, S, 3] uint8
    matte: np.ndarray  # [S, S] uint8, 255 inside
    depth: np.ndarray  # [S, S] float32 head units, z in camera space at each pixel's centre; NaN in the background
    normals: np.ndarray  # [S, S, 3] float32 unit, camera space; 0 in the background
    labels: np.ndarray  # [S, S] uint8 into DRESSED_LABELS


class _Mesh:
    """All parts as one: opaque ones first."""

    def __init__(self, parts: list[Part], irradiance: list[np.ndarray]):
        order = sorted(range(len(parts)), key=lambda k: parts[k].card)
        self.parts = [parts[k] for k in order]
        starts = np.cumsum([0] + [len(part.vertices) for part in self.parts])
        uv_starts = np.cumsum([0] + [len(part.surface.uv) for part in self.parts])
        self.first = np.cumsum([0] + [len(part.surface.triangles) for part in self.parts])
        self.vertices = np.concatenate([part.vertices for part in self.parts])
        self.uv = np.concatenate([part.surface.uv for part in self.parts]).astype(np.float32)
        pairs = list(zip(self.parts, starts, uv_starts, strict=False))
        self.triangles = np.concatenate([part.surface.triangles + start for part, start, _ in pairs])
        self.uv_triangles = np.concatenate([part.surface.uv_triangles + start for part, _, start in pairs])
        self.label = np.concatenate([part.label for part in self.parts])
        gains = [np.ones_like(part.vertices) if part.gain is None else part.gain for part in self.parts]
        columns = self.vertices, *(np.concatenate(x) for x in ([p.normals for p in self.parts],
                                   [irradiance[k] for k in order], gains))  # fmt: skip
        self.attributes = np.concatenate(columns, 1).astype(np.float32)  # [V, 12] place, normal, skylight, gain


def draw(person: PosedPerson, rotation: np.ndarray, light: Light, backdrop: np.ndarray) -> SyntheticPicture:
    """A weak-perspective crop of a person.

    Args:
        person: In head space.
        rotation: [3, 3] head -> camera.
        light: In camera space.
        backdrop: [S, S, 3] sRGB in 0..1.
    """
    size = len(backdrop)
    light = light.turned(rotation.T.astype(np.float32))
    mesh = _Mesh(person.parts, skylight(person.parts, light))
    lamp = Lamp(person.parts, light)

    fine = _seen(mesh, rotation, size * FINER)
    rgb, alpha = _composed(mesh, fine, rotation, light, lamp)
    cells = (size, FINER, size, FINER, -1)
    rgb, alpha = rgb.reshape(cells).mean((1, 3)), alpha.reshape(cells).mean((1, 3))
    picture = encoded(rgb + (1 - alpha) * backdrop**GAMMA)
    depth, normals, labels = _surface(mesh, _seen(mesh, rotation, size), rotation)
    return SyntheticPicture(
        (picture * 255).round().astype(np.uint8), (alpha[..., 0] * 255).round().astype(np.uint8), depth, normals, labels
    )


def _seen(mesh: _Mesh, rotation: np.ndarray, size: int) -> Layers:
    """The cards before the first opaque surface, and behind them that surface."""
    camera = mesh.vertices @ rotation.astype(np.float64).T
    points = np.column_stack([(camera[:, 0] + 1) * size / 2, (1 - camera[:, 1]) * size / 2, camera[:, 2]])
    solid = Layers.empty(size, size, 1)
    ranges = list(zip(mesh.parts, mesh.first[:-1], mesh.first[1:], strict=True))
    for part, start, end in ranges:
        if not part.card:
            solid.add(points, mesh.triangles[start:end], start)
    cards = Layers.empty(size, size, CARDS, solid.floor)
    for part, start, end in ranges:
        if part.card:
            triangles, uv_triangles = mesh.triangles[start:end], mesh.uv_triangles[start:end]
            cards.add(points, triangles, start, mesh.uv, uv_triangles, part.texture.alpha, FAINT)
    opaque = (cards.depth == cards.floor[..., None]).any(2)  # a card that is still among the nearest
    solid.triangle[opaque & (cards.floor > solid.floor)] = -1
    # A pixel's cards come first, then the solid surface in the next free place: its depth is less than theirs.
    pairs = zip(
        (cards.triangle, cards.barycentric, cards.depth), (solid.triangle, solid.barycentric, solid.depth), strict=True
    )
    triangle, barycentric, depth = (np.concatenate(pair, 2) for pair in pairs)
    return Layers(triangle, barycentric, depth, cards.floor)


def _composed(
    mesh: _Mesh, seen: Layers, rotation: np.ndarray, light: Light, lamp: Lamp
) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied linear colour [S, S, 3] and opacity [S, S, 1]."""
    there = seen.triangle >= 0
    colour, opacity = _shaded(mesh, seen.triangle[there], seen.barycentric[there], rotation, light, lamp)
    return composed(seen.triangle, colour, opacity)


def _shaded(
    mesh: _Mesh,
    triangle: np.ndarray,  # [N]
    barycentric: np.ndarray,  # [N, 3]
    rotation: np.ndarray,
    light: Light,
    lamp: Lamp,
) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied linear colours [N, 3] and opacity [N]."""
    attributes = carried(mesh.attributes, mesh.triangles, triangle, barycentric)
    places = carried(mesh.uv, mesh.uv_triangles, triangle, barycentric)
    viewer = rotation[2]  # the direction to the viewer in head space
    colour, opacity = np.empty((len(triangle), 3), np.float32), np.empty(len(triangle), np.float32)
    owner = np.searchsorted(mesh.first, triangle, side="right") - 1
    for number, part in enumerate(mesh.parts):
        mine = owner == number
        if not mine.any():
            continue
        place, normal, sky, gain = np.split(attributes[mine], 4, 1)
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-6)
        if part.card:  # both sides are seen
            normal = normal * np.where((normal @ viewer)[:, None] < 0, -1, 1)
        texel = sampled(part.texture.colour, places[mine])
        through = part.material.through
        fraction = through + (1 - through) * lamp.fraction(place, normal)
        lit = facing((normal @ light.lamp)[:, None], part.material.wrap) * fraction[:, None]
        glint = glints(part, normal, viewer, light, fraction)
        alpha = texel[:, 3:]
        body = texel[:, :3] * gain * (sky + lit * light.lamp_colour) * alpha
        colour[mine] = body + glint * (1 if part.material.clear else alpha)
        opacity[mine] = alpha[:, 0]
    return colour, opacity


def _surface(mesh: _Mesh, seen: Layers, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, normals and labels of the first surface that hides what is behind it."""
    there = seen.triangle >= 0
    owner = np.searchsorted(mesh.first, seen.triangle[there], side="right") - 1
    places = carried(mesh.uv, mesh.uv_triangles, seen.triangle[there], seen.barycentric[there])
    opacities, alpha = np.zeros(there.shape, np.float32), np.ones(len(owner), np.float32)
    for number, part in enumerate(mesh.parts):
        if part.card:
            mine = owner == number
            alpha[mine] = sampled(part.texture.colour, places[mine])[:, 3]
    opacities[there] = alpha
    hidden = 1 - np.cumprod(1 - opacities, 2) >= HIDING
    first = hidden.argmax(2)[..., None]
    triangle = np.take_along_axis(seen.triangle, first, 2)[..., 0]
    depth = np.take_along_axis(seen.depth, first, 2)[..., 0]
    barycentric = np.take_along_axis(seen.barycentric, first[..., None], 2)[:, :, 0]
    solid = hidden.any(2)
    normals = np.zeros((*solid.shape, 3), np.float32)
    normal = carried(mesh.attributes[:, 3:6], mesh.triangles, triangle[solid], barycentric[solid]) @ rotation.T
    normals[solid] = normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-6)
    labels = np.zeros(solid.shape, np.uint8)
    labels[solid] = mesh.label[triangle[solid]]
    return np.where(solid, depth, np.nan).astype(np.float32), normals, labels
