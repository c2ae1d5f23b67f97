"""Which part of the crop around a head a frame shows, and how the body ends in it.

Shapes: B batch, N photos, V vertices of the head model, S side of the whole crop, H W frame.

Places are those of the image: x right and y DOWN, in head units, -1..1 inside the crop.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..camera import Camera, pixel_centres
from ..errors import InvertAvatarError
from ..head.head_model import HeadModel
from .source_views import SourceViews
from .surface import GROUPS, vertex_groups

FRAMINGS = ("photo", "head", "bust", "crop")


class FramingSettings(NamedTuple):
    """What decides how frames are framed; lengths in head units."""

    real: float = 0.4  # of `SourceViews.picture`'s last channel: from it on a photo counts as having a pixel
    photos: float = 0.5  # share of the photos that have a place which the frame shows
    above: float = 0.16  # room above the head
    below: float = 0.24  # beneath the chin
    beside: float = 0.2  # at either side of the head
    fade: tuple[float, float] = (0.04, 0.36)  # of that channel, between which the body ends
    neck: tuple[float, float] = (0.3, 0.5)  # beneath the head's middle, between which that begins to hold
    crown: float = 0.75  # radius at least of the round in which hair ends that photos cut off at the top
    crown_drop: tuple[float, float] = (0.15, 0.3)  # beneath that edge, between which the round holds all hair
    crown_depth: float = -0.15  # of its middle
    crown_near: float = 0.08  # to the photo's edge, from which on hair counts as cut off
    crown_fade: float = 0.03  # over which it ends
    bust_curve: float = 0.4  # by which a bust ends higher at the sides of the crop than in its middle
    bust_fade: float = 0.1  # over which it ends
    bust_room: float = 0.06  # beneath it
    widest: float = 1.4  # of what is rendered, relative to the crop; beyond it there is nothing


class Window(NamedTuple):
    """A part of the crop, or more than it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


WHOLE = Window(-1.0, -1.0, 1.0, 1.0)
ENDLESS = Window(-4.0, -4.0, 4.0, 4.0)  # farther than any head is moved


class Framing(NamedTuple):
    """How frames [H, W] are cut out of square ones, which are rendered with S pixels."""

    side: int  # S
    left: int  # of the frame in the square one, in pixels; negative where it reaches beyond it
    top: int
    height: int
    width: int
    extent: float = 1.0  # half the side of the square one, in head units
    fades: bool = False  # the body ends where photos do
    stands: bool = False  # the body stays where it is, and the head moves upon it; else the head stays
    crown: tuple[float, float, float, float] | None = None  # middle in head space, and radius, see `crown_of`
    bust: tuple[float, float, float] | None = None  # height in the middle, curve and fade of a bust's end
    slack: Window = ENDLESS  # how far the head may be moved to either side until it would leave the frame

    @property
    def window(self) -> Window:
        """The part of the crop that it shows."""
        edges = (self.left, self.top, self.left + self.width, self.top + self.height)
        return Window(*(self.extent * (2 * edge / self.side - 1) for edge in edges))

    def held(self, stay: Tensor) -> Tensor:
        """By how much pictures are moved where the body would want [T, 2] (`driven.standing`), in -1..1 across the
        square one: as far as the head does not leave the frame.
        """
        low, high = stay.new_tensor(self.slack[:2]), stay.new_tensor(self.slack[2:])
        return stay.clamp(low, high) / self.extent

    def cut(self, pictures: Tensor) -> Tensor:
        """Premultiplied pictures [B, C, S, S] -> [B, C, H, W]; nothing is beyond them."""
        if self.bust is not None:
            low, curve, fade = self.bust
            right, up = (self.extent * x for x in pixel_centres(self.side, pictures.device))
            end = low - curve * right.square().square()
            pictures = pictures * smooth(((end + up) / fade).clamp(0, 1))
        right, bottom = self.left + self.width - self.side, self.top + self.height - self.side
        return torch.nn.functional.pad(pictures, (-self.left, right, -self.top, bottom))


def framed(window: Window, slack: Window, size: int) -> Framing:
    """Square frames of a window of the crop, upon a body that stands as far as `Framing.slack` lets it."""
    return placed(window, size, size)._replace(stands=True, slack=slack)


