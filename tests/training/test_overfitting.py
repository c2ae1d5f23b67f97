"""Every stage learns: shown the same person again and again, its loss falls."""

from dataclasses import replace

import pytest
import torch

from invertavatar.inversion import Networks
from invertavatar.scripts.prepare_dataset import prepare
from invertavatar.scripts.smoke import EXAMPLES
from invertavatar.training.adversarial import Discriminator
from invertavatar.training.episodes import Episodes, EpisodeSizes
from invertavatar.training.looks import WHOLE_EVERY, LooksFolder, make_looks
from invertavatar.training.reconstruction import Reconstruction
from invertavatar.training.shards import Shards
from invertavatar.training.stages import STAGE_CLASSES, STAGES
from invertavatar.training.trainer import BETAS, MAX_GRADIENT_NORM
from tests.tiny import tiny_networks

SIZE, STEPS = 64, 14
# Times the stage's own learning rate, as there are so few steps; and the share of the loss that may be left. Encoders
# learn from a person of the prior; what they cannot change, the frozen rest, keeps most of their loss.
STAGE = {
    "prior": (4, 0.2),
    "latent": (20, 0.65),
    "distill": (8, 0.65),
    "oneshot": (30, 0.86),
    "recurrent": (30, 0.88),
    "posture": (3, 0.75),
    "compositor": (10, 0.82),
    "joint": (8, 0.72),
}


@pytest.fixture(scope="module")
def anna(tmp_path_factory) -> Shards:
    """Two photos of her."""
    folder = tmp_path_factory.mktemp("shards")
    prepare([EXAMPLES / name for name in ("anna_1.jpg", "anna_2.jpg")], folder, size=SIZE, workers=1)
    return Shards([folder])


def test_each_stage_is_tried():
    assert STAGE.keys() == STAGES.keys()


@pytest.mark.parametrize("name", STAGE)
def test_a_stage_learns_one_person_by_heart(anna, head_model, tmp_path, name):
    faster, left = STAGE[name]
    settings = STAGES[name]
    # Without networks that judge pictures, which the package lacks, and without discriminators, which learn too.
    weights = replace(settings.weights, lpips=0.0, face=0.0, latent_adversarial=0.0)
    if name != "prior":
        weights = replace(weights, adversarial=0.0)
    settings = replace(settings, weights=weights, synthetic_subjects=float(settings.synthetic_subjects > 0))
    networks = Networks(**tiny_networks(image_resolution=SIZE), head_model=head_model)
    count = 2 if name == "recurrent" else 1
    episodes = Episodes(anna, head_model, EpisodeSizes(1, (count, count), 1))
    episode = episodes[0]
    if name == "compositor":
        make_looks(Reconstruction(networks), episodes, 1, tmp_path)
        episode = LooksFolder(tmp_path, 3)[WHOLE_EVERY]
    torch.manual_seed(0)
    stage = STAGE_CLASSES[name](
        networks, settings, None, Discriminator.dual(SIZE) if weights.adversarial else None
    ).train()
    optimizer = torch.optim.AdamW(stage.learning(), faster * settings.learning_rate, BETAS)
    losses = []
    for _ in range(STEPS):
        torch.manual_seed(0)  # the same background, and the same person of the prior
        loss = weights.total(stage(episode, True).terms)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.learning(), MAX_GRADIENT_NORM)
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < left * losses[0], losses
