"""English phones by PocketSphinx, whose package brings its acoustic model: no network, nothing to download.

The best path of its allphone search names one phone at a time and is often wrong among p, t and k. The scores that it
has given to each state of each phone on the way know more: a loop over the phones, forward and backward, makes of them
how likely each phone is at each moment.

Shapes: T frames, 100 in a second; P = 42 phones of 3 states each.
"""

import tempfile
from pathlib import Path

import numpy as np

from invertavatar.errors import InvertAvatarError
from invertavatar.speech.loudness import levels, mean_level
from invertavatar.speech.phones import Phones
from invertavatar.speech.visemes import SILENCE

# The model's phones, in its own order, as the letters of their three states; noises are silence for the lips.
LETTERS = {
    **{"+NSN+": SILENCE, "+SPN+": SILENCE, "AA": "ɑɑɑ", "AE": "æææ", "AH": "ʌʌʌ", "AO": "ɔɔɔ", "AW": "aaʊ"},
    **{"AY": "aaɪ", "B": "bbb", "CH": "tʃʃ", "D": "ddd", "DH": "ððð", "EH": "ɛɛɛ", "ER": "ɚɚɚ", "EY": "eeɪ"},
    **{"F": "fff", "G": "ɡɡɡ", "HH": "hhh", "IH": "ɪɪɪ", "IY": "iii", "JH": "dʒʒ", "K": "kkk", "L": "lll"},
    **{"M": "mmm", "N": "nnn", "NG": "ŋŋŋ", "OW": "ooʊ", "OY": "ɔɔɪ", "P": "ppp", "R": "ɹɹɹ", "S": "sss"},
    **{"SH": "ʃʃʃ", "SIL": SILENCE, "T": "ttt", "TH": "θθθ", "UH": "ʊʊʊ", "UW": "uuu", "V": "vvv", "W": "www"},
    **{"Y": "jjj", "Z": "zzz", "ZH": "ʒʒʒ"},
}
PHONES, STATES = tuple(LETTERS), 3
LOUDNESS = -27.0  # decibels to which speech is brought, about as loud as the model's was
LARGEST_GAIN = 40.0  # decibels, so that the noise of a silent room does not become speech
HISS = 10 / 32768  # of noise that is added, as the model never heard the perfect silence of files
# Scores of neighbouring frames are not independent: at full weight a wrong phone is certain, at 0 nothing is known.
WEIGHT, BIGRAM_WEIGHT = 0.18, 0.5
STAY = 0.6  # of a state's time; 1.5 frames' more
# Who is loud is not silent, and who is quiet speaks no vowel: decibels against the mean, and a penalty for each beyond.
LOUDEST_SILENCE, QUIETEST_VOWEL = (-8.0, 0.5), (-15.0, 0.2)
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
LOGARITHM = 1024 * np.log(1.0001)  # a score's unit in the log file, as natural logarithm
WORST = 600  # a score that stands for "not looked at"


