from dataclasses import replace

import pytest
import torch

from invertavatar.avatar import Avatar
from invertavatar.inversion import Networks
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts.prepare_dataset import prepare
from invertavatar.scripts.smoke import EXAMPLES, PICTURE_SIZE, PICTURES
from invertavatar.training.checkpoint import load_networks, save_pipeline
from invertavatar.training.episodes import Episodes, EpisodeSizes
from invertavatar.training.shards import Shards
from invertavatar.training.stages import ReconstructionStage
from invertavatar.training.variants import SETTINGS, VARIANTS, variant_networks
from tests.tiny import tiny_networks

WITHOUT_LPIPS = replace(SETTINGS, weights=replace(SETTINGS.weights, lpips=0.0))  # AlexNet is no part of the package


@pytest.fixture(scope="module")
def networks(head_model) -> Networks:
    return Networks(**tiny_networks(image_resolution=PICTURE_SIZE, output_gain=0.01), head_model=head_model)


@pytest.fixture(scope="module")
def episode(tmp_path_factory, head_model):
    """Two photos and a target of one of the example people."""
    folder = tmp_path_factory.mktemp("shards")
    prepare([EXAMPLES / name for name in PICTURES], folder, size=PICTURE_SIZE, workers=1)
    return Episodes(Shards([folder]), head_model, EpisodeSizes(1, (2, 2), 1))[0]


def weights(networks) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in networks.trainable.state_dict().items()}


@torch.enable_grad()
@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.learns])
def test_a_variant_learns_in_those_encoders_that_it_has_and_nowhere_else(name, networks, episode):
    ours = variant_networks(networks, VARIANTS[name])
    before, stage = weights(ours), ReconstructionStage(ours, WITHOUT_LPIPS, None, None)
    WITHOUT_LPIPS.weights.total(stage(episode, False).terms).backward()
    torch.optim.SGD(stage.learning(), 1.0).step()
    moved = {key.split(".")[0] for key, weight in weights(ours).items() if not torch.equal(weight, before[key])}
    silent = {"without_e_tex": "texture_encoder", "without_e_tri": "triplane_encoder"}.get(name)
    assert moved == {"texture_encoder", "triplane_encoder"} - {silent}


@pytest.mark.parametrize("name", ["conv_fusion", "offsets", "posed", "without_both"])
def test_a_saved_variant_makes_avatars_that_it_takes_again(name, networks, portrait, tmp_path):
    save_pipeline(variant_networks(networks, VARIANTS[name]), tmp_path / "model")
    pipe, avatar = InvertAvatarPipeline(**load_networks(tmp_path / "model")._asdict()), None
    for photo in ("anna_1", "anna_2"):
        avatar = pipe.add_portrait(avatar, portrait(photo))
    avatar.save_pretrained(tmp_path / "avatar")
    again = Avatar.from_pretrained(tmp_path / "avatar", layout=pipe.avatar_layout)
    first, second = (pipe.render(x, height=64, output_type="np") for x in (avatar, again))
    assert (first == second).all()


def test_variants_of_a_seed_share_the_new_weights_of_parts_that_they_have_in_common(networks):
    before, ours, offsets, again = map(
        weights, (networks, *(variant_networks(networks, VARIANTS[x]) for x in ("ours", "offsets", "ours_again")))
    )
    for key, weight in ours.items():
        if key.startswith(("texture_encoder.unet.conv_in.weight", "triplane_encoder.unet.encoder.0.0.conv1.weight")):
            assert torch.equal(weight, offsets[key])
            assert not torch.equal(weight, again[key]) and not torch.equal(weight, before[key])
        elif key.startswith(("latent_encoder", "generator", "triplane_encoder.posture")):
            assert torch.equal(weight, before[key]) and torch.equal(weight, again[key])


def test_colours_of_a_photo_reach_a_picture_through_the_encoders_alone(networks, portrait):
    pipe = InvertAvatarPipeline(**variant_networks(networks, VARIANTS["ours"])._asdict())
    photo = portrait("anna_1")
    avatar, dark = (pipe.add_portrait(None, photo._replace(photo=photo.photo * k)) for k in (1.0, 0.5))
    colours = avatar.views._replace(front=dark.views.front, picture=dark.views.picture)
    other = replace(avatar, texture_sum=dark.texture_sum, views=colours)
    assert not torch.equal(avatar.views.picture, colours.picture)
    first, second = (pipe.render(x, height=64, output_type="np") for x in (avatar, other))
    assert (first == second).all()
