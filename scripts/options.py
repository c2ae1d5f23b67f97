"""Options that several programs have, each declared once; `flattened` makes them options of a command."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

NeutralOption = Annotated[
    str | None,
    typer.Option(
        help="Frame (12) or time (0.5s, 0:01.5) of the driver that is neutral; its median by default, 0 in a table.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="Folder or Hub id of the model; the shipped one by default.", show_default=False)
]
DeviceOption = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite/--no-overwrite", "-y/-n", help="Replace outputs that exist. Inputs are never replaced."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary, only errors.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
FaceOption = Annotated[int, typer.Option(min=0, help="Which face of the photos, 0 is the largest.")]
TextureOption = Annotated[int, typer.Option(help="Side of the baked texture in px, a power of two.")]
StrengthOption = Annotated[float, typer.Option(min=0, max=3, help="Strength of the motion.")]
SmoothOption = Annotated[float, typer.Option(min=0, max=1, help="Smoothing of the motion.")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and where."""

    model: ModelOption = None
    device: DeviceOption = "auto"


@dataclass(frozen=True)
class CommonOptions(ModelOptions):
    """What every program that loads a model has."""

    quiet: QuietOption = False
    debug: DebugOption = False


@dataclass(frozen=True)
class WritingOptions(CommonOptions):
    """The same of one that writes files by name."""

    overwrite: OverwriteOption = True


@dataclass(frozen=True)
class DriverOptions:
    """How drivers are read."""

    fps: Annotated[
        float | None, typer.Option(min=1, max=240, help="Frame rate; the driver's by default, of a table 60 if none.")
    ] = None
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None
    neutral_frame: NeutralOption = None
