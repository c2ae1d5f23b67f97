"""The surface of a driven head behind each pixel of a picture: the proxy geometry of all rendering (DESIGN 5.1).

Shapes: B batch, V vertices and F triangles of the head model, H side of a picture.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..head.driven_head import DrivenHead
from ..head.head_model import LABELS, HeadModel
from ..raster.rasterizer import Fragments, interpolate, rasterize

GROUPS = (("scalp",), ("ear",), ("neck",), ("torso",), ("lips",), ("mouth", "teeth", "tongue"), ("eye",))


class HeadSurface(NamedTuple):
    """What each pixel sees of a driven head, and the mesh that it is interpolated from."""

    fragments: Fragments
    mask: Tensor  # [B, 1, H, H] 1 on the head
    rest_position: Tensor  # [B, 3, H, H] where the place lies at rest
    normal: Tensor  # [B, 3, H, H] in camera space, 0 beside the head
    depth: Tensor  # [B, 1, H, H] z in camera space, 0 beside the head
    frontal: Tensor  # [B, 1, H, H] cosine of the angle between its normal and the front, at rest
    groups: Tensor  # [B, len(GROUPS), H, H] share of each group of labels


class ShownSurface(NamedTuple):
    """As much of a surface as the compositor looks at."""

    mask: Tensor  # [B, 1, H, H] 1 on the head
    normal: Tensor  # [B, 3, H, H] in camera space, 0 beside the head
    depth: Tensor  # [B, 1, H, H] z in camera space, 0 beside the head
    groups: Tensor  # [B, len(GROUPS), H, H] share of each group of labels


class BareSurface(NamedTuple):
    """As much of a surface as photos are looked up by."""

    fragments: Fragments
    mask: Tensor  # [B, 1, H, H] 1 on the head
    normal: Tensor  # [B, 3, H, H] in camera space, 0 beside the head


def head_surface(head_model: HeadModel, head: DrivenHead, camera: Camera, size: int) -> HeadSurface:
    """Draw a driven head in B frames of H = `size` pixels."""
    return head_surfaces(head_model, head, camera, (size,))[0]


def head_surfaces(
    head_model: HeadModel, head: DrivenHead, camera: Camera, sizes: Sequence[int]
) -> tuple[HeadSurface, ...]:
    """The same in several sizes."""
    triangles, vertices = head_model.triangles, head.vertices
    projected, normals = camera.project(vertices), _seen_normals(head_model, head, camera)
    frontal, groups = vertex_normals(head.rest_vertices, triangles)[..., 2:], vertex_groups(head_model)
    table = torch.cat(
        [normals, head.rest_vertices, projected[..., 2:], frontal, groups.expand(len(vertices), -1, -1)], -1
    )

    def surface(size: int) -> HeadSurface:
        (fragments, mask, normal), drawn = _drawn(projected, table, triangles, size)
        rest_position, depth, frontal, groups = drawn.split([3, 1, 1, len(GROUPS)], 1)
        return HeadSurface(fragments, mask, rest_position, normal, depth, frontal, groups)

    return tuple(map(surface, sizes))


def bare_surface(head_model: HeadModel, head: DrivenHead, camera: Camera, size: int) -> BareSurface:
    """As much of `head_surface` as photos are looked up by."""
    normals = _seen_normals(head_model, head, camera)
    return _drawn(camera.project(head.vertices), normals, head_model.triangles, size)[0]


def _seen_normals(head_model: HeadModel, head: DrivenHead, camera: Camera) -> Tensor:  # [B, V, 3]
    return vertex_normals(head.vertices, head_model.triangles) @ camera.rotation.mT


def _drawn(projected: Tensor, table: Tensor, triangles: Tensor, size: int) -> tuple[BareSurface, Tensor]:
    """Vertices of which a table [B, V, 3 + C] has normals and more, and the picture [B, C, H, H] of that."""
    fragments = rasterize(projected, triangles, size)
    drawn = interpolate(table, fragments, triangles)
    normal, drawn = drawn[:, :3], drawn[:, 3:]
    return BareSurface(fragments, fragments.mask[:, None].float(), unit(normal)), drawn


def unit(normal: Tensor) -> Tensor:
    """Normals [B, 3, H, H] of length 1; 0 stays 0."""
    return normal * (normal.square().sum(1, keepdim=True) + 1e-12).rsqrt()


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Outward normals [B, V, 3] of length 1 of vertices [B, V, 3]."""
    corner = triangles.T.flatten()  # [3 F]
    a, b, c = vertices[:, corner].unflatten(1, (3, -1)).unbind(1)
    normal = torch.linalg.cross(b - a, c - a)  # length is twice the area, so large triangles count more
    return F.normalize(torch.zeros_like(vertices).index_add_(1, corner, normal.repeat(1, 3, 1)), dim=-1)


def vertex_groups(head_model: HeadModel) -> Tensor:
    """[V, len(GROUPS)] share of each group of labels in the triangles around a vertex."""
    label, triangles = head_model.label, head_model.triangles.long()
    member = [reduce(torch.add, ((label == LABELS.index(name)).float() for name in group)) for group in GROUPS]
    counted = torch.stack([*member, torch.ones_like(member[0])], 1)  # [F, len(GROUPS) + 1]
    table = counted.new_zeros(len(head_model.mean), counted.shape[1])
    table.index_add_(0, triangles.T.flatten(), counted.repeat(3, 1))
    return table[:, :-1] / table[:, -1:].clamp(min=1)
