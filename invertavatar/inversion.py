"""Incremental GAN inversion and rendering with batches of tensors: what the pipeline and the training share (Fig. 2).

Shapes: B batch of subjects (or of frames of one person), V 478 landmarks, S side of the crop, L w-layers.

photo -> coarse stage (w+, render, residual) -> the two canonical spaces -> recurrent encoders -> features -> frame.
All of it is differentiable in the networks; geometry carries no gradient.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .camera import Camera
from .head.driven_head import DrivenHead, worn
from .head.face_chart import FaceChart
from .head.head_model import HeadModel
from .models.compositor import Closer, Look
from .models.generator import AvatarGenerator, CanonicalFeatures
from .models.latent_encoder import LatentEncoder
from .models.recurrent_unet import FusionMode, FusionState
from .models.texture_encoder import TextureEncoder
from .models.triplane_encoder import TriplaneEncoder
from .rendering.face_window import FaceWindow, face_window
from .rendering.framing import Framing, ends
from .rendering.observation import PhotoMaps, View, in_uv, observe, observed_texture, texture_sum
from .rendering.reprojection import Sources, empty_reprojection, filled, looked_closer, reproject, sources
from .rendering.resize import halved, resize
from .rendering.source_views import (
    SourceViews,
    angle_between,
    from_bytes,
    front_picture,
    joined,
    source_view,
    view_weights,
    weighed,
)
from .rendering.surface import bare_surface, head_surface, head_surfaces
from .rendering.uv import UVAtlas, extend_border, mirror_texture
from .rendering.volume_renderer import Rendering


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
    views: SourceViews | None  # the photos; None before the first


class Frame(NamedTuple):
    """A rendered frame, over nothing."""

    colour: Tensor  # [B, 3, S, S] in -1..1, premultiplied by opacity
    opacity: Tensor  # [B, 1, S, S] in 0..1
    depth: Tensor  # [B, 1, S, S] z in camera space, premultiplied by opacity
    rendering: Rendering


def torso_pose_of(networks: Networks, photo: Tensor, matte: Tensor, inside: Tensor, rotation: Tensor) -> Tensor | None:
    """How shoulders and hair lie in pictures (as `View` has them), [B, 12]; None where nothing was learned of it."""
    height = networks.head_model.chart.head_height
    return networks.triplane_encoder.torso_pose(photo, matte, inside, rotation, height)


def invert_step(
    networks: Networks,
    state: Inversion | None,
    view: View,
    atlas: UVAtlas,
    photo_weight: Tensor | None = None,
    fusion: FusionMode = "gru",
) -> tuple[Inversion, PhotoMaps]:
    """One photo joins the inversion (paper 3.2, 3.3).

    Args:
        networks: The networks.
        state: After the photos so far; None at the first.
        view: The photo; resized here to what each network looks at.
        atlas: At the texture encoder's resolution.
        photo_weight: [B] what the photo counts as a whole, less for a blurred or tiny one; None for 1.
        fusion: "gru", or the baselines "mean" and "first", which go for all that is fused: features and observed
            colours.

    Returns:
        The state with this photo, and the photo in the UV map.
    """
    generator, chart, config = networks.generator, networks.head_model.chart, networks.generator.config
    photo, matte, inside = (resize(x, config.image_resolution) for x in (view.photo, view.matte, view.inside))
    crop = view._replace(photo=photo, matte=matte, inside=inside)

    # Coarse stage: the first photo is inverted to w+, and rendered as each photo shows the head.
    maps = observe(crop, atlas, chart)
    ws = photo_code(networks, crop, maps, atlas) if state is None else state.ws
    residual = coarse_residual(networks, ws, crop, generator.coarse_resolution)

    # Fine stage: photo and residual in the two canonical spaces, into the recurrent encoders.
    seen = maps.texture * maps.visibility
    inputs = (seen, residual_in_uv(residual, crop, maps, atlas, chart), maps.visibility)
    mirrored = mirror_texture(seen, atlas), mirror_texture(maps.visibility, atlas)
    if not networks.texture_encoder.config.uv:
        size = networks.texture_encoder.config.resolution
        inputs = tuple(resize(look, size) for look in (photo * matte, residual, matte))
        mirrored = inputs[0].flip(-1), inputs[2].flip(-1)
    _, texture_state = networks.texture_encoder(*inputs, *mirrored, state=state and state.texture_state, fusion=fusion)
    front, residual_front, facing = seen_from_front(networks, crop, residual, maps.texture.shape[-1])
    if networks.triplane_encoder.canonical:
        known = front[:, 3:4]
        looks = (front[:, :3] * known, known, residual_front * known, facing)
    else:
        looks = (photo * matte, matte, residual)
    size = networks.triplane_encoder.config.resolution
    _, triplane_state = networks.triplane_encoder(
        *(resize(look, size) for look in looks),
        state=state and state.triplane_state,
        fusion=fusion,
    )
    even, fused = fusion == "mean", generator.fusion
    texture = texture_sum(maps, fused.even_visibility if even else fused.visibility)
    weight = view.photo.new_ones(len(view.photo)) if photo_weight is None else photo_weight
    views = source_view(view, front, weight, even, config.detail_resolution)
    if state is not None and state.views is not None:
        if fusion == "first":
            return state._replace(texture_state=texture_state, triplane_state=triplane_state), maps
        texture = state.texture_sum + texture
        views = joined(state.views, views if even else weighed(state.views, views, fused))
    return Inversion(ws, texture_state, triplane_state, texture, views), maps


def photo_code(networks: Networks, view: View, maps: PhotoMaps, atlas: UVAtlas) -> Tensor:
    """w+ [B, L, w_dim] of a photo, which has its face in the UV map too: what E_latent says at once, refined by what
    the coarse rendering of that leaves of the face.
    """
    encoder, generator, chart = networks.latent_encoder, networks.generator, networks.head_model.chart
    dtype, fusion = generator.dtype, generator.fusion
    ws = encoder(resize(view.photo, encoder.config.image_size).to(dtype))
    if not encoder.config.refinements:
        return ws
    texture = observed_texture(texture_sum(maps, fusion.visibility), atlas, fusion.mirrored).texture
    for _ in range(encoder.config.refinements):
        residual = coarse_residual(networks, ws, view, generator.config.neural_resolution)
        residual = residual_in_uv(residual, view, maps, atlas, chart)
        ws = encoder.refine(ws, *(look.to(dtype) for look in (texture, residual, maps.visibility)))
    return ws


@torch.no_grad()  # w+ learns from a loss of its own
def coarse_residual(networks: Networks, ws: Tensor, view: View, size: int) -> Tensor:
    """What the coarse rendering of w+ leaves of a photo, I - coarse I, [B, 3, size, size]."""
    camera = Camera(view.rotation, networks.generator.config.field_of_view)
    coarse = coarse_rendering(networks, ws.to(networks.generator.dtype), view.head, camera, size)
    photo, person = (resize(look, coarse.opacity.shape[-1]) for look in (view.photo, view.matte))
    return (photo * coarse.opacity - coarse.features[:, :3].float()) * person


def residual_in_uv(residual: Tensor, view: View, maps: PhotoMaps, atlas: UVAtlas, chart: FaceChart) -> Tensor:
    """A residual [B, 3, h, w] of a photo in the UV map, [B, 3, r, r], 0 where the photo does not show it."""
    found, _ = in_uv(residual, resize(view.matte, residual.shape[-1]), view, atlas, chart)
    return found * maps.visibility


def coarse_rendering(networks: Networks, ws: Tensor, head: DrivenHead, camera: Camera, size: int) -> Rendering:
    """The raw rendering of w+ [B, L, w_dim] alone, of `size` pixels where there is a surface."""
    generator, surface = networks.generator, None
    if generator.config.surface_rendering:
        surface = head_surface(networks.head_model, head, camera, size)
    return generator(ws, driven_window(networks, head), surface, head, camera)


def driven_window(networks: Networks, head: DrivenHead) -> FaceWindow:
    """The window that G_face paints of driven heads."""
    generator, chart = networks.generator, networks.head_model.chart
    closed = chart.closed_vertices(head.landmarks, head.neutral)
    return face_window(closed, chart, generator.config.window, generator.window_resolution)


def seen_from_front(networks: Networks, view: View, residual: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A photo in the frontal plane, through the head model at rest.

    Args:
        networks: The networks.
        view: The photo.
        residual: [B, 3, h, w] what the coarse stage leaves of it.
        size: Of the plane in pixels.

    Returns:
        [B, 5, size, size] `SourceViews.front`, [B, 3, size, size] the residual there, and [B, 1, size, size] how
        squarely the photo shows a place.
    """
    head_model, settings = networks.head_model, networks.generator.reprojection
    picture = torch.cat([view.photo, view.matte, view.inside], 1)[:, None]
    photos = sources(head_model, picture, view.head.vertices[:, None], view.rotation[:, None], settings)
    still = Camera(torch.eye(3, device=picture.device).expand_as(view.rotation))
    surface = head_surface(head_model, view.head._replace(vertices=view.head.rest_vertices), still, size)
    blend = view.photo.new_ones(len(view.photo), 1)
    looks = looked_closer(head_model, photos, blend, surface, settings)
    # The residual is looked up likewise, but is no colour that light falls on.
    residual = resize(residual, photos.picture.shape[-1])[:, None]
    unlit = photos._replace(
        picture=torch.cat([residual, photos.picture[:, :, 3:]], 2),
        light=torch.zeros_like(photos.light),
    )
    left = looked_closer(head_model, unlit, blend, surface, settings)
    # Of the head only what the photo sees is there, and what lies beside that.
    inside = looks.inside * extend_border(looks.seen, surface.mask, settings.flow_size)
    return front_picture(looks.colour, looks.matte, inside), left.colour, looks.seen


