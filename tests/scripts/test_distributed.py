"""Several processes at one video."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from invertavatar.scripts import cli, console
from invertavatar.scripts.distributed import ProcessGroup, process_group
from invertavatar.tracking.motion import Motion

ROOT = Path(__file__).resolve().parents[2]
FRAMES = np.arange(7 * 4 * 4 * 3, dtype=np.uint8).reshape(7, 4, 4, 3)


@pytest.fixture
def member(monkeypatch, tmp_path):
    """`member(rank, size)`: a process of a group that never has to wait."""
    monkeypatch.setattr(ProcessGroup, "wait", lambda self: None)

    def make(rank, size):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))
        return ProcessGroup(tmp_path)

    return make


def test_alone_a_process_is_a_group_of_one_and_leaves_nothing_behind(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu") as group:
        assert group.is_main_process
        assert group.folder is None
        assert group.broadcast("x", lambda: 5, None, None) == 5
        np.testing.assert_array_equal(list(group.render("frames", lambda part: iter(FRAMES[part]), 7)), FRAMES)


@pytest.mark.parametrize("size", [2, 3, 9])
def test_each_frame_is_rendered_once_and_the_first_process_gets_all_in_order(member, size):
    rendered = []

    def stream(part):
        for k in range(7)[part]:
            rendered.append(k)
            yield FRAMES[k]

    for rank in reversed(range(1, size)):
        assert list(member(rank, size).render("frames", stream, 7)) == []
    main = member(0, size)
    np.testing.assert_array_equal(list(main.render("frames", stream, 7)), FRAMES)
    assert sorted(rendered) == list(range(7))
    assert list((main.folder / "frames").iterdir()) == []


def test_only_the_first_process_makes_what_all_need(member):
    made = []

    def shared(group):
        return group.broadcast(
            "note", lambda: made.append(1) or "note", lambda v, path: path.write_text(v), Path.read_text
        )

    assert [shared(member(rank, 3)) for rank in range(3)] == ["note"] * 3
    assert made == [1]


def test_two_processes_write_the_same_file_as_one(tiny_pipeline, tiny_avatar, tmp_path, monkeypatch):
    tiny_pipeline.save_pretrained(tmp_path / "model")
    tiny_avatar.save_pretrained(tmp_path / "me")
    Motion.from_sliders([{"time": 0}, {"time": 0.16, "jawOpen": 0.8, "yaw": 20}]).save(tmp_path / "nod.safetensors")
    monkeypatch.chdir(tmp_path)
    options = ["--avatar", "me", "-d", "nod.safetensors", "--model", "model", "--size", "64", "--device", "cpu", "-q"]
    options += ["--smooth", "0.5"]
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit, match="0"):
        console.run(cli.app, ["animate", *options, "-o", "one.mp4"])
    command = [sys.executable, ROOT / "scripts" / "animate.py", *options, "-o", "two.mp4"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    environment = os.environ | group | {"OMP_NUM_THREADS": "1"}
    members = [  # as `accelerate launch` starts them, which takes seconds itself
        subprocess.Popen(
            command, env=environment | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    for member in members:
        _, said = member.communicate()
        assert member.returncode == 0, said
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