def check_framing(framing: str, width: int | None) -> None:
    """One sentence where there is no such framing or no such width."""
    if framing not in FRAMINGS:
        raise InvertAvatarError(f'There is no framing "{framing}"; use one of {", ".join(FRAMINGS)}.')
    if width is not None and (not isinstance(width, int) or not 32 <= width <= 4096):
        raise InvertAvatarError(f"The width of the frames must be between 32 and 4096 pixels, not {width}.")


def framing_of(
    framing: str,
    settings: FramingSettings,
    head_model: HeadModel,
    vertices: Tensor,
    views: SourceViews | None,
    height: int,
    width: int | None = None,
) -> Framing:
    """How an avatar is framed.

    Args:
        framing: "photo" shows as much as the photos do, "head" the head alone, "bust" all there is of the person, who
            ends in a curve below, and "crop" the square of the normalized crop, whatever there is in it.
        settings: Of framing.
        head_model: The head model.
        vertices: [V, 3] the dressed head at rest.
        views: The photos; None where there are none, of which all of the crop is shown.
        height: H.
        width: W; H by default.
    """
    width = width or height
    aspect = width / height
    if framing == "crop" or (framing == "photo" and views is None):
        return placed(_around(WHOLE, WHOLE, aspect), height, width)
    head, photos = head_box(head_model, vertices, settings), WHOLE if views is None else photo_box(views, settings)
    if framing == "photo":
        window = _within(photos, head, settings, aspect)
    elif framing == "head":
        window = _around(head, head, aspect)
    else:
        whole = Window(-1, min(-1, head.top), 1, photos.bottom + settings.bust_room)
        window = _around(whole, whole, aspect)
    tight = _without_room(head, settings)
    slack = Window(
        min(window.left - tight.left, 0), min(window.top - tight.top, 0),
        max(window.right - tight.right, 0), max(window.bottom - tight.bottom, 0),
    )  # fmt: skip
    ends = min(photos.right - window.right, window.left - photos.left, photos.bottom - window.bottom) < -1e-6
    bust = (photos.bottom, settings.bust_curve, settings.bust_fade) if ends else None
    crown = None if views is None else crown_of(views, photos, settings)
    return placed(window, height, width, settings.widest)._replace(
        fades=views is not None, stands=framing != "head", crown=crown, bust=bust, slack=slack
    )


def placed(window: Window, height: int, width: int, widest: float = 1.0) -> Framing:
    """A window in whole pixels, so that nothing is resampled."""
    extent = min(max(1.0, *map(abs, window)), widest)
    side = max(round(2 * extent * height / window.size[1]), 1)
    left, top = (round((edge / extent + 1) * side / 2) for edge in (window.left, window.top))
    return Framing(side, left, top, height, width, extent)


def photo_box(views: SourceViews, settings: FramingSettings) -> Window:
    """Where photos have pixels; above, no more than the first one shows, as hair that it cuts off has no end there."""
    real = (views.picture[0, :, 4] >= round(255 * settings.real)).float().mean(0) >= settings.photos  # [S, S]
    if not real.any():
        return WHOLE
    edges = []
    for line in (real.any(0), real.any(1)):
        places = line.nonzero()
        edges.append((float(places.min()), float(places.max() + 1)))
    (left, right), (top, bottom) = edges
    first = (views.picture[0, 0, 4] >= round(255 * settings.real)).any(1).nonzero()
    top = max(top, float(first.min())) if len(first) else top
    return Window(*(2 * edge / real.shape[-1] - 1 for edge in (left, top, right, bottom)))


def crown_of(views: SourceViews, box: Window, settings: FramingSettings) -> tuple[float, float, float, float] | None:
    """The sphere about the head that ends hair which the first photo cuts off at the top: its middle in head space and
    its radius; None where the photo shows all of it. Its outline is as round whichever way the head turns.
    """
    matte = views.picture[0, 0, 3] > 127  # [S, S]
    size = matte.shape[-1]
    first = round((box.top + 1) / 2 * size)
    rows = matte[first : first + round(settings.crown_near * size / 2)].any(1).nonzero()
    if not len(rows):
        return None
    row = first + int(rows[0])
    hair = matte[row].nonzero().float()
    middle = float(hair.min() + hair.max() + 1) / size - 1
    # It touches the photo's edge from within, so that nothing is seen of what lies beyond.
    radius, drops = settings.crown, (round(drop * size / 2) for drop in settings.crown_drop)
    for drop in range(*drops):
        wide = matte[min(row + drop, size - 1)].nonzero().float()
        if len(wide):
            half, down = float((2 * (wide + 0.5) / size - 1 - middle).abs().max()), 2 * drop / size
            radius = max(radius, (half**2 + down**2) / (2 * down))
    down = 2 * row / size - 1 + settings.crown_fade + radius
    place = views.rotation.new_tensor([middle, -down, settings.crown_depth])
    return *(views.rotation[0, 0].mT @ place).tolist(), radius


