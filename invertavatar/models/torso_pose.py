"""Torso pose: how shoulders and hair lie in a picture, beside where the pose of the head alone would put them.

Shapes: B batch, S side of the crop, h w frontal plane.

Shoulders rise and turn by themselves, hair swings, and no tracker of the face knows. What is learned here from pairs of
pictures of one person are the twelve numbers whose difference brings shoulders and hair of the one onto the other
(`rest_pose.TORSO_POSE_NAMES`). They are read from a single picture, so that a driver's can move an avatar.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..head.rest_pose import LARGEST_TORSO_POSE, TORSO_POSE_NAMES
from ..rendering.frontal_plane import canonicalize
from ..rendering.resize import resize
from .recurrent_unet import ResidualBlock
from .stylegan2 import LEAKY_SLOPE, init_scaled

READ_SIZE = 96  # h = w of what the network looks at


class TorsoPoseNetwork(nn.Module):
    """Convolutions over the frontal plane, halving it each time, and two layers that see all places.

    Args:
        channels: C at each scale, from the plane's resolution downward by halves.
        hidden_channels: Width between the last two layers.
    """

    def __init__(self, channels: Sequence[int], hidden_channels: int = 128):
        super().__init__()
        self.conv_in = init_scaled(nn.Conv2d(6, channels[0], 3, padding=1))
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, down=True) for a, b in pairwise(channels)))
        size = READ_SIZE >> (len(channels) - 1)
        self.gather = init_scaled(nn.Linear(channels[-1] * size**2 + 9, hidden_channels))
        self.out = init_scaled(nn.Linear(hidden_channels, len(TORSO_POSE_NAMES)), 0.1)

    def forward(self, photo: Tensor, matte: Tensor, inside: Tensor, rotation: Tensor, head_height: Tensor) -> Tensor:
        """The torso pose in a picture.

        Args:
            photo: [B, 3, S, S] in -1..1, normalized crop.
            matte: [B, 1, S, S] in 0..1, the person.
            inside: [B, 1, S, S] in 0..1, where the picture has pixels.
            rotation: [B, 3, 3] head -> camera.
            head_height: [1, 1, H, W] `FaceChart.head_height`, through which the picture is seen from the front.

        Returns:
            [B, 12].
        """
        photo, matte, inside = (resize(x, min(x.shape[-1], 2 * READ_SIZE)) for x in (photo, matte, inside))
        heights = resize(head_height, READ_SIZE).expand(len(photo), -1, -1, -1)
        front, person, facing = canonicalize(torch.cat([photo, inside], 1), matte, heights, rotation)
        colours, inside_front = front.split([3, 1], 1)
        dtype = self.out.weight.dtype
        x = self.conv_in(torch.cat([colours * person, person, inside_front, facing], 1).to(dtype))
        x = F.leaky_relu(self.blocks(x), LEAKY_SLOPE).flatten(1)
        x = F.leaky_relu(self.gather(torch.cat([x, rotation.flatten(1).to(dtype)], 1)), LEAKY_SLOPE)
        return self.out(x).float().tanh() * rotation.new_tensor(LARGEST_TORSO_POSE)
