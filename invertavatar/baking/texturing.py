"""Colours for a mesh: a texture baked from rendered views of the avatar, in one even light.

Shapes: V vertices, F triangles, M surface points, H W texture or picture.

What no view sees squarely, such as the back of the head, no photo has shown either: there the surface takes colours
that are given to its vertices, or those of its surroundings.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from ..camera import project
from ..raster.mesh import vertex_normals
from ..raster.rasterizer import interpolate, rasterize
from ..rendering.uv import fill_unseen

BEHIND_SURFACE = 0.02  # head units by which a point may lie behind the drawn surface and still count as seen
FACING_POWER = 6  # how strongly the view that sees a place most squarely decides
SOLID_OPACITY = 0.9  # thinner pixels hold no colour of the surface
GRAZING = 0.5  # cosine to the line of sight from which on a place is seen as well as any
WELL_PLACED = 0.3  # weight of a view from which on the same holds of it
UNSEEN = 0.05  # of how well a vertex is seen, below which it takes the colours around it
SURROUNDINGS = 1e-3  # weight of a vertex' neighbours beside its own, barely seen, colour


class BakingView(NamedTuple):
    """A rendered picture of the avatar, perhaps in an expression that shows what is to be coloured."""

    colour: Tensor  # [1, 3, H, H] in -1..1, premultiplied by opacity
    opacity: Tensor  # [1, 1, H, H] in 0..1
    rotation: Tensor  # [1, 3, 3] head -> camera
    field_of_view: float
    weight: float  # how much it counts beside the others
    vertices: Tensor  # [V, 3] the mesh as it is in this picture, head space
    vertex_weight: Tensor  # [V, 1] how much it counts for each place of the mesh
    light: Tensor  # [3] logarithm of the light in it over the unit sphere of normals, in camera space
    most: float  # logarithm of the largest change by light


def even_light(light: Tensor) -> Tensor:
    """The logarithm of the light that a texture is in: the mean over all that faces the viewer; [..., 3] -> [...]."""
    return light[..., 2] * (2 / 3)


def paint(
    triangles: np.ndarray,
    views: Sequence[BakingView],
    texture_size: int,
    layout: np.ndarray,
    unseen: Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colour a mesh.

    Args:
        triangles: [F, 3] int64, counter-clockwise from outside.
        views: Of the avatar.
        texture_size: H = W, a power of two.
        layout: [F, 3, 2] where the corners lie in the texture, in -1..1 with v down.
        unseen: [V, 3] in -1..1, colours of vertices where no view shows them. Where they are NaN, and by default, it
            is the colours around them.

    Returns:
        [H, H, 3] uint8, and [H, H] float32 in 0..1 how well the views show each place.
    """
    device = views[0].colour.device
    faces = torch.from_numpy(triangles).to(device)
    poses = [_posed(triangles, view) for view in views]
    surfaces = [_depth(view, pose[:, :3], faces) for view, pose in zip(views, poses, strict=True)]
    baked, trusted = (x.cpu().numpy() for x in _bake(poses, views, surfaces))
    at_vertices = spread_colours(baked, trusted, triangles)
    at_vertices = torch.from_numpy(at_vertices).to(device)
    if unseen is not None:
        at_vertices = at_vertices.where(unseen.isnan(), unseen)

    # Each corner is a vertex of its own in the texture; what it carries there is its vertex' own.
    flat = F.pad(torch.from_numpy(layout).float().to(device).reshape(1, -1, 2), (0, 1))
    drawn = rasterize(flat, torch.arange(faces.numel(), device=device).view(-1, 3), texture_size)
    covered = drawn.mask.flatten()

    def at_texels(carried: Tensor) -> Tensor:  # [V, C] -> [M, C]
        return interpolate(carried, drawn, faces)[0].flatten(1).T[covered]

    colour, trust = _bake([at_texels(pose) for pose in poses], views, surfaces)
    around = at_texels(at_vertices)
    texture = torch.zeros(texture_size**2, 3, device=device)
    texture[covered] = around + trust * (colour - around)
    texture = texture.T.unflatten(1, (texture_size, texture_size))[None]
    texture = fill_unseen(texture, drawn.mask[:, None].float())  # so that no seam shows through a coarser mip level
    seen = torch.zeros(texture_size**2, device=device)
    seen[covered] = trust[:, 0]
    return to_bytes(texture[0].permute(1, 2, 0).cpu().numpy()), seen.view(texture_size, -1).cpu().numpy()


