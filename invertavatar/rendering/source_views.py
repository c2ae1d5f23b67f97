"""The photos of an avatar, each kept apart, and which of them a frame is made of.

Shapes: B batch (of subjects, or of frames), N photos kept, V vertices of the head model, h w map, S side of a photo.

Hair and shoulders of several photos never lie well enough on each other to be averaged: perspective, swaying hair and
a body that moves by itself are beyond the head model. A photo whose head and torso pose are the frame's has all of
them in place, so a frame takes the nearest photos. The more photos there are, the nearer is one of them.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from ..head.rest_pose import TORSO_POSE_NAMES
from .observation import View, log_angle_weight
from .resize import resize
from .uv import fill_unseen

LIMIT = 8  # N at most: more photos than that are of poses that are there already


class FusionSettings(NamedTuple):
    """What decides how photos count; lengths in head units."""

    visibility: float = 4.0  # power of a place's visibility in its weight for the face's colours
    even_visibility: float = 1.0  # the same where all photos count alike
    mirrored: float = 1e-3  # weight of the mirrored face in these: it counts where nothing was seen
    sharpness: float = 6000.0  # how fast a photo's weight falls with the angle between its pose and the frame's
    tail: float = 4.0  # far from all photos it falls with this power of the squared angle: two change over between them
    posture_share: float = 3.0  # what a squared difference of torso poses counts beside 1 - the cosine of that angle
    face: float = 0.62  # |x| and |y| within which lies the face, which looks another way with each expression
    cell: float = 1 / 16  # side of the squares by whose mean colours photos are compared, as a share of the plane
    cells: int = 4  # how many of them are enough
    unlike: float = 0.25  # mean difference of colours from which on a photo counts little; in a clip it is 0.02 to 0.19


class SourceViews(NamedTuple):
    """Photos; part of the avatar's state. Their channels: colour, the person's matte in 0..1, and in 0..1 where the
    photo has pixels; in the frontal plane pixels that see the place.
    """

    rotation: Tensor  # [B, N, 3, 3] head -> camera
    torso_pose: Tensor  # [B, N, 12] see `rest_pose`; zero where nothing is known of it
    weight: Tensor  # [B, N] of a photo as a whole, by its sharpness and its likeness to the first
    by_pose: Tensor  # [B, N] 1 where it counts as its pose is near, 0 where all photos shall count alike
    skin: Tensor  # [B, N, V, 3] the head in the photo without hair and clothes, the body straight, head space
    front: Tensor  # [B, N, 5, h, w] the photo in the frontal plane, as the networks see it, colour in -1..1
    picture: Tensor  # [B, N, 5, S, S] uint8


def source_view(view: View, front: Tensor, photo_weight: Tensor, even: bool, size: int) -> SourceViews:
    """One photo, N = 1.

    Args:
        view: The photo.
        front: [B, 5, h, w] the same in the frontal plane.
        photo_weight: [B].
        even: It shall count alike for frames of any pose.
        size: Of the picture that is kept, in pixels at most.
    """
    torso_pose = view.head.torso_pose
    if torso_pose is None:
        torso_pose = photo_weight.new_zeros(len(photo_weight), len(TORSO_POSE_NAMES))
    counted = torch.full_like(photo_weight, 0.0 if even else 1.0)
    looks = torch.cat([(view.photo + 1) / 2, view.matte, view.inside], 1)
    looks = resize(looks, min(size, looks.shape[-1]))
    picture = (looks * 255).round().clamp(0, 255).byte()
    # An avatar's rest holds rotation and torso pose too, and both are saved.
    kept = (view.rotation.clone(), torso_pose.clone(), photo_weight, counted, view.skin, front, picture)
    return SourceViews(*(x[:, None] for x in kept))


def front_picture(colour: Tensor, matte: Tensor, inside: Tensor) -> Tensor:
    """What `SourceViews.front` holds: colours filled in from their surroundings beside the person."""
    return torch.cat([fill_unseen(colour, matte * inside), matte, inside], 1)


def from_bytes(pictures: Tensor) -> Tensor:
    """What `SourceViews.picture` holds, as floats with colours in -1..1."""
    scale = pictures.new_tensor([2, 2, 2, 1, 1], dtype=torch.float32).view(-1, 1, 1) / 255
    shift = pictures.new_tensor([1, 1, 1, 0, 0], dtype=torch.float32).view(-1, 1, 1)
    return pictures * scale - shift


def joined(views: SourceViews | None, new: SourceViews) -> SourceViews:
    """One photo more, all as fine as the finest. Beyond `LIMIT` the two nearest to each other in pose give up the one
    that weighs less, though never the first.
    """
    if views is None:
        return new
    views = side_by_side(views, new)
    count = views.weight.shape[1]
    if count <= LIMIT:
        return views
    alike = torch.einsum("bkij,blij->bkl", views.rotation, views.rotation)  # 1 + 2 cos of the angle between two poses
    alike = alike.masked_fill(torch.eye(count, dtype=torch.bool, device=alike.device), -torch.inf)
    nearest = alike.flatten(1).argmax(1)
    pair = torch.stack([nearest // count, nearest % count], 1)  # [B, 2], the earlier photo first
    first = torch.arange(count, device=alike.device) == 0
    lighter = views.weight.masked_fill(first, torch.inf).gather(1, pair).argmin(1, keepdim=True)
    dropped = pair.gather(1, lighter)  # [B, 1]
    left = torch.arange(count - 1, device=pair.device)
    left = left + (left >= dropped)  # [B, K]
    person = torch.arange(len(left), device=pair.device)[:, None]
    return SourceViews(*(x[person, left] for x in views))


def side_by_side(first: SourceViews, second: SourceViews) -> SourceViews:
    """Photos in a row, all as fine as the finest."""
    finest = max(views.picture.shape[-1] for views in (first, second))

    def enlarged(views: SourceViews) -> SourceViews:
        if views.picture.shape[-1] == finest:
            return views
        picture = resize(views.picture.flatten(0, 1).float(), finest).round().byte()
        return views._replace(picture=picture.unflatten(0, views.picture.shape[:2]))

    return SourceViews(*(torch.cat(pair, 1) for pair in zip(enlarged(first), enlarged(second), strict=True)))


def weighed(views: SourceViews, new: SourceViews, settings: FusionSettings) -> SourceViews:
    """A new photo, whose weight falls where hair and clothes have other colours than in the first one."""
    first, other = views.front[:, 0], new.front[:, 0]
    right, up = pixel_centres(first.shape[-1], first.device)
    beside = torch.maximum(right.abs(), up.abs()) > settings.face
    both = first[:, 3:4] * first[:, 4:] * other[:, 3:4] * other[:, 4:] * beside
    cell = max(round(first.shape[-1] * settings.cell), 1)
    coverage = F.avg_pool2d(both, cell)
    one, two = (F.avg_pool2d(x[:, :3] * both, cell) / coverage.clamp(min=1e-6) for x in (first, other))
    counts = (coverage > 0.3).float().flatten(1)  # [B, cells]
    apart = (one - two).abs().mean(1).flatten(1)
    difference = (apart * counts).sum(1) / counts.sum(1).clamp(min=1)
    difference = difference * (counts.sum(1) >= settings.cells)
    return new._replace(weight=new.weight * torch.exp(-((difference / settings.unlike) ** 6))[:, None].detach())


def view_weights(views: SourceViews, rotation: Tensor, torso_pose: Tensor | None, settings: FusionSettings) -> Tensor:
    """How much each photo counts for frames.

    Args:
        views: Of as many people as there are frames, or of one.
        rotation: [B, 3, 3] head -> camera.
        torso_pose: [B, 12] or None.
        settings: Of fusion.

    Returns:
        [B, N], the most 1.
    """
    cosine = _cosine(views, rotation)
    if torso_pose is not None:
        cosine = cosine - settings.posture_share * (views.torso_pose - torso_pose[:, None]).square().sum(-1)
    cosine = 1 - (1 - cosine) * views.by_pose
    logit = views.weight.clamp(min=1e-12).log() + log_angle_weight(cosine, settings.sharpness, settings.tail)
    return (logit - logit.amax(1, keepdim=True)).exp()


def angle_between(views: SourceViews, blend: Tensor, rotation: Tensor) -> Tensor:
    """Degrees [B] between frames' heads [B, 3, 3] and those of the photos that they are made of, as `blend` [B, N] has
    it.
    """
    cosine = _cosine(views, rotation)
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    return (angle * blend).sum(1) / blend.sum(1)


def _cosine(views: SourceViews, rotation: Tensor) -> Tensor:
    """Of the angles [B, N] between frames' heads [B, 3, 3] and those of the photos."""
    return (torch.einsum("bkij,bij->bk", views.rotation.expand(len(rotation), -1, -1, -1), rotation) - 1) / 2


