"""An episode through the networks: photos -> inversion -> pictures of the targets, as the pipeline makes them.

Shapes: B subjects, N source photos, T targets, V vertices of the head model, J joints, S side of a picture.
"""

from typing import Any, NamedTuple, TypeVar, overload

import torch
from torch import Tensor

from ..camera import Camera
from ..head.driven_head import DrivenHead, dressed_head
from ..inversion import (
    Frame,
    Inversion,
    Networks,
    canonical_features,
    invert_step,
    photo_code,
    render_frame,
    torso_pose_of,
)
from ..models.generator import CanonicalFeatures
from ..rendering.observation import View, observe
from ..rendering.uv import UVAtlas, uv_atlas
from ..tracking.portrait import FEATHER
from .episodes import Episode, real_pixels

Group = TypeVar("Group", bound=tuple)


class Crop(NamedTuple):
    """Pictures of an episode as networks take them: what a `View` begins with."""

    photo: Tensor  # [B, 3, S, S] in -1..1
    matte: Tensor  # [B, 1, S, S] in 0..1
    inside: Tensor  # [B, 1, S, S] in 0..1
    rotation: Tensor  # [B, 3, 3] head -> camera


class Truth(NamedTuple):
    """The targets of an episode as tensors."""

    picture: Tensor  # [B T, 3, S, S] in -1..1
    matte: Tensor  # [B T, 1, S, S] in 0..1
    valid: Tensor  # [B T, 1, S, S] 1 where there are real pixels
    background: Tensor  # [B T, 3, 1, 1] in -1..1

    def over_background(self, colour: Tensor | None = None, opacity: Tensor | None = None) -> Tensor:
        """The target, or a premultiplied picture [B T, 3, S, S] with its opacity, over the background."""
        if colour is None or opacity is None:
            colour, opacity = self.picture * self.matte, self.matte
        return colour + (1 - opacity) * self.background


class Reconstruction:
    """The differentiable way from photos to pictures, with the UV atlases it needs.

    Args:
        networks: On their device.
    """

    def __init__(self, networks: Networks):
        self.networks = networks
        self._atlases: dict[tuple[int, torch.device], UVAtlas] = {}

    def views(self, episode: Episode) -> list[View]:
        """The source photos of an episode: N views of B subjects."""
        found = []
        for i, crop in enumerate(photo_crops(episode)):
            landmarks, neutral, skin, off, joints = (
                x[:, i] for x in (episode.landmarks, episode.neutrals, episode.skin, episode.off, episode.joints)
            )
            found.append(View(*crop, skin, self._worn(skin, landmarks, neutral, off, joints, crop)))
        return found

    def driven(self, episode: Episode) -> DrivenHead:
        """The B T heads that are to be rendered."""
        crop, times = target_crops(episode), episode.targets.shape[1]
        neutral, off, joints = (repeat(x[:, -1], times) for x in (episode.neutrals, episode.off, episode.joints))
        skin, landmarks = episode.target_skin.flatten(0, 1), episode.driven.flatten(0, 1)
        return self._worn(skin, landmarks, neutral, off, joints, crop)

    @torch.no_grad()
    def _worn(
        self, skin: Tensor, landmarks: Tensor, neutral: Tensor, off: Tensor, joints: Tensor, crop: Crop
    ) -> DrivenHead:
        """A head with the torso pose that its picture shows, which learns in a stage of its own."""
        moves = crop.rotation, torso_pose_of(self.networks, *crop)
        return dressed_head(self.networks.head_model, skin, landmarks, neutral, off, joints, *moves)

    def camera(self, head: DrivenHead) -> Camera:
        """That of pictures of which only the head turns, which ValueError says where it does not."""
        if head.head_to_torso is None:
            raise ValueError("Only a head that turns upon its body has a camera of its own: give `head_to_torso`.")
        return Camera(head.head_to_torso, self.networks.generator.config.field_of_view)

    def fuse(self, photos: list[View], sharpness: Tensor, learn_from: int = 4) -> Inversion:
        """Invert N photos of each person, one after the other (paper 3.3).

        Args:
            photos: N views, each of B subjects.
            sharpness: [B, N].
            learn_from: Gradients flow through the last so many photos; the ones before set the hidden state only
                (supplement 6.2.3).

        Raises:
            ValueError: There are no photos.
        """
        state, atlas = None, self.atlas(self.networks.texture_encoder.config.resolution)
        for i, view in enumerate(photos):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= len(photos) - learn_from):
                state, _ = invert_step(self.networks, state, view, atlas, sharpness[:, i] ** 2)
        if state is None:
            raise ValueError("There are no photos to invert; give one or more of each person.")
        return state

    def code(self, photo: View) -> Tensor:
        """w+ [B, L, w_dim] of a photo: see `inversion.photo_code`."""
        atlas = self.atlas(self.networks.texture_encoder.config.resolution)
        return photo_code(self.networks, photo, observe(photo, atlas, self.networks.head_model.chart), atlas)

    def features(self, state: Inversion, episode: Episode, size: int) -> CanonicalFeatures:
        """What frames of an episode's people share: see `inversion.canonical_features`, for frames of S = `size`."""
        person = episode.off[:, -1], episode.neutral_skin, episode.joints[:, -1]
        return canonical_features(self.networks, state, self.atlas(state.texture_sum.shape[-1]), *person, size)

    def draw(
        self, ws: Tensor, features: CanonicalFeatures, head: DrivenHead, camera: Camera, size: int, jitter: bool = False
    ) -> Frame:
        """`inversion.render_frame` with these networks.

        Args:
            ws: [B T, L, w_dim].
            features: Of B T frames: see `repeat`.
            head: Of B T frames, as is the camera.
            camera: How they are seen.
            size: S.
            jitter: Draw the samples on rays at random.
        """
        return render_frame(self.networks, ws, features, head, camera, size, jitter=jitter)

    def coarse(self, ws: Tensor, head: DrivenHead, size: int) -> Frame:
        """The picture of w+ alone: the prior's, and that of the coarse stage."""
        return self.draw(ws, self.networks.generator.canonical(ws), head, self.camera(head), size)

    def atlas(self, size: int) -> UVAtlas:
        """The UV atlas of a size, made once for each device."""
        chart = self.networks.head_model.chart
        key = (size, chart.uv.device)
        if key not in self._atlases:
            self._atlases[key] = uv_atlas(chart, size)
        return self._atlases[key]


