"""`oneshot`, `recurrent` and `joint`: photos of a person against other pictures of them.

Shapes: B subjects, N source photos, T targets, L w-layers, V vertices of the head model, S side of a picture.
"""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ...camera import project
from ...head.driven_head import DrivenHead, dressed_head
from ...inversion import Inversion
from ...models.generator import CanonicalFeatures
from ...rendering.observation import View, observed_texture
from ...rendering.resize import resize
from ..episodes import Episode
from ..losses import identity_distance, pyramid_l1
from ..reconstruction import Truth, repeat, truth
from .base import Stage, StageOutput, deviation, random_backgrounds, target_landmarks

Table = TypeVar("Table", DrivenHead, Truth)

SYNTHETIC_TRUNCATION = 0.7  # of the prior's samples that the encoders learn from


class ReconstructionStage(Stage):
    """`oneshot`, `recurrent` and `joint`: N photos of a person against other pictures of them (6.2.2, 6.2.3,
    Eq. 3).
    """

    def forward(self, episode: Episode, adversarial: bool) -> StageOutput:
        """See `Stage.forward`."""
        weights, reconstruction = self.settings.weights, self._reconstruction
        photos, head = reconstruction.views(episode), reconstruction.driven(episode)
        goal = truth(episode, random_backgrounds(episode))
        landmarks, tracked = target_landmarks(episode)
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
        if weights.coarse or weights.coarse_frame or weights.colour:
            terms |= self._coarse(state, head, goal, landmarks)
        if weights.across and len(state.ws) > 1:
            terms["across"] = self._across(state, features, photos[0], episode)
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

    def _coarse(self, state: Inversion, head: DrivenHead, goal: Truth, landmarks: Tensor) -> dict[str, Tensor]:
        """How far w+ alone is from each person's first target, raw and as a frame, and the colours of its G_tex from
        those that the photos show.
        """
        reconstruction, ws = self._reconstruction, state.ws
        first = slice(None, None, len(landmarks) // len(ws))

        def chosen(x: Table) -> Table:
            return x._make(None if y is None else y[first] for y in x)

        head, goal, canonical = chosen(head), chosen(goal), self.generator.canonical(ws)
        drawn = reconstruction.draw(ws, canonical, head, reconstruction.camera(head), goal.picture.shape[-1])
        compared = self._compare(drawn, goal, landmarks[first])
        frame: Any = sum(compared[name] for name in ("l1", "lpips", "matte", "face", "identity") if name in compared)
        colours = canonical.textures[max(canonical.textures)][:, :3]
        observed = observed_texture(
            state.texture_sum, reconstruction.atlas(state.texture_sum.shape[-1]), self.generator.fusion.mirrored
        )
        shown, seen = (resize(x, colours.shape[-1]).detach() for x in (observed.texture, observed.weight))
        return {
            "coarse": pyramid_l1(*self._raw(drawn, goal)),
            "coarse_frame": frame,
            "colour": pyramid_l1(colours, shown, seen),
        }

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
        heads: Any = (head, photo.head)
        places, own = (project(x.landmarks, x.head_to_torso)[..., :2] for x in heads)
        return identity_distance(self.recognizer, drawn.colour, photo.photo * photo.matte, places, own)

    @torch.no_grad()
    def _synthetic_subjects(
        self, photos: list[View], head: DrivenHead, goal: Truth
    ) -> tuple[list[View], "SyntheticSubjects"]:
        """People of the prior in the poses and expressions of an episode (6.2.2, 6.2.3)."""
        count, size, coarse = len(photos[0].photo), goal.picture.shape[-1], self._reconstruction.coarse
        rotation: Any = head.head_to_torso
        z = torch.randn(count, self.generator.config.z_dim, device=rotation.device)
        ws = self.generator.mapping(z, truncation_psi=SYNTHETIC_TRUNCATION)
        times = len(rotation) // count
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


class SyntheticSubjects(NamedTuple):
    """What the prior knows of its own samples."""

    features: CanonicalFeatures  # of B subjects
    raw: Tensor  # [B T, D, h, w]
    picture: Tensor  # [B T, 3, S, S] in -1..1
    matte: Tensor  # [B T, 1, S, S] in 0..1
