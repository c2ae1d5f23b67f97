"""Export an avatar: photos or an avatar in, .glb, .obj or .ply for other programs or a live page for browsers out."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar import endings
from invertavatar.flattened import flattened
from invertavatar.scripts.console import check_inputs, check_outputs, error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.options import FaceOption, TextureOption, WritingOptions


@dataclass(frozen=True)
class PageOptions:
    """A page for browsers."""

    web: Annotated[
        Path | None, typer.Option(help="Folder for a page on which the avatar follows its visitor's camera.")
    ] = None
    title: Annotated[str, typer.Option(help="Of that page.")] = "Live avatar"
    offline: Annotated[
        bool, typer.Option("--offline", help="That page holds all it needs (after `make web`), else a CDN lends some.")
    ] = False


@dataclass(frozen=True)
class HeadOptions:
    """Which head is baked, and how finely."""

    avatar: Annotated[Path | None, typer.Option(help="A saved avatar, if you would rather name it.")] = None
    expression: Annotated[
        list[str] | None, typer.Option("--expression", "-e", help="NAME=SCORE by ARKit's names; repeat it for more.")
    ] = None
    texture_size: TextureOption = 1024
    face_index: FaceOption = 0


@flattened
def export(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos of one person, a folder or a video; or the folder or .zip of a saved avatar."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", help=".glb (animatable), .obj (textured) or .ply (vertex colours). Repeat it for more."
        ),
    ] = None,
    *,
    page: PageOptions,
    head: HeadOptions,
    common: WritingOptions,
) -> None:
    """Export an avatar as a textured mesh, in metres, y up, looking along +z; or as a page for browsers.

    A .glb can be animated in other programs: it has 52 morph targets named as ARKit's, neck, jaw and eye
    joints, and skinning; .obj and .ply hold the neutral head only.

    A page moves the avatar by its visitor's camera, by sliders, recordings, photos or the mouse; any web server hands
    it out as it is, and it is a complete static Space.

    Example: invertavatar export me/ -o me.glb --web page/
    """
    photos, outputs, avatar = photos or [], output or [], head.avatar
    if not avatar and len(photos) == 1 and is_avatar(photos[0]):
        avatar, photos = photos[0], []
    check_request(photos, outputs, page.web, avatar)
    scores = dict(map(parse_score, head.expression)) if head.expression else None
    inputs = [*photos, *([avatar] if avatar else [])]
    check_inputs(inputs)
    check_outputs(outputs, inputs, common.overwrite)
    check_page(page.web, common.overwrite)

    with error_sentences(common.debug, common.quiet):
        from invertavatar import Avatar
        from invertavatar.web import check_modules, write_page

        if page.offline:
            check_modules()
        pipe = load_pipeline(common.model, common.device, common.quiet)
        if avatar:
            person = Avatar.from_pretrained(avatar)
        else:
            person = pipe.reconstruct(image=photos, face_index=head.face_index)
        started = time.perf_counter()
        size = head.texture_size
        baked = pipe.bake(person, size) if scores is None else pipe.extract_mesh(person, scores, size)
        for path in outputs:
            baked.save(path)
            if not common.quiet:
                seconds, megabytes = time.perf_counter() - started, path.stat().st_size / 1e6
                print(f"{path}: {megabytes:.1f} MB, in {seconds:.1f} s")
        if page.web:
            write_page(page.web, baked, page.title, page.offline)
            if not common.quiet:
                look = f"python -m http.server -d {page.web} 8000, at http://localhost:8000"
                print(f"{page.web}: a page; look at it with: {look}")


def is_avatar(path: Path) -> bool:
    """Whether a path holds a saved avatar rather than photos."""
    return path.suffix.lower() == ".zip" or (path / "avatar.json").is_file()


def check_request(photos: list[Path], outputs: list[Path], web: Path | None, avatar: Path | None) -> None:
    """Refuse what cannot be meant, before anything slow begins.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if bool(photos) == bool(avatar):
        raise typer.TyperException("Give either photos of a person or the folder (or .zip) of a saved avatar.")
    if not outputs and not web:
        raise typer.TyperException("--output FILE is missing, or --web FOLDER; for example: export photo.jpg -o me.glb")
    for path in outputs:
        if path.suffix.lower() not in endings.MESHES:
            raise typer.TyperException(f"{path.name} is no kind of mesh; end its name in {', '.join(endings.MESHES)}.")


def check_page(folder: Path | None, overwrite: bool) -> None:
    """Refuse a folder that holds other things than an older page.

    Raises:
        typer.TyperException: With one sentence that says what to change.
    """
    if folder is None or not folder.exists():
        return check_outputs([folder] if folder else [], [], overwrite=True)
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "settings.json").is_file()):
        raise typer.TyperException(f"{folder} exists and holds no page; name another folder for --web.")
    if any(folder.iterdir()) and not overwrite:
        raise typer.TyperException(f"{folder} holds a page; name another folder or leave --no-overwrite out.")


def parse_score(text: str) -> tuple[str, float]:
    """Name and score, such as jawOpen and 0.4, from NAME=SCORE.

    Raises:
        typer.TyperException: It is not of that form.
    """
    name, _, score = text.partition("=")
    try:
        return name, float(score)
    except ValueError:
        raise typer.TyperException(
            f"The expression {text} is not of the form NAME=SCORE, such as jawOpen=0.4."
        ) from None


if __name__ == "__main__":
    app = new_app()
    app.command()(export)
    run(app)
