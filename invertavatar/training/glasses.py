"""Glasses drawn on the faces of an episode: a person wears the same pair in every picture, whichever way they look.

Shapes: V 478 landmarks, S side of the crop, N points.

Few people of a training set wear any, and without some glasses an encoder takes a frame for brows and lids.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from ..head.landmark_topology import LEFT_EYE, RIGHT_EYE
from .observation import Observation

FINER = 2  # times as large as the picture is drawn, so that lines are smooth
SUNGLASSES = 0.25  # share of pairs that hide the eyes
EAR = (1.15, 0.1, -1.5)  # where a temple ends: outward from the middle of the face, up and back, in eye distances


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses; lengths in distances between the eyes' middles."""

    width: float  # half of a lens
    height: float
    roundness: float  # 2 is an ellipse, more is squarer
    drop: float  # of the lens's middle below the eye's
    rim: float  # thickness
    frame: tuple[int, int, int]  # RGB
    tint: tuple[int, int, int, int]  # RGBA of the lenses

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Glasses":
        """Of metal or horn, clear or dark."""
        dark = rng.random() < SUNGLASSES
        opacity = rng.uniform(0.6, 0.95) if dark else rng.uniform(0, 0.2)
        shade = rng.integers(0, 90, 3) if rng.random() < 0.7 else rng.integers(90, 220, 3)
        return cls(
            width=rng.uniform(0.36, 0.44),
            height=rng.uniform(0.22, 0.36),
            roundness=rng.uniform(2, 5),
            drop=rng.uniform(0.0, 0.06),
            rim=rng.uniform(0.015, 0.08),
            frame=tuple(shade.tolist()),
            tint=(*rng.integers(0, 60, 3).tolist(), int(255 * opacity)),
        )


def worn(o: Observation, glasses: Glasses) -> Observation:
    """The same face with glasses on."""
    size = o.picture.shape[0]
    eyes = [o.vertices[list(eye)].mean(0) for eye in (RIGHT_EYE, LEFT_EYE)]  # the first is on the picture's left
    unit, depth = np.linalg.norm(eyes[1] - eyes[0]), max(o.vertices[[*RIGHT_EYE, *LEFT_EYE], 2])
    middle = (eyes[0] + eyes[1]) / 2
    sheet = Image.new("RGBA", (size * FINER,) * 2)
    draw = ImageDraw.Draw(sheet)

    def pixels(points: np.ndarray) -> list[tuple[float, float]]:
        seen = points @ o.rotation.T
        return [((x + 1) * size * FINER / 2, (1 - y) * size * FINER / 2) for x, y in seen[:, :2].tolist()]

    thickness = max(1, round(glasses.rim * unit * size * FINER / 2))
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    circle = np.sign(circle) * np.abs(circle) ** (2 / glasses.roundness)
    for eye, outward in zip(eyes, (-1, 1), strict=True):
        lens = np.zeros((len(circle), 3))
        lens[:, :2] = eye[:2] + circle * unit * (glasses.width, glasses.height) - (0, glasses.drop * unit)
        lens[:, 2] = depth + unit * (0.15 - 0.12 * np.abs(lens[:, 0] - middle[0]) / unit)  # bent around the face
        hinge = lens[np.argmax(outward * lens[:, 0])]
        if (o.rotation @ (outward, 0, 0.3))[2] > 0:  # the temple on this side is in view
            ear = middle + unit * np.array(EAR) * (outward, 1, 1)
            draw.line(pixels(np.stack([hinge, ear])), (*glasses.frame, 255), thickness)
        outline = pixels(lens)
        draw.polygon(outline, glasses.tint)
        draw.line([*outline, *outline[:2]], (*glasses.frame, 255), thickness, joint="curve")
    bridge = np.stack([
        np.array([middle[0] + x * unit, middle[1] + y * unit, depth + 0.17 * unit])
        for x, y in ((glasses.width - 0.5, 0.02), (0, 0.06), (0.5 - glasses.width, 0.02))
    ])  # fmt: skip
    draw.line(pixels(bridge), (*glasses.frame, 255), thickness, joint="curve")
    drawn = np.asarray(sheet.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    opacity = drawn[..., 3:] * (o.matte[..., None] / 255)
    picture = o.picture + (drawn[..., :3] * 255 - o.picture) * opacity
    return replace(o, picture=picture.round().clip(0, 255).astype(np.uint8))
