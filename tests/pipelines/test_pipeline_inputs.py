"""What the pipeline refuses, with which sentence, and before which work."""

import pytest

from invertavatar.errors import AvatarError, InvertAvatarError, MotionError
from invertavatar.tracking.motion import Motion
from tests.conftest import ROOT

EXAMPLES = ROOT / "assets" / "examples"
PHOTO = EXAMPLES / "anna_1.jpg"
NOD = Motion.from_sliders([{"time": 0}, {"time": 0.2, "jawOpen": 0.8, "yaw": 20, "pitch": -10}])  # 6 frames


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Give exactly one of driving_video, driving_image and motion, not 0."),
        ({"motion": NOD, "driving_image": PHOTO}, "driving_video, driving_image and motion, not 2."),
        ({"motion": NOD, "animation_region": "nose"}, "animation_region is one of all, exp, pose, lip, eyes"),
        ({"motion": NOD, "height": 8}, "height of the frames must be between 32 and 4096 pixels, not 8."),
        ({"motion": NOD, "height": 64.0}, "height of the frames must be between 32 and 4096 pixels, not 64.0."),
        ({"motion": NOD, "batch_size": 0}, "batch size must be 1 or more frames, not 0."),
        ({"motion": NOD, "zoom": 0}, "zoom must be above 0, not 0."),
        ({"motion": NOD, "zoom": float("nan")}, "zoom must be above 0, not nan."),
        ({"motion": NOD, "field_of_view": 180}, "field of view must be between 0 and 90 degrees, not 180."),
        ({"motion": NOD, "output_type": "jpg"}, 'There is no output type "jpg"; use one of'),
        ({"motion": NOD, "motion_scale": -1}, "motion_scale runs from 0 to 10"),
        ({"motion": NOD, "smooth": 2}, "smooth runs from 0 to 1"),
        ({"motion": NOD, "yaw": float("nan")}, "Give yaw, pitch and roll in degrees; one of them is not finite."),
        ({"motion": NOD, "callback_on_step_end_tensor_inputs": ["latents"]}, "but found ['latents']."),
        ({"driving_video": "take.bvh"}, "take.bvh"),
        ({"motion": NOD, "background": "pink"}, 'There is no background "pink"'),
    ],
)
def test_each_rule_broken_is_one_sentence(arguments, sentence, tiny_pipeline, tiny_avatar):
    for call in (tiny_pipeline.animate, lambda *a, **k: list(tiny_pipeline.animate_stream(*a, **k))):
        with pytest.raises(InvertAvatarError) as caught:
            call(tiny_avatar, **arguments)
        assert sentence in str(caught.value)
        assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "wrong", [{"height": 8}, {"motion_scale": 11}, {"smooth": -1}, {"background": "pink"}, {"output_type": "jpg"}]
)
def test_wrong_arguments_are_refused_before_a_video_is_tracked(tiny_pipeline, tiny_avatar, monkeypatch, wrong):
    monkeypatch.setattr(tiny_pipeline, "track", lambda *_, **__: pytest.fail("tracked for nothing"), raising=True)
    for call in (tiny_pipeline.animate, tiny_pipeline.animate_stream):
        with pytest.raises(InvertAvatarError):
            call(tiny_avatar, driving_video=EXAMPLES / "talk_a.mp4", **wrong)


def test_a_call_without_a_driver_is_refused_before_photos_are_read(tiny_pipeline):
    with pytest.raises(MotionError, match="Give exactly one of"):
        tiny_pipeline("missing.jpg")


def test_stills_refuse_what_they_cannot_draw(tiny_pipeline, tiny_avatar):
    with pytest.raises(MotionError, match="There is no expression axis jaw_open; use ARKit's names, such as jawOpen"):
        tiny_pipeline.render(tiny_avatar, expression={"jaw_open": 1})
    with pytest.raises(InvertAvatarError, match="zoom must be above 0"):
        tiny_pipeline.render(tiny_avatar, zoom=-1)
    for score in (float("nan"), "wide", None):
        with pytest.raises(MotionError, match="scores of an expression are numbers from 0 to 1; one of those given is"):
            tiny_pipeline.extract_mesh(tiny_avatar, expression={"jawOpen": score})
    with pytest.raises(
        InvertAvatarError, match="Give yaw, pitch and roll as one number each or as lists of one length"
    ):
        tiny_pipeline.render(tiny_avatar, yaw=[0, 10], pitch=[0, 5, 10])
    with pytest.raises(AvatarError, match="An Avatar is needed, not a str; build one with reconstruct"):
        tiny_pipeline.render("me/")


@pytest.mark.parametrize("driver", ["missing.mp4", "missing.csv", EXAMPLES / "ben_1.jpg"])
def test_no_frames_are_not_asked_for(tiny_pipeline, driver):
    with pytest.raises(InvertAvatarError, match=r"max_frames must be 1 or more, not 0\."):
        tiny_pipeline.track(driver, max_frames=0)


def test_neither_photos_nor_an_avatar_is_refused(tiny_pipeline):
    with pytest.raises(AvatarError, match="Give photos of a person as image, or an avatar built before"):
        tiny_pipeline(motion=NOD)
