"""The stages of training: the paper's four (supplement 6) and `joint`, which trains the compact networks end to end.

Shapes: B people, N source photos, T targets, L w-layers, S side of a picture.

A stage is a module: an episode in, the terms of its loss out. What differs between stages stands in `STAGES`.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..camera import pixel_centres, project
from ..inversion import Frame, Inversion, Networks, View, posture_of
from ..models.generator import CanonicalFeatures
from ..rendering.observation import SHAPE_SIZE, observe_relief, observed_texture, seen_from_front, surface_heights
from ..rendering.resize import resize
from ..rendering.rest_pose import displacement, to_rest
from .critics import Critic
from .episodes import Episode
from .losses import (
    LossWeights,
    face_crop,
    fooling_loss,
    identity_distance,
    masked_l1,
    perceptual,
    pyramid_l1,
    roughness,
)
from .reconstruction import Reconstruction, Truth, repeat, target_views, truth, views

# How far shoulders and hair of a clip lie off, as the best fit for each frame has it: see `rest_pose.POSTURE_NAMES`.
POSTURE_SPREAD = (0.05, 0.045, 0.055, 0.07, 0.05, 0.05, 0.02, 0.025, 0.035, 0.03, 0.025, 0.025)
IMAGINED_TRUNCATION = 0.7  # of the prior's samples that the encoders learn from


@dataclass(frozen=True)
class StageSettings:
    """What a stage trains, on what, and with which losses.

    Attributes:
        parts: Prefixes of the names of the parameters that learn; the others stay as they are.
        weights: Of the loss terms.
        learning_rate: Of the networks.
        critic_learning_rate: Of the discriminator.
        photos: The smallest and the largest N.
        targets: T.
        imagined: Share of the episodes whose person is a sample of the prior.
        adversarial_from: Step from which the adversarial terms count.
    """

    parts: tuple[str, ...]
    weights: LossWeights
    learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-3
    photos: tuple[int, int] = (1, 1)
    targets: int = 1
    imagined: float = 0.0
    adversarial_from: int = 0


# Eq. 3, for E_tex and E_tri in both settings.
_ENCODER_WEIGHTS = LossWeights(l1=1.0, lpips=1.0, planes=0.001, textures=0.001, features=1.0, adversarial=0.1)
_ENCODERS = ("latent_encoder", "texture_encoder", "triplane_encoder.unet", "triplane_encoder.relief_network")
_DECODERS = tuple(f"{encoder}.unet.{part}" for encoder in ("texture_encoder", "triplane_encoder")
                  for part in ("decoder", "gru", "heads"))  # fmt: skip

STAGES: dict[str, StageSettings] = {
    # 6.1: the animatable GAN. Without equalised learning rates EG3D's 2.5e-3 would diverge.
    "prior": StageSettings(("generator",), LossWeights(l1=0.0, adversarial=1.0), 5e-4, 5e-4),
    # 6.2.1 with Eq. 2; the deviation is e4e's.
    "latent": StageSettings(
        ("latent_encoder",),
        LossWeights(l1=1.0, lpips=0.5, face=0.25, latent_adversarial=1.0, deviation=2e-4),
        1e-4,
        1e-4,
    ),
    # 6.2.2 with Eq. 3
    "oneshot": StageSettings(_ENCODERS[1:], _ENCODER_WEIGHTS, imagined=0.5, adversarial_from=100_000),
    # 6.2.3: the encoding backbones stay fixed.
    "recurrent": StageSettings(
        _DECODERS, _ENCODER_WEIGHTS, photos=(4, 32), targets=4, imagined=0.5, adversarial_from=100_000
    ),
    # Not in the paper: the shape of the head (DESIGN 5.2), without rendering anything.
    "relief": StageSettings(
        ("triplane_encoder.relief_network",), LossWeights(l1=0.0, consistency=1.0, roughness=20.0), 1e-3, targets=2
    ),
    # Not in the paper: how shoulders and hair lie, likewise.
    "posture": StageSettings(
        ("triplane_encoder.posture_network",),
        LossWeights(l1=0.0, consistency=3.0, equivariance=0.5, deviation=0.01),
        1e-3,
        targets=3,
    ),
    # Not in the paper: what draws a frame from its features, with all else as it is; minutes on a CPU.
    "drawing": StageSettings(
        ("generator.super_resolution", "generator.renderer"),
        LossWeights(l1=3.0, lpips=0.7, face=0.3, raw=0.3, matte=0.5),
        3e-4,
        photos=(1, 2),
        targets=2,
    ),
    # DESIGN 8
    "joint": StageSettings(
        (*_ENCODERS, "generator"),
        LossWeights(
            l1=3.0, lpips=0.7, face=0.3, raw=0.3, matte=0.5, coarse=0.2, colour=0.3, deviation=2e-4, adversarial=0.02
        ),
        4e-4,
        4e-4,
        photos=(1, 4),
        targets=2,  # photos cost more than targets do
        adversarial_from=10_000,
    ),
}


class Judged(NamedTuple):
    """What a critic is to tell apart; each a tuple of the discriminator's inputs, without gradient."""

    real: tuple[Tensor, ...]
    fake: tuple[Tensor, ...]


