"""Random expressions: what faces do, mixed, with a little of everything and now and then one axis alone."""

import numpy as np

from ..head.arkit import ARKIT_NAMES

# Each is a movement at its full strength; without a side it is of both.
MOVEMENTS = (
    {"mouthSmile": 0.9, "cheekSquint": 0.5, "mouthDimple": 0.2},
    {"mouthSmile": 0.8, "jawOpen": 0.25, "mouthUpperUp": 0.35, "mouthLowerDown": 0.2, "cheekSquint": 0.4},
    {"jawOpen": 0.7},
    {"jawOpen": 0.35, "mouthLowerDown": 0.4, "mouthUpperUp": 0.3},
    {"mouthFunnel": 0.6, "jawOpen": 0.25},
    {"mouthPucker": 0.8},
    {"mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.2},
    {"mouthFrown": 0.6, "browInnerUp": 0.5, "mouthShrugLower": 0.4},
    {"browDown": 0.8, "eyeSquint": 0.5, "noseSneer": 0.4},
    {"browInnerUp": 0.6, "browOuterUp": 0.6, "eyeWide": 0.5},
    {"browInnerUp": 0.6, "browOuterUp": 0.7, "eyeWide": 0.6, "jawOpen": 0.5},
    {"eyeBlink": 1.0},
    {"eyeBlink": 0.4, "eyeSquint": 0.3},
    {"mouthStretch": 0.5, "jawOpen": 0.2},
    {"cheekPuff": 0.7},
    {"mouthLeft": 0.5, "mouthSmileLeft": 0.3},
    {"mouthRight": 0.5, "mouthSmileRight": 0.3},
    {"eyeBlinkLeft": 1.0},
    {"eyeBlinkRight": 1.0},
    {"jawOpen": 0.45, "tongueOut": 0.6},
)
GAZE = 0.16  # standard deviation of the scores of looking to a side
SIDES_DIFFER = 0.12
SLIGHT = 0.03  # mean of what every other axis does
UNUSUAL = ("tongueOut", "jawLeft", "jawRight", "cheekPuff", "jawForward", "mouthClose")  # seldom done in passing


def random_expression(rng: np.random.Generator, neutral: float = 0.2, alone: float = 0.1) -> np.ndarray:
    """[52] float32 scores in 0..1.

    Args:
        rng: Decides.
        neutral: Share of faces that do next to nothing.
        alone: Share of faces that move one axis, as far as it goes.
    """
    scores = rng.exponential(SLIGHT, len(ARKIT_NAMES)) * ~np.isin(ARKIT_NAMES, UNUSUAL)
    kind = rng.random()
    if kind < alone:
        scores[rng.integers(len(ARKIT_NAMES))] = rng.uniform(0.3, 1)
    elif kind > alone + neutral:
        for movement in rng.choice(len(MOVEMENTS), rng.integers(1, 3), replace=False):
            strength = rng.uniform(0.3, 1)
            for name, most in MOVEMENTS[movement].items():
                for axis in [name] if name in ARKIT_NAMES else [f"{name}Left", f"{name}Right"]:
                    scores[ARKIT_NAMES.index(axis)] += most * strength * np.exp(rng.normal(0, SIDES_DIFFER))
    looking = np.char.startswith(ARKIT_NAMES, "eyeLook")
    scores[looking] = 0
    right, up = rng.normal(0, GAZE, 2)
    # To the picture's right is outward for the left eye and inward for the right one.
    for axis, score in (("OutLeft", right), ("InLeft", -right), ("InRight", right), ("OutRight", -right)):
        scores[ARKIT_NAMES.index(f"eyeLook{axis}")] = score
    for side in ("Left", "Right"):
        scores[ARKIT_NAMES.index(f"eyeLookUp{side}")] = up
        scores[ARKIT_NAMES.index(f"eyeLookDown{side}")] = -up
    return scores.clip(0, 1).astype(np.float32)
