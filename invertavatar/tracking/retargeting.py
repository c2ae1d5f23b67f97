"""How one person's movement becomes another's.

Shapes: T frames, K residual coefficients; 52 expression axes in the order of `ARKIT_NAMES`.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES, ARKIT_REGIONS
from invertavatar.head.rest_pose import LARGEST_TORSO_POSE
from invertavatar.tracking.motion import ANIMATION_REGIONS, Motion
from invertavatar.tracking.rotations import as_rotations
from invertavatar.tracking.steadying import check_smooth, smooth_motion

logger = logging.getLogger(__name__)

EXPRESSION_RANGE = (-0.2, 1.2)  # beyond it the linear face model tears


class Retargeting(TypedDict, total=False):
    """What `retarget` takes beside the two motions, for those that pass it on."""

    animation_region: str
    relative_motion: bool
    motion_scale: float
    smooth: float
    follow_translation: bool


def named_scores(expression: Mapping[str, float]) -> Tensor:
    """Scores [52] of an expression by ARKit names, within `EXPRESSION_RANGE`; 0 where nothing is said.

    Raises:
        MotionError: There is no such axis, or a score is no number.
    """
    unknown = sorted(set(expression) - set(ARKIT_NAMES))
    if unknown:
        raise MotionError(f"There is no expression axis {', '.join(unknown)}; use ARKit's names, such as jawOpen.")
    try:
        scores = torch.tensor([float(expression.get(name, 0.0)) for name in ARKIT_NAMES])
    except (TypeError, ValueError):
        scores = torch.tensor([torch.nan])
    if scores.isnan().any():
        raise MotionError("The scores of an expression are numbers from 0 to 1; one of those given is none.")
    return scores.clamp(*EXPRESSION_RANGE)


def check_retargeting(animation_region: str = "all", motion_scale: float = 1.0, smooth: float = 0.0) -> None:
    """Refuses what `retarget` cannot do; call it before a long video is tracked for nothing.

    Raises:
        MotionError: An unknown region or a number out of its range.
    """
    if animation_region not in ANIMATION_REGIONS:
        raise MotionError(f"animation_region is one of {', '.join(ANIMATION_REGIONS)}, not {animation_region!r}.")
    if not 0 <= motion_scale <= 10:
        raise MotionError(f"motion_scale runs from 0 to 10; {motion_scale} does not.")
    check_smooth(smooth)


def retarget(
    motion: Motion,
    rest: Motion,
    *,
    animation_region: str = "all",
    relative_motion: bool = True,
    motion_scale: float = 1.0,
    smooth: float = 0.0,
    follow_translation: bool = False,
) -> Motion:
    """The driver's motion for the avatar whose first photo is `rest`.

    With d the driver and n its neutral:

    - relative: expression = rest + motion_scale (d - n), the torso pose and the residual likewise, rotation =
      (d n^-1)^motion_scale rest;
    - absolute: expression = motion_scale d, the torso pose likewise, rotation = d^motion_scale, residual = rest +
      motion_scale d, as a residual is relative already.

    Args:
        motion: The driver.
        rest: One frame: the avatar's own expression, residual and pose.
        animation_region: "all", "exp" (the whole expression), "pose" (rotation, torso, followed translation), "lip"
            or "eyes". What is not driven stays as in `rest`.
        relative_motion: Relative to the driver's neutral (`Motion.neutral`). A driver of one frame has none, unless it
            is known: it is then taken as absolute.
        motion_scale: 0..10; exaggerates above 1. Rotations scale in angle.
        smooth: 0..1, `smooth_motion` of the driver beforehand.
        follow_translation: Passes the driver's translation and scale on where the pose is driven, else 0 and 1.

    Returns:
        As many frames as the driver, with its frame rate and `found` and the residual basis of `rest`.

    Raises:
        MotionError: An unknown region or a number out of its range.
    """
    check_retargeting(animation_region, motion_scale, smooth)
    if rest.num_frames != 1:
        raise MotionError(f"The rest of an avatar is one frame, not {rest.num_frames}.")
    if relative_motion and motion.num_frames == 1 and motion.known_neutral is None:
        logger.warning(
            "A single picture has no neutral to be relative to; its expression and pose are taken as they are."
        )
        relative_motion = False
    if motion.residual_region != rest.residual_region:
        if motion.residual_region and rest.residual_region:  # a baked avatar has none, and that is as it should be
            logger.warning("The motion was tracked with another face model; its residual movement is left out.")
        motion = _without_residual(motion, rest.residual_region)

    motion = smooth_motion(motion, smooth)
    expression, rotation, residual = motion.expression, as_rotations(motion.rotation), motion.residual
    translation, scale = motion.translation, motion.scale
    if relative_motion:
        neutral = motion.neutral
        expression = rest.expression + motion_scale * (expression - neutral.expression)
        change = rotation * as_rotations(neutral.rotation).inv()
        rotation = Rotation.from_rotvec(motion_scale * change.as_rotvec()) * as_rotations(rest.rotation)
        torso_pose = motion_scale * (motion.torso_pose - neutral.torso_pose)
        residual = residual - neutral.residual
        translation, scale = translation - neutral.translation, scale / neutral.scale
    else:
        expression = motion_scale * expression
        rotation = Rotation.from_rotvec(motion_scale * rotation.as_rotvec())
        torso_pose = motion_scale * motion.torso_pose
    residual = rest.residual + motion_scale * residual

    pose = animation_region in ("all", "pose")
    still = rest.torso_pose.expand(motion.num_frames, -1)
    if not pose or still.shape != torso_pose.shape:  # of the driver's or of the avatar's nothing is known
        torso_pose = still
    elif relative_motion:
        torso_pose = still + torso_pose
    largest = torch.tensor(LARGEST_TORSO_POSE[: torso_pose.shape[1]])
    follow = pose and follow_translation
    return Motion(
        rotation=rotation.as_matrix() if pose else rest.rotation.repeat(motion.num_frames, 1, 1),
        expression=torch.where(
            driven_axes(ARKIT_REGIONS, animation_region), expression.clamp(*EXPRESSION_RANGE), rest.expression
        ),
        residual=torch.where(driven_axes(rest.residual_region, animation_region), residual, rest.residual),
        residual_region=rest.residual_region,
        torso_pose=torso_pose.clamp(-largest, largest),
        translation=translation * motion_scale if follow else None,
        scale=scale**motion_scale if follow else None,
        found=motion.found,
        fps=motion.fps,
    )


def _without_residual(motion: Motion, residual_region: tuple[str, ...]) -> Motion:
    """The motion with a residual of 0 on another basis."""
    neutral = motion.known_neutral
    return replace(
        motion,
        residual=torch.zeros(motion.num_frames, len(residual_region)),
        residual_region=residual_region,
        known_neutral=None if neutral is None else _without_residual(neutral, residual_region),
    )


def driven_axes(regions: tuple[str, ...], animation_region: str) -> Tensor:
    """[len(regions)] bool: which axes of an expression or residual, of such regions, a driver moves."""
    whole = animation_region in ("all", "exp")
    return torch.tensor([whole or region == animation_region for region in regions], dtype=torch.bool)
