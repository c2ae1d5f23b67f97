"""The linear face model that takes FaceVerse's place in the paper (Sec. 3.1; DESIGN 4).

Shapes: B batch, V 478 landmarks, E vertices that close the mesh, F triangles, K coefficients.
"""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ..half_precision import Float32Island, Network
from .arkit import ARKIT_NAMES
from .topology import LEFT_EYE_PATCH, LID_GAPS, LIP_GAP, MOUTH, RIGHT_EYE_PATCH, SKIN

# A lip gap or lid gap, in head units, at which the patch behind it counts as fully seen.
OPEN_MOUTH, OPEN_EYE = 0.08, 0.05
LEFTOVER_PRIOR = 2.0  # photos' worth of belief that a person has no shape beyond the identity axes


class FaceModel(Float32Island, Network):
    """vertices = neutral + expression @ 52 ARKit axes + residual @ residual axes, in head space.

    The neutral face of a person is found once over all their photos: the identity axes explain most of it, the residual
    axes the part of the leftover that persists from photo to photo. All arrays are buffers, learned by
    `scripts/learn_face_model.py`, and stay float32 whatever the pipeline's dtype: half precision moves vertices by
    pixels.

    Args:
        identity_axes: Number of identity axes.
        residual_axes: Region ("eyes", "lip", "other") -> number of residual axes, in the order of the basis.
        added_vertices: E, the vertices that close eyes and mouth.
        num_triangles: F.
    """

    @register_to_config
    def __init__(
        self,
        identity_axes: int = 64,
        residual_axes: dict[str, int] | None = None,
        added_vertices: int = 95,
        num_triangles: int = 980,
    ):
        super().__init__()
        residuals = sum((residual_axes or {}).values())
        vertices = 478 + added_vertices

        def buffer(name, *shape, dtype=torch.float32):
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

        buffer("mean", 478, 3)
        buffer("head_height", 1, 1, 128, 128)  # z of a whole mean head over the frontal plane, y down
        buffer("identity_basis", identity_axes, 478, 3)
        buffer("identity_std", identity_axes)
        buffer("expression_basis", len(ARKIT_NAMES), 478, 3)
        buffer("residual_basis", residuals, 478, 3)
        buffer("residual_std", residuals)
        buffer("triangles", num_triangles, 3, dtype=torch.int64)
        buffer("triangle_region", num_triangles, dtype=torch.int64)
        buffer("uv", vertices, 2)
        buffer("mirror", vertices, dtype=torch.int64)
        buffer("live", added_vertices, 478)
        buffer("rest", added_vertices, 478)
        buffer("offset", added_vertices, 3)

    @property
    def residual_region(self) -> tuple[str, ...]:
        """The region of each residual axis."""
        axes = self.config.residual_axes or {}
        return tuple(region for region, count in axes.items() for _ in range(count))

    def at_rest(self, vertices: Tensor, expression: Tensor) -> Tensor:
        """Landmarks with the expression taken off: [B, V, 3] and [B, 52] -> [B, V, 3]."""
        return vertices - torch.einsum("bk,kvc->bvc", expression, self.expression_basis)

    def neutral(self, rest_sum: Tensor, count: int) -> Tensor:
        """A person's neutral face from the sum of `at_rest` over their photos.

        The sum is all that is kept of the photos, so adding one more never needs the others again.

        Args:
            rest_sum: [V, 3].
            count: Number of photos in the sum.

        Returns:
            [V, 3]: mean + identity + the share of the leftover that so many photos make believable.
        """
        shape = (rest_sum / count - self.mean).flatten()
        identity = self.identity_basis.flatten(1)  # [K, 3V] orthonormal
        explained = (identity @ shape) @ identity
        leftover = self._solve_residual((shape - explained)[None])[0] * (count / (count + LEFTOVER_PRIOR))
        return self.mean + (explained + leftover @ self.residual_basis.flatten(1)).unflatten(0, (-1, 3))

    def residual(self, vertices: Tensor, neutral: Tensor, expression: Tensor) -> Tensor:
        """What the 52 axes leave of a face: [B, V, 3], [V, 3] or [B, V, 3], [B, 52] -> [B, K]."""
        return self._solve_residual((self.at_rest(vertices, expression) - neutral).flatten(1))

    def _solve_residual(self, left: Tensor) -> Tensor:
        """Least squares on axes of neighbouring regions, which overlap, with each axis held to its usual size."""
        basis = self.residual_basis.flatten(1)  # [K, 3V]
        if not len(basis):
            return left.new_zeros(len(left), 0)
        noise = 0.002  # head units; the tracker's own
        gram = basis @ basis.T + torch.diag((noise / self.residual_std.clamp(min=1e-6)) ** 2)
        return torch.linalg.solve(gram, basis @ left.T).T

    def forward(self, neutral: Tensor, expression: Tensor, residual: Tensor | None = None) -> Tensor:
        """Drive a face.

        Args:
            neutral: [V, 3] or [B, V, 3] in head space.
            expression: [B, 52] ARKit scores in the order of `ARKIT_NAMES`.
            residual: [B, K] or None.

        Returns:
            [B, V, 3] landmarks in head space.
        """
        vertices = neutral + torch.einsum("bk,kvc->bvc", expression, self.expression_basis)
        if residual is not None and residual.shape[-1]:
            vertices = vertices + torch.einsum("bk,kvc->bvc", residual, self.residual_basis)
        return vertices

    def close(self, vertices: Tensor, neutral: Tensor) -> Tensor:
        """Add eyeballs and teeth: [B, V, 3] and the neutral face [B, V, 3] or [V, 3] -> [B, V + E, 3]."""
        added = self.live @ vertices + self.rest @ neutral + self.offset
        return torch.cat([vertices, added], 1)

    def openness(self, vertices: Tensor) -> Tensor:
        """How much of each region of `triangle_region` shows: [B, V, 3] -> [B, 4] in 0..1. Skin always shows."""

        def gap(pair, full):
            return ((vertices[:, pair[0]] - vertices[:, pair[1]]).norm(dim=-1) / full).clamp(0, 1)

        columns = {
            SKIN: vertices.new_ones(len(vertices)),
            MOUTH: gap(LIP_GAP, OPEN_MOUTH),
            RIGHT_EYE_PATCH: gap(LID_GAPS[0], OPEN_EYE),
            LEFT_EYE_PATCH: gap(LID_GAPS[1], OPEN_EYE),
        }
        return torch.stack([columns[region] for region in sorted(columns)], 1)
