"""Phones of any language by a phoneme model of the Hub, through transformers (the optional extra `speech`).

Such a model (wav2vec 2.0 and its like with a CTC head) names at each 20 ms one phone of the phonetic alphabet or a
blank; the phones stand as short peaks among blanks, so each lasts from half-way to the one before to half-way to the
one after, at most `LONGEST`.

Shapes: N samples, T' steps of the model, V phones of its vocabulary.
"""

import json
from pathlib import Path

import numpy as np
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.speech.phones import Phones, Span, phones_from_spans
from invertavatar.speech.visemes import letters_of

LONGEST = 0.12  # seconds that a phone lasts before and after its peak


class CtcRecogniser:
    """Phones by a model in the Hub's layout: config.json, model.safetensors, preprocessor_config.json, vocab.json.

    Args:
        name: A folder, or a repository of the Hub.

    Raises:
        InvertAvatarError: transformers is missing, there is no such model, or it is no phoneme model.
    """

    def __init__(self, name: str):
        try:
            from transformers import AutoFeatureExtractor, AutoModelForCTC
            from transformers.utils import cached_file
        except ImportError as error:
            raise InvertAvatarError(
                f'The speech model {name} needs transformers: pip install "invertavatar[speech]".'
            ) from error
        try:
            self._features = AutoFeatureExtractor.from_pretrained(name)
            self._model = AutoModelForCTC.from_pretrained(name, use_safetensors=True).eval()
            vocabulary = json.loads(Path(cached_file(name, "vocab.json")).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InvertAvatarError(
                f"The speech model {name} cannot be loaded ({reason}): name a folder or repository with config.json, "
                "model.safetensors, preprocessor_config.json and vocab.json of a phoneme model."
            ) from error
        self.sample_rate = self._features.sampling_rate
        self._blank = self._model.config.pad_token_id
        self._phones = {
            number: phone
            for phone, number in vocabulary.items()
            if not phone.startswith(("<", "["))  # <pad>, [UNK]...
        }
        if not any(letters_of(phone) for phone in self._phones.values()):
            raise InvertAvatarError(
                f"The speech model {name} knows no letter of the phonetic alphabet: name one trained on phonemes."
            )

    @torch.inference_mode()
    def __call__(self, sound: np.ndarray) -> Phones:
        """The phones of some seconds of sound [N] float32 in -1..1."""
        seconds = len(sound) / self.sample_rate
        sound = np.pad(sound, (0, max(0, round(0.1 * self.sample_rate) - len(sound))))  # what the first layers need
        inputs = self._features(sound, sampling_rate=self.sample_rate, return_tensors="pt")
        best = self._model(inputs["input_values"]).logits[0].argmax(-1).tolist()  # [T']
        return phones_from_spans(self._spans(best, len(sound) / self.sample_rate), seconds)

    def _spans(self, best: list[int], seconds: float) -> list[Span]:
        """Phones with their times from the likeliest token of each step."""
        step = seconds / len(best)
        peaks: list[tuple[str, float, float]] = []  # a phone, and its first and last moment
        before = self._blank
        for number, token in enumerate(best):
            phone = self._phones.get(token, "")
            if token == before and peaks and token != self._blank:
                peaks[-1] = (*peaks[-1][:2], (number + 1) * step)
            elif token != self._blank and letters_of(phone):
                peaks.append((phone, number * step, (number + 1) * step))
            before = token
        spans = []
        for place, (phone, first, last) in enumerate(peaks):
            start = max(first - LONGEST, 0.5 * (peaks[place - 1][2] + first) if place else 0.0)
            end = min(last + LONGEST, 0.5 * (last + peaks[place + 1][1]) if place + 1 < len(peaks) else seconds)
            spans.append(Span(phone, start, end))
        return spans
