"""Measure how well lips follow speech: sentences of a synthesizer that tells its phones, three voices."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar.evaluation.spoken import LipScore
    from invertavatar.speech.phones import Recogniser

MINUTES = 10  # of sound, for speed and memory


def measure_speech(
    speech_model: Annotated[str | None, typer.Option(help="Folder or Hub id of a phoneme model to measure.")] = None,
    speed: Annotated[bool, typer.Option("--speed", help=f"Also time {MINUTES} minutes of sound.")] = False,
    debug: DebugOption = False,
) -> None:
    """Closed lips at p, b, m, open ones at stressed a and o, and the jaw's correlation with that of the known phones.

    The synthesizer is eSpeak NG: pip install espeakng-loader.
    """
    with error_sentences(debug):
        import numpy as np

        from invertavatar.evaluation.spoken import SENTENCES, VOICES, LipScore, synthesized
        from invertavatar.speech.recognisers import recogniser_for

        recognise = recogniser_for(speech_model=speech_model)
        everything = LipScore()
        for voice in VOICES:
            score = LipScore()
            for sentence in SENTENCES:
                samples, rate, spans = synthesized(sentence, voice)
                for one in (score, everything):
                    one.add((samples, rate), spans, recognise)
            print(f"{voice:12s} {described(score)}")
        print(f"{'all':12s} {described(everything)}")
        if speed:
            sound = [synthesized(sentence, VOICES[0])[0] for sentence in SENTENCES]
            samples = np.concatenate(sound)
            print(timed(np.resize(samples, MINUTES * 60 * rate), rate, recognise))


def described(score: "LipScore") -> str:
    """One line."""
    closed, opened, needless = (
        f"{100 * done / of:.0f} % of {of}" for done, of in (score.closed, score.opened, score.needless)
    )
    mean = sum(score.correlations) / len(score.correlations)
    return (
        f"closed at p b m: {closed}; open at stressed a o: {opened}; needless closings: {needless}; "
        f"correlation of the jaw: {mean:.2f}, lowest of a sentence {min(score.correlations):.2f}"
    )


def timed(samples: "np.ndarray", rate: int, recognise: "Recogniser") -> str:
    """How long a long sound, samples [N] int16, takes from a file, piece by piece, and the memory that comes on top."""
    import tempfile
    import time

    import psutil
    from scipy.io import wavfile

    from invertavatar.speech.speaking import speak_stream

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        wavfile.write(path, rate, samples)
        peaks, first, started = [], None, time.process_time()
        for _ in speak_stream(path, recognise):
            first = first or time.process_time() - started
            peaks.append(psutil.Process().memory_info().rss / 2**20)
        used = time.process_time() - started
    length = len(samples) / rate
    return (
        f"{length:.0f} s of sound: {used:.1f} s of one core ({length / used:.0f} times real time), first motion "
        f"after {first:.2f} of them; memory {peaks[0]:.0f} MiB after the first piece, {max(peaks):.0f} MiB at most"
    )


if __name__ == "__main__":
    app = new_app()
    app.command()(measure_speech)
    run(app)
