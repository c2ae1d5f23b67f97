"""E_latent: photo -> w+, the coarse stage of the inversion, after e4e (paper 3.2, 6.2.1, 6.3).

Shapes: B batch, L w-layers, C channels, H W image, h w feature map.
"""

import itertools
import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..runtime.half_precision import Network
from .recurrent_unet import ResidualBlock
from .stylegan2 import LEAKY_GAIN, LEAKY_SLOPE, channels_last, init_scaled

IR_SE_50_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, units; each stage halves the size first
PYRAMID_SPLIT = (3, 7)  # e4e at L = 14..18: styles 0-2 are coarse, 3-6 medium, the rest fine
HEAD_GAIN = 0.01  # initial scale of the style heads: the inverted code starts at the mean


class IRSEUnit(nn.Module):
    """Improved residual unit with squeeze and excitation, the brick of IR-SE-50 (ArcFace)."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        if in_channels == channels:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.residual = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.excitation = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 16, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // 16, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, h, w] -> [B, C, h, w] divided by the stride."""
        y = self.residual(x)
        return y * self.excitation(y) + self.shortcut(x)


class IRSEBody(nn.Module):
    """The body of IR-SE-50: [B, 3, H, W] -> features at 1/4, 1/8 and 1/16 of the size.

    Args:
        stages: (channels, units) of the four stages.
    """

    def __init__(self, stages: Sequence[tuple[int, int]]):
        super().__init__()
        self.out_channels = tuple(channels for channels, _ in stages[1:])
        in_channels = stages[0][0]
        self.conv_in = nn.Sequential(
            nn.Conv2d(3, in_channels, 3, 1, 1, bias=False), nn.BatchNorm2d(in_channels), nn.PReLU(in_channels)
        )
        self.stages = nn.ModuleList()
        for channels, units in stages:
            others = [IRSEUnit(channels, channels, 1) for _ in range(units - 1)]
            self.stages.append(nn.Sequential(IRSEUnit(in_channels, channels, 2), *others))
            in_channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features from fine to coarse."""
        x, features = self.conv_in(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1:]


class CompactBody(nn.Module):
    """A small residual net: [B, 3, H, W] -> features at 1/8, 1/16 and 1/32 of the size.

    Args:
        channels: C at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.out_channels = tuple(channels[-3:])
        self.conv_in = init_scaled(nn.Conv2d(3, channels[0], 3, stride=2, padding=1))
        self.stages = nn.ModuleList(ResidualBlock(i, o, down=True) for i, o in itertools.pairwise(channels))

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features from fine to coarse."""
        x, features = self.conv_in(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[-3:]


class MapToStyle(nn.Module):
    """The style head of e4e ("map2style"): strided convolutions down to one pixel, then a linear layer.

    Args:
        size: h = w of the feature map, a power of two.
        channels: C of the feature map.
        w_dim: Length of w.
    """

    def __init__(self, size: int, channels: int, w_dim: int):
        super().__init__()
        layers = []
        for i in range(int(math.log2(size))):
            conv = nn.Conv2d(w_dim if i else channels, w_dim, 3, stride=2, padding=1)
            layers += [init_scaled(conv, LEAKY_GAIN), nn.LeakyReLU(LEAKY_SLOPE)]
        self.convs = nn.Sequential(*layers)
        self.linear = init_scaled(nn.Linear(w_dim, w_dim), HEAD_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, size, size] -> [B, w_dim]."""
        return self.linear(self.convs(x).flatten(1))


