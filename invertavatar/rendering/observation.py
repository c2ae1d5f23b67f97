"""The observed-colour skip: what the photos themselves show, fused in the two canonical spaces (DESIGN 5.1, 5.5).

Shapes: B batch, h w map. The spaces are the UV map of the face and the canonical frontal plane of the whole head.

Each photo adds weighted colours to running sums, and to the fine maps where its weight is the largest: the order of
photos does not matter, and nothing of a photo but its contribution is kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..face.face_model import FaceModel
from .head_shape import canonicalize, driven_heights, face_window, head_solid, inflate, silhouette_logit
from .resize import resize
from .uv import UVAtlas, fill_unseen, mirror_texture, unproject

DOUBT = 0.04  # share of the best-seen place's weight that a place needs for its matte to count by half
SHAPE_SIZE = 128  # of the picture from which a head's shape is taken
MIRROR_WEIGHT = 1e-3  # of the mirrored face: it counts where nothing was seen, and nowhere else


class PhotoMaps(NamedTuple):
    """One photo in the two spaces, at one resolution."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    visibility: Tensor  # [B, 1, h, w] in 0..1
    canonical: Tensor  # [B, 3, h, w] in -1..1
    matte: Tensor  # [B, 1, h, w] in 0..1
    facing: Tensor  # [B, 1, h, w] in 0..1, how squarely the photo shows the place; 0 where it does not
    inside: Tensor  # [B, 1, h, w] in 0..1, where the photo has pixels for the plane
    frontal: Tensor  # [B, 1, 1, 1] cosine of the angle by which the head is turned away
    heights: Tensor  # [B, 1, h, w] z of the surface in this photo


class ObservedSums(NamedTuple):
    """What photos contribute at one resolution; part of the avatar's state."""

    texture: Tensor  # [B, 4, h, w]: sum of weight * colour, sum of weight
    canonical: Tensor  # [B, 5, h, w]: sum of weight * matte * colour, of weight * matte, of weight

    def __add__(self, other: "ObservedSums") -> "ObservedSums":
        return ObservedSums(self.texture + other.texture, self.canonical + other.canonical)

    def best(self, other: "ObservedSums") -> "ObservedSums":
        """Of two contributions the heavier one at each place, where a mean would be blurred."""
        return ObservedSums(
            torch.where(other.texture[:, 3:] > self.texture[:, 3:], other.texture, self.texture),
            torch.where(other.canonical[:, 4:] > self.canonical[:, 4:], other.canonical, self.canonical),
        )


class ObservedColours(NamedTuple):
    """The fused colours; unseen places are filled from their surroundings."""

    texture: Tensor  # [B, 3, h, w] in -1..1
    confidence: Tensor  # [B, 1, h, w] in 0..1: whether any photo showed this texel
    canonical: Tensor  # [B, 3, h, w] in -1..1
    matte: Tensor  # [B, 1, h, w] in 0..1, the head seen from the front


def observe(
    photo: Tensor,
    matte: Tensor,
    inside: Tensor,
    vertices: Tensor,
    neutral: Tensor,
    rotation: Tensor,
    atlas: UVAtlas,
    face_model: FaceModel,
    window: float,
) -> PhotoMaps:
    """Carry a crop into the two spaces.

    The surface on which the frontal plane is looked up is the one that the volume will have: the head seen from the
    front gives its outline, and the outline how the head curves back.

    Args:
        photo: [B, 3, H, W] normalized crop in -1..1.
        matte: [B, 1, H, W] in 0..1, the person; zero where the crop has no pixels.
        inside: [B, 1, H, W] in 0..1, where the crop has real pixels.
        vertices: [B, V, 3] the face in this photo, head space.
        neutral: [B, V, 3] or [V, 3] the person's neutral face.
        rotation: [B, 3, 3] head -> camera.
        atlas: Its size is that of the maps.
        window: Half the side of the face window in head units.
    """
    closed = face_model.close(vertices, neutral)
    openness = face_model.openness(vertices)
    texture, visibility = unproject(photo, matte * inside, closed, rotation, openness, atlas, face_model)
    size = texture.shape[-1]
    face = face_window(closed, face_model, window, size)
    front = driven_heights(resize(face_model.head_height, size), face, window)
    small = resize(matte, SHAPE_SIZE)
    _, outline, _ = canonicalize(small, small, resize(front, SHAPE_SIZE), rotation)
    heights, _ = head_solid(front, face, resize(inflate(silhouette_logit(outline)), size), window)
    colours, seen_matte, facing = canonicalize(torch.cat([photo, inside], 1), matte, heights, rotation)
    frontal = rotation[:, 2, 2].view(-1, 1, 1, 1)
    facing, inside = facing * colours[:, 3:], colours[:, 3:]
    return PhotoMaps(texture, visibility, colours[:, :3], seen_matte, facing, inside, frontal, heights)


def observed_sums(
    maps: PhotoMaps,
    texture_sharpness: float,
    canonical_sharpness: float,
    turned_sharpness: float = 0.0,
    photo_weight: float = 1.0,
) -> ObservedSums:
    """A photo's contribution to the running sums.

    Args:
        maps: The photo in the two spaces.
        texture_sharpness: Power of the visibility in the weight: the higher, the more the squarest view of a place
            decides alone.
        canonical_sharpness: How fast the weight in the frontal plane falls as the head turns away. Hair is not aligned
            well enough to be averaged, so the most frontal photo should decide wherever it has pixels.
        turned_sharpness: The same for the weight in the UV map: where each place takes the best photo, the borders
            between photos had better lie beside the face than along the nose.
        photo_weight: Of the photo as a whole; less for a blurred or tiny one.
    """
    seen = photo_weight * torch.exp(turned_sharpness * (maps.frontal - 1)) * maps.visibility**texture_sharpness
    facing = photo_weight * torch.exp(canonical_sharpness * (maps.frontal - 1)) * maps.inside
    inside = facing * maps.matte
    return ObservedSums(
        torch.cat([maps.texture * seen, seen], 1),
        torch.cat([maps.canonical * inside, inside, facing], 1),
    )


def observed_colours(sums: ObservedSums, atlas: UVAtlas) -> ObservedColours:
    """Resolve running sums into colours: the photos, then the mirrored face, then the surroundings."""
    confidence = (sums.texture[:, 3:] * 100).clamp(max=1)
    # A far turned photo weighs next to nothing, yet all there is where it is alone: weights are relative to the best.
    tiny = torch.finfo(torch.float32).tiny
    texture = sums.texture / sums.texture[:, 3:].amax((2, 3), keepdim=True).clamp(min=tiny)
    texture = texture + MIRROR_WEIGHT * mirror_texture(texture, atlas)
    weight = texture[:, 3:]
    texture = fill_unseen(texture[:, :3] / weight.clamp(min=1e-8), weight * (1 / MIRROR_WEIGHT))
    best = sums.canonical[:, 4:].amax((2, 3), keepdim=True).clamp(min=tiny)
    inside, facing = (sums.canonical[:, 3:] / best).split(1, 1)
    canonical = fill_unseen(sums.canonical[:, :3] / best / inside.clamp(min=1e-8), inside)
    # Where the frontal photos have no pixels a turned one is a poor witness of what belongs to the head.
    return ObservedColours(texture, confidence, canonical, (1 + DOUBT) * inside / (facing + DOUBT))
