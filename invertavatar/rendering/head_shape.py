"""The frontal views of the head that the planes are aligned with: the driven face window and the head's height field.

Shapes: B batch, C channels, H W picture, h w window or plane, V landmarks, E vertices that close the mesh.

The window is the part |x|, |y| < `window` of the frontal (x, y) plane; heights are z in head space.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import pixel_centres
from ..face.topology import SKIN
from ..head.face_chart import FaceChart
from .rasterizer import interpolate, rasterize
from .resize import looked_up, resize
from .rest_pose import PIVOT, displacement, row_rotations, smoothstep
from .uv import layered

EAR_PLANE = -0.15  # z of the widest section of the head
BACK_OF_HEAD = 0.5  # how far the head reaches behind that plane where it is thickest
BEHIND = (-0.3, -0.5)  # z between which it is no longer what shows from the front
NECK = 0.4  # share of that which is left at the neck
NAPE, OCCIPUT = -0.45, 0.05  # heights between which the back of the head recedes to it
SOFTENED_SIZE = 128  # finer masks are softened, and finer planes moved, at this size
SILHOUETTE_SLOPE = 24.0  # logit of the silhouette from matte 0 to matte 1
SILHOUETTE_BIAS = 3.3  # the logit at which a head's thickness lets half of the light through: matte one half
ROUNDING = 0.5  # head units from the silhouette within which the head curves back to the ear plane


class FaceWindow(NamedTuple):
    """The driven mesh seen from the front, orthographically."""

    grid: Tensor  # [B, h, w, 2] UV of each pixel; meaningless outside of `mask`
    mask: Tensor  # [B, 1, h, w] 1 where the mesh was drawn
    patch: Tensor  # [B, 1, h, w] 1 on eyeballs and mouth interior
    soft: Tensor  # [B, 1, h, w] in 0..1: how much the window replaces the static plane; little at the mesh's edge
    height: Tensor  # [B, 1, h, w] z of the mesh, 0 outside


def face_window(closed: Tensor, chart: FaceChart, window: float, size: int) -> FaceWindow:
    """Rasterize the driven mesh into the frontal window (paper 3.1: textures rasterized into tri-plane space).

    Args:
        closed: [B, V + E, 3] in head space.
        window: Half the side of the window in head units.
        size: h = w.
    """
    front = torch.stack([closed[..., 0] / window, -closed[..., 1] / window, closed[..., 2]], -1)
    positions = layered(front, chart)
    fragments = rasterize(positions, chart.triangles, size)
    uv = chart.uv.expand(len(closed), -1, -1)
    drawn = interpolate(torch.cat([uv, closed[..., 2:]], -1), fragments, chart.triangles)  # [B, 3, h, w]
    mask = fragments.mask[:, None].float()
    region = chart.triangle_region[fragments.triangle.clamp(min=0)][:, None]
    return FaceWindow(
        grid=drawn[:, :2].permute(0, 2, 3, 1),
        mask=mask,
        patch=(region != SKIN).float() * mask,
        soft=soften(mask),
        height=drawn[:, 2:],
    )


def soften(mask: Tensor) -> Tensor:
    """A mask [B, 1, h, h] that falls to zero inside its own border, over about 4 pixels of 128."""
    size = mask.shape[-1]
    small = resize(mask, min(size, SOFTENED_SIZE))
    reach = 2 * round(2 * small.shape[-1] / SOFTENED_SIZE) + 1
    inner = -F.max_pool2d(F.pad(-small, [reach // 2] * 4), reach, 1)
    for _ in range(2):  # two box filters are close to a triangle
        inner = _box(inner, reach)
    return (resize(inner, size) * mask).clamp(0, 1)


def driven_heights(template: Tensor, face: FaceWindow, window: float, height: Tensor | None = None) -> Tensor:
    """The head's height field with the driven face laid into it.

    Args:
        template: [1, 1, H, W] heights of the whole head, `FaceChart.head_height`.
        face: The driven face.
        window: Half the side of the window.
        height: [B, 1, h, w] instead of `face.height`, where a network has refined it.

    Returns:
        [B, 1, H, W].
    """
    height = face.height if height is None else height
    right, up = pixel_centres(template.shape[-1], template.device)
    grid = (torch.stack([right, -up], -1) / window).expand(len(face.mask), -1, -1, -1)
    laid = F.grid_sample(torch.cat([height * face.soft, face.soft], 1), grid, align_corners=False)
    return template * (1 - laid[:, 1:]) + laid[:, :1]


def silhouette_logit(matte: Tensor) -> Tensor:
    """The logit of belonging to the head, for a matte in 0..1 of the head seen from the front."""
    return (matte - 0.5) * SILHOUETTE_SLOPE - SILHOUETTE_BIAS


def inflate(silhouette: Tensor) -> Tensor:
    """How round the head stands off the ear plane, from its frontal silhouette.

    Args:
        silhouette: [B, 1, H, H] logit of belonging to the head.

    Returns:
        [B, 1, H, H] in 0..1: 0 at the silhouette's edge, 1 deep inside, a quarter circle between.
    """
    reach = round(ROUNDING * silhouette.shape[-1] / 4) * 2 + 1  # pixels
    near = silhouette.sigmoid()
    for _ in range(2):  # two box filters are close to a Gaussian; at a straight edge they give one half
        near = _box(near, reach)
    # At a straight edge 2 - 2 near is already the square of the way that is left to the inside.
    return (1 - (2 - 2 * near).clamp(0, 1)).clamp(min=1e-4).sqrt()


def _box(x: Tensor, reach: int) -> Tensor:
    """The mean of [B, C, H, W] over `reach` by `reach` pixels, zero beyond the border: rows first, then columns."""
    half = reach // 2
    x = F.avg_pool2d(x, (1, reach), 1, (0, half))
    return F.avg_pool2d(x, (reach, 1), 1, (half, 0))


def head_solid(
    front: Tensor, face: FaceWindow, roundness: Tensor, window: float, relief: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Front and back of the head: outside of the face the front curves back to the ear plane toward the silhouette.

    Args:
        front: [B, 1, H, W] `driven_heights`.
        face: The driven face, whose heights stay as they are.
        roundness: [B, 1, H, W] from `inflate`.
        window: Half the side of the face window.
        relief: [B, 1, H, W] how far the front stands before that shape, outside of the face.

    Returns:
        Two of [B, 1, H, W]: z of the front and of the back.
    """
    right, up = pixel_centres(front.shape[-1], front.device)
    grid = (torch.stack([right, -up], -1) / window).expand(len(front), -1, -1, -1)
    share = F.grid_sample(face.soft, grid, align_corners=False)
    rounded = torch.minimum(front, EAR_PLANE + roundness * (front - EAR_PLANE).clamp(min=0.3))
    if relief is not None:
        rounded = rounded + relief
    front = share * front + (1 - share) * rounded
    reach = NECK + (1 - NECK) * ((up - NAPE) / (OCCIPUT - NAPE)).clamp(0, 1)
    back = torch.minimum(EAR_PLANE - BACK_OF_HEAD * reach * roundness, front - 0.1)
    return front, back


