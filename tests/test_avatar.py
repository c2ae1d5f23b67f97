import copy
import hashlib
import json
import os
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from invertavatar.avatar import JSON_FILE, TENSOR_FILE, Avatar, _tensors
from invertavatar.avatar_format.layout import field_name
from invertavatar.errors import AvatarError
from invertavatar.media.packed import thinned
from invertavatar.models.presets import build_networks
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.rendering.source_views import SourceViews
from invertavatar.tracking.portrait import MOST_BYTES
from tests.tiny import tiny_networks

MEGABYTE = 10**6


def same(a: Avatar, b: Avatar) -> bool:
    """Whether every tensor is the same to the last bit, and everything else equal."""
    x, y = _tensors(a), _tensors(b)
    assert x.keys() == y.keys()
    return (
        all(x[k].dtype == y[k].dtype and torch.equal(x[k], y[k]) for k in x)
        and a.photos == b.photos
        and a.model == b.model
        and a.texture_state.count == b.texture_state.count
        and a.triplane_state.count == b.triplane_state.count
        and a.rest.residual_region == b.rest.residual_region
    )


@pytest.fixture
def folder(tiny_avatar, tmp_path):
    tiny_avatar.save_pretrained(tmp_path / "anna")
    return tmp_path / "anna"


def edit_json(folder, **changes):
    description = json.loads((folder / JSON_FILE).read_text())
    (folder / JSON_FILE).write_text(json.dumps(description | changes))


def test_a_saved_avatar_comes_back_bit_for_bit(tiny_avatar, folder):
    assert same(Avatar.from_pretrained(folder), tiny_avatar)


def test_every_field_is_saved(tiny_avatar):
    stored = {field_name(name).split(".")[0] for name in _tensors(tiny_avatar)} | {"photos", "model"}
    assert stored == {field.name for field in fields(Avatar)}


def test_a_loaded_avatar_goes_on_as_if_it_had_never_been_saved(tiny_pipeline, tiny_avatar, folder, portrait):
    loaded = Avatar.from_pretrained(folder)
    assert same(
        tiny_pipeline.add_portrait(loaded, portrait("anna_3")),
        tiny_pipeline.add_portrait(tiny_avatar, portrait("anna_3")),
    )
    a, b = (tiny_pipeline.render(avatar, yaw=15, height=64, output_type="pt") for avatar in (loaded, tiny_avatar))
    assert torch.equal(a, b)


def test_an_avatar_of_eight_large_photos_that_are_all_grain_is_below_20_megabytes(head_model, portrait, tmp_path):
    torch.manual_seed(0)
    pipe = InvertAvatarPipeline(**build_networks("compact"), head_model=head_model)
    avatar = pipe.add_portrait(None, portrait("anna_1"))
    grain = thinned(np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8), MOST_BYTES)
    grain = torch.from_numpy(grain).permute(2, 0, 1)
    masks = torch.rand(2, 8, 8).repeat_interleave(128, 1).repeat_interleave(128, 2).mul(255).byte()
    turned = [torch.cat([grain, masks]).rot90(k, (1, 2)) for k in range(4)]
    views = SourceViews(*(x.expand(1, 8, *x.shape[2:]) for x in avatar.views))
    views = views._replace(picture=torch.stack(turned + [x.mT for x in turned])[None])
    replace(avatar, views=views, backdrop=grain.flip(0)).save_pretrained(tmp_path)
    assert 10 * MEGABYTE < sum(file.stat().st_size for file in tmp_path.iterdir()) < 20 * MEGABYTE


def test_an_avatar_of_half_precision_keeps_its_dtypes(head_model, portrait, tmp_path):
    networks = {name: network.half() for name, network in tiny_networks().items()}
    avatar = InvertAvatarPipeline(**networks, head_model=head_model).add_portrait(None, portrait("anna_1"))
    assert (avatar.ws.dtype, avatar.texture_state.hidden[0].dtype) == (torch.float16, torch.float32)
    avatar.save_pretrained(tmp_path)
    assert same(Avatar.from_pretrained(tmp_path), avatar)


def test_moving_to_a_device_changes_nothing_else(tiny_avatar):
    assert same(tiny_avatar.to("cpu"), tiny_avatar)


def test_it_knows_its_photos(tiny_avatar):
    assert tiny_avatar.num_images == 2
    assert [photo.name for photo in tiny_avatar.photos] == ["anna_1", "anna_2"]
    assert abs(tiny_avatar.photos[0].yaw) < 5 and tiny_avatar.photos[1].yaw < -15
    assert all(0.5 < photo.visible <= 1 for photo in tiny_avatar.photos)
    assert tiny_avatar.thumbnails.shape == (2, 3, 96, 96)


