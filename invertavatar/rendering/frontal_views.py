"""What the photos show in the frontal plane, each kept apart, and which of them a frame is made of.

Shapes: B batch (of people, or of frames), K photos kept, h w map.

Hair and shoulders of several photos never lie well enough on each other to be averaged: perspective, swaying hair and
a body that moves by itself are beyond the template. A photo whose pose and posture are those of the frame has all of
them in place, so a frame takes the nearest photos. The more photos there are, the nearer is one of them.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from .fixed_sizes import current_sizes
from .observation import PhotoMaps, log_angle_weight
from .resize import looked_up
from .rest_pose import POSTURE_NAMES
from .uv import FULL_WEIGHT, fill_unseen

LIMIT = 8  # K at most: more photos than that are of poses that are there already
SHARPNESS = 6000.0  # how fast a photo's weight falls with the angle between its pose and the frame's
TAIL = 4  # far from all photos it falls with this power of the squared angle: two photos change over between them
POSTURE_SHARE = 3.0  # what a squared difference of postures counts beside 1 - the cosine of that angle
NEGLIGIBLE = 0.01  # weight, relative to the nearest photo's, that does not show
FACE = 0.62  # |x| and |y| within which lies the face, which looks another way with each expression
CELL, MIN_CELLS = 1 / 16, 4  # side of the squares by whose mean colours photos are compared, and how many are enough
UNLIKE = 0.25  # mean difference of those colours from which on a photo counts little; within a clip it is 0.02 to 0.19
BODY = 0.7  # share of the rows below which a photo's lower edge cuts the body
HEM, CONTINUED = 0.04, 0.2  # what goes on beyond has the colours of so much above it (head units), and counts so much
HEM_BLUR, HEM_FADE = 0.16, 0.12  # over how much it is blurred sideways, and how far below it is so altogether
CHEEKS = 0.25  # |x| and |y| within which is the face's skin
HAIR_ABOVE, HAIR_DEPTH = 0.3, 2 / 3  # height above which the outline is hair, not ears, and its roundness up to there
UNLIKE_SKIN, CLEARLY = 0.1, 0.3  # squared difference of colours that is hair by half; how much of the best counts
DOUBT = 0.04  # share of the best-seen place's weight that a place needs for its matte to count by half


class FrontalViews(NamedTuple):
    """Photos in the frontal plane; part of the avatar's state. Channels: colour in -1..1 (filled in from its
    surroundings beside the person), the person's matte in 0..1, and in 0..1 where the photo has pixels.
    """

    rotation: Tensor  # [B, K, 3, 3] head -> camera; zero where all photos shall count alike
    posture: Tensor  # [B, K, 12] see `rest_pose`; zero where nothing is known of it, or all photos shall count alike
    weight: Tensor  # [B, K] of a photo as a whole, by its sharpness and its likeness to the first
    coarse: Tensor  # [B, K, 5, h, w] as the networks see it
    fine: Tensor | None  # [B, K, 5, h, w] at full resolution, uint8 in an avatar; None without full-resolution detail


def frontal_view(
    maps: PhotoMaps, fine: PhotoMaps | None, posture: Tensor | None, photo_weight: Tensor, even: bool
) -> FrontalViews:
    """One photo, K = 1.

    Args:
        maps: The photo in the two spaces.
        fine: The same at full resolution.
        posture: [B, 12] or None.
        photo_weight: [B].
        even: It shall count alike for frames of any pose.
    """
    rotation, unknown = maps.rotation, maps.rotation.new_zeros(len(maps.rotation), len(POSTURE_NAMES))
    posture = unknown if posture is None else posture
    # An avatar's rest holds them too, and both are saved.
    rotation, posture = (torch.zeros_like(x) if even else x.clone() for x in (rotation, posture))
    fine = None if fine is None else _to_bytes(_picture(fine))[:, None]
    kept = (rotation, posture, photo_weight, _picture(maps))
    return FrontalViews(*(x[:, None] for x in kept), fine)


def joined(views: FrontalViews | None, new: FrontalViews) -> FrontalViews:
    """One photo more. Beyond `LIMIT` the two nearest to each other in pose give up the one that weighs less, though
    never the first.
    """
    if views is None:
        return new
    views = FrontalViews(*(None if a is None else torch.cat([a, b], 1) for a, b in zip(views, new, strict=True)))
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
    return FrontalViews(*(None if x is None else x[person, left] for x in views))


def weighed(views: FrontalViews, new: FrontalViews) -> FrontalViews:
    """A new photo, whose weight falls where hair and clothes have other colours than in the first one."""
    first, other = views.coarse[:, 0], new.coarse[:, 0]
    right, up = pixel_centres(first.shape[-1], first.device)
    beside = torch.maximum(right.abs(), up.abs()) > FACE
    both = first[:, 3:4] * first[:, 4:] * other[:, 3:4] * other[:, 4:] * beside
    cell = max(round(first.shape[-1] * CELL), 1)
    share = F.avg_pool2d(both, cell)
    one, two = (F.avg_pool2d(x[:, :3] * both, cell) / share.clamp(min=1e-6) for x in (first, other))
    counts = (share > 0.3).float().flatten(1)  # [B, cells]
    apart = (one - two).abs().mean(1).flatten(1)
    difference = (apart * counts).sum(1) / counts.sum(1).clamp(min=1)
    difference = difference * (counts.sum(1) >= MIN_CELLS)
    return new._replace(weight=new.weight * torch.exp(-((difference / UNLIKE) ** 6))[:, None].detach())


def nearness(views: FrontalViews, rotation: Tensor, posture: Tensor | None = None) -> Tensor:
    """How much each photo counts for frames.

    Args:
        views: Of as many people as there are frames, or of one.
        rotation: [B, 3, 3] head -> camera.
        posture: [B, 12] or None.

    Returns:
        [B, K], the most 1.
    """
    cosine = (torch.einsum("bkij,bij->bk", views.rotation.expand(len(rotation), -1, -1, -1), rotation) - 1) / 2
    if posture is not None:
        cosine = cosine - POSTURE_SHARE * (views.posture - posture[:, None]).square().sum(-1)
    share = views.weight.clamp(min=1e-12).log() + log_angle_weight(cosine, SHARPNESS, TAIL)
    return (share - share.amax(1, keepdim=True)).exp()


def crossfaded(share: Tensor, frames: float) -> Tensor:
    """Photos change over gradually in time too, as a fast turn of the head takes them past half-way within a frame.

    Args:
        share: [T, K] from `nearness`, of frames in a row.
        frames: That one change from a tenth to nine tenths takes; 0 leaves the shares as they are.

    Returns:
        [T, K], the most of a frame 1.
    """
    if frames <= 0 or len(share) < 2:
        return share
    deviation = frames / 2.56  # of the Gaussian whose integral rises so
    radius = math.ceil(3 * deviation)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=share.device) / deviation) ** 2)
    share = F.pad((share / share.sum(1, keepdim=True)).T[:, None], (radius, radius), mode="replicate")
    share = F.conv1d(share, (kernel / kernel.sum())[None, None])[:, 0].T
    return share / share.amax(1, keepdim=True)


def most_shown(share: Tensor) -> int:
    """How many photos the frame is made of that is made of the most; share [T, K] from `nearness`."""
    return int((share > NEGLIGIBLE).sum(1).max())


def blended(pictures: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Photos in the frontal plane become one.

    Args:
        pictures: [B, K, 5, h, w] see `FrontalViews`, or of a batch of 1.
        share: [B, K] from `nearness`.

    Returns:
        [B, 3, h, w] colours in -1..1 and [B, 1, h, w] the person's matte.
    """
    share = share[:, :, None, None, None]
    shown = share * pictures[:, :, 4:]
    person = shown * pictures[:, :, 3:4]
    # A photo's surroundings count where none shows the person, and only the nearest one's.
    weight = person + share * 1e-4
    colour = (pictures[:, :, :3] * weight).sum(1) / weight.sum(1)
    # Where the near photos have no pixels a far one is a poor witness of what belongs to the head.
    shown, person = shown.sum(1), person.sum(1)
    return colour, (1 + DOUBT) * person / (shown + DOUBT)


