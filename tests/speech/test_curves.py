"""Coarticulation, and lips that stay closed whatever is beside them."""

import numpy as np
import pytest

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.speech.curves import PARTED, mouth
from invertavatar.speech.phones import Span, phones_from_spans

JAW, PUCKER, PRESS = (ARKIT_NAMES.index(name) for name in ("jawOpen", "mouthPucker", "mouthPressLeft"))


def spoken(*phones: tuple[str, float], active: float = 1.0, held: float = 0.04) -> np.ndarray:
    """Curves of phones with their seconds, one after the other."""
    ends = np.cumsum([seconds for _, seconds in phones]).tolist()
    spans = [Span(phone, end - seconds, end) for (phone, seconds), end in zip(phones, ends, strict=True)]
    count = round(ends[-1] * 100)
    return mouth(phones_from_spans(spans, ends[-1]), np.zeros(count), np.full(count, active, np.float32), held)


@pytest.mark.parametrize("closer", "pbm")
@pytest.mark.parametrize("fps", [12, 25, 60])
def test_no_neighbour_opens_a_closed_lip_however_short_in_any_frame_rate(closer, fps):
    curves = spoken(("ɑ", 0.3), (closer, 0.02), ("ɑ", 0.3), held=1 / fps)
    parted = curves[:, [ARKIT_NAMES.index(name) for name in PARTED]].max(1)
    shut = np.flatnonzero((parted < 1e-3) & (curves[:, PRESS] > 0.35))
    assert len(shut) >= 100 / fps
    assert set(range(30, 32)) <= set(shut.tolist())
    assert curves[:20, JAW].max() > 0.4 and curves[45:, JAW].max() > 0.4


def test_lips_round_before_a_rounded_vowel_begins():
    before_u, before_i = (spoken(("", 0.2), ("t", 0.08), (vowel, 0.2))[24, PUCKER] for vowel in "ui")
    assert before_u > before_i + 0.15


def test_a_short_vowel_opens_the_jaw_less_than_a_long_one():
    short, long = (spoken(("t", 0.1), ("a", seconds), ("t", 0.1))[:, JAW].max() for seconds in (0.04, 0.2))
    assert 0.1 < short < long - 0.05


def test_nobody_speaking_is_rest():
    assert not spoken(("a", 0.5), active=0.0).any()


def test_loudness_opens_the_jaw_and_widens_the_smile():
    phones = phones_from_spans([Span("a", 0, 1)], 1)
    quiet, loud = (mouth(phones, np.full(100, level), np.ones(100, np.float32))[50] for level in (-12.0, 12.0))
    smile = ARKIT_NAMES.index("mouthSmileLeft")
    assert quiet[JAW] < 0.8 * loud[JAW]
    assert quiet[smile] < loud[smile]