def crossfaded(blend: Tensor, frames: float) -> Tensor:
    """Photos change over gradually in time too, as a fast turn of the head takes them past half-way within a frame.

    Args:
        blend: [T, K] from `view_weights`, of frames in a row.
        frames: That one change from a tenth to nine tenths takes; 0 leaves the shares as they are.

    Returns:
        [T, K], the most of a frame 1.
    """
    if frames <= 0 or len(blend) < 2:
        return blend
    deviation = frames / 2.56  # of the Gaussian whose integral rises so
    radius = math.ceil(3 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=blend.device) / deviation) ** 2)
    blend = F.pad((blend / blend.sum(1, keepdim=True)).T[:, None], (radius, radius), mode="replicate")
    blend = F.conv1d(blend, (kernel / kernel.sum())[None, None])[:, 0].T
    return blend / blend.amax(1, keepdim=True)


def num_blended(blend: Tensor, negligible: float) -> int:
    """How many photos the frame is made of that is made of the most; blend [T, K] from `view_weights`."""
    return int((blend > negligible).sum(1).max())


def blended(pictures: Tensor, blend: Tensor) -> Tensor:
    """Photos in the frontal plane become one.

    Args:
        pictures: [B, N, 5, h, w] see `SourceViews.front`, or of a batch of 1.
        blend: [B, N] from `view_weights`.

    Returns:
        [B, 3, h, w] colours in -1..1.
    """
    blend = blend[:, :, None, None, None]
    # A photo's surroundings count where none shows the person, and only the nearest one's.
    weight = blend * (pictures[:, :, 4:] * pictures[:, :, 3:4] + 1e-4)
    return (pictures[:, :, :3] * weight).sum(1) / weight.sum(1)
