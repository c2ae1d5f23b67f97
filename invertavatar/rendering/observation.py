"""The observed-colour skip: what the photos themselves show, in the two canonical spaces (DESIGN 5.1, 5.5).

Shapes: B batch, h w map. The spaces are the UV map of the face and the canonical frontal plane of the whole head.

In the UV map each photo adds weighted colours to a running sum, or to the fine map where its weight is the largest: the
order of photos does not matter, and nothing of a photo but its contribution is kept. How the frontal plane is fused
stands in `frontal_views`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..head.face_chart import FaceChart
from .head_shape import canonicalize, driven_heights, face_window, head_solid, inflate, silhouette_logit
from .resize import resize
from .uv import UVAtlas, fill_unseen, mirror_texture, unproject

SHAPE_SIZE = 128  # of the picture from which a head's shape is taken
UNSEEN_RELIEF = 0.1  # weight of the relief where a photo has no pixels, relative to where it has
TAIL = 16  # of `log_angle_weight`: the larger, the more the weight is an exponential
MIRROR_WEIGHT = 1e-3  # of the mirrored face: it counts where nothing was seen, and nowhere else


class View(NamedTuple):
    """A crop with what the tracker and the face model know of it."""

    photo: Tensor  # [B, 3, S, S] in -1..1
    matte: Tensor  # [B, 1, S, S] in 0..1, the person; 0 where there are no pixels
    inside: Tensor  # [B, 1, S, S] in 0..1, real pixels, fading out toward the border of the photo
    vertices: Tensor  # [B, V, 3] head space
    neutral: Tensor  # [B, V, 3] or [V, 3] the person's neutral face
    rotation: Tensor  # [B, 3, 3] head -> camera
    posture: Tensor | None = None  # [B, 12] how hair and shoulders lie, see `rest_pose`


class PhotoMaps(NamedTuple):
    """One photo in the two spaces, at one resolution."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    visibility: Tensor  # [B, 1, h, w] in 0..1
    canonical: Tensor  # [B, 3, h, w] in -1..1
    matte: Tensor  # [B, 1, h, w] in 0..1
    facing: Tensor  # [B, 1, h, w] in 0..1, how squarely the photo shows the place; 0 where it does not
    inside: Tensor  # [B, 1, h, w] in 0..1, where the photo has pixels for the plane
    rotation: Tensor  # [B, 3, 3] head -> camera
    heights: Tensor  # [B, 1, h, w] z of the surface in this photo
    relief: Tensor | None = None  # [B, 1, h, w] head units, see `head_shape.head_solid`


class ObservedTexture(NamedTuple):
    """The fused colours of the face; unseen places are filled from their surroundings."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    confidence: Tensor  # [B, 1, h, w] in 0..1: whether any photo showed this texel
    weight: Tensor  # [B, 1, h, w] in 0..1: that of its own colour, see `fill_unseen`


def observe(view: View, atlas: UVAtlas, chart: FaceChart, window: float, relief: Tensor | None = None) -> PhotoMaps:
    """Carry a crop into the two spaces.

    The surface on which the frontal plane is looked up is the one that the volume will have: the head seen from the
    front gives its outline, and the outline how the head curves back.

    Args:
        view: The crop.
        atlas: Its size is that of the maps.
        chart: The person's.
        window: Half the side of the face window in head units.
        relief: [B, 1, h, w] from `observe_relief`, of any size.
    """
    closed = chart.close(view.vertices, view.neutral)
    openness = chart.openness(view.vertices)
    valid = view.matte * view.inside
    texture, visibility = unproject(view.photo, valid, closed, view.rotation, openness, atlas, chart)
    heights = surface_heights(view, closed, texture.shape[-1], chart, window, relief)
    colours, matte, facing, inside = seen_from_front(view, heights)
    return PhotoMaps(texture, visibility, colours, matte, facing, inside, view.rotation, heights, relief)


def observe_relief(network: Callable[..., Tensor], view: View, chart: FaceChart, window: float) -> Tensor:
    """How the head in a crop departs from the template: what to give to `observe`.

    Args:
        network: `TriplaneEncoder.relief`; it looks at the crop in the frontal plane, through the template.
        view: See `observe`, as are the others.

    Returns:
        [B, 1, SHAPE_SIZE, SHAPE_SIZE] head units.
    """
    closed = chart.close(view.vertices, view.neutral)
    heights = surface_heights(view, closed, SHAPE_SIZE, chart, window)
    colours, matte, facing, inside = seen_from_front(view, heights)
    return network(colours, matte, inside, facing, heights)


def relief_sum(maps: PhotoMaps, sharpness: float) -> Tensor:
    """A photo's contribution to the running sum of reliefs, [B, 2, h, w]: weight * relief, weight.

    Args:
        maps: The photo in the two spaces.
        sharpness: How fast the weight falls as the head turns away.
    """
    inside = resize(maps.inside, maps.relief.shape[-1])
    weight = turned_weight(maps.rotation, sharpness) * (UNSEEN_RELIEF + (1 - UNSEEN_RELIEF) * inside)
    return torch.cat([maps.relief * weight, weight], 1)


def surface_heights(
    view: View, closed: Tensor, size: int, chart: FaceChart, window: float, relief: Tensor | None = None
) -> Tensor:
    """z of the surface of the head in a crop, [B, 1, size, size]; `closed` is its mesh, the rest as in `observe`."""
    face = face_window(closed, chart, window, size)
    front = driven_heights(resize(chart.head_height, size), face, window)
    small = resize(view.matte, SHAPE_SIZE)
    _, outline, _ = canonicalize(small, small, resize(front, SHAPE_SIZE), view.rotation, view.posture)
    roundness = resize(inflate(silhouette_logit(outline)), size)
    return head_solid(front, face, roundness, window, None if relief is None else resize(relief, size))[0]


def seen_from_front(view: View, heights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A crop in the frontal plane, through its surface: what `PhotoMaps` calls canonical, matte, facing and inside."""
    picture = torch.cat([view.photo, view.inside], 1)
    colours, matte, facing = canonicalize(picture, view.matte, heights, view.rotation, view.posture)
    return colours[:, :3], matte, facing * colours[:, 3:], colours[:, 3:]


