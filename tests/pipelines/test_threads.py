"""With several cores, photos are tracked and frames rendered ahead, and a user notices nothing but the speed."""

import threading
from itertools import islice

import numpy as np
import pytest
import torch

from invertavatar.errors import NoFaceError
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.retargeting import retarget

START = {"time": 0, "jawOpen": 0, "yaw": 0, "pitch": 0}
NOD = Motion.from_sliders([START, {"time": 0.4, "jawOpen": 0.8, "yaw": 20, "pitch": -10}])  # 11 frames


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture
def rendered_in(tiny_pipeline, monkeypatch):
    """Names of the threads that render frames."""
    names, original = set(), tiny_pipeline.render_frames

    def render_frames(*args, **kwargs):
        names.add(threading.current_thread().name)
        return original(*args, **kwargs)

    monkeypatch.setattr(tiny_pipeline, "render_frames", render_frames)
    return names


def test_frames_rendered_ahead_are_those_rendered_one_by_one(tiny_pipeline, tiny_avatar, rendered_in):
    options = {"motion": NOD, "height": 64, "framing": "crop", "batch_size": 2}
    alone = list(tiny_pipeline.animate_stream(tiny_avatar, **options))
    assert rendered_in == {"MainThread"}
    torch.set_num_threads(2)
    try:
        together = list(tiny_pipeline.animate_stream(tiny_avatar, **options))
    finally:
        torch.set_num_threads(1)
    assert len(rendered_in) == 3 and len(together) == len(alone) == NOD.num_frames
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.astype(int), b.astype(int), atol=1)  # networks round by how many threads they have


def test_a_stream_left_half_way_leaves_no_thread(tiny_pipeline, tiny_avatar, two_threads):
    stream = tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, height=64)
    assert len(list(islice(stream, 3))) == 3 and len(workers()) == 2
    stream.close()
    assert not workers()


@pytest.mark.parametrize("error", [RuntimeError("the third"), KeyboardInterrupt()])
def test_what_stops_the_third_frame_comes_after_two(tiny_pipeline, tiny_avatar, two_threads, monkeypatch, error):
    def render_frames(avatar, features, clip, *args):
        started.append(clip)
        if torch.equal(clip.head_to_torso, third):  # whichever thread comes to it, and whenever
            raise error
        return original(avatar, features, clip, *args)

    original, third, started, got = tiny_pipeline.render_frames, retarget(NOD, tiny_avatar.rest).rotation[2:3], [], []
    monkeypatch.setattr(tiny_pipeline, "render_frames", render_frames)
    with pytest.raises(type(error)):
        for frame in tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, height=64):
            got.append(frame)
    assert len(got) == 2 and not workers() and len(started) < NOD.num_frames


def test_the_photo_without_a_face_is_refused_after_those_before_it_joined(tiny_pipeline, example, two_threads):
    photos, joined = [example("anna_1"), np.full((256, 256, 3), 200, np.uint8), example("anna_2")], []
    with pytest.raises(NoFaceError, match="No face found in photo 2"):
        tiny_pipeline.reconstruct(photos, callback_on_step_end=lambda pipe, step, _, values: joined.append(step))
    assert joined == [0] and not workers()
