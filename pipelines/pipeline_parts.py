"""What the steps of `InvertAvatarPipeline` are made of: parts of a frame, checks, callbacks, recordings, progress bars.

Shapes: B batch of frames, S side of the output.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import PIL.Image
from torch import Tensor

from invertavatar.avatar import Avatar
from invertavatar.avatar_format.layout import Layout, layout_of
from invertavatar.camera import Camera
from invertavatar.errors import AvatarError, InvertAvatarError, MotionError
from invertavatar.head.driven_head import driven_head
from invertavatar.inversion import Inversion, Networks, canonical_features, invert_step, render_frame
from invertavatar.models.generator import CanonicalFeatures
from invertavatar.models.recurrent_unet import FusionMode
from invertavatar.raster import rasterizer_nvdiffrast
from invertavatar.rendering.drive import Drive
from invertavatar.rendering.framing import Framing, framing_of
from invertavatar.rendering.observation import PhotoMaps, View
from invertavatar.rendering.uv import UVAtlas, uv_atlas
from invertavatar.runtime.cuda_graphs import Pending, Recordings
from invertavatar.runtime.fixed_sizes import FixedSizes
from invertavatar.runtime.half_precision import finite
from invertavatar.steps.photos import inversion_of, with_photo
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.portrait import Portrait
from invertavatar.tracking.recorder import Recorder
from invertavatar.tracking.tracker import FaceTracker

from .pipeline_loading import LoadedPipeline

Item = TypeVar("Item")


class PipelineParts(LoadedPipeline):
    """The base of `InvertAvatarPipeline`, which says what its components are."""

    def to(self, *args, **kwargs) -> Self:
        """As in diffusers; what was recorded of a GPU's work (`recordings`) is given back."""
        self.__dict__.pop("_recorded_calls", None)
        return super().to(*args, **kwargs)

    def enable_ray_tiling(self, rays_per_tile: int = 2048) -> None:
        """Trace the rays of a frame in tiles: less memory for large presets, the same pictures to rounding.

        Models with `surface_rendering`, as the shipped one, march no rays and have no need of it.

        Args:
            rays_per_tile: How many rays at a time; a frame has `neural_resolution` squared.

        Raises:
            InvertAvatarError: Less than one ray at a time.
        """
        if rays_per_tile < 1:
            raise InvertAvatarError(f"A tile needs 1 ray or more, not {rays_per_tile}.")
        self.generator.renderer.rays_per_tile = rays_per_tile

    def disable_ray_tiling(self) -> None:
        """Trace all rays of a frame at once again."""
        self.generator.renderer.rays_per_tile = None

    # A photo

    def _with_portrait(self, avatar: Avatar | None, portrait: Portrait, fusion: FusionMode) -> Avatar:
        atlas, device = self._atlas(self.texture_encoder.config.resolution), self._execution_device
        avatar = avatar and avatar.to(device)
        photo, model = portrait.to(device), self.fingerprint
        return with_photo(self._networks(), avatar, photo, atlas, fusion, model, self._invert_step)

    def _invert_step(
        self,
        networks: Networks,
        state: Inversion | None,
        view: View,
        atlas: UVAtlas,
        weight: Tensor | None,
        fusion: FusionMode,
    ) -> tuple[Inversion, PhotoMaps]:
        """`invert_step`, recorded on CUDA."""

        def step(state: Inversion | None, view: View, weight: Tensor | None) -> tuple[Inversion, PhotoMaps]:
            return invert_step(networks, state, view, atlas, weight, fusion)

        room = FixedSizes(scale=2)  # faces are drawn larger than in frames
        return self._recorded(step, ("photo", fusion), room)(state, view, weight).result()

    # A frame

    def canonical_features(self, avatar: Avatar, height: int) -> CanonicalFeatures:
        """What all frames of an avatar share: F_tex and F_tri, hair and clothes, and photos for frames of `height`."""
        atlas, off = self._atlas(avatar.texture_sum.shape[-1]), self.head_model.stand_off(avatar.displacement)
        person = off, avatar.shape.vertices, avatar.shape.joints
        features = canonical_features(self._networks(), inversion_of(avatar), atlas, *person, height)
        self._check_finite(features._replace(views=None))
        return features._replace(off=off)

    def framing_of(self, avatar: Avatar, framing: str, height: int, width: int | None = None) -> Framing:
        """How frames of an avatar are cut out of its crop; for the arguments see `animate_stream`."""
        head_model, off = self.head_model, self.head_model.stand_off(avatar.displacement)
        rest = head_model.dressed(head_model(avatar.shape, avatar.rest.expression.to(avatar.device)), off)[0]
        return framing_of(framing, self.generator.framing, head_model, rest, avatar.views, height, width)

    def render_frames(
        self,
        avatar: Avatar,
        features: CanonicalFeatures,
        clip: Drive,
        camera: Mapping[str, float],
        height: int,
        framing: Framing | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Render frames of one avatar over nothing, of the whole crop.

        Args:
            avatar: On the pipeline's device.
            features: From `canonical_features`.
            clip: What moves B frames.
            camera: "field_of_view" in degrees, None for the model's own, and "zoom": see `animate_stream`.
            height: S.
            framing: See `render_frame`.

        Returns:
            [B, 3, S, S] colours in -1..1, premultiplied by opacity, [B, 1, S, S] opacity, and [B, 1, S, S] depth, which
            is z in camera space, premultiplied too.
        """
        driven = clip.expression, clip.residual, clip.rotation, clip.head_to_torso, clip.torso_pose
        head = driven_head(self.head_model, avatar.shape, features.off, *driven)
        field_of_view = camera["field_of_view"]
        if field_of_view is None:
            field_of_view = self.generator.config.field_of_view
        seen = Camera(clip.rotation, field_of_view, camera["zoom"], clip.stay)
        head = head._replace(blend=clip.blend)
        frame = render_frame(self._networks(), avatar.ws, features, head, seen, height, framing=framing)
        return frame.colour, frame.opacity, frame.depth

    # Checks, callbacks, recordings

    @property
    def fingerprint(self) -> str:
        """Names the weights and all settings that an avatar's state belongs to, whatever their dtype and device."""
        described = {}
        for name, part in self._networks()._asdict().items():
            settings = {key: value for key, value in part.config.items() if not key.startswith("_")}
            for key, value in part.later_settings.items():
                if settings[key] == value:
                    del settings[key]
            numbers = sum(value.numel() for value in part.state_dict().values())
            described[name] = [type(part).__name__, numbers, settings]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
        return f"{self.generator.config.weights_id}-{digest[:16]}"

    @property
    def avatar_layout(self) -> Layout:
        """What the tensors of this pipeline's avatars are; `Avatar.from_pretrained` holds a file against it."""
        return layout_of(self._networks(), self.fingerprint)

    def check_inputs(
        self,
        avatar: Avatar | None,
        driving_video: "str | Path | Sequence | None",
        driving_image: "str | Path | PIL.Image.Image | np.ndarray | None",
        motion: Motion | None,
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
    ) -> None:
        """One sentence for each rule that the avatar, the driver or the callback of a call breaks."""
        if avatar is not None:
            self._check_avatar(avatar)
        drivers = [d for d in (driving_video, driving_image, motion) if d is not None]
        if len(drivers) != 1:
            raise MotionError(f"Give exactly one of driving_video, driving_image and motion, not {len(drivers)}.")
        self._check_callback(callback_on_step_end_tensor_inputs)

    def _check_callback(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self._callback_tensor_inputs]
        if unknown:
            known = self._callback_tensor_inputs
            raise InvertAvatarError(f"callback_on_step_end_tensor_inputs has to be in {known}, but found {unknown}.")

    def _at_step_end(self, callback: tuple[Callable | None, Sequence[str]], step: int, **values) -> dict:
        """The values of a step, some of them perhaps replaced by the user's callback."""
        function, names = callback
        if function is None:
            return values
        named = {}
        for name in names:
            if name in values:
                named[name] = values[name]
        return values | (function(self, step, None, named) or {})

    def _check_avatar(self, avatar: Avatar) -> None:
        if not isinstance(avatar, Avatar):
            raise AvatarError(f"An Avatar is needed, not a {type(avatar).__name__}; build one with reconstruct().")
        if avatar.model != self.fingerprint:
            raise AvatarError("This avatar was built with another model. Build it again from its photos with this one.")
        avatar.check(self.avatar_layout)

    def _check_finite(self, values: Sequence) -> None:
        """Waits for the device; `_refuse_overflow` need not."""
        self._refuse_overflow(finite(values))

    def _refuse_overflow(self, fine: Tensor) -> None:
        """Overflow is an error: a picture of it may look like an empty one."""
        if not fine:
            dtype = str(self.generator.dtype).removeprefix("torch.")
            raise InvertAvatarError(
                f"Numbers that are not finite came out of the networks in {dtype}: load the model with "
                "dtype=torch.float32, and if that does not help, build the avatar again or download the model again."
            )

    @property
    def recorder(self) -> Recorder:
        """What drivers are read with; its tracker is None where the pipeline has none."""
        return Recorder(self.face_tracker, self.head_model, self.triplane_encoder.torso_pose)

    def _networks(self) -> Networks:
        return Networks(*(getattr(self, name) for name in Networks._fields))

    @property
    def _recordings(self) -> Recordings | None:
        """Of what a GPU is asked for again and again; None where there is none, or where hooks move the weights or
        nvdiffrast draws, which asks the GPU for numbers.
        """
        hooked = any(hasattr(part, "_hf_hook") for part in self._networks())
        if self._execution_device.type != "cuda" or hooked or rasterizer_nvdiffrast.is_asked_for():
            return None
        return self.__dict__.setdefault("_recorded_calls", Recordings())

    def _recorded(
        self, function: Callable, key: Hashable, sizes: FixedSizes, recorded: bool = True
    ) -> Callable[..., Pending]:
        """See `Recordings.bound`; a function that only computes where nothing can or shall be recorded."""
        recordings = self._recordings if recorded else None
        if recordings is None:
            return lambda *arguments: Pending(function(*arguments))
        return recordings.bound(function, self._networks(), key, sizes)

    def _tracker(self) -> FaceTracker:
        if self.face_tracker is None:
            raise AvatarError("This pipeline was loaded without a face_tracker, which photos and videos need.")
        return self.face_tracker

    def _atlas(self, size: int) -> UVAtlas:
        device = self.head_model.device
        cache = self.__dict__.setdefault("_atlases", {})
        if (size, device) not in cache:
            cache[size, device] = uv_atlas(self.head_model.chart, size)
        return cache[size, device]

    def _with_progress(self, items: Iterable[Item], total: int, description: str) -> Iterable[Item]:
        if total < 2:
            return list(items)
        bar = self.progress_bar(total=total)
        bar.set_description(description)

        def advance() -> Iterator[Item]:
            with bar:
                for item in items:
                    yield item
                    bar.update()

        return advance()
