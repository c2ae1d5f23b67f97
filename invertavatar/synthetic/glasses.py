"""Glasses as a mesh on a head: two rims, a bridge, two temples that end at the ears, and lenses.

Shapes: N points of a curve, V vertices, F triangles.

Head space; they are made for a neutral face and stay with the skull.
"""

from dataclasses import dataclass

import numpy as np

from ..head.landmark_topology import LEFT_IRIS, RIGHT_IRIS
from ..head.makehuman import Surface

NOSE_BRIDGE = 168  # the landmark between the eyes
RIM_POINTS, TUBE_SIDES = 36, 6
DARK_PAIRS = 0.2  # share of pairs that hide the eyes


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses; lengths in distances between the eyes."""

    width: float  # half of a lens
    height: float
    roundness: float  # 2 is an ellipse, more is squarer
    drop: float  # of the lens's middle below the eye's
    thickness: float
    frame: np.ndarray  # [3] linear RGB
    lens: np.ndarray  # [4] linear RGB and opacity

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Glasses":
        """Of metal or horn, clear or dark."""
        dark = rng.random() < DARK_PAIRS
        opacity = rng.uniform(0.6, 0.95) if dark else rng.uniform(0, 0.1)
        frame = rng.uniform(0.005, 0.5) + rng.normal(0, 0.05, 3)
        tint = rng.uniform(0, 0.06, 3) if dark else rng.uniform(0.2, 0.6, 3)
        return cls(
            rng.uniform(0.34, 0.43), rng.uniform(0.22, 0.36), rng.uniform(2, 4.5), rng.uniform(0.0, 0.1),
            rng.uniform(0.015, 0.045), frame.clip(0.004, 0.8), np.array([*tint, opacity]),
        )  # fmt: skip

    def on(self, landmarks: np.ndarray, ears: np.ndarray) -> tuple[Surface, Surface]:
        """Frame and lenses on a neutral face.

        Args:
            landmarks: [478, 3].
            ears: [M, 3] vertices of both ears.
        """
        eyes = landmarks[[RIGHT_IRIS[0], LEFT_IRIS[0]]]
        unit = np.linalg.norm(eyes[1] - eyes[0])
        bridge, middle = landmarks[NOSE_BRIDGE], eyes.mean(0)
        front = max(middle[2] + 0.24 * unit, bridge[2] + 0.03 * unit)
        rims, tubes = [], []
        angle = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        circle = np.sign(circle) * np.abs(circle) ** (2 / self.roundness)
        for eye, side in zip(eyes, (-1, 1), strict=True):
            place = circle * [self.width * unit, self.height * unit] + eye[:2] + [side * 0.03 * unit, -self.drop * unit]
            bend = front - 0.12 * np.abs(place[:, 0] - middle[0]) ** 2 / unit  # glasses follow the face around
            rims.append(np.column_stack([place, bend]))
            tubes.append(tube(rims[-1], self.thickness * unit, closed=True))
        inner = [rim[np.abs(rim[:, 0] - middle[0]).argmin()] for rim in rims]
        top = (inner[0] + inner[1]) / 2 + [0, 0.05 * unit, 0.03 * unit]
        tubes.append(tube(np.array([inner[0], top, inner[1]]), self.thickness * unit))
        for rim, side in zip(rims, (-1, 1), strict=True):
            ear = ears[ears[:, 0] * side > 0]
            low, high = ear[:, 1].min(), ear[:, 1].max()
            root = ear[ear[:, 1] > high - 0.35 * (high - low)]
            outer = rim[(rim[:, 0] * side).argmax()]
            hinge = np.array([outer[0] + side * 0.06 * unit, outer[1] + 0.08 * unit, outer[2] - 0.05 * unit])
            behind = np.array([np.median(root[:, 0]), high - 0.12 * (high - low), np.median(root[:, 2])])
            hook = behind + [-side * 0.04 * unit, -0.3 * unit, -0.15 * unit]
            tubes.append(tube(np.array([outer, hinge, behind, hook]), self.thickness * unit))
        return merged(tubes), merged([fan(rim) for rim in rims])


def tube(curve: np.ndarray, radius: float | np.floating, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and triangles [F, 3] about a curve [N, 3]."""
    ends = (np.roll(curve, -1, 0) - np.roll(curve, 1, 0)) if closed else np.gradient(curve, axis=0)
    along = ends / np.linalg.norm(ends, axis=1, keepdims=True).clip(1e-9)
    across = np.cross(along, [0.1, 0.2, 1.0] if closed else [0.05, 1.0, 0.1])
    across /= np.linalg.norm(across, axis=1, keepdims=True).clip(1e-9)
    upward = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, TUBE_SIDES, endpoint=False)
    ring = np.cos(angle)[:, None] * across[:, None] + np.sin(angle)[:, None] * upward[:, None]  # [N, sides, 3]
    vertices = curve[:, None] + radius * ring
    n, k = np.meshgrid(np.arange(len(curve) - (not closed)), np.arange(TUBE_SIDES), indexing="ij")
    after, beside = (n + 1) % len(curve), (k + 1) % TUBE_SIDES
    a, b, c, d = (x * TUBE_SIDES + y for x, y in ((n, k), (after, k), (after, beside), (n, beside)))
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return vertices.reshape(-1, 3), triangles


def fan(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What fills an outline [N, 3]."""
    corner = np.arange(len(outline))
    triangles = np.column_stack([np.full_like(corner, len(outline)), corner, np.roll(corner, -1)])
    return np.concatenate([outline, outline.mean(0, keepdims=True)]), triangles


def merged(meshes: list[tuple[np.ndarray, np.ndarray]]) -> Surface:
    """One surface of several; it has no texture but a texel."""
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    vertices = np.concatenate([vertices for vertices, _ in meshes])
    triangles = np.concatenate([t + o for (_, t), o in zip(meshes, offsets, strict=False)])
    return Surface(vertices, np.full((1, 2), 0.5), triangles, np.zeros_like(triangles), np.full(len(triangles), ""))
