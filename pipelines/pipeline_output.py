"""What the pipeline returns."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image

from invertavatar.avatar import Avatar
from invertavatar.tracking.motion import Motion


@dataclass
class InvertAvatarPipelineOutput(BaseOutput):
    """Frames of an animated avatar.

    Attributes:
        frames: T pictures: PIL images for `output_type="pil"`, one array [T, H, W, C] in 0..1 for "np", one tensor
            [T, C, H, W] in 0..1 for "pt". C is 3, or 4 on a transparent background.
        fps: Frames per second.
        avatar: The avatar that was animated.
        motion: The driver's motion as it was tracked; save it to reuse it.
    """

    frames: list[Image.Image] | np.ndarray | torch.Tensor
    fps: Fraction
    avatar: Avatar
    motion: Motion


@dataclass(eq=False)
class FrameStream(Iterator):
    """Frames of an animated avatar, each rendered when it is asked for.

    Attributes:
        frames: What renders them.
        num_frames: T, how many there are in all.
        fps: Frames per second.
        motion: The driver's motion as it was tracked; save it to reuse it.
    """

    frames: Generator[np.ndarray | torch.Tensor]
    num_frames: int
    fps: Fraction
    motion: Motion

    def __next__(self) -> np.ndarray | torch.Tensor:
        return next(self.frames)

    def close(self) -> None:
        """Render no more of them."""
        self.frames.close()


def as_output_type(frames: torch.Tensor, output_type: str) -> list[Image.Image] | np.ndarray | torch.Tensor:
    """[T, C, S, S] in 0..1 -> what `output_type` names."""
    if output_type == "pt":
        return frames
    arrays = frames.permute(0, 2, 3, 1).cpu().numpy()
    if output_type == "np":
        return arrays
    return [Image.fromarray(frame) for frame in (arrays.clip(0, 1) * 255).round().astype(np.uint8)]
