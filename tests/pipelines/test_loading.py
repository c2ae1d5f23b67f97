"""Saving and loading a whole pipeline: from a folder, and in fresh processes from a server that speaks like the Hub."""

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import ModelMixin

import invertavatar
from invertavatar import InvertAvatarError, InvertAvatarPipeline
from tests.conftest import ROOT
from tests.fake_hub import fake_hub
from tests.tiny import tiny_networks

COMPONENTS = {
    "latent_encoder": "LatentEncoder",
    "texture_encoder": "TextureEncoder",
    "triplane_encoder": "TriplaneEncoder",
    "generator": "AvatarGenerator",
    "head_model": "HeadModel",
    "face_tracker": "FaceTracker",
}
ONLINE = """
import torch
from invertavatar import AvatarGenerator, FaceTracker, InvertAvatarError, InvertAvatarPipeline

def load(name, **options):
    pipe = InvertAvatarPipeline.from_pretrained(name, **options)
    print(name, type(pipe.face_tracker).__name__, pipe.generator.dtype)
    return pipe

load("ours/tiny")
load("ours/half", variant="fp16", dtype=torch.float16)
load("ours/variant", variant="fp16", low_cpu_mem_usage=False, use_safetensors=True)
generator = AvatarGenerator.from_pretrained("ours/tiny", subfolder="generator")
print(load("ours/tiny", generator=generator).generator is generator)
load("ours/tiny", local_files_only=True)
tracker = FaceTracker.from_pretrained("ours/tiny", subfolder="face_tracker", revision="main")
print(load("ours/tiny", face_tracker=tracker).face_tracker is tracker)
for name in ("ours/none", "no folder and no id"):
    try:
        FaceTracker.from_pretrained(name, subfolder="face_tracker")
    except InvertAvatarError as error:
        print(error)
for name, options in (("ours/tiny", {"variant": "fp16"}), ("ours/half", {}), ("ours/none", {})):
    try:
        load(name, **options)
    except Exception as error:
        print(name, type(error).__name__)
"""
OFFLINE = """
import sys
from invertavatar import FaceTracker, InvertAvatarPipeline

FaceTracker.from_pretrained("ours/tiny", subfolder="face_tracker")
for name in ("ours/tiny", sys.argv[1]):
    pipe = InvertAvatarPipeline.from_pretrained(name)
    print(sorted(name for name, part in pipe.components.items() if part is not None))
print("mediapipe" in sys.modules)  # its import takes seconds
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory, head_model, face_tracker):
    """Repositories: `ours/tiny` (float32), `ours/variant` (an fp16 variant alone), `ours/half` (no tracker either)."""
    root = tmp_path_factory.mktemp("hub")
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=head_model, face_tracker=face_tracker)
    pipe.save_pretrained(root / "ours" / "tiny")
    half = {name: network.half() for name, network in tiny_networks().items()}
    for name, tracker in {"half": None, "variant": face_tracker}.items():
        pipe = InvertAvatarPipeline(**half, head_model=head_model, face_tracker=tracker)
        pipe.save_pretrained(root / "ours" / name, variant="fp16")
    return root


def run(code: str, home, *arguments, **environment) -> list[str]:
    """The lines that a fresh Python prints."""
    environment = os.environ | {
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_index_names_short_stable_places(hub):
    index = json.loads((hub / "ours" / "tiny" / "model_index.json").read_text())
    assert index["_class_name"] == "InvertAvatarPipeline"
    assert {name: index[name] for name in COMPONENTS} == {n: ["invertavatar", c] for n, c in COMPONENTS.items()}
    assert json.loads((hub / "ours" / "half" / "model_index.json").read_text())["face_tracker"] == [None, None]


def test_every_component_is_reachable_from_the_package():
    assert all(getattr(invertavatar, name).__name__ == name for name in COMPONENTS.values())


def test_a_repository_holds_safetensors_json_and_the_trackers_models_only(hub):
    kinds = {file.suffix for file in hub.rglob("*") if file.is_file()}
    assert kinds == {".safetensors", ".json", ".task", ".tflite", ".txt"}


def test_a_loaded_pipeline_has_the_same_weights_and_makes_the_same_avatar(hub, tiny_pipeline, tiny_avatar, portrait):
    loaded = InvertAvatarPipeline.from_pretrained(hub / "ours" / "tiny")
    loaded.set_progress_bar_config(disable=True)
    for name in COMPONENTS:
        a, b = getattr(loaded, name), getattr(tiny_pipeline, name)
        assert type(a) is type(b)
        if isinstance(a, ModelMixin):
            assert all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())
    avatar = loaded.add_portrait(loaded.add_portrait(None, portrait("anna_1")), portrait("anna_2"))
    a, b = (pipe.render(x, height=64, output_type="pt") for pipe, x in ((loaded, avatar), (tiny_pipeline, tiny_avatar)))
    # A file's weights lie at other addresses, and CPU kernels round differently where those are not aligned.
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"low_cpu_mem_usage": False},
        {"low_cpu_mem_usage": False, "dtype": torch.float16},
        {"low_cpu_mem_usage": True, "use_safetensors": True},
        {"use_safetensors": None},
        {"device_map": "cpu", "dtype": torch.bfloat16},
    ],
    ids=str,
)
@pytest.mark.parametrize("repository", ["tiny", "variant"])
def test_options_of_diffusers_load_the_same_weights(hub, tiny_pipeline, repository, options):
    variant = {"variant": "fp16"} if repository == "variant" else {}
    loaded = InvertAvatarPipeline.from_pretrained(hub / "ours" / repository, **options, **variant)
    for name in COMPONENTS.keys() - {"face_tracker"}:
        for a, b in zip(*(getattr(p, name).state_dict().values() for p in (loaded, tiny_pipeline)), strict=True):
            torch.testing.assert_close(a.float(), b.float(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", sorted(COMPONENTS.keys() - {"face_tracker"}))
def test_a_component_may_be_loaded_alone_and_given_to_the_pipeline(hub, name):
    kind, folder = getattr(invertavatar, COMPONENTS[name]), hub / "ours" / "tiny"
    part = kind.from_pretrained(folder, subfolder=name, dtype=torch.float16, low_cpu_mem_usage=False)
    assert getattr(InvertAvatarPipeline.from_pretrained(folder, **{name: part}), name) is part


def test_pickled_weights_are_refused_in_a_sentence(hub):
    with pytest.raises(InvertAvatarError, match="read from safetensors only"):
        InvertAvatarPipeline.from_pretrained(hub / "ours" / "tiny", use_safetensors=False)


def test_the_tracker_may_be_left_out(hub):
    assert InvertAvatarPipeline.from_pretrained(hub / "ours" / "tiny", face_tracker=None).face_tracker is None


def test_the_hub_serves_every_way_of_loading_and_then_cache_and_folder_need_no_network(hub, tmp_path):
    with fake_hub(hub) as address:
        lines = run(ONLINE, tmp_path, HF_ENDPOINT=address)
    assert lines == [
        "ours/tiny FaceTracker torch.float32",
        "ours/half NoneType torch.float16",
        "ours/variant FaceTracker torch.float32",
        "ours/tiny FaceTracker torch.float32",  # with a component of one's own
        "True",
        "ours/tiny FaceTracker torch.float32",  # local_files_only
        "ours/tiny FaceTracker torch.float32",  # with a tracker of one's own
        "True",
        *(
            f"There is no face tracker at {name}: no folder here has that name, and no repository that the Hub serves."
            for name in ("ours/none", "no folder and no id")
        ),
        "ours/tiny ValueError",  # has no fp16 variant
        "ours/half OSError",  # has nothing but
        "ours/none OSError",
    ]
    lines = run(OFFLINE, tmp_path, str(hub / "ours" / "tiny"), HF_ENDPOINT=address, HF_HUB_OFFLINE="1")
    assert lines == [str(sorted(COMPONENTS))] * 2 + ["False"]
