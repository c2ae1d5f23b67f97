"""Lay the weights of two pipelines over each other: what training gained, with less of what it overdid."""

import sys
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption


def blend_weights(
    before: Annotated[Path, typer.Argument(help="Pipeline folder that training began from.")],
    after: Annotated[Path, typer.Argument(help="Pipeline folder that it ended with, of the same sizes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the second folder's weights.")] = 0.5,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Blend these parts alone, as in generator.compositor; the rest is the second folder's."),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Write a pipeline whose weights lie between those of two others.

    Example: python scripts/blend_weights.py invertavatar/checkpoints runs/joint/pipeline -o runs/blended --share 0.5
    """
    with error_sentences(debug):
        from invertavatar.training.checkpoint import blended, load_networks, save_pipeline

        networks = blended(load_networks(before), load_networks(after), share, only)
        save_pipeline(networks, output)
        print(f"{output}: {share:g} of {after}, {1 - share:g} of {before}, in {', '.join(only or ['all'])}.")


if __name__ == "__main__":
    app = new_app()
    app.command()(blend_weights)
    run(app)
