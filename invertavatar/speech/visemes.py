"""What the lips do for each sound: letters of the phonetic alphabet -> visemes -> ARKit scores.

Which letters look alike follows the 14 visemes of MPEG-4 Facial Animation (ISO/IEC 14496-2, table of viseme_select),
with vowels told apart further by height and rounding, as the chart of the International Phonetic Association has them:
the lower the tongue, the lower the jaw; rounded vowels bring the lips forward. The scores are our own.
"""

from typing import NamedTuple

import numpy as np

from invertavatar.head.arkit import ARKIT_NAMES

SILENCE = ""  # the letter of no sound: lips at rest
LIP_CLOSERS = "pbmɓʙ"
MODIFIERS = "ˈˌːˑ ʰʷʲˠˤ̩̯̥̬̪̃͜͡ⁿˡʼ.'|‖"  # stress, length, release and diacritics: the lips of the letter before

JAW = ("jawOpen",)
BOTH_SIDES = {
    "press": ("mouthPressLeft", "mouthPressRight"),
    "stretch": ("mouthStretchLeft", "mouthStretchRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "upper_up": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "lower_down": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "roll_lower": ("mouthRollLower",),
    "roll_upper": ("mouthRollUpper",),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",),
    "shrug_upper": ("mouthShrugUpper",),
    "jaw": JAW,
}


class Viseme(NamedTuple):
    """A position of the mouth.

    Attributes:
        scores: What it strives for, by the names of `BOTH_SIDES`, 0..1.
        firm_jaw: How much it insists on its jaw against the sounds beside it, above 0 (Cohen and Massaro's dominance).
        firm_lips: How much it insists on its lips.
    """

    scores: dict[str, float]
    firm_jaw: float
    firm_lips: float


# MPEG-4's number, letters, position. A letter that is in no row moves as the sounds beside it do.
ROWS = (
    (0, (SILENCE,), Viseme({}, 1.0, 1.0)),
    (1, LIP_CLOSERS, Viseme({"press": 0.4, "roll_lower": 0.12, "roll_upper": 0.08}, 2.0, 2.0)),
    (2, "fvɱⱱ", Viseme({"jaw": 0.06, "roll_lower": 0.45, "upper_up": 0.2, "shrug_upper": 0.1}, 1.8, 2.0)),
    (2, "ɸβʋ", Viseme({"jaw": 0.07, "roll_lower": 0.15, "pucker": 0.1}, 1.5, 1.5)),
    (3, "θð", Viseme({"jaw": 0.13, "lower_down": 0.18, "upper_up": 0.1, "stretch": 0.05}, 0.9, 0.6)),
    (4, "tdʈɖǀ", Viseme({"jaw": 0.1, "lower_down": 0.15, "upper_up": 0.08, "stretch": 0.06}, 1.0, 0.4)),
    (5, "kgɡqɢcɟŋɴxɣχʁhɦħʕʔʡ", Viseme({"jaw": 0.16, "lower_down": 0.1, "upper_up": 0.06}, 0.4, 0.2)),
    (6, "ʃʒʂʐɕʑɧ", Viseme({"jaw": 0.08, "funnel": 0.4, "pucker": 0.2, "lower_down": 0.2, "upper_up": 0.15}, 1.5, 1.5)),
    (7, "szɬɮç", Viseme({"jaw": 0.06, "stretch": 0.18, "lower_down": 0.25, "upper_up": 0.12}, 1.5, 0.7)),
    (8, "nɳɲlɭʎɫɺ", Viseme({"jaw": 0.14, "lower_down": 0.14, "upper_up": 0.06, "stretch": 0.04}, 0.7, 0.3)),
    (9, "rɹɾɻʀɽɚɝ", Viseme({"jaw": 0.15, "funnel": 0.2, "pucker": 0.15, "lower_down": 0.08}, 0.7, 0.7)),
    (10, "aɑɐɶ", Viseme({"jaw": 0.52, "lower_down": 0.3, "upper_up": 0.18}, 1.4, 1.0)),
    (10, "æ", Viseme({"jaw": 0.46, "lower_down": 0.32, "upper_up": 0.22, "stretch": 0.16}, 1.3, 1.0)),
    (10, "ʌɜɞ", Viseme({"jaw": 0.38, "lower_down": 0.24, "upper_up": 0.14}, 1.1, 0.8)),
    (11, "ɛeəɘɤ", Viseme({"jaw": 0.28, "lower_down": 0.24, "upper_up": 0.14, "stretch": 0.12}, 0.8, 0.7)),
    (
        12,
        "iɪjɨɯɰᵻ",
        Viseme({"jaw": 0.15, "stretch": 0.25, "smile": 0.12, "lower_down": 0.2, "upper_up": 0.12}, 0.9, 0.9),
    ),
    (13, "oɔɒɵœø", Viseme({"jaw": 0.42, "funnel": 0.45, "pucker": 0.15, "lower_down": 0.12}, 1.3, 1.3)),
    (14, "uʊwʉyʏɥʍ", Viseme({"jaw": 0.13, "pucker": 0.6, "funnel": 0.3}, 1.1, 1.6)),
)
VISEMES = {letter: viseme for _, letters, viseme in ROWS for letter in letters}
NUMBERS = {letter: number for number, letters, _ in ROWS for letter in letters}


def letters_of(phone: str) -> str:
    """The letters of a phone of one or two that the lips show: `ˈɑː` -> `ɑ`, `aɪ` -> `aɪ`, `t͡ʃ` -> `tʃ`."""
    return "".join(letter for letter in phone if letter in VISEMES and letter not in MODIFIERS)


def targets(letters: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What each letter strives for, and how firmly.

    Args:
        letters: L letters of `VISEMES`.

    Returns:
        Scores [L, 52] and dominances [L, 52], both float32; axes that speech does not move have the dominance of lips.
    """
    scores = np.zeros((len(letters), len(ARKIT_NAMES)), np.float32)
    firmness = np.empty_like(scores)
    for row, letter in enumerate(letters):
        viseme = VISEMES[letter]
        for name, value in viseme.scores.items():
            scores[row, [ARKIT_NAMES.index(axis) for axis in BOTH_SIDES[name]]] = value
        firmness[row] = viseme.firm_lips
        firmness[row, ARKIT_NAMES.index("jawOpen")] = viseme.firm_jaw
    return scores, firmness
