"""The face alone, as the networks know it: a closed mesh over the landmarks, with a UV map of its own (paper 3.1).

Shapes: B batch, L 478 landmarks, E vertices that close the mesh, F triangles.

The chart rides on the head model's landmarks. How it is made stands in `landmark_topology` and in
`head_building.chart_building`.
"""

import torch
from torch import Tensor, nn

from .landmark_topology import LEFT_EYE_PATCH, LID_GAPS, LIP_GAP, MOUTH, RIGHT_EYE_PATCH, SKIN
from .pose import NUM_LANDMARKS

HEIGHT_SIZE = 128  # of `head_height`


class FaceChart(nn.Module):
    """Triangles over landmarks and over the vertices that close eyes and mouth.

    Args:
        added_vertices: E.
        num_triangles: F.
        open_mouth: Gap between the lips in head units at which the patch behind it counts as fully seen.
        open_eye: The same of lids.
    """

    head_height: Tensor  # [1, 1, h, h] z of a whole mean head over the frontal plane, y down
    triangles: Tensor  # [F, 3] int64
    triangle_region: Tensor  # [F] int64
    uv: Tensor  # [L + E, 2] in [-1, 1], v down
    mirror: Tensor  # [L + E] int64
    live: Tensor  # [E, L]
    rest: Tensor  # [E, L]
    offset: Tensor  # [E, 3]

    def __init__(self, added_vertices: int, num_triangles: int, open_mouth: float, open_eye: float):
        super().__init__()
        self.open_mouth, self.open_eye = open_mouth, open_eye
        vertices = NUM_LANDMARKS + added_vertices

        def buffer(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

        buffer("head_height", 1, 1, HEIGHT_SIZE, HEIGHT_SIZE)
        buffer("triangles", num_triangles, 3, dtype=torch.int64)
        buffer("triangle_region", num_triangles, dtype=torch.int64)
        buffer("uv", vertices, 2)
        buffer("mirror", vertices, dtype=torch.int64)
        buffer("live", added_vertices, NUM_LANDMARKS)
        buffer("rest", added_vertices, NUM_LANDMARKS)
        buffer("offset", added_vertices, 3)

    def closed_vertices(self, landmarks: Tensor, neutral: Tensor) -> Tensor:
        """Add eyeballs and teeth: [B, L, 3] and the neutral ones [B, L, 3] or [L, 3] -> [B, L + E, 3]."""
        added = self.live @ landmarks + self.rest @ neutral + self.offset
        return torch.cat([landmarks, added], 1)

    def openness(self, landmarks: Tensor) -> Tensor:
        """How much of each region of `triangle_region` shows: [B, L, 3] -> [B, 4] in 0..1. Skin always shows."""

        def gap(pair: tuple[int, int], full: float) -> Tensor:
            return ((landmarks[:, pair[0]] - landmarks[:, pair[1]]).norm(dim=-1) / full).clamp(0, 1)

        columns = {
            SKIN: landmarks.new_ones(len(landmarks)),
            MOUTH: gap(LIP_GAP, self.open_mouth),
            RIGHT_EYE_PATCH: gap(LID_GAPS[0], self.open_eye),
            LEFT_EYE_PATCH: gap(LID_GAPS[1], self.open_eye),
        }
        return torch.stack([columns[region] for region in sorted(columns)], 1)
