"""The mean person's head, dressed and posed, and pictures of it in known colours."""

import torch
from torch import Tensor

from invertavatar.camera import Camera, rotation_from_angles
from invertavatar.head.driven_head import DrivenHead, driven_head
from invertavatar.head.head_model import HeadModel
from invertavatar.raster.rasterizer import interpolate
from invertavatar.rendering.surface import head_surface
from tests.landmarks import mean_person


def camera_at(*yaw: float, pitch: float = 0.0, **options) -> Camera:
    """One camera for each yaw."""
    return Camera(rotation_from_angles(torch.tensor(yaw), pitch), **options)


def mean_head(
    head_model: HeadModel,
    camera: Camera,
    turned: bool = False,
    torso_pose: Tensor | None = None,
    expression: Tensor | None = None,
) -> DrivenHead:
    """The mean person with the hair that people have on average, for each camera.

    With `turned` the head is turned on the body, which faces the viewer; else the camera goes around both.
    """
    batch = len(camera.rotation)
    off = head_model.stand_off(head_model.displacement.no_evidence())
    expression = torch.zeros(batch, 52) if expression is None else expression
    residual = torch.zeros(batch, len(head_model.residual_region))
    front = torch.eye(3).expand(batch, -1, -1)
    head_to_torso = camera.rotation if turned else None
    return driven_head(head_model, mean_person(head_model), off, expression, residual, front, head_to_torso, torso_pose)


def picture_of(head_model: HeadModel, head: DrivenHead, colours: Tensor, camera: Camera, size: int, backdrop=0.0):
    """[B, 5, size, size] colour in -1..1, matte and real pixels; `colours` [V, 3] or [B, V, 3] in -1..1."""
    surface = head_surface(head_model, head, camera, size)
    drawn = interpolate(colours, surface.fragments, head_model.triangles)
    drawn = torch.where(surface.mask > 0, drawn, torch.as_tensor(backdrop))
    return torch.cat([drawn, surface.mask, torch.ones_like(surface.mask)], 1)
