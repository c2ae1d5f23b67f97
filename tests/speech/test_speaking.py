"""A voice moves a face. The sentences are a synthesizer's, which tells what it says when."""

import re

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from invertavatar.errors import InvertAvatarError, MediaError
from invertavatar.evaluation.spoken import SENTENCES, VOICES, Known, LipScore, synthesized
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media import VideoWriter
from invertavatar.speech import listening
from invertavatar.speech.recognisers import recogniser_for
from invertavatar.speech.speaking import joined, speak, speak_stream
from invertavatar.tracking.motion import Motion

RATE = 16000
JAW = ARKIT_NAMES.index("jawOpen")
STILL = {"head_motion": 0.0, "blinks": False}


@pytest.fixture(scope="module")
def recognise():
    return recogniser_for("en-GB")


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Two sentences with two seconds of silence between and after them, as a file."""
    (first, rate, _), (second, *_) = (synthesized(sentence) for sentence in SENTENCES[:2])
    silence = np.zeros(2 * rate, np.int16)
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    wavfile.write(path, rate, np.concatenate([first, silence, second, silence]))
    return path, len(first) / rate


def waves(seconds: float, *pitches: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * sum(np.sin(2 * np.pi * pitch * times) for pitch in pitches)


def test_lips_close_at_p_b_m_and_open_at_stressed_vowels(recognise):
    # Each sentence by one of the voices; all sixty: python scripts/measure_speech.py
    score = LipScore()
    for place, sentence in enumerate(SENTENCES):
        *sound, spans = synthesized(sentence, VOICES[place % len(VOICES)])
        score.add(tuple(sound), spans, recognise)
    assert score.closed[0] >= 0.8 * score.closed[1] > 0
    assert score.opened[0] >= 0.8 * score.opened[1] > 0
    assert np.mean(score.correlations) >= 0.6


def test_phones_that_are_known_close_the_lips_at_every_p_b_m():
    score = LipScore()
    *sound, spans = synthesized(SENTENCES[6])
    score.add(tuple(sound), spans, Known(spans))
    assert score.closed[0] == score.closed[1] > 0
    assert score.correlations == pytest.approx([1.0])


def test_silence_is_rest(recognise, talk):
    path, first = talk
    motion = speak(path, recognise, **STILL)
    quiet = slice(round((first + 0.5) * 25), round((first + 1.5) * 25))
    assert not motion.expression[quiet].any() and not motion.expression[-25:].any()
    assert motion.expression[: round(first * 25), JAW].max() > 0.25
    assert not motion.neutral.expression.any()


@pytest.mark.parametrize(
    "sound",
    [np.zeros(RATE), np.random.default_rng(0).normal(0, 0.1, 3 * RATE), waves(3, 50), np.zeros(3)],
    ids=["silence", "noise", "mains hum", "three samples"],
)
def test_what_is_no_voice_leaves_the_face_at_rest(recognise, sound):
    assert not speak((sound, RATE), recognise, **STILL).expression.any()


def test_music_moves_no_more_than_a_mouth_can(recognise):
    expression = speak((waves(3, 262, 330, 392), RATE), recognise, **STILL).expression
    assert expression.min() >= 0 and expression.max() <= 1


@pytest.mark.parametrize("fps", [24, 25, 30])
def test_the_motion_lasts_as_long_as_the_sound(recognise, fps):
    motion = speak((np.zeros(round(8.3 * RATE)), RATE), recognise, fps)
    assert motion.num_frames == np.ceil(8.3 * fps - 1e-6)
    assert motion.fps == fps


def test_stereo_of_96_khz_and_the_sound_of_a_video_move_as_the_plain_file_does(recognise, talk, tmp_path):
    path, _ = talk
    rate, sound = wavfile.read(path)
    times = np.arange(len(sound) * 96000 // rate) * rate / 96000
    fine = np.interp(times, np.arange(len(sound)), sound).astype(np.int16)
    wavfile.write(tmp_path / "fine.wav", 96000, np.stack([fine, fine], 1))
    with VideoWriter(tmp_path / "film.mp4", 25, quality="draft", audio_from=path) as writer:
        for _ in range(len(sound) * 25 // rate):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    plain, *others = (
        speak(file, recognise, **STILL).expression[:, JAW].numpy()
        for file in (path, tmp_path / "fine.wav", tmp_path / "film.mp4")
    )
    for other in others:
        assert np.corrcoef(plain[: len(other)], other[: len(plain)])[0, 1] > 0.85


def test_hours_of_sound_are_heard_piece_by_piece(monkeypatch):
    seconds_read = 0

    def hours(audio, rate):
        nonlocal seconds_read
        for _ in range(3 * 3600):
            seconds_read += 1
            yield np.zeros(rate, np.float32)

    monkeypatch.setattr(listening, "samples", hours)
    parts = speak_stream("three_hours.wav", Known([]), **STILL)
    assert next(parts).num_frames > 0
    assert seconds_read < 10
    assert joined(parts, 250).num_frames == 250
    assert seconds_read < 30


def test_pieces_follow_each_other_without_gap_and_end_where_it_is_quiet():
    sound = waves(40, 200) * (np.arange(40 * RATE) % (2.9 * RATE) > 0.4 * RATE)
    pieces = list(listening.pieces((sound, RATE), RATE))
    bounds = [0.0, *(piece.end for piece in pieces)]
    assert bounds[-1] == 40
    assert max(np.diff(bounds)) <= listening.PIECE + 2 * listening.SLACK
    for piece, start in zip(pieces, bounds[:-1], strict=True):
        assert piece.starts <= start
        first = round(piece.starts * RATE)
        assert np.allclose(piece.sound, sound[first : first + len(piece.sound)], atol=1e-6)
        assert start == 0 or abs(sound[round(start * RATE) - 100 : round(start * RATE) + 100]).max() < 1e-6


def test_the_seed_decides_over_blinks_and_head_and_strength_scales_it(recognise, talk):
    def moved(seed, head_motion):
        return speak(talk[0], recognise, seed=seed, head_motion=head_motion)

    still, small, large, other = moved(1, 0.0), moved(1, 0.3), moved(1, 0.6), moved(2, 0.3)
    turns = [(m.rotation - torch.eye(3)).abs().amax() for m in (still, small, large)]
    assert turns[0] == 0 < 1.5 * turns[1] < turns[2] < 0.2
    assert torch.equal(small.expression, large.expression)
    assert not torch.equal(small.rotation, other.rotation)
    lids = still.expression[:, ARKIT_NAMES.index("eyeBlinkLeft")]
    assert lids.max() > 0.8 and (lids == 0).float().mean() > 0.7


def test_a_speech_is_saved_and_becomes_a_live_link_face_table(recognise, talk, tmp_path):
    motion = speak(talk[0], recognise)
    motion.save(tmp_path / "talk.safetensors")
    assert torch.equal(Motion.load(tmp_path / "talk.safetensors").expression, motion.expression)
    motion.save(tmp_path / "talk.csv")
    table = Motion.from_arkit_csv(tmp_path / "talk.csv")
    assert torch.allclose(table.expression, motion.expression, atol=1e-5)


def test_bad_sound_and_settings_are_one_sentence(recognise, tmp_path):
    (tmp_path / "empty.wav").touch()
    wavfile.write(tmp_path / "nothing.wav", RATE, np.zeros(0, np.int16))
    (tmp_path / "notes.wav").write_text("this is text")
    for name, phrase in {
        "empty.wav": "is empty",
        "nothing.wav": "holds no sound",
        "notes.wav": "holds no sound",
    }.items():
        with pytest.raises(MediaError, match=f"{name} {phrase}"):
            speak(tmp_path / name, recognise)
    with pytest.raises(MediaError, match="does not exist"):
        speak(tmp_path / "gone.wav", recognise)
    with pytest.raises(MediaError, match=re.escape("[0] at 16000 Hz")):
        speak((np.zeros(0), RATE), recognise)
    with pytest.raises(MediaError, match="finite"):
        speak((np.full(RATE, np.nan), RATE), recognise)
    with pytest.raises(InvertAvatarError, match="head_motion runs from 0 to 1"):
        speak((np.zeros(RATE), RATE), recognise, head_motion=2)
