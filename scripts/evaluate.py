"""Evaluate a model on a folder of clips: the paper's metrics as a table, as JSON and as sheets of pictures."""

import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import check_inputs, check_outputs, error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.options import CommonOptions


class Protocol(StrEnum):
    """What can be measured."""

    SAME_IDENTITY = "same_identity"
    CROSS_IDENTITY = "cross_identity"
    JITTER = "jitter"
    SHARPNESS = "sharpness"
    FUSION = "fusion"
    ABLATIONS = "ablations"
    TURNED = "turned"
    BAKED = "baked"
    PARTS = "parts"
    SYNTHETIC = "synthetic"
    SAMPLES = "samples"


MOVED = 100  # samples that are turned and moved at most
OF_SHARDS = {Protocol.SYNTHETIC, Protocol.SAMPLES}
OF_CLIPS = [protocol for protocol in Protocol if protocol not in OF_SHARDS]


class SpreadingCommand(TyperCommand):
    """A command without arguments, whose list options take several values at once: `--photos 1 2 4 8`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, which is the form that typer reads."""
        lists = {name for parameter in self.params if parameter.multiple for name in parameter.opts}
        spread: list[str] = []
        option = None
        for argument in args:
            if argument.startswith("-"):
                option = argument if argument in lists else None
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(argument)
        return super().parse_args(ctx, spread)


@dataclass(frozen=True)
class ClipOptions:
    """Which clips, and how much of each."""

    frames: Annotated[int, typer.Option(min=1, help="Test frames of each clip; turned, baked have 14.")] = 10
    only: Annotated[list[str], typer.Option(help="Use the clips of these names only, as in --only 061 290.")] = field(
        default_factory=list
    )
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first so many clips only.")] = None


@dataclass(frozen=True)
class JudgeOptions:
    """Where the weights of the judging networks are."""

    lpips: Annotated[Path | None, typer.Option(help="lpips_alex.safetensors; $INVERTAVATAR_LPIPS by default.")] = None
    sface: Annotated[
        Path | None, typer.Option(help="face_recognition_sface_2021dec.onnx; $INVERTAVATAR_SFACE by default.")
    ] = None


@flattened
def evaluate(
    data: Annotated[
        Path,
        typer.Option(help="Folder of clips of one person each, with an index.json; of shards for the last two."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for metrics.json, metrics.md and sheets.")],
    protocol: Annotated[list[Protocol], typer.Option(help="What to measure; all of clips by default.")] = OF_CLIPS,
    photos: Annotated[list[int], typer.Option(min=1, help="Numbers of photos, as in --photos 1 2 4 8.")] = [1, 2, 4, 8],  # noqa: B006
    *,
    clip: ClipOptions,
    people: Annotated[int, typer.Option(min=2, help="samples: how many people are drawn, and photos compared.")] = 500,
    judges: JudgeOptions,
    common: CommonOptions,
) -> None:
    """Measure how well a model makes and moves avatars of people in video clips.

    `synthetic` measures on drawn people, whose shards scripts/make_synthetic_heads.py makes; `samples` compares people
    of the prior with photos in shards of scripts/prepare_dataset.py.

    Example: python scripts/evaluate.py --data clips --output outputs/evaluation --photos 1 2 4 8 --frames 5
    """
    check_inputs([data])
    if not data.is_dir():
        raise typer.TyperException(f"{data} is no folder; give the folder that holds the clips or shards.")
    of_shards = OF_SHARDS & set(protocol)
    if of_shards and len(set(protocol)) > 1:
        raise typer.TyperException(f"{min(of_shards)} wants a folder of shards of its own: run it by itself.")
    check_outputs([output / "metrics.json"], [], overwrite=True)

    with error_sentences(common.debug, common.quiet):
        from invertavatar import FaceTracker
        from invertavatar.evaluation.clips import find_clips
        from invertavatar.evaluation.parts import parts
        from invertavatar.evaluation.protocols import Evaluation, Judge
        from invertavatar.evaluation.report import markdown, write_report
        from invertavatar.evaluation.samples import samples
        from invertavatar.evaluation.synthetic import synthetic
        from invertavatar.evaluation.turned import turned
        from invertavatar.metrics.paper import FaceRecognizer
        from invertavatar.metrics.perceptual import LPIPS
        from invertavatar.training.shards import Shards

        started = time.perf_counter()
        if of_shards:
            shards, perceptual = Shards([data]), LPIPS.from_file(judges.lpips)
            pipe = load_pipeline(common.model, common.device, common.quiet)
            what = {"people": len(shards.people), "pictures": len(shards)}
            perceptual = perceptual.to(pipe.device)
            measures = {Protocol.SYNTHETIC: partial(synthetic, pipe, shards, perceptual)}
            if Protocol.SAMPLES in of_shards:
                tracker = pipe.face_tracker or FaceTracker.from_pretrained()
                judge = Judge(tracker, perceptual, FaceRecognizer(judges.sface))
                measures[Protocol.SAMPLES] = partial(samples, pipe, shards, judge, people, min(people, MOVED))
        else:
            paths = find_clips(data, clip.only)[: clip.limit]
            perceptual, recognizer = LPIPS.from_file(judges.lpips), FaceRecognizer(judges.sface)
            pipe = load_pipeline(common.model, common.device, common.quiet)
            evaluation = Evaluation.of_videos(pipe, paths, perceptual, recognizer, clip.frames)
            measures = {
                Protocol.SAME_IDENTITY: partial(evaluation.same_identity, photos),
                Protocol.CROSS_IDENTITY: evaluation.cross_identity,
                Protocol.JITTER: evaluation.jitter,
                Protocol.SHARPNESS: evaluation.sharpness,
                Protocol.FUSION: evaluation.fusion,
                Protocol.ABLATIONS: evaluation.ablations,
                Protocol.TURNED: partial(turned, evaluation),
                Protocol.BAKED: partial(turned, evaluation, baked=True),
                Protocol.PARTS: partial(parts, evaluation),
            }
            what = {
                "clips": len(evaluation.clips),
                "people": len({clip.person for clip in evaluation.clips}),
                "test frames of a clip": clip.frames,
            }
        outcomes = {}
        for name in dict.fromkeys(protocol):
            outcomes[str(name)] = measures[name]()
            about = {"model": common.model or "shipped", **what, "seconds": round(time.perf_counter() - started)}
            write_report(output, outcomes, about)  # after each, so that what is measured is not lost
        if not common.quiet:
            print(markdown(outcomes, about))


if __name__ == "__main__":
    app = new_app()
    app.command(cls=SpreadingCommand)(evaluate)
    run(app)
