"""What a GPU is asked for again is recorded once: played with a stand-in for CUDA graphs, as there may be no GPU."""

import copy
import logging
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.rendering.drive import Drive
from invertavatar.runtime.cuda_graphs import Recordings
from invertavatar.runtime.fixed_sizes import FixedSizes, current_sizes, fixed_sizes
from invertavatar.tracking.motion import Motion
from tests.stand_in_graphs import StandIn, refusal
from tests.tiny import tiny_networks

NOD = Motion.from_sliders(
    [{"yaw": 0, "pitch": 0, "jawOpen": 0}, {"time": 0.08, "yaw": 25, "pitch": -10, "jawOpen": 0.8}]  # 3 frames
)
APART = 1 / 255  # a recording rasterizes by torch, all else on a CPU by a compiled loop


@pytest.fixture
def api():
    return StandIn()


@pytest.fixture
def recordings(api, monkeypatch):
    """Every pipeline records as it would on CUDA."""
    recordings = Recordings(api=api)
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    return recordings


@pytest.fixture(scope="module")
def person(tiny_pipeline, portrait):
    """Anna from three photos: one more than a frame looks up."""
    avatar = None
    for name in ("anna_1", "anna_2", "anna_4"):
        avatar = tiny_pipeline.add_portrait(avatar, portrait(name))
    return avatar


def frames(pipe, avatar, **options):
    options = {"motion": NOD, "height": 64, "output_type": "pt"} | options
    return torch.stack(list(pipe.animate_stream(avatar, **options)))


# Frames and photos


