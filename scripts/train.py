"""Train the networks: the paper's stages and `joint`, on shards that `prepare_dataset.py` made.

Several GPUs: accelerate launch scripts/train.py joint SHARDS -o runs/joint
"""

import logging
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import invertavatar
from invertavatar.flattened import flattened
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption, QuietOption

VALIDATION_PEOPLE = 128  # at most, in large batches
SHIPPED = Path(invertavatar.__file__).parent / "checkpoints"
StageName = StrEnum(
    "StageName", ["prior", "latent", "distill", "oneshot", "recurrent", "posture", "compositor", "joint"]
)
PriorMode = StrEnum("PriorMode", ["adversarial", "fit"])


@dataclass(frozen=True)
class BeginningOptions:
    """From where a run begins."""

    init: Annotated[
        str | None, typer.Option(help='Pipeline folder to begin from, or "shipped".', show_default=False)
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False
    preset: Annotated[str, typer.Option(help="Sizes of fresh networks: compact or paper.")] = "compact"


@dataclass(frozen=True)
class LengthOptions:
    """How long it lasts."""

    minutes: Annotated[float | None, typer.Option(help="Stop within so many minutes.", show_default=False)] = None
    steps: Annotated[int | None, typer.Option(help="Stop at this step.", show_default=False)] = None
    anneal: Annotated[
        int, typer.Option(min=0, help="Lower the learning rate to 0 over so many steps before --steps.")
    ] = 0
    anneal_minutes: Annotated[
        float, typer.Option(min=0, help="Lower the learning rate to 0 over so many minutes before --minutes are over.")
    ] = 0.0
    interval: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500


@dataclass(frozen=True)
class LearningOptions:
    """How it learns."""

    batch_size: Annotated[int, typer.Option(min=1, help="People in a step, for each GPU.")] = 4
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the networks; the stage's own by default.", show_default=False)
    ] = None
    adversarial_from: Annotated[
        int | None, typer.Option(help="Step from which a discriminator joins; the stage's own by default.")
    ] = None
    prior_mode: Annotated[
        PriorMode, typer.Option(help="prior: train a GAN, or fit the mapping to the inverted w+ of the shards' people.")
    ] = PriorMode.adversarial
    train_generator: Annotated[
        bool, typer.Option(help="latent: let the generator learn too, without D_W, where there is no prior.")
    ] = False
    latent_discriminator: Annotated[
        bool,
        typer.Option(help="latent: hold w+ near the prior's w by D_W; not where the prior is fitted to w+ itself."),
    ] = True
    keep_prior: Annotated[
        bool, typer.Option("--keep-prior", help="joint: leave E_latent, and of the generator all but the compositor.")
    ] = False
    held_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the people kept for validation.")] = 0.05
    looks: Annotated[
        int, typer.Option(min=1, help="compositor: episodes worked out beforehand; each takes seconds and 14 MB.")
    ] = 1000


@dataclass(frozen=True)
class LossOptions:
    """Networks that judge, and what they count."""

    lpips: Annotated[Path | None, typer.Option(help="Weights of LPIPS; see docs/training.md.", show_default=False)] = (
        None
    )
    perceptual: Annotated[bool, typer.Option(help="Use the LPIPS terms.")] = True
    identity: Annotated[
        float,
        typer.Option(min=0, help="Weight of the identity loss, which takes SFace and the package onnx; 0: without."),
    ] = 0.0
    across: Annotated[
        float, typer.Option(min=0, help="The same of a person's picture moved by another person of the batch.")
    ] = 0.0
    sface: Annotated[
        Path | None, typer.Option(help="face_recognition_sface_2021dec.onnx; see docs/training.md.", show_default=False)
    ] = None


@dataclass(frozen=True)
class ProcessOptions:
    """Where it runs, and what is said."""

    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare data.")] = 2
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto"
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0
    smoke: Annotated[
        bool, typer.Option("--smoke", help="A few steps of every stage with tiny networks, to see that all runs.")
    ] = False
    quiet: QuietOption = False
    debug: DebugOption = False