def test_a_folder_that_holds_no_avatar_is_refused(tmp_path):
    with pytest.raises(AvatarError, match=r"is no avatar: it needs avatar.json and avatar.safetensors"):
        Avatar.from_pretrained(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_cut_off_file_is_refused(keep, folder):
    file = folder / TENSOR_FILE
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(AvatarError, match=r"The avatar in .* is damaged.* Save it again."):
        Avatar.from_pretrained(folder)


def test_one_flipped_bit_is_noticed(folder):
    file = folder / TENSOR_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(AvatarError, match="is damaged"):
        Avatar.from_pretrained(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", "\x00\xff"])
def test_a_damaged_description_is_refused(content, folder):
    (folder / JSON_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(AvatarError, match="is damaged"):
        Avatar.from_pretrained(folder)


@pytest.mark.parametrize(
    "changes",
    [{"photos": []}, {"photos": [1, 2]}, {"texture_count": "many"}, {"residual_region": ["nose"]}, {"sha256": None}],
)
def test_a_description_that_does_not_fit_the_tensors_is_refused(changes, folder):
    edit_json(folder, **changes)
    with pytest.raises(AvatarError, match="is damaged"):
        Avatar.from_pretrained(folder)


@pytest.mark.parametrize(
    "rename", [{}, {"ws": "w"}, {"views.front": "views.other"}, {"texture_state.0": "texture_state.9"}]
)
def test_tensors_that_are_missing_or_strange_are_refused(rename, folder):
    tensors = load_file(folder / TENSOR_FILE)
    if not rename:
        del tensors["shape.blink"]
    save_file({rename.get(name, name): value for name, value in tensors.items()}, folder / TENSOR_FILE)
    edit_json(folder, sha256=hashlib.sha256((folder / TENSOR_FILE).read_bytes()).hexdigest())
    with pytest.raises(AvatarError, match="is damaged"):
        Avatar.from_pretrained(folder)


@pytest.mark.parametrize("version", [0, 4, "5", None])
def test_another_format_version_is_refused_by_name(version, folder):
    edit_json(folder, format_version=version)
    with pytest.raises(AvatarError, match=rf"has format {version}; this version of InvertAvatar reads format 6"):
        Avatar.from_pretrained(folder)


def test_nothing_in_an_avatars_folder_is_executed(folder):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(folder / "exploded"),)

    for name in (TENSOR_FILE, JSON_FILE):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(AvatarError):
            Avatar.from_pretrained(folder)
    assert not (folder / "exploded").exists()


def test_another_models_avatar_is_refused(tiny_pipeline, tiny_avatar, folder):
    edit_json(folder, model="AvatarGenerator:1")
    stranger = Avatar.from_pretrained(folder)
    for use in (tiny_pipeline.render, lambda avatar: tiny_pipeline.update(avatar, []), tiny_pipeline.animate):
        with pytest.raises(AvatarError, match=r"built with another model. Build it again from its photos"):
            use(stranger)


def test_the_fingerprint_tells_structures_apart_but_not_dtypes(head_model):
    def fingerprint(**networks):
        return InvertAvatarPipeline(**networks, head_model=head_model).fingerprint

    own = fingerprint(**tiny_networks())
    assert own == fingerprint(**{name: network.half() for name, network in tiny_networks().items()})
    assert own != fingerprint(**tiny_networks("paper"))
    assert own != fingerprint(**tiny_networks(weights_id="another run"))


@pytest.mark.parametrize("name", ["generator", "latent_encoder", "texture_encoder", "triplane_encoder", "head_model"])
def test_each_setting_of_a_component_is_in_the_fingerprint(name, head_model):
    parts = tiny_networks() | {"head_model": copy.deepcopy(head_model)}
    pipe = InvertAvatarPipeline(**parts)
    own, part = pipe.fingerprint, parts[name]
    settings = {key: value for key, value in part.config.items() if not key.startswith("_")}
    assert len(settings) > 4
    for key, value in settings.items():
        part.register_to_config(**{key: "something else"})
        assert pipe.fingerprint != own, key
        for inner in value if isinstance(value, dict) else ():
            part.register_to_config(**{key: value | {inner: "something else"}})
            assert pipe.fingerprint != own, (key, inner)
        part.register_to_config(**{key: value})
    assert pipe.fingerprint == own


def test_avatars_are_compared_by_identity(tiny_avatar):
    assert tiny_avatar != replace(tiny_avatar)
    assert len({tiny_avatar, tiny_avatar}) == 1
