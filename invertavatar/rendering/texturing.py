"""Colours for a mesh: charts that unwrap it, and a texture baked from rendered views of the avatar.

Shapes: V vertices, F triangles, M surface points, H W texture or picture.

The views look at the head from the front and from both sides. What none of them sees squarely, such as the back of the
head, no photo has shown either: there the surface takes the colours of its surroundings.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from ..camera import project
from .mesh import vertex_normals
from .rasterizer import interpolate, rasterize
from .uv import fill_unseen

CHART_MARGIN = 2  # texels around a chart
NORMAL_SMOOTHING = 20  # rounds of averaging before a triangle chooses the direction of its chart
DEPTH_TOLERANCE = 0.02  # head units by which a point may lie behind the drawn surface and still count as seen
FACING_POWER = 6  # how strongly the view that sees a place most squarely decides
SOLID_OPACITY = 0.9  # thinner pixels hold no colour of the surface
SEEN_WEIGHT = 0.05  # from which weight on a baked colour stands alone
SURROUNDINGS = 1e-3  # weight of a vertex' neighbours beside its own, barely seen, colour

# Yaw and pitch in degrees of the pictures that a texture is baked from, and how much each counts: what several of them
# show is sharpest from the front, where the photos were taken.
BAKING_ANGLES = ((0, 0, 1.0), (-45, 0, 0.3), (45, 0, 0.3), (-80, 0, 0.1), (80, 0, 0.1), (0, 40, 0.1), (0, -40, 0.1))
# Of the head model's mesh: what is seen from the side only takes the colours around it rather than stretched ones.
HEAD_BAKING_ANGLES = ((0, 0, 1.0), (-30, 0, 0.3), (30, 0, 0.3), (0, 30, 0.1), (0, -30, 0.1))


class BakingView(NamedTuple):
    """A rendered picture of the avatar whose mesh gets the colours."""

    colour: Tensor  # [1, 3, H, H] in -1..1, premultiplied by opacity
    opacity: Tensor  # [1, 1, H, H] in 0..1
    rotation: Tensor  # [1, 3, 3] head -> camera
    field_of_view: float
    weight: float  # how much it counts beside the others
    vertices: Tensor | None = None  # [V, 3] the mesh as it is in this picture, where that is not as it is painted
    vertex_weight: Tensor | None = None  # [V, 1] how much it counts for each place of the mesh; 1 everywhere for None


def paint(
    vertices: np.ndarray,
    triangles: np.ndarray,
    views: Sequence[BakingView],
    texture_size: int,
    layout: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour a mesh.

    Args:
        vertices: [V, 3] float32, head space.
        triangles: [F, 3] int64, counter-clockwise from outside.
        views: Of the avatar as it is in the mesh, or as the view says.
        texture_size: H = W, a power of two.
        layout: [F, 3, 2] where the corners lie in the texture, in -1..1 with v down; None unwraps the mesh.

    Returns:
        Vertex colours [V, 3] uint8, corner coordinates uv [F, 3, 2] float32 in 0..1 with v UP, texture [H, H, 3] uint8.
    """
    device = views[0].colour.device
    layout = unwrap(vertices, triangles, texture_size) if layout is None else layout.astype(np.float32)
    faces = torch.from_numpy(triangles).to(device)
    poses = [
        _posed(vertices if view.vertices is None else view.vertices.cpu().numpy(), triangles, view) for view in views
    ]
    surfaces = [_depth(view, pose[:, :3], faces) for view, pose in zip(views, poses, strict=True)]
    colour, weight = _bake(poses, views, surfaces)
    at_vertices = spread_colours(colour.cpu().numpy(), weight.cpu().numpy(), triangles)

    # Each corner is a vertex of its own in the texture; what it carries there is its vertex' own.
    flat = F.pad(torch.from_numpy(layout).to(device).reshape(1, -1, 2), (0, 1))
    drawn = rasterize(flat, torch.arange(faces.numel(), device=device).view(-1, 3), texture_size)
    covered = drawn.mask.flatten()

    def at_texels(carried):  # [V, C] -> [M, C]
        return interpolate(carried, drawn, faces)[0].flatten(1).T[covered]

    colour, weight = _bake([at_texels(pose) for pose in poses], views, surfaces)
    around = at_texels(torch.from_numpy(at_vertices).to(device))
    trust = (weight / SEEN_WEIGHT).clamp(max=1)
    texture = torch.zeros(texture_size**2, 3, device=device)
    texture[covered] = around + trust * (colour - around)
    texture = texture.T.unflatten(1, (texture_size, texture_size))[None]
    texture = fill_unseen(texture, drawn.mask[:, None].float())  # so that no seam shows through a coarser mip level
    uv = np.stack([layout[..., 0] + 1, 1 - layout[..., 1]], -1) / 2
    return to_bytes(at_vertices), uv.astype(np.float32), to_bytes(texture[0].permute(1, 2, 0).cpu().numpy())


