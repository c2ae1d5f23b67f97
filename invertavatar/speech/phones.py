"""What is said when: the likelihood of each sound at each moment, as every recogniser gives it.

Shapes: T moments, 100 in a second; L letters of the phonetic alphabet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from invertavatar.speech.visemes import SILENCE, letters_of

RATE = 100  # moments a second
FIRST_OF_TWO = 0.6  # share of a diphthong or affricate that its first letter lasts


class Span(NamedTuple):
    """One sound."""

    phone: str  # in the phonetic alphabet, perhaps with stress and length; "" for silence
    start: float  # seconds
    end: float


@dataclass(frozen=True)
class Phones:
    """What is said in a piece of sound.

    Args:
        letters: L, each once; `SILENCE` among them.
        likelihood: [T, L] float32, rows that add to 1.
    """

    letters: tuple[str, ...]
    likelihood: np.ndarray

    def spans(self) -> list[Span]:
        """The likeliest sounds one after the other: to look at, as the lips follow the likelihoods."""
        best = self.likelihood.argmax(1)
        edges = np.flatnonzero(np.diff(best)) + 1
        starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(best)]
        return [
            Span(self.letters[best[start]], start / RATE, end / RATE) for start, end in zip(starts, ends, strict=True)
        ]

    def of(self, letters: Iterable[str]) -> np.ndarray:
        """[T] how likely it is that one of these letters is spoken."""
        return self.likelihood[:, [k for k, letter in enumerate(self.letters) if letter in letters]].sum(1)


class Recogniser(Protocol):
    """Hears phones."""

    sample_rate: int  # Hz of the sound it takes

    def __call__(self, sound: np.ndarray) -> Phones:
        """The phones of some seconds of sound [N] float32 in -1..1."""
        ...


def phones_from_spans(spans: Sequence[Span], seconds: float) -> Phones:
    """Phones that are known for certain, such as a synthesizer's own or those of a transcript.

    Args:
        spans: In order. Where none is, nothing is said.
        seconds: How long the sound lasts.
    """
    count = round(seconds * RATE)
    said = [SILENCE] * count
    for phone, start, end in spans:
        letters = letters_of(phone)[:2]
        for moment in range(max(0, round(start * RATE)), min(count, round(end * RATE))):
            second = len(letters) == 2 and moment / RATE - start > FIRST_OF_TWO * (end - start)
            said[moment] = letters[int(second)] if letters else SILENCE
    letters = (SILENCE, *sorted(set(said) - {SILENCE}))
    likelihood = np.zeros((count, len(letters)), np.float32)
    likelihood[np.arange(count), [letters.index(letter) for letter in said]] = 1
    return Phones(letters, likelihood)
