"""The pipeline with tiny random networks, the shipped face model and tracker, and the example people."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import islice

import numpy as np
import PIL.Image
import pytest
import torch

from invertavatar.avatar import Avatar, _tensors
from invertavatar.errors import AvatarError, InvertAvatarError, MotionError, NoFaceError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.landmark_topology import MOUTH
from invertavatar.media import VideoReader, VideoWriter
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.tracking.motion import Motion
from tests.conftest import ROOT
from tests.tiny import tiny_networks

EXAMPLES = ROOT / "assets" / "examples"
PHOTOS = [EXAMPLES / f"anna_{i}.jpg" for i in (1, 2, 3)]
NOD = Motion.from_sliders([{"time": 0}, {"time": 0.2, "jawOpen": 0.8, "yaw": 20, "pitch": -10}])  # 6 frames


def build(head_model, preset="compact", seed=0, **generator) -> InvertAvatarPipeline:
    pipe = InvertAvatarPipeline(**tiny_networks(preset, seed, **generator), head_model=head_model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fused(pipe, portrait, names, fusion="gru") -> Avatar:
    avatar = None
    for name in names:
        avatar = pipe.add_portrait(avatar, portrait(name), fusion)
    return avatar


def differing(a: Avatar, b: Avatar) -> set[str]:
    """The tensors in which two avatars differ by a single bit or more."""
    x, y = _tensors(a), _tensors(b)
    return {name for name in x if not torch.equal(x[name], y[name])}


def pictures(pipe, avatar, **kwargs):
    return pipe.render(avatar, **{"height": 64, "output_type": "pt"} | kwargs)


@pytest.fixture
def drawn(monkeypatch):
    """What `generator.render` is given, call by call, while the test runs: `drawn(pipe)`."""

    def watch(pipe):
        calls, original = [], pipe.generator.render

        def render(features, face, *args, **kwargs):
            calls.append((features, face))
            return original(features, face, *args, **kwargs)

        monkeypatch.setattr(pipe.generator, "render", render)
        return calls

    return watch


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The first six frames of an example video."""
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    with VideoReader(EXAMPLES / "talk_a.mp4") as video, VideoWriter(path, video.fps) as out:
        for frame in islice(video, 6):
            out.write(frame)
    return path


# Photos -> avatar


def test_reconstructing_from_all_photos_equals_updating_one_by_one_to_the_last_bit(tiny_pipeline):
    together = tiny_pipeline.reconstruct(PHOTOS)
    stepwise = tiny_pipeline.update(tiny_pipeline.update(tiny_pipeline.reconstruct(PHOTOS[:1]), PHOTOS[1]), PHOTOS[2])
    assert not differing(together, stepwise)
    assert together.photos == stepwise.photos
    assert torch.equal(pictures(tiny_pipeline, together, yaw=10), pictures(tiny_pipeline, stepwise, yaw=10))


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_any_number_of_photos_from_one_to_eight_makes_an_avatar(preset, head_model, portrait):
    pipe, avatar, last = build(head_model, preset), None, None
    for count in range(1, 9):
        avatar = pipe.add_portrait(avatar, portrait(f"anna_{(count - 1) % 4 + 1}"))
        assert avatar.num_images == avatar.texture_state.count == avatar.triplane_state.count == count
        assert len(avatar.thumbnails) == count
        picture = pictures(pipe, avatar)
        assert picture.shape == (1, 3, 64, 64) and picture.isfinite().all() and picture.std() > 0.05
        assert last is None or not torch.equal(picture, last)
        last = picture


