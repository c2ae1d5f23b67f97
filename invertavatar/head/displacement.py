"""Hair, beard and clothes as a displacement of the skin: how far a person's outline stands off the head (DESIGN 4).

Shapes: V vertices, C control points, H side of a crop, M steps along a direction.

A photo's matte tells the displacement where the skin turns away from the viewer: there the outline is. Elsewhere it
bounds it, as nothing reaches beyond the outline. What no photo tells comes from how people are: the displacement is
that of a few control points, whose mean and covariance over people are learned (`displacement_building`). What photos
say is a sum of normal equations, so that one photo more never needs the others again.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..camera import project
from ..raster.rasterizer import rasterize

OUTLINE_SIZE = 256  # pixels at which the undisplaced mesh's own outline is drawn


class Evidence(NamedTuple):
    """What photos say of the control points: normal equations, to be summed over photos."""

    gram: Tensor  # [C, C]
    target: Tensor  # [C]

    def __add__(self, other: "Evidence") -> "Evidence":
        return Evidence(self.gram + other.gram, self.target + other.target)


class Displacement(nn.Module):
    """A smooth displacement of the mesh, along directions that leave ears and chin out of account.

    Args:
        num_vertices: V.
        controls: C.
        length_scale: Head units over which a control point's influence falls to exp(-1/2).
        noise: Head units by which an outline is off, with neighbouring vertices taken together.
        largest: Head units of the largest displacement, outward.
        inward: The same inward: mattes cut into hair, and skulls may be too large.
        step: Head units between the places where the matte is looked at.
        rim_power: How soon a vertex that faces the viewer says nothing of the outline: power of the sine of the angle
            between its direction and the line of sight.
        own_outline: Head units that a vertex may lie within the mesh's own outline and still be taken for part of it.
    """

    direction: Tensor  # [V, 3]
    share: Tensor  # [V] in 0..1 how far a vertex may stand off; 0 on the face
    control: Tensor  # [C, 3] places of the control points in the mean head
    mean: Tensor  # [C]
    spread: Tensor  # [C, C] lower triangular: covariance = spread @ spread.T

    def __init__(
        self,
        num_vertices: int,
        controls: int,
        length_scale: float,
        noise: float,
        largest: float,
        inward: float,
        step: float,
        rim_power: float,
        own_outline: float,
    ):
        super().__init__()
        self.length_scale, self.noise, self.largest, self.inward = length_scale, noise, largest, inward
        self.step, self.rim_power, self.own_outline = step, rim_power, own_outline
        self.register_buffer("direction", torch.zeros(num_vertices, 3))
        self.register_buffer("share", torch.zeros(num_vertices))
        self.register_buffer("control", torch.zeros(controls, 3))
        self.register_buffer("mean", torch.zeros(controls))
        self.register_buffer("spread", torch.eye(controls))

    def weight(self, mean_head: Tensor) -> Tensor:
        """How far each vertex of the mean head [V, 3] goes along with each control point: [V, C]."""
        away = (mean_head[:, None] - self.control).square().sum(-1)
        near = (-away / (2 * self.length_scale**2)).exp()
        return near / near.sum(1, keepdim=True).clamp(min=1e-6) * self.share[:, None]

    def no_evidence(self) -> Evidence:
        """That of no photo."""
        return Evidence(torch.zeros_like(self.spread), torch.zeros_like(self.mean))

    def solve(self, evidence: Evidence) -> Tensor:
        """The control points [C] in head units, by the photos and by how people are."""
        with _one_thread():  # several round otherwise, by 1e-5 head units, and pictures differ where hair ends
            believed = torch.cholesky_inverse(self.spread) * self.noise**2
            # Which does not have the host wait for the device, to say whether there is a solution; there always is.
            return torch.linalg.solve_ex(evidence.gram + believed, evidence.target + believed @ self.mean).result

    def of_vertices(self, evidence: Evidence, mean_head: Tensor) -> Tensor:
        """How far vertices stand off their skin: [V] head units; the mean head is [V, 3]."""
        return (self.weight(mean_head) @ self.solve(evidence)).clamp(-self.inward, self.largest)

    def observe(
        self,
        vertices: Tensor,
        mean_head: Tensor,
        triangles: Tensor,
        rotation: Tensor,
        matte: Tensor,
        inside: Tensor,
        rounds: int = 3,
    ) -> Evidence:
        """What a photo says.

        Args:
            vertices: [V, 3] the mesh in the photo, without displacement, head space.
            mean_head: [V, 3].
            triangles: [F, 3].
            rotation: [3, 3] head -> camera.
            matte: [1, 1, H, H] in 0..1, the person in the crop.
            inside: [1, 1, H, H] in 0..1, where the photo has pixels.
            rounds: In each, vertices that would leave the outline are laid onto it.
        """
        moving = (self.share > 0.05).nonzero()[:, 0]
        weight, share = self.weight(mean_head)[moving], self.share[moving]
        direction = self.direction[moving] @ rotation.mT  # in camera space
        steps = torch.arange(-self.inward, self.largest + self.step, self.step, device=vertices.device)
        places = (vertices[moving] @ rotation.mT)[:, None, :2] + steps[:, None] * direction[:, None, :2]  # [V, M, 2]
        grid = torch.stack([places[..., 0], -places[..., 1]], -1)[None]
        drawn = rasterize(project(vertices[None], rotation[None]), triangles, OUTLINE_SIZE).mask[:, None]

        def look(picture: Tensor) -> Tensor:  # [V, M]
            return F.grid_sample(picture, grid, align_corners=False)[0, 0]

        outside = look(matte) < 0.5
        unknown = (look(inside) < 0.5) | (places.abs().amax(-1) > 1)
        ends, where = _first(outside | unknown)
        known = ends & ~unknown.gather(1, where[:, None])[:, 0]
        bound = torch.where(known, steps[where], math.inf)

        # Only where the mesh's own outline is does the matte's edge tell how far hair stands off.
        ends, where = _first((look(drawn.float()) < 0.5) & (steps >= 0))
        own = torch.where(ends, steps[where], math.inf)
        rim = direction[:, :2].norm(dim=1) ** self.rim_power * torch.exp(-((own / self.own_outline) ** 2))
        trust, pushed = rim * share**2 * known, torch.zeros_like(share)
        wanted = bound.clamp(max=self.largest)
        for _ in range(rounds):
            weighted = weight * (trust + pushed)[:, None]
            evidence = Evidence(weighted.mT @ weight, weighted.mT @ wanted)
            sticks_out = weight @ self.solve(evidence) > bound + self.step / 2
            pushed = torch.where(sticks_out, share**2, pushed)
        return evidence


@contextmanager
def _one_thread() -> Iterator[None]:
    """What torch computes in here, this thread computes alone."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _first(hit: Tensor) -> tuple[Tensor, Tensor]:
    """[N, M] bool -> whether there is one in a row [N], and where the first is [N]."""
    return hit.any(1), hit.byte().argmax(1)
