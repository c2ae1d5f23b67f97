"""An episode through the networks: photos -> inversion -> pictures of the targets, as the pipeline makes them.

Shapes: B people, N source photos, T targets, V 478 landmarks, S side of a picture, h w rendered size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..face.portrait import FEATHER
from ..inversion import Frame, Inversion, Networks, View, canonical_features, invert_step, posture_of, render_frame
from ..models.generator import CanonicalFeatures
from ..rendering.head_shape import face_window
from ..rendering.observation import detail_texture
from ..rendering.uv import UVAtlas, uv_atlas
from ..rendering.volume_renderer import Rendering
from .episodes import Episode


class Truth(NamedTuple):
    """The targets of an episode as tensors."""

    picture: Tensor  # [B T, 3, S, S] in -1..1
    matte: Tensor  # [B T, 1, S, S] in 0..1
    valid: Tensor  # [B T, 1, S, S] 1 where there are real pixels
    background: Tensor  # [B T, 3, 1, 1] in -1..1

    def over_background(self, colour: Tensor | None = None, opacity: Tensor | None = None) -> Tensor:
        """The target, or a premultiplied picture [B T, 3, S, S] with its opacity, over the background."""
        if colour is None:
            colour, opacity = self.picture * self.matte, self.matte
        return colour + (1 - opacity) * self.background


class Reconstruction:
    """The differentiable way from photos to pictures, with the UV atlases it needs.

    Args:
        networks: On their device.
        detail_resolution: Of the maps of the full-resolution detail; the size of the training pictures is enough. None
            leaves the detail out.
    """

    def __init__(self, networks: Networks, detail_resolution: int | None):
        self.networks = networks
        self.detail_resolution = detail_resolution if networks.generator.config.full_resolution_detail else None
        self._atlases: dict[tuple[int, torch.device], UVAtlas] = {}

    def fuse(self, photos: list[View], sharpness: Tensor, learn_from: int = 4) -> Inversion:
        """Invert N photos of each person, one after the other (paper 3.3).

        Args:
            photos: N views, each of B people.
            sharpness: [B, N].
            learn_from: Gradients flow through the last so many photos; the ones before set the hidden state only
                (supplement 6.2.3).
        """
        state, atlas = None, self.atlas(self.networks.texture_encoder.config.resolution)
        detail_atlas = self.detail_resolution and self.atlas(self.detail_resolution)
        for i, view in enumerate(photos):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= len(photos) - learn_from):
                state, _ = invert_step(self.networks, state, view, atlas, detail_atlas, sharpness[:, i] ** 2)
        return state

    @torch.no_grad()
    def posed(self, view: View) -> View:
        """A view with the posture that it shows, which learns in a stage of its own."""
        return view._replace(posture=posture_of(self.networks, view))

    def features(self, state: Inversion) -> tuple[CanonicalFeatures, Tensor | None]:
        """What all frames of a person share: features, and the face's texture in full resolution."""
        features = canonical_features(self.networks, state, self.atlas(state.texture_sum.shape[-1]))
        if state.detail_sum is None:
            return features, None
        return features, detail_texture(state.detail_sum, self.atlas(self.detail_resolution))

    def draw(
        self,
        ws: Tensor,
        features: CanonicalFeatures,
        detail: Tensor | None,
        vertices: Tensor,
        neutral: Tensor,
        rotation: Tensor,
        size: int,
        jitter: bool = False,
        posture: Tensor | None = None,
    ) -> Frame:
        """`inversion.render_frame` with these networks.

        Args:
            ws: [B T, L, w_dim].
            features: Of B T frames, as is `detail`: see `repeat`.
            detail: None for no full-resolution detail.
            vertices: [B T, V, 3].
            neutral: [B T, V, 3].
            rotation: [B T, 3, 3].
            size: S.
            jitter: Draw the samples on rays at random.
            posture: [B T, 12] or None.
        """
        face = (vertices, neutral, rotation)
        moved = {"turn": rotation, "posture": posture}
        return render_frame(self.networks, ws, features, detail, *face, size, jitter=jitter, **moved)

    def coarse(self, ws: Tensor, vertices: Tensor, neutral: Tensor, rotation: Tensor, size: int) -> Frame:
        """The picture of w+ alone: the prior's, and that of the coarse stage."""
        return self.draw(ws, self.networks.generator.canonical(ws), None, vertices, neutral, rotation, size)

    def coarse_rendering(self, ws: Tensor, vertices: Tensor, neutral: Tensor, rotation: Tensor, size: int) -> Rendering:
        """`coarse` before super-resolution, at `size` = h = w."""
        generator, chart = self.networks.generator, self.networks.head_model.chart
        closed = chart.close(vertices, neutral)
        window = face_window(closed, chart, generator.config.window, generator.window_resolution)
        features = generator.canonical(ws)
        face = generator.face(ws, features, window)
        return generator.render(features, face, window, chart.head_height, rotation, size, turn=rotation)

    def atlas(self, size: int) -> UVAtlas:
        """The UV atlas of a size, made once for each device."""
        chart = self.networks.head_model.chart
        key = (size, chart.uv.device)
        if key not in self._atlases:
            self._atlases[key] = uv_atlas(chart, size)
        return self._atlases[key]


def views(episode: Episode) -> list[View]:
    """The source photos of an episode: N views of B people."""
    photos, mattes = as_colour(episode.photos), episode.mattes.float() / 255
    inside = real_pixels(episode.inside, photos.shape[-1], FEATHER)
    columns = (photos, mattes, inside, episode.vertices, episode.neutrals, episode.rotations)
    return [View(*(column[:, i] for column in columns)) for i in range(photos.shape[1])]


def target_views(episode: Episode) -> View:
    """The targets of an episode as if they were photos, one view of B T people."""
    pictures, mattes = as_colour(episode.targets).flatten(0, 1), episode.target_mattes.flatten(0, 1).float() / 255
    inside = real_pixels(episode.target_inside, pictures.shape[-1], FEATHER).flatten(0, 1)
    neutral = repeat(episode.neutrals[:, -1], episode.targets.shape[1])
    return View(
        pictures, mattes, inside, episode.tracked.flatten(0, 1), neutral, episode.target_rotations.flatten(0, 1)
    )


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


def real_pixels(inside: Tensor, size: int, feather: float = 0.0) -> Tensor:
    """Where a crop has real pixels, from the rectangle that holds them.

    Args:
        inside: [..., 4] left, top, right, bottom in pixels; right and bottom excluded.
        size: S.
        feather: Head units within which it fades in from the rectangle's border (`portrait.feathered`).

    Returns:
        [..., 1, S, S] in 0..1.
    """
    line = torch.arange(size, device=inside.device)
    low, high = inside[..., :2, None], inside[..., 2:, None]
    # Pixels to the nearest one outside, for columns and rows: [..., 2, S]
    distance = torch.minimum(line + 1 - low, high - line).clamp(min=0).float()
    depth = torch.minimum(distance[..., 0, None, :], distance[..., 1, :, None])[..., None, :, :]
    return (depth / max(feather * size / 2, 1)).clamp(max=1)


def repeat(x, times: int):
    """Tensors [B, ...] -> [B times, ...] in tensors, tuples and tables of them."""
    if x is None or times == 1:
        return x
    if isinstance(x, Tensor):
        return x.repeat_interleave(times, 0)
    if isinstance(x, dict):
        return {key: repeat(value, times) for key, value in x.items()}
    return type(x)(*(repeat(value, times) for value in x))
