"""The animatable 3D GAN prior: G_tex, G_static, G_face and R in one component (paper 3.1).

Shapes: B batch, L w-layers, C channels of a plane or texture, D feature channels, r resolution, H W picture.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..half_precision import Network
from ..rendering.frontal_views import FrontalViews, blended, hair_colour, nearness
from ..rendering.head_shape import FaceWindow, driven_heights, head_solid, inflate, silhouette_logit
from ..rendering.observation import ObservedTexture
from ..rendering.resize import resize
from ..rendering.uv import fill_unseen
from ..rendering.volume_renderer import Planes, Rendering, Solid, VolumeRenderer
from .backbones import SynthesisBackbone
from .mapping import MappingNetwork
from .super_resolution import SuperResolution, Upsampled
from .triplane_encoder import StaticModulation

HEIGHT_STEP = 0.05  # head units of height for 1 at the output of G_face


class CanonicalFeatures(NamedTuple):
    """An avatar in the two canonical spaces (paper 3.2): all that a frame needs besides its motion."""

    textures: dict[int, Tensor]  # F_tex: resolution -> [B, C, r, r]
    alpha: Tensor | None  # [B, 1, r, r] in UV: how far the textures are trusted in eyes and mouth; None everywhere
    planes: Tensor  # F_tri: [B, 3 C, r, r], without what the photos show
    silhouette: Tensor | None  # [B, 1, r, r] what the networks add to the logit of the mesh-guided solid
    relief: Tensor | None  # [B, 1, r, r] head units, see `head_shape.head_solid`
    views: FrontalViews | None  # the photos; None where there are none


class DynamicFace(NamedTuple):
    """G_face's output for a frame."""

    features: Tensor  # [B, C, r, r] of the frontal window
    height: Tensor  # [B, 1, r, r] of the driven surface in the window


