"""What the shipped weights make of the example photos: how sharp, and how clean when the head turns."""

import numpy as np
import pytest
from scipy import ndimage

from invertavatar.metrics.paper import high_pass_detail
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline


@pytest.fixture(scope="module")
def pipe():
    pipe = InvertAvatarPipeline.from_pretrained()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("name", ["anna_1", "ben_1", "dan_1"])
@pytest.mark.parametrize(("rows", "columns", "least"), [((120, 370), (130, 382), 0.8), ((10, 110), (180, 332), 0.75)])
def test_at_512_pixels_face_and_hair_are_nearly_as_sharp_as_the_photo(pipe, portrait, name, rows, columns, least):
    photo = portrait(name)
    avatar = pipe.add_portrait(None, photo)
    yaw, pitch, roll = photo.angles
    frame = np.asarray(pipe.render(avatar, yaw=yaw, pitch=pitch, roll=roll, height=512, framing="crop")[0])
    part = np.zeros((512, 512), bool)
    part[slice(*rows), slice(*columns)] = True
    ratio = high_pass_detail(frame, part) / high_pass_detail(photo.picture, part)
    assert least < ratio < 1.1


@pytest.mark.parametrize("yaw", [-40, 40])
def test_nothing_floats_beside_a_turned_head(pipe, portrait, yaw):
    avatar = pipe.add_portrait(None, portrait("finn_1"))
    picture = pipe.render(avatar, yaw=yaw, height=256, background="transparent", output_type="np")[0]
    outline = picture[:176, :, 3] > 0.5  # above the shoulders
    _, pieces = ndimage.label(outline)
    assert pieces == 1 and outline.any(1).mean() > 0.9


def test_the_back_of_a_turned_head_is_hair_and_no_second_face(pipe, portrait):
    avatar = pipe.add_portrait(None, portrait("clara_1"))
    picture = pipe.render(avatar, yaw=-60, height=256, background="black", output_type="np")[0]
    behind = picture[40:120, 218:245].reshape(-1, 3)  # of the ear
    skin = picture[100:140, 60:120].reshape(-1, 3).mean(0)
    assert skin[0] > 0.6
    assert np.quantile(behind[:, 0], 0.98) < 0.45
