"""Full-resolution detail: the fine band of the observed colours, looked up once for each output pixel (DESIGN 5.5).

Shapes: B batch, H W output picture, h w rendered size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import project, rays
from ..face.topology import SKIN
from ..head.face_chart import FaceChart
from .frontal_views import sampled
from .head_shape import behind_share, soften
from .rasterizer import interpolate, rasterize
from .resize import looked_up
from .rest_pose import to_rest
from .uv import layered, vertex_facing
from .volume_renderer import Rendering

TORN = 5.0  # a pixel that covers so much of the canonical plane lies on two surfaces, one behind the other


class Surface(NamedTuple):
    """What the photos show of the surface behind each pixel."""

    colour: Tensor  # [B, 3, H, W] in -1..1
    # [B, 1, H, W] in 0..1 how far its fine structure can be trusted: where a surface that the photos saw edge-on turns
    # toward the viewer, it would smear, and behind the head they saw nothing.
    trust: Tensor
    seen: Tensor  # [B, 1, H, W] in 0..1: skin of the face that a photo shows about as well as it shows any


def surface_colour(
    texture: Tensor,
    views: Tensor,
    shown: Tensor,
    closed: Tensor,
    rendering: Rendering,
    rotation: Tensor,
    chart: FaceChart,
    size: int,
    field_of_view: float = 0.0,
    zoom: float = 1.0,
    turn: Tensor | None = None,
    posture: Tensor | None = None,
) -> Surface:
    """The observed colour of the surface behind each output pixel.

    On the face it comes through the UV map of the driven mesh, drawn in this very view; elsewhere through the frontal
    plane at the point where the rendered depth puts the surface.

    Args:
        texture: [B, 4, R, R] from `observation.detail_texture`, or of a batch of 1 for all frames; less than twice as
            fine as the frames.
        views: [B, K, 5, R, R] the photos in the frontal plane, likewise.
        shown: [B, K] how much each of them counts.
        closed: [B, V + E, 3] the driven mesh.
        rendering: Of the same frames.
        rotation: [B, 3, 3] head -> camera.
        size: H = W.
        turn: See `VolumeRenderer.forward`, as is `posture`.
    """
    batch, small = len(closed), rendering.depth.shape[-1]
    depth = (rendering.depth / rendering.opacity.clamp(min=0.05)).flatten(2).transpose(1, 2)
    origin, direction = rays(rotation, small, field_of_view, zoom)  # [B, h w, 3]
    points = to_rest(origin + depth * direction, turn, posture)
    grid = torch.stack([points[..., 0], -points[..., 1]], 1).unflatten(-1, (small, small))  # [B, 2, h, w]
    in_front = 1 - behind_share(points[..., 2:]).transpose(1, 2).unflatten(-1, (small, small))
    spread = stretching(grid) * zoom**2 * in_front
    grid, spread = (F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False) for x in (grid, spread))
    elsewhere = sampled(views, grid.permute(0, 2, 3, 1), shown)

    positions = layered(project(closed, rotation, field_of_view, zoom), chart)
    drawn = rasterize(positions, chart.triangles, size)
    facing = vertex_facing(closed, rotation, chart)[..., None]
    attributes = torch.cat([chart.uv.expand(batch, -1, -1), facing], -1)
    attributes = interpolate(attributes, drawn, chart.triangles)  # [B, 3, H, W]
    grid = attributes[:, :2].permute(0, 2, 3, 1)
    texture = texture.expand(batch, -1, -1, -1)
    face = looked_up(texture[:, :3], grid)
    seen = F.grid_sample(texture[:, 3:], grid, padding_mode="border", align_corners=False)
    skin = (chart.triangle_region[drawn.triangle.clamp(min=0)] == SKIN)[:, None]
    share = soften(drawn.mask[:, None].float()) * (attributes[:, 2:] * 4).clamp(0, 1)  # grazing skin smears
    return Surface(
        colour=elsewhere + share * (face - elsewhere),
        trust=share + (1 - share) * ((spread - 0.3) * 3).clamp(0, 1),
        seen=share * skin * (seen * 4).clamp(0, 1),
    )


def stretching(grid: Tensor) -> Tensor:
    """How much of the canonical plane a pixel covers, 1 seen from the front: grid [B, 2, h, w] -> [B, 1, h, w].

    No more than 1, and 0 where it lies on two surfaces, the nearer of which ends there.
    """
    padded = F.pad(grid, (1, 1, 1, 1), mode="replicate") * (grid.shape[-1] / 4)  # two pixels are 4 / w
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    area = (right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0])[:, None]
    area = torch.minimum(area, TORN - area).clamp(0, 1)
    return F.avg_pool2d(F.pad(area, (1, 1, 1, 1), mode="replicate"), 3, 1)


def fine_band(colour: Tensor, weight: Tensor, coarse_size: int) -> Tensor:
    """What a picture of `coarse_size` pixels cannot carry of colours.

    Args:
        colour: [B, 3, H, W]; what it holds where the weight is 0 does not matter.
        weight: [B, 1, H, W] in 0..1, such as the opacity of the head.
        coarse_size: Pixels.

    Returns:
        [B, 3, H, W], premultiplied by the weight.
    """
    weighted = torch.cat([colour * weight, weight], 1)
    low = F.interpolate(weighted, size=(coarse_size, coarse_size), mode="area")
    low = F.interpolate(low, size=colour.shape[-2:], mode="bilinear", align_corners=False)
    return (colour - low[:, :3] / low[:, 3:].clamp(min=1e-3)) * weight