def hair_colour(colour: Tensor, matte: Tensor, roundness: Tensor) -> Tensor:
    """The colours of the back of the head, which no photo shows: those of the hair at the head's upper outline.

    Of a bald head it is the scalp.

    Args:
        colour: [B, 3, h, h] in -1..1 from `blended`, h a power of two.
        matte: [B, 1, h, h] likewise.
        roundness: [B, 1, h, h] from `head_shape.inflate`.

    Returns:
        [B, 3, h, h].
    """
    right, up = pixel_centres(colour.shape[-1], colour.device)
    cheeks = (torch.maximum(right.abs(), up.abs()) < CHEEKS).float()
    skin = (colour * cheeks).sum((2, 3), keepdim=True) / cheeks.sum()
    apart = (colour - skin).square().mean(1, keepdim=True)
    hair = (
        matte * (up > HAIR_ABOVE) * (1 - roundness / HAIR_DEPTH).clamp(min=0) * (apart + 1e-3) / (apart + UNLIKE_SKIN)
    )
    hair = hair / hair.amax((2, 3), keepdim=True).clamp(min=1e-8)
    return fill_unseen(colour, ((hair - CLEARLY) / (1 - CLEARLY)).clamp(min=0) * FULL_WEIGHT)


def sampled(fine: Tensor, grid: Tensor, share: Tensor) -> Tensor:
    """Colours of the frontal plane for each pixel of frames, of those photos only that show there.

    Args:
        fine: [B, K, 5, H, W] or of a batch of 1, not bytes.
        grid: [B, h, w, 2] x right, y down in -1..1.
        share: [B, K] from `nearness`.

    Returns:
        [B, 3, h, w].
    """
    sizes, fine = current_sizes(), fine.expand(len(grid), -1, -1, -1, -1)
    share = share.where(share > NEGLIGIBLE, 0)  # whatever other frames of the batch show
    if sizes is None:
        used = (share > 0).any(0)
        share, fine = share[:, used], fine[:, used]
    elif sizes.photos < share.shape[1]:
        sizes.need(((share > 0).sum(1) > sizes.photos).any())
        share, used = share.topk(sizes.photos, 1)
        fine = fine[torch.arange(len(grid), device=used.device)[:, None], used]
    count = share.shape[1]
    looks = looked_up(fine.flatten(0, 1), grid.repeat_interleave(count, 0))
    return blended(looks.unflatten(0, (-1, count)), share)[0]


