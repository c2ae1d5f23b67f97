"""The last step of a baked head's shape: its outline laid onto that of the person in the photos.

Shapes: N photos, V vertices, F triangles, E edges, S side of a photo.

`displacement` says how hair and clothes stand off a head as far as a smooth field of a few control points can say it,
which is what frames from all sides want; the full renderer then takes its outline from the photos. A mesh has but its
own: here vertices at its rim, and all that lie beside the person, are moved onto the matte's edge, and the mesh between
follows as a sheet that resists bending.
"""

import cv2
import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import distance_transform_edt
from scipy.sparse.linalg import splu
from torch import Tensor

from ..head.head_model import HeadModel
from ..raster.rasterizer import Fragments, rasterize
from .texturing import adjacency

ROUNDS = 3
RIM = 0.03  # head units that a vertex may lie within the mesh's own outline and still be of its rim
SIDEWAYS = 0.6  # cosine to the line of sight below which it may be
FARTHEST = 0.25  # head units by which an outline is followed; farther off it is another thing
STIFFNESS = 4.0  # of the sheet beside what pulls at it
STILL = 0.05  # displacement's share below which a vertex is face or ear, and stays


def outlined(
    head_model: HeadModel, places: Tensor, facing: Tensor, rotation: Tensor, matte: Tensor, inside: Tensor
) -> Tensor:
    """How far vertices are moved, [V, 3] in head space.

    Args:
        head_model: The head model.
        places: [N, V, 3] right and down in -1..1, and depth, of the dressed head in each photo.
        facing: [N, V] cosine of the angle between a vertex' normal and the line of sight.
        rotation: [N, 3, 3] head -> camera.
        matte: [N, S, S] in 0..1, the person.
        inside: [N, S, S] in 0..1, where the photo has pixels.
    """
    triangles, moved = head_model.triangles.cpu(), np.zeros((places.shape[1], 3))
    free = (head_model.displacement.share > STILL).cpu().numpy()
    photos = [Outline(m, i) for m, i in zip(matte.cpu().numpy(), inside.cpu().numpy(), strict=True)]
    looks = list(zip(photos, *(x.cpu().double().numpy() for x in (places, facing, rotation)), strict=True))
    bending = stiffness(triangles.numpy().astype(np.int64), len(free))
    for _ in range(ROUNDS):
        pull, wanted = np.zeros(len(free)), np.zeros_like(moved)
        for photo, place, cosine, view_rotation in looks:
            seen = place + moved @ view_rotation.T * [1, -1, 1]
            drawn = rasterize(torch.from_numpy(seen).float()[None], triangles, photo.size)
            way, counts = photo.pull(seen[:, :2], cosine, drawn)
            wanted += (np.pad(way * [1, -1], [(0, 0), (0, 1)]) @ view_rotation + moved) * counts[:, None]
            pull += counts
        system = sparse.diags_array(pull + np.where(free, 1e-4, 1e3)) + STIFFNESS * bending
        moved = splu(system.tocsc()).solve(wanted)
    return torch.from_numpy(moved * free[:, None]).to(head_model.mean)


def stiffness(triangles: np.ndarray, count: int) -> sparse.csr_array:
    """[V, V] what bending costs: the square of the mesh's Laplacian."""
    beside = adjacency(triangles, count)
    mean = sparse.diags_array(1 / np.maximum(beside.sum(1), 1)) @ beside
    laplacian = sparse.eye_array(count) - mean
    return laplacian.T @ laplacian


class Outline:
    """The edge of a matte, and how far from it places lie."""

    def __init__(self, matte: np.ndarray, inside: np.ndarray):
        self.size = len(matte)
        self.person, self.known = matte > 0.5, inside > 0.5
        self.known = cv2.erode(self.known.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
        edge = self.person != (cv2.erode(self.person.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
        edge &= self.known
        self.any = edge.any()
        # scipy does not say what it returns: here and below an array.
        self.nearest = np.asarray(distance_transform_edt(~edge, return_distances=False, return_indices=True))

    def pull(self, places: np.ndarray, cosine: np.ndarray, drawn: Fragments) -> tuple[np.ndarray, np.ndarray]:
        """Where places [V, 2] ought to go, [V, 2] right and down, and how much that counts, [V]."""
        if not self.any:
            return np.zeros_like(places), np.zeros(len(places))
        pixel = ((places + 1) * (self.size / 2)).astype(int)
        within = ((pixel >= 0) & (pixel < self.size)).all(1)
        column, row = pixel.clip(0, self.size - 1).T
        target = np.stack([self.nearest[1][row, column], self.nearest[0][row, column]], 1)
        way = (target + 0.5) * (2 / self.size) - 1 - places
        depth = np.asarray(distance_transform_edt(np.pad(drawn.mask[0].numpy(), 1, mode="edge")))
        depth = depth[1:-1, 1:-1] * (2 / self.size)
        rim = (depth[row, column] < RIM) & (np.abs(cosine) < SIDEWAYS)
        outside = ~self.person[row, column]
        counts = (rim | outside) & within & self.known[row, column] & (np.linalg.norm(way, axis=1) < FARTHEST)
        return way, counts.astype(float)
