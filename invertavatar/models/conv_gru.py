"""ConvGRU: the recurrent unit that merges one photo's features into what was seen before (paper 3.3, Eq. 1).

Shapes: B batch, C channels, h w feature map.
"""

import torch
import torch.nn as nn
from torch import Tensor


class ConvGRU(nn.Module):
    """Eq. 1: z, r = sigmoid(Conv(f, h)); o = tanh(Conv(f, r * h)); h' = z * h + (1 - z) * o.

    Note that z = 1 keeps the old state.

    Args:
        channels: C of the features and of the hidden state.
        kernel_size: Odd.
    """

    def __init__(self, channels: int, kernel_size: int = 3):
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, kernel_size, padding=kernel_size // 2)  # z, then r
        self.candidate = nn.Conv2d(2 * channels, channels, kernel_size, padding=kernel_size // 2)
        # Below one half z lets a first photo through: the one-shot result is not damped by the empty state.
        _, bias = self.gates.parameters()
        nn.init.constant_(bias[:channels], -1.0)

    def forward(self, features: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Features f_t and hidden state h_{t-1}, both [B, C, h, w] (None: all zero) -> h_t, in -1..1."""
        if hidden is None:
            hidden = torch.zeros_like(features)
        hidden = hidden.to(features.dtype)
        z, r = torch.sigmoid(self.gates(torch.cat([features, hidden], 1))).chunk(2, 1)
        o = torch.tanh(self.candidate(torch.cat([features, r * hidden], 1)))
        return z * hidden + (1 - z) * o