class PooledMapToStyle(nn.Module):
    """A cheap style head: fewer channels, pooled to 4 x 4 pixels, then a linear layer."""

    def __init__(self, channels: int, w_dim: int, reduced: int = 16):
        super().__init__()
        self.reduce = init_scaled(nn.Conv2d(channels, reduced, 1), LEAKY_GAIN)
        self.linear = init_scaled(nn.Linear(16 * reduced, w_dim), HEAD_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w], h and w divisible by 4 -> [B, w_dim]."""
        x = F.leaky_relu(self.reduce(x), LEAKY_SLOPE)
        return self.linear(F.adaptive_avg_pool2d(x, 4).flatten(1))


class FaceBody(nn.Module):
    """What the face in its UV map says of w+: there an eye is at the same place in each photo, whatever the pose.

    It sees the photo, what w+ so far leaves of it (as ReStyle does), and where it was seen.

    Args:
        channels: C at 1/2, 1/4, ... of the map's size; a quarter of the last reaches the linear layers, in 8 x 8
            pixels, between which there are four times as many.
        num_ws: L.
        w_dim: Length of w.
    """

    def __init__(self, channels: Sequence[int], num_ws: int, w_dim: int):
        super().__init__()
        reduced, hidden = channels[-1] // 4, 4 * channels[-1]
        self.conv_in = init_scaled(nn.Conv2d(7, channels[0], 3, stride=2, padding=1))
        self.stages = nn.ModuleList(ResidualBlock(i, o, down=True) for i, o in itertools.pairwise(channels))
        self.reduce = init_scaled(nn.Conv2d(channels[-1], reduced, 1), LEAKY_GAIN)
        self.linear = init_scaled(nn.Linear(64 * reduced, hidden), LEAKY_GAIN)
        self.styles = init_scaled(nn.Linear(hidden, num_ws * w_dim), HEAD_GAIN)
        self.w_dim = w_dim

    def forward(self, texture: Tensor, residual: Tensor, visibility: Tensor) -> Tensor:
        """[B, 3, h, w], [B, 3, h, w] and [B, 1, h, w] -> [B, L, w_dim]."""
        x = self.conv_in(channels_last(torch.cat([texture, residual, visibility], 1)))
        for stage in self.stages:
            x = stage(x)
        x = F.leaky_relu(self.reduce(x), LEAKY_SLOPE)
        x = F.leaky_relu(self.linear(F.adaptive_avg_pool2d(x, 8).flatten(1)), LEAKY_SLOPE)
        return self.styles(x).unflatten(1, (-1, self.w_dim))


class LatentEncoder(Network):
    """E_latent: feature pyramid of three levels and one style head per w.

    As in e4e the first head gives one w for all layers and the other heads a deviation from it for their own layer;
    the sum is an offset to `latent_avg` [L, w_dim], a buffer that training sets to the prior's mean code.

    Args:
        num_ws: L.
        w_dim: Length of w.
        backbone: "ir_se_50" as in the paper, or "compact", a small residual net with cheap heads.
        image_size: H = W of the input, a multiple of 128.
        ir_se_stages: (channels, units) of the four stages, for "ir_se_50".
        compact_channels: C at 1/2, 1/4, ... 1/32 of the size, for "compact".
        face_channels: C at 1/2, 1/4, ... 1/16 of the size of the face in its UV map, by which w+ is refined (`refine`);
            none: w+ is what the photo gives at once, as in the paper.
        refinements: How often.
    """

    later_settings = MappingProxyType({"face_channels": (), "refinements": 0})

    @register_to_config
    def __init__(
        self,
        num_ws: int = 12,
        w_dim: int = 128,
        backbone: Literal["ir_se_50", "compact"] = "compact",
        image_size: int = 256,
        ir_se_stages: Sequence[tuple[int, int]] = IR_SE_50_STAGES,
        compact_channels: Sequence[int] = (12, 24, 32, 48, 64),
        face_channels: Sequence[int] = (),
        refinements: int = 0,
    ):
        super().__init__()
        full = backbone == "ir_se_50"
        self.body = IRSEBody(ir_se_stages) if full else CompactBody(compact_channels)
        fine, medium, coarse = self.body.out_channels
        self.lateral_medium = init_scaled(nn.Conv2d(medium, coarse, 1))
        self.lateral_fine = init_scaled(nn.Conv2d(fine, coarse, 1))
        strides = (16, 8, 4)  # of the coarse, the medium and the fine level of IR-SE-50
        self.style_heads = nn.ModuleList()
        for i in range(num_ws):
            if full:
                self.style_heads.append(MapToStyle(image_size // strides[self._level(i)], coarse, w_dim))
            else:
                self.style_heads.append(PooledMapToStyle(coarse, w_dim))
        if face_channels:
            self.face_body = FaceBody(face_channels, num_ws, w_dim)
        self.register_buffer("latent_avg", torch.zeros(num_ws, w_dim))

    @staticmethod
    def _level(style: int) -> int:
        """0 coarse, 1 medium, 2 fine."""
        return sum(style >= first for first in PYRAMID_SPLIT)

    def forward(self, image: Tensor) -> Tensor:
        """image [B, 3, image_size, image_size] in -1..1 -> ws [B, L, w_dim]."""
        fine, medium, coarse = self.body(channels_last(image))
        medium = self.lateral_medium(medium) + _resize_like(coarse, medium)
        fine = self.lateral_fine(fine) + _resize_like(medium, fine)
        levels = (coarse, medium, fine)
        heads = [head(levels[self._level(i)]) for i, head in enumerate(self.style_heads)]
        deviations = torch.stack([torch.zeros_like(heads[0]), *heads[1:]], 1)  # [B, L, w_dim]
        return self.latent_avg + heads[0][:, None] + deviations

    @apply_forward_hook
    def refine(self, ws: Tensor, texture: Tensor, residual: Tensor, visibility: Tensor) -> Tensor:
        """w+ nearer to the photo.

        Args:
            ws: [B, L, w_dim].
            texture: [B, 3, h, w] in -1..1, the photo's face in the UV map, unseen places filled.
            residual: [B, 3, h, w] in -2..2, photo - coarse render of `ws`, there; 0 where unseen.
            visibility: [B, 1, h, w] in 0..1, where the photo shows it.

        Returns:
            [B, L, w_dim].
        """
        return ws + self.face_body(texture, residual, visibility)


def _resize_like(x: Tensor, target: Tensor) -> Tensor:
    return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=False)
