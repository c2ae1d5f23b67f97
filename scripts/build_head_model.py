"""Build the head model from MakeHuman's CC0 data and from tracked people."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class EarOptions:
    """Photos whose ears the model's are held against."""

    profiles: Annotated[
        Path | None, typer.Option(help="Folder of photos whose ears --ears boxes; without it ears stay MakeHuman's.")
    ] = None
    ears: Annotated[
        Path, typer.Option(help="JSON of boxes of ears: name of a photo -> left, top, right, bottom in pixels.")
    ] = ROOT / "tests" / "data" / "cfp_ears.json"


@dataclass(frozen=True)
class CountOptions:
    """How much is drawn."""

    heads: Annotated[int, typer.Option(min=200, help="Random heads that the identity axes are made of.")] = 2000
    pictures: Annotated[int, typer.Option(min=2, help="Random heads that landmarks are looked for on.")] = 24


@flattened
def build_head_model(
    data: Annotated[Path, typer.Argument(help="Folder of MakeHuman's data.")],
    tracks: Annotated[list[Path], typer.Option(help="Shards of people to learn from (scripts/prepare_dataset.py).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the head model.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Pipeline with a face_tracker; the shipped one by default.")
    ] = None,
    learn_template: Annotated[
        bool, typer.Option(help="Learn the pose template from the tracks first and write it into the face_tracker.")
    ] = False,
    *,
    ear: EarOptions,
    counts: CountOptions,
    debug: DebugOption = False,
) -> None:
    """Cut the head, find landmarks on it, learn axes, warp and the tracker's bias; the same input, the same bits.

    Example: scripts/build_head_model.py ../shared/data/makehuman --tracks shards -o invertavatar/checkpoints/head_model
    """
    with error_sentences(debug):
        from invertavatar import FaceTracker
        from invertavatar.head.landmark_topology import build_topology
        from invertavatar.head.makehuman import MakeHuman
        from invertavatar.head.pose import write_template
        from invertavatar.head.topology import cut_head
        from invertavatar.head_building.building import build_head_model as build
        from invertavatar.head_building.displacement_building import fill_displacement
        from invertavatar.head_building.ears import place_ears
        from invertavatar.head_building.embedding import embed_landmarks
        from invertavatar.head_building.landmark_axes import learn_axes
        from invertavatar.head_building.pose_template import laid_on
        from invertavatar.head_building.pose_template import learn_template as learned_template
        from invertavatar.head_building.random_heads import RandomHeads
        from invertavatar.media import load_image
        from invertavatar.pipelines.pipeline_loading import DEFAULT_CHECKPOINT
        from invertavatar.training.checkpoint import renew_weights_id
        from invertavatar.training.head_tracks import outlined_people, tracked_people
        from invertavatar.training.shards import Shards

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        checkpoint = checkpoint or DEFAULT_CHECKPOINT
        tracker = FaceTracker.from_pretrained(checkpoint / "face_tracker")
        face = build_topology(checkpoint / "face_tracker" / tracker.config.landmarker)
        mirror, template = face.mirror[:478], tracker.template
        source = MakeHuman(data)
        topology = cut_head(source)
        shards = Shards(tracks)
        people = list(tracked_people(shards).values())
        print(f"{sum(len(p.vertices) for p in people)} pictures of {len(people)} people to learn from")
        if learn_template:
            template = learned_template(people, mirror, template)
            people = [laid_on(person, template) for person in people]
            write_template(checkpoint / "face_tracker", template.mean, template.rigid)
        axes = learn_axes(people, mirror, template.mean)
        embedding, allowed = embed_landmarks(source, RandomHeads(source), topology, tracker, mirror, counts.pictures)
        model = build(source, topology, embedding, allowed, people, template, face, axes, counts.heads)
        if ear.profiles:
            boxes = json.loads(ear.ears.read_text(encoding="utf-8"))["boxes"]
            turned = [tracker.detect(load_image(ear.profiles / f"{name}.jpg"), name) for name in boxes]
            back, up = place_ears(model, turned, list(boxes.values()))
            print(f"ears moved by {back:.3f} back and {up:.3f} up, head units")
        fill_displacement(model, outlined_people(shards))
        model.save_pretrained(output)
        if (output.parent / "model_index.json").exists():  # avatars of the model of before are another's
            renew_weights_id(output.parent)
        size = sum(file.stat().st_size for file in output.iterdir())
        print(f"{output}: {size / 1e6:.1f} MB, {model.config.num_vertices} vertices")


if __name__ == "__main__":
    app = new_app()
    app.command()(build_head_model)
    run(app)
