"""What no picture shows of eyeballs and tongue, made of what is seen beside it.

Shapes: H W texture, M texels.

Lids let a band be seen across each iris; around it an eyeball takes the colours that the band has as far from its
middle: iris, then sclera. A tongue takes the colour of the lips.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..head.head_model import LABELS, HeadModel
from ..raster.rasterizer import interpolate, rasterize

BAND, HALF = 2.0, 6.0  # degrees: the band's middle above the pupil's, and its half
IRIS, SCLERA = 24.0, (26.0, 34.0)  # from the middle: to where the iris reaches, and between which the sclera is seen
STEP = 3.0  # degrees of a ring whose colours are taken together
TONGUE = (0.4, 0.7)  # brightness beside the lips', at the root and at the tip
FURROW, WIDTH = 0.15, 0.02  # how much darker it is along its middle, and how many head units beside that
WHITE = 60  # percentile of what is seen there that is taken for the sclera's colour: the rest is lashes and corners


@torch.no_grad()
def whole_eyes(texture: np.ndarray, seen: np.ndarray, head_model: HeadModel) -> np.ndarray:
    """The texture with eyeballs that can turn.

    Args:
        texture: [H, W, 3] uint8 over the model's atlas; eyeballs as they were seen between the lids.
        seen: [H, W] in 0..1 how well; there they stay as they are, with the shade of lids and lashes.
        head_model: The model.

    Returns:
        [H, W, 3] uint8.
    """
    whole, height = texture.astype(np.float32), len(texture)
    for eye in range(2):
        part = head_model.eye_part[eye].cpu()
        ball = head_model.mean.cpu()[part]
        direction = F.normalize(head_model.mean.cpu() - ball.mean(0), dim=-1)
        faces = part[head_model.triangles.cpu().long()].all(1)
        corners = head_model.uv.cpu()[head_model.uv_triangles.cpu()[faces]] * 2 - 1
        flat = F.pad(corners.reshape(1, -1, 2), (0, 1))
        drawn = rasterize(flat, torch.arange(flat.shape[1]).view(-1, 3), height)
        towards = interpolate(direction, drawn, head_model.triangles.cpu()[faces])[0]  # [3, H, W]
        mask = drawn.mask[0].numpy()
        _, y, z = F.normalize(towards, dim=0).numpy()[:, mask]
        away, off = np.degrees(np.arccos(z.clip(-1, 1))), np.abs(np.degrees(np.arcsin(y.clip(-1, 1))) - BAND)
        colours = whole[mask]
        band, rings = off < HALF, np.arange(0, IRIS + STEP, STEP)
        sides = colours[band & (away > SCLERA[0]) & (away < SCLERA[1])]
        if not len(sides):  # a texture too small to show an eye
            continue
        # The nearest texels to each ring, so that no ring is empty.
        profile = [np.median(colours[band][np.argsort(np.abs(away[band] - ring))[: len(sides)]], 0) for ring in rings]
        bright = sides.mean(1) >= np.percentile(sides.mean(1), WHITE)
        knots, profile = [*rings, SCLERA[0] + STEP], np.array([*profile, sides[bright].mean(0)])
        around = np.stack([np.interp(away, knots, channel) for channel in profile.T], -1)
        whole[mask] = around + seen[mask][:, None] * (colours - around)
    return whole.round().clip(0, 255).astype(np.uint8)


@torch.no_grad()
def with_tongue(texture: np.ndarray, head_model: HeadModel) -> np.ndarray:
    """The texture [H, W, 3] uint8 with a tongue in the lips' colour, darker towards its root and along its middle."""
    tongue, lips = (_covered(head_model, name, len(texture)) for name in ("tongue", "lips"))
    whole = texture.copy()
    x, _, z = tongue[1][:, tongue[0]]
    if len(z):
        bright = np.interp(z, (z.min(), z.max()), TONGUE) * (1 - FURROW * np.exp(-((x / WIDTH) ** 2)))
        whole[tongue[0]] = (np.median(texture[lips[0]], 0) * bright[:, None]).round()
    return whole


def _covered(head_model: HeadModel, label: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The texels of a part, [size, size] bool, and where they lie on the mean head, [3, size, size]."""
    part = (head_model.label == LABELS.index(label)).cpu()
    flat = F.pad(head_model.uv.cpu()[head_model.uv_triangles.cpu()[part]].reshape(1, -1, 2) * 2 - 1, (0, 1))
    drawn = rasterize(flat, torch.arange(flat.shape[1]).view(-1, 3), size)
    places = interpolate(head_model.mean.cpu(), drawn, head_model.triangles.cpu()[part])[0]
    return drawn.mask[0].numpy(), places.numpy()