def test_another_order_of_later_photos_changes_the_gru_states_and_no_more(tiny_pipeline, portrait):
    a = fused(tiny_pipeline, portrait, ["anna_1", "anna_2", "anna_3"])
    b = fused(tiny_pipeline, portrait, ["anna_1", "anna_3", "anna_2"])
    assert {"ws", "rest.rotation", "rest.expression", "rest.residual", "backdrop"}.isdisjoint(differing(a, b))
    assert (a.neutral_sum - b.neutral_sum).abs().max() < 1e-5
    assert (a.shape.vertices - b.shape.vertices).abs().max() < 1e-5
    # The teeth stand where the neutral face known at the time puts them; all else is seen the same in any order.
    skin_and_eyes = tiny_pipeline._atlas(32).region != MOUTH
    assert ((a.texture_sum - b.texture_sum) * skin_and_eyes).abs().max() < 1e-5
    assert torch.equal(a.views.picture, b.views.picture[:, [0, 2, 1]])
    # Each was seen from the front through the head as it was known at the time.
    assert (a.views.front - b.views.front[:, [0, 2, 1]]).abs().mean() < 0.02
    assert (a.texture_state.hidden[0] - b.texture_state.hidden[0]).abs().max() > 0.01
    assert (a.triplane_state.hidden[0] - b.triplane_state.hidden[0]).abs().max() > 0.01


def test_another_first_photo_changes_w_plus_and_the_rest_pose(tiny_pipeline, portrait):
    a, b = (fused(tiny_pipeline, portrait, names) for names in (["anna_1", "anna_2"], ["anna_2", "anna_1"]))
    assert {"ws", "rest.rotation", "rest.expression", "backdrop"} <= differing(a, b)


def test_updating_leaves_the_avatar_given_as_it_was(tiny_pipeline, tiny_avatar, portrait):
    before = {name: tensor.clone() for name, tensor in _tensors(tiny_avatar).items()}
    tiny_pipeline.add_portrait(tiny_avatar, portrait("anna_3"))
    assert all(torch.equal(before[name], tensor) for name, tensor in _tensors(tiny_avatar).items())
    assert tiny_avatar.num_images == 2


def test_fusion_first_keeps_the_first_photo_s_features_colours_and_shape(tiny_pipeline, portrait):
    one = fused(tiny_pipeline, portrait, ["anna_1"])
    two = fused(tiny_pipeline, portrait, ["anna_1", "anna_2"], "first")
    same = {name for name in _tensors(one) if name.startswith(("texture_", "triplane_state", "views"))}
    assert same.isdisjoint(differing(one, two))
    assert {"shape.vertices", "thumbnails"} <= differing(one, two)


def test_the_three_fusions_differ_from_the_second_photo_on(tiny_pipeline):
    def avatars(photos):
        return [tiny_pipeline.reconstruct(photos, fusion=fusion) for fusion in ("gru", "mean", "first")]

    weighed = {"texture_sum", "views.by_pose"}
    gru, mean, first = avatars(PHOTOS[:1])
    assert not differing(gru, first)
    assert differing(gru, mean) == weighed  # what one photo shows is the same, whatever it weighs
    gru, mean, first = avatars(PHOTOS[:2])
    for a, b in ((gru, mean), (gru, first), (mean, first)):
        assert {"texture_state.0", "triplane_state.0"} | weighed <= differing(a, b)


def test_a_photo_without_a_face_is_named(tiny_pipeline):
    wall = np.full((256, 256, 3), 200, np.uint8)
    with pytest.raises(NoFaceError, match=r"No face found in photo 2\. Use a picture where the face is larger"):
        tiny_pipeline.reconstruct([PIL.Image.open(PHOTOS[0]), wall])


def test_every_kind_of_photo_gives_the_same_avatar(tiny_pipeline, example):
    pixels = example("anna_1")
    path, pil, array, tensor = (
        tiny_pipeline.reconstruct(photo)
        for photo in (PHOTOS[0], PIL.Image.fromarray(pixels), pixels, torch.from_numpy(pixels).permute(2, 0, 1))
    )
    assert not differing(path, pil) and not differing(path, array) and not differing(path, tensor)


# Avatar and motion -> planes