def behind_share(depth: Tensor) -> Tensor:
    """How far points at z `depth` of the rest pose belong to the back of the head, in 0..1."""
    near, far = BEHIND
    return smoothstep((near - depth) / (near - far))


def canonicalize(
    picture: Tensor, matte: Tensor, heights: Tensor, rotation: Tensor, posture: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Resample a crop into the frontal plane through a height field, so that a turned head becomes pixel-aligned.

    The body is taken to face the viewer, whichever way the head is turned.

    Args:
        picture: [B, C, H, W] normalized crop: colours, and masks from the fourth channel on.
        matte: [B, 1, H, W] in 0..1.
        heights: [B, 1, h, w] of the head in this picture.
        rotation: [B, 3, 3] head -> camera.
        posture: [B, 12] of the person in this picture, see `rest_pose`; None for the average one.

    Returns:
        [B, C, h, w] colours, [B, 1, h, w] matte (0 outside of the crop) and [B, 1, h, w] how squarely the height field
        faces the viewer there, in 0..1 and 0 outside of the crop.
    """
    size = heights.shape[-1]
    right, up = pixel_centres(size, heights.device)
    right, up = right.expand_as(heights[:, 0]), up.expand_as(heights[:, 0])
    points = torch.stack([x - p for x, p in zip((right, up, heights[:, 0]), PIVOT, strict=True)], -1)  # [B, h, w, 3]
    if posture is not None:
        coarse = min(size, SOFTENED_SIZE)  # as it is smooth
        place = torch.stack(pixel_centres(coarse, heights.device), -1).view(1, -1, 2)
        moved = displacement(place, posture).mT.unflatten(-1, (coarse, coarse))
        points = points + F.pad(resize(moved, size).permute(0, 2, 3, 1), (0, 1))
    turns = rotation[:, None] @ row_rotations(up[0, :, 0], rotation)  # [B, h, 3, 3] rest pose -> camera
    pivot = sum(rotation[:, :, k] * PIVOT[k] for k in range(3))  # [B, 3] in camera space
    seen = torch.einsum("bhij,bhwj->bhwi", turns, points) + pivot[:, None, None]
    grid = torch.stack([seen[..., 0], -seen[..., 1]], -1)
    padded = F.pad(heights, (1, 1, 1, 1), mode="replicate")
    slope_right = (padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]) * (size / 4)  # two pixels are 4 / size units
    slope_up = (padded[:, 0, :-2, 1:-1] - padded[:, 0, 2:, 1:-1]) * (size / 4)
    normal = F.normalize(torch.stack([-slope_right, -slope_up, torch.ones_like(slope_up)], -1), dim=-1)
    facing = torch.einsum("bhj,bhwj->bhw", turns[:, :, 2], normal).clamp(0, 1)[:, None]
    inside = (grid.abs().amax(-1) <= 1).float()[:, None]
    colour = looked_up(picture[:, :3], grid)
    if picture.shape[1] > 3:
        masks = F.grid_sample(picture[:, 3:], grid, padding_mode="border", align_corners=False)
        colour = torch.cat([colour, masks], 1)
    return colour, F.grid_sample(matte, grid, align_corners=False) * inside, facing * inside
