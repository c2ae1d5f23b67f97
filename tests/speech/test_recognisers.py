"""Which language is heard by what. The phoneme model here is made up: three layers that were never trained."""

import json
import sys

import numpy as np
import pytest

from invertavatar.errors import InvertAvatarError
from invertavatar.speech.recognisers import recogniser_for

VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "p": 4, "aː": 5, "m": 6, "ʃ": 7}


def phoneme_model(folder, vocabulary=VOCABULARY) -> str:
    """A tiny model in the Hub's layout."""
    transformers = pytest.importorskip("transformers", reason="the optional extra `speech` is not installed")
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=16000).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return str(folder)


def test_a_phoneme_model_hears_any_language_through_the_same_door(tmp_path):
    recognise = recogniser_for("de", phoneme_model(tmp_path))
    phones = recognise(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    assert phones.likelihood.shape == (100, len(phones.letters))
    assert set(phones.letters) <= {"", "p", "a", "m", "ʃ"}
    assert len(recognise(np.zeros(10, np.float32)).likelihood) == 0


def test_the_peaks_of_a_phoneme_model_become_phones_that_touch(tmp_path):
    recognise = recogniser_for("de", phoneme_model(tmp_path))
    spans = recognise._spans([0, 4, 4, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0], 0.4)
    assert [phone for phone, *_ in spans] == ["p", "aː", "m"]
    assert spans[0].end == spans[1].start == pytest.approx(0.08)
    assert spans[1].end == pytest.approx(0.24) and spans[2].start == pytest.approx(0.24)


def test_a_model_of_words_is_refused(tmp_path):
    words = {"<pad>": 0, "|": 1, "1": 2, "2": 3}
    with pytest.raises(InvertAvatarError, match="knows no letter of the phonetic alphabet"):
        recogniser_for("en", phoneme_model(tmp_path, words))


def test_a_model_that_is_not_there_is_a_sentence(tmp_path):
    pytest.importorskip("transformers", reason="the optional extra `speech` is not installed")
    with pytest.raises(InvertAvatarError, match=r"cannot be loaded .*vocab\.json of a phoneme model"):
        recogniser_for("en", str(tmp_path / "gone"))


def test_another_language_names_the_cure():
    with pytest.raises(InvertAvatarError, match=r'English, not "de": pip install .*\[speech\].*--speech-model'):
        recogniser_for("de")


def test_what_is_no_language_is_said():
    with pytest.raises(InvertAvatarError, match="A language is named like en, de or pt-BR"):
        recogniser_for("the Queen's English")


@pytest.mark.parametrize(
    ("package", "arguments"), [("pocketsphinx", ("en", None)), ("transformers", ("de", "some/model"))]
)
def test_a_missing_package_names_the_cure(monkeypatch, package, arguments):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvertAvatarError, match="pip install"):
        recogniser_for(*arguments)