def canonical_features(
    networks: Networks, state: Inversion, atlas: UVAtlas, off: Tensor, vertices: Tensor, joints: Tensor, size: int
) -> CanonicalFeatures:
    """F_tex and F_tri after the photos so far, and the photos ready to be looked up: what all frames of an avatar
    share.

    Args:
        networks: The networks.
        state: After the photos.
        atlas: Of `state.texture_sum`.
        off: [V] or [B, V] from `HeadModel.stand_off`, by all photos.
        vertices: [V, 3] or [B, V, 3] the head of the person without expression, by all photos.
        joints: [J, 3] or [B, J, 3] of the person.
        size: Pixels of the frames, as fine as which the photos have to be.
    """
    ws = state.ws.to(networks.generator.dtype)
    if state.views is None:  # a sampled person, of whom w+ is all there is
        return networks.generator.canonical(ws)
    views, photos = of_one_skull(networks.head_model, state.views, vertices), None
    if networks.generator.config.surface_rendering and networks.generator.config.reproject_photos:
        photos = prepared(networks, views, off, joints, size)
    return networks.generator.canonical(
        ws,
        networks.texture_encoder.offsets(state.texture_state),
        networks.triplane_encoder.modulation(state.triplane_state),
        observed_texture(state.texture_sum, atlas, networks.generator.fusion.mirrored),
        views,
        photos,
    )


