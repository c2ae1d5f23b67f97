"""The paper's Tab. 3 and Fig. 6: train each variant of the encoders alike for a short time, and measure all of them."""

import logging
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import check_inputs, check_outputs, error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.evaluate import JudgeOptions, SpreadingCommand
from invertavatar.scripts.options import DebugOption, DeviceOption, QuietOption
from invertavatar.scripts.train import SHIPPED

if TYPE_CHECKING:
    from invertavatar.inversion import Networks
    from invertavatar.metrics.perceptual import LPIPS
    from invertavatar.training.shards import Shards
    from invertavatar.training.trainer import RunSettings

WARMUP = 10  # steps: there are few
VariantName = StrEnum(
    "VariantName",
    ["ours", "conv_fusion", "offsets", "posed", "without_e_tex", "without_e_tri", "without_both", "ours_again"],
)


@flattened
def paper_tables(
    shards: Annotated[list[Path], typer.Option(help="Shards to learn from, or folders of them.")],
    clips: Annotated[Path, typer.Option(help="Folder of clips of other people, as evaluate.py takes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for runs, metrics.json, metrics.md, sheets.")],
    steps: Annotated[int, typer.Option(min=1, help="Of each variant; give more later, and all go on.")] = 100,
    variant: Annotated[list[VariantName], typer.Option(help="Which; all by default.")] = list(VariantName),  # noqa: B006
    init: Annotated[str, typer.Option(help='Pipeline folder that all else is of, or "shipped".')] = "shipped",
    batch_size: Annotated[int, typer.Option(min=1, help="People in a step.")] = 1,
    interval: Annotated[int, typer.Option(min=1, help="Steps between states to go on from.")] = 50,
    photos: Annotated[list[int], typer.Option(min=1, help="Numbers of photos of Fig. 6.")] = [1, 2, 4, 8, 16],  # noqa: B006
    frames: Annotated[int, typer.Option(min=1, help="Test frames of each clip.")] = 3,
    only: Annotated[list[str], typer.Option(help="Use the clips of these names only, as in --only 061 290.")] = [],  # noqa: B006
    *,
    judges: JudgeOptions,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare data.")] = 0,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare the paper's variants: ConvGRUs and ConvFusion, SFT and offsets, UV and posed pictures, without encoders.

    Every variant has the same number of steps, episodes and seed. A call that was stopped goes on where it was; so does
    one with more --steps.

    Example: python scripts/paper_tables.py --shards shards --clips clips -o outputs/tables --steps 100
    """
    check_inputs([*shards, clips])
    if not clips.is_dir():
        raise typer.TyperException(f"{clips} is no folder; give the folder that holds the clips.")
    check_outputs([output / "metrics.json"], [], overwrite=True)
    with error_sentences(debug, quiet):
        if not quiet:
            logging.getLogger("invertavatar.training").setLevel(logging.INFO)
        from invertavatar.evaluation.clips import find_clips
        from invertavatar.evaluation.protocols import Evaluation
        from invertavatar.evaluation.report import markdown, write_report
        from invertavatar.evaluation.variants import tables
        from invertavatar.metrics.paper import FaceRecognizer
        from invertavatar.metrics.perceptual import LPIPS
        from invertavatar.training.checkpoint import load_networks
        from invertavatar.training.shards import Shards
        from invertavatar.training.trainer import RunSettings

        started, videos = time.perf_counter(), find_clips(clips, only)
        perceptual, recognizer = LPIPS.from_file(judges.lpips), FaceRecognizer(judges.sface)
        networks, data = load_networks(SHIPPED if init == "shipped" else init), Shards(shards)
        settings = RunSettings(output, steps, interval=interval, warmup=WARMUP, workers=workers, validation_steps=0)
        names = [str(name) for name in dict.fromkeys(variant)]
        for number, name in enumerate(names, 1):
            if not quiet:
                print(f"{name}, {number} of {len(names)}, {time.perf_counter() - started:.0f} s", flush=True)
            run_settings = replace(settings, output=output / name)
            train_variant(name, networks, data, batch_size, run_settings, perceptual, device == "cpu")
        pipes = {name: load_pipeline(str(output / name / "pipeline"), device, quiet) for name in names}
        evaluation = Evaluation.of_videos(next(iter(pipes.values())), videos, perceptual, recognizer, frames)
        about = {
            **{"init": init, "steps": steps, "people in a step": batch_size, "people to learn from": len(data.people)},
            **{"clips": len(evaluation.clips), "test frames of a clip": frames},
        }
        outcomes = {}
        for table, measure in tables(evaluation, pipes, photos).items():
            outcomes[table] = measure()
            write_report(output, outcomes, about)  # after each, so that what is measured is not lost
        if not quiet:
            print(markdown(outcomes, about))


def train_variant(
    name: str,
    networks: "Networks",
    data: "Shards",
    batch_size: int,
    settings: "RunSettings",
    lpips: "LPIPS",
    on_cpu: bool,
) -> None:
    """One variant up to the step of the settings, from where its folder left off; a folder that is there stays."""
    from invertavatar.training.checkpoint import STATE_FILE, load_state, save_pipeline
    from invertavatar.training.runs import StageOptions, train_stage
    from invertavatar.training.variants import SETTINGS, STAGE, VARIANTS, variant_networks

    variant, begun = VARIANTS[name], (settings.output / STATE_FILE).is_file()
    if not variant.learns:
        save_pipeline(variant_networks(networks, variant), settings.output / "pipeline")
    elif not begun or load_state(settings.output, STAGE)["step"] < settings.steps:
        ours, settings = variant_networks(networks, variant), replace(settings, seed=variant.seed)
        options = StageOptions(lpips, held_out=0.0, on_cpu=on_cpu, resume=begun)
        train_stage(STAGE, SETTINGS, ours, data, batch_size, settings, options)


if __name__ == "__main__":
    app = new_app()
    app.command(cls=SpreadingCommand)(paper_tables)
    run(app)
