"""Publish a model: a pipeline's folder and its card as a repository on the Hugging Face Hub."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import invertavatar
from invertavatar.scripts.console import check_inputs, error_sentences, load_pipeline, new_app, run
from invertavatar.scripts.options import DebugOption

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = Path(invertavatar.__file__).parent / "checkpoints"
# What a model is made of; nothing that runs code when it is read, and no file that lies in the folder by accident.
PUBLISHED = ("*.safetensors", "*.json", "*.task", "*.tflite", "NOTICE*", "LICENSE")
# With this file `DiffusionPipeline.from_pretrained(id, custom_pipeline=id, trust_remote_code=True)` finds the class.
PIPELINE_FILE = "from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline  # noqa: F401\n"


def push_to_hub(
    repo_id: Annotated[str, typer.Argument(help="Name of the repository, such as organisation/invertavatar.")],
    model: Annotated[Path, typer.Option(help="Folder of the pipeline.")] = SHIPPED,
    card: Annotated[Path, typer.Option(help="Model card, with its front matter.")] = ROOT / "MODEL_CARD.md",
    message: Annotated[str, typer.Option("--message", "-m", help="Of the commit.")] = "Upload the pipeline",
    private: Annotated[bool, typer.Option("--private", help="Make a repository that others cannot see.")] = False,
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Propose instead of committing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the files; send nothing.")] = False,
    debug: DebugOption = False,
) -> None:
    """Publish a model on the Hub, from where `InvertAvatarPipeline.from_pretrained("organisation/name")` loads it.

    Example: python scripts/push_to_hub.py organisation/invertavatar --dry-run
    """
    check_inputs([model, card])
    # On Windows a file of the model that is loaded for a check may still be open at the end.
    with error_sentences(debug), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as staging:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
        from huggingface_hub.utils import validate_repo_id

        from invertavatar.errors import InvertAvatarError

        try:
            validate_repo_id(repo_id)
        except HFValidationError as error:
            raise InvertAvatarError(f"{repo_id} is no name for a repository: {error}.") from error
        files = stage(model, card, Path(staging))
        load_pipeline(staging, "cpu", quiet=True)  # what cannot be loaded is not published
        for file in files:
            print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.relative_to(staging)}")
        print(f"{sum(file.stat().st_size for file in files) / 1e6:8.2f} MB  in {len(files)} files for {repo_id}")
        if dry_run:
            return
        api = HfApi()
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=staging, commit_message=message, create_pr=pull_request
            )
        except LocalTokenNotFoundError as error:
            raise InvertAvatarError("You are not logged in to the Hub; run: hf auth login") from error
        print(commit.pr_url or f"published: {commit.commit_url}")


def stage(model: Path, card: Path, staging: Path) -> list[Path]:
    """Gather what is published in an empty folder.

    Args:
        model: Folder of a pipeline.
        card: Becomes README.md.
        staging: An empty folder.

    Returns:
        The files, sorted.

    Raises:
        InvertAvatarError: The folder holds no pipeline, or the card no licence.
    """
    from huggingface_hub import ModelCard

    from invertavatar.errors import InvertAvatarError

    if not (model / "model_index.json").is_file():
        raise InvertAvatarError(f"{model} is no pipeline: it has no model_index.json. Name the folder that has one.")
    if not ModelCard.load(card).data.license:
        raise InvertAvatarError(f"{card} states no license in its front matter; add one.")
    for pattern in PUBLISHED:
        for file in model.rglob(pattern):
            target = staging / file.relative_to(model)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    shutil.copyfile(card, staging / "README.md")
    (staging / "pipeline.py").write_text(PIPELINE_FILE, encoding="utf-8")
    return sorted(file for file in staging.rglob("*") if file.is_file())


if __name__ == "__main__":
    app = new_app()
    app.command()(push_to_hub)
    run(app)
