import numpy as np
import pytest

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.speech.phones import RATE, Span, phones_from_spans
from invertavatar.speech.sphinx import LETTERS
from invertavatar.speech.visemes import LIP_CLOSERS, SILENCE, VISEMES, letters_of, targets

JAW = ARKIT_NAMES.index("jawOpen")


def test_every_letter_of_the_english_phones_has_a_viseme():
    assert {letter for letters in LETTERS.values() for letter in letters} <= set(VISEMES)


@pytest.mark.parametrize(
    ("phone", "letters"), [("ˈɑː", "ɑ"), ("aɪ", "aɪ"), ("t͡ʃ", "tʃ"), ("pʰ", "p"), ("n̩", "n"), ("", "")]
)
def test_stress_length_and_ties_are_not_seen_on_the_lips(phone, letters):
    assert letters_of(phone) == letters


def test_lips_are_closed_at_p_b_m_and_rest_in_silence_and_lower_vowels_open_the_jaw_further():
    scores, _ = targets((SILENCE, *LIP_CLOSERS, "i", "ɛ", "a"))
    assert not scores[0].any()
    assert not scores[1 : 1 + len(LIP_CLOSERS), JAW].any()
    assert 0 < scores[-3, JAW] < scores[-2, JAW] < scores[-1, JAW]


def test_known_phones_are_certain_and_a_diphthong_has_two_halves():
    phones = phones_from_spans([Span("m", 0.1, 0.2), Span("ˈaɪ", 0.2, 0.4)], 0.6)
    assert len(phones.likelihood) == 0.6 * RATE
    assert np.array_equal(phones.likelihood.sum(1), np.ones(60))
    assert [phone for phone, *_ in phones.spans()] == [SILENCE, "m", "a", "ɪ", SILENCE]
