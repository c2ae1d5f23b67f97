"""The people of shards as the head model learns from them and is measured on.

Shapes: see `TrackedPerson` and `OutlinedPhoto`.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..camera import angles_from_rotation
from ..head_building.displacement_building import OutlinedPhoto
from ..head_building.tracked_person import TrackedPerson
from .episodes import real_pixels
from .shards import Shards

PHOTOS = 6  # of a person, from the most left to the most right one


def tracked_people(shards: Shards) -> dict[str, TrackedPerson]:
    """The people of some shards, by name."""
    faces: dict[str, list] = {}
    moving = np.zeros(len(shards.vertices), bool)
    for source in shards.sources:
        faces.setdefault(source.person, []).append(source.faces)
        moving[source.faces] = source.kind == "clip"
    return {
        person: TrackedPerson(
            shards.vertices[rows].astype(np.float32),
            shards.expression[rows].astype(np.float32) / 255,
            shards.rotation[rows].astype(np.float32),
            moving[rows],
        )
        for person, rows in ((name, np.concatenate(parts)) for name, parts in sorted(faces.items()))
    }


def outlined_people(shards: Shards) -> Iterator[list[OutlinedPhoto]]:
    """A few photos with mattes of each person of some shards who is seen more than once, evenly over the angles."""
    faces: dict[str, list] = {}
    for source in shards.sources:
        faces.setdefault(source.person, []).append(source.faces)
    for _, parts in sorted(faces.items()):
        rows = np.concatenate(parts)
        if len(rows) < 2:
            continue
        yaw = angles_from_rotation(torch.from_numpy(shards.rotation[rows]))[:, 0].numpy()
        order = rows[yaw.argsort(kind="stable")]
        places = np.linspace(0, len(order) - 1, min(PHOTOS, len(order)))
        yield [_outlined(shards, int(order[round(place)])) for place in places]


def _outlined(shards: Shards, face: int) -> OutlinedPhoto:
    matte = shards.matte(face)

    def tensor(array: np.ndarray, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(array.astype(np.float32) / scale)[None]

    return OutlinedPhoto(
        tensor(shards.vertices[face]),
        tensor(shards.expression[face], 255),
        tensor(shards.rotation[face]),
        tensor(matte, 255)[None],
        real_pixels(torch.from_numpy(shards.inside[face]).long(), len(matte))[None],
    )
