"""`latent`: E_latent, which gives a photo its w+."""

import torch

from ..episodes import Episode
from ..losses import generator_loss
from ..reconstruction import repeat, truth
from .base import RealAndFake, Stage, StageOutput, deviation, random_backgrounds, target_landmarks


class LatentStage(Stage):
    """E_latent: the picture of w+ alone against the photo (6.2.1, Eq. 2)."""

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal, head = truth(episode, random_backgrounds(episode)), self._reconstruction.driven(episode)
        ws = self._reconstruction.code(self._reconstruction.views(episode)[0])
        times = episode.driven.shape[1]
        drawn = self._reconstruction.coarse(repeat(ws, times), head, goal.picture.shape[-1])
        terms = self._compare(drawn, goal, target_landmarks(episode)[0]) | {"deviation": deviation(ws)}
        inputs = None
        if adversarial and self.settings.weights.latent_adversarial:
            with torch.no_grad():
                z = torch.randn(len(ws), self.generator.config.z_dim, device=ws.device)
                real = self.generator.mapping(z)
            terms["latent_adversarial"] = generator_loss(self.discriminator.score((ws,)))
            inputs = RealAndFake((real,), (ws.detach(),))
        return StageOutput(terms, inputs)
