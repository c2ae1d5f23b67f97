"""Discriminators as training uses them: their own loss with R1, and the logits that the networks try to win (6.1, 6.2).

Shapes: B batch, V landmarks, S side of a picture.
"""

from torch import Tensor, nn

from ..models.discriminators import DualDiscriminator, FeatureDiscriminator, LatentDiscriminator, draw_landmark_map
from .losses import discriminator_loss, r1_penalty

R1_GAMMA, R1_EVERY = 1.0, 16  # as in EG3D and StyleGAN2: lazily, every so many steps
FIRST_WIDTH, WIDEST = 16, 128  # channels at the size of the picture, doubled with each halving


class Discriminator(nn.Module):
    """A discriminator whose forward pass is its own training loss.

    Args:
        network: The discriminator; called with the tensors of one tuple.
        penalised: Whether R1 holds it; spectral norms may do so instead.
    """

    def __init__(self, network: nn.Module, penalised: bool = True):
        super().__init__()
        self.network, self.penalised = network, penalised

    @classmethod
    def dual(cls, image_size: int) -> "Discriminator":
        """The landmark-conditioned dual discriminator, light, for pictures of a power of two."""
        resolutions = [image_size >> k for k in range(image_size.bit_length()) if image_size >> k >= 4]
        return cls(DualDiscriminator({r: min(FIRST_WIDTH * image_size // r, WIDEST) for r in resolutions}))

    @classmethod
    def of_features(cls) -> "Discriminator":
        """The one on what LPIPS' network sees."""
        return cls(FeatureDiscriminator(), penalised=False)

    @classmethod
    def latent(cls, w_dim: int) -> "Discriminator":
        """D_W."""
        return cls(LatentDiscriminator(w_dim))

    def forward(self, real: tuple[Tensor, ...], fake: tuple[Tensor, ...], penalise: bool) -> Tensor:
        """The discriminator's loss.

        Args:
            real: What the network takes, without gradient.
            fake: Likewise.
            penalise: Add R1, where the network is held by it; a training loop asks for it every `R1_EVERY` steps.
        """
        penalise = penalise and self.penalised
        real = tuple(x.detach().requires_grad_(penalise) for x in real)
        logit = self.network(*real)
        loss = discriminator_loss(logit, self.network(*fake))
        if penalise:
            loss = loss + r1_penalty(logit, real[0]) * (R1_GAMMA / 2 * R1_EVERY)
        return loss

    def score(self, fake: tuple[Tensor, ...]) -> Tensor:
        """Logits [B, 1] for the networks' own loss: gradients reach the pictures and not the discriminator."""
        self.requires_grad_(False)
        logit = self.network(*fake)
        self.requires_grad_(True)
        return logit

    @staticmethod
    def landmark_map(landmarks: Tensor, size: int) -> Tensor:
        """Landmarks [B, V, 2] in -1..1 -> what the dual discriminator takes, [B, 6, S, S]."""
        return draw_landmark_map(landmarks, size)


def needs_penalty(step: int) -> bool:
    """Whether R1 is due at a step."""
    return step % R1_EVERY == 0