def photo_crops(episode: Episode) -> list[Crop]:
    """The source photos of an episode: N crops of B subjects."""
    photos, mattes = as_colour(episode.photos), episode.mattes.float() / 255
    inside = real_pixels(episode.inside, photos.shape[-1], FEATHER)
    columns = (photos, mattes, inside, episode.rotations)
    return [Crop(*(column[:, i] for column in columns)) for i in range(photos.shape[1])]


def target_crops(episode: Episode) -> Crop:
    """The targets of an episode as if they were photos, of B T subjects."""
    inside = real_pixels(episode.target_inside, episode.targets.shape[-1], FEATHER)
    looks = (as_colour(episode.targets), episode.target_mattes.float() / 255, inside, episode.target_rotations)
    return Crop(*(x.flatten(0, 1) for x in looks))


def truth(episode: Episode, background: Tensor) -> Truth:
    """The targets of an episode over backgrounds [B T, 3, 1, 1] in -1..1."""
    size = episode.targets.shape[-1]
    return Truth(
        as_colour(episode.targets).flatten(0, 1),
        episode.target_mattes.flatten(0, 1).float() / 255,
        (real_pixels(episode.target_inside, size) > 0).float().flatten(0, 1),
        background,
    )


def as_colour(picture: Tensor) -> Tensor:
    """uint8 -> -1..1."""
    return picture.float() / 127.5 - 1


@overload
def repeat(x: Tensor, times: int) -> Tensor: ...
@overload
def repeat(x: Group, times: int) -> Group: ...
def repeat(x: Any, times: int) -> Any:
    """Tensors [B, ...] -> [B times, ...] in tensors, tuples and tables of them; None stays."""
    if x is None or times == 1:
        return x
    if isinstance(x, Tensor):
        return x.repeat_interleave(times, 0)
    if isinstance(x, dict):
        return {key: repeat(value, times) for key, value in x.items()}
    return type(x)(*(repeat(value, times) for value in x))
