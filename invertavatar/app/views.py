"""How a person is looked at: from five sides, on an orbit, as their photos show them, as depth.

Shapes: T frames, S side of a picture.
"""

import re
from pathlib import Path

import numpy as np
import torch

from ..camera import angles_from_rotation
from ..errors import InvertAvatarError
from ..media import load_image, side_by_side
from ..tracking.motion import Motion
from . import arguments, model, people, uploads
from .people import Person

BACKGROUNDS = ("gray", "white", "black", "green", "original", "blur", "transparent")
TURNTABLE = (-30, -15, 0, 15, 30)  # degrees
ORBIT = ((0, 0, 0), (0.75, 30, 0), (1.5, 0, 15), (2.25, -30, 0), (3, 0, -10), (3.5, 0, 0))  # seconds, yaw, pitch
ORBIT_RATE = 20  # frames a second
FARTHEST, NEAREST = -0.5, 1.0  # depth in head units that a depth picture tells apart
DARKEST = 32  # grey of what is farthest; nothing is black


def turntable(person: Person) -> np.ndarray:
    """The person from five sides, side by side: uint8 [S, 5 S, 3]."""
    strip, _ = model.pictures(person.avatar, yaw=TURNTABLE, turn_body=True, height=people.VIEW_SIZE)
    return side_by_side(*strip)


def orbit(person: Person, expression: dict[str, float]) -> tuple[Motion, dict[str, list[float]]]:
    """A motion that holds still, and the angles of the camera around it, both for `model.frames`.

    Args:
        person: Who is looked at.
        expression: ARKit name -> score, on the neutral face as for a still.
    """
    keyframes = [{"time": seconds, "yaw": yaw, "pitch": pitch} for seconds, yaw, pitch in ORBIT]
    path = Motion.from_sliders([keyframes[0] | expression, *keyframes[1:]], fps=ORBIT_RATE)
    rest = person.avatar.rest
    motion = Motion(
        rotation=torch.eye(3).expand_as(path.rotation),
        expression=path.expression,
        residual=-rest.residual.expand(path.num_frames, -1),  # which the pipeline adds
        residual_region=rest.residual_region,
        fps=path.fps,
    )
    yaw, pitch, _ = angles_from_rotation(path.rotation).unbind(-1)
    return motion, {"yaw": yaw.tolist(), "pitch": pitch.tolist()}


def like_the_photos(person: Person) -> list[np.ndarray]:
    """The avatar in the pose and with the expression of each photo: uint8 [S, S, 3] over grey."""
    if not person.shots:
        return []
    motion = people.motion_of_shots(person, model.load().recorder.head_model)
    return list(model.frames(person.avatar, motion, relative_motion=False, height=people.VIEW_SIZE, framing="crop"))


def checked_into(person: Person, switch: object, photos: object, into: object, longest: float) -> str | None:
    """The photo or video that a head is put into: one that was uploaded, or with the `switch` the first photo.

    Raises:
        InvertAvatarError: There is none, it cannot be used, both are wanted, or the photo is not in the avatar.
    """
    path = next(iter(arguments.files("pictures to put the head into", into, most=1)), None)
    if arguments.switch("the switch into the photo", switch):
        if path:
            raise InvertAvatarError(
                f"The head goes into the first photo or into {Path(path).name}, not into both. Leave one of them out."
            )
        path = next(iter(arguments.files("photos", photos, most=100)), None)
        if path is None:
            raise InvertAvatarError("There is no first photo to put the head into. Drop a photo of the person there.")
        name = Path(path).name
        if not any(shot.name.startswith(name) for shot in person.shots):  # of a video a name has the frame's too
            raise InvertAvatarError(
                f"The first photo, {name}, is not one that this avatar was built from. Build the avatar, or drop a "
                "photo of the person to put the head into."
            )
    if path:
        uploads.check(path, longest)
    return path


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """Depth [S, S] in head units, NaN where there is nothing -> uint8 [S, S, 3]: near is bright, nothing is black."""
    brightness = (depth.clip(FARTHEST, NEAREST) - FARTHEST) / (NEAREST - FARTHEST)
    grey = np.where(np.isnan(depth), 0, DARKEST + (255 - DARKEST) * brightness)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, -1)


def checked_background(background: object, picture: object = None) -> str | np.ndarray:
    """A background by name or colour, or a picture that was uploaded; never a path on this machine.

    Raises:
        InvertAvatarError: It is neither.
    """
    for path in arguments.files("background pictures", picture, most=1):
        uploads.check(path, longest=0)
        return load_image(path)
    if background is None:
        return BACKGROUNDS[0]
    if isinstance(background, str) and (background in BACKGROUNDS or re.fullmatch("#[0-9a-fA-F]{6}", background)):
        return background
    choice = ", ".join(BACKGROUNDS)
    raise InvertAvatarError(
        f"{arguments.shortened(background)} is no background. Choose one of {choice}, or a colour such as #3366cc."
    )