@flattened
def train(
    stage: Annotated[
        StageName, typer.Argument(help="Which stage; joint trains the compact networks end to end.")
    ] = StageName.joint,
    shards: Annotated[list[Path] | None, typer.Argument(help="Shards, or folders of them.", show_default=False)] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("outputs/training"),
    *,
    begin: BeginningOptions,
    length: LengthOptions,
    learning: LearningOptions,
    losses: LossOptions,
    process: ProcessOptions,
) -> None:
    """Train one stage. Each call ends with a checkpoint, a pipeline folder, a preview sheet and a line of metrics.

    Example: scripts/train.py joint shards -o outputs/joint --init shipped --minutes 60
    """
    with error_sentences(process.debug, process.quiet):
        if not process.quiet:
            logging.getLogger("invertavatar.training").setLevel(logging.INFO)
        if process.smoke:
            from invertavatar.scripts.smoke import smoke_test

            smoke_test(shards, output, process.seed)
            return
        if not shards:
            raise typer.TyperException("Name the shards to train on; scripts/prepare_dataset.py makes them.")
        from invertavatar.metrics.identity import SFace
        from invertavatar.metrics.perceptual import LPIPS
        from invertavatar.training.checkpoint import fresh_networks, load_networks
        from invertavatar.training.runs import StageOptions, fit_prior, train_stage
        from invertavatar.training.shards import Shards
        from invertavatar.training.stages import ON_TOP_OF_THE_PRIOR, STAGES
        from invertavatar.training.trainer import RunSettings

        if begin.resume:
            networks = load_networks(output / "pipeline")  # for their sizes; the weights are those of the state
        elif begin.init is None:
            networks = fresh_networks(begin.preset, SHIPPED / "head_model", process.seed)
        else:
            networks = load_networks(SHIPPED if begin.init == "shipped" else begin.init)
        settings = STAGES[stage]
        if learning.learning_rate is not None:
            settings = replace(settings, learning_rate=learning.learning_rate)
        if learning.adversarial_from is not None:
            settings = replace(settings, adversarial_from=learning.adversarial_from)
        if stage == "latent" and learning.train_generator:
            settings = replace(settings, parts=("latent_encoder", "generator"))
        if stage == "joint" and learning.keep_prior:
            settings = replace(settings, parts=ON_TOP_OF_THE_PRIOR, weights=settings.weights.without_the_coarse_frame())
        if learning.train_generator or not learning.latent_discriminator:  # there is no prior to stay close to
            settings = replace(settings, weights=replace(settings.weights, latent_adversarial=0.0))
        settings = replace(settings, weights=replace(settings.weights, identity=losses.identity, across=losses.across))
        if not losses.perceptual:
            settings = replace(settings, weights=replace(settings.weights, lpips=0.0, face=0.0))
        if length.anneal_minutes and length.minutes is None:
            raise typer.TyperException("--anneal-minutes counts back from the last minute: give --minutes too.")
        if length.anneal and length.steps is None:
            raise typer.TyperException("--anneal counts back from the last step: give --steps too.")
        run_settings = RunSettings(
            output,
            length.steps,
            length.minutes,
            length.interval,
            anneal=length.anneal,
            anneal_minutes=length.anneal_minutes,
            workers=process.workers,
            validation_steps=min(4, max(1, VALIDATION_PEOPLE // learning.batch_size)),
            seed=process.seed,
        )
        data = Shards(shards)
        if stage == "prior" and learning.prior_mode == "fit":
            fit_prior(networks, data, learning.batch_size, run_settings)
            return
        options = StageOptions(
            LPIPS.from_file(losses.lpips) if losses.perceptual else None,
            learning.held_out,
            process.device == "cpu",
            begin.resume,
            SFace.from_file(losses.sface) if losses.identity or losses.across else None,
            learning.looks,
        )
        train_stage(stage, settings, networks, data, learning.batch_size, run_settings, options)


if __name__ == "__main__":
    app = new_app()
    app.command()(train)
    run(app)
