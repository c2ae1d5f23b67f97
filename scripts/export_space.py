"""Write a folder that is a complete Gradio Space: the app, the package, its weights and what to install."""

import re
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import error_sentences, new_app, run
from invertavatar.scripts.options import DebugOption

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("invertavatar", "pipelines", "assets/examples", "requirements.txt", "packages.txt", "LICENSE", "NOTICE")
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".*", "scripts", "__main__.py", "node_modules"
)  # a Space has no command line
PYTHON_VERSION = "3.12"  # the newest that ZeroGPU offers and mediapipe has wheels for
LARGE_FILES = ("safetensors", "task", "tflite", "jpg", "png", "mp4")

FRONT_MATTER = """\
---
title: {title}
emoji: 🙂
colorFrom: indigo
colorTo: pink
sdk: gradio
sdk_version: {sdk_version}
python_version: "{python_version}"
app_file: app.py
suggested_hardware: zero-a10g
short_description: 3D head avatar from one or more photos, driven by video
tags: [head-avatar, 3d, gan-inversion]
{models}license: {license}
---

# {title}

One to N portrait photos in, an animatable 3D head avatar out. Build avatars of people who agreed to it, and say of what
you show that it is synthetic. The weights lie in `invertavatar/checkpoints`; nothing else is fetched.
"""


def export_space(
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist, or be empty.")],
    title: Annotated[str, typer.Option(help="Of the Space.")] = "InvertAvatar",
    model_id: Annotated[
        str | None, typer.Option(help="Hub id of the model, for the Space's page to link to.", show_default=False)
    ] = None,
    app_file: Annotated[Path, typer.Option("--app", help="The app.")] = ROOT / "app.py",
    debug: DebugOption = False,
) -> None:
    """Write a complete Space, ready for ZeroGPU and for plain CPU hardware.

    Example: python scripts/export_space.py my-space && hf upload me/invertavatar my-space --repo-type space
    """
    if not app_file.is_file():
        raise typer.TyperException(f"{app_file} does not exist, and a Space needs an app; name one with --app FILE.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.TyperException(f"{folder} exists and is not empty; name another folder.")
    with error_sentences(debug):
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source, target = ROOT / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=LEFT_OUT)
            else:
                shutil.copyfile(source, target)
        shutil.copyfile(app_file, folder / "app.py")
        (folder / "README.md").write_text(front_page(title, model_id), encoding="utf-8")
        large = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_FILES)
        (folder / ".gitattributes").write_text(large, encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(
            f"{folder}: a Space of {size / 1e6:.1f} MB; upload it with: hf upload me/space {folder} --repo-type space"
        )


def front_page(title: str, model_id: str | None) -> str:
    """The Space's README.md, with the Gradio version that is tested here and the licence of the weights."""
    from huggingface_hub import ModelCard

    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return FRONT_MATTER.format(
        title=title,
        sdk_version=re.search(r"^gradio==(.+)$", constraints, re.MULTILINE)[1],
        python_version=PYTHON_VERSION,
        models=f"models: [{model_id}]\n" if model_id else "",
        license=ModelCard.load(ROOT / "MODEL_CARD.md").data.license,
    )


if __name__ == "__main__":
    app = new_app()
    app.command()(export_space)
    run(app)
