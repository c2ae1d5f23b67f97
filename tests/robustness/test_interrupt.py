"""Ctrl-C and a polite kill, at any moment, leave playable files or none, and nothing beside them.

The program runs in processes that a server forks after the slow imports, which all of them need.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from invertavatar import Avatar, Motion
from invertavatar.media import VideoReader
from tests.conftest import ROOT

EXAMPLES = ROOT / "assets" / "examples"
PATIENCE = 60  # seconds until a moment must have come
IMPORTS = [
    "invertavatar.pipelines.pipeline_invertavatar",
    "mediapipe.tasks.python.vision",
    "invertavatar.scripts.animate",
]
FRAMES = 48  # enough that the program is still at it when the signal comes
OF_LIBRARIES = {".ses"}  # one for all runs, written when weights are loaded


def program(folder: Path, arguments: list) -> None:
    """`scripts/animate.py` as the terminal starts it."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "temporary")
    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["animate.py", *map(str, arguments)]
    runpy.run_path(str(ROOT / "scripts" / "animate.py"), run_name="__main__")


@pytest.fixture(scope="module")
def model(tiny_pipeline, tmp_path_factory):
    """A saved pipeline of tiny networks."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def start():
    """Starts the program in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)

    def start(*arguments):
        process = context.Process(target=program, args=arguments)
        process.start()
        return process

    return start


def tracking(folder):
    return (folder / "stderr").is_file() and "Tracking" in (folder / "stderr").read_text()


def writing(folder):
    return any(file.suffix == ".mp4" for file in (folder / "out").iterdir())  # hidden, or already whole


@pytest.mark.parametrize(
    ("moment", "how", "delay"),
    [
        (tracking, signal.SIGINT, 0.0),
        (writing, signal.SIGINT, 0.0),
        (writing, signal.SIGTERM, 0.1),
    ],
)
def test_an_interrupted_program_leaves_whole_files_or_none(start, model, tmp_path, moment, how, delay):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "temporary").mkdir()
    outputs = ["-o", out / "new.mp4", "--save-motion", out / "motion.safetensors", "--save-avatar", out / "avatar"]
    drive = ["-d", EXAMPLES / "talk_a.mp4", "--max-frames", str(FRAMES), "--size", "128", "--device", "cpu"]
    process = start(tmp_path, [EXAMPLES / "anna_1.jpg", "--model", model, *drive, *outputs])
    try:
        deadline = time.monotonic() + PATIENCE
        while not moment(tmp_path):
            assert process.is_alive() and time.monotonic() < deadline, (tmp_path / "stderr").read_text()
            time.sleep(0.01)
        time.sleep(delay)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(process.pid, how)
        process.join(PATIENCE)
    finally:
        process.kill()
    readers = {"new.mp4": lambda file: sum(1 for _ in VideoReader(file)), "motion.safetensors": Motion.load}
    for file in out.iterdir():
        (readers | {"avatar": Avatar.from_pretrained})[file.name](file)
    if (out / "new.mp4").is_file():
        assert readers["new.mp4"](out / "new.mp4") == FRAMES
    assert process.exitcode in (0, 130 if how == signal.SIGINT else 143)
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert {file.name for file in (tmp_path / "temporary").iterdir()} <= OF_LIBRARIES
