"""Where the networks' weights are while the pipeline works."""

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload

from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from tests.conftest import ROOT
from tests.tiny import tiny_networks

PHOTOS = [ROOT / "assets" / "examples" / f"anna_{k}.jpg" for k in (1, 2)]
NETWORKS = {"latent_encoder", "texture_encoder", "triplane_encoder", "generator"}


@pytest.fixture
def pipe(head_model, face_tracker) -> InvertAvatarPipeline:
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=head_model, face_tracker=face_tracker)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def fired(monkeypatch) -> list[torch.nn.Module]:
    """Makes an offloaded network useless: without an accelerator, its weights are NaN until its hook brings them back.

    Returns the networks whose hooks fired, in order.
    """
    kept, fired = {}, []

    def take_away(hook, module):
        if module not in kept:
            kept[module] = {name: value.clone() for name, value in module.state_dict().items()}
            for value in module.state_dict().values():
                value.fill_(torch.nan)
        return module

    def bring_back(hook, module, *args, **kwargs):
        fired.append(module)
        if module in kept:
            module.load_state_dict(kept.pop(module))
        if hook.prev_module_hook is not None:
            take_away(None, hook.prev_module_hook.model)
        return args, kwargs

    monkeypatch.setattr(CpuOffload, "init_hook", take_away)
    monkeypatch.setattr(CpuOffload, "pre_forward", bring_back)
    return fired


def everything(pipe) -> list[np.ndarray]:
    """What each public call draws."""
    avatar = pipe.update(pipe.reconstruct(PHOTOS[0]), PHOTOS[1])
    head = pipe.extract_mesh(avatar, texture_size=256)
    frames = list(pipe.animate_stream(avatar, driving_image=PHOTOS[1], height=64))
    stills = [pipe.render(person, yaw=20, height=64, output_type="np") for person in (avatar, pipe.sample(3))]
    return [*stills, *frames, head.vertices, head.texture]


def test_a_pipeline_used_then_offloaded_and_used_again_draws_the_same(pipe, fired):
    before = everything(pipe)
    assert fired == []
    pipe.enable_model_cpu_offload(device="cpu")
    for _ in range(2):  # the first use must leave it ready for the second
        for drawn, expected in zip(everything(pipe), before, strict=True):
            np.testing.assert_array_equal(drawn, expected)
    assert {name for name in NETWORKS if getattr(pipe, name) in fired} == NETWORKS


@pytest.mark.parametrize("call", ["reconstruct", "render", "animate_stream", "extract_mesh", "sample"])
def test_after_each_call_all_networks_are_offloaded(pipe, fired, tiny_avatar, call):
    pipe.enable_model_cpu_offload(device="cpu")
    calls = {
        "reconstruct": lambda: pipe.reconstruct(PHOTOS[0]),
        "render": lambda: pipe.render(tiny_avatar, height=64),
        "animate_stream": lambda: list(pipe.animate_stream(tiny_avatar, driving_image=PHOTOS[1], height=64)),
        "extract_mesh": lambda: pipe.extract_mesh(tiny_avatar, texture_size=256),
        "sample": lambda: pipe.sample(1),
    }
    calls[call]()
    assert fired
    assert all(next(getattr(pipe, name).parameters()).isnan().all() for name in NETWORKS)


def test_a_stream_that_is_left_half_way_offloads_too(pipe, fired, tiny_avatar):
    pipe.enable_model_cpu_offload(device="cpu")
    stream = pipe.animate_stream(tiny_avatar, driving_video=[np.array(p) for p in pipe.render(tiny_avatar, [0, 5])])
    next(stream)
    assert not next(pipe.generator.parameters()).isnan().any()
    stream.close()
    assert next(pipe.generator.parameters()).isnan().all()


def test_without_hooks_the_weights_stay_where_they_are(pipe, fired, tiny_avatar):
    pipe.enable_model_cpu_offload(device="cpu")
    pipe.render(tiny_avatar, height=64)
    pipe.remove_all_hooks()
    assert not any(hasattr(getattr(pipe, name), "_hf_hook") for name in NETWORKS)


@pytest.mark.parametrize("device_map", ["cpu", "balanced"])
def test_a_device_map_draws_the_same(pipe, tiny_avatar, tmp_path, device_map):
    pipe.save_pretrained(tmp_path)
    mapped = InvertAvatarPipeline.from_pretrained(tmp_path, device_map=device_map)
    expected = pipe.render(tiny_avatar, yaw=20, height=64, output_type="np")
    drawn = mapped.render(tiny_avatar, yaw=20, height=64, output_type="np")
    np.testing.assert_allclose(drawn, expected, atol=1e-6)  # a loaded weight may lie in memory in another order