def test_a_change_of_expression_moves_the_face_window_and_leaves_all_else_untouched(tiny_pipeline, tiny_avatar, drawn):
    calls = drawn(tiny_pipeline)
    for jaw in (0.0, 0.8):
        pictures(tiny_pipeline, tiny_avatar, expression={"jawOpen": jaw})
    (still, closed), (again, opened) = calls
    assert torch.equal(still.planes, again.planes)
    assert torch.equal(still.fill, again.fill)
    assert all(torch.equal(still.textures[r], again.textures[r]) for r in still.textures)
    assert not torch.equal(closed, opened)


@pytest.mark.parametrize("preset", ["compact", "paper"])
def test_but_for_the_trackers_bias_a_change_of_pose_leaves_all_planes_untouched(
    preset, head_model, portrait, drawn, monkeypatch
):
    monkeypatch.setattr(head_model, "bias", lambda rotation: torch.zeros(len(rotation), 478, 3))
    pipe = build(head_model, preset)
    avatar, calls = fused(pipe, portrait, ["anna_1"]), drawn(pipe)
    front, side = (pictures(pipe, avatar, yaw=yaw) for yaw in (0, 35))
    (features, face), (other, turned) = calls
    assert torch.equal(features.planes, other.planes)
    assert torch.equal(face, turned)
    assert (front - side).abs().max() > 0.1


# Pictures


@pytest.mark.parametrize("preset", ["compact", "paper"])
@pytest.mark.parametrize("height", [64, 97, 300, 768])
def test_any_height_is_rendered(preset, height, head_model, portrait):
    pipe = build(head_model, preset)
    (picture,) = pipe.render(fused(pipe, portrait, ["anna_1"]), height=height)
    assert picture.size == (height, height) and picture.mode == "RGB"


def test_output_types_hold_the_same_pictures(tiny_pipeline, tiny_avatar):
    pil, array, tensor = (
        pictures(tiny_pipeline, tiny_avatar, yaw=[0, 20], output_type=kind) for kind in ("pil", "np", "pt")
    )
    assert array.shape == (2, 64, 64, 3) and tensor.shape == (2, 3, 64, 64)
    assert array.min() >= 0 and array.max() <= 1
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    assert all(np.array_equal(np.asarray(p), np.rint(a * 255)) for p, a in zip(pil, array, strict=True))


def test_transparent_frames_laid_over_a_colour_are_the_frames_on_that_colour(head_model, portrait):
    pipe = build(head_model, output_gain=0.0)  # colours of the photo, which nothing clips
    avatar = fused(pipe, portrait, ["anna_1"])
    green, transparent = (pictures(pipe, avatar, background=background) for background in ("#00ff00", "transparent"))
    assert transparent.shape == (1, 4, 64, 64)
    colour, alpha = transparent[:, :3], transparent[:, 3:]
    assert alpha.min() < 0.1 and alpha.max() > 0.9
    over = colour * alpha + (1 - alpha) * torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    assert (over - green).abs().max() < 0.02


@pytest.mark.parametrize("background", ["original", "blur", "white", EXAMPLES / "ben_1.jpg"])
def test_the_background_shows_only_where_the_avatar_does_not(background, tiny_pipeline, tiny_avatar):
    gray, other = (pictures(tiny_pipeline, tiny_avatar, background=b) for b in ("gray", background))
    alpha = pictures(tiny_pipeline, tiny_avatar, background="transparent")[:, 3:]
    change = (gray - other).abs().amax(1, keepdim=True)
    assert change.max() > 0.1
    assert (change <= 1 - alpha + 1e-5).all()


def test_an_angle_is_added_to_by_none_and_a_list_gives_as_many_pictures(tiny_pipeline, tiny_avatar):
    row = pictures(tiny_pipeline, tiny_avatar, yaw=[-30, 0, 30], pitch=5)
    assert len(row) == 3
    assert (row[1] - pictures(tiny_pipeline, tiny_avatar, pitch=5)[0]).abs().max() < 1e-5
    assert (row[0] - row[2]).abs().max() > 0.1


