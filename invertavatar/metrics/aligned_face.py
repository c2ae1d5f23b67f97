"""Faces brought upright by their landmarks: to the template of face recognition, or filling a square.

Shapes: B batch, V 478 landmarks, H W picture.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RECOGNITION_SIZE = 112
# Where an upright face has its eyes (the person's right one first), nose tip and mouth corners, pixels of the crop.
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS, NOSE_TIP, MOUTH_CORNERS = (33, 133), (362, 263), 1, (61, 291)  # landmarks
FACE_MARGIN = 1.15  # of a face crop, relative to the landmarks' extent
FACE_SIZE = 128  # pixels


def aligned_face(picture: Tensor, landmarks: Tensor) -> Tensor:
    """The face upright, where recognition looks for it: [B, 3, 112, 112].

    Args:
        picture: [B, 3, H, W].
        landmarks: [B, V, 2] x right, y down in -1..1 over the picture.
    """
    points = torch.stack([*_eyes(landmarks), *(landmarks[:, i] for i in (NOSE_TIP, *MOUTH_CORNERS))], 1)  # [B, 5, 2]
    template = (points.new_tensor(TEMPLATE) + 0.5) * (2 / RECOGNITION_SIZE) - 1
    # The similarity that carries the template to the points: in the complex plane its factor is a quotient.
    x, y = (template - template.mean(0)).unbind(-1)
    u, v = (points - points.mean(1, keepdim=True)).unbind(-1)
    scale = x.square().sum() + y.square().sum()
    real, imaginary = (x * u + y * v).sum(1) / scale, (x * v - y * u).sum(1) / scale
    similarity = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], 1)  # [B, 2, 2]
    offset = points.mean(1) - similarity @ template.mean(0)
    theta = torch.cat([similarity, offset[..., None]], -1)
    return _carried(picture, theta, RECOGNITION_SIZE)


def face_crop(picture: Tensor, landmarks: Tensor, size: int = FACE_SIZE) -> Tensor:
    """The face alone, upright and filling its square, for the perceptual loss of the face.

    What makes a person recognisable, at the size and place in which a recognition network would look.

    Args:
        picture: [B, 3, H, W].
        landmarks: [B, V, 2] x right, y down in -1..1 over the picture; both pictures of a pair take the same.
        size: Side of the crop in pixels.

    Returns:
        [B, 3, size, size].
    """
    right, left = _eyes(landmarks)
    across = F.normalize(left - right, dim=-1)  # [B, 2]
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    axes = torch.stack([across, down], -1)  # [B, 2, 2] columns
    local = landmarks @ axes
    low, high = local.amin(1), local.amax(1)
    half = (high - low).amax(-1, keepdim=True)[..., None] / 2 * FACE_MARGIN  # [B, 1, 1]
    centre = axes @ ((low + high) / 2)[..., None]  # [B, 2, 1]
    theta = torch.cat([axes * half, centre], -1)
    return _carried(picture, theta, size)


def _eyes(landmarks: Tensor) -> list[Tensor]:
    return [landmarks[:, list(eye)].mean(1) for eye in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)]


def _carried(picture: Tensor, theta: Tensor, size: int) -> Tensor:
    grid = F.affine_grid(theta, [len(picture), 3, size, size], align_corners=False)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
