"""From tracks to the motion that moves an avatar, one frame at a time: relative to a neutral, smoothed, mirrored.

It is what `tracking.capture` and `tracking.retargeting` do for a whole clip, as far as one can before the clip is over:
the neutral is that of the first second, and hair and shoulders stay where they are.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..head.arkit import ARKIT_NAMES, mirrored
from ..head.head_model import HeadModel
from ..tracking.motion import Motion
from ..tracking.retargeting import retarget
from ..tracking.smoothing import ROTATION_REFERENCE, OneEuroFilter, OneEuroRotationFilter, beta, min_cutoff
from ..tracking.tracker import Track

NEUTRAL_SECONDS = 1.0
PAUSE = 1.0  # seconds without a face, after which the filters begin anew
MIRROR = [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES]


class LiveDriver:
    """Makes of each track the motion of one frame.

    Args:
        rest: Of the avatar, one frame, from whose expression the driver's departs; it looks straight ahead when the
            driver does.
        head_model: Measures what the 52 scores do not hold, where the avatar can show it (`Motion.residual`).
        strength: Of the motion, as `motion_scale` of `retarget`.
        smooth: 0..1, One-Euro smoothing.
        mirror: Left and right change places.
    """

    def __init__(
        self,
        rest: Motion,
        head_model: HeadModel | None = None,
        strength: float = 1.0,
        smooth: float = 0.0,
        mirror: bool = False,
    ):
        self.rest = replace(rest, rotation=torch.eye(3)[None])
        self.head_model = head_model if rest.residual_region else None
        self.strength, self.smooth, self.mirror = strength, smooth, mirror
        self.calibrate()

    def calibrate(self) -> None:
        """Take the next second's face as neutral."""
        self.neutral: Motion | None = None
        self._watched: list[Motion] = []
        self._since: float | None = None
        self._restart()

    def __call__(self, track: Track, seconds: float) -> Motion:
        """The avatar's motion, one frame.

        Args:
            track: Of the driver.
            seconds: When the picture was taken.
        """
        motion = self._measured(track)
        if self._before is not None and seconds - self._before > PAUSE:
            self._restart()
        if self.smooth:
            motion = self._smoothed(motion, max(1e-3, seconds - self._before) if self._before is not None else 1.0)
        self._before = seconds
        self._watch(motion, seconds)
        moved = retarget(replace(motion, known_neutral=self._sofar), self.rest, motion_scale=self.strength)
        return _mirrored(moved) if self.mirror else moved

    def _measured(self, track: Track) -> Motion:
        expression = torch.from_numpy(track.expression)[None]
        rotation = torch.from_numpy(track.rotation)[None]
        if self.head_model is None:
            return Motion(rotation, expression)
        model = self.head_model
        with torch.no_grad():
            device, mean = model.mean.device, model.landmarks(model.mean)
            landmarks = model.unbiased(torch.from_numpy(track.vertices).to(device)[None], rotation.to(device))
            residual = model.residual(landmarks, mean, expression.to(device)).cpu()
        return Motion(rotation, expression, residual, model.residual_region)

    def _restart(self) -> None:
        self._before = None
        settings = min_cutoff(self.smooth), beta(self.smooth)
        self._scores, self._residual = OneEuroFilter(*settings), OneEuroFilter(*settings)
        self._turns = OneEuroRotationFilter(settings[0], settings[1] / ROTATION_REFERENCE)

    def _smoothed(self, motion: Motion, dt: float) -> Motion:
        turned = self._turns(Rotation.from_matrix(motion.rotation[0].numpy()), dt)
        return replace(
            motion,
            rotation=torch.from_numpy(turned.as_matrix()).float()[None],
            expression=torch.from_numpy(self._scores(motion.expression.numpy(), dt)),
            residual=torch.from_numpy(self._residual(motion.residual.numpy(), dt)),
        )

    def _watch(self, motion: Motion, seconds: float) -> None:
        if self.neutral is not None:
            return
        self._since = seconds if self._since is None else self._since
        self._watched.append(motion)
        clip = Motion.concatenate(self._watched)
        self._sofar = replace(clip.neutral, residual=torch.from_numpy(np.median(clip.residual.numpy(), 0))[None])
        if seconds - self._since >= NEUTRAL_SECONDS:
            self.neutral, self._watched = self._sofar, []


def _mirrored(motion: Motion) -> Motion:
    """As a mirror shows it; the residual has no left and right that could be changed, and is left out."""
    flip = torch.tensor([1.0, -1.0, -1.0])
    rotation = motion.rotation * flip[:, None] * flip
    return replace(motion, rotation=rotation, expression=motion.expression[:, MIRROR], residual=motion.residual * 0)
