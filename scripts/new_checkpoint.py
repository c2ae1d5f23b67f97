"""Make a pipeline folder with fresh networks: where training starts from."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption


def new_checkpoint(
    folder: Annotated[
        Path, typer.Argument(help="Checkpoint folder with a head_model and a face_tracker; the networks join them.")
    ],
    preset: Annotated[Literal["compact", "paper"], typer.Option(help="Sizes of the networks.")] = "compact",
    seed: Annotated[int, typer.Option(help="Of the random weights.")] = 0,
    debug: DebugOption = False,
) -> None:
    """Draw the networks of a preset at random and save them, half precision, as a pipeline."""
    with error_sentences(debug):
        import torch

        from invertavatar import FaceTracker, HeadModel, InvertAvatarPipeline
        from invertavatar.models.presets import build_networks

        torch.manual_seed(seed)
        pipe = InvertAvatarPipeline(
            **build_networks(preset),
            head_model=HeadModel.from_pretrained(folder / "head_model"),
            face_tracker=FaceTracker.from_pretrained(folder / "face_tracker"),
        )
        pipe.to(torch.float16).save_pretrained(folder)
        for name, part in pipe.components.items():
            if isinstance(part, torch.nn.Module):
                print(f"{name:18s} {sum(p.numel() for p in part.parameters()) / 1e6:8.2f} M parameters")


if __name__ == "__main__":
    app = new_app()
    app.command()(new_checkpoint)
    run(app)
