"""`invertavatar live`: a film stands for the camera."""

import signal
import sys

import numpy as np
import pytest
import torch

from invertavatar import Motion
from invertavatar.live import FastRenderer, FullRenderer
from invertavatar.live.outputs import Recording
from invertavatar.media import VideoReader, probe
from invertavatar.scripts import cli
from invertavatar.scripts.console import run
from tests.conftest import ROOT

FILM = str(ROOT / "assets" / "examples" / "talk_a.mp4")


@pytest.fixture(scope="module")
def baked(tiny_pipeline, tiny_avatar, tmp_path_factory):
    """Anna, baked, in a file."""
    path = tmp_path_factory.mktemp("baked") / "anna.glb"
    tiny_pipeline.bake(tiny_avatar, 256).save(path)
    return path


@pytest.fixture
def invertavatar(capsys, monkeypatch):
    """`invertavatar(...)`: status, stdout and stderr of the program."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            run(cli.app, list(map(str, arguments)))
        return ended.value.code, *capsys.readouterr()

    return call


def test_a_film_drives_an_avatar_into_a_file(invertavatar, baked, tmp_path):
    out = tmp_path / "out.mp4"
    status, said, err = invertavatar(
        *("live", baked, "--camera", FILM, "--no-window", "--size", 128, "--seconds", 5, "--record", out)
    )
    assert (status, err) == (0, "")
    assert "talk_a.mp4 drives" in said and "ms in the median" in said
    assert probe(out).size == (128, 128)
    frames = [frame.astype(int) for frame in VideoReader(out)]
    assert len(frames) > 25 and np.abs(frames[-1] - frames[0]).max() > 20  # it moves


def test_what_the_system_lacks_is_one_sentence(invertavatar, baked, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for arguments, phrase in (
        (("--no-window", "--camera", 63), "There is no camera 63 here"),
        (("--no-window", "--camera", "none.mp4"), "none.mp4 does not exist"),
        (("--no-window", "--camera", FILM, "--virtual-camera"), "needs pyvirtualcam: pip install"),
        (("--no-window", "--camera", FILM, "--record", tmp_path / "out.txt"), "end its name in"),
        (("--no-window", "--camera", FILM, "--renderer", "full"), "give the avatar's folder"),
        (("--no-window", "--camera", FILM, "--background", "transparent"), "no transparency"),
        *([(("--camera", FILM), "no display here")] if sys.platform == "linux" else []),
    ):
        status, _, err = invertavatar("live", baked, *arguments)
        assert (status, err.count("\n")) == (2, 1), err
        assert phrase in err


def test_a_recording_holds_each_frame_until_the_next_has_come(tmp_path):
    recording = Recording(tmp_path / "out.mp4", 20)
    for seconds, grey in ((3.0, 20), (3.5, 120), (3.52, 250), (4.0, 200)):
        recording.show(np.full((64, 64, 3), grey, np.uint8), seconds)
    recording.close()
    greys = [frame.mean() for frame in VideoReader(tmp_path / "out.mp4")]
    assert np.allclose(greys, [20] * 10 + [250] * 10 + [200], atol=6)


def test_both_renderers_draw_the_avatar_as_it_is_moved(tiny_pipeline, tiny_avatar, baked):
    """The full one draws the very frame that `animate_stream` draws."""
    scores = torch.zeros(1, 52)
    scores[0, 17] = 0.5
    driver = Motion(torch.eye(3)[None], scores)
    (expected,) = tiny_pipeline.animate_stream(tiny_avatar, motion=driver, relative_motion=False, height=64)
    residual, region = tiny_avatar.rest.residual, tiny_avatar.rest.residual_region
    moved = Motion(torch.eye(3)[None], scores, residual, region, tiny_avatar.rest.torso_pose)
    assert np.abs(FullRenderer(tiny_pipeline, tiny_avatar, 64)(moved).astype(int) - expected).max() <= 1

    from invertavatar.baking.baked_avatar import BakedAvatar

    fast = FastRenderer(BakedAvatar.load(baked), 64)
    frame = fast(driver)
    assert frame.shape == (64, 64, 3) and np.abs(frame.astype(int) - fast(fast.rest)).max() > 20
