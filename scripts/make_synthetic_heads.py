"""Draw dressed synthetic heads, whose geometry is known exactly, into shards to train and to measure on."""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption, QuietOption

if TYPE_CHECKING:
    import numpy as np

    from invertavatar.synthetic.studio import Studio
    from invertavatar.training.shards import PreparedFace, Shards
    from invertavatar.training.synthetic import SyntheticSet

SHEET_PEOPLE, SHEET_PICTURES, SHEET_ACROSS = 18, 4, 3  # people on a contact sheet, pictures of each, people in a row
SHEET_CELL = 128  # px


@dataclass(frozen=True)
class SetOptions:
    """What is drawn of each person."""

    pictures: Annotated[int, typer.Option(min=1, help="Pictures of each, from anywhere.")] = 8
    yaws: Annotated[
        str | None,
        typer.Option(help="Degrees instead, one picture at each: -90,-60,-30,0,30,60,90.", show_default=False),
    ] = None
    size: Annotated[int, typer.Option(min=64, help="Side of the crops in pixels, a power of two.")] = 256
    seed: Annotated[int, typer.Option(help="The same seed, the same bits.")] = 0
    geometry: Annotated[
        bool, typer.Option("--geometry/--no-geometry", help="Depth, normals, labels and mesh beside each picture.")
    ] = True


@flattened
def make_synthetic_heads(
    data: Annotated[Path, typer.Argument(help="Folder of MakeHuman's data.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards.")],
    people: Annotated[int, typer.Option(min=1, help="How many people.")] = 100,
    *,
    drawn: SetOptions,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Picture of some of the people.", show_default=False)
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw people with random heads, skin, hair, clothes, light and expressions, several pictures of each.

    They go into shards like those of scripts/prepare_dataset.py, with exact landmarks, scores, poses and mattes.

    Example: scripts/make_synthetic_heads.py ../shared/data/makehuman -o synthetic --people 1000
    """
    with error_sentences(debug, quiet):
        from tqdm import tqdm

        from invertavatar.head.makehuman import MakeHuman
        from invertavatar.media import save_image
        from invertavatar.training.shards import Shards, pack
        from invertavatar.training.synthetic import SyntheticSet

        wanted = SyntheticSet(drawn.pictures, _degrees(drawn.yaws), drawn.size, drawn.seed, drawn.geometry)
        MakeHuman(data)  # what is wrong with the folder is said before processes start
        for old in output.glob("shard_*.safetensors"):
            old.unlink()
        jobs = [(data, number, wanted) for number in range(people)]
        bar = {"total": people, "desc": "Drawing", "unit": "person", "disable": quiet}
        if workers == 1:
            files = pack((face for faces in tqdm(map(_draw, jobs), **bar) for face in faces), output)
        else:
            with ProcessPoolExecutor(workers) as pool:
                files = pack((face for faces in tqdm(pool.map(_draw, jobs), **bar) for face in faces), output)
        shards = Shards([output])
        if contact_sheet:
            save_image(contact_sheet, sheet_of(shards))
        if not quiet:
            megabytes = sum(file.stat().st_size for file in files) / 1e6
            print(f"{people} people, {len(shards)} faces: {len(files)} shards, {megabytes:.1f} MB")


def _degrees(yaws: str | None) -> list[float] | None:
    from invertavatar.errors import InvertAvatarError

    try:
        return [float(word) for word in yaws.split(",")] if yaws else None
    except ValueError:
        raise InvertAvatarError(f'"{yaws}" is no list of degrees such as -30,0,30.') from None


_studios: "dict[Path, Studio]" = {}


def _studio(data: Path, size: int) -> "Studio":
    """One for each process: it takes long to read."""
    if not _studios:
        import torch

        from invertavatar.head.head_model import HeadModel
        from invertavatar.head.pose import read_template
        from invertavatar.pipelines.pipeline_loading import DEFAULT_CHECKPOINT
        from invertavatar.synthetic.studio import Studio

        torch.set_num_threads(1)  # people are drawn beside each other, and sums must not depend on the machine
        head_model = HeadModel.from_pretrained(DEFAULT_CHECKPOINT / "head_model")
        template = read_template(DEFAULT_CHECKPOINT / "face_tracker")
        _studios[data] = Studio(data, head_model, template, texture_size=min(4 * size, 2048))
    return _studios[data]


def _draw(job: "tuple[Path, int, SyntheticSet]") -> "list[PreparedFace]":
    from invertavatar.training.synthetic import synthetic_faces

    data, number, wanted = job
    return synthetic_faces(_studio(data, wanted.size), number, wanted)


def sheet_of(shards: "Shards") -> "np.ndarray":
    """A few pictures of each of the first people: [H, W, 3] uint8."""
    import numpy as np

    from invertavatar.media import contact_sheet

    faces = {person: [] for person in shards.people[:SHEET_PEOPLE]}
    for source in shards.sources:
        if len(faces.get(source.person, range(SHEET_PICTURES))) < SHEET_PICTURES:
            faces[source.person] += source.faces.tolist()
    each, blank = max(map(len, faces.values())), np.full((SHEET_CELL, SHEET_CELL, 3), 255, np.uint8)
    cells = []
    for numbers in faces.values():
        cells += [*map(shards.picture, numbers), *[blank] * (each - len(numbers))]
    return contact_sheet(cells, min(SHEET_ACROSS, len(faces)) * each, size=SHEET_CELL)


if __name__ == "__main__":
    app = new_app()
    app.command()(make_synthetic_heads)
    run(app)