@pytest.mark.parametrize("batch_size", [1, 2])  # of the last batch of 2 only one frame is wanted
def test_replayed_frames_are_those_that_are_rendered(tiny_pipeline, person, monkeypatch, batch_size):
    expected = frames(tiny_pipeline, person)
    recordings = Recordings(api=StandIn())
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    drawn = frames(tiny_pipeline, person, batch_size=batch_size)
    assert (drawn - expected).abs().max() < APART
    assert (expected[0] - expected[-1]).abs().max() > 0.1
    assert len(recordings) == 1 and recordings.api.graphs[0].replays == -(-len(NOD) // batch_size) - 1


def test_recordings_know_the_camera_and_the_background(tiny_pipeline, person, monkeypatch):
    moved = Motion(NOD.rotation, NOD.expression, translation=torch.linspace(0, 0.3, 3).expand(2, -1).T)
    options = {"motion": moved, "follow_translation": True, "zoom": 1.3, "field_of_view": 20.0}
    expected = frames(tiny_pipeline, person, background="transparent", **options)
    recordings = Recordings(api=StandIn())
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    assert (frames(tiny_pipeline, person, background="transparent", **options) - expected).abs().max() < APART
    plain = frames(tiny_pipeline, person, **options | {"zoom": 1.0})
    assert plain.shape[1] == 3 and (plain - expected[:, :3]).abs().max() > 0.1
    arrays = list(tiny_pipeline.animate_stream(person, height=64, **options | {"zoom": 1.0}))
    assert all(x.base is None and x.dtype == np.uint8 for x in arrays) or len({id(x.base) for x in arrays}) == 3
    np.testing.assert_allclose(np.stack(arrays), plain.permute(0, 2, 3, 1) * 255, atol=1)
    assert len(recordings) == 2


def test_one_recording_serves_several_avatars_in_turns(tiny_pipeline, tiny_avatar, portrait, monkeypatch):
    other = tiny_pipeline.add_portrait(None, portrait("ben_1"))
    other = tiny_pipeline.add_portrait(other, portrait("ben_2"))
    options = {
        "motion": NOD,
        "height": 64,
        "framing": "crop",
        "output_type": "pt",
    }  # other framings cut each out otherwise
    streams = [tiny_pipeline.animate_stream(x, **options) for x in (tiny_avatar, other)]
    expected = [torch.stack(list(stream)) for stream in streams]
    recordings = Recordings(api=StandIn())
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    streams = [tiny_pipeline.animate_stream(x, **options) for x in (tiny_avatar, other)]
    drawn = [torch.stack(x) for x in zip(*zip(*streams, strict=True), strict=True)]
    for one, right in zip(drawn, expected, strict=True):
        assert (one - right).abs().max() < APART
    assert len(recordings) == 1


def test_an_avatar_of_replayed_photos_is_the_same(tiny_pipeline, tiny_avatar, portrait, monkeypatch):
    expected = tiny_pipeline.add_portrait(tiny_avatar, portrait("anna_4"))
    recordings = Recordings(api=StandIn())
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    for name in ("ben_1", "anna_1", "anna_4"):
        avatar = tiny_pipeline.add_portrait(tiny_avatar, portrait(name))
    assert recordings.api.graphs[0].replays == 2
    frames(tiny_pipeline, avatar)
    assert len(recordings) == 2  # of photos and of frames
    assert avatar.triplane_state.count == 3 and avatar.photos == expected.photos
    for name in ("ws", "texture_sum", "neutral_sum"):
        torch.testing.assert_close(getattr(avatar, name), getattr(expected, name), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(avatar.views.front, expected.views.front, atol=1e-4, rtol=1e-3)
    assert (avatar.views.picture.int() - expected.views.picture.int()).abs().max() <= 1


def test_with_too_little_room_a_frame_is_rendered_again_and_the_next_recording_has_more(
    tiny_pipeline, person, monkeypatch
):
    views = person.views._replace(by_pose=torch.zeros(1, 3))
    even = replace(person, views=views)  # all three photos count in each frame, and two have room
    expected = tiny_pipeline.render(even, yaw=[0, 5, 10, 15], height=64, output_type="pt")
    recordings = Recordings(api=StandIn())
    monkeypatch.setattr(InvertAvatarPipeline, "_recordings", recordings)
    drawn = tiny_pipeline.render(even, yaw=[0, 5, 10, 15], height=64, output_type="pt")
    assert (drawn - expected).abs().max() < APART
    assert [graph.replays for graph in recordings.api.graphs] == [2, 1]  # one was under way when the first was short


# What is recorded


def doubled(x):
    return 2 * x


def test_what_is_asked_for_once_is_not_recorded(api):
    recordings = Recordings(api=api)
    call = recordings.bound(doubled, (), "key", FixedSizes())
    assert call(torch.ones(3)).result().tolist() == [2, 2, 2] and not api.graphs
    assert call(torch.ones(3) * 2).result().tolist() == [4, 4, 4] and api.graphs[0].replays == 1
    assert call(torch.ones(3) * 3).result().tolist() == [6, 6, 6] and api.graphs[0].replays == 2
    assert call(torch.ones(2)).result().tolist() == [2, 2] and len(api.graphs) == 1  # another shape


def test_a_result_stays_when_the_recording_is_replayed(api):
    call = Recordings(api=api).bound(doubled, (), "key", FixedSizes())
    results = [call(torch.full((2,), float(k))).result() for k in range(4)]
    assert [x[0].item() for x in results] == [0, 2, 4, 6]


def test_no_more_recordings_are_kept_than_the_limit_and_the_latest_used_stay(api):
    recordings = Recordings(limit=2, api=api)
    calls = [recordings.bound(doubled, (), key, FixedSizes()) for key in "abc"]
    for call in (*calls, *calls[:2], calls[0], calls[2], calls[0]):
        call(torch.ones(1))
    assert len(recordings) == 2 and len(api.graphs) == 3  # a, b, and c in the place of b
    calls[1](torch.ones(1))
    assert len(api.graphs) == 4


def test_other_weights_and_a_moved_pipeline_begin_anew(tiny_pipeline, person, recordings):
    layer = torch.nn.Linear(2, 2)
    call = recordings.bound(layer, (layer,), "key", FixedSizes())
    call(torch.ones(2)), call(torch.ones(2))
    assert len(recordings) == 1
    layer.weight.data.mul_(2)  # in place: a replay reads what is there now
    torch.testing.assert_close(call(torch.ones(2)).result(), layer(torch.ones(2)))
    layer.weight.data = layer.weight.data.clone()
    recordings.bound(layer, (layer,), "key", FixedSizes())
    assert len(recordings) == 0


def test_moving_a_pipeline_gives_the_memory_back(head_model):
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=head_model)
    pipe.__dict__["_recorded_calls"] = Recordings(api=StandIn())
    pipe.to("cpu")
    assert "_recorded_calls" not in pipe.__dict__


def test_a_copied_pipeline_records_for_itself(recordings):
    recordings.bound(doubled, (), "key", FixedSizes())(torch.ones(1))
    assert len(copy.deepcopy(recordings)) == 0


def test_nothing_is_recorded_with_a_callback_or_under_autocast(
    tiny_pipeline, tiny_avatar, recordings, api, monkeypatch
):
    frames(tiny_pipeline, tiny_avatar, callback_on_step_end=lambda *_: None)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    frames(tiny_pipeline, tiny_avatar)
    assert not api.graphs


def test_nothing_is_recorded_without_cuda_or_where_hooks_move_the_weights(head_model, monkeypatch):
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=head_model)
    assert pipe._recordings is None
    monkeypatch.setattr(InvertAvatarPipeline, "_execution_device", torch.device("cuda"))
    assert isinstance(pipe._recordings, Recordings)
    pipe.generator._hf_hook = object()
    assert pipe._recordings is None


