"""ConvFusion: the paper's baseline for the ConvGRU (4.3.1), a convolution over a window of photos.

Shapes: B batch, C channels, h w feature map, W photos of a window.
"""

import torch
import torch.nn as nn
from torch import Tensor


class ConvFusion(nn.Module):
    """Compresses the features of up to W photos by one convolution; of longer sequences it averages what each window of
    W photos gives, as its input is of fixed size. Within -1..1 like a ConvGRU, so that what follows meets the same.

    A window that is not full yet has its first photo in the places that are free.

    Args:
        channels: C of the features and of the result.
        window: W.
        kernel_size: Odd.
    """

    def __init__(self, channels: int, window: int, kernel_size: int = 3):
        super().__init__()
        self.channels, self.window = channels, window
        self.conv = nn.Conv2d(window * channels, channels, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor, held: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """One photo more.

        Args:
            features: [B, C, h, w] of the photo.
            held: [B, (2 + W) C, h, w] after the photos so far; None before the first.
            count: The number of photos so far.

        Returns:
            What the window of this photo gives, [B, C, h, w], and what is held from now on: the result over all photos,
            the mean of full windows, and the W photos of the last one.
        """
        place, windows = count % self.window, count // self.window  # the place of this photo; full windows before
        mean = torch.zeros_like(features)
        slots = [features] * self.window
        if held is not None:
            _, mean, *before = held.to(features.dtype).split(self.channels, 1)
            if place:
                slots = [*before[:place], features, *before[place + 1 :]]
            else:  # the window before is full
                mean = mean + (self._fused(before) - mean) / windows
        fused, full = self._fused(slots), windows * self.window
        result = (full * mean + (place + 1) * fused) / (full + place + 1)
        return fused, torch.cat([result, mean, *slots], 1)

    def _fused(self, slots: list[Tensor]) -> Tensor:
        return torch.tanh(self.conv(torch.cat(slots, 1)))
