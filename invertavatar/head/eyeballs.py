"""The eyeballs of the head model: where they are, where they look, and the lids around them.

Shapes: B batch, V vertices, L 478 landmarks.
"""

import torch
from torch import Tensor

from ..runtime.half_precision import Float32Island, Network
from .arkit import ARKIT_NAMES

NUM_SURFACE_LANDMARKS = 468  # the others are irises: five of the right eye, then five of the left, centre first


class Eyeballs(Float32Island, Network):
    """What a head model with the buffers `eye_part` and `lid_part` [2, V] (left, right) knows of its eyes."""

    def gaze_of(self, expression: Tensor) -> Tensor:
        """Scores [B, 52] -> [B, 2, 2] degrees of yaw (rightward) and pitch (up) of left and right eyeball."""
        sideways, upward = self.config.gaze_degrees

        def score(name: str) -> Tensor:  # [B]
            return expression[:, ARKIT_NAMES.index(name)]

        gaze = []
        for side, outward in (("Left", 1), ("Right", -1)):
            yaw = (score(f"eyeLookOut{side}") - score(f"eyeLookIn{side}")) * outward * sideways
            gaze.append(torch.stack([yaw, (score(f"eyeLookUp{side}") - score(f"eyeLookDown{side}")) * upward], -1))
        return torch.stack(gaze, 1)

    def gaze_in(self, landmarks: Tensor, vertices: Tensor) -> Tensor:
        """Where tracked irises look: landmarks [B, L, 3] on a driven head [B, V, 3] -> [B, 2, 2] degrees."""
        away = (irises(landmarks) - self.eye_centres(vertices))[..., :2] / self.eye_radius(vertices)[..., None]
        return torch.rad2deg(torch.asin(away.clamp(-0.9, 0.9)))

    def rotated_eyes(self, vertices: Tensor, gaze: Tensor) -> Tensor:
        """Turn the eyeballs of a head [B, V, 3] by `gaze` [B, 2, 2] degrees."""
        centres, rotation = self.eye_centres(vertices), self.eye_rotations(gaze)
        for eye in range(2):
            centre, part = centres[:, eye, None], self.eye_part[eye][:, None]
            turned = (vertices - centre) @ rotation[:, eye].mT + centre
            vertices = torch.where(part, turned, vertices)
        return vertices

    @staticmethod
    def eye_rotations(gaze: Tensor) -> Tensor:
        """Rotations [B, 2, 3, 3] of the eyeballs for `gaze` [B, 2, 2] degrees."""
        yaw, pitch = torch.deg2rad(gaze).unbind(-1)  # [B, 2]
        zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
        (sy, cy), (sp, cp) = ((a.sin(), a.cos()) for a in (yaw, pitch))
        about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).unflatten(-1, (3, 3))
        about_x = torch.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).unflatten(-1, (3, 3))
        return about_y @ about_x

    def eye_centres(self, vertices: Tensor) -> Tensor:
        """[B, V, 3] -> [B, 2, 3] the middle of the left and of the right eyeball."""
        part = self.eye_part.to(vertices.dtype)
        return torch.einsum("ev,bvc->bec", part / part.sum(1, keepdim=True), vertices)

    def eye_radius(self, vertices: Tensor) -> Tensor:
        """[B, V, 3] -> [B, 2]."""
        part = self.eye_part.to(vertices.dtype)
        away = (vertices[:, None] - self.eye_centres(vertices)[:, :, None]).norm(dim=-1)  # [B, 2, V]
        return (away * part).sum(-1) / part.sum(-1)

    def outside_of_eyeballs(self, vertices: Tensor) -> Tensor:
        """Lids that would lie inside an eyeball are laid onto it: [B, V, 3] -> [B, V, 3]."""
        radius = self.eye_radius(vertices) * self.config.lid_clearance
        for eye in range(2):
            away = vertices - self.eye_centres(vertices)[:, eye, None]
            distance = away.norm(dim=-1, keepdim=True).clamp(min=1e-6)
            short = (radius[:, eye, None, None] / distance).clamp(min=1) - 1  # 0 outside
            vertices = vertices + away * short * self.lid_part[eye][:, None]
        return vertices


def irises(landmarks: Tensor) -> Tensor:
    """The middles of left and right iris among landmarks: [B, L, 3] -> [B, 2, 3]."""
    right, left = landmarks[:, NUM_SURFACE_LANDMARKS], landmarks[:, NUM_SURFACE_LANDMARKS + 5]
    return torch.stack([left, right], 1)
