"""Synthetic people as prepared faces: one light for all of a person's pictures, exact tracks, geometry beside them.

Shapes: V 478 landmarks, S side of the crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..synthetic.backdrops import random_backdrop
from ..synthetic.expressions import random_expression
from ..synthetic.light import random_light
from ..synthetic.person import PosedPerson, SyntheticPerson
from ..synthetic.scene import SyntheticPicture, draw
from ..synthetic.studio import Studio
from ..synthetic.views import View, random_views, views_at
from .geometry import Geometry, encode_geometry
from .shards import MATTE_QUALITY, PreparedFace, encode_picture

WITH_THE_PERSON = 0.3  # share of people whom the light goes around with, as where a camera goes around them


@dataclass(frozen=True)
class SyntheticSet:
    """What is asked for."""

    pictures: int = 8  # of each person
    yaws: Sequence[float] | None = None  # degrees; views as they come where there are none
    size: int = 256  # S
    seed: int = 0
    geometry: bool = True  # also depth, normals, labels and mesh


def synthetic_faces(studio: Studio, number: int, wanted: SyntheticSet) -> list[PreparedFace]:
    """All pictures of one person; they depend on the seed and the number alone.

    Args:
        studio: What people share.
        number: Of the person.
        wanted: What is asked for.
    """
    rng = np.random.default_rng([wanted.seed, number])
    person = SyntheticPerson.random(studio, rng)
    light, backdrop = random_light(rng, person.albedo), random_backdrop(rng, wanted.size)
    around = rng.random() < WITH_THE_PERSON
    views = views_at(rng, wanted.yaws) if wanted.yaws else random_views(rng, wanted.pictures)
    faces = []
    for place, view in enumerate(views):
        scores = (random_expression(rng) * 255).round().astype(np.uint8)  # as the shard holds them
        posed = person.posed(scores / np.float32(255), view.head_to_torso)
        picture = draw(posed, view.rotation, light.turned(view.body) if around else light, backdrop)
        faces.append(_prepared(posed, picture, view, scores, f"{wanted.seed}-{number:05d}", place, wanted.geometry))
    return faces


def _prepared(
    posed: PosedPerson,
    picture: SyntheticPicture,
    view: View,
    scores: np.ndarray,  # [52] uint8
    name: str,
    place: int,
    geometry: bool,
) -> PreparedFace:
    known = Geometry(picture.depth, picture.normals, picture.labels, posed.mesh.astype(np.float16))
    size = len(picture.picture)
    return PreparedFace(
        picture=encode_picture(picture.picture),
        matte=encode_picture(picture.matte, MATTE_QUALITY),
        vertices=posed.landmarks.astype(np.float16),
        expression=scores,
        rotation=view.rotation,
        inside=np.array([0, 0, size, size], np.int16),
        sharpness=1.0,
        person=f"synthetic/{name}",
        source=f"view_{place:03d}",
        frame=0,
        kind="views",
        geometry=encode_geometry(known) if geometry else b"",
    )
