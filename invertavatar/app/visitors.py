"""What visitors built, kept for a while: so many people, so many bytes, and whoever was away longest gives way."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ..errors import InvertAvatarError
from . import settings
from .people import Person


class Kept(NamedTuple):
    """A person, and what they cost."""

    person: Person
    num_bytes: int
    seen: float  # when it was last used


class Visitors:
    """Keeps each visitor's person under a ticket, which is all that the page holds.

    Args:
        most: People at a time.
        most_bytes: That they take together; the latest is kept whatever it takes.
        lifetime: Seconds after which a person nobody used is forgotten.
        clock: Tells the seconds.
    """

    def __init__(self, most: int, most_bytes: int, lifetime: float, clock: Callable[[], float] = time.monotonic):
        self.most, self.most_bytes, self.lifetime, self.clock = most, most_bytes, lifetime, clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()  # whoever was away longest comes first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Bytes that all of them take."""
        return sum(kept.num_bytes for kept in self._kept.values())

    def keep(self, person: Person, instead_of: str | None = None) -> str:
        """Keep a person, in the place of the one that the visitor had; returns the new ticket."""
        ticket = secrets.token_hex(16)
        with self._lock:
            if instead_of is not None:
                self._kept.pop(instead_of, None)
            self._kept[ticket] = Kept(person, bytes_of(person), self.clock())
            self._make_room()
        return ticket

    def person(self, ticket: str | None) -> Person:
        """The person of a ticket, who is wanted still.

        Raises:
            InvertAvatarError: There is none yet, or none any more.
        """
        if ticket is None:
            raise InvertAvatarError("There is no avatar yet. Build, load or sample one on the Avatar tab first.")
        with self._lock:
            self._make_room()
            if ticket not in self._kept:
                raise InvertAvatarError(
                    "Your avatar is no longer kept here: it was not used for long, or had to make room for those of "
                    "other visitors. Build it again, or load the file you saved."
                )
            kept = self._kept.pop(ticket)
            self._kept[ticket] = kept._replace(seen=self.clock())
        return kept.person

    def forget(self, ticket: str | None) -> None:
        """Drop a person."""
        if ticket is not None:
            with self._lock:
                self._kept.pop(ticket, None)

    def tidy(self) -> None:
        """Forget whoever was not used for long, also where nobody else comes."""
        with self._lock:
            self._make_room()

    def _make_room(self) -> None:
        total = self.num_bytes
        for ticket, kept in list(self._kept.items()):
            old = self.clock() - kept.seen > self.lifetime
            if not old and (len(self._kept) == 1 or (len(self._kept) <= self.most and total <= self.most_bytes)):
                break
            total -= self._kept.pop(ticket).num_bytes


def bytes_of(person: Person) -> int:
    """What a person takes in memory."""
    shots = sum(shot.crop.nbytes + shot.matte.nbytes + shot.vertices.nbytes for shot in person.shots)
    return person.avatar.num_bytes + shots


VISITORS = Visitors(most=64, most_bytes=1_000_000_000, lifetime=settings.LIFETIME)  # --max-avatars changes it
