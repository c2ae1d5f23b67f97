"""The one UV atlas of the head: islands of the source's seams, flattened anew with wanted texel densities, and packed.

Shapes: V vertices, F triangles, U texture coordinates of the source, C corners: texture coordinates of the atlas.

Every island is upright, and the atlas is its own mirror image where the mesh is: the vertex on the other side lies at
1 - u, exactly. Coordinates are multiples of 1 / GRID: whole numbers, so that a test of overlap is exact and 16 bits
store them. float16 does not: it moves a corner by up to an eighth of a texel at 512, and small triangles flip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import sparse
from scipy.integrate import cumulative_trapezoid
from scipy.signal import fftconvolve
from scipy.sparse.csgraph import connected_components

from ..errors import InvertAvatarError
from .flatten import double_areas, flatten, outline_edges, triangle_shapes

GRID = 65536
UP = np.array([0.0, 1.0, -0.25])  # up in the atlas: up on the head or, where a surface lies flat, backward
ROUND, BACK = 0.1, np.radians(100)  # a ball's radius varies by less; from this angle to its axis on is its back
HOPED_COVERAGE = 0.65  # only turns the gap in texels into a length before there is an atlas
FINEST_SCALE = 1.002  # the packing is known to be at most this factor too small

Place = tuple[float, int]  # column and row, texels


def build_atlas(
    vertices: np.ndarray,  # [V, 3]
    triangles: np.ndarray,  # [F, 3]
    source_uv: np.ndarray,  # [U, 2]
    source_triangles: np.ndarray,  # [F, 3]
    density: np.ndarray,  # [F]
    mirror: np.ndarray | None = None,  # [V]
    halved: np.ndarray | None = None,  # [F] bool
    size: int = 512,
    gap: float = 4.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Lays all triangles into one square, none over another.

    Seams are those of the source. Its layout is where flattening starts, so each island must be without flipped
    triangles and may not overlap itself; islands may overlap each other. Only eyeballs, closed and round pieces of the
    mesh, are laid out about their front axis (z) instead: rings about it are circles, and the seam is behind.

    Args:
        vertices: The mean head, x to the person's left, y up, z out of the face; any unit.
        triangles: Counter-clockwise seen from outside.
        source_uv: Texture coordinates of another layout, v up; islands may be turned or mirrored.
        source_triangles: Into `source_uv`.
        density: Texels per length that each triangle should have; only ratios matter.
        mirror: The vertex on the other side of the head.
        halved: Triangles whose islands are cut along the middle of the head. Islands on the middle line lie one below
            the other; halves lie wherever there is room at the sides, so all others can be larger.
        size: Side of the texture in texels for which the gap holds.
        gap: Least distance between islands in texels.

    Returns:
        uv: [C, 2] float64 in 0..1, v DOWN, multiples of 1 / GRID; u to the person's left.
        uv_triangles: [F, 3] int64 into `uv`, corner by corner as `triangles`.

    Raises:
        InvertAvatarError: The source's islands fold or overlap themselves, its seams are not symmetric though `mirror`
            is given, or triangles are too small for the grid.
    """
    # 1. A corner is a vertex on one side of a seam.
    balls = _unroll_balls(vertices, triangles, density)
    source_uv, source_triangles = np.array(source_uv, np.float64), source_triangles.copy()
    for faces, ball_triangles, ball_uv in balls:
        source_triangles[faces] = ball_triangles + len(source_uv)
        source_uv = np.concatenate([source_uv, ball_uv])
    finished = np.isin(np.arange(len(triangles)), [face for faces, *_ in balls for face in faces])
    side = np.sign(vertices[triangles, 0].sum(1)) * (False if halved is None else halved)
    side = np.repeat(side.astype(np.int64)[:, None], 3, axis=1)
    corners = np.stack([triangles, source_triangles, side], -1).reshape(-1, 3)
    corners, uv_triangles = np.unique(corners, axis=0, return_inverse=True)
    uv_triangles = uv_triangles.reshape(-1, 3)
    vertex, start = corners[:, 0], source_uv[corners[:, 1]]
    edges = np.concatenate([uv_triangles[:, :2], uv_triangles[:, 1:]])
    graph = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(len(corners),) * 2)
    island = connected_components(graph, directed=False)[1]  # [C]
    other = None if mirror is None else _mirrored_corners(vertex, uv_triangles, mirror)

    # 2. Each island is flattened, but eyeballs, which are unrolled as they shall be.
    shapes = triangle_shapes(vertices[triangles] * density[:, None, None])
    clearance = gap * np.sqrt(np.linalg.det(shapes).sum() / 2 / HOPED_COVERAGE) / size
    pieces = _flattened(shapes, uv_triangles, start, vertices[vertex], island, other, finished, clearance)

    # 3. All are packed at the largest scale at which they have a place.
    scale, places = _packed(pieces, size, gap)

    # 4. Whole numbers, and the exact test.
    whole = np.zeros((len(corners), 2), np.int64)
    for piece, place in zip(pieces, places, strict=True):
        inside, offset = (piece.layout - piece.origin) * scale, np.array(place)  # texels
        whole[piece.corners] = np.rint(inside * (GRID / size)) + np.rint(offset * (GRID / size))
        if piece.kind == "pair":
            whole[piece.partners] = whole[piece.corners] * [-1, 1] + [GRID, 0]
    _check(whole, uv_triangles)
    return whole / GRID, uv_triangles.astype(np.int64)