def texture_sum(
    maps: PhotoMaps, sharpness: float, turned_sharpness: float = 0.0, photo_weight: float | Tensor = 1.0
) -> Tensor:
    """A photo's contribution to the running sum of the UV map, [B, 4, h, w]: weight * colour, weight.

    Args:
        maps: The photo in the two spaces.
        sharpness: Power of the visibility in the weight: the higher, the more the squarest view of a place decides
            alone.
        turned_sharpness: How fast the weight falls as the head turns away: where each place takes the best photo, the
            borders between photos had better lie beside the face than along the nose.
        photo_weight: Of the photo as a whole; less for a blurred or tiny one.
    """
    seen = photo_weight * turned_weight(maps.rotation, turned_sharpness) * maps.visibility**sharpness
    return torch.cat([maps.texture * seen, seen], 1)


def better_seen(texture_sum: Tensor, other: Tensor) -> Tensor:
    """Of two contributions [B, 4, h, w] the heavier one at each place, where a mean would be blurred."""
    return torch.where(other[:, 3:] > texture_sum[:, 3:], other, texture_sum)


def turned_weight(rotation: Tensor, sharpness: float) -> Tensor:
    """Weight [B, 1, 1, 1] of a photo by how far the head is turned away, 1 from the front: see `log_angle_weight`."""
    return log_angle_weight(rotation[:, 2, 2].view(-1, 1, 1, 1), sharpness).exp()


def log_angle_weight(cosine: Tensor, sharpness: float, tail: float = TAIL) -> Tensor:
    """Logarithm of the weight of a photo by the cosine of an angle, 0 where there is none.

    For small angles the weight falls like exp(sharpness (cosine - 1)), but its tail is heavier: a profile weighs little
    beside a frontal photo and is still a number where it is all there is.
    """
    return -tail * torch.log1p(sharpness * (1 - cosine) / tail)


def observed_texture(texture_sum: Tensor, atlas: UVAtlas) -> ObservedTexture:
    """Resolve a running sum [B, 4, h, w] into colours: the photos, then the mirrored face, then the surroundings."""
    confidence = (texture_sum[:, 3:] * 100).clamp(max=1)
    # A far turned photo weighs next to nothing, yet all there is where it is alone: weights are relative to the best.
    texture = texture_sum / texture_sum[:, 3:].amax((2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    texture = texture + MIRROR_WEIGHT * mirror_texture(texture, atlas)
    texture, weight = texture.split([3, 1], 1)
    texture, weight = texture / weight.clamp(min=1e-8), (weight * (1 / MIRROR_WEIGHT)).clamp(max=1)
    return ObservedTexture(fill_unseen(texture, weight), confidence, weight)


def detail_texture(detail_sum: Tensor, atlas: UVAtlas) -> Tensor:
    """What frames are given of the face in full resolution, [B, 4, h, w]: colours, and in 0..1 how well photos show a
    texel, beside the one that they show best.
    """
    weight = detail_sum[:, 3:]
    seen = weight / weight.amax((2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.cat([observed_texture(detail_sum, atlas).texture, seen], 1)
