"""The lower end of a mesh: shoulders that end in a smooth curve, closed below.

Shapes: N places along the edge, K new vertices.

The head model is open where the shoulders end, in the zigzag of its triangles. From there a wall goes down to a level
plane, drawing in as a sculptor's bust does, and a lid in the colour of the clothes closes it.
"""

import numpy as np

from .rigged_mesh import RiggedMesh, extended

BELOW = 0.08  # head units from the lowest place of the edge to the plane
DRAWN_IN = 0.75  # size of the curve in that plane beside that of the edge
RINGS = 6  # of the wall
HARMONICS = 3  # of the edge's outline that the curve keeps


def with_bust(mesh: RiggedMesh) -> RiggedMesh:
    """The mesh with its lowest opening closed."""
    edge = lowest_edge(mesh.vertices, mesh.triangles)
    places = mesh.vertices[edge].astype(np.float64)
    curve = np.fft.rfft(places, axis=0)
    curve[HARMONICS + 1 :] = 0
    curve = np.fft.irfft(curve, len(edge), axis=0)
    middle = curve.mean(0)
    bottom = middle + DRAWN_IN * (curve - middle)
    bottom[:, 1] = middle[1] = places[:, 1].min() - BELOW
    # Outline and height each go their own way: first down, then inwards.
    down = np.linspace(0, 1, RINGS + 1)[1:, None, None]
    inward = 1 - np.sqrt(1 - down**2)
    smooth = np.minimum(1, 2 * down)  # the zigzag is gone halfway
    along = places + smooth * (curve - places)
    rings = along + inward * (bottom - curve)
    rings[..., 1] = (places + down * (bottom - places))[..., 1]
    vertices = np.concatenate([rings.reshape(-1, 3), bottom, middle[None]])  # the lid has an edge of its own

    count, first = len(edge), len(mesh.vertices)
    this, following = np.arange(count), np.roll(np.arange(count), -1)
    levels = np.vstack([edge, first + np.arange(RINGS * count).reshape(RINGS, count)])
    upper, lower = levels[:-1], levels[1:]
    quads = [upper[:, following], upper[:, this], lower[:, this], lower[:, following]]
    wall = np.concatenate(
        [np.stack([quads[k] for k in corners], -1).reshape(-1, 3) for corners in ((0, 1, 2), (0, 2, 3))]
    )
    rim = first + RINGS * count
    lid = np.stack([rim + following, rim + this, np.full(count, rim + count)], 1)

    # The wall goes on in the colours of the edge, the lid has that of most of it.
    ends = places_of_sides(mesh, edge)  # of this place and the following, as a seam may go through it
    colours = np.concatenate([np.tile(ends[:, corners], (RINGS, 1)) for corners in ((1, 0, 0), (1, 0, 1))])
    plain = np.full(lid.shape, ends[commonest(mesh, ends[:, 0]), 0])
    sources = np.concatenate([np.tile(edge, RINGS + 1), edge[:1]])
    return extended(mesh, sources, vertices, np.concatenate([wall, lid]), np.concatenate([colours, plain]))


def lowest_edge(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[N] the vertices around the lowest opening of a mesh, in the order in which its triangles go along it."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    code, reverse = sides @ (len(vertices), 1), sides @ (1, len(vertices))
    following = dict(sides[~np.isin(code, reverse)].tolist())
    edge = [min(following, key=lambda vertex: vertices[vertex, 1])]
    while following[edge[-1]] != edge[0]:
        edge.append(following[edge[-1]])
    return np.array(edge)


def places_of_sides(mesh: RiggedMesh, edge: np.ndarray) -> np.ndarray:
    """[N, 2] the places in the texture of both ends of each side of an edge."""
    order = np.array([[0, 1], [1, 2], [2, 0]])
    sides, places = (x[:, order].reshape(-1, 2).tolist() for x in (mesh.triangles, mesh.uv_triangles))
    place_of = dict(zip(map(tuple, sides), places, strict=True))
    return np.array([place_of[side] for side in zip(edge.tolist(), np.roll(edge, -1).tolist(), strict=True)])


def commonest(mesh: RiggedMesh, places: np.ndarray) -> int:
    """Which of some places in the texture has the colour nearest to their median."""
    height, width = mesh.texture.shape[:2]
    u, v = mesh.uv[places].T
    column, row = (u * width).astype(int).clip(max=width - 1), ((1 - v) * height).astype(int).clip(max=height - 1)
    colours = mesh.texture[row, column, :3].astype(float)
    return int(np.abs(colours - np.median(colours, 0)).sum(1).argmin())
