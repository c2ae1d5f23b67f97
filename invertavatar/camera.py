"""The spaces of the whole package and the maps between them (DESIGN 3).

Shapes: B batch, V points, H W picture.

- **Image**: RGB, [-1, 1] inside networks, uint8 outside; x right, y down.
- **Head space**: origin inside the head behind the nose bridge, x to the image's right, y up, z out of the face.
  Unit: half the side of the normalized crop.
- **Camera space**: head space turned by the head rotation R (row-major, head -> camera): `X_camera = R @ X_head`, for
  row vectors `X_camera = X_head @ R.T`. The viewer looks along -z.
- **Crop**: image = (R X)_xy with y flipped, in [-1, 1], never rotated: weak perspective, the default. With a field of
  view the camera stands on the z axis where the plane through the head's centre just fills the crop.
- **Grid**: torch's sampling coordinates with `align_corners=False`: -1 and 1 are the outer edges of the outer pixels.
- **Tri-plane**: [-1, 1]^3 of head space as the pictures (x, y), (x, z), (z, y), each with its second axis pointing up.

Angles are degrees as a viewer sees them: yaw > 0 turns the face to the image's right, pitch > 0 lifts it, roll > 0
tilts its top to the image's right (clockwise). R = R_roll R_pitch R_yaw.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

EG3D_FIELD_OF_VIEW = 2 * math.degrees(math.atan(0.5 / 4.2647))  # focal length 4.2647 picture widths: 13.37 degrees
PLANE_AXES = ((0, 1), (0, 2), (2, 1))  # head-space axes that run right and up in each of the three planes


class Camera(NamedTuple):
    """How heads are seen."""

    rotation: Tensor  # [B, 3, 3] head -> camera
    field_of_view: float = 0.0  # degrees; 0 for weak perspective
    zoom: float = 1.0  # above 1 the head grows in the picture
    shift: Tensor | None = None  # [B, 2] by which pictures move, right and DOWN, in -1..1 across the picture

    def project(self, points: Tensor) -> Tensor:
        """See `project`."""
        return project(points, *self)


def rotation_from_angles(yaw: Tensor | float, pitch: Tensor | float = 0.0, roll: Tensor | float = 0.0) -> Tensor:
    """Head -> camera rotations from angles in degrees.

    Args:
        yaw: Degrees, any shape; positive turns the face to the image's right.
        pitch: Degrees, broadcast with yaw; positive lifts the face.
        roll: Degrees, broadcast with yaw; positive tilts the head clockwise.

    Returns:
        [..., 3, 3] float32.
    """
    device = next((a.device for a in (yaw, pitch, roll) if isinstance(a, Tensor)), None)
    angles = (torch.as_tensor(a, dtype=torch.float32, device=device) for a in (yaw, pitch, roll))
    angles = torch.broadcast_tensors(*angles)
    (sy, sp, sr), (cy, cp, cr) = ([f(a * (math.pi / 180)) for a in angles] for f in (torch.sin, torch.cos))
    zero, one = torch.zeros_like(sy), torch.ones_like(sy)

    def matrix(*rows: Tensor) -> Tensor:  # [...] each -> [..., 3, 3]
        return torch.stack(rows, -1).unflatten(-1, (3, 3))

    about_y = matrix(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    about_x = matrix(one, zero, zero, zero, cp, sp, zero, -sp, cp)
    about_z = matrix(cr, sr, zero, -sr, cr, zero, zero, zero, one)
    return about_z @ about_x @ about_y


def angles_from_rotation(rotation: Tensor) -> Tensor:
    """The inverse of `rotation_from_angles`: [..., 3, 3] -> [..., 3] yaw, pitch, roll in degrees, |pitch| <= 90."""
    yaw = torch.atan2(-rotation[..., 2, 0], rotation[..., 2, 2])
    pitch = torch.asin(-rotation[..., 2, 1].clamp(-1, 1))
    roll = torch.atan2(rotation[..., 0, 1], rotation[..., 1, 1])
    return torch.stack([yaw, pitch, roll], -1) * (180 / math.pi)


def inverse(matrix: Tensor) -> Tensor:
    """Of [..., 3, 3], by cross products: torch's own has the host wait for the device, to say whether there is one."""
    a, b, c = matrix.unbind(-1)  # columns
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    return rows / (rows[..., 0, :] * a).sum(-1)[..., None, None]


def project(
    points: Tensor, rotation: Tensor, field_of_view: float = 0.0, zoom: float = 1.0, shift: Tensor | None = None
) -> Tensor:
    """Project head-space points into the crop.

    Args:
        points: [B, V, 3] in head space.
        rotation: [B, 3, 3] head -> camera.
        field_of_view: Degrees; 0 is weak perspective.
        zoom: Above 1 the head grows in the picture.
        shift: [B, 2] see `Camera`.

    Returns:
        [B, V, 3]: x right and y DOWN in [-1, 1] inside the crop, then depth, larger is nearer to the viewer.
    """
    x, y, z = (points @ rotation.transpose(-1, -2)).unbind(-1)
    scale = zoom / (1 - z * math.tan(math.radians(field_of_view) / 2))
    place = torch.stack([x * scale, -y * scale], -1)
    place = place if shift is None else place + shift[:, None]
    return torch.cat([place, z[..., None]], -1)


def pixel_centres(size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Right and UP coordinates in [-1, 1] of the pixel centres of a square picture, each [size, size]."""
    line = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2 / size) - 1
    up, right = torch.meshgrid(-line, line, indexing="ij")
    return right, up


def rays(
    rotation: Tensor, size: int, field_of_view: float = 0.0, zoom: float = 1.0, shift: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Viewing rays in head space, one for each pixel; a point on a ray is `origin + t * direction` with t = z in camera
    space, so that t runs from 1 (near) to -1 (far) through the head for every kind of camera.

    Args:
        rotation: [B, 3, 3] head -> camera.
        size: H = W in pixels.
        field_of_view: Degrees; 0 is weak perspective.
        zoom: Above 1 the head grows in the picture.
        shift: [B, 2] see `Camera`.

    Returns:
        Two of [B, size * size, 3]: the points at t = 0 and the steps for one unit of t.
    """
    right, up = pixel_centres(size, rotation.device)
    right, up = right.flatten(), up.flatten()
    if shift is not None:
        right, up = right - shift[:, :1], up + shift[:, 1:]
    right, up = right / zoom, up / zoom
    origin = torch.stack([right, up, torch.zeros_like(up)], -1)
    # The eye stands at distance 1 / tan(fov / 2); toward it (t > 0) the rays draw together.
    slope = -math.tan(math.radians(field_of_view) / 2)
    direction = torch.stack([right * slope, up * slope, torch.ones_like(up)], -1)
    return origin @ rotation, direction @ rotation  # row vectors: X = p @ R


def plane_coordinates(points: Tensor) -> Tensor:
    """Head-space points [B, N, 3] -> sampling grid [B, 3, N, 2] of the three planes (second axis flipped: y down)."""
    return torch.stack([torch.stack([points[..., a], -points[..., b]], -1) for a, b in PLANE_AXES], 1)