def of_one_skull(head_model: HeadModel, views: SourceViews, vertices: Tensor) -> SourceViews:
    """Photos whose heads all have the skull of `vertices`, [V, 3] or [B, V, 3]; its height a later photo may tell."""
    return views._replace(skin=head_model.with_skull(views.skin, vertices))


def prepared(networks: Networks, views: SourceViews, off: Tensor, joints: Tensor, size: int) -> tuple[Sources, Tensor]:
    """The photos, dressed in what all of them say of hair and clothes: `reprojection.sources` and `filled`."""
    head_model, settings = networks.head_model, networks.generator.reprojection
    count = views.weight.shape[1]
    heads = []
    for n in range(count):
        moves = views.rotation[:, n], views.torso_pose[:, n]
        heads.append(worn(head_model, views.skin[:, n], off, joints, *moves)[1])
    picture = halved(from_bytes(views.picture), max(size, networks.generator.config.image_resolution))
    photos = sources(head_model, picture, torch.stack(heads, 1), views.rotation, settings)
    return photos, filled(head_model, photos, views.weight, settings)


def render_frame(
    networks: Networks,
    ws: Tensor,
    features: CanonicalFeatures,
    head: DrivenHead,
    camera: Camera,
    size: int,
    jitter: torch.Generator | bool = False,
    framing: Framing | None = None,
) -> Frame:
    """Render driven heads.

    Args:
        networks: The networks.
        ws: [B, L, w_dim], or [1, L, w_dim] for frames of one person.
        features: Of the same batch, or of 1.
        head: The driven heads.
        camera: How they are seen.
        size: H = W of the picture.
        jitter: See `VolumeRenderer.forward`.
        framing: Says whether the person ends where the photos do; by default as the networks have it.
    """
    generator, config = networks.generator, networks.generator.config
    if config.surface_rendering:
        look, rendering = look_at(networks, ws, features, head, camera, size)
        composite = generator.compose(look)
        if framing is not None and framing.fades and features.sources is not None:
            left = ends((look.closer or look.reprojection).inside, camera, framing, generator.framing)
            composite = composite._replace(colour=composite.colour * left, opacity=composite.opacity * left)
        colour, opacity = (resize(x, size) for x in composite)
        depth = extend_border(look.surface.depth, look.surface.mask, generator.reprojection.flow_size)
        return Frame(colour, opacity, resize(depth, size) * opacity, rendering)
    ws, (head, window, face) = ws.to(generator.dtype), driven_face(networks, ws, features, head, camera)
    rendering = generator.render(features, face, window, None, head, camera, jitter=jitter)
    colour = resize(rendering.features[:, :3].float(), size) + generator.upsample(rendering, ws, size)
    return Frame(colour, resize(rendering.opacity, size), resize(rendering.depth, size), rendering)


