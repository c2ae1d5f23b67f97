"""The stages of training: the paper's four (supplement 6) and `joint`, which trains the compact networks end to end.

Shapes: B subjects, N source photos, T targets, L w-layers, V vertices of the head model, S side of a picture.

A stage is a module: an episode in, the terms of its loss out. What differs between stages stands in `STAGES`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..camera import pixel_centres, project
from ..head.driven_head import DrivenHead, dressed_head
from ..head.rest_pose import displacement, to_rest_pose
from ..inversion import Frame, Inversion, Networks, torso_pose_of
from ..metrics.aligned_face import face_crop
from ..models.generator import CanonicalFeatures
from ..rendering.frontal_plane import canonicalize
from ..rendering.observation import View, observed_texture
from ..rendering.resize import resize
from ..rendering.volume_renderer import Rendering
from .adversarial import Discriminator
from .episodes import Episode
from .looks import FRAMES_OF_A_LOOK, Looks
from .losses import (
    LossWeights,
    generator_loss,
    identity_distance,
    masked_l1,
    perceptual,
    pyramid_l1,
)
from .reconstruction import Crop, Reconstruction, Truth, photo_crops, repeat, target_crops, truth

# How far shoulders and hair of a clip lie off, as the best fit for each frame has it: see `rest_pose.TORSO_POSE_NAMES`.
POSTURE_SPREAD = (0.05, 0.045, 0.055, 0.07, 0.05, 0.05, 0.02, 0.025, 0.035, 0.03, 0.025, 0.025)
COMPARED_SIZE = 128  # of the frontal plane in which torso poses are compared
SYNTHETIC_TRUNCATION = 0.7  # of the prior's samples that the encoders learn from


@dataclass(frozen=True)
class StageSettings:
    """What a stage trains, on what, and with which losses.

    Attributes:
        parts: Prefixes of the names of the parameters that learn; the others stay as they are.
        weights: Of the loss terms.
        learning_rate: Of the networks.
        discriminator_learning_rate: Of the discriminator.
        photos: The smallest and the largest N.
        targets: T.
        synthetic_subjects: Share of the episodes whose person is a sample of the prior.
        adversarial_from: Step from which the adversarial terms count.
    """

    parts: tuple[str, ...]
    weights: LossWeights
    learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-3
    photos: tuple[int, int] = (1, 1)
    targets: int = 1
    synthetic_subjects: float = 0.0
    adversarial_from: int = 0


# Eq. 3, for E_tex and E_tri in both settings.
_ENCODER_WEIGHTS = LossWeights(l1=1.0, lpips=1.0, planes=0.001, textures=0.001, features=1.0, adversarial=0.1)
_ENCODERS = ("latent_encoder", "texture_encoder", "triplane_encoder.unet")
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
    "oneshot": StageSettings(_ENCODERS[1:], _ENCODER_WEIGHTS, synthetic_subjects=0.5, adversarial_from=100_000),
    # 6.2.3: the encoding backbones stay fixed.
    "recurrent": StageSettings(
        _DECODERS, _ENCODER_WEIGHTS, photos=(4, 32), targets=4, synthetic_subjects=0.5, adversarial_from=100_000
    ),
    # Not in the paper: how shoulders and hair lie, without rendering anything.
    "posture": StageSettings(
        ("triplane_encoder.posture_network",),
        LossWeights(l1=0.0, consistency=3.0, equivariance=0.5, deviation=0.01),
        1e-3,
        targets=3,
    ),
    # Not in the paper: the last step of R, on looks that were made before (see `looks`); hours on a CPU.
    "compositor": StageSettings(
        ("generator.compositor",),
        LossWeights(l1=1.0, lpips=1.0, face=0.5, matte=0.5),
        1e-3,
        photos=(1, 4),
        targets=FRAMES_OF_A_LOOK,
    ),
    # DESIGN 8
    "joint": StageSettings(
        (*_ENCODERS, "generator"),
        LossWeights(
            l1=2.0,
            lpips=1.0,
            face=0.5,
            raw=0.3,
            matte=0.5,
            coarse=0.2,
            coarse_frame=0.2,
            colour=0.3,
            deviation=2e-4,
            adversarial=0.02,
        ),
        4e-4,
        4e-4,
        photos=(1, 4),
        targets=2,  # photos cost more than targets do
        adversarial_from=10_000,
    ),
}


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
        self.networks = networks.trainable
        self.lpips, self.recognizer = lpips, recognizer
        self._discriminator = [discriminator]  # in a list: its parameters are not the stage's
        self._reconstruction = Reconstruction(networks)
        for name, parameter in self.networks.named_parameters():
            parameter.requires_grad_(name.startswith(settings.parts))

    def learning(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [parameter for parameter in self.networks.parameters() if parameter.requires_grad]

    @property
    def discriminator(self) -> Discriminator | None:
        """The discriminator."""
        return self._discriminator[0]

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


class PriorStage(Stage):
    """The animatable GAN: z, and the poses and expressions of real faces, against their pictures (6.1).

    EG3D's density regularisation is left out: where the surface is the head model knows.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal, head = truth(episode, _backgrounds(episode)), self._reconstruction.driven(episode)
        z = torch.randn(len(head.head_to_torso), self.generator.config.z_dim, device=head.head_to_torso.device)
        ws = self.generator.mapping(z, head.head_to_torso)
        self.generator.mapping_network.update_w_avg(ws.detach())
        drawn = self._reconstruction.coarse(ws, head, goal.picture.shape[-1])
        loss, inputs = self._adversarial(drawn, goal, *_landmarks(episode))
        return StageOutput({"adversarial": loss}, inputs)


