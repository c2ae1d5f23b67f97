"""Between pictures and the UV map of the face (paper 3.2: the unprojected photo and its visibility mask).

Shapes: B batch, C channels, H W picture, h w UV map, V landmarks, E vertices that close the mesh.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import project
from ..head.face_chart import FaceChart
from ..head.landmark_topology import SKIN
from ..head.pose import NUM_LANDMARKS
from ..raster.rasterizer import Fragments, interpolate, rasterize
from .resize import resample, resize

BEHIND = 10.0  # patches are drawn this far behind the skin: they show through their openings and nowhere else
DEPTH_SIZE = 256  # pixels of the depth picture that decides what hides what
DEPTH_TOLERANCE = 0.03  # head units by which a point may lie behind the drawn surface and still count as seen
FULL_WEIGHT = 1e-3  # from which on a texel that is filled in keeps its own colour


class UVAtlas(NamedTuple):
    """The UV map at one resolution: which point of the mesh each texel is."""

    fragments: Fragments  # one picture, of the mesh laid out flat
    region: Tensor  # [1, h, w] int64, `FaceChart.triangle_region`; -1 outside of all charts
    mirror_grid: Tensor  # [1, h, w, 2] where the texel's mirror image lies
    mask: Tensor  # [1, 1, h, w] float32, 1 on a chart


def uv_atlas(chart: FaceChart, size: int) -> UVAtlas:
    """The atlas of a face model's UV map, `size` texels square."""
    flat = F.pad(chart.uv, (0, 1))[None]  # [1, V + E, 3] all at one depth
    fragments = rasterize(flat, chart.triangles, size)
    mirror_uv = chart.uv[chart.mirror]  # [V + E, 2]
    mirror_grid = interpolate(mirror_uv, fragments, chart.triangles).permute(0, 2, 3, 1)
    region = chart.triangle_region[fragments.triangle.clamp(min=0)]
    return UVAtlas(fragments, region.where(fragments.mask, -1), mirror_grid, fragments.mask[:, None].float())


def layered(projected: Tensor, chart: FaceChart) -> Tensor:
    """Projected vertices [B, V + E, 3] with the patches pushed behind the skin, ready to rasterize."""
    depth = projected[..., 2].clone()
    depth[:, NUM_LANDMARKS:] -= BEHIND
    return torch.stack([projected[..., 0], projected[..., 1], depth], -1)


def vertex_facing(closed: Tensor, rotation: Tensor, chart: FaceChart) -> Tensor:
    """How squarely each vertex faces the viewer, 1 head-on and below 0 turned away.

    Args:
        closed: [B, V + E, 3] in head space.
        rotation: [B, 3, 3] head -> camera.

    Returns:
        [B, V + E]; the patches, which are flat or curl inward, take the head's own direction.
    """
    corner = chart.triangles.T.flatten()  # [3 F]
    a, b, c = closed[:, corner].unflatten(1, (3, -1)).unbind(1)
    normal = torch.linalg.cross(b - a, c - a)  # length is twice the area, so large triangles count more
    normal = normal * (chart.triangle_region == SKIN)[:, None]
    normals = torch.zeros_like(closed).index_add_(1, corner, normal.repeat(1, 3, 1))
    facing = (F.normalize(normals, dim=-1) @ rotation.transpose(1, 2))[..., 2]
    facing[:, NUM_LANDMARKS:] = rotation[:, 2, 2, None]
    return facing


def unproject(
    picture: Tensor,
    valid: Tensor,
    closed: Tensor,
    rotation: Tensor,
    openness: Tensor,
    atlas: UVAtlas,
    chart: FaceChart,
) -> tuple[Tensor, Tensor]:
    """Carry a crop to the UV map.

    Args:
        picture: [B, C, H, W] normalized crop.
        valid: [B, 1, H, W] in 0..1: pixels that exist and belong to the person.
        closed: [B, V + E, 3] the person's mesh in head space, as it is in this picture.
        rotation: [B, 3, 3] head -> camera.
        openness: [B, 4] from `FaceChart.openness`; a closed mouth shows no teeth.
        atlas: Of the resolution that is wanted.

    Returns:
        [B, C, h, w] colours (meaningless where unseen) and [B, 1, h, w] visibility in 0..1: zero where the picture does
        not show the texel, else how squarely the skin there faces the viewer.
    """
    positions = layered(project(closed, rotation), chart)
    drawn = rasterize(positions, chart.triangles, DEPTH_SIZE)
    surface = interpolate(positions[..., 2:], drawn, chart.triangles)  # [B, 1, D, D]
    surface = surface.masked_fill(~drawn.mask[:, None], -2 * BEHIND)

    batch = len(closed)
    flat = Fragments(*(t.expand(batch, *t.shape[1:]) for t in (atlas.fragments.triangle, atlas.fragments.barycentric)))
    facing = vertex_facing(closed, rotation, chart)
    texels = interpolate(torch.cat([positions, facing[..., None]], -1), flat, chart.triangles)  # [B, 4, h, w]
    grid = texels[:, :2].permute(0, 2, 3, 1)
    # The nearest depth, not a mixture of the two sides of an edge.
    hidden_by = F.grid_sample(surface, grid, mode="nearest", align_corners=False) - texels[:, 2:3]
    seen = (1 - (hidden_by - DEPTH_TOLERANCE) / DEPTH_TOLERANCE).clamp(0, 1) * texels[:, 3:].clamp(0, 1)
    open_region = torch.cat([openness, openness.new_zeros(batch, 1)], 1)[:, atlas.region[0]]  # last column: no chart
    seen = seen * open_region[:, None] * F.grid_sample(valid, grid, align_corners=False)
    return resample(picture, grid), seen


def mirror_texture(texture: Tensor, atlas: UVAtlas) -> Tensor:
    """The texture [B, C, h, w] of the mirrored face."""
    grid = atlas.mirror_grid.expand(len(texture), -1, -1, -1)
    return F.grid_sample(texture, grid, padding_mode="border", align_corners=False) * atlas.mask


def fill_unseen(colour: Tensor, weight: Tensor) -> Tensor:
    """Push-pull: texels without weight take the weighted average of the smallest neighbourhood that has some.

    Args:
        colour: [B, C, h, h].
        weight: [B, 1, h, h] not negative; from `FULL_WEIGHT` on a texel keeps its own colour.

    Returns:
        [B, C, h, h].
    """
    trust = (weight / FULL_WEIGHT).clamp(max=1)
    size = colour.shape[-1]
    if size == 1:
        return colour * trust
    mass, coarse = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (trust, colour * trust))
    coarse = coarse / mass.clamp(min=1e-6)
    coarse = fill_unseen(coarse, mass)  # in the pyramid any share of a texel counts
    coarse = F.interpolate(coarse, size=colour.shape[2:], mode="bilinear", align_corners=False)
    return colour * trust + coarse * (1 - trust)


def extend_border(x: Tensor, mask: Tensor, size: int) -> Tensor:
    """A map [B, C, H, H] of any size that goes on smoothly where the mask [B, 1, H, H] is 0, filled in at `size` pixels
    at most, a power of two.
    """
    small = min(size, 1 << (x.shape[-1].bit_length() - 1))  # a power of two too
    whole = F.interpolate(torch.cat([x * mask, mask], 1), size=(small, small), mode="area")
    coarse = fill_unseen(whole[:, :-1] / whole[:, -1:].clamp(min=1e-6), whole[:, -1:])
    return torch.where(mask > 0, x, resize(coarse, x.shape[-1]))