@dataclass
class StageOutput:
    """Terms of the loss, not yet weighted, and the material for the critic's own step."""

    terms: dict[str, Tensor]
    judged: Judged | None = None
    measures: dict[str, Tensor] = field(default_factory=dict)  # worth a column of the log, no part of the loss


class Stage(nn.Module):
    """Base of the stages: holds the networks, and lets those parts learn that the settings name.

    Args:
        networks: All of them, on their device.
        settings: Of the stage.
        lpips: The perceptual network, or None where no term needs it.
        critic: The discriminator, or None where no term needs it.
        detail_resolution: See `Reconstruction`.
        recognizer: `SFace`, or None where no term needs it.
    """

    def __init__(
        self,
        networks: Networks,
        settings: StageSettings,
        lpips: nn.Module | None,
        critic: Critic | None,
        detail_resolution: int | None,
        recognizer: nn.Module | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.networks = networks.trainable
        self.lpips, self.recognizer = lpips, recognizer
        self._critic = [critic]  # in a list: its parameters are not the stage's
        self._reconstruction = Reconstruction(networks, detail_resolution)
        for name, parameter in self.networks.named_parameters():
            parameter.requires_grad_(name.startswith(settings.parts))

    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.networks.parameters() if parameter.requires_grad]

    @property
    def critic(self) -> Critic | None:
        """The discriminator."""
        return self._critic[0]

    @property
    def generator(self):
        """The generator."""
        return self.networks["generator"]

    @abstractmethod
    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """The loss of one step; random numbers come from torch's global generator.

        Args:
            episode: On the networks' device.
            adversarial: Whether the adversarial terms count yet.
        """

    def _compare(self, drawn: Frame, goal: Truth, landmarks: Tensor) -> dict[str, Tensor]:
        """The terms between a picture and its target; landmarks [B T, V, 2] in the picture."""
        weights, valid = self.settings.weights, goal.valid
        picture, target = goal.over_background(drawn.colour, drawn.opacity), goal.over_background()
        if picture.shape[-1] != target.shape[-1]:
            target, valid = resize(target, picture.shape[-1]), resize(valid, picture.shape[-1])
        terms = {"l1": pyramid_l1(picture, target, valid)}
        if weights.lpips:
            terms["lpips"] = perceptual(self.lpips, picture, target, valid)
        if weights.face:
            faces = (face_crop(x, landmarks) for x in (picture, target, valid.expand_as(picture)))
            terms["face"] = perceptual(self.lpips, *faces)
        if weights.identity:
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

    def _judge(self, drawn: Frame, goal: Truth, driven: Tensor, tracked: Tensor) -> tuple[Tensor, Judged]:
        """The dual discriminator on pictures and raw renderings, each with its own landmark map."""
        raw, real_raw, _ = self._raw(drawn, goal)
        size = goal.picture.shape[-1]
        fake = (goal.over_background(drawn.colour, drawn.opacity), raw, self.critic.landmark_map(driven, size))
        real = (goal.over_background(), real_raw, self.critic.landmark_map(tracked, size))
        return fooling_loss(self.critic.judge(fake)), Judged(real, tuple(x.detach() for x in fake))