def look_at(
    networks: Networks, ws: Tensor, features: CanonicalFeatures, head: DrivenHead, camera: Camera, size: int
) -> tuple[Look, Rendering]:
    """What the compositor makes frames of, and the raw rendering in it; see `render_frame`.

    Frames smaller than what the compositor looks at are made at that size, to be reduced; of larger ones it has what
    photos show as large as they are.
    """
    generator, head_model = networks.generator, networks.head_model
    config = generator.config
    head, window, face = driven_face(networks, ws, features, head, camera)
    sizes = (config.image_resolution, config.neural_resolution)
    surface, rough = head_surfaces(head_model, head, camera, sizes)
    views, photos, fill, blend = features.views, features.sources, features.fill, head.blend
    reprojection = hidden = closer = None
    if views is not None and photos is not None and fill is not None and blend is not None:
        reprojection = reproject(head_model, photos, fill, blend, surface, generator.reprojection)
        hidden = resize(reprojection.fill, config.neural_resolution)
        if size > config.image_resolution:
            bare = bare_surface(head_model, head, camera, size)
            seen = looked_closer(head_model, photos, blend, bare, generator.reprojection)
            closer = Closer(*seen, bare.mask)
        angle = angle_between(views, blend, camera.rotation)
    rendering = generator.render(features, face, window, rough, head, camera, hidden=hidden)
    if reprojection is None:
        reprojection = empty_reprojection(surface, rendering.features[:, :3])
        angle = camera.rotation.new_full((len(head.rest_vertices),), generator.composition.unseen)
    # No pixel may see a surface that is nowhere, and the picture be empty: what is not finite shall be seen in it.
    seen = rendering.features + 0 * face.sum((1, 2, 3), keepdim=True)
    return Look(reprojection, surface, seen, angle, closer), rendering


def driven_face(
    networks: Networks, ws: Tensor, features: CanonicalFeatures, head: DrivenHead, camera: Camera
) -> tuple[DrivenHead, FaceWindow, Tensor]:
    """Heads with the blend of their photos, their face windows, and G_face's features of these."""
    generator, window = networks.generator, driven_window(networks, head)
    face = generator.face(ws.to(generator.dtype), features, window)
    if head.blend is None and features.views is not None:
        head = head._replace(blend=view_weights(features.views, camera.rotation, head.torso_pose, generator.fusion))
    return head, window, face
