"""A moving head in its own photo, and in each frame of its own video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media import VideoWriter
from invertavatar.steps.pasted import driven_motion, read_scene, reduced
from invertavatar.tracking.motion import Motion

JAW = ARKIT_NAMES.index("jawOpen")


def nodding(*pitch, fps=25):
    count = len(pitch)
    scores = torch.zeros(count, 52)
    scores[:, JAW] = torch.linspace(0, 0.3, count)
    return Motion(rotation_from_angles(torch.zeros(count), torch.tensor(pitch)), scores, fps=fps)


@pytest.fixture(scope="module")
def photo(example):
    """Anna's photo beside a wall, as a large picture of a small head."""
    return np.pad(example("anna_1")[::2, ::2], ((0, 0), (160, 40), (0, 0)), mode="reflect")


@pytest.fixture(scope="module")
def scene(tiny_pipeline, tiny_avatar, photo):
    return read_scene(tiny_pipeline, tiny_avatar, photo, 0)


def test_a_head_that_does_as_in_the_photo_leaves_the_photo_as_it_is(tiny_pipeline, tiny_avatar, photo, scene):
    still = replace(scene.own, known_neutral=scene.own)
    (frame,) = tiny_pipeline.animate_stream(tiny_avatar, motion=still, into=photo)
    assert frame.shape == photo.shape
    difference = np.abs(frame.astype(int) - photo)
    assert difference.mean() < 0.5 and np.quantile(difference, 0.999) <= 8


def test_a_head_moves_in_its_photo_and_what_is_far_from_it_stays(tiny_pipeline, tiny_avatar, photo):
    stream = tiny_pipeline.animate_stream(tiny_avatar, motion=nodding(0.0, 0.0, -12.0), into=photo)
    frames = list(stream)
    assert stream.num_frames == len(frames) == 3
    np.testing.assert_array_equal(frames[2][:, :40], photo[:, :40])
    face = (slice(120, 260), slice(280, 420))
    assert np.abs(frames[2][face].astype(int) - photo[face]).mean() > 4


def test_in_a_video_the_driver_s_face_takes_the_place_of_its_own_and_the_pose_stays(scene):
    own = Motion.concatenate([scene.own] * 4)
    expression = own.expression.clone()
    expression[:, JAW] = torch.tensor([0.0, 0.4, 0.0, 0.1])
    rotation = rotation_from_angles(torch.tensor([0.0, 5, -5, 0])) @ own.rotation
    film = scene._replace(own=replace(own, expression=expression, rotation=rotation, fps=25), fps=25)
    driver = nodding(0.0, 8.0, 0.0, -8.0)
    moved = driven_motion(driver, film, "lip", relative_motion=True)
    torch.testing.assert_close(moved.rotation, film.own.rotation, atol=1e-5, rtol=0)
    step = driver.expression[:, JAW].diff()
    torch.testing.assert_close(moved.expression[:, JAW].diff(), step, atol=1e-5, rtol=0)
    brow = ARKIT_NAMES.index("browInnerUp")
    torch.testing.assert_close(moved.expression[:, brow], film.own.expression[:, brow])
    everything = driven_motion(driver, film, "all", relative_motion=True)
    assert (everything.rotation - film.own.rotation).abs().amax((1, 2))[1] > 0.05


def test_each_frame_of_a_video_is_replaced_at_the_video_s_rate(tiny_pipeline, tiny_avatar, photo, tmp_path):
    with VideoWriter(tmp_path / "own.mp4", 10) as video:
        for k in range(3):
            video.write(np.roll(photo, 4 * k, 1))
    driver = nodding(*[0.0] * 4, fps=20)
    stream = tiny_pipeline.animate_stream(
        tiny_avatar, motion=driver, animation_region="exp", into=tmp_path / "own.mp4", output_type="pt"
    )
    frames = list(stream)
    assert len(frames) == stream.num_frames == 2 and stream.fps == 10  # 0.2 seconds
    assert frames[0].shape == (3, *photo.shape[:2]) and frames[0].min() >= 0 and frames[0].max() <= 1


def test_a_picture_beyond_4k_is_reduced_and_others_stay():
    large = np.zeros((30, 80, 3), np.uint8)
    assert reduced(large, 40).shape == (15, 40, 3)
    assert reduced(large, 80) is large


def test_a_model_that_marches_rays_says_that_it_cannot(tiny_pipeline, tiny_avatar, photo, monkeypatch):
    config = dict(tiny_pipeline.generator.config) | {"surface_rendering": False}
    monkeypatch.setattr(tiny_pipeline.generator, "_internal_dict", type(tiny_pipeline.generator.config)(config))
    with pytest.raises(InvertAvatarError, match="surface_rendering"):
        tiny_pipeline.animate_stream(tiny_avatar, motion=nodding(0.0), into=photo)
