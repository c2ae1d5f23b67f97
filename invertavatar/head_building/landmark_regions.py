"""Where on the face an expression acts, and what it does there where tracks are silent about it.

Shapes: L 478 landmarks.
"""

import numpy as np

from ..head.arkit import ARKIT_NAMES
from ..head.landmark_topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

# What an axis does where the scores say nothing: (landmark at its centre, displacement in head units, radius).
# Left axes are the mirror images of the right ones.
GUESSES = {
    "cheekPuff": ((205, (-0.05, 0.0, 0.06), 0.13), (425, (0.05, 0.0, 0.06), 0.13)),
    "cheekSquintRight": ((118, (0.0, 0.035, 0.015), 0.09),),
    "cheekSquintLeft": ((347, (0.0, 0.035, 0.015), 0.09),),
    "noseSneerRight": ((64, (0.0, 0.035, 0.0), 0.07),),
    "noseSneerLeft": ((294, (0.0, 0.035, 0.0), 0.07),),
    "jawForward": ((200, (0.0, 0.0, 0.07), 0.2),),
    "jawRight": ((200, (-0.06, 0.0, 0.0), 0.2),),
    "jawLeft": ((200, (0.06, 0.0, 0.0), 0.2),),
    "mouthRight": ((14, (-0.06, 0.0, 0.0), 0.14),),
    "mouthLeft": ((14, (0.06, 0.0, 0.0), 0.14),),
    "mouthFrownRight": ((61, (0.0, -0.05, 0.0), 0.09),),  # scored too seldom to be told from a pout
    "mouthFrownLeft": ((291, (0.0, -0.05, 0.0), 0.09),),
    "mouthClose": ((17, (0.0, 0.05, 0.0), 0.1),),
}


def expression_guess(mean: np.ndarray) -> np.ndarray:
    """[52, 478, 3]: bumps at landmarks for the axes of `GUESSES`, zero for all others (there is no tongue)."""
    guess = np.zeros((len(ARKIT_NAMES), 478, 3))
    for name, bumps in GUESSES.items():
        for landmark, displacement, radius in bumps:
            distance = np.linalg.norm(mean - mean[landmark], axis=1)
            guess[ARKIT_NAMES.index(name)] += np.exp(-((distance / radius) ** 2))[:, None] * np.array(displacement)
    return guess


def expression_support(mean: np.ndarray) -> np.ndarray:
    """[52, 478] in 0..1: where an axis can move the face. A left lid leaves the right one alone."""
    regions = region_weights(mean)
    side = 1 / (1 + np.exp(-mean[:, 0] / 0.06))  # 1 on the person's left = the image's right
    irises = np.zeros(478)
    irises[list(RIGHT_IRIS + LEFT_IRIS)] = 1
    support = np.empty((len(ARKIT_NAMES), 478))
    for axis, name in enumerate(ARKIT_NAMES):
        if name.startswith(("eye", "brow")):
            support[axis] = regions["eyes"]
        elif name.startswith(("cheek", "nose")):
            support[axis] = 1 - irises
        else:
            support[axis] = np.minimum(1, regions["lip"] + 0.7 * regions["other"])
        if name.startswith("eye") and not name.startswith("eyeLook"):
            support[axis] = support[axis] * (1 - irises)  # a blink does not turn the eyeball
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            support[axis] = support[axis] * side
        if name.endswith("Right") and name not in ("jawRight", "mouthRight"):
            support[axis] = support[axis] * (1 - side)
    return support


def region_weights(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Three smooth weights [478] that add up to 1: the eyes with the brows, the lips with the jaw, the rest."""
    x, y = mean[:, 0], mean[:, 1]
    eye_height, lip_height = mean[list(RIGHT_EYE + LEFT_EYE), 1].mean(), mean[[13, 14], 1].mean()
    nose_height = mean[2, 1]

    def rise(value: np.ndarray, centre: float, width: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(value - centre) / width))

    eyes = rise(y, eye_height - 0.12, 0.02) * rise(eye_height + 0.30 - y, 0, 0.03)
    eyes *= rise(np.abs(x), 0.06, 0.02) + (1 - rise(np.abs(x), 0.06, 0.02)) * rise(y, eye_height + 0.05, 0.02)
    eyes *= rise(0.44 - np.abs(x), 0, 0.015)  # the outline beside the temples wobbles more than any lid
    lip = rise((lip_height + nose_height) / 2 + 0.05 - y, 0, 0.02)
    eyes = eyes * (1 - lip)
    return {"eyes": eyes, "lip": lip, "other": 1 - eyes - lip}
