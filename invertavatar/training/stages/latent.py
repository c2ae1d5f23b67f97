"""`latent`: E_latent, which gives a photo its w+.

Shapes: B subjects, L w-layers.
"""

import torch
from torch import Tensor

from ...head.driven_head import DrivenHead
from ...inversion import Frame
from ..episodes import Episode
from ..losses import generator_loss
from ..reconstruction import Truth, repeat, truth
from .base import RealAndFake, Stage, StageOutput, deviation, random_backgrounds, target_landmarks


class LatentStage(Stage):
    """E_latent: the picture of w+ alone against the photo (6.2.1, Eq. 2)."""

    coarse_only = True

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal, head = truth(episode, random_backgrounds(episode)), self._reconstruction.driven(episode)
        ws = self._reconstruction.code(self._reconstruction.views(episode)[0])
        drawn = self._reconstruction.coarse(repeat(ws, episode.driven.shape[1]), head, goal.picture.shape[-1])
        terms = self._compare(drawn, goal, target_landmarks(episode)[0]) | {"deviation": deviation(ws)}
        judged, inputs = self._judged(ws, drawn, head, goal) if adversarial else ({}, None)
        return StageOutput(terms | judged, inputs)

    def _judged(
        self, ws: Tensor, drawn: Frame, head: DrivenHead, goal: Truth
    ) -> tuple[dict[str, Tensor], RealAndFake | None]:
        """D_W on codes [B, L, w_dim]."""
        if not self.settings.weights.latent_adversarial:
            return {}, None
        with torch.no_grad():
            z = torch.randn(len(ws), self.generator.config.z_dim, device=ws.device)
            real = self.generator.mapping(z)
        loss = generator_loss(self.discriminator.score((ws,)))
        return {"latent_adversarial": loss}, RealAndFake((real,), (ws.detach(),))
