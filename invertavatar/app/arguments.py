"""What visitors and clients send as numbers, names and lists: checked here, once, and one sentence for what is none.

Nothing of what was sent is repeated at any length. None is what an emptied field sends: it stands for the default.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from ..avatar_format.layout import shortened
from ..errors import InvertAvatarError
from ..head.arkit import ARKIT_NAMES

SIZES = (64, 1024)  # pixels of a frame's side: 4096 would take gigabytes
ANGLES = {"yaw": 180.0, "pitch": 90.0, "roll": 180.0}  # degrees to either side
ZOOM = (0.25, 4.0)
SEEDS = (0, 2**64 - 1)
FACES = (0, 20)  # which of several faces
SCORES = (-1.0, 2.0)  # of an expression; the pipeline clamps them further


def number(name: str, value: object, lowest: float, highest: float, default: float = 0.0) -> float:
    """A number within its range.

    Raises:
        InvertAvatarError: It is none, or out of its range.
    """
    if value is None:
        return default
    if not _is_number(value) or not lowest <= value <= highest:  # nor is nan
        raise InvertAvatarError(
            f"{_capital(name)} is a number from {lowest:g} to {highest:g}, not {shortened(value)}. Change it."
        )
    return float(value)


def whole(name: str, value: object, lowest: int, highest: int, default: int = 0) -> int:
    """A whole number within its range; InvertAvatarError likewise."""
    if value is None:
        return default
    if not _is_number(value) or not lowest <= value <= highest or value % 1:
        raise InvertAvatarError(
            f"{_capital(name)} is a whole number from {lowest} to {highest}, not {shortened(value)}. Change it."
        )
    return int(value)


def size(value: object, default: int) -> int:
    """Pixels of a frame's side."""
    return whole("the size", value, *SIZES, default)


def switch(name: str, value: object, default: bool = False) -> bool:
    """Yes or no."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvertAvatarError(f"{_capital(name)} is true or false, not {shortened(value)}. Change it.")
    return value


def choice(name: str, value: object, choices: Sequence[str], default: str) -> str:
    """One of several words."""
    if value is None:
        return default
    if not isinstance(value, str) or value not in choices:
        raise InvertAvatarError(f"{_capital(name)} is one of {', '.join(choices)}, not {shortened(value)}. Choose one.")
    return value


def text(name: str, value: object, longest: int = 20) -> str:
    """A short text, or a number as one; empty for none."""
    if value is None:
        return ""
    sound = isinstance(value, str)
    if _is_number(value):  # one of too many digits cannot even be written
        sound = not abs(value) >= 10**longest
    if not sound or len(str(value)) > longest:
        raise InvertAvatarError(
            f"{_capital(name)} is a text of at most {longest} characters, not {shortened(value)}. Change it."
        )
    return str(value).strip()


def check_speech(beside: bool, region: str, neutral_frame: str | None) -> None:
    """Refuse what cannot be meant together with a speech.

    Args:
        beside: Whether it moves the mouth beside a driver.
        region: What moves.
        neutral_frame: Of a driver, where one is named.

    Raises:
        InvertAvatarError: It cannot.
    """
    if beside and region == "lip":
        raise InvertAvatarError(
            "The speech moves the mouth, so the driver cannot. Choose another of what moves, or remove one of the two."
        )
    if not beside and neutral_frame:
        raise InvertAvatarError("A speech is at rest where it is silent: leave the neutral frame empty.")


def camera(yaw: object, pitch: object, roll: object, zoom: object) -> dict[str, float]:
    """How a person is looked at, as `pipe.render` takes it."""
    angles = zip(ANGLES.items(), (yaw, pitch, roll), strict=True)
    turned = {name: number(f"the {name}", value, -limit, limit) for (name, limit), value in angles}
    return turned | {"zoom": number("the zoom", zoom, *ZOOM, default=1.0)}


def expression(scores: object) -> dict[str, float]:
    """ARKit name -> score."""
    if scores is None:
        return {}
    if not isinstance(scores, Mapping):
        raise InvertAvatarError(
            f'An expression names axes and their scores, such as {{"jawOpen": 0.4}}, and is not {shortened(scores)}.'
        )
    if unknown := [name for name in scores if name not in ARKIT_NAMES]:
        raise InvertAvatarError(
            f"There is no expression axis {shortened(unknown[0])}; use ARKit's names, such as jawOpen."
        )
    return {name: number(f"the score {name}", score, *SCORES) for name, score in scores.items()}


def files(name: str, value: object, most: int) -> list[str]:
    """Paths of uploaded files, at most so many; of a gallery's pairs of path and caption the paths."""
    if value is None:
        return []
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) > most:
        raise InvertAvatarError(f"These are {len(items)} {name}, and this app takes {most} at a time. Leave some out.")
    paths = []
    for item in items:
        path = item[0] if isinstance(item, list | tuple) and item else item
        if not isinstance(path, str) or not os.path.isfile(path):
            raise InvertAvatarError(f"What was sent as {name} is no file, or has expired. Upload it again.")
        paths.append(path)
    return paths


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
