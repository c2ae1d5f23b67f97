"""The dual discriminator with its landmark map, and the latent discriminator of E_latent (paper 3.1, 6.1, 6.2).

Shapes: B batch, L w-layers, C channels, H W image, h w neural resolution.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn.utils.parametrizations import spectral_norm

from .stylegan2 import LEAKY_GAIN, LEAKY_SLOPE, channels_last, fir_downsample, init_scaled

# Chains over MediaPipe's 478 landmarks, one channel each of the landmark map; a chain that ends where it began is a
# closed contour. The same edges as mediapipe's FaceLandmarksConnections (a test compares them), kept here because a
# network should not import a tracker.
LANDMARK_CHAINS = {
    "lips": (
        (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
        (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    ),
    "eyes": (
        (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    ),
    "irises": ((469, 470, 471, 472, 469), (474, 475, 476, 477, 474)),
    "brows": ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107), (276, 283, 282, 295, 285), (300, 293, 334, 296, 336)),
    "face_oval": (
        (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
        + (148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    ),
    "nose": (
        (168, 6, 197, 195, 5, 4, 1, 19, 94, 2),
        (98, 97, 2, 326, 327, 294, 278, 344, 440, 275, 4, 45, 220, 115, 48, 64, 98),
    ),
}
LANDMARK_CHANNELS = len(LANDMARK_CHAINS)
FRACTION_BITS = 4  # sub-pixel precision of the drawing


def draw_landmark_map(landmarks: Tensor, size: int) -> Tensor:
    """Draws the contours of the face as anti-aliased lines, one pixel wide for each 256 of the size.

    Args:
        landmarks: [B, 478, 2] in crop coordinates: -1..1, x right, y down. What lies outside is cut off.
        size: H = W of the map in pixels.

    Returns:
        [B, 6, H, W] float32 in 0..1 on the landmarks' device: lips, eyes, irises, brows, face oval, nose.
    """
    pixels = (landmarks.detach().float().cpu().numpy() + 1) * (size / 2) - 0.5  # whole numbers are pixel centres
    points = np.round(pixels * 2**FRACTION_BITS).astype(np.int32)
    maps = np.zeros((len(points), LANDMARK_CHANNELS, size, size), np.uint8)
    for face, canvas in zip(points, maps, strict=True):
        for chains, channel in zip(LANDMARK_CHAINS.values(), canvas, strict=True):
            lines = [face[list(chain)] for chain in chains]
            cv2.polylines(channel, lines, False, 255, max(1, round(size / 256)), cv2.LINE_AA, FRACTION_BITS)
    return torch.from_numpy(maps).to(landmarks.device, torch.float32) / 255


class DiscriminatorBlock(nn.Module):
    """Residual block of the StyleGAN2 discriminator."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = _conv(in_channels, in_channels, 3)
        self.conv2 = _conv(in_channels, out_channels, 3)
        self.skip = init_scaled(nn.Conv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H/2, W/2]."""
        y = F.leaky_relu(self.conv1(x), LEAKY_SLOPE)
        y = F.leaky_relu(self.conv2(fir_downsample(y)), LEAKY_SLOPE)
        return (y + self.skip(fir_downsample(x))) * 0.5**0.5


class DualDiscriminator(ModelMixin, ConfigMixin):
    """Judges the image together with the raw neural rendering, so that the two agree, and with the landmark map, so
    that the expression is the driven one. There is no pose condition (paper 6.2.2).

    Args:
        channels: Resolution -> C, from the image's resolution down to 4, each half the one before. Keys may be strings,
            which is what a saved configuration makes of them.
        landmark_channels: C of the landmark map; 0 for none.
    """

    @register_to_config
    def __init__(self, channels: Mapping[int | str, int], landmark_channels: int = LANDMARK_CHANNELS):
        super().__init__()
        channels = {int(r): c for r, c in channels.items()}
        widths = [channels[r] for r in sorted(channels, reverse=True)]
        self.conv_in = _conv(3 + 3 + landmark_channels, widths[0], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(i, o) for i, o in itertools.pairwise(widths))
        self.conv_out = _conv(widths[-1] + 1, widths[-1], 3)
        self.linear = init_scaled(nn.Linear(widths[-1] * 4 * 4, widths[-1]), LEAKY_GAIN)
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, image: Tensor, raw: Tensor, landmark_map: Tensor | None = None) -> Tensor:
        """Args:
            image: [B, 3, H, W] in -1..1.
            raw: [B, 3, h, w], first channels of the neural rendering.
            landmark_map: [B, landmark_channels, H, W], see `draw_landmark_map`.

        Returns:
            [B, 1], larger means more like a photo.
        """
        raw = F.interpolate(raw, size=image.shape[2:], mode="bilinear", align_corners=False)
        inputs = [image, raw] if landmark_map is None else [image, raw, landmark_map.to(image.dtype)]
        x = F.leaky_relu(self.conv_in(channels_last(torch.cat(inputs, 1))), LEAKY_SLOPE)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.conv_out(_with_minibatch_std(x)), LEAKY_SLOPE)
        return self.logit(F.leaky_relu(self.linear(x.flatten(1)), LEAKY_SLOPE))


PARTS = 4  # in rows and columns, of which `FeatureDiscriminator` has an opinion each


class FeatureDiscriminator(ModelMixin, ConfigMixin):
    """Judges pictures by what a network that is fixed sees in them, at each of its layers alike: it learns from some
    thousands of pictures what one that begins with pixels takes millions for (Sauer et al. 2021).

    Args:
        channels: C of the layers.
        hidden_dim: Channels between.
    """

    @register_to_config
    def __init__(self, channels: Sequence[int] = (64, 192, 384, 256), hidden_dim: int = 64):
        super().__init__()
        self.bodies = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(inward, hidden_dim, 1)),
                nn.LeakyReLU(LEAKY_SLOPE),
                spectral_norm(nn.Conv2d(hidden_dim, hidden_dim, 4, stride=2, padding=1)),
                nn.LeakyReLU(LEAKY_SLOPE),
            )
            for inward in channels
        )
        self.logits = nn.ModuleList(spectral_norm(nn.Conv2d(hidden_dim + 1, 1, 3, padding=1)) for _ in channels)

    def forward(self, *activations: Tensor) -> Tensor:
        """Activations [B, C, h, w] of the layers -> [B, 16 for each], larger means more like a photo."""
        found = []
        for body, logit, x in zip(self.bodies, self.logits, activations, strict=True):
            found.append(F.adaptive_avg_pool2d(logit(_with_minibatch_std(body(x), places=True)), PARTS).flatten(1))
        return torch.cat(found, 1)


class LatentDiscriminator(ModelMixin, ConfigMixin):
    """D_W of e4e: tells codes of the mapping network from codes that E_latent predicts.

    Args:
        w_dim: Length of w.
        hidden_dim: Width of the layers.
        num_layers: Fully connected layers, the last one included.
    """

    @register_to_config
    def __init__(self, w_dim: int = 128, hidden_dim: int = 512, num_layers: int = 4):
        super().__init__()
        widths = [w_dim] + [hidden_dim] * (num_layers - 1)
        self.layers = nn.ModuleList(init_scaled(nn.Linear(i, o), LEAKY_GAIN) for i, o in itertools.pairwise(widths))
        self.logit = nn.Linear(hidden_dim, 1)

    def forward(self, w: Tensor) -> Tensor:
        """w [..., w_dim], single codes or all layers of w+ -> [..., 1], larger means more like a code of the prior."""
        for layer in self.layers:
            w = F.leaky_relu(layer(w), LEAKY_SLOPE)
        return self.logit(w)


def _with_minibatch_std(x: Tensor, places: bool = False) -> Tensor:
    """[B, C, h, w] -> [B, C + 1, h, w]: the standard deviation within groups of up to four, against mode collapse, of
    the whole or of each place.
    """
    group = math.gcd(x.shape[0], 4)
    y = x.float().unflatten(0, (group, -1))  # [group, B / group, C, h, w]; float32: squares overflow in float16
    std = (y.var(0, unbiased=False) + 1e-8).sqrt().mean(1 if places else (1, 2, 3), keepdim=True)
    return torch.cat([x, std.repeat(group, 1, 1, 1).to(x.dtype).expand(-1, 1, *x.shape[2:])], 1)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return init_scaled(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2), LEAKY_GAIN)