def test_a_still_shows_the_first_photos_expression_unless_another_is_asked_for(
    tiny_pipeline, tiny_avatar, head_model, monkeypatch
):
    driven, drive = [], head_model.driven_landmarks
    monkeypatch.setattr(head_model, "driven_landmarks", lambda *args: driven.append(args) or drive(*args))
    pictures(tiny_pipeline, tiny_avatar)
    pictures(tiny_pipeline, tiny_avatar, expression={"jawOpen": 0.5})
    (_, own, residual, _), (_, asked, silent, _) = driven
    assert torch.equal(own, tiny_avatar.rest.expression) and torch.equal(residual, tiny_avatar.rest.residual)
    assert asked[0, ARKIT_NAMES.index("jawOpen")] == 0.5 and asked.sum() == 0.5
    assert not silent.any()


def test_batches_of_frames_look_like_single_frames(tiny_pipeline, tiny_avatar):
    one, four = (
        tiny_pipeline.animate(tiny_avatar, "np", motion=NOD, height=64, batch_size=size).frames for size in (1, 4)
    )
    assert one.shape == four.shape == (6, 64, 64, 3)
    assert np.abs(one - four).max() < 1e-4


# Animation


def test_the_stream_renders_a_frame_only_when_it_is_asked_for(tiny_pipeline, tiny_avatar, drawn):
    calls = drawn(tiny_pipeline)
    stream = tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, height=64)
    assert len(calls) == 0
    frame = next(stream)
    assert len(calls) == 1
    assert frame.shape == (64, 64, 3) and frame.dtype == np.uint8
    assert len(list(stream)) == 5
    assert len(calls) == 6


def test_the_stream_says_beforehand_how_many_frames_come_and_how_fast(tiny_pipeline, tiny_avatar):
    stream = tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, height=64, frames=slice(0, 6, 2))
    assert (stream.num_frames, stream.fps) == (3, Fraction(25, 2))
    assert stream.motion is NOD
    assert len(list(stream)) == 3


def test_the_stream_gives_transparent_frames(tiny_pipeline, tiny_avatar):
    frame = next(tiny_pipeline.animate_stream(tiny_avatar, motion=NOD, height=64, background="transparent"))
    assert frame.shape == (64, 64, 4)


def test_a_video_drives_frame_by_frame_at_its_own_rate(tiny_pipeline, tiny_avatar, clip):
    output = tiny_pipeline.animate(tiny_avatar, driving_video=clip, height=64)
    assert len(output.frames) == 6
    assert output.fps == Fraction(25)
    assert output.motion.num_frames == 6 and output.motion.num_missing == 0


def test_frames_a_saved_motion_and_the_motion_itself_drive_alike(tiny_pipeline, tiny_avatar, clip, tmp_path):
    motion = tiny_pipeline.track(clip)
    motion.save(tmp_path / "talk.safetensors")
    with VideoReader(clip) as video:
        drivers = [{"driving_video": clip}, {"driving_video": tmp_path / "talk.safetensors"}, {"motion": motion}]
        drivers.append({"driving_video": list(video)})
    videos = [tiny_pipeline.animate(tiny_avatar, "np", height=64, **driver).frames for driver in drivers]
    assert all(np.array_equal(videos[0], other) for other in videos[1:])


def test_a_photo_drives_with_its_expression_and_pose(tiny_pipeline, tiny_avatar, portrait):
    output = tiny_pipeline.animate(tiny_avatar, driving_image=EXAMPLES / "ben_2.jpg", height=64)
    assert len(output.frames) == 1
    assert torch.allclose(output.motion.expression, portrait("ben_2").expression, atol=1e-5)
    assert torch.allclose(output.motion.rotation, portrait("ben_2").rotation, atol=1e-5)


def test_an_arkit_table_drives(tiny_pipeline, tiny_avatar, tmp_path):
    table = tmp_path / "take.csv"
    table.write_text("time,JawOpen,yaw\n0,0,0\n0.04,0.5,10\n0.08,1,20\n")
    output = tiny_pipeline.animate(tiny_avatar, driving_video=table, height=64)
    assert len(output.frames) == 3 and output.fps == 25
    assert np.asarray(output.frames[0]).tolist() != np.asarray(output.frames[2]).tolist()


