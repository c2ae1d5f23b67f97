"""`compositor`: the last step of R alone."""

import torch

from ...inversion import Frame
from ...rendering.volume_renderer import Rendering
from ..looks import Looks
from .base import Stage, StageOutput


class CompositorStage(Stage):
    """The compositor alone, from what it looks at. Faces and identities are compared in whole frames, of which some of
    the steps are made.
    """

    def forward(self, episode: Looks, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        background = torch.rand(len(episode.angle), 3, 1, 1, device=episode.angle.device) * 2 - 1
        look, goal = episode.unpacked(background)
        colour, opacity = self.generator.compose(look, goal.picture.shape[-1])
        mask, depth = look.surface.mask, look.surface.depth
        drawn = Frame(colour, opacity, depth, Rendering(look.features, mask, depth))
        whole = goal.picture.shape[-1] == self.generator.config.image_resolution
        return StageOutput(self._compare(drawn, goal, episode.landmarks if whole else None))
