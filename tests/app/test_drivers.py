"""What drives in the app is known by its content and rendered at 30 frames a second at most."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from invertavatar.app import drivers
from invertavatar.errors import MediaError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking import driver_reader
from invertavatar.tracking.motion import Motion


@pytest.fixture
def recorder(monkeypatch):
    """Sees a face in every frame; the motion has as many frames as were seen, with the grey of each as its jawOpen."""

    class Capture:
        def __init__(self, head_model, fps, name):
            self.fps, self.tracks = fps, []
            self.add = self.tracks.append

        def motion(self):
            scores = torch.tensor(self.tracks)[:, None].expand(-1, len(ARKIT_NAMES))
            return Motion(torch.eye(3).expand(len(scores), 3, 3).contiguous(), scores.contiguous(), fps=self.fps)

    monkeypatch.setattr(driver_reader, "Capture", Capture)
    monkeypatch.setattr(drivers, "capture", lambda tracks, *_: None)
    return SimpleNamespace(
        head_model=None,
        detect=lambda photo, name, face: float(photo.mean()) / 255,
        detect_video=lambda frames, fps, face, name: (float(frame.mean()) / 255 for frame in frames),
    )


def video(path, rate, count, form=None):
    with av.open(str(path), "w", format=form) as output:
        stream = output.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for k in range(count):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 2 * k, np.uint8), "rgb24")
            picture.pts, picture.time_base = k, 1 / Fraction(rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def read(path, recorder):
    reading = drivers.read_driver(str(path), recorder, longest=10)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("rate", "count", "expected", "frames"),
    [
        (Fraction(753, 25), 75, 30, 75),  # 30.12 fps
        (Fraction(30000, 1001), 30, Fraction(30000, 1001), 30),
        (25, 25, 25, 25),
        (50, 50, 30, 30),
        (60, 60, 30, 30),
        (240, 96, 30, 12),
    ],
)
def test_a_video_is_brought_to_30_frames_a_second_and_not_to_a_half_or_a_third(
    tmp_path, recorder, rate, count, expected, frames
):
    driver = read(video(tmp_path / "talk.mp4", rate, count), recorder)
    assert (driver.motion.fps, driver.motion.num_frames) == (expected, frames)
    assert bool(driver.note) == (rate > 31)


@pytest.mark.parametrize(("rate", "frames"), [(Fraction(753, 25), 75), (60, 38), (50, 45), (30, 75)])
def test_a_motion_is_brought_to_30_frames_a_second(tmp_path, recorder, rate, frames):
    count = 75
    scores = torch.linspace(0, 1, count)[:, None].expand(-1, len(ARKIT_NAMES)).contiguous()
    Motion(torch.eye(3).repeat(count, 1, 1), scores, fps=rate).save(tmp_path / "m.safetensors")
    motion = read(tmp_path / "m.safetensors", recorder).motion
    assert (motion.fps, motion.num_frames) == (30, frames)
    times = torch.arange(frames) / 30 * float(rate) / (count - 1)
    assert (motion.expression[:, 0] - times.clamp(max=1)).abs().max() < 0.6 / (count - 1) + 1e-4


@pytest.mark.parametrize("name, form", [("camera.mts", "mpegts"), ("no_ending", "mp4"), ("talk.m2ts", "mpegts")])
def test_a_video_of_any_name_drives(tmp_path, recorder, name, form):
    driver = read(video(tmp_path / name, 25, 10, form), recorder)
    assert driver.motion.num_frames == 10 and driver.video


def test_an_animated_webp_drives_with_all_frames_and_a_still_one_is_a_photo(tmp_path, recorder):
    frames = [Image.fromarray(np.full((64, 64, 3), 20 + 8 * k, np.uint8)) for k in range(10)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], duration=40)
    frames[0].save(tmp_path / "still.webp")
    assert read(tmp_path / "moving.webp", recorder).motion.num_frames == 10
    assert read(tmp_path / "still.webp", recorder).photo.shape == (64, 64, 3)


def test_what_cannot_drive_is_told_what_can(tmp_path, recorder):
    (tmp_path / "notes.odt").write_text("this is text\n", encoding="utf-8")
    with pytest.raises(MediaError, match=r"notes\.odt cannot drive an avatar; a driver is a video .* a saved motion"):
        read(tmp_path / "notes.odt", recorder)
