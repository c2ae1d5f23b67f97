"""Models for the Hub and folders for Spaces, without either: the Hub is stubbed, an app stands in."""

import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from diffusers import DiffusionPipeline

from invertavatar.scripts import console
from invertavatar.scripts.export_space import export_space
from invertavatar.scripts.push_to_hub import push_to_hub
from tests.conftest import ROOT

CARD = "---\nlicense: cc-by-nc-4.0\nlibrary_name: diffusers\n---\n# A card\n"


@pytest.fixture
def call(capfd, monkeypatch):
    """`call(command, *arguments)`: a program's exit status, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def start(command, *arguments):
        app = console.new_app()
        app.command()(command)
        with pytest.raises(SystemExit) as exit_:
            console.run(app, [str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return exit_.value.code, printed.out, printed.err

    return start


@pytest.fixture
def model(tiny_pipeline, tmp_path):
    """A pipeline's folder with a file that does not belong there, and a card: as options."""
    tiny_pipeline.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "generator" / "optimizer.bin").write_bytes(b"pickle")
    (tmp_path / "card.md").write_text(CARD)
    return "--model", tmp_path / "model", "--card", tmp_path / "card.md"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stands for the Hub; `hub.calls` are its calls in order, `hub.folder` a copy of what was uploaded."""
    record = SimpleNamespace(calls=[], folder=tmp_path / "uploaded")

    class Api:
        def create_repo(self, repo_id, **options):
            record.calls.append(("create_repo", repo_id, options))

        def upload_folder(self, repo_id, folder_path, **options):
            record.calls.append(("upload_folder", repo_id, options))
            shutil.copytree(folder_path, record.folder)
            return SimpleNamespace(pr_url=None, commit_url="https://hub/commit")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return record


def test_a_published_model_loads_in_both_ways_and_holds_nothing_else(call, model, hub):
    status, out, err = call(push_to_hub, "me/avatar", *model, "--private", "-m", "first")
    assert status == 0, err
    assert "https://hub/commit" in out
    assert [name for name, *_ in hub.calls] == ["create_repo", "upload_folder"]
    assert hub.calls[0][1:] == ("me/avatar", {"private": True, "exist_ok": True})
    assert hub.calls[1][2]["commit_message"] == "first"
    assert (hub.folder / "README.md").read_text() == CARD
    kinds = {file.suffix for file in hub.folder.rglob("*") if file.is_file()}
    assert kinds <= {".safetensors", ".json", ".task", ".tflite", ".txt", ".md", ".py", ""}
    by_code = DiffusionPipeline.from_pretrained(hub.folder, custom_pipeline=str(hub.folder), trust_remote_code=True)
    assert type(by_code).__name__ == "InvertAvatarPipeline"


def test_a_dry_run_lists_the_files_and_sends_nothing(call, model, hub):
    status, out, err = call(push_to_hub, "me/avatar", *model, "--dry-run")
    assert status == 0, err
    assert "generator/diffusion_pytorch_model.safetensors" in out
    assert "optimizer.bin" not in out
    assert hub.calls == []


def test_without_a_login_one_sentence_says_how(call, model, hub, monkeypatch):
    from huggingface_hub.errors import LocalTokenNotFoundError

    def refuse(*_, **__):
        raise LocalTokenNotFoundError("no token")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    status, _, err = call(push_to_hub, "me/avatar", *model)
    assert status == 2
    assert "hf auth login" in err


@pytest.mark.parametrize(
    ("name", "card", "missing", "phrase"),
    [
        ("a//b", CARD, "", "no name for a repository"),
        ("me/avatar", "# no front matter\n", "", "states no license"),
        ("me/avatar", CARD, "model_index.json", "no model_index.json"),
        ("me/avatar", CARD, "generator/config.json", "Cannot load the model"),
    ],
)
def test_what_cannot_be_published_is_refused_before_anything_is_sent(call, model, hub, name, card, missing, phrase):
    model[3].write_text(card)
    if missing:
        (model[1] / missing).unlink()
    status, _, err = call(push_to_hub, name, *model)
    assert status == 2
    assert phrase in err
    assert hub.calls == []


# Spaces


@pytest.fixture
def stand_in(tmp_path):
    """An app that says which package it runs with; `tests/app/test_space.py` starts the real one."""
    app = tmp_path / "app.py"
    app.write_text(
        "from importlib.util import find_spec\n"
        "print(*(find_spec(name).origin for name in ('invertavatar', 'invertavatar.pipelines.pipeline_output')))\n"
    )
    return app


def test_a_space_runs_by_itself_and_its_front_matter_names_what_is_tested(call, stand_in, tmp_path):
    folder = tmp_path / "space"
    status, out, err = call(export_space, folder, "--app", stand_in, "--model-id", "me/avatar")
    assert status == 0, err
    assert str(folder) in out

    _, front_matter, text = (folder / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(front_matter)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert about["sdk"] == "gradio"
    assert about["sdk_version"] == pins["gradio"]
    assert about["app_file"] == "app.py"
    assert about["models"] == ["me/avatar"]
    assert about["license"] == "cc-by-nc-4.0"
    assert "agreed" in text
    for name in ("requirements.txt", "packages.txt", "LICENSE"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    assert not list(folder.rglob("__pycache__"))
    assert "*.safetensors filter=lfs" in (folder / ".gitattributes").read_text()

    started = subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    assert started.stdout.split() == [
        str(folder / "invertavatar/__init__.py"),
        str(folder / "pipelines/pipeline_output.py"),
    ]
    assert not (folder / "invertavatar/scripts").exists()  # which has nothing to lead to


def test_a_missing_app_is_a_sentence(call, tmp_path):
    status, _, err = call(export_space, tmp_path / "space", "--app", tmp_path / "none.py")
    assert status == 2
    assert "a Space needs an app" in err
    assert not (tmp_path / "space").exists()


def test_a_folder_with_something_in_it_is_not_touched(call, stand_in, tmp_path):
    status, _, err = call(export_space, tmp_path, "--app", stand_in)
    assert status == 2
    assert "not empty" in err
