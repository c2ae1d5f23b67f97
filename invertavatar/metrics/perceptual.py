"""LPIPS: how different two pictures look (Zhang et al. 2018, v0.1, AlexNet); a loss and a metric.

Shapes: B batch, C channels, H W picture, h w feature map.
"""

from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import InvertAvatarError
from .auxiliary import find_auxiliary

VARIABLE, FILE_NAME = "INVERTAVATAR_LPIPS", "lpips_alex.safetensors"
CURE = (
    "Make it once with the packages lpips and torchvision installed: "
    "python -c 'from invertavatar.metrics.perceptual import convert; convert(\"lpips_alex.safetensors\")'."
)
# AlexNet's convolutions: channels in, channels out, kernel, stride, padding.
LAYERS = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
POOLED = (0, 1)  # the layers that a max-pool follows
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's statistics for pictures in -1..1
LEAST_SIDE = 31  # pixels: smaller pictures vanish in the pools


class LPIPS(nn.Module):
    """Learned perceptual distance; its weights are fixed, gradients reach the pictures."""

    shift: Tensor  # [1, 3, 1, 1]
    scale: Tensor  # [1, 3, 1, 1]

    def __init__(self):
        super().__init__()
        self.features = nn.ModuleList(
            nn.Conv2d(inward, outward, kernel, stride, padding) for inward, outward, kernel, stride, padding in LAYERS
        )
        self.lin = nn.ModuleList(nn.Conv2d(outward, 1, 1, bias=False) for _, outward, *_ in LAYERS)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @classmethod
    def from_file(cls, path: str | Path | None = None) -> "LPIPS":
        """Read the weights.

        Args:
            path: A safetensors file; by default that of the environment variable INVERTAVATAR_LPIPS, else
                `../shared/models/lpips_alex.safetensors` beside the repository.

        Raises:
            InvertAvatarError: There is no such file, or it holds something else.
        """
        path = find_auxiliary(path, VARIABLE, FILE_NAME, CURE)
        network = cls()
        try:
            network.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise InvertAvatarError(f"{path} does not hold the weights of LPIPS with AlexNet. {CURE}") from error
        return network

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Distances [B] of pictures [B, 3, H, W] in -1..1 with sides of at least 31 px; 0 for equal ones."""
        distance = prediction.new_zeros(len(prediction))
        for x, y, lin in zip(self.activations(prediction), self.activations(target), self.lin, strict=True):
            distance = distance + lin((_unit(x) - _unit(y)) ** 2).mean((1, 2, 3))
        return distance

    def activations(self, picture: Tensor) -> list[Tensor]:
        """What its five layers say of pictures [B, 3, H, W] in -1..1: [B, C, h, w] each, C as in `LAYERS`."""
        x, found = (picture - self.shift) / self.scale, []
        for layer, convolution in enumerate(self.features):
            x = F.relu(convolution(x))
            found.append(x)
            x = F.max_pool2d(x, 3, 2) if layer in POOLED else x
        return found


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 at each place; the epsilon keeps the gradient finite where all are 0."""
    return features / (features.square().sum(1, keepdim=True) + 1e-10).sqrt()


def convert(path: str | Path) -> None:
    """Write the weights of the packages `lpips` and `torchvision`, installed, as the file that `LPIPS` reads."""
    import lpips
    from safetensors.torch import save_file

    source = lpips.LPIPS(net="alex", verbose=False).state_dict()
    convolutions = sorted({name.rsplit(".", 1)[0] for name in source if name.startswith("net.")}, key=_last_number)
    tensors = {f"lin.{layer}.weight": source[f"lin{layer}.model.1.weight"] for layer in range(len(LAYERS))}
    for layer, name in enumerate(convolutions):
        tensors |= {f"features.{layer}.{part}": source[f"{name}.{part}"] for part in ("weight", "bias")}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _last_number(name: str) -> int:
    return int(name.rsplit(".", 1)[1])
