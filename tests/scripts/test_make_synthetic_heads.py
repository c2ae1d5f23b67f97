"""`scripts/make_synthetic_heads.py`: MakeHuman's data in, shards out."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from invertavatar.scripts import console
from invertavatar.scripts.make_synthetic_heads import make_synthetic_heads
from tests.conftest import ROOT

DATA = os.environ.get("MAKEHUMAN_DATA")


@pytest.fixture
def refused(capfd, monkeypatch):
    """Calls the program and returns what it says when it gives up."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments) -> str:
        app = console.new_app()
        app.command()(make_synthetic_heads)
        with pytest.raises(SystemExit) as exit_:
            console.run(app, [*map(str, arguments)])
        assert exit_.value.code == console.BAD_INPUT
        return capfd.readouterr().err

    return call


def test_a_folder_of_something_else_is_refused_in_a_sentence(refused, tmp_path):
    said = refused(tmp_path, "-o", tmp_path / "out")
    assert said == f"invertavatar: {tmp_path} holds no 3dobjs/base.obj; give the folder of MakeHuman's data.\n"


def test_yaws_that_are_no_numbers_are_refused_in_a_sentence(refused, tmp_path):
    said = refused(tmp_path, "-o", tmp_path / "out", "--yaws", "left,right")
    assert '"left,right" is no list of degrees such as -30,0,30.' in said


@pytest.mark.skipif(not DATA, reason="MAKEHUMAN_DATA does not name the folder of MakeHuman's data")
def test_one_process_or_two_draw_the_same_people(tmp_path):
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        options = ["--people", 2, "--pictures", 1, "--size", 64, "--workers", workers]
        options += ["--contact-sheet", folder.with_suffix(".png")]
        command = [sys.executable, ROOT / "scripts" / "make_synthetic_heads.py", DATA, "-o", folder, *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("2 people, 2 faces: 1 shards")
    one, two = (tmp_path / name / "shard_0000.safetensors" for name in "12")
    assert one.read_bytes() == two.read_bytes()
    assert Image.open(tmp_path / "1.png").size == (2 * 128, 128)
