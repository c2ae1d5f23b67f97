"""Learn the face model and the tracker's pose template from a folder of clips and photos, and measure both."""

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import DebugOption, error_sentences, new_app, run

CLIPS, PHOTOS = (".mp4", ".mov", ".webm"), (".jpg", ".jpeg", ".png")


def learn_face_model(
    data: Annotated[list[Path], typer.Argument(help="Folders of clips and photos to learn from, searched through.")],
    test: Annotated[list[Path], typer.Option(help="Folders of other people to measure on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write into.")],
    cache: Annotated[Path, typer.Option(help="Folder for tracks, so that a second run need not track again.")],
    every: Annotated[int, typer.Option(min=1, help="Use every so many frames of a clip.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Processes that track.")] = 2,
    debug: DebugOption = False,
) -> None:
    """Learn mean, identity, expression and residual axes, and print how well they explain people never seen.

    People are told apart by `person` in a folder's index.json, else by the file's name up to its last underscore.
    """
    with error_sentences(debug):
        import numpy as np

        from invertavatar.face.pose import write_template
        from invertavatar.face.topology import build_topology
        from invertavatar.face.tracker import FaceTracker
        from invertavatar.training.face_learning import build_face_model, explained, learn_face

        logging.basicConfig(level=logging.INFO, format="%(message)s")
        learning, testing = (tracked(folders, cache, every, workers) for folders in (data, test))
        print(f"{len(learning.person)} pictures of {len(np.unique(learning.person))} people to learn from,", end=" ")
        print(f"{len(testing.person)} of {len(np.unique(testing.person))} to measure on")

        folder = output / "face_tracker"
        tracker = FaceTracker.from_pretrained(folder)
        topology = build_topology(folder / tracker.config.landmarker)
        learned = learn_face(learning, topology.mirror[:478], tracker.template.mean)
        build_face_model(learned, topology).save_pretrained(output / "face_model")
        write_template(folder, learned.mean, learned.rigid)
        for line in explained(learned, testing):
            print(line)


def tracked(folders: list[Path], cache: Path, every: int, workers: int):
    """All faces in the folders as `TrackedFaces`, from the cache where it has them."""
    import numpy as np
    from tqdm import tqdm

    from invertavatar.training.face_learning import TrackedFaces

    cache.mkdir(parents=True, exist_ok=True)
    jobs = [(path, person, cache, every) for folder in folders for path, person in sources(folder)]
    with ProcessPoolExecutor(workers) as pool:
        files = list(tqdm(pool.map(track_source, jobs, chunksize=4), total=len(jobs), desc="Tracking"))
    parts = [dict(np.load(file)) | {"moving": path.suffix in CLIPS, "name": person}
             for file, (path, person, *_) in zip(files, jobs, strict=True)]  # fmt: skip
    counts = [len(part["landmarks"]) for part in parts]
    return TrackedFaces(
        landmarks=np.concatenate([part["landmarks"] for part in parts]),
        expression=np.concatenate([part["expression"] for part in parts]),
        person=np.repeat([part["name"] for part in parts], counts),
        moving=np.repeat([part["moving"] for part in parts], counts),
    )


def sources(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each clip and photo below a folder with the person it shows."""
    for index in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
        listed = index / "index.json"
        described = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else {}
        for path in sorted(p for p in index.iterdir() if p.suffix.lower() in CLIPS + PHOTOS):
            entry = described.get(path.name) or described.get(path.stem) or {}
            yield path, f"{index.name}/{entry.get('person') or path.stem.rpartition('_')[0] or path.stem}"


_tracker = None


def track_source(job: tuple[Path, str, Path, int]) -> Path:
    """Track one clip or photo (in a worker process) and store landmarks and scores; no face, no entry."""
    global _tracker  # one for each worker: it takes long to start
    import numpy as np

    from invertavatar.errors import NoFaceError
    from invertavatar.face.tracker import FaceTracker
    from invertavatar.media import VideoReader, load_image

    path, _, cache, every = job
    file = cache / f"{hashlib.sha1(f'{path.resolve()}:{every}'.encode()).hexdigest()}.npz"
    if file.exists():
        return file
    _tracker = _tracker or FaceTracker.from_pretrained()
    if path.suffix in CLIPS:
        with VideoReader(path) as video:
            tracks = [t for t in list(_tracker.detect_video(video, float(video.fps)))[::every] if t]
    else:
        try:
            tracks = [_tracker.detect(load_image(path), path.name)]
        except NoFaceError:
            tracks = []
    np.savez(
        file,
        landmarks=np.array([t.landmarks for t in tracks], np.float32).reshape(-1, 478, 3),
        expression=np.array([t.expression for t in tracks], np.float32).reshape(-1, 52),
    )
    return file


if __name__ == "__main__":
    app = new_app()
    app.command()(learn_face_model)
    run(app)
