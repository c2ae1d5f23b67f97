"""The terms of the training losses (supplement 6.1, Eq. 2, Eq. 3; DESIGN 8).

Shapes: B batch, C channels, H W picture, V 478 landmarks.

Pictures are composited over a background before they are compared, and every term ignores places where the target has
no real pixels (`valid`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..metrics.identity import SFace


@dataclass(frozen=True)
class LossWeights:
    """What each term counts; 0 leaves it out."""

    l1: float = 1.0
    lpips: float = 0.0
    face: float = 0.0  # LPIPS of the face alone, see `face_crop`
    identity: float = 0.0  # cosine distance of identities, by SFace where the paper has ArcFace
    across: float = 0.0  # the same between a person and their picture moved by another person
    raw: float = 0.0  # I_raw
    matte: float = 0.0
    coarse: float = 0.0  # the coarse stage's own picture, which keeps w+ and the prior meaningful
    coarse_frame: float = 0.0  # the same as a frame: L1, LPIPS, matte, LPIPS of the face, identity
    planes: float = 0.0  # L_tri, on samples of the prior
    textures: float = 0.0  # L_tex, on samples of the prior
    features: float = 0.0  # L_raw of Eq. 3, on samples of the prior
    adversarial: float = 0.0
    latent_adversarial: float = 0.0
    colour: float = 0.0  # of G_tex itself against the face as the photos show it, which gives w+ a face to tell of
    deviation: float = 0.0  # e4e's penalty on what tells the layers of w+ apart; of torso poses, on their size
    consistency: float = 0.0  # of the colours that two pictures show at the same place of the head
    equivariance: float = 0.0  # of the torso pose: shoulders and hair moved on purpose are seen to have moved so

    def without_the_coarse_frame(self) -> "LossWeights":
        """The same without what is asked of w+ alone."""
        return replace(self, coarse=0.0, coarse_frame=0.0, colour=0.0, deviation=0.0)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of terms."""
        return reduce(torch.add, (getattr(self, name) * value for name, value in terms.items()))


def masked_l1(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of [B, C, H, W] over the valid places, [B, 1, H, W] in 0..1."""
    return ((prediction - target).abs() * valid).sum() / (valid.sum() * prediction.shape[1]).clamp(min=1)


def pyramid_l1(prediction: Tensor, target: Tensor, valid: Tensor, levels: int = 4) -> Tensor:
    """`masked_l1`, averaged over the picture and its halves: coarse levels see what is displaced, not just wrong."""
    loss = prediction.new_zeros(())
    for level in range(levels):
        if level:
            prediction, target, valid = (F.avg_pool2d(x, 2) for x in (prediction, target, valid))
        loss = loss + masked_l1(prediction, target, valid)
    return loss / levels


def perceptual(network: nn.Module, prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """LPIPS, with the target put in where it has no pixels of its own, so that nothing is asked there."""
    if valid is not None:
        prediction = target + (prediction - target) * valid
    return network(prediction, target).mean()


def identity_distance(
    network: SFace,
    prediction: Tensor,
    target: Tensor,
    landmarks: Tensor,
    target_landmarks: Tensor | None = None,
) -> Tensor:
    """1 - cosine of the identities in two pictures [B, 3, H, W] in -1..1; for the others see `SFace.embed`.

    Without `target_landmarks` both pictures take the same.
    """
    with torch.no_grad():
        goal = network.embed(target, landmarks if target_landmarks is None else target_landmarks)
    return (1 - (network.embed(prediction, landmarks) * goal).sum(1)).mean()


def generator_loss(logit: Tensor) -> Tensor:
    """Non-saturating loss of what wants to pass for real: [B, 1] logits of its pictures."""
    return F.softplus(-logit).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Non-saturating loss of a discriminator: logits [B, 1] of real and of made pictures."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1_penalty(logit: Tensor, inputs: Tensor) -> Tensor:
    """Squared gradient of the logits with respect to real inputs (R1), to be weighted by gamma / 2."""
    (gradient,) = torch.autograd.grad(logit.sum(), inputs, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
