"""Half precision: which parts stay float32, what comes out, and what is said where numbers leave the range."""

import copy

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.runtime.half_precision import HALVES, Float32Island, all_finite
from invertavatar.tracking.motion import Motion
from tests.tiny import tiny_networks

ISLANDS = {"texture_encoder.unet", "triplane_encoder.unet", "head_model"}


@pytest.fixture(scope="module")
def folder(tiny_pipeline, tmp_path_factory):
    """`tiny_pipeline`, saved."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline.save_pretrained(folder)
    return folder


def test_the_shipped_weights_draw_in_float16_what_they_draw_in_float32(portrait):
    pipes = [InvertAvatarPipeline.from_pretrained(dtype=dtype) for dtype in (torch.float16, None)]
    half, expected = (
        pipe.render(pipe.add_portrait(None, portrait("anna_1")), yaw=15, height=256, output_type="pt") * 255
        for pipe in pipes
    )
    assert expected.std() > 40
    assert (half - expected).abs().mean() < 0.1


def dtypes(pipe) -> dict[str, torch.dtype]:
    return {
        f"{component}.{name}": value.dtype
        for component, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
        for name, value in part.state_dict().items()
        if value.is_floating_point()
    }


def loaded(dtype, name="dtype"):
    return lambda folder: InvertAvatarPipeline.from_pretrained(folder, **{name: dtype})


def saved_as_fp16(folder):
    InvertAvatarPipeline.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder / "h", variant="fp16")
    return InvertAvatarPipeline.from_pretrained(folder / "h", variant="fp16", dtype=torch.float16)


def halved_part_by_part(folder):
    pipe = InvertAvatarPipeline.from_pretrained(folder)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    return pipe


WAYS = {
    "dtype=float16": (torch.float16, loaded(torch.float16)),
    "dtype=bfloat16": (torch.bfloat16, loaded(torch.bfloat16)),
    "torch_dtype=float16": (torch.float16, loaded(torch.float16, "torch_dtype")),
    "a variant": (torch.float16, saved_as_fp16),
    "to": (torch.float16, lambda folder: InvertAvatarPipeline.from_pretrained(folder).to(torch.float16)),
    "to twice": (torch.float16, lambda folder: loaded(torch.bfloat16)(folder).to(torch.float16)),
    "half": (torch.float16, halved_part_by_part),
}


@pytest.mark.filterwarnings("ignore:`torch_dtype` is deprecated")  # as diffusers says of it
@pytest.mark.parametrize("way", WAYS)
def test_by_whichever_way_the_same_parts_become_half_precision_and_the_rest_keeps_its_bits(folder, tiny_pipeline, way):
    dtype, make = WAYS[way]
    pipe = make(folder)
    for name, found in dtypes(pipe).items():
        assert found == (torch.float32 if any(name.startswith(f"{part}.") for part in ISLANDS) else dtype), name
    for name in ISLANDS:
        component, *inside = name.split(".")
        ours, theirs = (getattr(p, component).get_submodule(".".join(inside)) for p in (pipe, tiny_pipeline))
        assert isinstance(ours, Float32Island)
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize("dtype", HALVES)
def test_casting_says_nothing_of_what_is_taken_care_of(folder, caplog, dtype):
    InvertAvatarPipeline.from_pretrained(folder).to(dtype)
    assert not caplog.messages


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_not_finite_is_found_in_whatever_holds_it(value):
    spoilt = torch.zeros(2, 3)
    assert all_finite((spoilt, [spoilt, "a"], {"b": spoilt.half()}, None, torch.zeros(0), spoilt.long()))
    spoilt[1, 2] = value
    assert not any(all_finite(nest) for nest in ((spoilt,), ([1, (spoilt,)],), ({"a": spoilt.half()},)))


@pytest.fixture
def spoilt(head_model):
    """`spoilt("generator.face_backbone")`: a pipeline of which a part has overflown."""

    def spoil(name: str) -> InvertAvatarPipeline:
        networks = tiny_networks()
        component, *inside = name.split(".")
        part = networks[component].get_submodule(".".join(inside))
        with torch.no_grad():
            for weight in part.parameters():
                weight.fill_(torch.nan)
        pipe = InvertAvatarPipeline(**networks, head_model=head_model)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return spoil


@pytest.mark.parametrize(
    "part",
    ["latent_encoder", "texture_encoder.unet.encoder", "triplane_encoder.unet.gru", "triplane_encoder.posture_network"],
)
def test_a_photo_that_would_spoil_an_avatar_is_refused_and_the_avatar_stays(spoilt, tiny_avatar, portrait, part):
    pipe, before = spoilt(part), copy.deepcopy(tiny_avatar)
    avatar = None if part == "latent_encoder" else tiny_avatar
    with pytest.raises(InvertAvatarError, match="anna_3 has not joined the avatar, as numbers that are not"):
        pipe.add_portrait(avatar, portrait("anna_3"))
    assert torch.equal(tiny_avatar.texture_sum, before.texture_sum)
    pairs = zip(tiny_avatar.triplane_state.hidden, before.triplane_state.hidden, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("part", "call"),
    [
        *((part, "render") for part in ("static_backbone", "texture_backbone", "renderer", "compositor")),
        *(("face_backbone.blocks.32.head", call) for call in ("render", "animate_stream", "extract_mesh", "sample")),
        ("renderer", "extract_mesh"),
        ("mapping_network", "sample"),
    ],
)
def test_a_picture_of_numbers_that_are_not_finite_is_an_error_and_never_an_empty_one(spoilt, tiny_avatar, part, call):
    pipe, nod = spoilt(f"generator.{part}"), Motion.from_sliders({"pitch": 5})
    calls = {
        "render": lambda: pipe.render(tiny_avatar, height=64),
        "animate_stream": lambda: next(pipe.animate_stream(tiny_avatar, motion=nod, height=64)),
        "extract_mesh": lambda: pipe.extract_mesh(tiny_avatar, texture_size=256),
        "sample": lambda: pipe.render(pipe.sample(1), height=64),
    }
    with pytest.raises(InvertAvatarError, match="Numbers that are not finite came out of the networks in float32"):
        calls[call]()
