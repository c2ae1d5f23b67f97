"""Which recogniser hears which language."""

import re

from invertavatar.errors import InvertAvatarError
from invertavatar.speech.phones import Recogniser
from invertavatar.speech.sphinx import SphinxRecogniser

MULTILINGUAL = "facebook/wav2vec2-xlsr-53-espeak-cv-ft"  # Apache-2.0; what we name to those who need another language


def recogniser_for(language: str = "en", speech_model: str | None = None) -> Recogniser:
    """What hears the phones of a language.

    Args:
        language: "en", "en-GB", "de"...
        speech_model: Folder or Hub id of a phoneme model, which hears whatever it was trained for; None takes
            PocketSphinx, which knows English.

    Raises:
        InvertAvatarError: No such language, nothing that hears it, or a package is missing.
    """
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", language):
        raise InvertAvatarError(f"A language is named like en, de or pt-BR, not {language[:40]!r}.")
    if speech_model is not None:
        from invertavatar.speech.ctc import CtcRecogniser

        return CtcRecogniser(speech_model)
    if re.split("[-_]", language.lower())[0] not in ("en", "eng"):
        raise InvertAvatarError(
            f'What hears speech here knows English, not "{language}": pip install "invertavatar[speech]" and name '
            f"a phoneme model of the Hub that does, such as {MULTILINGUAL} (--speech-model, speech_model=)."
        )
    return SphinxRecogniser()
