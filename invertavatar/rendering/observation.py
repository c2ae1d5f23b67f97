"""The face as the photos show it, in its UV map (DESIGN 5.1).

Shapes: B batch, V vertices of the head model, h w map, S side of a crop.

Each photo adds weighted colours to a running sum: the order of photos does not matter, and nothing of a photo but its
contribution is kept here. The photos themselves are kept in `source_views`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..head.driven_head import DrivenHead
from ..head.face_chart import FaceChart
from .uv import UVAtlas, fill_unseen, mirror_texture, unproject


class View(NamedTuple):
    """A crop with what the tracker and the head model know of it."""

    photo: Tensor  # [B, 3, S, S] in -1..1
    matte: Tensor  # [B, 1, S, S] in 0..1, the person; 0 where there are no pixels
    inside: Tensor  # [B, 1, S, S] in 0..1, real pixels, fading out toward the border of the photo
    rotation: Tensor  # [B, 3, 3] head -> camera
    skin: Tensor  # [B, V, 3] head space, without hair and clothes, the body straight below the head
    head: DrivenHead


class PhotoMaps(NamedTuple):
    """One photo in the UV map."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    visibility: Tensor  # [B, 1, h, w] in 0..1


class ObservedTexture(NamedTuple):
    """The fused colours of the face; unseen places are filled from their surroundings."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    confidence: Tensor  # [B, 1, h, w] in 0..1: whether any photo showed this texel
    weight: Tensor  # [B, 1, h, w] in 0..1: that of its own colour, see `fill_unseen`


def observe(view: View, atlas: UVAtlas, chart: FaceChart) -> PhotoMaps:
    """Carry a crop into the UV map, of the atlas' size."""
    return PhotoMaps(*in_uv(view.photo, view.matte * view.inside, view, atlas, chart))


def in_uv(look: Tensor, matte: Tensor, view: View, atlas: UVAtlas, chart: FaceChart) -> tuple[Tensor, Tensor]:
    """A look [B, C, h, w] of a crop and its matte [B, 1, h, w] in the UV map: see `unproject`."""
    head = view.head
    closed, openness = chart.closed_vertices(head.landmarks, head.neutral), chart.openness(head.landmarks)
    return unproject(look, matte, closed, view.rotation, openness, atlas, chart)


def texture_sum(maps: PhotoMaps, sharpness: float) -> Tensor:
    """A photo's contribution to the running sum, [B, 4, h, w]: weight * colour, weight.

    Args:
        maps: The photo.
        sharpness: Power of the visibility in the weight: the higher, the more the squarest view of a place decides
            alone.
    """
    seen = maps.visibility**sharpness
    return torch.cat([maps.texture * seen, seen], 1)


def log_angle_weight(cosine: Tensor, sharpness: float, tail: float) -> Tensor:
    """Logarithm of the weight of a photo by the cosine of an angle, 0 where there is none.

    For small angles the weight falls like exp(sharpness (cosine - 1)), but its tail is heavier: a profile weighs little
    beside a frontal photo and is still a number where it is all there is.
    """
    return -tail * torch.log1p(sharpness * (1 - cosine) / tail)


def observed_texture(texture_sum: Tensor, atlas: UVAtlas, mirrored: float) -> ObservedTexture:
    """Resolve a running sum [B, 4, h, w] into colours: the photos, then the mirrored face with the weight `mirrored`,
    then the surroundings.
    """
    confidence = (texture_sum[:, 3:] * 100).clamp(max=1)
    # A far turned photo weighs next to nothing, yet all there is where it is alone: weights are relative to the best.
    texture = texture_sum / texture_sum[:, 3:].amax((2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    texture = texture + mirrored * mirror_texture(texture, atlas)
    texture, weight = texture.split([3, 1], 1)
    texture, weight = texture / weight.clamp(min=1e-8), (weight * (1 / mirrored)).clamp(max=1)
    return ObservedTexture(fill_unseen(texture, weight), confidence, weight)
