"""A voice for the mouth, and a video for the rest: two motions become one.

Shapes: T frames, K residual coefficients.
"""

from dataclasses import replace

import torch
from torch import Tensor

from invertavatar.errors import MotionError
from invertavatar.face.arkit import ARKIT_REGIONS
from invertavatar.face.motion import Motion
from invertavatar.face.retargeting import check_retargeting


def with_speech(motion: Motion, speech: Motion, region: str = "all") -> Motion:
    """The speech's mouth with a driver's region; the result lasts as long as the speech.

    A driver that ends earlier goes back and forth, so that the head does not jump.

    Args:
        motion: The driver.
        speech: From `pipe.speak`; its frame rate is the result's.
        region: What the driver moves: "pose", "eyes", "exp" (all but the mouth) or "all" (both).

    Raises:
        MotionError: An unknown region, or "lip", which the speech moves.
    """
    check_retargeting(region)
    if region == "lip":
        raise MotionError("Speech moves the lips, so the driver cannot: take its region pose, eyes, exp or all.")
    neutral = motion.neutral
    motion = _back_and_forth(motion.resampled(speech.fps), speech.num_frames)

    def blended(driver: Motion, voice: Motion) -> Motion:
        pose = driver if region in ("all", "pose") else replace(driver, **_pose_of(voice, driver))
        return replace(
            pose,
            expression=torch.where(_driven(ARKIT_REGIONS, region), driver.expression, voice.expression),
            residual=driver.residual * _driven(driver.residual_region, region),
            fps=speech.fps,
            known_neutral=None,
        )

    return replace(blended(motion, speech), known_neutral=blended(neutral, speech.neutral))


def _driven(regions: tuple[str, ...], region: str) -> Tensor:
    """[len(regions)] bool: which axes are the driver's."""
    whole = region in ("all", "exp")
    return torch.tensor([name != "lip" and (whole or name == region) for name in regions], dtype=torch.bool)


def _pose_of(voice: Motion, driver: Motion) -> dict:
    """The voice's own head, with a posture that stays."""
    return {
        "rotation": voice.rotation,
        "posture": torch.zeros_like(driver.posture),
        "translation": voice.translation,
        "scale": voice.scale,
    }


def _back_and_forth(motion: Motion, count: int) -> Motion:
    """As many frames as asked for."""
    length = motion.num_frames
    steps = torch.arange(count) % max(1, 2 * (length - 1))
    order = torch.where(steps < length, steps, 2 * (length - 1) - steps)
    tensors = {name: value[order] for name, value in motion._tensors().items()}
    return replace(motion, **tensors)