class AvatarGenerator(Network):
    """Canonical features from w+, and pictures from canonical features and a driven face.

    Args:
        w_dim: Length of w.
        z_dim: Length of z.
        plane_channels: C of a plane and of a texture.
        texture_channels: Resolution -> width of G_tex.
        static_channels: Resolution -> width of G_static; the finest is the resolution of the planes.
        face_channels: Resolution -> width of G_face; the finest is the resolution of the face window.
        texture_resolutions: Of the neural textures; G_face takes each of them in.
        window: Half the side of the face window in head units.
        neural_resolution: h = w of the volume rendering.
        image_resolution: H = W of training pictures; any size can be rendered.
        feature_channels: D of the raw features.
        decoder_channels: Hidden width of the decoder.
        coarse_samples: Samples spread over each ray.
        fine_samples: Samples where the surface is.
        super_resolution_channels: Width at the neural resolution, twice that, ...
        context_channels: Widths of the U-Net that looks at the whole rendering first; none leaves it out (paper).
        field_of_view: Degrees of the camera; 0 is weak perspective.
        observed_colour: DESIGN 5.1, the photos' colours join the first three channels of texture and frontal plane.
        mesh_guided_density: DESIGN 5.2.
        guided_samples: DESIGN 5.3; needs the mesh-guided density.
        output_gain: DESIGN 5.4, initial scale of every output head.
        full_resolution_detail: DESIGN 5.5.
        observed_face: In 0..1: how far skin of the face is drawn as the photos show it, where they show it well, beside
            what the networks make of it. It comes with the full-resolution detail.
        light_resolution: Pixels across a picture of the light on that skin, which is always the networks'.
        detail_resolution: Size of the maps that hold the observed colours for it, a power of two.
        mapping_layers: Layers of the mapping network.
        weights_id: Digest of the weights that training wrote; an avatar belongs to the weights that made it.

    Raises:
        ValueError: Guided samples without the mesh-guided density.
    """

    @register_to_config
    def __init__(
        self,
        w_dim: int = 128,
        z_dim: int = 128,
        plane_channels: int = 16,
        texture_channels: Mapping[str, int] = {"4": 64, "8": 64, "16": 64, "32": 48, "64": 32, "128": 16},
        static_channels: Mapping[str, int] = {"4": 64, "8": 64, "16": 64, "32": 48, "64": 32, "128": 24},
        face_channels: Mapping[str, int] = {"4": 64, "8": 64, "16": 48, "32": 32, "64": 24, "128": 16},
        texture_resolutions: Sequence[int] = (32, 64, 128),
        window: float = 0.62,
        neural_resolution: int = 128,
        image_resolution: int = 256,
        feature_channels: int = 16,
        decoder_channels: int = 32,
        coarse_samples: int = 2,
        fine_samples: int = 10,
        super_resolution_channels: Sequence[int] = (24, 16),
        context_channels: Sequence[int] = (24, 32, 48, 64, 64),
        field_of_view: float = 0.0,
        observed_colour: bool = True,
        mesh_guided_density: bool = True,
        guided_samples: bool = True,
        output_gain: float = 0.001,
        full_resolution_detail: bool = True,
        observed_face: float = 0.4,
        light_resolution: int = 16,
        detail_resolution: int = 512,
        mapping_layers: int = 2,
        weights_id: str = "untrained",
    ):
        super().__init__()
        if guided_samples and not mesh_guided_density:
            raise ValueError("Guided samples follow the mesh-guided density: switch it on, or guided_samples off.")
        textures = dict.fromkeys(texture_resolutions, plane_channels)
        finest_plane, finest_face = (max(int(r) for r in table) for table in (static_channels, face_channels))
        self.texture_backbone = SynthesisBackbone(w_dim, texture_channels, textures, output_gain=output_gain)
        self.static_backbone = SynthesisBackbone(
            w_dim,
            static_channels,
            {int(r): 3 * plane_channels for r in static_channels},
            skip_heads=True,
            output_gain=output_gain,
        )
        face_outputs = plane_channels + int(mesh_guided_density)
        self.face_backbone = SynthesisBackbone(
            w_dim,
            face_channels,
            {finest_face: face_outputs},
            condition_channels=textures,
            output_gain=output_gain,
        )
        self.plane_resolution, self.window_resolution = finest_plane, finest_face
        backbones = (self.texture_backbone, self.static_backbone, self.face_backbone)
        self.num_ws = max(backbone.num_ws for backbone in backbones)
        self.mapping_network = MappingNetwork(z_dim, w_dim, self.num_ws, num_layers=mapping_layers)
        self.renderer = VolumeRenderer(
            plane_channels,
            feature_channels,
            decoder_channels,
            window,
            coarse_samples,
            fine_samples,
            guided_samples,
            output_gain,
        )
        self.super_resolution = SuperResolution(
            feature_channels, neural_resolution, super_resolution_channels, w_dim, output_gain, context_channels
        )

    @apply_forward_hook
    def mapping(self, z: Tensor, rotation: Tensor | None = None, truncation_psi: float = 1.0) -> Tensor:
        """z [B, z_dim] and the pose [B, 3, 3] (frontal by default) -> w+ [B, L, w_dim]."""
        if rotation is None:
            rotation = torch.eye(3, device=z.device, dtype=z.dtype).expand(len(z), -1, -1)
        return self.mapping_network(z, rotation.flatten(1).to(z.dtype), truncation_psi=truncation_psi)

    @apply_forward_hook
    def canonical(
        self,
        ws: Tensor,
        texture_offsets: Mapping[int, Tensor] | None = None,
        modulation: StaticModulation | None = None,
        observed: ObservedTexture | None = None,
        views: FrontalViews | None = None,
        relief: Tensor | None = None,
    ) -> CanonicalFeatures:
        """Canonical features: of the coarse stage from w+ alone, of the fine stage with what the encoders found.

        Args:
            ws: [B, L, w_dim].
            texture_offsets: F_tex_off from `TextureEncoder`, resolution -> [B, C, r, r].
            modulation: F_tri-SFT from `TriplaneEncoder`.
            observed: The face in the photos, whose colours join with `observed_colour`.
            views: The photos in the frontal plane: the colours join with `observed_colour`, the mattes seed the
                silhouette.
            relief: [B, 1, r, r] of the mesh-guided solid.
        """
        textures = {r: t.float() for r, t in self.texture_backbone(ws).items()}
        if observed is not None and self.config.observed_colour:
            finest = max(textures)
            # The prior's colours stay where no photo shows the face, shifted to meet those around them.
            replaced = fill_unseen(textures[finest][:, :3], resize(observed.weight, finest))
            textures[finest] = add_colour(textures[finest], -replaced)
        if texture_offsets is not None:
            textures = {r: t + texture_offsets[r].float() for r, t in textures.items()}
        planes = self.static_backbone(ws, sft=modulation and modulation.sft)[self.plane_resolution].float()
        silhouette = None
        if modulation is not None and modulation.plane_offsets is not None:
            planes, silhouette = planes + modulation.plane_offsets.float(), modulation.silhouette.float()
        alpha = None
        if observed is not None and self.config.observed_colour:
            textures = {r: add_colour(t, observed.texture) for r, t in textures.items()}
            alpha = observed.confidence
        return CanonicalFeatures(textures, alpha, planes, silhouette, relief, views)

    @apply_forward_hook
    def face(self, ws: Tensor, features: CanonicalFeatures, window: FaceWindow) -> DynamicFace:
        """G_face: the neural textures, rasterized with the driven mesh at every scale, become the frontal window.

        Args:
            ws: [B, L, w_dim] or [1, L, w_dim] for a batch of frames of one avatar.
            features: Of the same batch, or of 1.
            window: The driven mesh at `window_resolution`.
        """
        batch, size = len(window.mask), self.window_resolution
        shown = window.mask
        if features.alpha is not None:  # eyes and teeth that no photo showed are left to the network
            trust = sample_texture(features.alpha, window.grid)
            shown = shown * (1 - window.patch * (1 - trust))
        condition = {}
        for r, texture in features.textures.items():
            pool = size // r
            # Coarse textures through a pooled grid would mix charts; drawing them finely and pooling does not.
            drawn = F.avg_pool2d(sample_texture(texture, window.grid) * shown, pool)
            alpha = F.avg_pool2d(shown, pool)
            condition[r] = (drawn / alpha.clamp(min=1e-3), alpha)
        out = self.face_backbone(ws.expand(batch, -1, -1), condition=condition)[size].float()
        height = window.height
        if self.config.mesh_guided_density:
            out, rise = out[:, :-1], out[:, -1:]
            height = height + rise * HEIGHT_STEP
        if self.config.observed_colour:
            finest = max(features.textures)
            out = add_colour(out, sample_texture(features.textures[finest][:, :3], window.grid) * window.mask)
        return DynamicFace(out, height)

    @apply_forward_hook
    def render(
        self,
        features: CanonicalFeatures,
        face: DynamicFace,
        window: FaceWindow,
        head_height: Tensor,
        rotation: Tensor,
        size: int | None = None,
        field_of_view: float | None = None,
        zoom: float = 1.0,
        jitter: torch.Generator | bool = False,
        turn: Tensor | None = None,
        shown: Tensor | None = None,
        posture: Tensor | None = None,
    ) -> Rendering:
        """R without super-resolution.

        Args:
            features: Of the batch of frames, or of 1.
            face: G_face's output for the frames.
            window: The driven mesh of the frames.
            head_height: [1, 1, H, W] `FaceChart.head_height`.
            rotation: [B, 3, 3] head -> camera.
            size: h = w, `neural_resolution` by default.
            field_of_view: Degrees; the config's by default.
            zoom: Above 1 the head grows.
            jitter: See `VolumeRenderer.forward`.
            turn: See `VolumeRenderer.forward`.
            shown: [B, K] from `frontal_views.nearness`; needed where the features hold photos.
            posture: See `VolumeRenderer.forward`.
        """
        planes, solid = self._volume(features, face, window, head_height, shown)
        return self.renderer(
            planes,
            solid,
            rotation,
            size or self.config.neural_resolution,
            self.config.field_of_view if field_of_view is None else field_of_view,
            zoom,
            jitter,
            turn,
            posture,
        )

    @apply_forward_hook
    def density(
        self,
        features: CanonicalFeatures,
        face: DynamicFace,
        window: FaceWindow,
        head_height: Tensor,
        points: Tensor,
    ) -> Tensor:
        """Density logits [B, M] that `render` marches through for a frontal head, at head-space points [B, M, 3]; the
        rest as there.
        """
        shown = None
        if features.views is not None:
            shown = nearness(features.views, torch.eye(3, device=points.device).expand(len(points), -1, -1))
        logit, _ = self.renderer.query(*self._volume(features, face, window, head_height, shown), points)
        return logit

    def _volume(self, features, face, window, head_height, shown):
        """What the rays pass through: the planes, and the mesh-guided solid or None."""
        batch, config = len(window.mask), self.config
        planes, silhouette = features.planes.expand(batch, -1, -1, -1), features.silhouette
        outline, colour = torch.ones_like(planes[:, :1]), None  # nothing is known to be background
        if features.views is not None and (config.observed_colour or config.mesh_guided_density):
            colour, outline = blended(features.views.coarse, shown)
            if config.observed_colour:
                planes = add_colour(planes, colour)
        if not config.mesh_guided_density:
            return Planes(planes, face.features, window.soft), None
        outline = resize(outline, self.plane_resolution)
        logit = silhouette_logit(outline)
        silhouette = logit if silhouette is None else silhouette + logit
        roundness, behind = inflate(silhouette), None
        if colour is not None and config.observed_colour:
            behind = hair_colour(resize(colour, self.plane_resolution), outline, roundness)
        fine = 2 * self.plane_resolution  # the surface is steeper than the planes' texels are small
        front = driven_heights(resize(head_height, fine), window, config.window, face.height)
        relief = None if features.relief is None else resize(features.relief, fine)
        front, back = head_solid(front, window, resize(roundness, fine), config.window, relief)
        return Planes(planes, face.features, window.soft, behind), Solid(front, back, resize(silhouette, fine))

    @apply_forward_hook
    def upsample(self, rendering: Rendering, ws: Tensor, size: int) -> Upsampled:
        """Super-resolution of a rendering to `size` pixels; ws [B, L, w_dim] or [1, L, w_dim]."""
        return self.super_resolution(*rendering, ws.expand(len(rendering.features), -1, -1), size)

    def forward(self, ws: Tensor, window: FaceWindow, head_height: Tensor, rotation: Tensor) -> Rendering:
        """The prior alone: w+ -> raw rendering of a head turned on its neck, as the coarse stage needs it.

        It has half the neural resolution, enough for what w+ can tell.
        """
        features = self.canonical(ws)
        face, size = self.face(ws, features, window), self.config.neural_resolution // 2
        return self.render(features, face, window, head_height, rotation, size, turn=rotation)


def add_colour(features: Tensor, colour: Tensor) -> Tensor:
    """Adds colours [B, 3, h, h] to the first three channels of features [B, C, r, r]."""
    colour = resize(colour, features.shape[-1])
    return torch.cat([features[:, :3] + colour, features[:, 3:].expand(len(colour), -1, -1, -1)], 1)


def sample_texture(texture: Tensor, grid: Tensor) -> Tensor:
    """A texture [1 or B, C, r, r] at grid [B, h, w, 2] -> [B, C, h, w]."""
    return F.grid_sample(texture.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False)