def _posed(vertices: np.ndarray, triangles: np.ndarray, view: BakingView) -> Tensor:
    """[V, 7] position, normal and weight of each vertex in a view."""
    parts = [
        torch.from_numpy(x).float().to(view.colour.device) for x in (vertices, vertex_normals(vertices, triangles))
    ]
    return torch.cat(
        [*parts, torch.ones_like(parts[0][:, :1]) if view.vertex_weight is None else view.vertex_weight], 1
    )


def to_bytes(colour: np.ndarray) -> np.ndarray:
    """-1..1 -> uint8."""
    return ((colour + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


# Unwrapping


def unwrap(vertices: np.ndarray, triangles: np.ndarray, texture_size: int) -> np.ndarray:
    """Charts seen along the axes: each is a connected patch that faces one of +-x, +-y, +-z, at one common scale.

    Args:
        vertices: [V, 3].
        triangles: [F, 3].
        texture_size: In texels.

    Returns:
        Corner coordinates [F, 3, 2] float32 in -1..1, v down; charts do not touch.
    """
    corners = vertices[triangles].astype(np.float64)  # [F, 3, 3]
    side = chart_sides(vertices, triangles)  # [F] in 0..5
    chart = connected_charts(triangles, side)  # [F]
    right, up = np.array([2, 0, 0])[side // 2], np.array([1, 2, 1])[side // 2]  # so that faces stand upright
    flat = np.stack([np.take_along_axis(corners, a[:, None, None], 2)[..., 0] for a in (right, up)], -1)  # [F, 3, 2]
    flat[..., 1] *= -1

    low, high = np.full((chart.max() + 1, 2), np.inf), np.full((chart.max() + 1, 2), -np.inf)
    for k in range(3):
        np.minimum.at(low, chart, flat[:, k])
        np.maximum.at(high, chart, flat[:, k])
    place, texels_per_unit = pack(high - low, texture_size)
    texel = place[chart][:, None] + CHART_MARGIN + (flat - low[chart][:, None]) * texels_per_unit
    return (texel * (2 / texture_size) - 1).astype(np.float32)


def chart_sides(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The direction [F] from which each triangle is drawn: 2 * axis, and 1 more for its negative side.

    It is the main direction of the surroundings, which makes large charts; of the triangle itself where it faces away
    from that.
    """
    neighbours = _adjacency(triangles, len(vertices))
    neighbours = sparse.diags_array(1 / neighbours.sum(1).clip(min=1)) @ neighbours
    smooth = vertex_normals(vertices, triangles)
    for _ in range(NORMAL_SMOOTHING):
        smooth = neighbours @ smooth
    smooth = smooth[triangles].sum(1)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    own = np.cross(b - a, c - a)
    own /= np.linalg.norm(own, axis=1, keepdims=True).clip(1e-20)

    def main(direction):
        axis = np.abs(direction).argmax(1)
        return axis, np.take_along_axis(direction, axis[:, None], 1)[:, 0] < 0

    axis, negative = main(smooth)
    along = np.take_along_axis(own, axis[:, None], 1)[:, 0] * np.where(negative, -1, 1)
    own_axis, own_negative = main(own)
    axis, negative = np.where(along > 0.2, (axis, negative), (own_axis, own_negative))
    return 2 * axis + negative


def connected_charts(triangles: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Number of the chart [F] each triangle belongs to: those of one side that hang together by edges."""
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    face = np.repeat(np.arange(len(triangles)), 3)
    order = np.lexsort(edges.T)
    edges, face = edges[order], face[order]
    same = (edges[1:] == edges[:-1]).all(1) & (side[face[1:]] == side[face[:-1]])
    shape = (len(triangles),) * 2
    joined = sparse.coo_array((np.ones(same.sum()), (face[:-1][same], face[1:][same])), shape)
    return connected_components(joined, directed=False)[1]


def pack(sizes: np.ndarray, texture_size: int) -> tuple[np.ndarray, float]:
    """Places rectangles on shelves of a square at the largest scale at which they fit.

    Args:
        sizes: [K, 2] width and height.
        texture_size: Side of the square in texels.

    Returns:
        Upper left corners [K, 2] in texels, margins included, and texels per unit of `sizes`.
    """
    order = np.argsort(-sizes[:, 1])

    def shelves(scale):
        place = np.zeros_like(sizes)
        x = y = shelf = 0.0
        for k, (width, height) in zip(order, np.ceil(sizes[order] * scale) + 2 * CHART_MARGIN, strict=True):
            if x + width > texture_size:
                x, y, shelf = 0.0, y + shelf, 0.0
            place[k] = x, y
            x, shelf = x + width, max(shelf, height)
        return place, bool(y + shelf <= texture_size and (place[:, 0] + sizes[:, 0] * scale < texture_size).all())

    low, high = 0.0, texture_size / sizes.max()
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if shelves(middle)[1] else (low, middle)
    return shelves(low)[0], low


# Baking


def _depth(view: BakingView, points: Tensor, faces: Tensor) -> Tensor:
    """[1, 1, H, H] z of the mesh as the view sees it."""
    seen = project(points[None], view.rotation, view.field_of_view)
    drawn = rasterize(seen, faces, view.colour.shape[-1])
    return interpolate(seen[..., 2:], drawn, faces).masked_fill(~drawn.mask[:, None], -2.0)


def _bake(poses: Sequence[Tensor], views: Sequence[BakingView], surfaces: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What each view shows at surface points [M, 7] (position, normal, weight) as they are in it: colours [M, 3] in
    -1..1 and their weights [M, 1], 0 where unseen.
    """
    total = poses[0].new_zeros(len(poses[0]), 4)
    for pose, view, surface in zip(poses, views, surfaces, strict=True):
        points, normals, share = pose.split([3, 3, 1], 1)
        seen = project(points[None], view.rotation, view.field_of_view)
        grid = seen[:, None, :, :2]  # [1, 1, M, 2]

        def sampled(picture, mode, grid=grid):
            return F.grid_sample(picture, grid, mode=mode, align_corners=False)[0, :, 0].T  # [M, C]

        looked = sampled(torch.cat([view.colour, view.opacity], 1), "bilinear")
        facing = (F.normalize(normals, dim=-1) @ view.rotation[0, 2])[:, None].clamp(min=0)
        solid = ((looked[:, 3:] - SOLID_OPACITY) / (1 - SOLID_OPACITY)).clamp(0, 1)
        visible = sampled(surface, "nearest") - seen[0, :, 2:] < DEPTH_TOLERANCE
        weight = share * view.weight * facing**FACING_POWER * solid * visible
        total += torch.cat([looked[:, :3] / looked[:, 3:].clamp(min=1e-3), torch.ones_like(weight)], 1) * weight
    return total[:, :3] / total[:, 3:].clamp(min=1e-8), total[:, 3:]


def spread_colours(colour: np.ndarray, weight: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Harmonic colours over the mesh: what was seen stays, the rest blends between it.

    Args:
        colour: [V, 3].
        weight: [V, 1], not negative.
        triangles: [F, 3].

    Returns:
        [V, 3] float32.
    """
    unseen = weight[:, 0] < SEEN_WEIGHT
    neighbours = SURROUNDINGS * _adjacency(triangles, len(colour))[unseen]
    held = weight[unseen].astype(np.float64) + 1e-9  # where a whole mesh is unseen it keeps some colour
    system = sparse.diags_array(held[:, 0] + neighbours.sum(1)) - neighbours[:, unseen]
    symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    spread = colour.astype(np.float64)
    if unseen.any():
        known = held * spread[unseen] + neighbours[:, ~unseen] @ spread[~unseen]
        spread[unseen] = splu(system.tocsc(), **symmetric).solve(known)
    return spread.astype(np.float32)


def _adjacency(triangles: np.ndarray, count: int) -> sparse.csr_array:
    """[V, V] with 1 for each pair of vertices that share an edge."""
    pairs = triangles[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2)
    matrix = sparse.coo_array((np.ones(len(pairs)), pairs.T), (count, count)).tocsr()
    matrix.data[:] = 1
    return matrix
