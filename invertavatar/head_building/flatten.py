"""Flattens one island of a mesh: as little stretched as it can be, nowhere folded, never over itself.

Shapes: V vertices of the island, F triangles, E edges of its outline, D free numbers.

Minimised is the symmetric Dirichlet energy |J|^2 + |J^-1|^2 of the maps J from triangles to their places in the plane,
by projected Newton steps (eigenvalues: Smith et al., "Analytic Eigensystems for Isotropic Distortion Energies", 2019).
It is infinite for a triangle without area, so the line search keeps a layout that starts without flipped triangles free
of them. A barrier between parts of the outline keeps it from running into itself (Smith and Schaefer, "Bijective
Parameterization with Free Boundaries", 2015).
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ..errors import InvertAvatarError

STEPS, ENOUGH = 200, 1e-7  # Newton steps at most; they end where one promises less than this part of the energy
BARRIER = 1e-4  # weight of the barrier beside a mean energy of 4
LOCAL = 3.0  # the barrier reaches a clearance far, but never farther than the way along the outline divided by this
# What the singular values of J may do (stretch one way, the other), and what turning and shearing change.
MODES = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, -1], [1, 0]], [[0, 1], [1, 0]]])
MODES = MODES / np.linalg.norm(MODES, axis=(1, 2), keepdims=True)  # [4, 2, 2]


def flatten(
    shapes: np.ndarray,  # [F, 2, 2]
    triangles: np.ndarray,  # [F, 3]
    start: np.ndarray,  # [V, 2]
    mirror: np.ndarray | None,  # [V]
    clearance: float,
) -> np.ndarray:
    """Lays out an island that has one side of its own.

    Args:
        shapes: What each triangle should look like, from `triangle_shapes`.
        triangles: Counter-clockwise in `start`.
        start: A layout without flipped triangles that does not overlap itself, symmetric to u = 0 if `mirror` is given.
        mirror: The vertex at the mirrored place; the result keeps it there exactly.
        clearance: How far parts of the outline that are no neighbours keep from each other, where shapes allow.

    Returns:
        [V, 2] in the unit of `shapes`, v up, with its centre where the start has it.

    Raises:
        InvertAvatarError: The start has flipped triangles or overlaps itself.
    """
    area = np.linalg.det(shapes) / 2
    island = _Island(shapes, triangles, area / area.sum(), _Outline(triangles, shapes, clearance))
    x = start * np.sqrt(2 * area.sum() / abs(double_areas(start, triangles).sum()))  # [V, 2]
    free = _free_numbers(len(x), mirror)  # [2V, D]
    energy = island.energy(x)
    if not np.isfinite(energy):
        raise InvertAvatarError(
            f"An island of {len(triangles)} triangles folds or overlaps itself in its texture coordinates; give others."
        )
    for _ in range(STEPS):
        gradient, hessian = island.derivatives(x)
        gradient, hessian = free.T @ gradient, (free.T @ hessian @ free).tocsc()
        # The layout may slide as a whole; the ridge takes that freedom away.
        hessian += sparse.identity(hessian.shape[0], format="csc") * (1e-9 * hessian.diagonal().mean())
        solver = splu(hessian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        reduced = -solver.solve(gradient)
        promised, step = gradient @ reduced, (free @ reduced).reshape(-1, 2)
        if -promised < ENOUGH * energy:
            break
        length = min(1.0, 0.9 * _first_flip(x, step, triangles))
        while (tried := island.energy(x + length * step)) > energy + 1e-4 * length * promised:
            length /= 2
            if length < 1e-9:  # as good as numbers get
                return x
        x, energy = x + length * step, tried
    return x


def triangle_shapes(corners: np.ndarray) -> np.ndarray:
    """Triangles in space laid into the plane.

    Args:
        corners: [F, 3, 3], counter-clockwise seen from outside.

    Returns:
        [F, 2, 2]: columns are the first two edges from the first corner, the first along u; positive determinant.

    Raises:
        InvertAvatarError: A triangle has no area.
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(first, axis=1)
    double = np.linalg.norm(np.cross(first, second), axis=1)
    if not (double > 0).all():
        raise InvertAvatarError(f"Triangle {int(np.argmin(double))} has no area; take it out of the mesh.")
    along = (first * second).sum(1) / length
    return np.stack([np.stack([length, along], 1), np.stack([np.zeros_like(length), double / length], 1)], 1)


