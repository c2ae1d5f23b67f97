"""R, the rendering block: tri-plane -> raw features, opacity and depth by volume rendering (paper 3.1, 3.2).

Shapes: B batch, C plane channels, D feature channels, h w rendered size, N = h w rays, S samples on a ray.
"""

import math
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from ..camera import plane_coordinates, rays
from .fixed_sizes import current_sizes
from .head_shape import BEHIND, behind_share
from .rest_pose import CHIN, COLLAR, FACE_EDGE, FACE_HEIGHT, FACE_MIDDLE, FACE_WIDTH, PIVOT, SHOULDERS, to_rest

GUIDE_SAMPLES = 24  # on each ray of the half-resolution pass that finds the surface
SHELL = 0.12  # head units on either side of that surface in which most samples lie, and more
DEVIATIONS = 2.0  # of the surface's depth that the shell reaches at least: a ray may graze one and go on to another
SURFACE_WIDTH, BACK_WIDTH = 0.03, 0.05  # head units per unit of density logit at the surface and at its back
HIT, HIT_MARGIN = 0.01, 2  # opacity of the solid alone, and pixels at half resolution around it, that make a ray count
REFINEMENT = 4.0  # that the decoder adds at most to the solid's logit: too little to make something of nothing
OPTICAL_DEPTH = 20.0  # density of softplus(0.54) = 1 over one head unit
# That the compiled loop needs to know.
CONSTANTS = (
    *(SURFACE_WIDTH, BACK_WIDTH, OPTICAL_DEPTH, *PIVOT, COLLAR, CHIN),
    *(SHOULDERS, FACE_WIDTH, FACE_HEIGHT, FACE_MIDDLE, *FACE_EDGE, *BEHIND, REFINEMENT),
)


class Planes(NamedTuple):
    """The features a ray passes through."""

    static: Tensor  # [B, 3 C, r, r] tri-plane: (x, y), (x, z), (z, y)
    window: Tensor | None = None  # [B, C, w, w] dynamic frontal features, over |x|, |y| < window
    soft: Tensor | None = None  # [B, 1, w, w] how much they replace the static ones
    behind: Tensor | None = None  # [B, 3, r, r] colours of the back of the head over the frontal plane


class Solid(NamedTuple):
    """The mesh-guided density's shape (DESIGN 5.2)."""

    front: Tensor  # [B, 1, H, W] z of the driven surface over the frontal plane
    back: Tensor  # [B, 1, H, W] z of the back of the head
    silhouette: Tensor  # [B, 1, H, W] logit of belonging to the head, seen from the front


class Rendering(NamedTuple):
    """What the rays bring back."""

    features: Tensor  # [B, D, h, w]; the first three are colours, premultiplied by opacity
    opacity: Tensor  # [B, 1, h, w] in 0..1
    depth: Tensor  # [B, 1, h, w] expected z in camera space, premultiplied by opacity


