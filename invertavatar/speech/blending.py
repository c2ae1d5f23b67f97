"""A speech meets what else moves a face: the driver of the head, and the expression of the photo.

Shapes: T frames, K residual coefficients.
"""

from dataclasses import replace

import torch
from torch import Tensor

from invertavatar.errors import MotionError
from invertavatar.head.arkit import ARKIT_NAMES, ARKIT_REGIONS
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.retargeting import check_retargeting

CLOSED, ROUNDED = ("mouthPressLeft", 0.4), ("mouthPucker", 0.6)  # scores at which a photo's smile has given way
GIVES_WAY = 0.85  # of the photo's own mouth, at most


def over_photo(speech: Motion, rest: Motion) -> Motion:
    """The speech for a person whose photo smiles: what is relative to a smile with teeth would close no lips.

    Where lips close or round, the photo's own mouth gives way; elsewhere it stays, and in silence it is as it was.

    Args:
        speech: From `pipe.speak`, to be driven by relatively.
        rest: One frame, the avatar's.
    """
    given = torch.zeros(speech.num_frames)
    for name, most in (CLOSED, ROUNDED):
        given = given.maximum(speech.expression[:, ARKIT_NAMES.index(name)] / most)
    mouth = rest.expression * torch.tensor([region == "lip" for region in ARKIT_REGIONS])
    return replace(speech, expression=speech.expression - GIVES_WAY * given.clamp(0, 1)[:, None] * mouth)


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
    """The voice's own head, with a torso pose that stays."""
    return {
        "rotation": voice.rotation,
        "torso_pose": torch.zeros_like(driver.torso_pose),
        "translation": voice.translation,
        "scale": voice.scale,
    }


def _back_and_forth(motion: Motion, count: int) -> Motion:
    """As many frames as asked for."""
    length = motion.num_frames
    steps = torch.arange(count) % max(1, 2 * (length - 1))
    order = torch.where(steps < length, steps, 2 * (length - 1) - steps)
    tensors = {name: value[order] for name, value in motion.tensors().items()}
    return replace(motion, **tensors)
