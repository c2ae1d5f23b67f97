"""`invertavatar export`: photos or an avatar in, meshes out."""

import os
import signal
import subprocess
import sys

import pytest
import trimesh

from invertavatar.baking.baked_avatar import BakedAvatar
from invertavatar.scripts import cli, console
from tests.conftest import ROOT

PHOTO = ROOT / "assets" / "examples" / "anna_1.jpg"
QUICK = ("--texture-size", "256", "--device", "cpu")


@pytest.fixture
def export(capfd, monkeypatch):
    """Calls the sub-command and returns its exit status, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            console.run(cli.app, ["export", *map(str, arguments)])
        printed = capfd.readouterr()
        return exit_.value.code, printed.out, printed.err

    return call


@pytest.fixture
def saved(tiny_pipeline, tiny_avatar, tmp_path):
    """A model and an avatar as options."""
    tiny_pipeline.save_pretrained(tmp_path / "model")
    tiny_avatar.save_pretrained(tmp_path / "me")
    return "--model", tmp_path / "model", tmp_path / "me"


def test_one_extraction_is_written_in_every_form_asked_for(export, saved, tmp_path):
    outputs = [tmp_path / f"head.{suffix}" for suffix in ("glb", "ply", "obj")]
    options = [part for output in outputs for part in ("-o", output)]
    status, out, err = export(*saved, *options, "-e", "jawOpen=0.5", "-e", "eyeBlinkLeft=1", *QUICK)
    assert status == 0, err
    assert out.count("MB") == 3
    areas = [trimesh.load_mesh(output).area for output in outputs]
    assert areas == pytest.approx([areas[0]] * 3, rel=1e-3)


def test_a_photo_gives_a_mesh_quietly(export, saved, tmp_path):
    status, out, err = export(PHOTO, *saved[:2], "-o", tmp_path / "head.glb", "-q", *QUICK)
    assert (status, out, err) == (0, "", "")
    assert trimesh.load_mesh(tmp_path / "head.glb").visual.kind == "texture"


def test_a_baked_avatar_is_what_a_glb_without_an_expression_holds(export, saved, tmp_path):
    status, _, err = export(*saved, "-o", tmp_path / "me.glb", "-q", *QUICK)
    assert status == 0, err
    assert BakedAvatar.load(tmp_path / "me.glb").still(size=64).std() > 5


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ((PHOTO,), "--output FILE is missing"),
        (("-o", "a.glb"), "either photos of a person or the folder"),
        ((PHOTO, "-o", "a.stl"), "end its name in .glb, .obj, .ply"),
        ((PHOTO, "-o", "a.glb", "-e", "jawOpen"), "not of the form NAME=SCORE"),
        ((PHOTO, "-o", "a.glb", "-e", "jawOpen=wide"), "not of the form NAME=SCORE"),
        (("none.jpg", "-o", "a.glb"), "none.jpg does not exist"),
        ((PHOTO, "-o", PHOTO / "a.glb"), "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(export, arguments, phrase):
    status, out, err = export(*arguments)
    assert (status, out) == (2, "")
    assert phrase in err
    assert err.count("\n") == 1


def test_what_the_pipeline_refuses_is_one_sentence_too(export, saved, tmp_path):
    for options, phrase in ((("-e", "grin=1"), "no expression axis grin"), (("--texture-size", 300), "texture size")):
        status, _, err = export(*saved, "-o", tmp_path / "a.glb", "-q", *QUICK, *options)
        assert status == 2
        assert phrase in err


@pytest.mark.parametrize("name", ["export", "push_to_hub", "export_space"])
def test_each_program_starts_as_a_file(name, tmp_path):
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert started.returncode == 0, started.stderr


def test_a_page_is_written_and_only_over_a_page(export, saved, tmp_path):
    page, other = tmp_path / "page", tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    assert "holds no page" in export(PHOTO, "--web", other)[2]
    status, out, err = export(*saved, "--web", page, "--title", "Anna", *QUICK)
    assert status == 0, err
    assert "http.server" in out and "<h1>Anna</h1>" in (page / "index.html").read_text()
    assert BakedAvatar.load(page / "avatar.glb").still(size=64).std() > 5
    assert "holds a page" in export(*saved, "--web", page, "--no-overwrite")[2]
    console_free = export(*saved, "--web", page, "-q", *QUICK)  # an older page is replaced
    assert console_free == (0, "", "")