class VolumeRenderer(nn.Module):
    """Decoder and ray marching.

    With guided samples only rays that come near the solid are traced, except within `fixed_sizes`, where all are: of a
    portrait's rays 86 % do, so that sorting them out saves little.

    Args:
        plane_channels: C.
        feature_channels: D.
        hidden_channels: Width of the decoder's hidden layer.
        window: Half the side of the face window in head units.
        coarse_samples: Spread over the whole ray.
        fine_samples: Where the surface is: within a shell around the guide's depth (`guided`), else by importance of
            the coarse pass.
        guided: Guided samples (DESIGN 5.3); needs a `Solid`.
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
        guided: bool,
        output_gain: float,
    ):
        super().__init__()
        self.window, self.guided = window, guided
        self.coarse_samples, self.fine_samples = coarse_samples, fine_samples
        self.rays_per_tile: int | None = None  # how many are traced at a time; None for all
        self.decoder = nn.Sequential(
            nn.Linear(plane_channels, hidden_channels), nn.SiLU(), nn.Linear(hidden_channels, 1 + feature_channels)
        )
        nn.init.normal_(self.decoder[2].weight, std=output_gain * hidden_channels**-0.5)
        nn.init.zeros_(self.decoder[2].bias)

    def forward(
        self,
        planes: Planes,
        solid: Solid | None,
        rotation: Tensor,
        size: int,
        field_of_view: float = 0.0,
        zoom: float = 1.0,
        jitter: torch.Generator | bool = False,
        turn: Tensor | None = None,
        posture: Tensor | None = None,
    ) -> Rendering:
        """Render a square picture.

        Args:
            planes: Features.
            solid: The mesh-guided density; None leaves the density to the decoder alone.
            rotation: [B, 3, 3] head -> camera.
            size: h = w.
            field_of_view: Degrees, 0 for weak perspective.
            zoom: Above 1 the head grows in the picture.
            jitter: Draw the samples' places at random (training): a generator, or True for the global one.
            turn: [B, 3, 3] the head's rotation relative to the body, which stays behind (see `rest_pose`); None turns
                the body with the head.
            posture: [B, 12] how hair and shoulders lie, see `rest_pose`; None for the average one.
        """
        lines = rays(rotation, size, field_of_view, zoom)  # [B, N, 3] each
        hit, order, fixed = None, None, current_sizes() is not None
        if self.guided:
            compiled = rotation.device.type == "cpu" and not torch.is_grad_enabled() and not fixed
            surface, hit = self._guide(solid, rotation, size, field_of_view, zoom, turn, posture, compiled)
            if compiled and jitter is False and planes.window is not None:
                return self._traced(planes, solid, *lines, surface, hit, turn, posture)
            lines = (*lines, surface)
            if not fixed:
                # As many rays for each picture as the fullest one needs; those that are too many count for nothing.
                order = hit.byte().argsort(dim=1, descending=True, stable=True)[:, : max(int(hit.sum(1).max()), 1)]
                hit = hit.gather(1, order)
                lines = [x.gather(1, order[..., None].expand(-1, -1, x.shape[-1])) for x in lines]
        tiles = zip(*(x.split(self.rays_per_tile or size**2, 1) for x in lines), strict=True)
        parts = zip(*(self._trace(planes, solid, jitter, turn, posture, *tile) for tile in tiles), strict=True)
        parts = [torch.cat(part, 1) for part in parts]  # [B, N, D], [B, N, 1], [B, N, 1]
        if hit is not None:
            parts = [part * hit[..., None] for part in parts]
        if order is not None:
            parts = [_scattered(part, order, size**2) for part in parts]
        return Rendering(*map(_pictures, parts))

    def _traced(self, planes, solid, origin, direction, surface, hit, turn, posture):
        """What `_trace` and `_scattered` do with guided samples, by a compiled loop and without a gradient."""
        from . import volume_numba  # numba costs time to import

        pictures = []
        for b in range(len(hit)):
            seen = hit[b].nonzero()[:, 0]
            parts = volume_numba.trace(
                planes.static[b],
                planes.window[b],
                planes.soft[b],
                None if planes.behind is None else planes.behind[b],
                self.window,
                torch.cat([solid.front[b], solid.back[b], solid.silhouette[b]]),
                self.decoder,
                origin[b, seen],
                direction[b, seen],
                surface[b, seen],
                [1 - 2 * x for x in _middles(self.fine_samples)],
                [1 - 2 * x for x in _middles(self.coarse_samples)],
                None if turn is None else turn[b],
                None if posture is None else posture[b],
                CONSTANTS,
            )
            pictures.append([x.new_zeros(hit.shape[1], x.shape[1]).index_copy_(0, seen, x) for x in parts])
        return Rendering(*(_pictures(torch.stack(part)) for part in zip(*pictures, strict=True)))

    def _trace(self, planes, solid, jitter, turn, posture, origin, direction, surface=None):
        """What `Rendering` holds, for N rays in a row: [B, N, D], [B, N, 1], [B, N, 1]."""
        spread = self._stratified(self.coarse_samples, origin, jitter) * -2 + 1  # [B, N, S] from near (1) to far (-1)
        if self.guided:
            middle, reach = surface.split(1, -1)
            shell = middle + reach * (1 - 2 * self._stratified(self.fine_samples, origin, jitter))
            t = torch.cat([shell, spread], -1).sort(-1, descending=True).values
        elif self.fine_samples:
            with torch.no_grad():
                logit, _ = self._decode(planes, solid, turn, posture, origin, direction, spread)
                weight = march(logit, spread)
                fine = importance(weight, spread, self._stratified(self.fine_samples, origin, jitter))
            t = torch.cat([spread, fine], -1).sort(-1, descending=True).values
        else:
            t = spread
        logit, features = self._decode(planes, solid, turn, posture, origin, direction, t)
        weight = march(logit, t)  # [B, N, S]
        summed = torch.einsum("bns,bnsd->bnd", weight, features)
        return summed, weight.sum(-1, keepdim=True).clamp(max=1), (weight * t).sum(-1, keepdim=True)

    def _decode(self, planes, solid, turn, posture, origin, direction, t):
        """Density logits [B, N, S] and features [B, N, S, D] at origin + t * direction."""
        points = _points(origin, direction, t, turn, posture)
        logit, features = self.query(planes, solid, points)
        return logit.unflatten(1, t.shape[1:]), features.unflatten(1, t.shape[1:])

    def query(self, planes: Planes, solid: Solid | None, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density logits [B, M] and features [B, M, D], the first three colours, at points [B, M, 3] at rest."""
        features = self.sample(planes, points)  # [B, M, C]
        decoded = self.decoder(features.to(self.decoder[0].weight.dtype))
        logit, colour = decoded[..., 0].float(), decoded[..., 1:].float()
        if solid is not None:
            logit = logit * 4
            logit = logit - (logit - REFINEMENT).clamp(min=0).detach()  # what is too much shall learn to be less
            logit = logit + solid_logit(solid, points)
        return logit, torch.cat([colour[..., :3] + features[..., :3], colour[..., 3:]], -1)

    def sample(self, planes: Planes, points: Tensor) -> Tensor:
        """Features at points [B, M, 3] at rest -> [B, M, C]: the planes summed, the window laid over the first, and the
        colours of the head's back laid over all.
        """
        batch, three_c, height, width = planes.static.shape
        grid = plane_coordinates(points)  # [B, 3, M, 2]
        static = planes.static.reshape(batch * 3, three_c // 3, height, width)
        sampled = F.grid_sample(static, grid.flatten(0, 1)[:, None], padding_mode="border", align_corners=False)
        frontal, *others = sampled[:, :, 0].unflatten(0, (batch, 3)).unbind(1)  # [B, C, M] each
        if planes.window is not None:
            laid = torch.cat([planes.window * planes.soft, planes.soft], 1)
            laid = F.grid_sample(laid, grid[:, :1] / self.window, align_corners=False)[:, :, 0]
            frontal = torch.addcmul(laid[:, :-1], frontal, 1 - laid[:, -1:])
        features = (frontal + others[0] + others[1]).transpose(1, 2)
        if planes.behind is None:
            return features
        behind = F.grid_sample(planes.behind, grid[:, :1], padding_mode="border", align_corners=False)[:, :, 0]
        colour = features[..., :3].lerp(behind.transpose(1, 2), behind_share(points[..., 2:]))
        return torch.cat([colour, features[..., 3:]], -1)

    def _stratified(self, count, like, jitter):
        """[B, N, count] in 0..1, one in each of `count` equal parts: their middles, or anywhere with `jitter`."""
        start = torch.arange(count, device=like.device, dtype=torch.float32)
        shape = (*like.shape[:2], count)
        if jitter is False:
            return ((start + 0.5) / count).expand(shape)
        generator = jitter if isinstance(jitter, torch.Generator) else None
        return (start + torch.rand(shape, generator=generator, device=like.device)) / count

    @torch.no_grad()
    def _guide(self, solid, rotation, size, field_of_view, zoom, turn, posture, compiled):
        """From the solid alone, at half resolution: on each ray the surface's t, 0 where the ray misses it, and how far
        from it samples are wanted [B, N, 2]; and [B, N] which rays come near it.
        """
        half = size // 2
        origin, direction = rays(rotation, half, field_of_view, zoom)
        t = torch.linspace(1, -1, GUIDE_SAMPLES, device=origin.device)
        if compiled:
            from . import volume_numba

            maps = torch.cat([solid.front, solid.back, solid.silhouette], 1)
            turns, postures = ([None] * len(maps) if x is None else x for x in (turn, posture))
            parts = [
                volume_numba.guide(*picture, t.tolist(), *moved, CONSTANTS)
                for *picture, moved in zip(maps, origin, direction, zip(turns, postures, strict=True), strict=True)
            ]
            moments = torch.stack(parts)  # [B, N, 3]
        else:
            t = t.expand(*origin.shape[:2], -1)
            points = _points(origin, direction, t, turn, posture)
            weight = march(solid_logit(solid, points).unflatten(1, t.shape[1:]), t)
            moments = torch.stack([weight.sum(-1), (weight * t).sum(-1), (weight * t**2).sum(-1)], -1)
        mass, *moments = moments.mT.unflatten(-1, (1, half, half)).unbind(1)  # [B, 1, h, w] each
        moments = torch.where(mass > 0.05, torch.cat(moments, 1) / mass.clamp(min=0.01), 0)
        # Between two rays the mean of their moments is those of both surfaces, as it should be.
        middle, square = F.interpolate(moments, size=(size, size), mode="bilinear").flatten(2).unbind(1)
        reach = DEVIATIONS * (square - middle**2).clamp(min=0).sqrt()
        near = F.max_pool2d(mass, 2 * HIT_MARGIN + 1, 1, HIT_MARGIN)
        near = F.interpolate(near, size=(size, size))
        return torch.stack([middle, reach.clamp(min=SHELL)], -1), near.flatten(1) > HIT


def _points(origin, direction, t, turn, posture):
    """Points [B, N S, 3] at rest, for t [B, N, S] on rays [B, N, 3]."""
    points = torch.addcmul(origin[:, :, None], t[..., None], direction[:, :, None]).flatten(1, 2)
    return to_rest(points, turn, posture)


def _middles(count):
    """The middles of `count` equal parts of 0..1."""
    return [(k + 0.5) / count for k in range(count)]


def _pictures(part):
    """[B, N, D] of square pictures -> [B, D, h, w]."""
    size = math.isqrt(part.shape[1])
    return part.transpose(1, 2).unflatten(-1, (size, size))


def _scattered(part, order, count):
    """[B, K, D] of the rays `order` [B, K] -> [B, count, D], zero for the other rays."""
    return part.new_zeros(len(part), count, part.shape[-1]).scatter(1, order[..., None].expand_as(part), part)


def solid_logit(solid: Solid, points: Tensor) -> Tensor:
    """Density logit of the mesh-guided solid at [B, M, 3] -> [B, M]: between front and back, inside the silhouette.

    Nothing is known beyond the planes, so the solid ends there.
    """
    grid = torch.stack([points[..., 0], -points[..., 1]], -1)[:, None]  # [B, 1, M, 2]
    maps = torch.cat([solid.front, solid.back, solid.silhouette], 1)
    maps = F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, :, 0]
    front, back, silhouette = maps.unbind(1)  # [B, M] each
    z, beyond = points[..., 2], points[..., :2].abs().amax(-1)
    inside = torch.minimum((front - z) / SURFACE_WIDTH, (z - back) / BACK_WIDTH)
    return torch.minimum(torch.minimum(inside, silhouette), (1 - beyond) / SURFACE_WIDTH).clamp(-12, 8)


