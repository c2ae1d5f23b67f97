"""What is to be done: a job, and what all jobs of a run share."""

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field

MOVIE_KINDS = ("mp4", "mov", "webm", "gif", "webp", "png")


@dataclass(frozen=True)
class Job:
    """One row of the table.

    Args:
        row: Its number, from 1.
        id: Name of its folder among the results.
        photos: Paths or addresses.
        avatar: Path or address of a saved avatar, instead of photos.
        driver: Video, photo, saved motion or table of scores.
        speech: Sound or video whose voice moves the lips.
        audio: Sound or video that lends its sound.
        into: Photo or video in which the head is replaced; "photo" is the first photo.
        options: The other options of `animate`, all of them, by its own names.
    """

    row: int
    id: str
    photos: tuple[str, ...] = ()
    avatar: str | None = None
    driver: str | None = None
    speech: str | None = None
    audio: str | None = None
    into: str | None = None
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What all jobs share; travels to each worker.

    Args:
        folder: Path or address of the results.
        model: Folder or Hub id of the model; None for the shipped one.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: Of torch in a worker; results do not depend on how many workers there are.
        kind: Of the movies, one of `MOVIE_KINDS`; "png" is a folder of pictures.
        avatars: "with" movies, "only", or "none".
        similarity: Whether each avatar is compared with its photos.
        run: Name of the run, its own.
    """

    folder: str
    model: str | None = None
    device: str = "auto"
    threads: int = 1
    kind: str = "mp4"
    avatars: str = "none"
    similarity: bool = True
    run: str = field(default_factory=lambda: uuid.uuid4().hex)


def fingerprint(job: Job, settings: Settings) -> str:
    """What tells whether a result is of this very job: a digest of all that decides it, but not the row's number."""
    asked = asdict(job) | {name: getattr(settings, name) for name in ("model", "kind", "avatars", "similarity")}
    del asked["row"]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
