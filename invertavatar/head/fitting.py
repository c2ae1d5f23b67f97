"""How the head model becomes a person's head: from tracked landmarks, or from identity coefficients.

Shapes: B batch, N photos, V vertices, L 478 landmarks, K identity axes, J joints.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import angles_from_rotation
from .arkit import ARKIT_NAMES
from .eyeballs import NUM_SURFACE_LANDMARKS, Eyeballs
from .neck import NECK_CHAIN
from .pose import NUM_LANDMARKS
from .topology import JOINT_NAMES as JOINTS

# Upper and lower lid, landmark by landmark from the inner to the outer corner.
LID_PAIRS = {
    "Right": ((173, 155), (157, 154), (158, 153), (159, 145), (160, 144), (161, 163), (246, 7)),
    "Left": ((398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249)),
}


class HeadShape(NamedTuple):
    """A person's head without expression."""

    vertices: Tensor  # [V, 3] head space
    joints: Tensor  # [J, 3]
    blink: Tensor  # [2, V, 3] what closes this person's left and right lids, beyond the model's own axis
    landmarks: Tensor  # [L, 3] as far as photos make them believable: where the chart of the face is


class Fitting(Eyeballs):
    """Landmarks in, a `HeadShape` out; for a head model with the buffers that `HeadModel` describes."""

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's landmarks on the mesh: [..., V, 3] -> [..., L, 3]."""
        return (vertices[..., self.landmark_vertex, :] * self.landmark_weight[..., None]).sum(-2)

    def unbiased(self, landmarks: Tensor, rotation: Tensor) -> Tensor:
        """Tracked landmarks without what the tracker adds when a head is turned, the same for all people.

        Args:
            landmarks: [B, L, 3] in head space.
            rotation: [B, 3, 3] head -> camera, as tracked with them.
        """
        return landmarks - self.bias(rotation)

    def bias(self, rotation: Tensor) -> Tensor:
        """What the tracker adds to the landmarks of a head turned by [B, 3, 3]: [B, L, 3]."""
        yaw, pitch, _ = angles_from_rotation(rotation).unbind(-1)
        return torch.einsum("bk,klc->blc", self.bias_terms(yaw, pitch), self.tracker_bias)

    def bias_terms(self, yaw: Tensor, pitch: Tensor) -> Tensor:
        """[B] degrees each -> [B, 7] the terms that the tracker's bias is made of."""
        return bias_terms(yaw, pitch, self.config.bias_reach)

    def without_expression(self, landmarks: Tensor, expression: Tensor) -> Tensor:
        """Landmarks with the expression taken off: [B, L, 3] and scores [B, 52] -> [B, L, 3]."""
        return landmarks - self.moved_landmarks(expression)

    def moved_landmarks(self, expression: Tensor) -> Tensor:
        """How far an expression moves the landmarks: scores [B, 52] -> [B, L, 3]."""
        moved = self.landmarks(torch.einsum("bk,kvc->bvc", capped(expression), self.expression_basis))
        rotation = self.eye_rotations(self.gaze_of(expression))  # [B, 2, 3, 3]
        iris = self.landmarks(self.mean)[NUM_SURFACE_LANDMARKS:].unflatten(0, (2, -1)).flip(0)  # left, right
        iris = iris - self.eye_centres(self.mean[None])[0, :, None]
        turned = (iris @ rotation.mT - iris).flip(1).flatten(1, 2)  # [B, 10, 3]
        return torch.cat([moved[:, :NUM_SURFACE_LANDMARKS], turned], 1)

    def residual(self, landmarks: Tensor, neutral: Tensor, expression: Tensor) -> Tensor:
        """What the 52 axes leave of a face: [B, L, 3], neutral landmarks [L, 3] or [B, L, 3], [B, 52] -> [B, K].

        Least squares on axes of neighbouring regions, which overlap, with each axis held to its usual size.
        """
        basis = self.residual_basis.flatten(1)  # [K, 3L]
        left = (self.without_expression(landmarks, expression) - neutral).flatten(1)
        if not len(basis):
            return left.new_zeros(len(left), 0)
        gram = basis @ basis.T + torch.diag((self.config.residual_noise / self.residual_std.clamp(min=1e-6)) ** 2)
        return torch.linalg.solve(gram, basis @ left.T).T

    def shape(self, neutral_sum: Tensor, count: int, crown: float | Tensor = 1.0) -> HeadShape:
        """A person's neutral head from the sum of `without_expression` over their photos, all that is kept of them.

        Args:
            neutral_sum: [L, 3].
            count: Number of photos in the sum.
            crown: From `crown_height`; the least over the photos.

        Returns:
            Identity as far as the axes explain it, then warped toward the landmarks as far as so many photos make it
            believable (`neutral_prior`).
        """
        neutral = neutral_sum / count
        vertices, joints = self.identity(neutral)
        own = (neutral - self.landmarks(vertices)) * self._believed(count)  # [L, 3]
        landmarks = self.landmarks(vertices) + own
        return self._finished(vertices + self.warp(own[None])[0], joints, landmarks, crown)

    def neutral_landmarks(self, neutral_sums: Tensor, counts: Tensor) -> Tensor:
        """`HeadShape.landmarks` alone, of several sums at once: [N, L, 3] over [N] photos -> [N, L, 3]."""
        neutral = neutral_sums / counts[:, None, None]
        basis = self.landmarks(self.identity_basis)
        explained = torch.einsum("nk,klc->nlc", self._coefficients(neutral, basis), basis) + self.landmarks(self.mean)
        return explained + (neutral - explained) * self._believed(counts)[:, None, None]

    def _believed(self, count: int | Tensor) -> Any:
        return count / (count + self.config.neutral_prior)

    def person(self, coefficients: Tensor) -> HeadShape:
        """The head of identity coefficients [K], whose usual size is `identity_std`."""
        vertices, joints = self._of_axes(coefficients)
        return self._finished(vertices, joints, self.landmarks(vertices), 1.0)

    def _finished(self, vertices: Tensor, joints: Tensor, landmarks: Tensor, crown: float | Tensor) -> HeadShape:
        """With the skull at its height, eye joints in the eyeballs, and lids that lie on them and close."""
        left, right = self.eye_centres(vertices[None])[0]
        order = {"eyeLeft": left, "eyeRight": right}
        joints = torch.stack([order.get(name, joint) for name, joint in zip(JOINTS, joints, strict=True)])
        bending = joints.new_tensor([[name in NECK_CHAIN] for name in JOINTS])
        joints = joints + F.pad(bending * self.config.neck_forward, (2, 0))
        forehead = self.landmarks(vertices)[10, 1]
        lowered = (vertices[:, 1] - forehead).clamp(min=0) * self.crown_weight * (crown - 1)
        vertices = torch.stack([vertices[:, 0], vertices[:, 1] + lowered, vertices[:, 2]], -1)
        vertices = self.outside_of_eyeballs(vertices[None])[0]
        return HeadShape(vertices, joints, self.blink_correction(vertices), landmarks)

    def with_skull(self, vertices: Tensor, like: Tensor) -> Tensor:
        """Heads [B, N, V, 3] whose skulls reach as far above the forehead as those of other heads of the same people,
        [B, V, 3] or [V, 3].
        """
        like, skull = like.expand(len(vertices), -1, -1)[:, None], self.crown_weight > 0.9
        forehead = self.landmarks(like[:, 0])[:, None, 10:11, 1]
        above, wanted = ((x[..., 1] - forehead).clamp(min=0) for x in (vertices, like))
        own = above[..., skull]
        scale = (own * wanted[..., skull]).sum(-1, keepdim=True) / own.square().sum(-1, keepdim=True)
        raised = above * self.crown_weight * (scale - 1)
        return torch.stack([vertices[..., 0], vertices[..., 1] + raised, vertices[..., 2]], -1)

    def identity(self, neutral: Tensor) -> tuple[Tensor, Tensor]:
        """The head [V, 3] and its joints [J, 3] that the identity axes make of neutral landmarks [L, 3]."""
        return self._of_axes(self._coefficients(neutral[None], self.landmarks(self.identity_basis))[0])

    def _coefficients(self, neutral: Tensor, basis: Tensor) -> Tensor:
        """Of neutral landmarks [N, L, 3] on the axes at landmarks [K, L, 3]: [N, K]."""
        weight = neutral.new_ones(NUM_LANDMARKS, 3)
        weight[:, 2] = self.config.depth_trust
        weight[NUM_SURFACE_LANDMARKS:] = 0
        weighted = (basis * weight).flatten(1)  # [K, 3L]
        off = ((neutral - self.landmarks(self.mean)) * weight).flatten(1)
        gram = weighted @ weighted.T + torch.diag((self.config.identity_noise / self.identity_std) ** 2)
        return torch.linalg.solve(gram, weighted @ off.T).T

    def _of_axes(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        vertices = self.mean + torch.einsum("k,kvc->vc", coefficients, self.identity_basis)
        return vertices, self.joint_mean + torch.einsum("k,kjc->jc", coefficients, self.joint_basis)

    def warp(self, displacement: Tensor) -> Tensor:
        """Carry displacements of the landmarks to the whole mesh, smoothly and fading away from the face.

        Args:
            displacement: [B, L, 3]; those of the irises do not count.

        Returns:
            [B, V, 3] whose landmarks are displaced as asked.
        """
        wanted = displacement[:, :NUM_SURFACE_LANDMARKS]
        carried: Any = 0.0
        for _ in range(2):  # the inverse is stored in half precision; the second round mends its rounding
            carried = carried + self._spread(self.warp_inverse @ wanted)
            wanted = displacement[:, :NUM_SURFACE_LANDMARKS] - self.landmarks(carried)[:, :NUM_SURFACE_LANDMARKS]
        return carried

    def _spread(self, displacement: Tensor) -> Tensor:
        flat = displacement.transpose(0, 1).flatten(1)  # [L, 3B]
        index = self.warp_landmark.int()
        carried = F.embedding_bag(index, flat, mode="sum", per_sample_weights=self.warp_weight)  # [V, 3B]
        return carried.unflatten(1, (-1, 3)).transpose(0, 1)

    def blink_correction(self, vertices: Tensor) -> Tensor:
        """What `eyeBlinkLeft` and `eyeBlinkRight` at 1 lack to close a person's lids: [V, 3] -> [2, V, 3]."""
        moved = vertices.new_zeros(2, NUM_LANDMARKS, 3)
        neutral = self.landmarks(vertices)
        for row, side in enumerate(("Left", "Right")):
            upper, lower = torch.tensor(LID_PAIRS[side], device=vertices.device).T
            blink = self.landmarks(self.expression_basis[ARKIT_NAMES.index(f"eyeBlink{side}")])
            gap = neutral[upper] - neutral[lower] + blink[upper] - blink[lower]
            moved[row, upper] = -gap
        return self.warp(moved)

    def crown_height(self, shape: HeadShape, rotation: Tensor, matte: Tensor, valid: Tensor | None = None) -> float:
        """How much of the skull's height above the forehead a photo's matte leaves it, `crown_least`..1.

        Args:
            shape: The person's head with its full height.
            rotation: [3, 3] head -> camera in the photo.
            matte: [1, 1, H, H] of the crop in 0..1.
            valid: [1, 1, H, H] where the photo has pixels; None for everywhere.
        """
        config = self.config
        forehead = self.landmarks(shape.vertices)[10, 1]
        skull = self.crown_weight > 0.5
        place, weight = shape.vertices[skull], self.crown_weight[skull]
        above = (place[:, 1] - forehead).clamp(min=0) * weight
        inside = matte if valid is None else torch.where(valid > 0.5, matte, torch.ones_like(matte))
        crowns = torch.linspace(1, config.crown_least, 31, device=place.device)
        heights = place[:, 1] + above * (crowns[:, None] - 1)  # [31, N]
        lowered = torch.stack([place[:, 0].expand_as(heights), heights, place[:, 2].expand_as(heights)], -1)
        seen = lowered @ rotation.mT
        grid = torch.stack([seen[..., 0], -seen[..., 1] - config.crown_margin], -1)[None]
        covered = F.grid_sample(inside, grid, padding_mode="border", align_corners=False)[0, 0]
        fits = (covered < 0.5).float().mean(1) < 0.01
        return float(torch.where(fits, crowns, config.crown_least).max())


def bias_terms(yaw: Tensor, pitch: Tensor, bias_reach: tuple[float, float]) -> Tensor:
    """See `Fitting.bias_terms`; `bias_reach` is that of its config."""
    y, p = (angle.clamp(-most, most) / 30 for angle, most in zip((yaw, pitch), bias_reach, strict=True))
    return torch.stack([y, y * y, y**3, p, p * p, y * p, y * y * p], -1)


def capped(expression: Tensor) -> Tensor:
    """Scores [B, 52] with `mouthClose` up to `jawOpen`: it closes lips over an open jaw and would tear shut ones."""
    close, jaw = ARKIT_NAMES.index("mouthClose"), ARKIT_NAMES.index("jawOpen")
    capped = expression.clone()
    capped[:, close] = torch.minimum(expression[:, close], expression[:, jaw].clamp(min=0))
    return capped
