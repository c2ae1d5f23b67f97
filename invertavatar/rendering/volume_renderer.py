"""R, the rendering block: tri-plane -> raw features, opacity and depth (paper 3.1, 3.2).

With a surface each pixel takes the features of the place of the driven head that it sees (DESIGN 5.1). Without one the
rays are marched as in the paper, and density is the decoder's alone.

Shapes: B batch, C plane channels, D feature channels, h w rendered size, N = h w rays, S samples on a ray.
"""

import math
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera, plane_coordinates, rays
from ..head.rest_pose import smoothstep, to_rest_pose
from .surface import HeadSurface

OPTICAL_DEPTH = 20.0  # density of softplus(0.54) = 1 over one head unit


class Planes(NamedTuple):
    """The features a ray passes through."""

    static: Tensor  # [B, 3 C, r, r] tri-plane: (x, y), (x, z), (z, y)
    window: Tensor | None = None  # [B, C, w, w] dynamic frontal features, over |x|, |y| < window
    soft: Tensor | None = None  # [B, 1, w, w] how much they replace the static ones


class Rendering(NamedTuple):
    """What the rays bring back."""

    features: Tensor  # [B, D, h, w]; the first three are colours, premultiplied by opacity
    opacity: Tensor  # [B, 1, h, w] in 0..1
    depth: Tensor  # [B, 1, h, w] expected z in camera space, premultiplied by opacity


