"""The sliders of a face: ARKit's names in groups, both sides together or each by itself, and well-known expressions."""

from collections.abc import Sequence

from ..head.arkit import BROW_NAMES, CHEEK_NAMES, EYE_NAMES, JAW_NAMES, MOUTH_NAMES, mirrored

GROUPS = {"Eyes": EYE_NAMES, "Brows": BROW_NAMES, "Mouth": MOUTH_NAMES, "Jaw": JAW_NAMES, "Cheeks, nose": CHEEK_NAMES}
SLIDERS = tuple(name for names in GROUPS.values() for name in names)
DIRECTIONS = ("jawLeft", "mouthLeft")  # where to, not whose side
PRESETS = {
    "Neutral": {},
    "Smile": {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "Surprise": {
        "jawOpen": 0.45,
        "browInnerUp": 0.9,
        "browOuterUpLeft": 0.8,
        "browOuterUpRight": 0.8,
        "eyeWideLeft": 0.8,
        "eyeWideRight": 0.8,
    },
    "Wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.3},
    "Frown": {"browDownLeft": 0.9, "browDownRight": 0.9, "mouthFrownLeft": 0.8, "mouthFrownRight": 0.8},
    "Kiss": {"mouthPucker": 0.9, "eyeBlinkLeft": 0.3, "eyeBlinkRight": 0.3},
    "Look aside": {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9},
    "Aah": {"jawOpen": 0.7},
}


def partner(name: str) -> str | None:
    """What the right side does when both move with the left one: gaze goes the same way with both eyes."""
    if not name.endswith("Left") or name in DIRECTIONS:
        return None
    swapped = {"eyeLookInLeft": "eyeLookOutRight", "eyeLookOutLeft": "eyeLookInRight"}
    return swapped.get(name, mirrored(name))


FOLLOWERS = {partner(name): name for name in SLIDERS if partner(name)}  # right -> left


def label(name: str, together: bool) -> str:
    """ARKit's name, without its side where one slider moves both."""
    return name.removesuffix("Left") if together and partner(name) else name


def hidden(name: str, together: bool) -> bool:
    """Whether a slider has nothing to say as its left one speaks for it."""
    return together and name in FOLLOWERS


def expression_of(scores: Sequence[float], together: bool) -> dict[str, float]:
    """What the sliders, in the order of `SLIDERS`, say; without zeros."""
    values = dict(zip(SLIDERS, scores, strict=True))
    if together:
        values |= {right: values[left] for right, left in FOLLOWERS.items()}
    return {name: score for name, score in values.items() if score}
