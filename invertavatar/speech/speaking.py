"""Sound -> `Motion`: a voice moves the face, piece after piece, so that memory does not grow with its length.

Shapes: N samples, T frames, M moments, 100 in a second.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from scipy.ndimage import uniform_filter1d

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media.sound_length import frames_of_sound
from invertavatar.speech.curves import mouth
from invertavatar.speech.listening import Audio, pieces
from invertavatar.speech.liveliness import Liveliness
from invertavatar.speech.loudness import activity, levels, noise_floor, usual_level
from invertavatar.speech.phones import RATE, Phones, Recogniser
from invertavatar.tracking.motion import Motion, still_face
from invertavatar.tracking.motion_io import frame_rate

HEAD_REST = 1.0  # seconds in which the head comes to rest
LIDS = [ARKIT_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]


def speak(
    audio: Audio,
    recognise: Recogniser,
    fps: float | Fraction = 25,
    head_motion: float = 0.5,
    blinks: bool = True,
    seed: int = 0,
) -> Motion:
    """The whole motion of one who says what is heard; see `speak_stream`."""
    return joined(speak_stream(audio, recognise, fps, head_motion, blinks, seed))


def joined(parts: Iterable[Motion], max_frames: int | None = None) -> Motion:
    """One motion of the parts of a stream, of which no more are asked for than are needed."""
    taken, count = [], 0
    for part in parts:
        taken.append(part)
        count += part.num_frames
        if max_frames is not None and count >= max_frames:
            break
    return Motion.concatenate(taken)[:max_frames]


def speak_stream(
    audio: Audio,
    recognise: Recogniser,
    fps: float | Fraction = 25,
    head_motion: float = 0.5,
    blinks: bool = True,
    seed: int = 0,
) -> Iterator[Motion]:
    """The motion of one who says what is heard, some seconds at a time while the sound is read.

    0 is neutral in it, as in a table of scores: in silence the face is at rest.

    Args:
        audio: A sound file (wav, mp3, m4a, ogg, flac...), a video with sound, or samples and their rate.
        recognise: Hears the phones (`recognisers.recogniser_for`).
        fps: Frames per second.
        head_motion: 0..1 strength of the head's own small motion while there is speech.
        blinks: Whether the eyes blink.
        seed: Of blinks and head motion.

    Raises:
        InvertAvatarError: The sound cannot be read, or a number is out of its range.
    """
    if not 0 <= head_motion <= 1:
        raise InvertAvatarError(f"head_motion runs from 0 to 1; {head_motion} does not.")
    fps, life = frame_rate(fps), Liveliness(seed, head_motion, blinks)
    done, floor, usual = 0, None, None  # frames so far, and decibels of the room and of the voice
    for piece in pieces(audio, recognise.sample_rate):
        phones = with_length(recognise(piece.sound), max(1, round(len(piece.sound) * RATE / recognise.sample_rate)))
        level = levels(piece.sound, recognise.sample_rate, len(phones.likelihood))
        floor = noise_floor(piece.sound, level, recognise.sample_rate, floor)
        active = activity(level, floor)
        usual = usual_level(level, active, usual)
        curves = mouth(phones, level - usual, active, held=1 / float(fps))

        seconds = np.arange(done, frames_of_sound(piece.end, fps)) / float(fps)
        done += len(seconds)
        if len(seconds):
            place = (seconds - piece.starts) * RATE
            expression = _at(curves, place)
            expression[:, LIDS] = np.maximum(expression[:, LIDS], life.blinks(seconds)[:, None])
            moves = _at(uniform_filter1d(active, round(HEAD_REST * RATE))[:, None], place)[:, 0]
            angles = life.head(seconds, moves).astype(np.float32).T
            yield Motion(rotation_from_angles(*angles), expression, fps=fps, known_neutral=still_face(fps))


def with_length(phones: Phones, count: int) -> Phones:
    """The phones for just so many moments; the last one lasts, as recognisers leave out an end that fills no window."""
    missing = max(0, count - len(phones.likelihood))
    return Phones(phones.letters, np.pad(phones.likelihood, ((0, missing), (0, 0)), mode="edge")[:count])


def _at(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """[T, C] of values [M, C] at places in moments, between two of which they are interpolated."""
    place = place.clip(0, len(values) - 1)
    before = place.astype(np.int64)
    after, weight = (before + 1).clip(max=len(values) - 1), (place - before)[:, None].astype(np.float32)
    return values[before] * (1 - weight) + values[after] * weight