def test_zero_is_neutral_in_a_table_and_a_chosen_frame_in_any_driver(tiny_pipeline, tiny_avatar, tmp_path):
    table, options = tmp_path / "held.csv", {"height": 64}
    table.write_text("fps,jawOpen\n" + "25,0.8\n" * 3)
    rest = tiny_pipeline.animate(tiny_avatar, "np", motion=Motion.from_sliders({}), **options).frames[0]
    held = tiny_pipeline.animate(tiny_avatar, "np", driving_video=table, **options).frames
    assert all(np.abs(frame - rest).max() > 0.01 for frame in held)
    for driver in ({"driving_video": table}, {"motion": tiny_pipeline.track(table)}):
        chosen = tiny_pipeline.animate(tiny_avatar, "np", neutral_frame=1, **driver, **options)
        assert np.abs(chosen.frames - rest).max() < 1e-5
    with pytest.raises(MotionError, match="no frame 3"):
        tiny_pipeline.track(table, neutral_frame=3)
    with pytest.raises(MotionError, match="soon is neither"):
        tiny_pipeline.animate_stream(tiny_avatar, driving_video="not looked at.mp4", neutral_frame="soon")


def test_a_rate_is_kept_by_every_kind_of_driver(tiny_pipeline, clip, tmp_path):
    tiny_pipeline.track(clip).save(tmp_path / "talk.safetensors")
    (tmp_path / "talk.csv").write_text("time,jawOpen\n" + "".join(f"{i / 25},0.5\n" for i in range(6)))
    for driver in (clip, tmp_path / "talk.safetensors", tmp_path / "talk.csv"):
        motion = tiny_pipeline.track(driver, fps=50)
        assert (motion.fps, motion.num_frames) == (50, 12)
        assert tiny_pipeline.track(driver, fps=50, max_frames=5).num_frames == 5


def test_following_the_translation_moves_the_head_in_the_picture(tiny_pipeline, tiny_avatar):
    still = Motion.from_sliders({"jawOpen": 0.0}, duration=0.08)
    moved = Motion(still.rotation, still.expression, translation=torch.full((len(still), 2), 0.5))
    options = {"relative_motion": False, "follow_translation": True, "background": "transparent", "height": 64}
    options["framing"] = "crop"
    alpha = [tiny_pipeline.animate(tiny_avatar, "pt", motion=m, **options).frames[0, 3] for m in (still, moved)]
    # Half a head unit is 16 of 64 pixels, to the right and down.
    assert torch.allclose(alpha[1][16:, 16:], alpha[0][:-16, :-16], atol=1e-4)


def test_a_turned_camera_adds_to_the_drivers_pose(tiny_pipeline, tiny_avatar):
    straight, turned = (Motion.from_sliders({"yaw": yaw}) for yaw in (0, 25))
    options = {"relative_motion": False, "height": 64, "framing": "crop"}
    a = tiny_pipeline.animate(tiny_avatar, "pt", motion=straight, yaw=25, **options).frames
    b = tiny_pipeline.animate(tiny_avatar, "pt", motion=turned, **options).frames
    assert (a - b)[:, :, :32].abs().mean() < 1e-3
    assert (a - b)[
        :, :, 48:
    ].abs().mean() > 0.01  # the camera goes around the body, the driver's head turns on its neck


def test_the_camera_may_move_from_frame_to_frame(tiny_pipeline, tiny_avatar):
    three = Motion.concatenate([Motion.from_sliders({})] * 3)
    moving = tiny_pipeline.animate(
        tiny_avatar, "pt", motion=three, relative_motion=False, yaw=[0, 10, 20], height=64, crossfade=0
    ).frames
    for frame, yaw in zip(moving, (0, 10, 20), strict=True):
        still = tiny_pipeline.animate(
            tiny_avatar, "pt", motion=three[:1], relative_motion=False, yaw=yaw, height=64
        ).frames
        torch.testing.assert_close(frame, still[0], atol=1e-5, rtol=0)
    with pytest.raises(InvertAvatarError, match="2 angles for the 3 frames"):
        tiny_pipeline.animate(tiny_avatar, motion=three, yaw=[0, 10], height=64)


