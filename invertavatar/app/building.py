"""Photos join a person's avatar."""

from collections.abc import Generator, Sequence

import numpy as np

from ..errors import InvertAvatarError
from . import model, people
from .people import Person
from .progress import Report
from .views import like_the_photos

Built = tuple[Person, list[tuple[np.ndarray, str]], list[str]]


def join(
    person: Person | None, paths: Sequence[str], face_index: int, longest: float
) -> Generator[Report, None, Built]:
    """Build an avatar, or refine one with those of the photos that are not in it yet.

    Args:
        person: Whose avatar it is; None begins one.
        paths: See `people.read_photos`.
        face_index: See `people.read_photos`.
        longest: See `people.read_photos`.

    Returns:
        The person, the rows of `people.compared`, and a sentence for each photo that cannot be used.

    Raises:
        InvertAvatarError: No photo is left, or there are too many.
    """
    yield Report("Looking for faces", 0)
    known = {shot.digest for shot in person.shots} if person else set()
    fresh, left_out = {}, []
    for portrait, sentence in people.read_photos(paths, model.tracker(), face_index, longest, model.finest()):
        if portrait is None:
            left_out.append(sentence)
        elif (digest := people.digest_of(portrait)) not in known:
            fresh[digest] = portrait
    if not fresh:
        raise InvertAvatarError(" ".join(left_out) or "These photos are in the avatar already. Drop another one.")
    count = (person.avatar.num_images if person else 0) + len(fresh)
    if count > people.MOST_SHOTS:
        raise InvertAvatarError(
            f"That would be {count} photos, and this app builds avatars of at most {people.MOST_SHOTS}. Leave some out."
        )
    before = like_the_photos(person) if person else []
    steps = model.fuse(person and person.avatar, list(fresh.values()))
    for count in range(1, len(fresh) + 1):
        avatar = next(steps)
        yield Report(f"Photo {count} of {len(fresh)} has joined", count / len(fresh))
    person = people.built(avatar, (*(person.shots if person else ()), *map(people.shot_of, fresh.values())))
    return person, people.compared(person, before, like_the_photos(person)), left_out
