"""A visitor's person: their photos as they are found, the avatar, and how far the two agree.

Shapes: N photos, S side of a crop.
"""

import hashlib
import io
import itertools
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from ..avatar import Avatar
from ..avatar_format.file import pack
from ..errors import InvertAvatarError, MediaError
from ..head.head_model import HeadModel
from ..media import load_images, side_by_side
from ..rendering.overlay import head_overlay
from ..tracking.motion import Motion
from ..tracking.portrait import Portrait, prepare_portrait
from ..tracking.tracker import FaceTracker
from . import uploads

MOST_SHOTS = 64  # of a person: each is drawn beside the avatar again whenever one joins
VIEW_SIZE = 256  # of crops, and of the pictures beside them


@dataclass(frozen=True, eq=False)
class Shot:
    """What is kept of a photo to compare the avatar with."""

    name: str
    digest: str  # of the photo's pixels
    crop: np.ndarray  # [S, S, 3] uint8
    matte: np.ndarray  # [S, S] bool, the person
    real: np.ndarray  # [S, S] bool, pixels that the photo has
    vertices: torch.Tensor  # [1, 478, 3] as tracked, head space
    expression: torch.Tensor  # [1, 52]
    rotation: torch.Tensor  # [1, 3, 3]


@dataclass(frozen=True, eq=False)
class Person:
    """An avatar on the CPU, what to call it, and the photos it was built from in this visit."""

    avatar: Avatar
    title: str
    shots: tuple[Shot, ...] = ()


def built(avatar: Avatar, shots: tuple[Shot, ...] = ()) -> Person:
    """A person with the number of photos in their avatar as title."""
    titles = {0: "A person who does not exist", 1: "Built from 1 photo"}
    return Person(avatar, titles.get(avatar.num_images, f"Built from {avatar.num_images} photos"), shots)


def read_photos(
    paths: Sequence[str], tracker: FaceTracker, face_index: int, longest: float, finest: int | None = None
) -> Iterator[tuple[Portrait | None, str]]:
    """The photos of a visitor, one after the other.

    Args:
        paths: Pictures, and videos that lend frames.
        tracker: Finds the faces.
        face_index: Which face where a photo shows several, 0 is the largest.
        longest: Seconds that a video may last.
        finest: See `prepare_portrait`.

    Yields:
        The tracked crop and a sentence about it, or None and the sentence why a photo cannot be used.
    """
    if not paths:
        raise MediaError("Drop one or more photos of one person first, or choose an example person.")
    for path in paths[: uploads.MAX_FILES]:
        try:
            uploads.check(path, longest)
            pictures, names = load_images([path])
        except InvertAvatarError as error:
            yield None, str(error)
            continue
        for picture, name in zip(pictures, names, strict=True):
            try:
                portrait = prepare_portrait(picture, tracker, name, face_index, finest=finest)
            except InvertAvatarError as error:
                yield None, str(error)
            else:
                yield portrait, found_in(portrait)
    if len(paths) > uploads.MAX_FILES:
        yield None, f"Only the first {uploads.MAX_FILES} files were used; add the others afterwards."


def found_in(portrait: Portrait) -> str:
    """`anna_2.jpg: head 610 px wide, turned 31° to the right`."""
    yaw, pitch, _ = portrait.angles
    turned = f"turned {abs(yaw):.0f}° to the {'right' if yaw > 0 else 'left'}" if abs(yaw) >= 5 else "frontal"
    lifted = f", {'raised' if pitch > 0 else 'lowered'} {abs(pitch):.0f}°" if abs(pitch) >= 10 else ""
    advice = "; a larger photo would give a sharper avatar" if portrait.sharpness < 0.5 else ""
    return f"{portrait.name}: head {2 * portrait.scale:.0f} px wide, {turned}{lifted}{advice}"