class PriorStage(Stage):
    """The animatable GAN: z, and the poses and expressions of real faces, against their pictures (6.1).

    EG3D's density regularisation is left out: the mesh-guided density gives what it is for.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal = truth(episode, _backgrounds(episode))
        rotation, driven, landmarks, tracked = _targets(episode)
        z = torch.randn(len(rotation), self.generator.config.z_dim, device=rotation.device)
        ws = self.generator.mapping(z, rotation)
        self.generator.mapping_network.update_w_avg(ws.detach())
        neutral = repeat(episode.neutrals[:, -1], episode.driven.shape[1])
        drawn = self._reconstruction.coarse(ws, driven, neutral, rotation, goal.picture.shape[-1])
        loss, judged = self._judge(drawn, goal, landmarks, tracked)
        return StageOutput({"adversarial": loss}, judged)


class LatentStage(Stage):
    """E_latent: the picture of w+ alone against the photo (6.2.1, Eq. 2)."""

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal = truth(episode, _backgrounds(episode))
        rotation, driven, landmarks, _ = _targets(episode)
        photo = views(episode)[0].photo
        ws = self.networks["latent_encoder"](resize(photo, self.networks["latent_encoder"].config.image_size))
        times = episode.driven.shape[1]
        neutral = repeat(episode.neutrals[:, 0], times)
        drawn = self._reconstruction.coarse(repeat(ws, times), driven, neutral, rotation, goal.picture.shape[-1])
        terms = self._compare(drawn, goal, landmarks) | {"deviation": deviation(ws)}
        judged = None
        if adversarial and self.settings.weights.latent_adversarial:
            with torch.no_grad():
                z = torch.randn(len(ws), self.generator.config.z_dim, device=ws.device)
                real = self.generator.mapping(z)
            terms["latent_adversarial"] = fooling_loss(self.critic.judge((ws,)))
            judged = Judged((real,), (ws.detach(),))
        return StageOutput(terms, judged)


class ReconstructionStage(Stage):
    """`oneshot`, `recurrent` and `joint`: N photos of a person against other pictures of them (6.2.2, 6.2.3, Eq. 3)."""

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        weights, reconstruction = self.settings.weights, self._reconstruction
        photos, goal = views(episode), truth(episode, _backgrounds(episode))
        rotation, driven, landmarks, tracked = _targets(episode)
        times = episode.driven.shape[1]
        neutral = repeat(episode.neutrals[:, -1], times)
        posture, imagined = None, None
        if self.settings.imagined and torch.rand(()) < self.settings.imagined:
            photos, imagined = self._imagine(photos, driven, neutral, rotation, goal)
            goal = goal._replace(picture=imagined.picture, matte=imagined.matte, valid=torch.ones_like(goal.valid))
            tracked = landmarks
        else:
            photos = [reconstruction.posed(view) for view in photos]
            posture = reconstruction.posed(target_views(episode)).posture

        state = reconstruction.fuse(photos, episode.sharpness)
        features, detail = reconstruction.features(state)
        ws = repeat(state.ws, times)
        drawn = reconstruction.draw(
            ws,
            repeat(features, times),
            repeat(detail, times),
            driven,
            neutral,
            rotation,
            goal.picture.shape[-1],
            jitter=True,
            posture=posture,
        )
        terms = self._compare(drawn, goal, landmarks)
        if weights.coarse:
            small = self.generator.config.neural_resolution // 2  # enough for what w+ can tell
            coarse = reconstruction.coarse_rendering(ws, driven, neutral, rotation, small)
            picture = goal.over_background(coarse.features[:, :3], coarse.opacity)
            terms["coarse"] = pyramid_l1(picture, resize(goal.over_background(), small), resize(goal.valid, small))
        if weights.across and len(state.ws) > 1:
            terms["across"] = self._across(state, features, detail, photos[0], episode)
        if weights.colour:
            terms["colour"] = self._prior_colour(state)
        if weights.deviation:
            terms["deviation"] = deviation(state.ws)
        if imagined is not None:
            skipped = 3 if self.generator.config.observed_colour else 0  # channels that hold the photos' own colours
            terms["planes"] = (features.planes - imagined.features.planes)[:, skipped:].abs().mean()
            terms["textures"] = torch.stack([
                (texture - imagined.features.textures[r])[:, skipped:].abs().mean()
                for r, texture in features.textures.items()
            ]).mean()  # fmt: skip
            terms["features"] = (drawn.rendering.features - imagined.raw).abs().mean()
        judged = None
        if adversarial and weights.adversarial:
            terms["adversarial"], judged = self._judge(drawn, goal, landmarks, tracked)
        return StageOutput(terms, judged, {"gate": drawn.gate.detach().mean()})

    def _across(
        self, state: Inversion, features: CanonicalFeatures, detail: Tensor | None, photo: View, episode: Episode
    ) -> Tensor:
        """Whether people moved by one another are still themselves: each takes the first target's pose and movement of
        the next in the batch.
        """
        neutral, size = episode.neutrals[:, -1], episode.targets.shape[-1]
        driven = neutral + (episode.driven[:, 0] - neutral).roll(1, 0)
        rotation = episode.target_rotations[:, 0].roll(1, 0)
        moved = {"jitter": True, "posture": photo.posture}
        drawn = self._reconstruction.draw(state.ws, features, detail, driven, neutral, rotation, size, **moved)
        landmarks, own = (project(*face)[..., :2] for face in ((driven, rotation), (photo.vertices, photo.rotation)))
        return identity_distance(self.recognizer, drawn.colour, photo.photo * photo.matte, landmarks, own)

    def _prior_colour(self, state: Inversion) -> Tensor:
        """How far the colours of G_tex are from those that the photos show."""
        textures = self.generator.texture_backbone(state.ws)
        prior = textures[max(textures)][:, :3].float()
        observed = observed_texture(state.texture_sum, self._reconstruction.atlas(state.texture_sum.shape[-1]))
        target, seen = (resize(x, prior.shape[-1]).detach() for x in (observed.texture, observed.weight))
        return pyramid_l1(prior, target, seen)

    @torch.no_grad()
    def _imagine(
        self, photos: list[View], driven: Tensor, neutral: Tensor, rotation: Tensor, goal: Truth
    ) -> tuple[list[View], "Imagined"]:
        """People of the prior in the poses and expressions of an episode (6.2.2, 6.2.3)."""
        z = torch.randn(len(photos[0].photo), self.generator.config.z_dim, device=rotation.device)
        ws = self.generator.mapping(z, truncation_psi=IMAGINED_TRUNCATION)
        size, coarse = goal.picture.shape[-1], self._reconstruction.coarse
        background = goal.background[:: len(rotation) // len(ws)]
        made = []
        for view in photos:
            drawn = coarse(ws, view.vertices, view.neutral, view.rotation, size)
            picture = drawn.colour + (1 - drawn.opacity) * background
            inside = torch.ones_like(view.inside)
            made.append(view._replace(photo=picture.clamp(-1, 1), matte=drawn.opacity, inside=inside))
        times = len(rotation) // len(ws)
        drawn = coarse(repeat(ws, times), driven, neutral, rotation, size)
        picture = drawn.colour / drawn.opacity.clamp(min=1e-3)
        return made, Imagined(
            self.generator.canonical(ws), drawn.rendering.features, picture.clamp(-1, 1), drawn.opacity
        )


class ReliefStage(Stage):
    """The relief of a head: right where two pictures of a person, brought to the frontal plane, show the same colours.

    No picture is rendered, so that it learns from many pairs a second.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        encoder, times = self.networks["triplane_encoder"], episode.driven.shape[1]
        head = (self._reconstruction.networks.head_model.chart, self.generator.config.window)
        photo, target = views(episode)[0], target_views(episode)
        relief = repeat(observe_relief(encoder.relief, photo, *head), times)
        first, other = (self._from_front(view, relief, head) for view in (repeat(photo, times), target))
        seen = first[1] * other[1]
        return StageOutput({"consistency": pyramid_l1(first[0], other[0], seen), "roughness": roughness(relief)})

    def _from_front(self, view: View, relief: Tensor, head: tuple) -> tuple[Tensor, Tensor]:
        """Colours of a crop in the frontal plane, and how far it shows each place of the head."""
        chart, _ = head
        closed = chart.close(view.vertices, view.neutral)
        heights = surface_heights(view, closed, SHAPE_SIZE, *head, relief)
        colours, matte, facing, _ = seen_from_front(view, heights)
        return colours, (matte * facing.sqrt()).detach()


