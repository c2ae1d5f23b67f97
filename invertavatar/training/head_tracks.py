"""The people of shards as the head model learns from them and is measured on.

Shapes: see `TrackedPerson`.
"""

import numpy as np

from ..head.building import TrackedPerson
from .shards import Shards


def tracked_people(shards: Shards) -> dict[str, TrackedPerson]:
    """The people of some shards, by name."""
    faces: dict[str, list] = {}
    for source in shards.sources:
        faces.setdefault(source.person, []).append(source.faces)
    return {
        person: TrackedPerson(
            shards.vertices[rows].astype(np.float32),
            shards.expression[rows].astype(np.float32) / 255,
            shards.rotation[rows].astype(np.float32),
        )
        for person, rows in ((name, np.concatenate(parts)) for name, parts in sorted(faces.items()))
    }
