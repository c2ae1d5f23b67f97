"""Whether a photo shows the person that an avatar was built of.

Shapes: h w UV map.

The tracked landmarks tell people hardly apart: on the example people two photos of one person differ in shape as much
as photos of two. Their unwrapped faces do: brows, lips, beard and lines make a pattern that light and pose change less.
It is no proof, only reason enough for a warning.
"""

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# The mean unwrapped face of the bundled example people; nobody among them exists.
AVERAGE_FACE = Path(__file__).parents[1] / "checkpoints" / "average_face.png"
MAP_SIZE = 64  # of the compared maps
BAND = 17  # texels: what is broader is light and complexion
SEEN = 0.05  # weight from which a texel is compared
ENOUGH = 0.05  # share of the map that both must show
# Below it are 84 % of the pairs of photos of two of the example people and 42 % from videos of 12 real ones (of frontal
# faces in one studio light only 2 %), none of 186 pairs of real photos of one person, and 11 % of generated ones.
UNLIKE = 0.2


def likeness(texture_sums: Tensor, texture: Tensor, visibility: Tensor) -> float | None:
    """How alike the faces of an avatar and of a photo are.

    Args:
        texture_sums: [1, 4, h, w] `Avatar.texture_sum`.
        texture: [1, 3, h, w] colours of the photo in -1..1.
        visibility: [1, 1, h, w] in 0..1, where the photo shows them.

    Returns:
        The correlation of what departs from the average face, in -1..1; None where they share too little of the face.
    """
    average = _average_face().to(texture.device)
    sums, seen = (F.adaptive_avg_pool2d(x.float(), MAP_SIZE) for x in (texture_sums, visibility**2))
    photo = F.adaptive_avg_pool2d(texture.float() * visibility**2, MAP_SIZE)
    patterns = [
        _band(colours / weight.clamp(min=1e-6) - average, weight)
        for colours, weight in ((sums[:, :3], sums[:, 3:]), (photo, seen))
    ]
    shared = (sums[:, 3:] > SEEN) & (seen > SEEN)
    if shared.float().mean() < ENOUGH:
        return None
    a, b = (pattern[shared.expand_as(pattern)] for pattern in patterns)
    return float(F.cosine_similarity(a - a.mean(), b - b.mean(), dim=0))


@functools.cache
def _average_face() -> Tensor:
    """[1, 3, 64, 64] in -1..1."""
    with Image.open(AVERAGE_FACE) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1


def _band(pattern: Tensor, weight: Tensor) -> Tensor:
    """What is finer than `BAND` texels; unseen places do not count."""

    def blurred(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, BAND, 1, BAND // 2, count_include_pad=False)

    return pattern - blurred(pattern * weight) / blurred(weight).clamp(min=1e-6)
