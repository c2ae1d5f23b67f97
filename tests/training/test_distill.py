"""The stage `distill`: what its discriminator sees, and whom it imagines."""

from dataclasses import replace

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.inversion import Networks
from invertavatar.metrics.perceptual import LPIPS
from invertavatar.training.adversarial import Discriminator
from invertavatar.training.episodes import Episodes, EpisodeSizes
from invertavatar.training.losses import discriminator_loss
from invertavatar.training.runs import StageOptions, train_stage
from invertavatar.training.shards import Shards, pack
from invertavatar.training.stages import STAGES
from invertavatar.training.stages.distill import DistillStage, people_between
from invertavatar.training.trainer import RunSettings
from tests.tiny import tiny_networks
from tests.training.test_shards import made_face

SIZE = 64


@pytest.fixture
def data(tmp_path):
    """Three people, two pictures each."""
    pack([made_face(f"p{i}", f"p{i}_{k}", k, "views", 12.0 * k, seed=i) for i in range(3) for k in range(2)], tmp_path)
    return Shards([tmp_path])


@pytest.fixture
def stage(head_model):
    torch.manual_seed(0)
    weights = replace(STAGES["distill"].weights, lpips=0.0, face=0.0)
    networks = Networks(**tiny_networks(image_resolution=SIZE, output_gain=0.1), head_model=head_model)
    return DistillStage(networks, replace(STAGES["distill"], weights=weights), LPIPS(), Discriminator.of_features())


def test_people_between_others_are_spread_as_they_are():
    torch.manual_seed(0)
    ws = torch.randn(6, 3, 8) * torch.linspace(0.1, 2, 8) + 5
    drawn = torch.cat([people_between(ws) for _ in range(2000)])
    torch.testing.assert_close(drawn.mean(0), ws.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.flatten(1).T.cov(), ws.flatten(1).T.cov(), atol=0.4, rtol=0)
    alone = ws[:1]
    assert torch.equal(people_between(alone), alone)


@torch.enable_grad()
def test_the_discriminator_sees_inverted_and_imagined_people_and_teaches_both_networks(stage, data, head_model):
    episode = Episodes(data, head_model, EpisodeSizes(2, (1, 1), 1))[0]
    output = stage(episode, True)
    real, fake = output.inputs
    assert [x.shape[0] for x in real] == [2] * 4 and [x.shape[0] for x in fake] == [4] * 4
    assert [x.shape[1] for x in fake] == [64, 192, 384, 256]
    assert not any(x.requires_grad for x in (*real, *fake))
    output.terms["adversarial"].backward()
    learned = {name.split(".")[0] for name, p in stage.networks.named_parameters() if p.grad is not None}
    assert learned == {"latent_encoder", "generator"}
    assert stage(episode, False).inputs is None and "adversarial" not in stage(episode, False).terms


@torch.enable_grad()
def test_the_discriminator_learns_to_tell_them_apart(stage, data, head_model):
    inputs = stage(Episodes(data, head_model, EpisodeSizes(2, (1, 1), 1))[0], True).inputs
    optimizer = torch.optim.Adam(stage.discriminator.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = stage.discriminator(*inputs, True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Spectral norms hold it: no R1, though it was asked for.
    logits = [stage.discriminator.network(*x) for x in inputs]
    assert losses[-1] == pytest.approx(discriminator_loss(*logits).item(), rel=0.2)
    assert losses[-1] < 0.8 * losses[0]


def test_without_the_network_to_see_by_a_sentence_says_so(head_model, data, tmp_path):
    networks = Networks(**tiny_networks(image_resolution=SIZE), head_model=head_model)
    with pytest.raises(InvertAvatarError, match="LPIPS"):
        train_stage(
            "distill",
            STAGES["distill"],
            networks,
            data,
            1,
            RunSettings(tmp_path),
            StageOptions(held_out=0.0, on_cpu=True),
        )
