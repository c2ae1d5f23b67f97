"""Triangle meshes as arrays.

Shapes: V vertices, N of them as files count them, F triangles.
"""

import numpy as np


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] float32; larger triangles count more. Along z where no triangle has an area."""
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))  # areas of small triangles are tiny
    normals = np.zeros(vertices.shape)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1), (0, 0, 1)).astype(np.float32)


def split_at_seams(triangles: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What files need that give a vertex one place in the texture: a vertex of its own for each place it has.

    Args:
        triangles: [F, 3].
        uv: [F, 3, 2] float32, of the corners of each triangle.

    Returns:
        Which vertex each of the N split ones was [N], in the order of the old ones; its place [N, 2]; triangles [F, 3].
    """
    corner, places = triangles.ravel(), np.ascontiguousarray(uv.reshape(-1, 2))
    pairs = np.column_stack([corner, places.view(np.int32)])
    _, first, index = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return corner[first], places[first], index.reshape(-1, 3)