def test_photos_change_over_in_time_unless_told_otherwise(tiny_pipeline, tiny_avatar):
    yaws = [record.yaw for record in tiny_avatar.photos]
    frames = [{"time": k / 25, "yaw": yaws[0] if k < 10 else yaws[1]} for k in range(20)]  # a jump between two photos

    def steps(**options):
        motion = Motion.from_sliders(frames)
        shown = tiny_pipeline.animate(tiny_avatar, "pt", motion=motion, relative_motion=False, height=64, **options)
        return shown.frames.diff(dim=0).abs().mean((1, 2, 3))

    at_once, gradual = steps(crossfade=0), steps()
    assert (at_once[[7, 11]] == 0).all() and (gradual[[7, 11]] > 0).all()
    part = tiny_pipeline.animate(
        tiny_avatar, "pt", motion=Motion.from_sliders(frames), relative_motion=False, height=64, frames=slice(8, 12)
    ).frames  # a part of a video is what it is in the whole
    assert part.diff(dim=0).abs().mean((1, 2, 3)).tolist() == pytest.approx(gradual[8:11].tolist(), abs=1e-5)
    with pytest.raises(InvertAvatarError, match="crossfade is a time in seconds, 0 or more, not -1"):
        steps(crossfade=-1)


def test_a_rendered_head_turns_on_its_neck_or_with_the_body(tiny_pipeline, tiny_avatar):
    still, head, both = (
        tiny_pipeline.render(tiny_avatar, yaw=yaw, height=64, output_type="pt", turn_body=body, framing="crop")
        for yaw, body in ((0, False), (25, False), (25, True))
    )
    assert (head - both)[:, :, :32].abs().mean() < 1e-3
    assert (head - both)[:, :, 48:].abs().mean() > 0.01
    assert (head - still)[:, :, :32].abs().mean() > 0.03


@pytest.mark.parametrize(("framing", "height", "width"), [("photo", 64, 96), ("bust", 96, 64), ("head", 64, None)])
def test_frames_have_the_size_and_the_framing_that_is_asked_for(tiny_pipeline, tiny_avatar, framing, height, width):
    options = {"height": height, "width": width, "framing": framing}
    picture, depth = tiny_pipeline.render(tiny_avatar, output_type="pt", return_depth=True, **options)
    assert picture.shape[2:] == depth.shape[2:] == (height, width or height)
    (frame,) = tiny_pipeline.animate_stream(tiny_avatar, motion=NOD[0], background="original", **options)
    assert frame.shape == (height, width or height, 3)


def test_a_photo_s_framing_is_a_part_of_the_crop_s(tiny_pipeline, tiny_avatar):
    rest = {"motion": tiny_avatar.rest, "relative_motion": False, "background": "black"}
    frame = tiny_pipeline.framing_of(tiny_avatar, "photo", 128)
    (photo,) = tiny_pipeline.animate_stream(tiny_avatar, height=128, **rest)
    (crop,) = tiny_pipeline.animate_stream(tiny_avatar, height=frame.side, framing="crop", **rest)
    part = crop[frame.top : frame.top + 128, frame.left : frame.left + 128]
    np.testing.assert_allclose(photo[32:64].astype(int), part[32:64], atol=1)  # above the neck


def test_calling_it_is_reconstructing_and_animating(tiny_pipeline):
    output = tiny_pipeline(PHOTOS[0], motion=NOD, height=64, output_type="np")
    avatar = tiny_pipeline.reconstruct(PHOTOS[0])
    assert not differing(output.avatar, avatar)
    assert np.array_equal(output.frames, tiny_pipeline.animate(avatar, "np", motion=NOD, height=64).frames)