def outline_edges(triangles: np.ndarray) -> np.ndarray:
    """[E, 2] the edges that belong to one triangle only, directed as in it."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, first, count = np.unique(np.sort(edges, 1), axis=0, return_index=True, return_counts=True)
    return edges[np.sort(first[count == 1])]


def double_areas(x: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[F] twice the areas of triangles in the plane [V, 2], positive if counter-clockwise; exact for whole numbers."""
    a, b, c = x[triangles].transpose(1, 0, 2)
    return _cross(b - a, c - a)


class _Island:
    """The energy of a layout and its derivatives."""

    def __init__(self, shapes: np.ndarray, triangles: np.ndarray, weight: np.ndarray, outline: "_Outline"):
        inverse = np.linalg.inv(shapes)
        # J = corners^T @ slopes
        self.slopes = np.stack([-inverse.sum(1), inverse[:, 0], inverse[:, 1]], 1)  # [F, 3, 2]
        self.triangles, self.weight, self.outline = triangles, weight, outline

    def jacobians(self, x: np.ndarray) -> np.ndarray:
        return x[self.triangles].transpose(0, 2, 1) @ self.slopes  # [F, 2, 2]

    def energy(self, x: np.ndarray) -> float:
        jacobian = self.jacobians(x)
        area = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        if not (area > 0).all() or self.outline.crosses_itself(x):
            return np.inf
        square = (jacobian**2).sum((1, 2))
        return (self.weight * (square + square / area**2)).sum() + self.outline.barrier(x)

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, sparse.csr_array]:
        """Gradient [2V] and positive semidefinite Hessian [2V, 2V], of u0, v0, u1, v1..."""
        left, stretch, right = np.linalg.svd(self.jacobians(x))
        turned = np.linalg.det(left)[:, None]  # of both, as J has a positive determinant
        left[:, :, 1] *= turned
        right[:, 1] *= turned
        s, t = stretch.T
        slope = 2 * stretch - 2 / stretch**3  # [F, 2]
        shear = 2 + 2 * (s * s + s * t + t * t) / (s * t) ** 3
        twist = np.maximum(slope.sum(1) / (s + t), 0)  # negative where a turn would help: left out, to stay convex
        curvature = self.weight[:, None] * np.stack([2 + 6 / s**4, 2 + 6 / t**4, twist, shear], 1)  # [F, 4]
        modes = left[:, None] @ MODES @ right[:, None]  # [F, 4, 2, 2]
        modes = (self.slopes[:, None] @ modes.transpose(0, 1, 3, 2)).reshape(len(s), 4, 6)  # in the corners' numbers
        hessians = (modes * curvature[..., None]).transpose(0, 2, 1) @ modes  # [F, 6, 6]
        forces = self.slopes @ ((left * slope[:, None]) @ right).transpose(0, 2, 1)  # [F, 3, 2]
        forces = (self.weight[:, None, None] * forces).reshape(-1, 6)
        corners, barrier_forces, barrier_hessians = self.outline.derivatives(x)
        corners = np.concatenate([self.triangles, corners])
        forces, hessians = np.concatenate([forces, barrier_forces]), np.concatenate([hessians, barrier_hessians])
        numbers = (corners[..., None] * 2 + [0, 1]).reshape(-1, 6)
        gradient = np.bincount(numbers.ravel(), forces.ravel(), 2 * len(x))
        rows, columns = np.repeat(numbers, 6, 1).ravel(), np.tile(numbers, 6).ravel()
        return gradient, sparse.coo_array((hessians.ravel(), (rows, columns)), shape=(2 * len(x),) * 2).tocsr()


