"""Motions without gaps and without trembling.

Shapes: T frames.
"""

from dataclasses import replace

import numpy as np
from torch import Tensor

from ..errors import MotionError
from ..head.rest_pose import LARGEST_TORSO_POSE
from . import smoothing
from .motion import Motion


def hold_missing(motion: Motion) -> Motion:
    """Frames without a face take the last frame with one before them, leading ones the first; `found` stays.

    Raises:
        MotionError: No frame was found.
    """
    values = motion.tensors()
    found = values.pop("found")
    seen = found.nonzero().squeeze(1)
    if len(seen) == 0:
        raise MotionError("No frame of this motion shows a face; choose another clip.")
    held = seen[(found.cumsum(0) - 1).clamp(min=0)]
    return replace(motion, **{name: v[held] for name, v in values.items()})


def smooth_motion(motion: Motion, smooth: float) -> Motion:
    """One-Euro over every field; see `smoothing`.

    Args:
        motion: Any motion; frames with `found` False are not measurements and hold the filter's value.
        smooth: 0 (unchanged) to 1; 0.5 more than halves jitter and keeps over 80 % of a three-frame blink at 25 fps.

    Raises:
        MotionError: `smooth` is out of its range.
    """
    check_smooth(smooth)
    if smooth == 0:
        return motion
    fields, fps = motion.tensors(), float(motion.fps)
    found, torso_pose = fields["found"].numpy(), fields["torso_pose"]
    # A coefficient's unit depends on the face model: a large movement is six times its spread over the clip.
    residual_reference = 6 * fields["residual"].numpy().std(0).clip(min=1e-6)

    def filtered(values: Tensor, reference: float | np.ndarray) -> np.ndarray:
        return smoothing.smooth_vectors(values.numpy(), found, fps, smooth, reference)

    return replace(
        motion,
        rotation=smoothing.smooth_rotations(motion.rotation.numpy(), found, fps, smooth),
        expression=filtered(motion.expression, 1.0),
        residual=filtered(fields["residual"], residual_reference),
        torso_pose=filtered(torso_pose, np.array(LARGEST_TORSO_POSE)[: torso_pose.shape[1]]),
        translation=filtered(fields["translation"], 0.5),
        scale=filtered(fields["scale"][:, None], 0.5)[:, 0],
    )


def check_smooth(smooth: float) -> None:
    """Refuses a smoothing that is none.

    Raises:
        MotionError: It is out of its range.
    """
    if not 0 <= smooth <= 1:
        raise MotionError(f"smooth runs from 0 to 1; {smooth} does not.")