def test_calling_it_with_an_avatar_and_a_photo_refines_the_avatar(tiny_pipeline, tiny_avatar):
    output = tiny_pipeline(PHOTOS[2], avatar=tiny_avatar, motion=NOD[0], height=64)
    assert output.avatar.num_images == 3


def test_without_return_dict_the_output_is_a_tuple(tiny_pipeline, tiny_avatar):
    frames, fps, avatar, motion = tiny_pipeline(avatar=tiny_avatar, motion=NOD[0], height=64, return_dict=False)
    assert len(frames) == 1 and fps == 25 and avatar is tiny_avatar and motion.num_frames == 1


# State


def test_without_a_tracker_avatars_are_animated_but_photos_refused(head_model, tiny_avatar):
    pipe = build(head_model)
    assert pipe.face_tracker is None
    assert pictures(pipe, tiny_avatar).shape == (1, 3, 64, 64)
    with pytest.raises(AvatarError, match="loaded without a face_tracker"):
        pipe.reconstruct(PHOTOS[0])


def test_inference_draws_no_global_random_numbers(tiny_pipeline, clip):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    tiny_pipeline(PHOTOS[:2], driving_video=clip, height=64)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_two_pipelines_used_in_turns_give_what_each_gives_alone(head_model, portrait):
    def alone(seed):
        pipe = build(head_model, seed=seed)
        avatar = fused(pipe, portrait, ["anna_1", "anna_2"])
        return avatar, pictures(pipe, avatar)

    expected = [alone(seed) for seed in (0, 1)]
    pipes, avatars = [build(head_model, seed=seed) for seed in (0, 1)], [None, None]
    for name in ("anna_1", "anna_2"):
        avatars = [pipe.add_portrait(avatar, portrait(name)) for pipe, avatar in zip(pipes, avatars, strict=True)]
    assert differing(*avatars)
    for pipe, avatar, (other, picture) in zip(pipes, avatars, expected, strict=True):
        assert not differing(avatar, other)
        assert torch.equal(pictures(pipe, avatar), picture)


def test_two_threads_may_share_a_pipeline(tiny_pipeline, clip):
    def work(name):
        avatar = tiny_pipeline.reconstruct([EXAMPLES / f"{name}_{k}.jpg" for k in (1, 2)])
        frames = tiny_pipeline.animate(avatar, "pt", driving_video=clip, height=64).frames
        return avatar, frames, pictures(tiny_pipeline, avatar, yaw=20)

    people = ["anna", "ben"]
    expected = [work(name) for name in people]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(work, people))
    for (avatar, *drawn), (alone, *expectation) in zip(made, expected, strict=True):
        assert not differing(avatar, alone)
        assert all(torch.equal(a, b) for a, b in zip(drawn, expectation, strict=True))


def test_an_avatar_may_be_drawn_by_a_pipeline_of_another_precision(tiny_pipeline, tiny_avatar, head_model, portrait):
    half = InvertAvatarPipeline(**{n: net.half() for n, net in tiny_networks().items()}, head_model=head_model)
    half.set_progress_bar_config(disable=True)
    avatar = fused(half, portrait, ["anna_1", "anna_2"])
    reference = pictures(tiny_pipeline, tiny_avatar)
    for pipe, source in ((tiny_pipeline, avatar), (half, tiny_avatar), (half, avatar)):
        assert (pictures(pipe, source) - reference).abs().mean() < 0.003
    assert tiny_pipeline.add_portrait(avatar, portrait("anna_3")).num_images == 3


def test_a_gif_drives_with_all_its_frames(tiny_pipeline, example, tmp_path):
    with VideoWriter(tmp_path / "three.gif", 10) as writer:
        for name in ("anna_1", "anna_2", "anna_3"):
            writer.write(example(name)[::3, ::3])
    motion = tiny_pipeline.track(tmp_path / "three.gif")
    assert (motion.num_frames, motion.num_missing) == (3, 0)