def from_bytes(pictures: Tensor) -> Tensor:
    """What `FrontalViews.fine` holds -> [B, K, 5, H, W] as `coarse` has it."""
    scale = pictures.new_tensor([2, 2, 2, 1, 1], dtype=torch.float32).view(-1, 1, 1) / 255
    shift = pictures.new_tensor([1, 1, 1, 0, 0], dtype=torch.float32).view(-1, 1, 1)
    return pictures * scale - shift


def _to_bytes(picture: Tensor) -> Tensor:
    colour, masks = picture.split([3, 2], 1)
    return torch.cat([(colour + 1) * 127.5, masks * 255], 1).round().clamp(0, 255).byte()


def _picture(maps: PhotoMaps) -> Tensor:
    """[B, 5, h, w]."""
    colour = fill_unseen(maps.canonical, maps.matte * maps.inside)
    return continued(torch.cat([colour, maps.matte, maps.inside], 1))


def continued(picture: Tensor) -> Tensor:
    """Below a photo's lower edge the body goes straight on, in the colours just above it and soon in softer ones.

    It counts little there, so that any other photo that shows the place decides.

    Args:
        picture: [B, 5, h, w] see `FrontalViews`.
    """
    size = picture.shape[2]
    rows = torch.arange(size, device=picture.device).view(-1, 1)
    last = torch.where(picture[:, 4:] > 0.1, rows, -1).amax(2, keepdim=True)  # [B, 1, 1, w]
    height = max(round(HEM * size / 2), 1)
    hem = (last - torch.arange(height, device=picture.device).view(-1, 1)).clamp(min=0)  # [B, 1, height, w]
    hem = picture.gather(2, hem.expand(-1, 5, -1, -1)).mean(2, keepdim=True)
    colour, matte, _ = hem.split([3, 1, 1], 1)
    known = torch.cat([colour * matte, matte], 1)
    reach = round(HEM_BLUR * size / 4) * 2 + 1  # pixels
    for _ in range(2):
        known = F.avg_pool2d(known, (1, reach), 1, (0, reach // 2))
    soft = (known[:, :3] + 1e-3 * colour) / (known[:, 3:] + 1e-3)
    start = round(BODY * size)
    head, body = picture.split([start, size - start], 2)
    below = (rows[start:] - last) / (HEM_FADE * size / 2)
    colour = colour.lerp(soft, below.clamp(0, 1))
    # Beside the body nothing is known.
    further = torch.cat([colour, *(x.expand_as(colour[:, :1]) for x in (matte, CONTINUED * matte))], 1)
    return torch.cat([head, torch.where((below > 0) & (last >= start), further, body)], 2)
