"""A stage of training is a module: an episode in, the terms of its loss out.

Shapes: B subjects, N source photos, T targets, L w-layers, V vertices of the head model, S side of a picture.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...camera import project
from ...inversion import Frame, Networks
from ...metrics.aligned_face import face_crop
from ...rendering.resize import resize
from ..adversarial import Discriminator
from ..episodes import Episode
from ..losses import generator_loss, identity_distance, masked_l1, perceptual, pyramid_l1
from ..reconstruction import Reconstruction, Truth
from .settings import StageSettings


class RealAndFake(NamedTuple):
    """What a discriminator is to tell apart; each a tuple of the discriminator's inputs, without gradient."""

    real: tuple[Tensor, ...]
    fake: tuple[Tensor, ...]


@dataclass
class StageOutput:
    """Terms of the loss, not yet weighted, and the material for the discriminator's own step."""

    terms: dict[str, Tensor]
    inputs: RealAndFake | None = None


class Stage(nn.Module):
    """Base of the stages: holds the networks, and lets those parts learn that the settings name.

    Args:
        networks: All of them, on their device.
        settings: Of the stage.
        lpips: The perceptual network, or None where no term needs it.
        discriminator: The discriminator, or None where no term needs it.
        recognizer: `SFace`, or None where no term needs it.
    """

    coarse_only = False  # whether what learns is seen in the picture of w+ alone

    def __init__(
        self,
        networks: Networks,
        settings: StageSettings,
        lpips: nn.Module | None,
        discriminator: Discriminator | None,
        recognizer: nn.Module | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.networks: Any = networks.trainable
        self.lpips: Any = lpips
        self.recognizer: Any = recognizer
        self._discriminator: list[Any] = [discriminator]  # in a list: its parameters are not the stage's
        self._reconstruction = Reconstruction(networks)
        for name, parameter in self.networks.named_parameters():
            parameter.requires_grad_(name.startswith(settings.parts))

    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.networks.parameters() if parameter.requires_grad]

    @property
    def discriminator(self) -> Any:
        """The `Discriminator`; None where no term needs it."""
        return self._discriminator[0]

    @property
    def generator(self) -> Any:
        """The generator."""
        return self.networks["generator"]

    @abstractmethod
    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """The loss of one step; random numbers come from torch's global generator.

        Args:
            episode: On the networks' device.
            adversarial: Whether the adversarial terms count yet.
        """

    def _compare(self, drawn: Frame, goal: Truth, landmarks: Tensor | None) -> dict[str, Tensor]:
        """The terms between a picture and its target; landmarks [B T, V, 2] in the picture, None for a part of it."""
        weights, valid = self.settings.weights, goal.valid
        picture, target = goal.over_background(drawn.colour, drawn.opacity), goal.over_background()
        if picture.shape[-1] != target.shape[-1]:
            target, valid = resize(target, picture.shape[-1]), resize(valid, picture.shape[-1])
        terms = {"l1": pyramid_l1(picture, target, valid)}
        if weights.lpips:
            terms["lpips"] = perceptual(self.lpips, picture, target, valid)
        if weights.face and landmarks is not None:
            faces = (face_crop(x, landmarks) for x in (picture, target, valid.expand_as(picture)))
            terms["face"] = perceptual(self.lpips, *faces)
        if weights.identity and landmarks is not None:
            terms["identity"] = identity_distance(self.recognizer, picture, target, landmarks)
        if weights.matte:
            terms["matte"] = masked_l1(drawn.opacity, resize(goal.matte, picture.shape[-1]), valid)
        if weights.raw:
            terms["raw"] = masked_l1(*self._raw(drawn, goal))
        return terms

    def _raw(self, drawn: Frame, goal: Truth) -> tuple[Tensor, Tensor, Tensor]:
        """I_raw over the background, the target at its size, and where that is valid."""
        features, opacity = drawn.rendering.features[:, :3].float(), drawn.rendering.opacity
        raw = features + (1 - opacity) * goal.background
        small = raw.shape[-1]
        return raw, resize(goal.over_background(), small), resize(goal.valid, small)

    def _adversarial(self, drawn: Frame, goal: Truth, driven: Tensor, tracked: Tensor) -> tuple[Tensor, RealAndFake]:
        """The dual discriminator on pictures and raw renderings, each with its own landmark map."""
        raw, real_raw, _ = self._raw(drawn, goal)
        size = goal.picture.shape[-1]
        fake = (goal.over_background(drawn.colour, drawn.opacity), raw, self.discriminator.landmark_map(driven, size))
        real = (goal.over_background(), real_raw, self.discriminator.landmark_map(tracked, size))
        return generator_loss(self.discriminator.score(fake)), RealAndFake(real, tuple(x.detach() for x in fake))


def deviation(ws: Tensor) -> Tensor:
    """How far the layers of w+ [B, L, w_dim] lie from their mean: e4e's regulariser, keeping w+ near the prior's w."""
    return (ws - ws.mean(1, keepdim=True)).square().sum(-1).mean()


def random_backgrounds(episode: Episode) -> Tensor:
    """A random colour for each target, [B T, 3, 1, 1] in -1..1."""
    count = episode.driven.shape[0] * episode.driven.shape[1]
    return torch.rand(count, 3, 1, 1, device=episode.driven.device) * 2 - 1


def target_landmarks(episode: Episode) -> tuple[Tensor, Tensor]:
    """Landmarks [B T, 478, 2] in the targets, of the driven and of the tracked face."""
    rotation = episode.target_rotations.flatten(0, 1)
    driven, tracked = (project(x.flatten(0, 1), rotation)[..., :2] for x in (episode.driven, episode.tracked))
    return driven, tracked