class LatentStage(Stage):
    """E_latent: the picture of w+ alone against the photo (6.2.1, Eq. 2)."""

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        goal, head = truth(episode, _backgrounds(episode)), self._reconstruction.driven(episode)
        photo = photo_crops(episode)[0].photo
        ws = self.networks["latent_encoder"](resize(photo, self.networks["latent_encoder"].config.image_size))
        times = episode.driven.shape[1]
        drawn = self._reconstruction.coarse(repeat(ws, times), head, goal.picture.shape[-1])
        terms = self._compare(drawn, goal, _landmarks(episode)[0]) | {"deviation": deviation(ws)}
        inputs = None
        if adversarial and self.settings.weights.latent_adversarial:
            with torch.no_grad():
                z = torch.randn(len(ws), self.generator.config.z_dim, device=ws.device)
                real = self.generator.mapping(z)
            terms["latent_adversarial"] = generator_loss(self.discriminator.score((ws,)))
            inputs = RealAndFake((real,), (ws.detach(),))
        return StageOutput(terms, inputs)


class ReconstructionStage(Stage):
    """`oneshot`, `recurrent` and `joint`: N photos of a person against other pictures of them (6.2.2, 6.2.3,
    Eq. 3).
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        weights, reconstruction = self.settings.weights, self._reconstruction
        photos, head = reconstruction.views(episode), reconstruction.driven(episode)
        goal = truth(episode, _backgrounds(episode))
        landmarks, tracked = _landmarks(episode)
        times, size = episode.driven.shape[1], goal.picture.shape[-1]
        synthetic = None
        if self.settings.synthetic_subjects and torch.rand(()) < self.settings.synthetic_subjects:
            photos, synthetic = self._synthetic_subjects(photos, head, goal)
            goal = goal._replace(picture=synthetic.picture, matte=synthetic.matte, valid=torch.ones_like(goal.valid))
            tracked = landmarks

        state = reconstruction.fuse(photos, episode.sharpness)
        features = reconstruction.features(state, episode, size)
        ws, camera = repeat(state.ws, times), reconstruction.camera(head)
        drawn = reconstruction.draw(ws, repeat(features, times), head, camera, size, jitter=True)
        terms = self._compare(drawn, goal, landmarks)
        if weights.coarse:
            coarse = reconstruction.coarse_rendering(ws, head)
            small = coarse.opacity.shape[-1]
            picture = goal.over_background(coarse.features[:, :3], coarse.opacity)
            terms["coarse"] = pyramid_l1(picture, resize(goal.over_background(), small), resize(goal.valid, small))
        if weights.coarse_frame:
            terms["coarse_frame"] = self._coarse_frame(state.ws, head, goal, landmarks)
        if weights.across and len(state.ws) > 1:
            terms["across"] = self._across(state, features, photos[0], episode)
        if weights.colour:
            terms["colour"] = self._prior_colour(state)
        if weights.deviation:
            terms["deviation"] = deviation(state.ws)
        if synthetic is not None:
            skipped = 3 if self.generator.config.observed_colour else 0  # channels that hold the photos' own colours
            terms["planes"] = (features.planes - synthetic.features.planes)[:, skipped:].abs().mean()
            terms["textures"] = torch.stack([
                (texture - synthetic.features.textures[r])[:, skipped:].abs().mean()
                for r, texture in features.textures.items()
            ]).mean()  # fmt: skip
            terms["features"] = (drawn.rendering.features - synthetic.raw).abs().mean()
        inputs = None
        if adversarial and weights.adversarial:
            terms["adversarial"], inputs = self._adversarial(drawn, goal, landmarks, tracked)
        return StageOutput(terms, inputs)

    def _coarse_frame(self, ws: Tensor, head: DrivenHead, goal: Truth, landmarks: Tensor) -> Tensor:
        """How far the frame of w+ [B, L, w_dim] alone is from each person's first target."""
        first = slice(None, None, len(landmarks) // len(ws))
        goal, head = (type(x)(*(None if y is None else y[first] for y in x)) for x in (goal, head))
        drawn = self._reconstruction.coarse(ws, head, goal.picture.shape[-1])
        terms = self._compare(drawn, goal, landmarks[first])
        return sum(terms[name] for name in ("l1", "lpips", "matte", "face") if name in terms)

    def _across(self, state: Inversion, features: CanonicalFeatures, photo: View, episode: Episode) -> Tensor:
        """Whether people moved by one another are still themselves: each takes the first target's pose and movement of
        the next in the batch.
        """
        reconstruction, size = self._reconstruction, episode.targets.shape[-1]
        still = episode.neutrals[:, -1], episode.neutral_skin
        landmarks, skin = (
            own + (moved[:, 0] - own).roll(1, 0)
            for own, moved in zip(still, (episode.driven, episode.target_skin), strict=True)
        )
        person, head_to_torso = (
            (still[0], episode.off[:, -1], episode.joints[:, -1]),
            episode.target_rotations[:, 0].roll(1, 0),
        )
        head = dressed_head(
            reconstruction.networks.head_model, skin, landmarks, *person, head_to_torso, photo.head.torso_pose
        )
        drawn = reconstruction.draw(state.ws, features, head, reconstruction.camera(head), size, jitter=True)
        places, own = (project(x.landmarks, x.head_to_torso)[..., :2] for x in (head, photo.head))
        return identity_distance(self.recognizer, drawn.colour, photo.photo * photo.matte, places, own)

    def _prior_colour(self, state: Inversion) -> Tensor:
        """How far the colours of G_tex are from those that the photos show."""
        textures = self.generator.texture_backbone(state.ws)
        prior = textures[max(textures)][:, :3].float()
        observed = observed_texture(
            state.texture_sum, self._reconstruction.atlas(state.texture_sum.shape[-1]), self.generator.fusion.mirrored
        )
        target, seen = (resize(x, prior.shape[-1]).detach() for x in (observed.texture, observed.weight))
        return pyramid_l1(prior, target, seen)

    @torch.no_grad()
    def _synthetic_subjects(
        self, photos: list[View], head: DrivenHead, goal: Truth
    ) -> tuple[list[View], "SyntheticSubjects"]:
        """People of the prior in the poses and expressions of an episode (6.2.2, 6.2.3)."""
        count, size, coarse = len(photos[0].photo), goal.picture.shape[-1], self._reconstruction.coarse
        z = torch.randn(count, self.generator.config.z_dim, device=head.head_to_torso.device)
        ws = self.generator.mapping(z, truncation_psi=SYNTHETIC_TRUNCATION)
        times = len(head.head_to_torso) // count
        background = goal.background[::times]
        made = []
        for view in photos:
            drawn = coarse(ws, view.head, size)
            picture = drawn.colour + (1 - drawn.opacity) * background
            inside = torch.ones_like(view.inside)
            made.append(view._replace(photo=picture.clamp(-1, 1), matte=drawn.opacity, inside=inside))
        drawn = coarse(repeat(ws, times), head, size)
        picture = drawn.colour / drawn.opacity.clamp(min=1e-3)
        return made, SyntheticSubjects(
            self.generator.canonical(ws), drawn.rendering.features, picture.clamp(-1, 1), drawn.opacity
        )


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


class TorsoPoseStage(Stage):
    """The torso pose of a person: right where shoulders and hair of one picture, moved by the difference of the two
    torso poses, lie on those of the other. No picture is rendered.
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        photo, target, times = photo_crops(episode)[0], target_crops(episode), episode.driven.shape[1]
        networks = self._reconstruction.networks
        one, other = torso_pose_of(networks, *photo), torso_pose_of(networks, *target)
        pair, apart = (repeat(photo, times), target), repeat(one, times) - other
        # Only the difference counts, so that nothing is gained by shrinking what there is to compare.
        consistency = sum(self._difference(*pair, *moved) for moved in ((apart, None), (None, -apart))) / 2
        change = torch.randn_like(other) * other.new_tensor(POSTURE_SPREAD)
        found = torso_pose_of(networks, *moved_on_purpose(target, change)) - other
        equivariance = ((found - change).abs() / other.new_tensor(POSTURE_SPREAD)).mean()
        terms = {
            "consistency": consistency,
            "equivariance": equivariance,
            "deviation": (other / other.new_tensor(POSTURE_SPREAD)).square().mean(),
        }
        return StageOutput(terms)

    def _difference(self, first: Crop, other: Crop, first_pose: Tensor | None, other_pose: Tensor | None) -> Tensor:
        """Of two crops in the frontal plane, each moved back by a torso pose."""
        height = self._reconstruction.networks.head_model.chart.head_height
        looks, visible = [], 1.0
        for crop, torso_pose in ((first, first_pose), (other, other_pose)):
            heights = resize(height, COMPARED_SIZE).expand(len(crop.photo), -1, -1, -1)
            picture = torch.cat([crop.photo, crop.inside], 1)
            front, matte, facing = canonicalize(picture, crop.matte, heights, crop.rotation, torso_pose)
            colours, inside = front.split([3, 1], 1)
            looks.append(torch.cat([colours * matte, matte], 1))
            visible = visible * (inside * (0.25 + facing)).detach()
        return pyramid_l1(*looks, visible)


def moved_on_purpose(crop: Crop, torso_pose: Tensor) -> Crop:
    """A picture in which shoulders and hair lie otherwise by [B, 12], as seen from where the head is at rest."""
    size = crop.photo.shape[-1]
    right, up = pixel_centres(size, torso_pose.device)
    places = torch.stack([right, up], -1).view(1, -1, 2).expand(len(torso_pose), -1, -1)
    resting = to_rest_pose(F.pad(places, (0, 1)) @ crop.rotation, crop.rotation)[..., :2]  # as if flat
    still = torch.zeros_like(torso_pose[:, :6])
    shoulders = displacement(resting, torch.cat([torso_pose[:, :6], still], 1))
    hair = displacement(resting, torch.cat([still, torso_pose[:, 6:]], 1))
    source = places - shoulders - hair @ crop.rotation[:, :2, :2].mT
    grid = torch.stack([source[..., 0], -source[..., 1]], -1).unflatten(1, (size, size))
    moved = (F.grid_sample(x, grid, padding_mode="border", align_corners=False) for x in crop[:3])
    return crop._replace(photo=next(moved), matte=next(moved), inside=next(moved))


class SyntheticSubjects(NamedTuple):
    """What the prior knows of its own samples."""

    features: CanonicalFeatures  # of B subjects
    raw: Tensor  # [B T, D, h, w]
    picture: Tensor  # [B T, 3, S, S] in -1..1
    matte: Tensor  # [B T, 1, S, S] in 0..1


STAGE_CLASSES: dict[str, type[Stage]] = {
    "prior": PriorStage,
    "latent": LatentStage,
    "oneshot": ReconstructionStage,
    "recurrent": ReconstructionStage,
    "posture": TorsoPoseStage,
    "compositor": CompositorStage,
    "joint": ReconstructionStage,
}


def deviation(ws: Tensor) -> Tensor:
    """How far the layers of w+ [B, L, w_dim] lie from their mean: e4e's regulariser, keeping w+ near the prior's w."""
    return (ws - ws.mean(1, keepdim=True)).square().sum(-1).mean()


def _backgrounds(episode: Episode) -> Tensor:
    """A random colour for each target, [B T, 3, 1, 1] in -1..1."""
    count = episode.driven.shape[0] * episode.driven.shape[1]
    return torch.rand(count, 3, 1, 1, device=episode.driven.device) * 2 - 1


def _landmarks(episode: Episode) -> tuple[Tensor, Tensor]:
    """Landmarks [B T, 478, 2] in the targets, of the driven and of the tracked face."""
    rotation = episode.target_rotations.flatten(0, 1)
    driven, tracked = (project(x.flatten(0, 1), rotation)[..., :2] for x in (episode.driven, episode.tracked))
    return driven, tracked