def _posed(triangles: np.ndarray, view: BakingView) -> Tensor:
    """[V, 7] position, normal and weight of each vertex in a view."""
    normals = torch.from_numpy(vertex_normals(view.vertices.cpu().numpy(), triangles))
    return torch.cat([view.vertices, normals.to(view.vertices), view.vertex_weight], 1)


def to_bytes(colour: np.ndarray) -> np.ndarray:
    """-1..1 -> uint8."""
    return ((colour + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def _depth(view: BakingView, points: Tensor, faces: Tensor) -> Tensor:
    """[1, 1, H, H] z of the mesh as the view sees it."""
    seen = project(points[None], view.rotation, view.field_of_view)
    drawn = rasterize(seen, faces, view.colour.shape[-1])
    return interpolate(seen[..., 2:], drawn, faces).masked_fill(~drawn.mask[:, None], -2.0)


def _bake(poses: Sequence[Tensor], views: Sequence[BakingView], surfaces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What the views show at surface points [M, 7] (position, normal, weight) as they are in each: colours [M, 3] in
    -1..1, and in 0..1 how well they are seen [M, 1].
    """
    total, seen = poses[0].new_zeros(len(poses[0]), 4), poses[0].new_zeros(len(poses[0]), 1)
    for pose, view, surface in zip(poses, views, surfaces, strict=True):
        points, normals, vertex_weight = pose.split([3, 3, 1], 1)
        place = project(points[None], view.rotation, view.field_of_view)
        grid = place[:, None, :, :2]  # [1, 1, M, 2]

        def sampled(picture: Tensor, mode: str, grid: Tensor = grid) -> Tensor:
            return F.grid_sample(picture, grid, mode=mode, align_corners=False)[0, :, 0].T  # [M, C]

        looked = sampled(torch.cat([view.colour, view.opacity], 1), "bilinear")
        normals = F.normalize(normals, dim=-1) @ view.rotation[0].T  # in camera space
        facing, shade = normals[:, 2:].clamp(min=0), (normals @ view.light)[:, None] - even_light(view.light)
        solid = ((looked[:, 3:] - SOLID_OPACITY) / (1 - SOLID_OPACITY)).clamp(0, 1)
        visible = sampled(surface, "nearest") - place[0, :, 2:] < BEHIND_SURFACE
        weight_seen = vertex_weight * solid * visible
        weight = weight_seen * view.weight * facing**FACING_POWER
        seen = torch.maximum(seen, weight_seen * (view.weight / WELL_PLACED * (facing / GRAZING) ** 2).clamp(max=1))
        colour = (looked[:, :3] / looked[:, 3:].clamp(min=1e-3) + 1) * (-shade.clamp(-view.most, view.most)).exp() - 1
        total += torch.cat([colour.clamp(-1, 1), torch.ones_like(weight)], 1) * weight
    return total[:, :3] / total[:, 3:].clamp(min=1e-20), seen


def spread_colours(colour: np.ndarray, weight: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Harmonic colours over the mesh: what was seen stays, the rest blends between it.

    Args:
        colour: [V, 3].
        weight: [V, 1], not negative.
        triangles: [F, 3].

    Returns:
        [V, 3] float32.
    """
    unseen = weight[:, 0] < UNSEEN
    neighbours = SURROUNDINGS * adjacency(triangles, len(colour))[unseen]
    held = weight[unseen].astype(np.float64) + 1e-9  # where a whole mesh is unseen it keeps some colour
    system = sparse.diags_array(held[:, 0] + neighbours.sum(1)) - neighbours[:, unseen]
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    spread = colour.astype(np.float64)
    if unseen.any():
        known = held * spread[unseen] + neighbours[:, ~unseen] @ spread[~unseen]
        spread[unseen] = splu(system.tocsc(), **symmetric).solve(known)
    return spread.astype(np.float32)


def adjacency(triangles: np.ndarray, count: int) -> sparse.csr_array:
    """[V, V] with 1 for each pair of vertices that share an edge."""
    pairs = triangles[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2)
    matrix = sparse.coo_array((np.ones(len(pairs)), pairs.T), (count, count)).tocsr()
    matrix.data[:] = 1
    return matrix
