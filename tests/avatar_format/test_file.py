"""Avatar files from strangers: whatever they hold, it is an avatar or one sentence, and never a large allocation."""

import hashlib
import json
import random
import shutil
import struct
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file

from invertavatar import avatar as avatar_module
from invertavatar.avatar import Avatar, _tensors, pack_pictures
from invertavatar.avatar_format.file import JSON_FILE, TENSOR_FILE, pack
from invertavatar.avatar_format.layout import FIELDS, PACKED, VIEWS
from invertavatar.errors import AvatarError, InvertAvatarError
from invertavatar.media.packed import packed
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from tests.tiny import tiny_networks

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def folder(tiny_avatar, tmp_path):
    tiny_avatar.save_pretrained(tmp_path / "anna")
    return tmp_path / "anna"


def forge(folder, tensors=None, content=None, **changes):
    """Write other tensors, or other bytes in their place, and a description that goes with them."""
    file = folder / TENSOR_FILE
    if tensors is not None:
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    if content is not None:
        file.write_bytes(content)
    description = json.loads((folder / JSON_FILE).read_text())
    description |= {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()} | changes
    (folder / JSON_FILE).write_text(json.dumps(description))


def archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in entries:
            made.writestr(name, content)
    return path


def sentence(path, **options) -> str:
    with pytest.raises(AvatarError) as error:
        Avatar.from_pretrained(path, **options)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


# Every tensor: shape, kind, numbers


@pytest.mark.parametrize("name", [*sorted({*FIELDS, *VIEWS} - {*PACKED}), "texture_state.1", "triplane_state.0"])
def test_each_tensor_of_another_shape_or_kind_is_refused_before_anything_is_read(
    name, folder, tiny_pipeline, monkeypatch
):
    monkeypatch.setattr(avatar_module, "load", lambda *_: pytest.fail("it was read"))
    tensors, layout = load_file(folder / TENSOR_FILE), tiny_pipeline.avatar_layout
    value = tensors[name]
    flat = value.flatten()
    for other in (value[..., :-1], value[None], value.repeat(3, *[1] * (value.ndim - 1)), flat[:0], value.double()):
        forge(folder, tensors | {name: other})
        assert name in sentence(folder, layout=layout)


def test_sizes_that_ask_for_gigabytes_are_refused_unread(folder, tiny_pipeline, monkeypatch):
    monkeypatch.setattr(avatar_module, "load", lambda *_: pytest.fail("it was read"))
    tensors = load_file(folder / TENSOR_FILE)
    absurd = {
        "texture_sum": (1, 4, 1, 60_000),  # a map whose side is taken from its last axis: 29 GB once it is drawn
        "views.front": (1, 2, 5, 0, 100_000),
        "views.picture": (1, 2, 5, 1, 100_000),  # which is packed
        "views.skin": (1, 2, 10**5, 3),
        "rest_sum": (10**6, 3),
        "ws": (1, 10**6, 0),
    }
    for name, shape in absurd.items():
        forge(folder, tensors | {name: torch.zeros(shape, dtype=tensors[name].dtype)})
        assert name in sentence(folder)  # also where no pipeline is at hand
        assert name in sentence(folder, layout=tiny_pipeline.avatar_layout)


def test_a_pipeline_refuses_sizes_that_no_file_alone_gives_away(tiny_pipeline, tiny_avatar, portrait, folder):
    larger = {"views.picture": torch.zeros(1, 2, 5, 128, 128, dtype=torch.uint8)}
    forge(folder, pack_pictures(_tensors(tiny_avatar) | larger))
    stranger = Avatar.from_pretrained(folder)
    for use in (tiny_pipeline.render, lambda avatar: tiny_pipeline.add_portrait(avatar, portrait("anna_3"))):
        with pytest.raises(
            AvatarError, match="does not fit its model: its photos have 128 pixels on a side, and 64 are the most"
        ):
            use(stranger)


@pytest.mark.parametrize("name", sorted(PACKED))
def test_packed_pictures_that_are_none_or_of_another_size_are_refused(name, folder, tiny_avatar):
    tensors, other = load_file(folder / TENSOR_FILE), torch.zeros(1, 2, 5, 32, 32, dtype=torch.uint8)
    other = pack_pictures(_tensors(tiny_avatar) | {"views.picture": other, "backdrop": torch.zeros(3, 9, 7).byte()})
    content = tensors[name]
    for damaged in (content[:-9], content[:0], content.float(), content[None], torch.zeros(99).byte(), other[name]):
        forge(folder, tensors | {name: damaged})
        assert "is damaged" in sentence(folder)


def test_a_few_bytes_that_unpack_to_large_pictures_are_refused_unpacked(folder, monkeypatch):
    tensors = load_file(folder / TENSOR_FILE)
    bomb = packed(np.zeros((1, 2400, 2400, 3), np.uint8))
    assert len(bomb) < 1 << 17
    monkeypatch.setattr(PIL.Image.Image, "convert", lambda *_: pytest.fail("it was unpacked"))
    forge(folder, tensors | {"backdrop": torch.frombuffer(bytearray(bomb), dtype=torch.uint8)})
    assert "pictures are 2400 x 2400 pixels" in sentence(folder)


