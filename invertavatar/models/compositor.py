"""The last step of R: a frame out of what photos show, what lies on the other side, what surrounds a gap, and what the
tri-plane says, blended by a network that also draws what none of them has (paper 3.1, super-resolution; DESIGN 5.2).

Shapes: B batch, D feature channels, H side of the network's maps, S side of the frame.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from ..rendering.reprojection import Reprojection
from ..rendering.resize import resize
from ..rendering.surface import GROUPS, HeadSurface, ShownSurface
from .recurrent_unet import RecurrentUNet

LARGEST_LOGIT = 20.0  # of the network, either way
CANDIDATES = 4  # photos, other side, surroundings, tri-plane
LOOKS = 3 * CANDIDATES + 3 + 2 + 3 + 2 + len(GROUPS)  # colours; seen, other side's, matte; inside, mask; normal, ...


class CompositionSettings(NamedTuple):
    """What speaks for the candidates and for the outline before anything is learned."""

    photo: float = 0.03  # of a pixel that no photo sees, relative to one that it sees squarely
    mirrored: float = 0.3  # of the other side where a photo sees that squarely
    unmirrored: float = 1e-3  # and where it does not
    model: float = 0.1  # of what the surroundings and the tri-plane say of the head
    beside: float = 1e-4  # and beside it
    own_colour: float = 4.0  # degrees from the photos within which their colours are the frame's, where they see it
    own_outline: float = 6.0  # degrees from the photos within which their outline is the frame's
    outline: float = 18.0  # degrees from the photos over which the head model's outline takes over
    softness: int = 7  # pixels of `outline_size` over which outlines are blurred to lie between each other; odd
    outline_size: int = 128
    steepness: tuple[float, float] = (12.0, 48.0)  # of a blurred outline, in logits: with the network's say, and alone
    inset: float = 0.2  # of a blurred outline that nobody sharpens: what is beside the head has no colours there
    doubt: float = 0.02  # of the photos' own outline
    far: float = 30.0  # degrees that the network sees as one
    trained: tuple[float, float] = (45.0, 75.0)  # degrees between which its say fades, as nobody showed it any further
    unseen: float = 45.0  # degrees from photos where there are none, as for people of the prior
    flow: float = 0.0  # pixels of the network's maps by which it may move what photos show; 0: it has no say in that


class Closer(NamedTuple):
    """What photos show of frames larger than what the network looks at: see `Reprojection` and `HeadSurface`."""

    colour: Tensor  # [B, 3, S, S]
    seen: Tensor  # [B, 1, S, S]
    matte: Tensor  # [B, 1, S, S]
    inside: Tensor  # [B, 1, S, S]
    mask: Tensor  # [B, 1, S, S]


class Look(NamedTuple):
    """What frames are made of."""

    reprojection: Reprojection  # what the photos say, S pixels, or H beside a closer look
    surface: HeadSurface | ShownSurface  # the head, likewise
    features: Tensor  # [B, D, h, w] of the tri-plane
    angle: Tensor  # [B] degrees between the head in the frame and in the photos
    closer: Closer | None = None


class Composite(NamedTuple):
    """A frame over nothing."""

    colour: Tensor  # [B, 3, S, S] in -1..1, premultiplied by opacity
    opacity: Tensor  # [B, 1, S, S] in 0..1


class Compositor(nn.Module):
    """A U-Net that says for each pixel how much each candidate counts, what is to be added, and what is head.

    Args:
        feature_channels: D of the tri-plane's features, the first three of which are colours.
        channels: C of the U-Net at each scale, from `resolution` downward by halves.
        resolution: H. Frames of another size take their candidates' colours in that size.
        settings: Of composition.
        output_gain: Initial scale of the U-Net's output.
    """

    def __init__(
        self,
        feature_channels: int,
        channels: Sequence[int],
        resolution: int,
        settings: CompositionSettings,
        output_gain: float,
    ):
        super().__init__()
        self.resolution, self.settings = resolution, settings
        looks, self.moves = LOOKS + feature_channels - 3, 2 * (settings.flow > 0)
        self.unet = RecurrentUNet(looks, channels, {0: CANDIDATES + 4 + self.moves}, False, output_gain=output_gain)

    def forward(self, look: Look, resolution: int | None = None) -> Composite:
        """Compose frames of S pixels.

        Args:
            look: What they are made of.
            resolution: H, where the look is a part of frames; `self.resolution` by default.
        """
        (reprojection, surface, features, angle, closer), settings = look, self.settings
        closer = closer or Closer(*reprojection[:4], surface.mask)
        size, at = closer.mask.shape[-1], resolution or self.resolution
        features = resize(features, at)
        small, mask = Reprojection(*(resize(x, at) for x in reprojection)), resize(surface.mask, at)
        normal, depth, groups = (resize(x, at) for x in (surface.normal, surface.depth, surface.groups))
        whole, none = settings.trained
        say = ((none - angle) / (none - whole)).clamp(0, 1).view(-1, 1, 1, 1)
        far = (angle.clamp(max=whole) / settings.far).view(-1, 1, 1, 1).expand_as(mask)
        looks = torch.cat(
            [
                *(small.colour, small.mirrored * small.mirrored_seen, small.fill, features),
                *(small.seen, small.mirrored_seen, small.matte, small.inside, mask),
                *(normal, depth, far, groups),
            ],
            1,
        )
        dtype = self.unet.conv_in.weight.dtype
        out = self.unet.apply_heads(self.unet(looks.to(dtype)))[0].float()
        logits, added, flow = (out * say).split([CANDIDATES, 4, self.moves], 1)
        weight = logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT).exp()

        own = near(angle, settings.own_colour)
        if self.moves:
            closer = moved(closer, flow.tanh() * (1 - own) * (settings.flow / at))

        # What speaks for each candidate before anything is learned. All but the photos are no finer than the network.
        model = mask * settings.model + settings.beside
        mirrored = small.mirrored_seen * settings.mirrored + settings.unmirrored
        others = torch.cat([mirrored, model, model], 1) * weight[:, 1:]
        candidates = (small.mirrored, small.fill, features[:, :3])
        mixed = reduce(torch.add, (c * w for c, w in zip(candidates, others.split(1, 1), strict=True)))
        mixed = torch.cat([mixed, others.sum(1, keepdim=True), weight[:, :1], added], 1)
        mixed, others, weight, residual, outline = resize(mixed, size).split([3, 1, 1, 3, 1], 1)
        photo = closer.seen + settings.photo * (1 - closer.mask * (1 - closer.matte))  # no background on the head
        weight = weight * (photo + settings.beside)
        colour = (mixed + closer.colour * weight) / (others + weight) + residual
        # What a photo shows as it is needs no second opinion, which would cost contrast.
        colour = colour.lerp(closer.colour, closer.seen * own)
        opacity = (self._outline(closer, angle, say) + outline).sigmoid()
        return Composite(colour * opacity, opacity)

    def _outline(self, closer: Closer, angle: Tensor, say: Tensor) -> Tensor:
        """The logit of the opacity before anything is learned: near the photos theirs, far from them that of the head
        model, and between an outline that lies between the two.
        """
        settings, size, mask = self.settings, closer.mask.shape[-1], closer.mask
        photo = mask.lerp(closer.matte, closer.inside)
        own, toward_photo = (near(angle, width) for width in (settings.own_outline, settings.outline))
        between = resize(mask.lerp(photo, toward_photo), min(size, settings.outline_size))
        half = settings.softness // 2
        for _ in range(3):  # three box filters are close to a Gaussian
            between = F.avg_pool2d(F.pad(between, [half] * 4, mode="replicate"), settings.softness, 1)
        learned, alone = settings.steepness
        inset = 0.5 + settings.inset * (1 - say)
        between = (resize(between, size) - inset) * (say * learned + (1 - say) * alone)
        return between.lerp(photo.clamp(settings.doubt, 1 - settings.doubt).logit(), own)


def moved(closer: Closer, flow: Tensor) -> Closer:
    """What photos show, fetched from beside each pixel: flow [B, 2, H, H], right and down, in shares of the side."""
    size = closer.mask.shape[-1]
    right, up = pixel_centres(size, flow.device)
    places = torch.stack([right, -up], -1) + 2 * resize(flow, size).permute(0, 2, 3, 1)
    shown = torch.cat(closer[:4], 1)
    beside = F.grid_sample(shown, places.to(shown.dtype), padding_mode="border", align_corners=False)
    return Closer(*beside.split([3, 1, 1, 1], 1), mask=closer.mask)


def near(angle: Tensor, width: float) -> Tensor:
    """1 at no angle to the photos, [B] in degrees, and less the further it is: [B, 1, 1, 1]."""
    return torch.exp(-((angle / width) ** 2)).view(-1, 1, 1, 1)
