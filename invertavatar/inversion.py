"""Incremental GAN inversion and rendering with batches of tensors: what the pipeline and the training share (Fig. 2).

Shapes: B batch of people (or of frames of one person), V 478 landmarks, S side of the crop, L w-layers.

photo -> coarse stage (w+, render, residual) -> the two canonical spaces -> recurrent encoders -> features -> frame.
All of it is differentiable in the networks; geometry carries no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .head.head_model import HeadModel
from .models.generator import AvatarGenerator, CanonicalFeatures
from .models.latent_encoder import LatentEncoder
from .models.recurrent_unet import FusionMode, FusionState
from .models.texture_encoder import TextureEncoder
from .models.triplane_encoder import TriplaneEncoder
from .rendering.detail import fine_band, surface_colour
from .rendering.frontal_views import FrontalViews, from_bytes, frontal_view, joined, nearness, weighed
from .rendering.head_shape import canonicalize, face_window
from .rendering.observation import (
    PhotoMaps,
    View,
    better_seen,
    observe,
    observe_relief,
    observed_texture,
    relief_sum,
    texture_sum,
)
from .rendering.resize import resize
from .rendering.uv import UVAtlas, mirror_texture, unproject
from .rendering.volume_renderer import Rendering

# See `texture_sum`. What the networks see may be averaged, fine detail is never averaged well.
FUSION_SHARPNESS, DETAIL_SHARPNESS = 4.0, (2.0, 85.0)
EVEN_SHARPNESS = 1.0  # with fusion "mean" all photos count alike, wherever they show a place
RELIEF_SHARPNESS = 8.0  # see `relief_sum`


class Networks(NamedTuple):
    """The networks and the head model they work with."""

    latent_encoder: LatentEncoder
    texture_encoder: TextureEncoder
    triplane_encoder: TriplaneEncoder
    generator: AvatarGenerator
    head_model: HeadModel

    @property
    def trainable(self) -> nn.ModuleDict:
        """The networks without the head model, which is learned apart."""
        return nn.ModuleDict({name: part for name, part in self._asdict().items() if name != "head_model"})


class Inversion(NamedTuple):
    """What the networks remember of the photos so far."""

    ws: Tensor  # [B, L, w_dim]
    texture_state: FusionState
    triplane_state: FusionState
    texture_sum: Tensor  # [B, 4, h, w] the face as the photos show it
    views: FrontalViews | None  # all else as they show it; None before the first photo
    relief_sum: Tensor | None = None  # [B, 2, h, w]; None without relief
    detail_sum: Tensor | None = None  # [B, 4, H, W] the face in full resolution, from the photo that shows a place best


class Frame(NamedTuple):
    """A rendered frame, over nothing."""

    colour: Tensor  # [B, 3, S, S] in -1..1, premultiplied by opacity
    opacity: Tensor  # [B, 1, S, S] in 0..1
    gate: Tensor  # [B, 1, S, S] in 0..1: how much of the fine band the network let through
    rendering: Rendering


def posture_of(networks: Networks, view: View) -> Tensor | None:
    """How shoulders and hair lie in pictures, [B, 12] (`rest_pose`); None where nothing was learned of it."""
    looks = view.photo, view.matte, view.inside, view.rotation
    return networks.triplane_encoder.posture(*looks, networks.head_model.chart.head_height)


def invert_step(
    networks: Networks,
    state: Inversion | None,
    view: View,
    atlas: UVAtlas,
    detail_atlas: UVAtlas | None = None,
    photo_weight: Tensor | None = None,
    fusion: FusionMode = "gru",
) -> tuple[Inversion, PhotoMaps]:
    """One photo joins the inversion (paper 3.2, 3.3).

    Args:
        networks: The networks.
        state: After the photos so far; None at the first.
        view: The photo; resized here to what each network looks at.
        atlas: At the texture encoder's resolution.
        detail_atlas: At that of the full-resolution detail; None leaves the detail out.
        photo_weight: [B] what the photo counts as a whole, less for a blurred or tiny one; None for 1.
        fusion: "gru", or the baselines "mean" and "first", which go for all that is fused: features, observed colours
            and relief.

    Returns:
        The state with this photo, and the photo in the two canonical spaces.
    """
    generator, chart = networks.generator, networks.head_model.chart
    config, dtype = generator.config, generator.dtype
    photo, matte, inside = (resize(x, config.image_resolution) for x in (view.photo, view.matte, view.inside))
    crop = view._replace(photo=photo, matte=matte, inside=inside)

    # Coarse stage: the first photo is inverted to w+, and rendered as each photo shows the head.
    if state is None:
        ws = networks.latent_encoder(resize(view.photo, networks.latent_encoder.config.image_size).to(dtype))
    else:
        ws = state.ws
    closed = chart.close(view.vertices, view.neutral)
    window = face_window(closed, chart, config.window, generator.window_resolution)
    with torch.no_grad():  # w+ learns from a loss of its own
        coarse = generator(ws.to(dtype), window, chart.head_height, view.rotation)
    small = coarse.opacity.shape[-1]
    person = resize(matte, small)
    residual = (resize(photo, small) * coarse.opacity - coarse.features[:, :3].float()) * person  # I - coarse I

    # Fine stage: photo and residual in the two canonical spaces, into the recurrent encoders.
    relief, head = None, (chart, config.window)
    if networks.triplane_encoder.relief_network is not None:
        relief = observe_relief(networks.triplane_encoder.relief, crop, *head)
    maps = observe(crop, atlas, *head, relief)
    openness = chart.openness(view.vertices)
    residual_uv, _ = unproject(residual, person, closed, view.rotation, openness, atlas, chart)
    seen = maps.texture * maps.visibility
    _, texture_state = networks.texture_encoder(
        seen,
        residual_uv * maps.visibility,
        maps.visibility,
        mirror_texture(seen, atlas),
        mirror_texture(maps.visibility, atlas),
        state=state and state.texture_state,
        fusion=fusion,
    )
    if networks.triplane_encoder.canonical:
        residual_plane, _, _ = canonicalize(residual, person, maps.heights, view.rotation, view.posture)
        looks = (maps.canonical * maps.matte, maps.matte, residual_plane * maps.matte, maps.facing)
    else:
        looks = (photo * matte, matte, residual)
    size = networks.triplane_encoder.config.resolution
    _, triplane_state = networks.triplane_encoder(
        *(resize(look, size) for look in looks),
        state=state and state.triplane_state,
        fusion=fusion,
    )
    even = fusion == "mean"
    texture = texture_sum(maps, EVEN_SHARPNESS if even else FUSION_SHARPNESS)
    reliefs = None if relief is None else relief_sum(maps, 0.0 if even else RELIEF_SHARPNESS)
    weight = view.photo.new_ones(len(view.photo)) if photo_weight is None else photo_weight
    fine = detail = None
    if detail_atlas is not None:
        with torch.no_grad():  # where a surface is shall not be learned from hair strands
            fine = observe(view, detail_atlas, *head, relief)
            sharpness = (EVEN_SHARPNESS, 0.0) if even else DETAIL_SHARPNESS
            detail = texture_sum(fine, *sharpness, photo_weight=weight.view(-1, 1, 1, 1))
    views = frontal_view(maps, fine, view.posture, weight, even)
    if state is not None and state.texture_state.count:
        if fusion == "first":
            return state._replace(texture_state=texture_state, triplane_state=triplane_state), maps
        texture = state.texture_sum + texture
        views = joined(state.views, views if even else weighed(state.views, views))
        reliefs = None if reliefs is None else state.relief_sum + reliefs
        if detail is not None:
            detail = state.detail_sum + detail if even else better_seen(state.detail_sum, detail)
    return Inversion(ws, texture_state, triplane_state, texture, views, reliefs, detail), maps


def canonical_features(networks: Networks, state: Inversion, atlas: UVAtlas) -> CanonicalFeatures:
    """F_tex and F_tri after the photos so far: what all frames of an avatar share."""
    ws = state.ws.to(networks.generator.dtype)
    if not state.texture_state.count:  # a sampled person, of whom w+ is all there is
        return networks.generator.canonical(ws)
    relief = None
    if state.relief_sum is not None:
        relief, weight = state.relief_sum.split(1, 1)
        relief = relief / weight
    views = state.views if state.views.fine is None else state.views._replace(fine=from_bytes(state.views.fine))
    return networks.generator.canonical(
        ws,
        networks.texture_encoder.offsets(state.texture_state),
        networks.triplane_encoder.modulation(state.triplane_state),
        observed_texture(state.texture_sum, atlas),
        views,
        relief,
    )


def render_frame(
    networks: Networks,
    ws: Tensor,
    features: CanonicalFeatures,
    detail: Tensor | None,
    vertices: Tensor,
    neutral: Tensor,
    rotation: Tensor,
    size: int,
    field_of_view: float | None = None,
    zoom: float = 1.0,
    jitter: torch.Generator | bool = False,
    turn: Tensor | None = None,
    shown: Tensor | None = None,
    posture: Tensor | None = None,
) -> Frame:
    """Render driven faces.

    Args:
        networks: The networks.
        ws: [B, L, w_dim], or [1, L, w_dim] for frames of one person.
        features: Of the same batch, or of 1; so is `detail`.
        detail: [B, 4, H, W] the face in full resolution, from `detail_texture`; None leaves the full-resolution detail
            out.
        vertices: [B, V, 3] the driven face.
        neutral: [B, V, 3] or [V, 3].
        rotation: [B, 3, 3] head -> camera.
        size: H = W of the picture.
        field_of_view: Degrees; the generator's own by default.
        zoom: Above 1 the head grows.
        jitter: See `VolumeRenderer.forward`.
        turn: [B, 3, 3] the head's rotation relative to the body, which stays behind; None turns the body with the head.
        shown: [B, K] how much each photo counts for hair and shoulders; by default as its pose and posture are near.
        posture: [B, 12] how hair and shoulders lie, see `rest_pose`; None for the average one.
    """
    generator, chart = networks.generator, networks.head_model.chart
    config, ws = generator.config, ws.to(generator.dtype)
    field_of_view = config.field_of_view if field_of_view is None else field_of_view
    closed = chart.close(vertices, neutral)
    window = face_window(closed, chart, config.window, generator.window_resolution)
    face, views = generator.face(ws, features, window), features.views
    if shown is None and views is not None:
        shown = nearness(views, rotation, posture)
    rendering = generator.render(
        features,
        face,
        window,
        chart.head_height,
        rotation,
        field_of_view=field_of_view,
        zoom=zoom,
        jitter=jitter,
        turn=turn,
        shown=shown,
        posture=posture,
    )
    upsampled = generator.upsample(rendering, ws, size)
    colour = resize(rendering.features[:, :3].float(), size) + upsampled.residual
    opacity = resize(rendering.opacity, size)
    if upsampled.outline is not None:
        opacity = (opacity + upsampled.outline).clamp(0, 1)
    if config.full_resolution_detail and detail is not None and views is not None and size > config.neural_resolution:
        with torch.no_grad():  # where the surface is shall not be learned from hair strands
            camera = (size, field_of_view, zoom, turn, posture)
            surface = surface_colour(detail, views.fine, shown, closed, rendering, rotation, chart, *camera)
        fine = fine_band(surface.colour, opacity, config.neural_resolution)
        colour = colour + fine * upsampled.gate * surface.trust
        # Light is the networks' work: that of the photo that shows a place best need not be that of the others.
        missed = fine_band(surface.colour * opacity - colour, surface.seen, config.light_resolution)
        colour = colour + config.observed_face * missed
    # No ray may meet a surface that is nowhere, and the picture be empty: what is not finite shall be seen in it.
    colour = colour + 0 * sum(x.sum((1, 2, 3), keepdim=True) for x in face)
    return Frame(colour, opacity, upsampled.gate, rendering)
