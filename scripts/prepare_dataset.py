"""Turn folders of clips and photos into shards to train on; a run that was stopped goes on where it was."""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption, DeviceOption, QuietOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar.tracking.tracker import FaceTracker
    from invertavatar.training.preparation import SourceFile
    from invertavatar.training.shards import Shards

PIECES = "pieces"  # folder in the output for what is made of each clip and photo
PORTRAITS, PORTRAIT_SIZE = "portraits", 384  # the same for pictures of a generator, and their side in px
DRAWN_AT_ONCE = 16  # pictures, on a GPU
SHEET_ROWS, SHEET_COLUMNS, SHEET_CELL = 6, 10, 128  # the last in px


@dataclass(frozen=True)
class TeacherOptions:
    """People of a face generator, drawn first."""

    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Python file of a 2D face generator, whose people are drawn first; see docs/training.md.",
            show_default=False,
        ),
    ] = None
    teacher_weights: Annotated[
        Path | None, typer.Option(help="Where its weights are; it looks by itself by default.", show_default=False)
    ] = None
    people: Annotated[int, typer.Option(min=1, help="How many people of the generator.")] = 1000
    views: Annotated[int, typer.Option(min=1, help="Pictures of each of them.")] = 2
    seed: Annotated[int, typer.Option(help="Of these people; another seed, other people.")] = 0
    device: DeviceOption = "auto"


@flattened
def prepare_dataset(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of clips and photos, searched through, or such files.", show_default=False),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards.")],
    every: Annotated[int, typer.Option(min=1, help="Use every so many frames of a clip.")] = 1,
    size: Annotated[int, typer.Option(min=64, help="Side of the crops in pixels, a power of two.")] = 256,
    limit: Annotated[
        int | None, typer.Option(help="No more than so many clips and photos.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that track.")] = 2,
    teacher: TeacherOptions,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Track, crop and matte every face, and pack them into shards of at most 14 MB; of a face generator, draw it first.

    People are told apart by `person` in a folder's index.json; else each clip is a person, and photos belong together
    by their names up to the last underscore. The folder `pieces` in the output lets a stopped run go on; it may be
    removed afterwards.

    Example: scripts/prepare_dataset.py clips photos -o shards --every 2
    """
    with error_sentences(debug, quiet):
        folders = list(data or [])
        if teacher.teacher is not None:
            folders.append(drawn_people(teacher, output, quiet))
        if not folders:
            raise typer.TyperException("Name folders of clips and photos, or a face generator with --teacher.")
        report = prepare(folders, output, every, size, workers, limit, quiet)
        if not quiet:
            print(report)


def prepare(
    data: Sequence[Path],
    output: Path,
    every: int = 1,
    size: int = 256,
    workers: int = 2,
    limit: int | None = None,
    quiet: bool = True,
) -> str:
    """Prepare, pack, and write `contact_sheet.jpg` and `report.txt` beside the shards; returns the report."""
    from tqdm import tqdm

    from invertavatar.errors import NoFaceError
    from invertavatar.media import save_image
    from invertavatar.training.preparation import by_person, find_sources
    from invertavatar.training.shards import Shards, pack

    sources = find_sources(data)[:limit]
    pieces = output / PIECES
    pieces.mkdir(parents=True, exist_ok=True)
    jobs = [(source, pieces, every, size) for source in sources]
    bar = {"total": len(jobs), "desc": "Preparing", "unit": "file", "disable": quiet}
    if workers == 1:
        results = list(tqdm(map(_prepare, jobs), **bar))
    else:
        with ProcessPoolExecutor(workers) as pool:
            results = list(tqdm(pool.map(_prepare, jobs, chunksize=2), **bar))
    done = [(source.person, file) for source, (file, _) in zip(sources, results, strict=True) if file]
    if not done:
        raise NoFaceError(f"None of the {len(sources)} clips and photos shows a face that can be used.")
    for old in output.glob("shard_*.safetensors"):
        old.unlink()
    files = pack(by_person(done), output)
    shards = Shards([output])
    save_image(output / "contact_sheet.jpg", sheet_of(shards))
    faceless = [source.path.name for source, (file, _) in zip(sources, results, strict=True) if not file]
    kinds = Counter({kind: 0 for kind in ("clip", "views", "still")})
    for source in shards.sources:
        kinds[source.kind] += len(source.faces)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    report = "\n".join([
        f"{len(shards.people)} people, {len(shards)} faces: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()),
        f"{sum(missing for _, missing in results)} frames and photos without a usable face;"
        f" nothing usable in {len(faceless)} files{': ' + ', '.join(faceless[:10]) if faceless else ''}",
        f"{len(files)} shards, {megabytes:.1f} MB, {megabytes * 1e3 / len(shards):.1f} KB a face",
    ])  # fmt: skip
    (output / "report.txt").write_text(report + "\n", encoding="utf-8")
    return report


def drawn_people(options: TeacherOptions, output: Path, quiet: bool) -> Path:
    """A folder in the output with the people of a face generator."""
    import torch
    from tqdm import tqdm

    from invertavatar.runtime.devices import best_device
    from invertavatar.training.teacher import draw_portraits, load_teacher, portraits

    device = best_device() if options.device == "auto" else options.device
    generator = load_teacher(options.teacher, options.teacher_weights, device)
    wanted = list(portraits(options.seed, options.people, options.views))
    at_once = 1 if torch.device(device).type == "cpu" else DRAWN_AT_ONCE
    folder = output / PORTRAITS
    drawn = draw_portraits(generator, wanted, folder, PORTRAIT_SIZE, at_once)
    for _ in tqdm(drawn, total=len(wanted), desc="Drawing", unit="picture", disable=quiet):
        pass
    return folder


_tracker: "FaceTracker | None" = None


def _prepare(job: "tuple[SourceFile, Path, int, int]") -> tuple[Path | None, int]:
    global _tracker  # one for each worker: it takes long to start
    from invertavatar.tracking.tracker import FaceTracker
    from invertavatar.training.preparation import prepare_source

    _tracker = _tracker or FaceTracker.from_pretrained()
    source, pieces, every, size = job
    return prepare_source(source, _tracker, pieces, every, size)


def sheet_of(shards: "Shards") -> "np.ndarray":
    """Faces spread over the shards, on green by their mattes and with their landmarks: what is wrong here, training
    would learn. [H, W, 3] uint8.
    """
    import numpy as np
    from PIL import Image

    from invertavatar.media import contact_sheet
    from invertavatar.training.previews import landmark_dots

    cells = []
    for face in np.linspace(0, len(shards) - 1, min(len(shards), SHEET_ROWS * SHEET_COLUMNS)).astype(int):
        alpha = shards.matte(face)[..., None] / 255
        picture = shards.picture(face) * alpha + np.array([0, 177, 64]) * (1 - alpha)
        picture = Image.fromarray(picture.astype(np.uint8)).resize((SHEET_CELL,) * 2, Image.Resampling.LANCZOS)
        cells.append(landmark_dots(np.asarray(picture), shards.vertices[face], shards.rotation[face]))
    return contact_sheet(cells, SHEET_COLUMNS, size=SHEET_CELL)


if __name__ == "__main__":
    app = new_app()
    app.command()(prepare_dataset)
    run(app)
