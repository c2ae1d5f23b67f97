"""The people of shards as the head model learns from them and is measured on.

Shapes: see `TrackedPerson`.
"""

import numpy as np

from ..head.tracked_person import TrackedPerson
from .shards import Shards


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