def overlapping_triangles(
    uv: np.ndarray,  # [C, 2] int64
    triangles: np.ndarray,  # [F, 3]
) -> np.ndarray:
    """Pairs of triangles that share more than an edge or a corner, exactly.

    Args:
        uv: Whole numbers up to 2^20, such as an atlas's times GRID.
        triangles: All of positive area in these numbers (`double_areas`), so those of an atlas, v down, turned round.

    Returns:
        [P, 2] int64, the smaller index first, in order.
    """
    corners = uv[triangles]  # [F, 3, 2]
    order = np.argsort(corners[..., 0].min(1), kind="stable")
    low, high = corners[order].min(1), corners[order].max(1)  # [F, 2]
    count = np.searchsorted(low[:, 0], high[:, 0]) - np.arange(len(order)) - 1  # that begin before this one ends
    first = np.repeat(np.arange(len(order)), count)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    near = (low[first, 1] < high[second, 1]) & (low[second, 1] < high[first, 1])
    pairs = np.sort(np.stack([order[first[near]], order[second[near]]], 1), 1)
    apart = np.zeros(len(pairs), bool)
    for one, another in (pairs.T, pairs[:, ::-1].T):
        # Two triangles are apart just when a side of one has the other wholly on its outside.
        start, end = corners[one], np.roll(corners[one], -1, axis=1)
        side, to = (end - start)[:, :, None], corners[another][:, None] - start[:, :, None]  # [P, sides, corners, 2]
        outside = side[..., 0] * to[..., 1] <= side[..., 1] * to[..., 0]
        apart |= np.any(np.all(outside, 2), 1)
    pairs = pairs[~apart]
    return pairs[np.lexsort(pairs.T[::-1])]


def texel_densities(
    vertices: np.ndarray,  # [V, 3]
    triangles: np.ndarray,  # [F, 3]
    uv: np.ndarray,  # [C, 2]
    uv_triangles: np.ndarray,  # [F, 3]
    size: int,
) -> np.ndarray:
    """[F, 2] texels per unit of length in a texture of `size`, along the most and the least stretched direction."""
    flat = uv[uv_triangles]
    edges = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], -1)  # [F, 2, 2]
    return size * np.linalg.svd(edges @ np.linalg.inv(triangle_shapes(vertices[triangles])), compute_uv=False)


