"""`distill`: the generator learns people, and E_latent to say who they are, from pictures of many.

Shapes: B subjects, T targets, L w-layers.
"""

import torch
from torch import Tensor

from ...head.driven_head import DrivenHead
from ...inversion import Frame
from ..losses import generator_loss
from ..reconstruction import Truth, repeat
from .base import RealAndFake
from .latent import LatentStage


class DistillStage(LatentStage):
    """The generator and E_latent at once: of each person one picture gives w+, and another one, with its own pose and
    expression, is what w+ shall look like there, so that mesh and camera decide those and not w+. Beside these people
    the discriminator sees people who do not exist, whose w+ is as far from the mean as theirs.
    """

    def _judged(
        self, ws: Tensor, drawn: Frame, head: DrivenHead, goal: Truth
    ) -> tuple[dict[str, Tensor], RealAndFake | None]:
        """The discriminator on what LPIPS' network sees in frames, each over the background and where the target has
        pixels; the network's last layer is left to be measured with.
        """
        if not self.settings.weights.adversarial:
            return {}, None
        target, times = goal.over_background(), len(goal.picture) // len(ws)
        imagined = self._reconstruction.coarse(repeat(people_between(ws), times), head, target.shape[-1])
        pictures = (goal.over_background(frame.colour, frame.opacity) for frame in (drawn, imagined))
        with torch.no_grad():
            real = self._seen(target)
        fake = self._seen(torch.cat([target + (picture - target) * goal.valid for picture in pictures]))
        loss = generator_loss(self.discriminator.score(fake))
        return {"adversarial": loss}, RealAndFake(real, tuple(x.detach() for x in fake))

    def _seen(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.float() for x in self.lpips.activations(pictures)[:-1])


def people_between(ws: Tensor) -> Tensor:
    """As many codes again, drawn from the normal distribution that codes [B, L, w_dim] have: what the prior that is
    fitted to such codes (`prior_fit`) draws. One code alone stays as it is.
    """
    count, mean = len(ws), ws.mean(0, keepdim=True)
    mixture = torch.randn(count, count, device=ws.device) / max(count - 1, 1) ** 0.5
    return mean + (mixture @ (ws - mean).flatten(1)).view_as(ws)