class SphinxRecogniser:
    """English phones.

    Raises:
        InvertAvatarError: PocketSphinx is missing.
    """

    sample_rate = 16000

    def __init__(self):
        try:
            import pocketsphinx
        except ImportError as error:
            raise InvertAvatarError(
                "Speech is heard by pocketsphinx, which is not installed: pip install pocketsphinx."
            ) from error
        self._sphinx, self._model = pocketsphinx, pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin")
        self._follows = self._bigrams()
        names = [(SILENCE,) * STATES if said == SILENCE else tuple(said) for said in LETTERS.values()]
        self._silences = [k for k, said in enumerate(LETTERS.values()) if said == SILENCE]
        self._vowels = [PHONES.index(phone) for phone in VOWELS]
        self.letters = tuple(sorted({letter for states in names for letter in states}))
        self._share = np.zeros((len(PHONES), STATES, len(self.letters)), np.float32)
        for phone, states in enumerate(names):
            for state, letter in enumerate(states):
                self._share[phone, state, self.letters.index(letter)] = 1

    def __call__(self, sound: np.ndarray) -> Phones:
        """The phones of some seconds of sound.

        Args:
            sound: [N] float32 in -1..1, 16 kHz.
        """
        level = mean_level(sound)
        hiss = np.random.default_rng(0).normal(0, HISS, len(sound))  # the same sound is heard in the same way
        heard = sound * 10 ** (min(LOUDNESS - level, LARGEST_GAIN) / 20) + hiss
        scores = self._scores((heard.clip(-1, 1) * 32767).astype(np.int16))
        fit = -LOGARITHM * WEIGHT * scores.astype(np.float64)
        against = levels(heard, self.sample_rate, len(fit)) - LOUDNESS
        (loud, strictness), (quiet, rigour) = LOUDEST_SILENCE, QUIETEST_VOWEL
        fit[:, self._silences] -= strictness * (against - loud).clip(min=0)[:, None, None]
        fit[:, self._vowels] -= rigour * (quiet - against).clip(min=0)[:, None, None]
        states = self._smoothed(np.exp(fit - fit.max((1, 2), keepdims=True)))
        return Phones(self.letters, np.einsum("tps,psl->tl", states, self._share).astype(np.float32))

    def _scores(self, sound: np.ndarray) -> np.ndarray:
        """[T, P, 3] how badly each state fits each frame, 0 the best, out of the search's own log of them."""
        with tempfile.TemporaryDirectory() as folder:
            decoder = self._sphinx.Decoder(
                allphone=self._model,
                lm=None,
                dict=None,
                cmn="batch",
                beam=1e-300,  # no phone is given up
                pbeam=1e-300,
                senlogdir=folder,
                loglevel="FATAL",
            )
            decoder.start_utt()
            decoder.process_raw(sound.tobytes(), no_search=False, full_utt=True)
            decoder.end_utt()
            del decoder  # closes the log
            logs = list(Path(folder).iterdir())
            log = logs[0].read_bytes() if logs else b""
        return _read_scores(log)

    def _smoothed(self, fit: np.ndarray) -> np.ndarray:
        """[T, P, 3] how likely each state is, given all frames, of [T, P, 3] likelihoods of the frames alone."""
        count, go = len(fit), 1 - STAY
        forward, scale = np.empty_like(fit), np.empty(count)
        state = np.zeros(fit.shape[1:])
        state[:, 0] = 1 / len(PHONES)
        for t in range(count):
            if t:
                before = forward[t - 1]
                state = STAY * before
                state[:, 1:] += go * before[:, :-1]
                state[:, 0] += go * (before[:, -1] @ self._follows)
            state = state * fit[t]
            scale[t] = state.sum()
            forward[t] = state / scale[t]
        after = np.ones(fit.shape[1:])
        for t in range(count - 1, -1, -1):
            later = fit[t] * after / scale[t]
            forward[t] *= after
            after = STAY * later
            after[:, :-1] += go * later[:, 1:]
            after[:, -1] += go * (self._follows @ later[:, 0])
        return forward / forward.sum((1, 2), keepdims=True)

    def _bigrams(self) -> np.ndarray:
        """[P, P] how often the second phone follows the first, of the model's own phone language model."""
        logarithms = self._sphinx.LogMath()
        model = self._sphinx.NGramModel(self._sphinx.Config(), logarithms, self._model)
        spoken = [not phone.startswith("+") for phone in PHONES]
        follows = np.full((len(PHONES), len(PHONES)), 1e-4)
        for i, first in enumerate(PHONES):
            for j, second in enumerate(PHONES):
                if spoken[i] and spoken[j]:
                    follows[i, j] = logarithms.exp(model.prob([second, first]))
        follows **= BIGRAM_WEIGHT
        return follows / follows.sum(1, keepdims=True)


def _read_scores(log: bytes) -> np.ndarray:
    """[T, P, 3] scores out of the log that `senlogdir` asks for.

    It has a head in text and a mark of the byte order; then for each frame the number n of states looked at, their
    numbers as n differences, and n scores.
    """
    place = log.find(b"endhdr\n") + len(b"endhdr\n") + 4
    rows = []
    while place < len(log):
        count = int.from_bytes(log[place : place + 2], "little")
        numbers = np.cumsum(np.frombuffer(log, np.uint8, count, place + 2))
        row = np.full(len(PHONES) * STATES, WORST, np.int32)
        row[numbers] = np.frombuffer(log, "<i2", count, place + 2 + count)
        rows.append(row.clip(max=WORST))
        place += 2 + 3 * count
    return np.array(rows or [[0] * len(PHONES) * STATES]).reshape(-1, len(PHONES), STATES)