class PostureStage(Stage):
    """The posture of a person: right where shoulders and hair of one picture, moved by the difference of the two
    postures, lie on those of the other. No picture is rendered.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        photo, target, times = views(episode)[0], target_views(episode), episode.driven.shape[1]
        networks = self._reconstruction.networks
        one, other = posture_of(networks, photo), posture_of(networks, target)
        pair = self._seen(photo, times), self._seen(target)
        apart = repeat(one, times) - other
        # Only the difference counts, so that nothing is gained by shrinking what there is to compare.
        consistency = sum(self._difference(*pair, *moved) for moved in ((apart, None), (None, -apart))) / 2
        change = torch.randn_like(other) * other.new_tensor(POSTURE_SPREAD)
        found = posture_of(networks, moved_on_purpose(target, change)) - other
        equivariance = ((found - change).abs() / other.new_tensor(POSTURE_SPREAD)).mean()
        terms = {
            "consistency": consistency,
            "equivariance": equivariance,
            "deviation": (other / other.new_tensor(POSTURE_SPREAD)).square().mean(),
        }
        return StageOutput(terms)

    @torch.no_grad()
    def _seen(self, view: View, times: int = 1) -> tuple[View, Tensor]:
        """A view and its surface, each of them `times` times in a row."""
        head = (self._reconstruction.networks.head_model.chart, self.generator.config.window)
        relief = observe_relief(self.networks["triplane_encoder"].relief, view, *head)
        heights = surface_heights(view, head[0].close(view.vertices, view.neutral), SHAPE_SIZE, *head, relief)
        return repeat(view, times), repeat(heights, times)

    def _difference(self, first: tuple, other: tuple, first_posture: Tensor | None, other_posture: Tensor | None):
        """Of two views with their surfaces in the frontal plane."""
        looks, shown = [], 1.0
        for (view, heights), posture in ((first, first_posture), (other, other_posture)):
            colours, matte, facing, inside = seen_from_front(view._replace(posture=posture), heights)
            looks.append(torch.cat([colours * matte, matte], 1))
            shown = shown * (inside * (0.25 + facing)).detach()
        return pyramid_l1(*looks, shown)


def moved_on_purpose(view: View, posture: Tensor) -> View:
    """A picture in which shoulders and hair lie otherwise by [B, 12], as seen from where the head is at rest."""
    size = view.photo.shape[-1]
    right, up = pixel_centres(size, posture.device)
    places = torch.stack([right, up], -1).view(1, -1, 2).expand(len(posture), -1, -1)
    rest = to_rest(F.pad(places, (0, 1)) @ view.rotation, view.rotation)[..., :2]  # as if all lay in one plane
    still = torch.zeros_like(posture[:, :6])
    shoulders = displacement(rest, torch.cat([posture[:, :6], still], 1))
    hair = displacement(rest, torch.cat([still, posture[:, 6:]], 1))
    source = places - shoulders - hair @ view.rotation[:, :2, :2].mT
    grid = torch.stack([source[..., 0], -source[..., 1]], -1).unflatten(1, (size, size))
    moved = (F.grid_sample(x, grid, padding_mode="border", align_corners=False) for x in view[:3])
    return view._replace(photo=next(moved), matte=next(moved), inside=next(moved))


class Imagined(NamedTuple):
    """What the prior knows of its own samples."""

    features: CanonicalFeatures  # of B people
    raw: Tensor  # [B T, D, h, w]
    picture: Tensor  # [B T, 3, S, S] in -1..1
    matte: Tensor  # [B T, 1, S, S] in 0..1


STAGE_CLASSES: dict[str, type[Stage]] = {
    "prior": PriorStage,
    "latent": LatentStage,
    "oneshot": ReconstructionStage,
    "recurrent": ReconstructionStage,
    "relief": ReliefStage,
    "posture": PostureStage,
    "drawing": ReconstructionStage,
    "joint": ReconstructionStage,
}


def deviation(ws: Tensor) -> Tensor:
    """How far the layers of w+ [B, L, w_dim] lie from their mean: e4e's regulariser, keeping w+ near the prior's w."""
    return (ws - ws.mean(1, keepdim=True)).square().sum(-1).mean()


def _backgrounds(episode: Episode) -> Tensor:
    """A random colour for each target, [B T, 3, 1, 1] in -1..1."""
    count = episode.driven.shape[0] * episode.driven.shape[1]
    return torch.rand(count, 3, 1, 1, device=episode.driven.device) * 2 - 1


def _targets(episode: Episode) -> tuple[Tensor, ...]:
    """Rotation [B T, 3, 3], driven face [B T, V, 3], landmarks [B T, V, 2] of the driven and of the tracked face."""
    rotation, driven = episode.target_rotations.flatten(0, 1), episode.driven.flatten(0, 1)
    tracked = episode.tracked.flatten(0, 1)
    return rotation, driven, project(driven, rotation)[..., :2], project(tracked, rotation)[..., :2]
