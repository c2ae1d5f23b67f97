"""What the compositor learns from: the same as a whole step would give it, in files, whole and in parts."""

from dataclasses import replace

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.inversion import Networks
from invertavatar.scripts.prepare_dataset import prepare
from invertavatar.scripts.smoke import EXAMPLES, PICTURES
from invertavatar.training import looks
from invertavatar.training.episodes import Episodes, EpisodeSizes
from invertavatar.training.looks import WHOLE_EVERY, LooksFolder, looks_of, make_looks
from invertavatar.training.losses import LossWeights
from invertavatar.training.reconstruction import Reconstruction, repeat, truth
from invertavatar.training.shards import Shards
from invertavatar.training.stages import STAGES, CompositorStage
from tests.tiny import tiny_networks

SIZE, FRAMES = 128, 2


@pytest.fixture(scope="module")
def networks(head_model):
    return Networks(**tiny_networks(), head_model=head_model)


@pytest.fixture(scope="module")
def episodes(head_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    prepare([EXAMPLES / name for name in PICTURES], folder, size=SIZE, workers=1)
    return Episodes(Shards([folder]), head_model, EpisodeSizes(1, (1, 2), FRAMES))


@pytest.fixture(scope="module")
def folder(networks, episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("looks")
    make_looks(Reconstruction(networks), episodes, 2, folder)
    return folder


@torch.no_grad()
def test_the_compositor_makes_of_looks_what_a_whole_step_makes_of_the_episode(networks, episodes):
    reconstruction, episode = Reconstruction(networks), episodes[0]
    look, goal = looks_of(reconstruction, episode).unpacked(torch.zeros(FRAMES, 3, 1, 1))
    made = networks.generator.compose(look)
    state = reconstruction.fuse(reconstruction.views(episode), episode.sharpness)
    features = reconstruction.features(state, episode, SIZE)
    head = reconstruction.driven(episode)
    drawn = (repeat(state.ws, FRAMES), repeat(features, FRAMES), head, reconstruction.camera(head), SIZE)
    frame = reconstruction.draw(*drawn)
    assert (made.colour - frame.colour).abs().mean() < 0.01 and (made.opacity - frame.opacity).abs().mean() < 0.01
    expected = truth(episode, torch.zeros(FRAMES, 3, 1, 1))
    torch.testing.assert_close(goal.picture, expected.picture, atol=1 / 127, rtol=0)
    assert torch.equal(goal.valid, expected.valid)


def test_what_is_made_already_is_not_made_again(networks, episodes, folder):
    paths = sorted(folder.iterdir())
    before = [path.stat().st_mtime_ns for path in paths]
    make_looks(Reconstruction(networks), episodes, 3, folder)
    assert [path.stat().st_mtime_ns for path in paths] == before
    (added,) = set(folder.iterdir()) - set(paths)
    added.unlink()


def test_steps_see_parts_of_frames_and_some_see_whole_ones(folder, monkeypatch):
    monkeypatch.setattr(looks, "PART", 32)
    steps = LooksFolder(folder, 6)
    part, whole = steps[1], steps[WHOLE_EVERY]
    assert part.layers.shape[::2] == (6, 32) and whole.layers.shape[::2] == (2, SIZE)
    assert part.features.shape[-1] * SIZE == 32 * whole.features.shape[-1]
    assert torch.equal(steps[1].layers, part.layers)  # a step is a function of its number
    assert not torch.equal(steps[2].layers, part.layers)


def test_a_part_lies_at_one_place_in_all_layers(networks, folder, monkeypatch):
    monkeypatch.setattr(looks, "PART", 64)
    look, _ = LooksFolder(folder, 4)[1].unpacked(torch.zeros(4, 3, 1, 1))
    mask, features = look.surface.mask, look.features
    beside = torch.nn.functional.max_pool2d(mask, 8) == 0  # where the head is not, the raw rendering has nothing
    small = torch.nn.functional.interpolate(beside.float(), size=features.shape[-2:]) > 0
    assert small.any() and (features * small).abs().max() == 0


def test_the_compositor_learns_and_nothing_else(networks, folder):
    settings = replace(STAGES["compositor"], weights=LossWeights(l1=1.0, matte=1.0))
    stage = CompositorStage(networks, settings, None, None)
    output = stage(LooksFolder(folder, 3)[WHOLE_EVERY], False)
    settings.weights.total(output.terms).backward()
    learned = {name for name, p in stage.networks.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned and all(name.startswith("generator.compositor.") for name in learned)
    stage.zero_grad()


def test_no_looks_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(InvertAvatarError, match=r"no looks in .*raise --looks"):
        LooksFolder(tmp_path, 1)
