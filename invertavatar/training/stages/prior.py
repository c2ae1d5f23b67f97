"""`prior`: the animatable GAN."""

from typing import Any

import torch

from ..episodes import Episode
from ..reconstruction import truth
from .base import Stage, StageOutput, random_backgrounds, target_landmarks


class PriorStage(Stage):
    """The animatable GAN: z, and the poses and expressions of real faces, against their pictures (6.1).

    EG3D's density regularisation is left out: where the surface is the head model knows.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal, head = truth(episode, random_backgrounds(episode)), self._reconstruction.driven(episode)
        rotation: Any = head.head_to_torso
        z = torch.randn(len(rotation), self.generator.config.z_dim, device=rotation.device)
        ws = self.generator.mapping(z, rotation)
        self.generator.mapping_network.update_w_avg(ws.detach())
        drawn = self._reconstruction.coarse(ws, head, goal.picture.shape[-1])
        loss, inputs = self._adversarial(drawn, goal, *target_landmarks(episode))
        return StageOutput({"adversarial": loss}, inputs)
