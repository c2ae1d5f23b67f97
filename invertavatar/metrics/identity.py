"""SFace (Zhong et al. 2021) with gradients: whether two pictures show the same person, as the identity loss asks.

Shapes: B batch, V 478 landmarks, H W picture.

The weights are those of OpenCV's model zoo (`face_recognition_sface`, Apache-2.0), read from the file that the metric
uses too: see `paper.FaceRecognizer`.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvertAvatarError
from .aligned_face import aligned_face
from .auxiliary import find_auxiliary

VARIABLE, FILE_NAME = "INVERTAVATAR_SFACE", "face_recognition_sface_2021dec.onnx"
CURE = "Get it from the model zoo of OpenCV (face_recognition_sface, Apache-2.0)."
# A MobileNet: after the first convolution pairs of a depthwise one, with its stride, and one of a single pixel.
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class SFace(nn.Sequential):
    """Face recognition; its weights are fixed, gradients reach the pictures."""

    def __init__(self):
        layers, inward = [*_block(3, 32, 3)], 32
        for outward, stride in PAIRS:
            layers += _block(inward, inward, 3, stride, inward) + _block(inward, outward, 1)
            inward = outward
        layers += [nn.BatchNorm2d(inward, 2e-5), nn.Flatten(), nn.Linear(inward * 49, 128), nn.BatchNorm1d(128, 2e-5)]
        super().__init__(*layers)
        self.requires_grad_(False).eval()

    @classmethod
    def from_file(cls, path: str | Path | None = None) -> "SFace":
        """Read the weights, which takes the package onnx.

        Args:
            path: `face_recognition_sface_2021dec.onnx`; by default that of the environment variable INVERTAVATAR_SFACE,
                else of `../shared/models` beside the repository.

        Raises:
            InvertAvatarError: There is no such file, it is no such network, or onnx is not installed.
        """
        path = find_auxiliary(path, VARIABLE, FILE_NAME, CURE)
        try:
            import onnx
            from google.protobuf.message import DecodeError  # which onnx is built on
        except ImportError as error:
            raise InvertAvatarError("The identity loss reads its network with onnx: pip install onnx.") from error
        try:
            graph = onnx.load(path).graph
            weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
            held = [[weights[name] for name in node.input if name in weights] for node in graph.node]
            network = cls()
            layers = [layer for layer in network if not isinstance(layer, nn.Flatten)]
            # The file's first two nodes bring pixels to about -1..1.
            for layer, tensors in zip(layers, [tensors for tensors in held[2:] if tensors], strict=True):
                state = [name for name in layer.state_dict() if name != "num_batches_tracked"]
                for name, tensor in zip(state, tensors, strict=True):
                    target = getattr(layer, name).data
                    target.copy_(torch.from_numpy(tensor.copy()).view_as(target))
        except (DecodeError, ValueError, RuntimeError) as error:
            raise InvertAvatarError(f"{path} is not the network SFace. {CURE}") from error
        return network

    def train(self, mode: bool = True) -> "SFace":
        """It never learns: statistics and all stay as they are."""
        return super().train(False)

    def embed(self, picture: Tensor, landmarks: Tensor) -> Tensor:
        """Identities [B, 128] of length 1.

        Args:
            picture: [B, 3, H, W] RGB in -1..1.
            landmarks: [B, V, 2] x right, y down in -1..1 over the picture.
        """
        return F.normalize(self(aligned_face(picture, landmarks).clamp(-1, 1) * (127.5 / 128)), dim=1)


def _block(inward: int, outward: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inward, outward, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outward, 1e-3), FixedPReLU(outward)]


class FixedPReLU(nn.PReLU):
    """PReLU whose slopes do not learn: half the time of one that works out their gradient, asked for or not."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        return _FixedSlopes.apply(x, self.weight.to(x.dtype))


class _FixedSlopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x, slopes), (gradient,) = ctx.saved_tensors, gradients
        slopes = slopes[:, None, None]
        positive = torch.ops.aten.threshold_backward(gradient, x, 0)  # several times as fast as `torch.where`
        return torch.addcmul(gradient * slopes, positive, 1 - slopes), None
