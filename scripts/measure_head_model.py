"""Measure how well the head model fits people it was not learned from."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar import FaceTracker, HeadModel
    from invertavatar.training.shards import Shards


def measure_head_model(
    people: Annotated[list[Path], typer.Argument(help="Shards of people to measure on (scripts/prepare_dataset.py).")],
    turned: Annotated[
        list[Path] | None,
        typer.Option(help="Shards of more people, for the test of turned faces: the bias is learned without each."),
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(help="Folder of the profiles whose ears tests/data/cfp_ears.json boxes.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the head model; the shipped one by default.")] = None,
    frames: Annotated[
        int, typer.Option(min=1, help="Pictures of a person whose mattes the skull is held against.")
    ] = 7,
    debug: DebugOption = False,
) -> None:
    """Landmarks step by step, faces fitted from the front and tested turned, closed lids, and the crown's outline.

    Distances are in % of the face's height, in the picture plane.
    """
    with error_sentences(debug):
        import numpy as np

        from invertavatar import FaceTracker, HeadModel
        from invertavatar.evaluation.head_fit import STICKS_OUT, crown_outside, fit_person, turned_errors
        from invertavatar.head.landmark_topology import build_topology
        from invertavatar.pipelines.pipeline_loading import DEFAULT_CHECKPOINT
        from invertavatar.training.head_tracks import tracked_people
        from invertavatar.training.shards import Shards

        head = HeadModel.from_pretrained(model or DEFAULT_CHECKPOINT / "head_model")
        shards = Shards(people)
        tracked = tracked_people(shards)
        fits = {name: fit_person(head, person) for name, person in tracked.items()}
        print(f"Landmarks of {len(fits)} people, % of the face's height:")
        for step in next(iter(fits.values())).steps:
            print(f"  {step:42s} {np.mean([fit.steps[step] for fit in fits.values()]):.3f}")
        gaps = np.abs([fit.lid_gaps for fit in fits.values()])
        print(f"Lid gap at eyeBlink 1: {gaps.mean():.2f} on average, {gaps.max():.2f} at most")

        for bounded in (False, True):
            parts = []
            for name, person in tracked.items():
                faces = np.concatenate([s.faces for s in shards.sources if s.person == name])
                chosen = np.unique(np.linspace(0, len(faces) - 1, min(frames, len(faces))).astype(int))
                parts.append(crown_outside(head, person, lambda i, f=faces: masks(shards, f[i]), chosen, bounded))
            out = 100 * (np.concatenate(parts) > STICKS_OUT).mean()
            how = "bounded by the first picture's matte" if bounded else "as the landmarks have it"
            print(f"Crown outside of the matte by more than {STICKS_OUT:.0f} %: {out:.1f} % of its outline, {how}")

        folder = DEFAULT_CHECKPOINT / "face_tracker"
        mirror = build_topology(folder / FaceTracker.from_pretrained(folder).config.landmarker).mirror[:478]
        others = list(tracked_people(Shards(turned)).values()) if turned else []
        for title, group, reference in (("these people", tracked, others), ("the others", dict(enumerate(others)), [])):
            errors = turned_errors(head, group, reference, mirror)
            if errors:
                with_bias, without = np.mean(list(errors.values()), 0)
                print(f"Fitted below 15, tested above 30 degrees, {len(errors)} of {title}: {without:.2f}", end=" ")
                print(f"({with_bias:.2f} with the tracker's bias left in)")
        if profiles:
            ears(head, FaceTracker.from_pretrained(folder), profiles)


def ears(head: "HeadModel", tracker: "FaceTracker", profiles: Path) -> None:
    """Print how far ears are from where they are in profiles."""
    import json

    import numpy as np

    from invertavatar.evaluation.head_fit import face_height
    from invertavatar.head_building.ears import ear_offset
    from invertavatar.media import load_image

    boxes = json.loads((Path(__file__).parents[1] / "tests" / "data" / "cfp_ears.json").read_text(encoding="utf-8"))
    tracks = {k: tracker.detect(load_image(profiles / f"{k}.jpg"), k) for k in boxes["boxes"]}
    off = np.array([ear_offset(head, tracks[k], box) for k, box in boxes["boxes"].items()]) * 100 / face_height(head)
    others = off - (off.sum(0) - off) / (len(off) - 1)  # each with the ears placed by all the others
    for how, away in (("as they are", off), ("each placed by the others alone", others)):
        away = np.linalg.norm(away, axis=1)
        print(f"Middle of the ear in {len(away)} profiles, {how}: off by {away.mean():.1f}", end=" ")
        print(f"on average, {np.median(away):.1f} in the middle, {np.mean(away <= 5):.0%} within 5")


def masks(shards: "Shards", face: int) -> "tuple[np.ndarray, np.ndarray]":
    """Matte [S, S] uint8 and real pixels [S, S] bool of a face."""
    import numpy as np

    matte = shards.matte(face)
    left, top, right, bottom = shards.inside[face]
    valid = np.zeros(matte.shape, bool)
    valid[top:bottom, left:right] = True
    return matte, valid


if __name__ == "__main__":
    app = new_app()
    app.command()(measure_head_model)
    run(app)