class _Outline:
    """The barrier BARRIER * (radius / distance - 1)^2 between each vertex and each edge of the outline in reach."""

    def __init__(self, triangles: np.ndarray, shapes: np.ndarray, clearance: float):
        self.triangles, self.edges = triangles, outline_edges(triangles)
        self.vertices = self.edges[:, 0]  # each once: every loop runs through a vertex once
        place = {vertex: k for k, vertex in enumerate(self.vertices.tolist())}
        if len(place) < len(self.vertices):
            raise InvertAvatarError(
                f"The outline of an island of {len(triangles)} triangles touches itself in a vertex; split that vertex."
            )
        first, second = shapes[:, :, 0], shapes[:, :, 1]
        lengths = {}
        for (a, b, c), *sides in zip(triangles.tolist(), first, second - first, second, strict=True):
            lengths.update(zip(((a, b), (b, c), (c, a)), (np.hypot(*side) for side in sides), strict=True))
        loop, at, total = np.full(len(place), -1), np.zeros(len(place)), []
        for seed in range(len(place)):
            k, distance = seed, 0.0
            while loop[k] < 0:
                loop[k], at[k] = len(total), distance
                distance += lengths[tuple(self.edges[k].tolist())]
                k = place[int(self.edges[k, 1])]
            if distance:
                total.append(distance)
        after = np.array([place[int(b)] for b in self.edges[:, 1]])
        along = np.abs(at[:, None] - at[None])
        along = np.minimum(along, np.array(total)[loop][:, None] - along)
        along[loop[:, None] != loop[None]] = np.inf
        self.radius = np.minimum(np.minimum(along, along[:, after]) / LOCAL, clearance)  # [vertices, edges]

    def crosses_itself(self, x: np.ndarray) -> bool:
        a, b = x[self.edges[:, 0]], x[self.edges[:, 1]]
        side_a, side_b = _cross(b - a, a[:, None] - a), _cross(b - a, b[:, None] - a)  # [other edge, edge]
        splits = side_a * side_b < 0
        if (splits & splits.T).any():
            return True
        # Neighbouring edges pass each other without crossing: then the triangles at their vertex fill more than a turn.
        corners = x[self.triangles]
        a, b = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
        angle = np.bincount(self.triangles.ravel(), np.arctan2(_cross(a, b), (a * b).sum(-1)).ravel(), len(x))
        return bool((angle[self.vertices] >= 2 * np.pi).any())

    def barrier(self, x: np.ndarray) -> float:
        *_, ratio = self._near(x)
        return BARRIER * ((ratio - 1) ** 2).sum()

    def derivatives(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners [P, 3], forces [P, 6] and convex Hessians [P, 6, 6] of the P pairs that are near each other."""
        vertex, edge, away, along, distance, ratio = self._near(x)
        slope = np.stack([np.ones_like(along), along - 1, -along], 1)  # of the distance's change
        change = (slope[..., None] * away[:, None]).reshape(-1, 6)
        force = -2 * BARRIER * (ratio - 1) * ratio / distance
        curvature = 2 * BARRIER * ratio * (3 * ratio - 2) / distance**2
        corners = np.concatenate([self.vertices[vertex][:, None], self.edges[edge]], 1)
        return corners, force[:, None] * change, curvature[:, None, None] * change[:, :, None] * change[:, None]

    def _near(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """Vertex and edge of each near pair; direction [P, 2], place on the edge, distance, and radius / distance."""
        point, a, b = x[self.vertices], x[self.edges[:, 0]], x[self.edges[:, 1]]
        side, to_point = b - a, point[:, None] - a
        along = ((to_point * side).sum(-1) / (side**2).sum(-1)).clip(0, 1)
        apart = to_point - along[..., None] * side
        distance = np.hypot(apart[..., 0], apart[..., 1])
        vertex, edge = pair = np.nonzero(distance < self.radius)
        distance = np.maximum(distance[pair], 1e-9 * self.radius[pair])
        return vertex, edge, apart[pair] / distance[:, None], along[pair], distance, self.radius[pair] / distance


def _free_numbers(count: int, mirror: np.ndarray | None) -> sparse.csr_array:
    """[2V, D]: the layouts that are symmetric to u = 0, or all of them."""
    if mirror is None:
        return sparse.csr_array(sparse.identity(2 * count))
    own = np.arange(count)
    first, middle = own[own < mirror], own[own == mirror]
    other, pairs = mirror[first], np.arange(len(first))
    rows = np.concatenate([2 * first, 2 * other, 2 * first + 1, 2 * other + 1, 2 * middle + 1])
    across, up, fixed = pairs, pairs + len(pairs), 2 * len(pairs) + np.arange(len(middle))
    columns = np.concatenate([across, across, up, up, fixed])
    values = np.repeat([1.0, -1.0, 1.0], [len(first), len(first), len(rows) - 2 * len(first)])
    return sparse.csr_array((values, (rows, columns)), shape=(2 * count, 2 * len(pairs) + len(middle)))


def _first_flip(x: np.ndarray, step: np.ndarray, triangles: np.ndarray) -> float:
    """The smallest step length at which a triangle loses its area, a root of a quadratic."""
    corners, moves = x[triangles], step[triangles]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    da, db = moves[:, 1] - moves[:, 0], moves[:, 2] - moves[:, 0]
    constant, linear, square = _cross(a, b), _cross(a, db) + _cross(da, b), _cross(da, db)
    discriminant = linear**2 - 4 * square * constant
    with np.errstate(divide="ignore", invalid="ignore"):
        q = -(linear + np.where(linear < 0, -1, 1) * np.sqrt(discriminant)) / 2
        roots = np.stack([constant / q, q / square])
    return np.min(roots, initial=np.inf, where=(discriminant >= 0) & (roots > 0))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # [..., 2] each -> [...]
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
