"""People of a 2D face generator, each in several poses and expressions: the teacher of the stage `distill`.

The generator is not part of this package. It is a Python file that defines `load_teacher(source, device)`, which gives
a `Teacher`; `source` is where its weights are, None for where it looks by itself.

Shapes: n pictures, S side of a picture.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import InvertAvatarError
from ..media import save_image

MODULE = "invertavatar_teacher"  # what the file is called as a module
TRUNCATION = (0.7, 1.0)  # of styles: the lower the more usual, the higher the more various
# From what to what each edit goes: as far as people remain who they are. Degrees, and the generator's own units.
NEAR_YAW, YAW, PITCH, SMILE, JAW, GAZE = (-4.0, 14.0), (6.0, 28.0), (-8.0, 8.0), (-0.5, 0.4), (-0.2, 0.2), (-0.5, 0.5)
EDITS: tuple[str, ...] = ("yaw", "pitch", "smile", "jaw", "gaze")


class Teacher(Protocol):
    """What a generator's file has to give."""

    def styles(self, source: np.random.Generator, count: int, truncation: float) -> Tensor:
        """Codes [n, ...] of `count` people, the same for the same random numbers."""
        ...

    def pictures(
        self,
        w: Tensor,
        yaw: list[float],
        pitch: list[float],
        smile: list[float],
        jaw: list[float],
        gaze: list[float],
        size: int,
    ) -> Tensor:
        """[n, 3, S, S] uint8 of codes [n, ...], each turned and moved from how it is by itself."""
        ...


class Portrait(NamedTuple):
    """A picture to draw."""

    name: str
    person: tuple[int, ...]  # seed of the code
    truncation: float
    edits: dict[str, float]


def load_teacher(file: Path, source: Path | None, device: str) -> Teacher:
    """A generator from its file.

    Raises:
        InvertAvatarError: There is no such file, or it defines no `load_teacher`.
    """
    spec = importlib.util.spec_from_file_location(MODULE, file) if file.is_file() else None
    if spec is None or spec.loader is None:
        raise InvertAvatarError(f"{file} is no Python file that loads a face generator.")
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)  # dataclasses look for theirs there
    spec.loader.exec_module(module)
    if not hasattr(module, "load_teacher"):
        raise InvertAvatarError(f"{file} defines no load_teacher(source, device); see invertavatar.training.teacher.")
    return module.load_teacher(source, device)


def portraits(seed: int, people: int, views: int) -> Iterator[Portrait]:
    """The pictures of a seed: the first of each person near how they are, the others turned to either side in turn."""
    for person in range(people):
        rng = np.random.default_rng([seed, person])
        side, truncation = rng.choice([-1, 1]), rng.uniform(*TRUNCATION)
        for view in range(views):
            yaw = rng.uniform(*(YAW if view else NEAR_YAW)) * side * (-1) ** view
            pitch, smile, jaw, gaze = (rng.uniform(*limits) for limits in (PITCH, SMILE, JAW, GAZE))
            edits = dict(zip(EDITS, (yaw, pitch, smile, max(0.0, jaw), gaze), strict=True))
            yield Portrait(f"{seed}_{person:05d}_{view}", (seed, person, 1), truncation, edits)


def draw_portraits(
    teacher: Teacher, wanted: Sequence[Portrait], folder: Path, size: int, at_once: int
) -> Iterator[Path]:
    """Draw portraits into a folder, with an `index.json` of their edits; those that are there already stay.

    Yields:
        The pictures drawn, a few at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    edits = {portrait.name: portrait.edits for portrait in wanted}
    (folder / "index.json").write_text(json.dumps(edits), encoding="utf-8")
    missing = [portrait for portrait in wanted if not (folder / f"{portrait.name}.jpg").exists()]
    for start in range(0, len(missing), at_once):
        group = missing[start : start + at_once]
        codes = [teacher.styles(np.random.default_rng(x.person), 1, x.truncation) for x in group]
        moved = {name: [x.edits[name] for x in group] for name in EDITS}
        pictures = teacher.pictures(torch.cat(codes), **moved, size=size).permute(0, 2, 3, 1).cpu().numpy()
        for portrait, picture in zip(group, pictures, strict=True):
            file = folder / f"{portrait.name}.jpg"
            save_image(file, picture)
            yield file