def understood(portrait: Portrait, head_model: HeadModel) -> np.ndarray:
    """The crop of a photo with the fitted head over it: [S, S, 3] uint8."""
    return np.asarray(Image.fromarray(head_overlay(head_model, portrait)).resize((VIEW_SIZE, VIEW_SIZE)))


def crop_of(portrait: Portrait) -> np.ndarray:
    """The crop of a photo: [S, S, 3] uint8."""
    return np.asarray(Image.fromarray(portrait.picture).resize((VIEW_SIZE, VIEW_SIZE), Image.Resampling.LANCZOS))


def digest_of(portrait: Portrait) -> str:
    """Names a photo by its pixels, so that it joins an avatar only once."""
    return hashlib.sha256(portrait.photo.numpy().tobytes()).hexdigest()


def shot_of(portrait: Portrait) -> Shot:
    """What is kept of a photo that has joined an avatar."""
    matte, real = (
        np.asarray(Image.fromarray((x[0, 0].numpy() * 255).astype(np.uint8)).resize((VIEW_SIZE, VIEW_SIZE)))
        for x in (portrait.matte, portrait.inside)
    )
    return Shot(
        name=portrait.name,
        digest=digest_of(portrait),
        crop=crop_of(portrait),
        matte=matte > 128,
        real=real > 64,
        vertices=portrait.vertices,
        expression=portrait.expression,
        rotation=portrait.rotation,
    )


def motion_of_shots(person: Person, head_model: HeadModel) -> Motion:
    """The pose and expression of each photo, one frame each, for `animate_stream(relative_motion=False)`.

    Args:
        person: With one photo or more.
        head_model: On the CPU.
    """
    avatar, shots = person.avatar, person.shots
    vertices, expression, rotation = (
        torch.cat([getattr(shot, name) for shot in shots]) for name in ("vertices", "expression", "rotation")
    )
    residual = head_model.residual(head_model.unbiased(vertices, rotation), avatar.shape.landmarks, expression)
    return Motion(
        rotation=rotation,
        expression=expression,
        residual=residual - avatar.rest.residual,  # to which the pipeline adds it
        residual_region=avatar.rest.residual_region,
    )


def compared(person: Person, before: Sequence[np.ndarray], now: Sequence[np.ndarray]) -> list[tuple[np.ndarray, str]]:
    """For each photo a picture and its caption: photo | avatar before, for photos that were in it | avatar now.

    Args:
        person: The avatar as it is now.
        before: Pictures [S, S, 3] uint8 of the earlier avatar in the pose of each of its photos.
        now: The same of the avatar as it is now.
    """
    rows = []
    for shot, old, new in itertools.zip_longest(person.shots, before, now):
        views = [view for view in (old, new) if view is not None]
        agreements = " → ".join(f"{agreement(shot, view):.1f}" for view in views)
        rows.append(
            (side_by_side(*(real_part(shot, x) for x in (shot.crop, *views))), f"{shot.name}: agrees {agreements} %")
        )
    return rows


def real_part(shot: Shot, picture: np.ndarray) -> np.ndarray:
    """As much of a picture [S, S, 3] as the photo has."""
    rows, columns = (np.flatnonzero(shot.real.any(axis)) for axis in (1, 0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else picture


def agreement(shot: Shot, view: np.ndarray) -> float:
    """100 less the mean colour difference in percent between a photo and a picture, inside the person's outline."""
    difference = np.abs(shot.crop.astype(np.float32) - view)[shot.matte]
    return 100 * (1 - float(difference.mean()) / 255) if difference.size else 0.0


def saved(avatar: Avatar, file: Path) -> None:
    """Write an avatar as one .zip."""
    with TemporaryDirectory() as folder:
        avatar.save_pretrained(folder)
        pack(Path(folder), file)


def thumbnails(person: Person, count: int = 8) -> list[str]:
    """The first photos as small JPEG pictures in base64."""
    faces = []
    for face in person.avatar.thumbnails[:count].permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(face).save(buffer, "JPEG", quality=85)
        faces.append(b64encode(buffer.getvalue()).decode())
    return faces
