"""The 52 expression axes: ARKit's blendshape names in the order of Live Link Face, and the region each belongs to.

Left and right are the person's own, as in ARKit: `eyeBlinkLeft` closes the eye on the image's right.
"""

REGIONS = ("eyes", "lip", "other")  # what `animation_region` tells apart; "exp" is all three

EYE_NAMES = tuple(
    f"{name}{side}"
    for side in ("Left", "Right")
    for name in ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
)
JAW_NAMES = ("jawForward", "jawRight", "jawLeft", "jawOpen")
MOUTH_NAMES = (
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthRight",
    "mouthLeft",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
)
BROW_NAMES = ("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight")
CHEEK_NAMES = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight")

ARKIT_NAMES = EYE_NAMES + JAW_NAMES + MOUTH_NAMES + BROW_NAMES + CHEEK_NAMES + ("tongueOut",)
ARKIT_REGIONS = tuple(
    "eyes" if name in EYE_NAMES + BROW_NAMES else "other" if name in CHEEK_NAMES else "lip" for name in ARKIT_NAMES
)


def mirrored(name: str) -> str:
    """The same movement on the other side of the face: `jawLeft` -> `jawRight`, `jawOpen` -> `jawOpen`."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    if name.endswith("Right"):
        return name[:-5] + "Left"
    return name