def head_box(head_model: HeadModel, vertices: Tensor, settings: FramingSettings) -> Window:
    """The head from its hair to its chin, with room around it."""
    groups = vertex_groups(head_model)
    hair, neck, torso = (groups[:, GROUPS.index((name,))] for name in ("scalp", "neck", "torso"))
    body = neck + torso
    face = vertices[(body == 0) & (hair == 0)]
    (left, low, _), (right, *_) = (x.tolist() for x in (face.amin(0), face.amax(0)))
    high = float(vertices[:, 1].max())
    return Window(left - settings.beside, -high - settings.above, right + settings.beside, settings.below - low)


def _around(box: Window, middle: Window, aspect: float) -> Window:
    """The smallest window of an aspect around a box."""
    width, height = box.size
    height = max(height, width / aspect)
    return _of_size(height * aspect, height, box, middle)


def _within(box: Window, head: Window, settings: FramingSettings, aspect: float) -> Window:
    """The largest window of an aspect within a box; larger where it would not hold what the box has of the head."""
    left, top, right, bottom = _without_room(head, settings)
    seen = Window(max(box.left, left), max(box.top, top), min(box.right, right), min(box.bottom, bottom))
    if min(seen.size) <= 0:
        seen = box
    height = max(min(box.size[1], box.size[0] / aspect), seen.size[1], seen.size[0] / aspect)
    return _of_size(height * aspect, height, box, seen)


def _without_room(head: Window, settings: FramingSettings) -> Window:
    """The box of `head_box` without the room around the head."""
    left, right = head.left + settings.beside, head.right - settings.beside
    return Window(left, head.top + settings.above, right, head.bottom - settings.below)


def _of_size(width: float, height: float, box: Window, middle: Window) -> Window:
    """A window of a size about the middle of one box, and within another as far as it can."""
    edges = []
    for size, low, high, a, b in (
        (width, box.left, box.right, middle.left, middle.right),
        (height, box.top, box.bottom, middle.top, middle.bottom),
    ):
        start = (a + b - size) / 2
        edges.append(min(max(start, low), high - size) if size <= high - low else (low + high - size) / 2)
    return Window(edges[0], edges[1], edges[0] + width, edges[1] + height)


def ends(inside: Tensor, camera: Camera, framing: Framing, settings: FramingSettings) -> Tensor:
    """What of a frame's opacity stays where its photos end, [B, 1, S, S] in 0..1: beneath the neck the body fades out
    there, and hair above ends round.

    Args:
        inside: [B, 1, S, S] `Reprojection.inside`.
        camera: How the frame is seen.
        framing: Of the frame.
        settings: Of framing.
    """
    right, up = pixel_centres(inside.shape[-1], inside.device)
    if camera.shift is not None:
        right, up = right - camera.shift[:, 0].view(-1, 1, 1, 1), up + camera.shift[:, 1].view(-1, 1, 1, 1)
    right, up = right / camera.zoom, up / camera.zoom
    start, end = settings.neck
    body = smooth(((-up - start) / (end - start)).clamp(0, 1))
    low, high = settings.fade
    left = 1 - body * (1 - smooth(((inside - low) / (high - low)).clamp(0, 1)))
    if framing.crown is None:
        return left
    *middle, radius = framing.crown
    # As numbers, since what is recorded may not make tensors of them.
    x, y = (reduce(torch.add, (camera.rotation[:, row, k] * place for k, place in enumerate(middle))) for row in (0, 1))
    aside, above = right - x.view(-1, 1, 1, 1), up - y.view(-1, 1, 1, 1)
    beyond = (aside.square() + above.square()).sqrt() - radius
    top = smooth((above / radius * 4 - 2).clamp(0, 1))
    return left * (1 - top * smooth((beyond / settings.crown_fade).clamp(0, 1)))


def smooth(x: Tensor) -> Tensor:
    """0..1 -> 0..1 with level ends."""
    return x * x * (3 - 2 * x)
