"""How well lips follow speech, measured on a synthesizer that tells when it says which phone (eSpeak NG).

Shapes: N samples, T frames of 25 in a second.
"""

import ctypes
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from invertavatar.errors import InvertAvatarError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.speech.phones import Phones, Recogniser, Span, phones_from_spans
from invertavatar.speech.speaking import speak
from invertavatar.speech.visemes import letters_of
from invertavatar.tracking.motion import Motion

VOICES = ("en-us", "en-us+f3", "en-gb-x-rp")
SENTENCES = (
    "The baby bear climbed up the maple tree.",
    "Pam bought a blue umbrella in the market.",
    "My father parked the car behind the barn.",
    "Come back home before the storm begins.",
    "A warm lamp stood on top of the piano.",
    "The captain saw a small boat on the bay.",
    "Put the apples and plums in a paper bag.",
    "Somebody dropped a bottle in the lobby.",
    "They have not stopped talking about the game.",
    "Tom jumped over the muddy path and laughed.",
    "The old map shows a bridge across the pond.",
    "Mother made a pot of tomato soup.",
    "It was almost dark when the music stopped.",
    "Both problems were solved in a few months.",
    "The calm man spoke about his job in Boston.",
    "Remember to bring some bread and butter.",
    "A lot of people hope for a better summer.",
    "The black cat slept on the sofa all morning.",
    "Please remove the lid and add the salt.",
    "Nobody can match the beauty of that song.",
)
FPS = 25
NEAR = 0.08  # seconds within which lips may be early or late
SHUT, PRESSED, OPEN = 0.1, 0.2, 0.25  # jaw of closed lips at most, their press at least, and jaw of an open vowel
CLOSERS, OPENERS = "pbm", "aɑæɐɒɔo"
PHONE_EVENT, LAST_EVENT = 7, 0  # espeak_EVENT_TYPE
SYNCHRONOUS, PHONES_IN_IPA = 1, 1 | 2  # AUDIO_OUTPUT_RETRIEVAL; espeakINITIALIZE_PHONEME_EVENTS and _IPA
UTF8, RATE_PARAMETER = 1, 1


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):  # espeak_EVENT of speak_lib.h
    _fields_ = (
        ("type", ctypes.c_int),
        *((name, ctypes.c_int) for name in ("identifier", "text_position", "length", "milliseconds", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def _synthesizer() -> tuple[ctypes.CDLL, int]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise InvertAvatarError(
            "Speech is measured with eSpeak NG, which is not installed: pip install espeakng-loader."
        ) from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = espeakng_loader.get_data_path().encode()
    return library, library.espeak_Initialize(SYNCHRONOUS, 0, folder, PHONES_IN_IPA)


def synthesized(text: str, voice: str = VOICES[0], words_a_minute: int = 165) -> tuple[np.ndarray, int, list[Span]]:
    """A spoken sentence.

    Returns:
        Samples [N] int16, their rate in Hz, and what is said when.

    Raises:
        InvertAvatarError: The synthesizer is missing, or has no such voice.
    """
    library, rate = _synthesizer()
    sound, begins = [], []

    @_Callback
    def take(samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if samples and count:
            sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while events[place].type != LAST_EVENT:
            if events[place].type == PHONE_EVENT:
                begins.append((events[place].milliseconds / 1000, events[place].id.string.decode()))
            place += 1
        return 0

    library.espeak_SetSynthCallback(take)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise InvertAvatarError(f"eSpeak NG has no voice {voice}; name one such as {', '.join(VOICES)}.")
    library.espeak_SetParameter(RATE_PARAMETER, words_a_minute, 0)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.concatenate(sound)
    ends = [start for start, _ in begins[1:]] + [len(samples) / rate]
    return samples, rate, [Span(phone, start, end) for (start, phone), end in zip(begins, ends, strict=True)]


class Known:
    """A recogniser that has been told."""

    sample_rate = 16000

    def __init__(self, spans: list[Span]):
        self.spans = spans

    def __call__(self, sound: np.ndarray) -> Phones:
        """The phones that it knows, of sound that starts with them: one piece, so a sentence of 5 s at most."""
        return phones_from_spans(self.spans, len(sound) / self.sample_rate)


@dataclass
class LipScore:
    """What lips have done over some sentences; counts of [done, all]."""

    closed: list[int] = field(default_factory=lambda: [0, 0])  # of p, b, m those with closed lips
    opened: list[int] = field(default_factory=lambda: [0, 0])  # of stressed a, o those with an open jaw
    needless: list[int] = field(default_factory=lambda: [0, 0])  # of closings those that nothing asked for
    correlations: list[float] = field(default_factory=list)  # of the jaw with that of the known phones, by sentence

    def add(self, sound: tuple[np.ndarray, int], spans: list[Span], recognise: Recogniser) -> None:
        """Measure one sentence."""
        moved, meant = (_speech(sound, by) for by in (recognise, Known(spans)))
        shut = lips_closed(moved)
        jaw, wanted = (motion.expression[:, ARKIT_NAMES.index("jawOpen")].numpy() for motion in (moved, meant))
        times = np.arange(len(jaw)) / FPS
        closers = []
        for phone, start, end in spans:
            letters = letters_of(phone)[:1]
            if letters and letters in CLOSERS:
                closers.append(start)
                self._count(self.closed, bool((shut & (abs(times - start) <= NEAR)).any()))
            elif letters and letters in OPENERS and "ˈ" in phone:
                self._count(self.opened, bool((jaw[abs(times - (start + end) / 2) <= NEAR] > OPEN).any()))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]])))
        for first, last in edges.reshape(-1, 2):
            begins, ends = times[first], times[last - 1]
            speaks = any(letters_of(phone) and start <= (begins + ends) / 2 < end for phone, start, end in spans)
            if speaks:  # in silence lips are closed anyway
                self._count(self.needless, not any(begins - NEAR <= start <= ends + NEAR for start in closers))
        self.correlations.append(float(np.corrcoef(jaw, wanted)[0, 1]))

    @staticmethod
    def _count(counts: list[int], done: bool) -> None:
        counts[0] += done
        counts[1] += 1


def lips_closed(motion: Motion) -> np.ndarray:
    """[T] bool: the jaw is up and the lips press, or `mouthClose` shuts them."""
    jaw, press, close = (
        motion.expression[:, ARKIT_NAMES.index(name)].numpy() for name in ("jawOpen", "mouthPressLeft", "mouthClose")
    )
    return (jaw < SHUT) & ((press > PRESSED) | (close > PRESSED))


def _speech(sound: tuple[np.ndarray, int], recognise: Recogniser) -> Motion:
    return speak(sound, recognise, FPS, head_motion=0, blinks=False)
