"""What an evaluation leaves behind: `metrics.json`, `metrics.md` and a sheet of pictures for each protocol."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..media import contact_sheet, save_image
from .protocols import Outcome, Scores

# metric -> (heading with the direction that is better, digits)
COLUMNS = {
    "angle": ("angle °", 1),
    "psnr": ("PSNR dB ↑", 2),
    "l1": ("L1 ↓", 4),
    "lpips": ("LPIPS ↓", 3),
    "csim": ("CSIM ↑", 3),
    "akd": ("AKD % ↓", 2),
    "pose": ("pose ° ↓", 2),
    "expression": ("expression ↓", 3),
    "output": ("avatar %/frame²", 3),
    "driver": ("driver %/frame²", 3),
    "avatar": ("avatar", 4),
    "photo": ("photo", 4),
    "ratio": ("ratio", 2),
    "iou": ("outline IoU ↑", 3),
    "depth": ("depth ↓", 3),
    "frechet": ("Fréchet ↓", 2),
    "identities": ("Fréchet of identities ↓", 3),
    "nearest": ("nearest ↓", 3),
    "turned": ("turned ↑", 3),
    "count": ("compared", 0),
    "missed": ("missed", 0),
}
TITLES = {
    "same_identity": ("Same identity, by number of photos", "photos"),
    "cross_identity": ("Cross identity, one photo", ""),
    "jitter": ("Temporal jitter, one photo", ""),
    "sharpness": ("Fine structure of the face at 512 px, one photo", ""),
    "fusion": ("Fusion of four photos", "fusion"),
    "turned": ("By the angle between photo and frame, one photo", "degrees"),
    "synthetic": ("Drawn people, by the angle between photo and frame, one photo", "degrees"),
    "samples": ("People of the prior", ""),
    "baked": ("The same of baked avatars", "degrees"),
    "portrait": ("Encoders (Tab. 3): the photo itself", "variant"),
    "encoders": ("Encoders (Tab. 3): other frames, one photo", "variant"),
    "window": ("Fusion by number of photos (Fig. 6)", "photos"),
    "parts": ("Learned parts silenced in the same weights, one photo", "without"),
    "ablations": ("Additions switched off in the same weights, one photo", "without"),
}
NOTES = """Normalized crop of 256 px over mid grey; where the truth has no pixels both are grey. Absolute motion: pose,
expression and torso pose are those read from the driver's frame. PSNR and L1 of colours in 0..1. AKD: mean distance of
the 478 tracked landmarks in % of the side; across people after the shift, turn and scale that bring them nearest to the
driver's, so what two faces differ by in shape is still in it. Pose: angle between the tracked head rotations.
Expression: mean difference of the 52 tracked scores. Jitter: mean acceleration of the landmarks. Fine structure: mean
magnitude of the Laplacian within the landmarks' hull. Fusion: "mean" has all photos count alike, "first" takes features
and colours of the first photo; the head's shape is that of all photos in each mode; where colours are named, hidden
states alone are fused by the mode named first. Turned: the least, the middle and the most turned frame of each clip as
the only photo, 14 frames over the whole clip; a photo counts as turned where its own yaw exceeds 20 degrees. Synthetic:
the most frontal picture of each drawn person as the only photo, then the one nearest to 30 degrees of yaw; angles
rounded to 15 degrees; of what lies above the chin; depth in head units (half the side of the crop) where both have a
head. Parts: photos and frames of "turned"; the average person's w+, E_tex's or E_tri's hidden state at zero, or w+
alone. Samples: distance of pooled AlexNet features, and of SFace's, to those of photos, each cut where a
photo ends; similarity of each to the one most like it, and of itself at +-30 degrees to itself from the front; AKD
between landmarks found and driven. "missed" counts what lacks the metrics of a face because the tracker found none."""
MAX_ROWS, CELL = 16, 192  # of a sheet; pixels


def write_report(folder: str | Path, outcomes: Mapping[str, Outcome], about: Mapping[str, object]) -> None:
    """Write (or replace) all files; the folder is made.

    Args:
        folder: Where to.
        outcomes: Protocol -> what it yielded.
        about: What was evaluated, on what.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = {protocol: flat(outcome.scores) for protocol, outcome in outcomes.items()}
    (folder / "metrics.json").write_text(
        json.dumps({**results, "about": dict(about)}, indent=1) + "\n", encoding="utf-8"
    )
    (folder / "metrics.md").write_text(markdown(outcomes, about), encoding="utf-8")
    for protocol, outcome in outcomes.items():
        if outcome.sheet:
            save_image(folder / f"{protocol}.jpg", sheet(outcome))


def flat(scores: Mapping[str, Scores]) -> Mapping:
    """The scores of the cases, or of the only one where it has no name."""
    return scores.get("", scores)


def markdown(outcomes: Mapping[str, Outcome], about: Mapping[str, object]) -> str:
    """One table for each protocol."""
    lines = ["# Evaluation", "", *(f"- {name}: {value}" for name, value in about.items()), "", NOTES, ""]
    for protocol, outcome in outcomes.items():
        title, case_heading = TITLES[protocol]
        names = [name for name in COLUMNS if any(name in scores for scores in outcome.scores.values())]
        headings = [case_heading, *(COLUMNS[name][0] for name in names)]
        lines += [f"## {title}", "", row(headings), row(["---"] + ["---:"] * len(names))]
        lines += [row([case, *(cell(scores, name) for name in names)]) for case, scores in outcome.scores.items()]
        lines.append("")
    return "\n".join(lines)


def row(cells: list[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def cell(scores: Scores, name: str) -> str:
    """A number with the digits of its metric; a dash where there is none."""
    return f"{scores[name]:.{COLUMNS[name][1]}f}" if name in scores else "-"


def sheet(outcome: Outcome) -> np.ndarray:
    """Rows of pictures, evenly chosen where there are many: [H, W, 3] uint8."""
    step = max(1, -(-len(outcome.sheet) // MAX_ROWS))
    rows = outcome.sheet[::step]
    pictures = [picture for _, pictures in rows for picture in pictures]
    labels = [f"{name}: {column}" for name, _ in rows for column in outcome.columns]
    return contact_sheet(pictures, len(outcome.columns), labels, CELL)