class VolumeRenderer(nn.Module):
    """Decoder, and what leads to the places that are decoded.

    Args:
        plane_channels: C.
        feature_channels: D.
        hidden_channels: Width of the decoder's hidden layer.
        window: Half the side of the face window in head units.
        coarse_samples: Spread over a ray.
        fine_samples: On the ray where the coarse pass found density.
        behind: z between which places are no longer what shows from the front, so that their colours are not those of
            the frontal plane.
        aside: The same of the cosine of the angle between a place's normal and the front: none of its colours shows
            from there, and all of them.
        output_gain: Initial scale of the decoder's output (DESIGN 5.4).
    """

    def __init__(
        self,
        plane_channels: int,
        feature_channels: int,
        hidden_channels: int,
        window: float,
        coarse_samples: int,
        fine_samples: int,
        behind: tuple[float, float],
        aside: tuple[float, float],
        output_gain: float,
    ):
        super().__init__()
        self.window, self.behind, self.aside = window, behind, aside
        self.coarse_samples, self.fine_samples = coarse_samples, fine_samples
        self.rays_per_tile: int | None = None  # how many are traced at a time; None for all
        hidden, out = nn.Linear(plane_channels, hidden_channels), nn.Linear(hidden_channels, 1 + feature_channels)
        self.decoder = nn.Sequential(hidden, nn.SiLU(), out)
        nn.init.normal_(out.weight, std=output_gain * hidden_channels**-0.5)
        nn.init.zeros_(out.bias)

    def on_surface(self, planes: Planes, surface: HeadSurface, hidden: Tensor | None = None) -> Rendering:
        """What a head looks like where it is known to be.

        Args:
            planes: Features.
            surface: The driven head, h = w pixels.
            hidden: [B, 3, h, w] colours of what does not show from the front; None for those of the planes.
        """
        size = surface.mask.shape[-1]
        _, features = self.query(planes, surface.rest_position.flatten(2).mT)
        features = features.mT.unflatten(-1, (size, size))
        if hidden is not None:
            near, far = self.behind
            weight = smoothstep((near - surface.rest_position[:, 2:]) / (near - far))
            edge, square = self.aside
            weight = torch.maximum(weight, smoothstep((square - surface.frontal) / (square - edge)))
            features = torch.cat([features[:, :3].lerp(hidden, weight), features[:, 3:]], 1)
        return Rendering(features * surface.mask, surface.mask, surface.depth * surface.mask)

    def forward(
        self,
        planes: Planes,
        camera: Camera,
        size: int,
        jitter: torch.Generator | bool = False,
        head_to_torso: Tensor | None = None,
        torso_pose: Tensor | None = None,
    ) -> Rendering:
        """March a square picture's rays.

        Args:
            planes: Features.
            camera: Of B pictures.
            size: h = w.
            jitter: Draw the samples' places at random (training): a generator, or True for the global one.
            head_to_torso: [B, 3, 3] the head's rotation relative to the body, which stays behind; None turns
                the body with the head.
            torso_pose: [B, 12] how hair and shoulders lie, see `rest_pose`; None for the average one.
        """
        lines = rays(camera.rotation, size, *camera[1:])  # [B, N, 3] each
        tiles = zip(*(x.split(self.rays_per_tile or size**2, 1) for x in lines), strict=True)
        parts = zip(*(self._trace(planes, jitter, head_to_torso, torso_pose, *tile) for tile in tiles), strict=True)
        return Rendering(*(_pictures(torch.cat(part, 1)) for part in parts))

    def _trace(
        self,
        planes: Planes,
        jitter: torch.Generator | bool,
        head_to_torso: Tensor | None,
        torso_pose: Tensor | None,
        origin: Tensor,  # [B, N, 3]
        direction: Tensor,  # [B, N, 3]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `Rendering` holds, for N rays in a row: [B, N, D], [B, N, 1], [B, N, 1]."""
        t = self._stratified(self.coarse_samples, origin, jitter) * -2 + 1  # [B, N, S] from near (1) to far (-1)
        if self.fine_samples:
            with torch.no_grad():
                logit, _ = self._decode(planes, head_to_torso, torso_pose, origin, direction, t)
                weight = march(logit, t)
                fine = importance(weight, t, self._stratified(self.fine_samples, origin, jitter))
            t = torch.cat([t, fine], -1).sort(-1, descending=True).values
        logit, features = self._decode(planes, head_to_torso, torso_pose, origin, direction, t)
        weight = march(logit, t)  # [B, N, S]
        summed = torch.einsum("bns,bnsd->bnd", weight, features)
        return summed, weight.sum(-1, keepdim=True).clamp(max=1), (weight * t).sum(-1, keepdim=True)

    def _decode(
        self,
        planes: Planes,
        head_to_torso: Tensor | None,
        torso_pose: Tensor | None,
        origin: Tensor,  # [B, N, 3]
        direction: Tensor,  # [B, N, 3]
        t: Tensor,  # [B, N, S]
    ) -> tuple[Tensor, Tensor]:
        """Density logits [B, N, S] and features [B, N, S, D] at origin + t * direction."""
        points = torch.addcmul(origin[:, :, None], t[..., None], direction[:, :, None]).flatten(1, 2)
        logit, features = self.query(planes, to_rest_pose(points, head_to_torso, torso_pose))
        return logit.unflatten(1, t.shape[1:]), features.unflatten(1, t.shape[1:])

    def query(self, planes: Planes, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density logits [B, M] and features [B, M, D], the first three colours, at points [B, M, 3] at rest."""
        features = self.sample(planes, points)  # [B, M, C]
        decoded = self.decoder(features.to(next(self.decoder.parameters()).dtype))
        logit, colour = decoded[..., 0].float(), decoded[..., 1:].float()
        return logit, torch.cat([colour[..., :3] + features[..., :3], colour[..., 3:]], -1)

    def sample(self, planes: Planes, points: Tensor) -> Tensor:
        """Features at points [B, M, 3] at rest -> [B, M, C]: the planes summed, the window laid over the first."""
        batch, three_c, height, width = planes.static.shape
        grid = plane_coordinates(points)  # [B, 3, M, 2]
        static = planes.static.reshape(batch * 3, three_c // 3, height, width)
        sampled = F.grid_sample(static, grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
        frontal, *others = sampled[:, :, 0].unflatten(0, (batch, 3)).unbind(1)  # [B, C, M] each
        if planes.window is not None and planes.soft is not None:
            laid = torch.cat([planes.window * planes.soft, planes.soft], 1)
            laid = F.grid_sample(laid, grid[:, :1] / self.window, align_corners=False)[:, :, 0]
            frontal = torch.addcmul(laid[:, :-1], frontal, 1 - laid[:, -1:])
        return (frontal + others[0] + others[1]).transpose(1, 2)

    def _stratified(self, count: int, like: Tensor, jitter: torch.Generator | bool) -> Tensor:
        """[B, N, count] in 0..1, one in each of `count` equal parts: their middles, or anywhere with `jitter`."""
        start = torch.arange(count, device=like.device, dtype=torch.float32)
        shape = (*like.shape[:2], count)
        if jitter is False:
            return ((start + 0.5) / count).expand(shape)
        generator = jitter if isinstance(jitter, torch.Generator) else None
        return (start + torch.rand(shape, generator=generator, device=like.device)) / count


def _pictures(part: Tensor) -> Tensor:
    """[B, N, D] of square pictures -> [B, D, h, w]."""
    size = math.isqrt(part.shape[1])
    return part.transpose(1, 2).unflatten(-1, (size, size))


def march(logit: Tensor, t: Tensor) -> Tensor:
    """Weights [B, N, S] of samples at falling t [B, N, S] with density softplus(logit)."""
    step = F.pad(t[..., :-1] - t[..., 1:], (0, 1), value=0.1)
    optical = F.softplus(logit) * step * OPTICAL_DEPTH
    passed = torch.cumsum(optical, -1)
    return torch.exp(optical - passed) - torch.exp(-passed)  # transmittance before minus after


def importance(weight: Tensor, t: Tensor, u: Tensor) -> Tensor:
    """Samples at falling t in proportion to the weights [B, N, S] (EG3D, NeRF): u [B, N, K] in 0..1 -> [B, N, K]."""
    smooth = F.avg_pool1d(F.max_pool1d(weight, 2, 1, padding=1), 2, 1) + 0.01  # as in EG3D
    cdf = torch.cumsum(smooth / smooth.sum(-1, keepdim=True), -1)
    cdf = F.pad(cdf, (1, 0))  # [B, N, S + 1]
    edges = torch.cat([t[..., :1], (t[..., 1:] + t[..., :-1]) / 2, t[..., -1:]], -1)  # [B, N, S + 1]
    above = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, cdf.shape[-1] - 1)
    low, high = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    part = (u - low) / (high - low).clamp(min=1e-6)
    start, end = edges.gather(-1, above - 1), edges.gather(-1, above)
    return start + part.clamp(0, 1) * (end - start)