def march(logit: Tensor, t: Tensor) -> Tensor:
    """Weights [B, N, S] of samples at falling t [B, N, S] with density softplus(logit)."""
    step = F.pad(t[..., :-1] - t[..., 1:], (0, 1), value=0.1)
    optical = F.softplus(logit) * step * OPTICAL_DEPTH
    passed = torch.cumsum(optical, -1)
    return torch.exp(optical - passed) - torch.exp(-passed)  # transmittance before minus after


def importance(weight: Tensor, t: Tensor, u: Tensor) -> Tensor:
    """Samples at falling t in proportion to the weights [B, N, S] (EG3D, NeRF): u [B, N, K] in 0..1 -> [B, N, K]."""
    smooth = F.avg_pool1d(F.max_pool1d(weight, 2, 1, padding=1), 2, 1) + 0.01  # as in EG3D
    share = torch.cumsum(smooth / smooth.sum(-1, keepdim=True), -1)
    share = F.pad(share, (1, 0))  # [B, N, S + 1]
    edges = torch.cat([t[..., :1], (t[..., 1:] + t[..., :-1]) / 2, t[..., -1:]], -1)  # [B, N, S + 1]
    above = torch.searchsorted(share, u.contiguous(), right=True).clamp(1, share.shape[-1] - 1)
    low, high = share.gather(-1, above - 1), share.gather(-1, above)
    part = (u - low) / (high - low).clamp(min=1e-6)
    start, end = edges.gather(-1, above - 1), edges.gather(-1, above)
    return start + part.clamp(0, 1) * (end - start)
