"""How loud a voice is from moment to moment, and whether anybody speaks.

Shapes: N samples, T moments, 100 in a second.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter, uniform_filter1d

from invertavatar.speech.phones import RATE

WINDOW = 0.025  # seconds over which loudness is taken
SILENT = -100.0  # decibels below full scale of digital silence
INAUDIBLE = -60.0  # decibels below which nobody is taken to speak
ABOVE_FLOOR = 9.0  # decibels by which speech stands out of the noise
FLOOR_RISE = 6.0  # decibels by which the noise may grow from one piece of sound to the next
USUAL = 35  # percent of the moments of speech that are no louder than usual: the consonants, about
PITCH_RANGE = (70, 400)  # Hz of voices
HUM = 110  # Hz below which is no voice but the mains; higher tones of low voices remain
PERIODIC = 0.6  # of its power that returns with the pitch
PAUSE = 0.15  # seconds of quiet before and after speech that still belong to it: a p is silent for 0.1 s
EASE = 0.12  # seconds in which the mouth comes to rest


def mean_level(sound: np.ndarray) -> float:
    """Decibels of the sound [N] in -1..1, where there is any, against full scale."""
    heard = sound[np.abs(sound) > 1e-5]
    return float(10 * np.log10(np.mean(np.square(heard, dtype=np.float64)))) if len(heard) else SILENT


def levels(sound: np.ndarray, sample_rate: int, count: int) -> np.ndarray:
    """[count] decibels at each moment of the sound [N] against full scale."""
    step, width = sample_rate // RATE, round(WINDOW * sample_rate)
    power = np.concatenate([[0], np.cumsum(np.square(sound, dtype=np.float64))])
    starts = (np.arange(count) * step).clip(max=len(sound))
    ends = (starts + width).clip(max=len(sound))
    return 10 * np.log10(((power[ends] - power[starts]) / width).clip(10 ** (SILENT / 10)))


def activity(level: np.ndarray, noise_floor: float) -> np.ndarray:
    """[T] 0..1: whether anybody speaks, eased.

    Args:
        level: [T] decibels.
        noise_floor: Decibels of the room.
    """
    speaks = (level > max(noise_floor + ABOVE_FLOOR, INAUDIBLE)).astype(np.float32)
    speaks = median_filter(speaks, 5)  # a click is no word
    speaks = maximum_filter1d(speaks, 2 * round(PAUSE * RATE) + 1)
    return uniform_filter1d(speaks, round(EASE * RATE))


def noise_floor(sound: np.ndarray, level: np.ndarray, sample_rate: int, before: float | None) -> float:
    """Decibels of the room: of the quietest tenth of the moments in which no voice sounds.

    Args:
        sound: [N].
        level: [T] its decibels.
        sample_rate: Hz.
        before: That of the piece before, than which it is not much higher at once.
    """
    quiet = level[~_periodic(sound, sample_rate, len(level))]
    floor = float(np.percentile(quiet, 10)) if len(quiet) else SILENT
    return floor if before is None else min(floor, max(before, INAUDIBLE) + FLOOR_RISE)


def usual_level(level: np.ndarray, active: np.ndarray, before: float | None) -> float:
    """Decibels at which this voice usually speaks; follows the pieces [T] of a sound."""
    spoken = level[active > 0.5]
    if not len(spoken):
        return 0.0 if before is None else before
    now = float(np.percentile(spoken, USUAL))
    return now if before is None else 0.5 * (before + now)


def _periodic(sound: np.ndarray, sample_rate: int, count: int) -> np.ndarray:
    """[count] whether the sound repeats itself at the pitch of a voice."""
    step, width = sample_rate // RATE, sample_rate // 25
    padded = np.pad(sound, (0, width + step))
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[::step][:count] * np.hanning(width)
    power = np.abs(np.fft.rfft(frames, 2 * width)) ** 2
    whole = power.sum(1, keepdims=True)
    power[:, : int(HUM / (sample_rate / (2 * width)))] = 0
    alike = np.fft.irfft(power)[:, :width]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(width), 2 * width)) ** 2)[:width]
    longest, shortest = (int(sample_rate / pitch) for pitch in PITCH_RANGE)
    likeness = alike[:, shortest:longest] / (alike[:, :1] + 1e-9) / (window[shortest:longest] / window[0])
    voiced = (likeness.max(1) > PERIODIC) & (power.sum(1) > PERIODIC * whole[:, 0])
    return np.pad(voiced, (0, count - len(voiced)))