def test_where_nothing_can_be_recorded_it_is_said_once_and_computed(api, caplog):
    def looks(x):
        return x * float(x.sum())

    def sorts_out(x):
        return x[x > 1]

    recordings = Recordings(api=api)
    calls = [recordings.bound(function, (), function.__name__, FixedSizes()) for function in (looks, sorts_out)]
    with caplog.at_level(logging.WARNING):
        results = [[call(torch.tensor([1.0, 2.0])).result().tolist() for _ in range(3)] for call in calls]
    assert results == [[[3.0, 6.0]] * 3, [[2.0]] * 3]
    assert len(caplog.records) == 1 and "cannot be recorded here (_local_scalar_dense" in caplog.text


def test_a_recording_may_be_used_within_inference_mode_and_outside_of_it(api):
    call = Recordings(api=api).bound(doubled, (), "key", FixedSizes())
    for inference in (True, True, False, True):
        with torch.inference_mode(inference):
            assert call(torch.ones(1)).result().item() == 2


# Fixed sizes


def test_sizes_are_those_of_the_block_alone():
    with fixed_sizes(FixedSizes(photos=3)) as sizes:
        assert current_sizes() is sizes
        assert sizes.short() is None
        sizes.need(torch.tensor(False))
        assert not sizes.short()
        sizes.need(torch.tensor(True))
        assert sizes.short()
    assert current_sizes() is None
    assert sizes.doubled() == FixedSizes(2, 6)


def test_the_stand_in_refuses_what_cuda_would():
    aten = torch.ops.aten
    mask, numbers = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    assert refusal(aten.nonzero.default, (mask,)) and refusal(aten._local_scalar_dense.default, (mask,))
    assert refusal(aten.index.Tensor, (numbers, [mask])) and not refusal(aten.index.Tensor, (mask, [numbers]))


def test_a_frame_is_rendered_where_its_avatar_is_and_never_looks_at_a_value(
    head_model, tiny_pipeline, person, monkeypatch
):
    """On the meta device there are no values, and an operation over two devices is refused as on CUDA."""
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=copy.deepcopy(head_model))
    for part in pipe._networks():
        part.to("meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which the meta device has not
    refused = []

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            refused.append(refusal(function, args))
            return function(*args, **(kwargs or {}))

    def away(x):
        return x.to("meta") if isinstance(x, torch.Tensor) else x

    features = tree_map(away, tiny_pipeline.canonical_features(person, 64))
    avatar = replace(person, **{name: tree_map(away, getattr(person, name)) for name in ("ws", "shape")})
    numbers = {
        "expression": (52,),
        "residual": person.rest.residual.shape[1:],
        "rotation": (3, 3),
        "head_to_torso": (3, 3),
    }
    clip = Drive(
        **{name: torch.empty(2, *shape, device="meta") for name, shape in (numbers | {"torso_pose": (12,)}).items()}
    )
    with torch.no_grad(), fixed_sizes(FixedSizes()) as sizes, Watched():
        layers = pipe.render_frames(avatar, features, clip, {"field_of_view": None, "zoom": 1.0}, 64)
    assert {x.device.type for x in (*layers, sizes.short())} == {"meta"}
    assert set(refused) == {None}