@pytest.mark.parametrize("number", [NAN, -INF, 1e30])
def test_numbers_that_are_none_or_far_too_large_are_refused(number, folder):
    tensors = load_file(folder / TENSOR_FILE)
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel():
            spoilt = value.clone()
            spoilt.view(-1)[-1] = number
            forge(folder, tensors | {name: spoilt})
            assert "is damaged" in sentence(folder)


@pytest.mark.parametrize("name", ["texture_sum", "crown", "views.weight", "views.by_pose", "views.front"])
def test_weights_below_zero_are_refused(name, folder):
    tensors = load_file(folder / TENSOR_FILE)
    spoilt = tensors[name].clone()
    spoilt.view(-1)[-1] = -0.5
    forge(folder, tensors | {name: spoilt})
    assert f"its {name} holds weights that are none" in sentence(folder)


@pytest.mark.parametrize("count", [0, 1, 3, -1, True, 2.0, 10**30, "2", None])
@pytest.mark.parametrize("encoder", ["texture_count", "triplane_count"])
def test_a_count_that_is_not_that_of_the_photos_is_refused(encoder, count, folder):
    forge(folder, **{encoder: count})
    assert "is damaged" in sentence(folder)


PHOTO = {"name": "a", "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "face_pixels": 100.0, "visible": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"photos": [PHOTO | {"yaw": NAN}, PHOTO]},
        {"photos": [PHOTO | {"visible": -1}, PHOTO]},
        {"photos": [PHOTO | {"face_pixels": True}, PHOTO]},
        {"photos": [PHOTO | {"name": "x" * 5000}, PHOTO]},
        {"photos": [PHOTO | {"name": 5}, PHOTO]},
        {"photos": [PHOTO | {"more": 1}, PHOTO]},
        {"photos": [PHOTO] * 3},
        {"photos": [PHOTO] * 20_000},
        {"photos": {"0": PHOTO}},
        {"model": "m" * 5000},
        {"model": 5},
        {"residual_region": ["mouth"] * 5000},
        {"residual_region": "mouth"},
        {"residual_region": [["mouth"]]},
        {"format_version": [3] * 5000},
        {"format_version": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_description_of_the_wrong_kind_is_one_sentence(changes, folder):
    forge(folder, **changes)
    assert sentence(folder)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"format_version": 3, "photos": ' + b"[" * 5000, b" " * (9 << 20), b'{"a": ' + b"9" * 9999],
)
def test_a_deep_or_huge_description_is_refused(content, folder):
    (folder / JSON_FILE).write_bytes(content)
    assert "is damaged" in sentence(folder)


def test_a_header_that_lies_is_refused(folder):
    tensor = {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}
    for header in (
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        json.dumps({"ws": tensor | {"shape": [1 << 31, 1 << 31]}}).encode(),
        json.dumps({"ws": tensor | {"shape": [-1, -4]}}).encode(),
        json.dumps({"ws": tensor | {"data_offsets": [0, 1 << 60]}}).encode(),
        json.dumps({"ws": tensor | {"data_offsets": "ab"}}).encode(),
        json.dumps({f"x{k}": tensor for k in range(30_000)}).encode(),
    ):
        forge(folder, content=struct.pack("<Q", len(header)) + header + bytes(16))
        assert "is damaged" in sentence(folder)
    forge(folder, content=struct.pack("<Q", 1 << 60) + bytes(100))
    assert "is damaged" in sentence(folder)


def test_every_model_fits_its_own_layout(head_model, portrait):
    for preset in ("compact", "paper"):
        pipe = InvertAvatarPipeline(**tiny_networks(preset), head_model=head_model)
        avatar = pipe.add_portrait(None, portrait("anna_1"))
        more = [pipe.add_portrait(avatar, portrait("anna_2"), fusion) for fusion in ("first", "mean")]
        for made in (pipe.sample(1), avatar, *more):
            made.check(pipe.avatar_layout)


# Zip files


def test_a_zip_is_read_with_and_without_a_folder_in_it(tiny_avatar, folder, tmp_path):
    pack(folder, tmp_path / "plain.zip")
    shutil.make_archive(str(tmp_path / "nested"), "zip", folder.parent, folder.name)
    parts = [(name, (folder / name).read_bytes()) for name in (JSON_FILE, TENSOR_FILE)]
    junk = [("__MACOSX/anna/._avatar.json", b"x"), ("__MACOSX/anna/avatar.json", b"x"), ("anna/readme.txt", b"x")]
    archive(tmp_path / "mac.zip", [*junk, *((f"anna/{name}", content) for name, content in parts)])
    archive(tmp_path / "windows.zip", [(f"anna\\{name}", content) for name, content in parts], zipfile.ZIP_DEFLATED)
    for name in ("plain", "nested", "mac", "windows"):
        loaded = Avatar.from_pretrained(tmp_path / f"{name}.zip")
        assert loaded.photos == tiny_avatar.photos
        assert torch.equal(loaded.ws, tiny_avatar.ws)


def test_of_a_zip_only_one_avatar_is_taken_and_nothing_leaves_its_place(folder, tmp_path):
    parts = [(name, (folder / name).read_bytes()) for name in (JSON_FILE, TENSOR_FILE)]
    twice = [(f"{place}{name}", content) for name, content in parts for place in ("", "anna/")]
    assert "holds several avatars" in sentence(archive(tmp_path / "two.zip", twice))
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(tmp_path / "again.zip", [*parts, parts[0]])
    assert "holds several avatars" in sentence(tmp_path / "again.zip")
    before = sorted(tmp_path.rglob("*"))
    archive(tmp_path / "escape.zip", [(f"../../{name}", content) for name, content in parts])
    assert Avatar.from_pretrained(tmp_path / "escape.zip").num_images == 2
    link = zipfile.ZipInfo(TENSOR_FILE)
    link.external_attr = 0o120777 << 16
    archive(tmp_path / "link.zip", [parts[0], (link, str(folder / TENSOR_FILE))])
    assert "is damaged" in sentence(tmp_path / "link.zip")
    assert set(tmp_path.rglob("*")) - set(before) == {tmp_path / "escape.zip", tmp_path / "link.zip"}


def test_bombs_and_outlandish_zips_are_refused(folder, tmp_path):
    parts = [(name, (folder / name).read_bytes()) for name in (JSON_FILE, TENSOR_FILE)]
    bomb = archive(tmp_path / "bomb.zip", [parts[0], (TENSOR_FILE, bytes(20 << 20))], zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    assert "an avatar is at most 10 MB here" in sentence(bomb, max_bytes=10_000_000)
    crowd = archive(tmp_path / "crowd.zip", [*parts, *((f"{k:0>200}", b"") for k in range(5000))])
    assert "no avatar, or a damaged one" in sentence(crowd)
    assert "no avatar, or a damaged one" in sentence(archive(tmp_path / "lzma.zip", parts, zipfile.ZIP_LZMA))
    locked = bytearray(archive(tmp_path / "locked.zip", parts).read_bytes())
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = locked.find(sign)
        while at >= 0:
            locked[at + place] |= 1  # encrypted
            at = locked.find(sign, at + 1)
    (tmp_path / "locked.zip").write_bytes(locked)
    assert "no avatar, or a damaged one" in sentence(tmp_path / "locked.zip")
    for name, content in (("empty.zip", b""), ("text.zip", b"no avatar\n"), ("end.zip", b"PK\x05\x06" + bytes(18))):
        (tmp_path / name).write_bytes(content)
        assert "no avatar" in sentence(tmp_path / name)
    assert "it needs avatar.json and avatar.safetensors" in sentence(archive(tmp_path / "half.zip", parts[:1]))


# Anything at all


def test_no_mutation_of_a_file_gives_anything_but_an_avatar_or_a_sentence(folder, tmp_path):
    pack(folder, tmp_path / "avatar.zip")
    whole, chance = (tmp_path / "avatar.zip").read_bytes(), random.Random(0)
    ends = [*range(len(whole) - 400, len(whole)), *range(3000)]  # where there is more than numbers
    refused = 0
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.choice(ends)] = chance.randrange(256)
        (tmp_path / "fuzzed.zip").write_bytes(
            content[: chance.choice([len(content), len(content), chance.choice(ends)])]
        )
        try:
            Avatar.from_pretrained(tmp_path / "fuzzed.zip")
        except AvatarError:
            refused += 1
    assert refused > 80


def test_what_passes_can_be_drawn_and_refined_or_is_refused_in_a_sentence(folder, tiny_pipeline, portrait):
    tensors, layout, chance = load_file(folder / TENSOR_FILE), tiny_pipeline.avatar_layout, random.Random(1)
    passed = 0
    for round_ in range(30):
        name = chance.choice(sorted(tensors))
        value, numbers = tensors[name].clone(), [0, 1, -1, 5, 255, 1e-30, -1e4, 3e4]
        if round_ % 3 == 0:
            value[...] = chance.choice(numbers) if value.is_floating_point() else 255
        elif value.numel():
            value.view(-1)[chance.randrange(value.numel())] = chance.choice(numbers[:5])
        forge(folder, tensors | {name: value})
        try:
            avatar = Avatar.from_pretrained(folder, layout=layout)
            if passed < 3:
                tiny_pipeline.render(avatar, yaw=20, height=32)
                tiny_pipeline.add_portrait(avatar, portrait("anna_3"))
            passed += 1
        except InvertAvatarError:
            continue
    assert passed >= 5
