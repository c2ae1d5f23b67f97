"""Performance capture: tracked frames of a driver -> a `Motion` free of the driver's identity.

Shapes: T frames, L 478 landmarks, K residual axes.
"""

import logging
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..errors import NoFaceError
from ..head.head_model import HeadModel
from ..head.rest_pose import LARGEST_TORSO_POSE
from . import smoothing
from .motion import Motion
from .steadying import hold_missing
from .tracker import Track

logger = logging.getLogger(__name__)

STEADINESS = 0.3  # of the torso pose, on `smooth_motion`'s scale: hair shall not tremble


def capture(
    tracks: Iterable[Track | None], head_model: HeadModel, fps: Fraction | float = 25, name: str = "the driving video"
) -> Motion:
    """The motion in a sequence of tracks of one person; see `Capture`."""
    taken = Capture(head_model, fps, name)
    for track in tracks:
        taken.add(track)
    return taken.motion()


class Capture:
    """Takes the tracks of one person's frames, one by one, and gives their motion.

    The driver's neutral face is found over all frames; what remains of a frame beyond it and the expression axes is the
    residual. Frames without a face hold the last pose and have `found` False. A few hundred
    numbers are kept of a track.

    Args:
        head_model: For the neutral face and the residual axes.
        fps: Frames per second.
        name: What messages call the driver.
    """

    def __init__(self, head_model: HeadModel, fps: Fraction | float = 25, name: str = "the driving video"):
        self.head_model, self.fps, self.name = head_model, fps, name
        self._mean = head_model.landmarks(head_model.mean)
        self._found, self._frames, self._neutral_sum = [], [], torch.zeros_like(self._mean)

    def add(self, track: Track | None) -> None:
        """Take the next frame's track, None where there is no face."""
        self._found.append(track is not None)
        if track is None:
            return
        head_model, device = self.head_model, self._mean.device
        landmarks, rotation = (torch.from_numpy(x).to(device)[None] for x in (track.vertices, track.rotation))
        landmarks = head_model.unbiased(landmarks, rotation)
        expression = torch.from_numpy(track.expression).to(device)[None]
        self._neutral_sum += head_model.without_expression(landmarks, expression)[0]
        residual = head_model.residual(landmarks, self._mean, expression)[0].cpu()
        torso_pose = np.zeros(0, np.float32) if track.torso_pose is None else track.torso_pose
        self._frames.append((track.rotation, track.expression, residual, torso_pose, track.centre, track.scale))

    def motion(self) -> Motion:
        """The motion of the frames so far.

        Raises:
            NoFaceError: None of them shows a face.
        """
        head_model, found, count = self.head_model, self._found, len(self._frames)
        if not count:
            raise NoFaceError(
                f"No face found in any frame of {self.name}. Use one where the face is larger than 64 px."
            )
        if count < len(found):
            logger.warning(
                "%d of %d frames of %s show no face; the last pose is held.", len(found) - count, len(found), self.name
            )
        columns = (torch.from_numpy(np.stack(x)) for x in zip(*self._frames, strict=True))
        rotation, expression, residual, torso_pose, centre, scale = columns
        # The residual is linear in the face, so the person's own share of it can be taken off afterwards.
        neutral = head_model.neutral_landmarks(self._neutral_sum[None], self._neutral_sum.new_tensor([count]))
        unmoved = torch.zeros_like(expression[:1]).to(self._mean.device)
        residual = residual - head_model.residual(neutral, self._mean, unmoved).cpu()
        middle = scale.median()
        seen = torch.tensor(found)

        def placed(values: Tensor, blank: Tensor | float) -> Tensor:
            field = torch.as_tensor(blank, dtype=torch.float32).expand(len(found), *values.shape[1:]).clone()
            field[seen] = values.float()
            return field

        return hold_missing(
            Motion(
                rotation=placed(rotation, torch.eye(3)),
                expression=placed(expression, 0.0),
                residual=placed(residual, 0.0),
                residual_region=head_model.residual_region,
                torso_pose=_steadied(placed(torso_pose, 0.0), seen, self.fps),
                translation=placed((centre - centre.median(0).values) / middle, 0.0),
                scale=placed(scale / middle, 1.0),
                found=seen,
                fps=self.fps,
            )
        )


def _steadied(torso_pose: Tensor, found: Tensor, fps: Fraction | float) -> np.ndarray:
    largest = np.array(LARGEST_TORSO_POSE)[: torso_pose.shape[1]]
    return smoothing.smooth_vectors(torso_pose.numpy(), found.numpy(), float(fps), STEADINESS, largest)
