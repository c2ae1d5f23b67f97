"""What the shipped weights make of example people: how sharp, how clean on turned heads, and that photos add up."""

from itertools import islice

import numpy as np
import pytest
from scipy import ndimage

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media import VideoReader
from invertavatar.metrics.paper import high_pass_detail
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.rendering.resize import resize
from invertavatar.tracking.portrait import Portrait, prepare_portrait
from tests.conftest import ROOT


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


def apart(picture: np.ndarray, truth: Portrait) -> float:
    """Mean difference of a picture [256, 256, 3] in 0..1 and a photo on black, within the person."""
    shown = resize(truth.matte, 256)[0].permute(1, 2, 0).numpy()
    wanted = (resize(truth.photo, 256)[0].permute(1, 2, 0).numpy() + 1) / 2 * shown
    return float((np.abs(picture - wanted) * shown).sum() / shown.sum() / 3)


def test_more_photos_are_better_where_they_show_more(pipe, face_tracker):
    with VideoReader(ROOT / "assets" / "examples" / "talk_a.mp4") as video:
        frames = list(islice(video, 115))
    frontal, turned, truth = (prepare_portrait(frames[k], face_tracker) for k in (6, 102, 114))
    assert [round(photo.angles[0]) for photo in (frontal, turned, truth)] == pytest.approx([-1, -22, -17], abs=2)
    one = pipe.add_portrait(None, frontal)
    yaw, pitch, roll = truth.angles
    expression = dict(zip(ARKIT_NAMES, truth.expression[0].tolist(), strict=True))
    look = {"expression": expression, "height": 256, "framing": "crop", "background": "black", "output_type": "np"}
    errors = [
        apart(pipe.render(avatar, yaw=yaw, pitch=pitch, roll=roll, **look)[0], truth)
        for avatar in (one, pipe.add_portrait(one, turned))
    ]
    assert errors[1] < 0.7 * errors[0]
