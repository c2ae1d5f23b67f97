"""The mapping network: noise and a pose condition -> intermediate latent codes w (paper 3.1, 6.1).

Shapes: B batch, L w-layers.
"""

import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .stylegan2 import LEAKY_GAIN, LEAKY_SLOPE, init_scaled


def _unit_power(x: Tensor) -> Tensor:
    return x * (x.float().square().mean(1, keepdim=True) + 1e-8).rsqrt().to(x.dtype)


class MappingNetwork(nn.Module):
    """z and the pose -> w, the same for every layer or one for each, with truncation toward the running average.

    Args:
        z_dim: Length of z.
        w_dim: Length of w.
        num_ws: L, how many layers are fed.
        condition_dim: Length of the pose condition (9: a row-major rotation); 0 for none.
        num_layers: Fully connected layers.
        layerwise: Each layer's w is a linear map of w: people are drawn from w+, where E_latent puts them.
    """

    w_avg: Tensor  # [w_dim], or [L, w_dim] with `layerwise`

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        num_ws: int,
        condition_dim: int = 9,
        num_layers: int = 2,
        layerwise: bool = False,
    ):
        super().__init__()
        self.num_ws = num_ws
        self.embed = init_scaled(nn.Linear(condition_dim, w_dim)) if condition_dim else None
        widths = [z_dim + (w_dim if condition_dim else 0)] + [w_dim] * num_layers
        self.layers = nn.ModuleList(init_scaled(nn.Linear(i, o)) for i, o in itertools.pairwise(widths))
        self.offsets = init_scaled(nn.Linear(w_dim, num_ws * w_dim), 0.0) if layerwise else None
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim) if layerwise else torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor,
        condition: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Args:
            z: [B, z_dim], standard normal.
            condition: [B, condition_dim]; leave out where the network has none.
            truncation_psi: 1 keeps w, 0 gives the average person.
            truncation_cutoff: Only this many first layers are truncated; None for all.

        Returns:
            ws [B, L, w_dim].

        Raises:
            ValueError: A network with a pose condition gets none.
        """
        x = _unit_power(z)
        if self.embed is not None:
            if condition is None:
                raise ValueError("This mapping network needs a pose condition: give a rotation, row by row.")
            x = torch.cat([x, _unit_power(self.embed(condition.to(x.dtype)))], 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), LEAKY_SLOPE) * LEAKY_GAIN
        ws = x[:, None].expand(-1, self.num_ws, -1)
        if self.offsets is not None:
            ws = ws + self.offsets(x).unflatten(1, (self.num_ws, -1))
        if truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        average = self.w_avg.to(x.dtype).expand_as(ws)
        truncated = torch.lerp(average[:, :cutoff], ws[:, :cutoff], truncation_psi)
        return torch.cat([truncated, ws[:, cutoff:]], 1)

    @torch.no_grad()
    def update_w_avg(self, ws: Tensor, decay: float = 0.998) -> None:
        """Move the average toward the batch's mean w; a training loop calls it, nothing else ever changes `w_avg`."""
        mean = ws.mean(0) if self.offsets is not None else ws[:, 0].mean(0)
        self.w_avg.lerp_(mean.to(self.w_avg.dtype), 1 - decay)
