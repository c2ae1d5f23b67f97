"""The animatable 3D GAN prior: G_tex, G_static, G_face and R in one component (paper 3.1).

Shapes: B batch, L w-layers, C channels of a plane or texture, D feature channels, r resolution, H W picture.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..camera import Camera
from ..head.driven_head import DrivenHead
from ..rendering.face_window import FaceWindow
from ..rendering.framing import FramingSettings
from ..rendering.observation import ObservedTexture
from ..rendering.paste_settings import PasteSettings
from ..rendering.reprojection import ReprojectionSettings, Sources
from ..rendering.resize import resize
from ..rendering.source_views import FusionSettings, SourceViews, blended
from ..rendering.surface import HeadSurface
from ..rendering.uv import fill_unseen
from ..rendering.volume_renderer import Planes, Rendering, VolumeRenderer
from ..runtime.half_precision import Network
from .backbones import SynthesisBackbone
from .compositor import Composite, CompositionSettings, Compositor, Look
from .mapping import MappingNetwork
from .super_resolution import SuperResolution
from .triplane_encoder import StaticModulation


class CanonicalFeatures(NamedTuple):
    """An avatar in the two canonical spaces (paper 3.2), and its photos: all that a frame needs besides its motion."""

    textures: dict[int, Tensor]  # F_tex: resolution -> [B, C, r, r]
    alpha: Tensor | None  # [B, 1, r, r] in UV: how far the textures are trusted in eyes and mouth; None everywhere
    planes: Tensor  # F_tri: [B, 3 C, r, r], without what the photos show
    views: SourceViews | None = None  # the photos; None where there are none
    sources: Sources | None = None  # the same, ready to be looked up
    fill: Tensor | None = None  # [B, V, 3] see `reprojection.filled`
    off: Tensor | None = None  # [V] how far hair and clothes stand off the skin, see `HeadModel.stand_off`


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
        neural_resolution: h = w of the raw rendering.
        image_resolution: H = W of training pictures, and of what the compositor looks at; any size can be rendered.
        feature_channels: D of the raw features.
        decoder_channels: Hidden width of the decoder.
        coarse_samples: Samples spread over each ray, without the surface.
        fine_samples: Samples where the density is, likewise.
        super_resolution_channels: Width at the neural resolution, twice that, ..., without the surface (paper).
        compositor_channels: Width of the compositor at `image_resolution` and downward by halves, with the surface.
        field_of_view: Degrees of the camera; 0 is weak perspective.
        observed_colour: DESIGN 5.1, the photos' colours join the first three channels of texture and frontal plane.
        surface_rendering: DESIGN 5.1: the driven head model says where the surface is, and photos are looked up there.
        output_gain: DESIGN 5.4, initial scale of every output head.
        detail_resolution: Size at most of the photos that are kept: half of it, where they are no finer.
        behind: See `VolumeRenderer`, as is `aside`.
        reprojection: See `ReprojectionSettings`.
        fusion: See `FusionSettings`.
        composition: See `CompositionSettings`.
        framing: See `FramingSettings`.
        paste: See `PasteSettings`.
        mapping_layers: Layers of the mapping network.
        layerwise_mapping: Whether it gives each layer a w of its own: see `MappingNetwork`.
        reproject_photos: With `surface_rendering` photos are reprojected into frames; False: what frames show of them
            came through the encoders, as in the paper.
        weights_id: Digest of the weights that training wrote; an avatar belongs to the weights that made it.
    """

    later_settings = MappingProxyType({"reproject_photos": True})

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
        coarse_samples: int = 48,
        fine_samples: int = 48,
        super_resolution_channels: Sequence[int] = (24, 16),
        compositor_channels: Sequence[int] = (16, 24, 32, 48, 64, 64),
        field_of_view: float = 0.0,
        observed_colour: bool = True,
        surface_rendering: bool = True,
        output_gain: float = 0.001,
        detail_resolution: int = 1024,
        behind: tuple[float, float] = (-0.3, -0.5),
        aside: tuple[float, float] = (0.15, 0.4),
        reprojection: Mapping[str, Any] = ReprojectionSettings()._asdict(),  # numbers, and pairs or lists of two
        fusion: Mapping[str, Any] = FusionSettings()._asdict(),
        composition: Mapping[str, Any] = CompositionSettings()._asdict(),
        framing: Mapping[str, Any] = FramingSettings()._asdict(),
        paste: Mapping[str, Any] = PasteSettings()._asdict(),
        mapping_layers: int = 2,
        layerwise_mapping: bool = False,
        reproject_photos: bool = True,
        weights_id: str = "untrained",
    ):
        super().__init__()
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
        self.face_backbone = SynthesisBackbone(
            w_dim,
            face_channels,
            {finest_face: plane_channels},
            condition_channels=textures,
            output_gain=output_gain,
        )
        self.plane_resolution, self.window_resolution = finest_plane, finest_face
        backbones = (self.texture_backbone, self.static_backbone, self.face_backbone)
        self.num_ws = max(backbone.num_ws for backbone in backbones)
        self.mapping_network = MappingNetwork(
            z_dim, w_dim, self.num_ws, num_layers=mapping_layers, layerwise=layerwise_mapping
        )
        self.reprojection, self.fusion = ReprojectionSettings(**reprojection), FusionSettings(**fusion)
        self.composition = CompositionSettings(**composition)
        self.framing, self.paste = FramingSettings(**framing), PasteSettings(**paste)
        self.renderer = VolumeRenderer(
            plane_channels,
            feature_channels,
            decoder_channels,
            window,
            coarse_samples,
            fine_samples,
            behind,
            aside,
            output_gain,
        )
        if surface_rendering:
            sizes = (feature_channels, compositor_channels, image_resolution)
            self.compositor = Compositor(*sizes, self.composition, output_gain)
        else:
            self.super_resolution = SuperResolution(
                feature_channels, neural_resolution, super_resolution_channels, w_dim, output_gain
            )

    @property
    def coarse_resolution(self) -> int:
        """h = w of the coarse stage's rendering: enough for what w+ can tell."""
        return self.config.neural_resolution // 2

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
        views: SourceViews | None = None,
        prepared: tuple[Sources, Tensor] | None = None,
    ) -> CanonicalFeatures:
        """Canonical features: of the coarse stage from w+ alone, of the fine stage with what the encoders found.

        Args:
            ws: [B, L, w_dim].
            texture_offsets: F_tex_off from `TextureEncoder`, resolution -> [B, C, r, r], of some or all textures.
            modulation: F_tri-SFT from `TriplaneEncoder`.
            observed: The face in the photos, whose colours join with `observed_colour`.
            views: The photos, whose colours in the frontal plane join with `observed_colour`.
            prepared: From `inversion.prepared`, with `surface_rendering`.
        """
        textures = {r: t.float() for r, t in self.texture_backbone(ws).items()}
        if observed is not None and self.config.observed_colour:
            finest = max(textures)
            # The prior's colours stay where no photo shows the face, shifted to meet those around them.
            replaced = fill_unseen(textures[finest][:, :3], resize(observed.weight, finest))
            textures[finest] = add_colour(textures[finest], -replaced)
        if texture_offsets is not None:
            textures = {r: t + texture_offsets[r].float() if r in texture_offsets else t for r, t in textures.items()}
        planes = self.static_backbone(ws, sft=modulation and modulation.sft)[self.plane_resolution].float()
        if modulation is not None and modulation.plane_offsets is not None:
            planes = planes + modulation.plane_offsets.float()
        alpha = None
        if observed is not None and self.config.observed_colour:
            textures = {r: add_colour(t, observed.texture) for r, t in textures.items()}
            alpha = observed.confidence
        sources, fill = prepared or (None, None)
        return CanonicalFeatures(textures, alpha, planes, views, sources, fill)

    @apply_forward_hook
    def face(self, ws: Tensor, features: CanonicalFeatures, window: FaceWindow) -> Tensor:
        """G_face: the neural textures, rasterized with the driven mesh at every scale, become the frontal window.

        Args:
            ws: [B, L, w_dim] or [1, L, w_dim] for a batch of frames of one avatar.
            features: Of the same batch, or of 1.
            window: The driven mesh at `window_resolution`.

        Returns:
            [B, C, r, r] features of the frontal window.
        """
        batch, size = len(window.mask), self.window_resolution
        visible = window.mask
        if features.alpha is not None:  # eyes and teeth that no photo showed are left to the network
            trust = sample_texture(features.alpha, window.grid)
            visible = visible * (1 - window.patch * (1 - trust))
        condition = {}
        for r, texture in features.textures.items():
            pool = size // r
            # Coarse textures through a pooled grid would mix charts; drawing them finely and pooling does not.
            drawn = F.avg_pool2d(sample_texture(texture, window.grid) * visible, pool)
            alpha = F.avg_pool2d(visible, pool)
            condition[r] = (drawn / alpha.clamp(min=1e-3), alpha)
        out = self.face_backbone(ws.expand(batch, -1, -1), condition=condition)[size].float()
        if self.config.observed_colour:
            finest = max(features.textures)
            out = add_colour(out, sample_texture(features.textures[finest][:, :3], window.grid) * window.mask)
        return out

    @apply_forward_hook
    def render(
        self,
        features: CanonicalFeatures,
        face: Tensor,
        window: FaceWindow,
        surface: HeadSurface | None,
        head: DrivenHead,
        camera: Camera,
        hidden: Tensor | None = None,
        jitter: torch.Generator | bool = False,
    ) -> Rendering:
        """R without its last step.

        Args:
            features: Of the batch of frames, or of 1.
            face: G_face's output for the frames.
            window: The driven mesh of the frames.
            surface: The driven head; None marches rays at `neural_resolution`.
            head: The same; its blend is needed where the features hold photos.
            camera: How it is seen.
            hidden: See `VolumeRenderer.on_surface`.
            jitter: See `VolumeRenderer.forward`.

        Raises:
            ValueError: The features hold photos and the head has no blend of them.
        """
        planes = features.planes.expand(len(window.mask), -1, -1, -1)
        if features.views is not None and self.config.observed_colour:
            if head.blend is None:
                raise ValueError("Features with photos are rendered for a head with a blend: see `view_weights`.")
            planes = add_colour(planes, blended(features.views.front, head.blend))
        planes = Planes(planes, face, window.soft)
        if surface is not None:
            return self.renderer.on_surface(planes, surface, hidden)
        return self.renderer(planes, camera, self.config.neural_resolution, jitter, head.head_to_torso, head.torso_pose)

    @apply_forward_hook
    def upsample(self, rendering: Rendering, ws: Tensor, size: int) -> Tensor:
        """Super-resolution of a rendering to `size` pixels, without the surface; ws [B, L, w_dim] or [1, L, w_dim]."""
        return self.super_resolution(rendering.features, ws.expand(len(rendering.features), -1, -1), size)

    @apply_forward_hook
    def compose(self, look: Look, resolution: int | None = None) -> Composite:
        """The last step with the surface: see `Compositor.forward`."""
        return self.compositor(look, resolution)

    def forward(
        self, ws: Tensor, window: FaceWindow, surface: HeadSurface | None, head: DrivenHead, camera: Camera
    ) -> Rendering:
        """The prior alone: w+ -> raw rendering, as the coarse stage needs it; see `inversion.coarse_rendering`."""
        features = self.canonical(ws)
        return self.render(features, self.face(ws, features, window), window, surface, head, camera)


def add_colour(features: Tensor, colour: Tensor) -> Tensor:
    """Adds colours [B, 3, h, h] to the first three channels of features [B, C, r, r]."""
    colour = resize(colour, features.shape[-1])
    return torch.cat([features[:, :3] + colour, features[:, 3:].expand(len(colour), -1, -1, -1)], 1)


def sample_texture(texture: Tensor, grid: Tensor) -> Tensor:
    """A texture [1 or B, C, r, r] at grid [B, h, w, 2] -> [B, C, h, w]."""
    return F.grid_sample(texture.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False)
