"""Relief: how the surface of a head departs from the template, as one photo tells (DESIGN 5.2).

Shapes: B batch, h w frontal plane.

The mesh-guided density needs to know where hair, ears and neck are, and one template does for nobody: a quiff stands
forward, long hair lies behind the cheeks. What is learned here from pairs of pictures of one person is the departure
that makes both show the same colour at the same place of the frontal plane.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from ..rendering.rest_pose import body_share
from .recurrent_unet import RecurrentUNet

TEMPLATE_SIZE = 32
MEAN_STEP, STEP = 1.5, 0.3  # head units of relief for 1 of the mean and of the network's output


class ReliefNetwork(nn.Module):
    """A plain U-Net over the frontal plane, and a mean that all heads share.

    Args:
        channels: C at each scale, from the plane's resolution downward by halves.
    """

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, 1, TEMPLATE_SIZE, TEMPLATE_SIZE))
        self.unet = RecurrentUNet(9, channels, {0: 1}, recurrent=False)

    def forward(self, picture: Tensor, matte: Tensor, inside: Tensor, facing: Tensor, heights: Tensor) -> Tensor:
        """The relief that a photo tells, from its picture in the frontal plane through the template.

        Args:
            picture: [B, 3, h, w] in -1..1, h and w divisible by 2 ** (number of scales - 1).
            matte: [B, 1, h, w] in 0..1, the person.
            inside: [B, 1, h, w] in 0..1, where the photo has pixels.
            facing: [B, 1, h, w] in 0..1, how squarely the photo shows the place.
            heights: [B, 1, h, w] z of the surface without relief, head units.

        Returns:
            [B, 1, h, w] head units by which the surface stands nearer to the viewer; 0 on the body, which moves apart
            from the head.
        """
        right, up = pixel_centres(heights.shape[-1], heights.device)
        place = torch.stack([up, right.abs()]).expand(len(heights), -1, -1, -1)
        dtype = self.mean.dtype
        looks = torch.cat([picture * matte, matte, inside, facing, heights, place], 1).to(dtype)
        departure = self.unet.apply_heads(self.unet(looks))[0]
        mean = F.interpolate(self.mean, size=heights.shape[-2:], mode="bicubic", align_corners=False)
        return (departure.float() * STEP + mean.float() * MEAN_STEP) * (1 - body_share(up))
