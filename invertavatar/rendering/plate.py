"""The still part of a picture into which a moving head is put back.

Shapes: H W picture, h w its part around the head, S side of a rendered square, f side of a map of places.

A head rendered as the picture itself shows it differs from the picture a little: in grain, in strands of hair, by what
no network can draw. That difference, of colours and of the outline, is kept, lies on the head's surface, and is added
to every frame where the surface has gone. So a head at rest is the picture itself, and one that moves keeps its detail.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from .background import surrounded
from .paste_settings import PasteSettings


class Layer(NamedTuple):
    """A rendered head over nothing, in the square that `Plate.square` pixels lie in."""

    colour: np.ndarray  # [S, S, 3] float32 in 0..255, not premultiplied
    opacity: np.ndarray  # [S, S] float32 in 0..1
    place: np.ndarray  # [f, f, 2] float32: where each pixel's surface is at rest, right and down from the head's middle
    kept: np.ndarray  # [f, f] float32 in 0..1: whether that very surface is seen there


@dataclass(frozen=True, eq=False)
class Plate:
    """A picture and what is known of it around the head; made by `plate_of`."""

    picture: np.ndarray  # [H, W, 3] uint8
    rows: slice  # of the part around the head
    columns: slice
    centre: np.ndarray  # [2] pixel of the head's middle in that part
    scale: float  # pixels of a head unit
    person: np.ndarray  # [h, w] float32 in 0..1
    behind: np.ndarray  # [h, w, 3] float32, without the person
    blend: np.ndarray  # [h, w, 1] float32, of the rendered head against the picture
    room: float
    # Once it is known how the head is rendered at rest: colour of the picture and how far its outline is beyond the
    # rendered one, colour and opacity as rendered, and what the background lacks; [h, w, 4, 4 and 3] float32
    known: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def around(self, mask: np.ndarray, settings: PasteSettings) -> "Plate":
        """The same, which keeps more of the picture: what is far from the head's mask [f, f] at rest."""
        distance = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 3) * 2 * self.room / len(mask)
        return replace(self, blend=self.blend * (1 - ramp(self._enlarged(distance), *settings.far))[..., None])

    def with_rendering(self, layer: Layer) -> "Plate":
        """The same, which knows how the head is rendered at rest."""
        part, drawn, person = self._part, self._drawn(layer), self.person[..., None]
        lacking = (1 - person) * (part - self.behind)
        return replace(self, known=(np.dstack([part, person - drawn[..., 3:]]), drawn, lacking))

    def pasted(self, layer: Layer) -> np.ndarray:
        """The picture with a rendered head in the place of its own: [H, W, 3] uint8.

        Raises:
            ValueError: It is not known how the head is rendered at rest.
        """
        if self.known is None:
            raise ValueError("A head goes back into its picture once it is known at rest: see `with_rendering`.")
        pixels = (self.centre + self.scale * self._enlarged(layer.place) - 0.5).astype(np.float32)  # from pixel centres
        own, before, lacking = (_looked_up(x, pixels[..., 0], pixels[..., 1], cv2.INTER_CUBIC) for x in self.known)
        drawn, kept = self._drawn(layer), self._enlarged(layer.kept)[..., None]
        # A rendered colour means something only where there is something.
        solid = np.minimum(*(np.clip((x[..., 3:] - 0.2) / 0.4, 0, 1) for x in (drawn, before)))
        change = (drawn[..., :3] - before[..., :3]) * solid
        colour = drawn[..., :3] + kept * (own[..., :3] + change - drawn[..., :3])
        opacity = (drawn[..., 3:] + kept * own[..., 3:]).clip(0, 1)
        composed = colour * opacity + self.behind * (1 - opacity) + kept * lacking
        result, part = self.picture.copy(), self._part
        mixed = part + (composed - part) * self.blend
        result[self.rows, self.columns] = mixed.round().clip(0, 255).astype(np.uint8)
        return result

    @property
    def _part(self) -> np.ndarray:
        return self.picture[self.rows, self.columns].astype(np.float32)

    def _drawn(self, layer: Layer) -> np.ndarray:
        """Colour and opacity of a rendered head at the picture's pixels: [h, w, 4] float32."""
        return self._enlarged(np.dstack([layer.colour, layer.opacity]))

    def _enlarged(self, square: np.ndarray) -> np.ndarray:
        """A rendered square at the pixels of the part around the head."""
        factor = 2 * self.room * self.scale / len(square)  # pixels of the picture for one of the square
        matrix = np.array([[factor, 0, 0], [0, factor, 0]])
        matrix[:, 2] = self.centre - self.room * self.scale - 0.5 + factor / 2
        size = (self.columns.stop - self.columns.start, self.rows.stop - self.rows.start)
        return cv2.warpAffine(square, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def plate_of(
    picture: np.ndarray, centre: np.ndarray, scale: float, matte: np.ndarray, settings: PasteSettings
) -> Plate:
    """A picture prepared.

    Args:
        picture: [H, W, 3] uint8.
        centre: [2] pixel of the head's middle.
        scale: Pixels of a head unit.
        matte: [S, S] in 0..1, the person in a crop of which half the side is `settings.room`.
        settings: Of pasting.
    """
    height, width = picture.shape[:2]
    extent = settings.room * scale
    left, top = (max(0, int(np.floor(c - extent))) for c in centre)
    right, bottom = (min(side, int(np.ceil(c + extent))) for c, side in zip(centre, (width, height), strict=True))
    rows, columns = slice(top, bottom), slice(left, right)
    part, inner = picture[rows, columns], np.asarray(centre, np.float64) - (left, top)
    x = ((np.arange(right - left) + 0.5 - inner[0]) / scale).astype(np.float32)
    y = ((np.arange(bottom - top) + 0.5 - inner[1]) / scale).astype(np.float32)

    edge = settings.room - settings.edge
    blend = 1 - np.maximum(ramp(np.abs(x), edge, settings.room), ramp(np.abs(y), edge, settings.room)[:, None])
    blend = blend * (1 - ramp(y, *settings.body))[:, None]
    columns_there, rows_there = np.meshgrid(*((line / settings.room + 1) / 2 * len(matte) - 0.5 for line in (x, y)))
    person = _looked_up(matte, columns_there, rows_there, cv2.INTER_LINEAR)
    behind = without_person(part, person, settings.rim * scale, settings.fill)
    return Plate(
        picture, rows, columns, inner, scale, person, behind, blend[..., None].astype(np.float32), settings.room
    )


def _looked_up(picture: np.ndarray, columns: np.ndarray, rows: np.ndarray, interpolation: int) -> np.ndarray:
    """A picture [H, W] or [H, W, C] at places [h, w] float32 among its pixels; beyond the border it is repeated."""
    return cv2.remap(picture, columns, rows, interpolation, borderMode=cv2.BORDER_REPLICATE)


def ramp(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 up to `start`, 1 from `end` on, with level ends."""
    x = np.clip((x - start) / (end - start), 0, 1)
    return x * x * (3 - 2 * x)


def without_person(part: np.ndarray, person: np.ndarray, rim: float, size: int) -> np.ndarray:
    """A picture [h, w, 3] uint8 with the person [h, w] in 0..1 and a rim of some pixels painted over, with the grain of
    what is around: [h, w, 3] float32.
    """
    height, width = person.shape
    factor = min(1.0, size / max(height, width))
    small = (max(8, round(width * factor)), max(8, round(height * factor)))
    reduced = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    hole = (cv2.resize(person, small, interpolation=cv2.INTER_AREA) > 0.05).astype(np.uint8)
    distance = cv2.distanceTransform(1 - hole, cv2.DIST_L2, 3) if hole.any() else np.full(hole.shape, 1e6, np.float32)
    hole = (distance < rim * factor / 2).astype(np.uint8)
    if hole.all():
        return part.astype(np.float32)
    filled = cv2.resize(surrounded(reduced, hole), (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    far = cv2.resize(distance, (width, height), interpolation=cv2.INTER_LINEAR) / max(rim * factor, 1e-6)
    known = np.clip(2 * far - 1, 0, 1)[..., None]
    fine = part - cv2.GaussianBlur(part, (0, 0), 1.0).astype(np.float32)
    around = fine[(far > 1) & (far < 6)]
    if len(around):
        deviation = 1.4826 * np.median(np.abs(around - np.median(around, 0)), 0)
        filled = filled + np.random.default_rng(0).normal(0, 1, filled.shape).astype(np.float32) * deviation
    return (filled * (1 - known) + part * known).astype(np.float32)