@dataclass(frozen=True)
class _Piece:
    """A flattened island: alone, symmetric about the middle of the atlas, or the left one of a pair."""

    kind: str  # "single", "middle" or "pair"
    corners: np.ndarray  # [c] into the atlas's
    partners: np.ndarray | None  # [c] those at the mirrored places
    triangles: np.ndarray  # [f, 3] into `corners`
    layout: np.ndarray  # [c, 2] v down

    @property
    def area(self) -> float:
        return -double_areas(self.layout, self.triangles).sum() / 2

    @property
    def origin(self) -> np.ndarray:  # [2]
        """The point that is placed: the upper left one, or the middle of the upper edge."""
        return self.layout.min(0) * ([0, 1] if self.kind == "middle" else [1, 1])

    def drawn(self, scale: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
        """Which texels it covers, [h, w] bool, and those that others must not, wider by the gap at each side."""
        texels = (self.layout - self.origin) * scale
        half = int(np.ceil(np.abs(texels[:, 0]).max())) if self.kind == "middle" else 0
        width = 2 * half if half else int(np.ceil(texels[:, 0].max()))
        picture = np.zeros((int(np.ceil(texels[:, 1].max())), width), np.uint8)
        texels += [half, 0]
        column, row = np.minimum(texels, [width - 1, len(picture) - 1]).astype(int).T
        picture[row, column] = 1  # also of triangles too small to be drawn
        fixed_point = np.rint((texels - 0.5) * 256).astype(np.int32)  # pixel centres are whole numbers
        for corners in fixed_point[self.triangles]:
            cv2.fillConvexPoly(picture, corners, 1, shift=8)
        around = int(np.ceil(gap)) + 1
        wide = cv2.copyMakeBorder(picture, around, around, around, around, cv2.BORDER_CONSTANT)
        # A texel and a half more than the gap: both outlines may lie up to most of a texel outside their texels.
        distance = cv2.distanceTransform(1 - wide, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return picture.astype(bool), distance < gap + 1.5


def _flattened(
    shapes: np.ndarray,  # [F, 2, 2]
    uv_triangles: np.ndarray,  # [F, 3]
    start: np.ndarray,  # [C, 2]
    positions: np.ndarray,  # [C, 3]
    island: np.ndarray,  # [C]
    other: np.ndarray | None,  # [C]
    finished: np.ndarray,  # [F] bool
    clearance: float,
) -> list[_Piece]:
    """The pieces, largest first; of two islands that mirror each other, the one on the person's left."""
    pieces = []
    for k in range(island.max() + 1):
        own, faces = np.flatnonzero(island == k), np.flatnonzero(island[uv_triangles[:, 0]] == k)
        local = np.searchsorted(own, uv_triangles[faces])  # [f, 3] into `own`
        kind, partners, symmetry = "single", None, None
        if other is not None:
            partners, image = other[own], island[other[own[0]]]
            if k == image:
                kind, symmetry = "middle", np.searchsorted(own, partners)
            else:
                kind = "pair"
                if (positions[own, 0].sum(), k) < (positions[partners, 0].sum(), image):
                    continue
        layout = _upright(start[own], local, positions[own], symmetry)
        if not finished[faces[0]]:
            layout = flatten(shapes[faces], local, layout, symmetry, clearance)
            layout = _upright(layout, local, positions[own], symmetry)
        pieces.append(_Piece(kind, own, partners, local, layout * [1, -1]))
    return sorted(pieces, key=lambda piece: -piece.area)


def _unroll_balls(
    vertices: np.ndarray,  # [V, 3]
    triangles: np.ndarray,  # [F, 3]
    density: np.ndarray,  # [F]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Eyeballs laid out about the front axis (z): from the middle outward as dense as wanted there, the back apart.

    For each its triangles [f], their corners [f, 3] and where these lie, [c, 2] in lengths times density.
    """
    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    graph = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    part = connected_components(graph, directed=False)[1]
    balls = []
    for k in np.unique(part[triangles[:, 0]]):
        faces, own = np.flatnonzero(part[triangles[:, 0]] == k), np.flatnonzero(part == k)
        ray = vertices[own] - (vertices[own].max(0) + vertices[own].min(0)) / 2
        radius = np.linalg.norm(ray, axis=1)
        if len(outline_edges(triangles[faces])) or np.ptp(radius) > ROUND * radius.mean():
            continue
        angle = np.arccos((ray[:, 2] / radius).clip(-1, 1))
        direction = ray[:, :2] / np.hypot(ray[:, 0], ray[:, 1]).clip(1e-12)[:, None]
        local = np.searchsorted(own, triangles[faces])
        middle = angle[local].mean(1)
        order = np.argsort(middle, kind="stable")
        steps = np.linspace(0, np.pi, 257)
        wanted = np.interp(steps, middle[order], density[faces][order])
        arc = radius.mean() * cumulative_trapezoid(wanted, steps, initial=0)
        front = np.interp(angle, steps, arc)
        behind = (angle[local] > BACK - 1e-9).all(1)
        uv = np.concatenate([direction * front[:, None], direction * (arc[-1] - front)[:, None] * [-1, 1]])
        balls.append((faces, local + np.where(behind, len(own), 0)[:, None], uv))
    return balls


def _mirrored_corners(
    vertex: np.ndarray,  # [C]
    uv_triangles: np.ndarray,  # [F, 3]
    mirror: np.ndarray,  # [V]
) -> np.ndarray:
    """[C] the corner on the other side: that of the mirrored vertex in a mirrored triangle."""
    faces = vertex[uv_triangles]
    index = {tuple(face): k for k, face in enumerate(np.sort(faces, 1).tolist())}
    images = mirror[faces]  # [F, 3]
    other = np.full(len(vertex), -1)
    for k, face in enumerate(np.sort(images, 1).tolist()):
        image = index.get(tuple(face))
        if image is not None:  # where a quad on the middle line is split, its halves have no mirror image
            for corner, wanted in zip(uv_triangles[k], images[k], strict=True):
                other[corner] = uv_triangles[image][faces[image] == wanted][0]
    if (other < 0).any() or (other[other] != np.arange(len(other))).any():
        raise InvertAvatarError(
            "Triangles or texture seams are not symmetric; give those of a symmetric mesh, halve no triangles on the "
            "middle line, or give no mirror."
        )
    return other


def _upright(
    layout: np.ndarray,  # [c, 2]
    triangles: np.ndarray,  # [f, 3]
    positions: np.ndarray,  # [c, 3]
    symmetry: np.ndarray | None,  # [c]
) -> np.ndarray:
    """The layout turned so that UP is up, triangles counter-clockwise (v up), symmetric to u = 0 where it is to be."""
    layout = layout - layout.mean(0)
    if double_areas(layout, triangles).sum() < 0:
        layout = layout * [-1, 1]
    up = np.linalg.lstsq(layout, positions @ UP - (positions @ UP).mean(), rcond=None)[0]  # its slope in the layout
    if symmetry is not None:
        # The line between a vertex and its image is level; the slope tells only which way up.
        level = np.linalg.svd(layout - layout[symmetry])[2][0]
        up = np.array([-level[1], level[0]]) * (np.sign(level[0] * up[1] - level[1] * up[0]) or 1)
    u, v = up / np.linalg.norm(up)
    layout = layout @ np.array([[v, u], [-u, v]])
    return layout if symmetry is None else (layout + layout[symmetry] * [-1, 1]) / 2


def _packed(pieces: list[_Piece], size: int, gap: float) -> tuple[float, list[Place]]:
    """Scale (texels per unit of the layouts) and places, by bisection."""
    total = sum(piece.area * (2 if piece.kind == "pair" else 1) for piece in pieces)
    low, high, places = 0.0, size / np.sqrt(total), []
    least, edge = high / 100, int(np.ceil(gap / 2))
    empty = np.ones((size, size), bool)
    empty[edge:-edge, edge:-edge] = False  # the atlas's edge is not to be touched
    while high > FINEST_SCALE * low:
        scale = (low + high) / 2
        if scale < least:
            raise InvertAvatarError(
                f"{len(pieces)} islands with gaps of {gap} texels do not fit into {size} x {size}; allow a larger size."
            )
        found = _place([(piece.kind, piece.drawn(scale, gap)) for piece in pieces], empty)
        low, high, places = (low, scale, places) if found is None else (scale, high, found)
    return low, places


def _place(pieces: Sequence[tuple[str, tuple[np.ndarray, np.ndarray]]], taken: np.ndarray) -> list[Place] | None:
    """Places of all pieces, or None if they do not fit; each is tried at the top and at the bottom."""
    if not pieces:
        return []
    (kind, (mask, wide)), *remaining = pieces
    size, (height, width), around = len(taken), mask.shape, (len(wide) - len(mask)) // 2
    if height > size or width > size:
        return None
    if kind == "middle":
        left = (size - width) // 2
        strip = taken[:, left : left + width]
        free = [(row, left) for row in range(size - height + 1) if not (strip[row : row + height] & mask).any()]
        goals = [(0, left), (size, left)]
    else:
        fits = fftconvolve(taken.astype(np.float64), mask[::-1, ::-1].astype(np.float64), mode="valid") < 0.5
        if kind == "pair":
            fits[:, : size // 2 + around // 2 + 1] = False
        free = np.argwhere(fits)
        goals = [(size, size), (0, size)]
    if not len(free):
        return None
    for goal in goals:
        row, left = np.array(free)[np.abs(np.array(free) - goal).sum(1).argmin()].tolist()
        now = taken.copy()
        for view in (now, now[:, ::-1])[: 1 + (kind == "pair")]:
            top, first = max(row - around, 0), max(left - around, 0)
            window = view[top : row + height + around, first : left + width + around]
            window |= wide[top - row + around :, first - left + around :][: window.shape[0], : window.shape[1]]
        if (others := _place(remaining, now)) is not None:
            return [(size / 2 if kind == "middle" else left, row), *others]
    return None


def _check(whole: np.ndarray, triangles: np.ndarray) -> None:
    """Raises unless the atlas is bijective."""
    areas = -double_areas(whole, triangles)  # v points down
    if (areas <= 0).any():
        raise InvertAvatarError(
            f"Triangle {int(areas.argmin())} is too small for the atlas's grid; give it more density or a larger shape."
        )
    pairs = overlapping_triangles(whole, triangles[:, ::-1])
    if len(pairs):
        raise InvertAvatarError(
            f"Triangles {pairs[0, 0]} and {pairs[0, 1]} overlap in the atlas; cut the island that holds them."
        )
