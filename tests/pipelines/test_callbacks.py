"""`callback_on_step_end`: what it sees after each photo and each frame, and what its answer changes."""

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.tracking.motion import Motion
from tests.conftest import ROOT

PHOTOS = [ROOT / "assets" / "examples" / f"anna_{k}.jpg" for k in (1, 2)]
NOD = Motion.from_sliders([{"time": 0}, {"time": 0.08, "yaw": 20}])  # 3 frames


class Recorder:
    """A callback that keeps what it was given."""

    def __init__(self):
        self.steps = []

    def __call__(self, pipe, step, timestep, values):
        assert timestep is None
        self.steps.append((pipe, step, values))
        return values


def test_it_sees_the_avatar_grow_and_then_each_frame(tiny_pipeline):
    callback = Recorder()
    output = tiny_pipeline(PHOTOS, motion=NOD, height=64, output_type="pt", callback_on_step_end=callback)
    assert all(pipe is tiny_pipeline for pipe, _, _ in callback.steps)
    assert [(step, *values) for _, step, values in callback.steps] == [
        *((k, "avatar") for k in range(2)),
        *((k, "frames") for k in range(3)),
    ]
    photos, frames = callback.steps[:2], callback.steps[2:]
    assert [values["avatar"].num_images for _, _, values in photos] == [1, 2]
    assert torch.equal(torch.cat([values["frames"] for _, _, values in frames]), output.frames)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_step_is_a_frame_whatever_the_batch_size(tiny_pipeline, tiny_avatar, batch_size):
    callback = Recorder()
    options = {"height": 64, "batch_size": batch_size, "background": "transparent"}
    stream = tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, callback_on_step_end=callback, **options)
    assert len(list(stream)) == 3
    assert [(step, values["frames"].shape) for _, step, values in callback.steps] == [
        (k, (1, 4, 64, 64)) for k in range(3)
    ]


def test_frames_that_it_returns_take_the_place_of_the_rendered(tiny_pipeline, tiny_avatar):
    def darken(pipe, step, timestep, values):
        return {"frames": values["frames"] * (0 if step == 1 else 1)}

    plain, changed = (
        tiny_pipeline.animate(tiny_avatar, "pt", motion=NOD, height=64, callback_on_step_end=callback).frames
        for callback in (None, darken)
    )
    assert not changed[1].any()
    assert torch.equal(changed[::2], plain[::2])


def test_bright_frames_that_it_returns_are_not_wrapped_around(tiny_pipeline, tiny_avatar):
    def brighten(pipe, step, timestep, values):
        return {"frames": values["frames"] + 2}

    options = {"motion": NOD[0], "height": 64, "callback_on_step_end": brighten}
    assert (next(tiny_pipeline.animate_stream(tiny_avatar, **options)) == 255).all()
    (picture,) = tiny_pipeline.animate(tiny_avatar, **options).frames
    assert picture.getextrema() == ((255, 255),) * 3


def test_an_avatar_that_it_returns_is_gone_on_with(tiny_pipeline, tiny_avatar):
    def replace_first(pipe, step, timestep, values):
        return {"avatar": tiny_avatar} if step == 0 else None

    avatar = tiny_pipeline.reconstruct(PHOTOS, callback_on_step_end=replace_first)
    assert avatar.num_images == tiny_avatar.num_images + 1


def test_it_is_given_no_more_than_it_names(tiny_pipeline):
    callback = Recorder()
    options = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": ["frames"]}
    tiny_pipeline(PHOTOS[0], motion=NOD[0], height=64, **options)
    assert [list(values) for _, _, values in callback.steps] == [[], ["frames"]]


def test_a_name_that_no_step_has_is_refused_before_anything_is_done(tiny_pipeline, tiny_avatar):
    wrong = {"callback_on_step_end_tensor_inputs": ["avatar", "latents"]}
    for call in (
        lambda: tiny_pipeline.reconstruct("missing.jpg", **wrong),
        lambda: tiny_pipeline.update(tiny_avatar, "missing.jpg", **wrong),
        lambda: tiny_pipeline("missing.jpg", motion=NOD, **wrong),
        lambda: tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, **wrong),
    ):
        with pytest.raises(InvertAvatarError, match=r"has to be in \['avatar', 'frames'\], but found \['latents'\]"):
            call()


def test_what_it_raises_ends_the_call(tiny_pipeline):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_pipeline.reconstruct(PHOTOS, callback_on_step_end=stop)
