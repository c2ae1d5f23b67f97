"""The metrics of the paper (4.1) on pairs of pictures and of tracks.

Shapes: B batch, H W picture, T frames, P landmarks.

Pictures are RGB in 0..1, float32 [B, 3, H, W] for the metrics of pixels; landmarks are pixels, x right, y down.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import InvertAvatarError
from ..tracking.tracker import Track
from . import identity
from .aligned_face import LEFT_EYE_CORNERS, MOUTH_CORNERS, NOSE_TIP, RIGHT_EYE_CORNERS
from .auxiliary import find_auxiliary


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [B] in dB of pictures in 0..1; 100 for equal ones, so that means stay finite."""
    return -10 * torch.log10((prediction - target).square().mean((1, 2, 3)).clamp(min=1e-10))


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference [B] of pictures in 0..1."""
    return (prediction - target).abs().mean((1, 2, 3))


class FaceRecognizer:
    """Identity embeddings by SFace (128 numbers), on faces aligned as for ArcFace."""

    def __init__(self, path: str | Path | None = None):
        """Load the network.

        Args:
            path: `face_recognition_sface_2021dec.onnx`; by default that of the environment variable INVERTAVATAR_SFACE,
                else of `../shared/models` beside the repository.

        Raises:
            InvertAvatarError: There is no such file, or it is no such network.
        """
        path = find_auxiliary(path, identity.VARIABLE, identity.FILE_NAME, identity.CURE)
        try:
            self._network = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise InvertAvatarError(f"{path} is not the network SFace. {identity.CURE}") from error

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The identity of a face: [128], of length 1.

        Args:
            image: [H, W, 3] uint8 RGB.
            landmarks: [478, 2 or more] the tracker's, in pixels of the image.
        """
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        # OpenCV's row for a face: a box and a score, which the alignment does not look at, and five points between.
        row = np.concatenate([np.zeros(4), five_points(landmarks).ravel(), np.ones(1)]).astype(np.float32)[None]
        feature = self._network.feature(self._network.alignCrop(picture, row))[0]
        return feature / np.linalg.norm(feature)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """[478, 2 or more] -> [5, 2]: right eye, left eye, nose tip, right and left mouth corner (the person's own sides).

    An eye's point is the middle of its corners, which neither gaze nor a blink moves.
    """
    points = landmarks[:, :2]
    eyes = [points[list(eye)].mean(0) for eye in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS)]
    return np.stack([*eyes, points[NOSE_TIP], *points[list(MOUTH_CORNERS)]])


def csim(embedding: np.ndarray, other: np.ndarray) -> float:
    """Cosine similarity of two identities, -1..1: about 0 for strangers, 1 for equal pictures."""
    return float(embedding @ other / (np.linalg.norm(embedding) * np.linalg.norm(other)))


def akd(landmarks: np.ndarray, target: np.ndarray, side: float) -> float:
    """Average keypoint distance in % of the picture's side.

    Args:
        landmarks: [P, 2 or more], of which x and y count.
        target: Likewise.
        side: Of the picture in pixels.
    """
    return float(100 / side * np.linalg.norm(landmarks[:, :2] - target[:, :2], axis=-1).mean())


def aligned(landmarks: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Landmarks [P, 2 or more] brought nearest to `target` by shift, turn and scale in the picture plane: [P, 2].

    What is left between two people are their expressions, the turn of their heads and the shapes of their faces.
    """
    # In the complex plane turn and scale are one factor, and its least-squares solution is a quotient.
    source, goal = (points[:, 0] + 1j * points[:, 1] for points in (landmarks, target))
    centred = source - source.mean()
    factor = np.vdot(centred, goal - goal.mean()) / np.vdot(centred, centred)
    moved = centred * factor + goal.mean()
    return np.stack([moved.real, moved.imag], -1)


def jitter(landmarks: np.ndarray, side: float) -> float:
    """Temporal jitter: mean acceleration of landmarks in % of the picture's side per frame per frame.

    Args:
        landmarks: [T, P, 2 or more] of consecutive frames, T >= 3.
        side: Of the pictures in pixels.
    """
    acceleration = np.diff(landmarks[..., :2], n=2, axis=0)  # [T - 2, P, 2]
    return float(100 / side * np.linalg.norm(acceleration, axis=-1).mean())


def high_pass_detail(picture: np.ndarray, where: np.ndarray) -> float:
    """How much fine structure a picture has: mean magnitude of the Laplacian of its grey, in 0..1.

    Args:
        picture: [H, W, 3] uint8 RGB.
        where: [H, W] bool, the pixels that count.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[where].mean())


def pose_error(track: Track, target: Track) -> float:
    """Degrees between two head poses."""
    cosine = (np.trace(track.rotation @ target.rotation.T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def expression_error(track: Track, target: Track) -> float:
    """Mean absolute difference of the 52 ARKit scores, 0..1."""
    return float(np.abs(track.expression - target.expression).mean())
