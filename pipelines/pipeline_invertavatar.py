"""`InvertAvatarPipeline`: photos -> avatar -> animation (paper Fig. 2).

Shapes: B batch of frames, N photos, T driving frames, V 478 landmarks, S side of the output.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from numbers import Integral
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from invertavatar.avatar import Avatar
from invertavatar.avatar_format.layout import shortened
from invertavatar.baking.bake import baked
from invertavatar.baking.baked_avatar import BakedAvatar
from invertavatar.baking.rigged_mesh import RiggedMesh
from invertavatar.errors import AvatarError, InvertAvatarError
from invertavatar.head.head_model import HeadModel
from invertavatar.media import load_images
from invertavatar.models.generator import AvatarGenerator
from invertavatar.models.latent_encoder import LatentEncoder
from invertavatar.models.recurrent_unet import FusionMode
from invertavatar.models.texture_encoder import TextureEncoder
from invertavatar.models.triplane_encoder import TriplaneEncoder
from invertavatar.rendering.background import compose, resolve_background
from invertavatar.rendering.drive import Drive
from invertavatar.rendering.framing import check_framing
from invertavatar.runtime.prefetch import prefetch
from invertavatar.speech.blending import over_photo
from invertavatar.speech.listening import Audio, num_pieces
from invertavatar.speech.recognisers import recogniser_for
from invertavatar.speech.speaking import joined, speak_stream
from invertavatar.steps import pasted
from invertavatar.steps.frames import (
    Sight,
    StepEnd,
    blend_of_photos,
    composed_frames,
    finished_pictures,
    rendered_layers,
)
from invertavatar.steps.prior import sample_avatar
from invertavatar.tracking.driver_reader import DriverReader
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.neutral_frame import check_neutral_frame
from invertavatar.tracking.portrait import Portrait, prepare_portrait
from invertavatar.tracking.retargeting import check_retargeting, named_scores, retarget
from invertavatar.tracking.tracker import FaceTracker

from .pipeline_inputs import check_frames, check_mesh, check_output_type, posed_expression, rotations
from .pipeline_output import FrameStream, InvertAvatarPipelineOutput, as_output_type
from .pipeline_parts import PipelineParts

OWN_CAMERA = {"field_of_view": None, "zoom": 1.0}


class InvertAvatarPipeline(PipelineParts):
    """One to N photos of a person in, an animatable 3D head avatar out.

    .. note:: **Steps.** A step is one photo fused or one frame rendered. `callback_on_step_end` is called after each as
        `callback(pipe, step, None, values)`. Of what `callback_on_step_end_tensor_inputs` names, `values` holds
        "avatar", the avatar so far, after a photo, and "frames", [1, 3 or 4, S, S] in 0..1, after a frame. What the
        dict that it returns holds of these takes their place.

    .. note:: **Threads.** Several threads may share a pipeline, but not one with `enable_model_cpu_offload`, whose
        hooks move the networks under way.

    .. note:: **Devices.** `device_map="balanced"` takes one device for the whole pipeline, the default accelerator:
        all its networks work on each photo, and even the paper's preset fits a small GPU. Several GPUs share a video's
        frames by `accelerate launch scripts/animate.py`.

    Args:
        latent_encoder: E_latent, photo -> w+.
        texture_encoder: E_tex_rec, UV-space observations -> texture offsets.
        triplane_encoder: E_tri_rec, canonical observations -> modulation of the static tri-plane.
        generator: G_tex, G_static, G_face and R.
        head_model: The parametric model of the whole head, with the chart of the face.
        face_tracker: Finds faces; may be None where photos and drivers come tracked.
    """

    model_cpu_offload_seq = "latent_encoder->texture_encoder->triplane_encoder->generator"
    _exclude_from_cpu_offload = ["head_model"]  # noqa: RUF012  small, and read without a forward call
    _optional_components = ["face_tracker"]  # noqa: RUF012
    _callback_tensor_inputs = ["avatar", "frames"]  # noqa: RUF012

    def __init__(
        self,
        latent_encoder: LatentEncoder,
        texture_encoder: TextureEncoder,
        triplane_encoder: TriplaneEncoder,
        generator: AvatarGenerator,
        head_model: HeadModel,
        face_tracker: FaceTracker | None = None,
    ):
        super().__init__()
        self.register_modules(
            latent_encoder=latent_encoder,
            texture_encoder=texture_encoder,
            triplane_encoder=triplane_encoder,
            generator=generator,
            head_model=head_model,
            face_tracker=face_tracker,
        )

    # 1. Photos -> avatar

    @torch.no_grad()
    def reconstruct(
        self,
        image: "str | PIL.Image.Image | np.ndarray | Tensor | Sequence",
        face_index: int = 0,
        fusion: FusionMode = "gru",
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("avatar", "frames"),
    ) -> Avatar:
        """Build an avatar.

        Args:
            image: One photo or several of one person: paths, folders, PIL images, arrays, tensors; a video lends
                frames.
            face_index: Which face where a photo shows several, 0 is the largest.
            fusion: "gru" as in the paper; its baselines "mean" and "first" for comparison.
            callback_on_step_end: Called after each photo; see the class.
            callback_on_step_end_tensor_inputs: See the class.

        Raises:
            MediaError: A photo cannot be read.
            NoFaceError: A photo shows no face.
        """
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        return self._fuse(None, image, face_index, fusion, callback)

    @torch.no_grad()
    def update(
        self,
        avatar: Avatar,
        image: "str | PIL.Image.Image | np.ndarray | Tensor | Sequence",
        face_index: int = 0,
        fusion: FusionMode = "gru",
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("avatar", "frames"),
    ) -> Avatar:
        """Refine an avatar with more photos; `reconstruct([a, b])` equals `update(reconstruct([a]), b)` bit for bit.

        Args and errors are those of `reconstruct`; the avatar given stays as it is.
        """
        self._check_avatar(avatar)
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        return self._fuse(avatar, image, face_index, fusion, callback)

    def _fuse(
        self,
        avatar: Avatar | None,
        image: "str | PIL.Image.Image | np.ndarray | Tensor | Sequence",
        face_index: int,
        fusion: FusionMode,
        callback: StepEnd,
    ) -> Avatar:
        self._check_callback(callback[1])
        photos, names = load_images(image)
        steps, tracker = list(zip(photos, names, strict=True)), self._tracker()
        finest = self.generator.config.detail_resolution

        def prepared(step: tuple[np.ndarray, str]) -> Portrait:
            return prepare_portrait(step[0], tracker, step[1], face_index, finest=finest)

        try:
            with closing(prefetch(prepared, steps, workers=min(1, len(steps) - 1))) as portraits:
                for step, portrait in enumerate(self._with_progress(portraits, len(steps), "Photos")):
                    avatar = self._with_portrait(avatar, portrait, fusion)
                    avatar = self._at_step_end(callback, step, avatar=avatar)["avatar"]
        finally:
            self.maybe_free_model_hooks()
        return avatar

    @torch.no_grad()
    def add_portrait(self, avatar: Avatar | None, portrait: Portrait, fusion: FusionMode = "gru") -> Avatar:
        """One step of incremental inversion (paper 3.3): a tracked photo joins the avatar.

        Args:
            avatar: What is known so far; None at the first photo.
            portrait: From `prepare_portrait`.
            fusion: See `reconstruct`.
        """
        if avatar is not None:
            self._check_avatar(avatar)
        try:
            return self._with_portrait(avatar, portrait, fusion)
        finally:
            self.maybe_free_model_hooks()

    @torch.no_grad()
    def sample(self, seed: int = 0, truncation_psi: float = 1.0, generator: torch.Generator | None = None) -> Avatar:
        """Draw a person who does not exist; all other calls take the avatar like one made of photos.

        It has no photos (`num_images` is 0), a frontal rest without expression and a grey backdrop. A first photo given
        to `update` decides over all but w+, which stays.

        Args:
            seed: One person for each number, the same on every device.
            truncation_psi: 0..1; 1 draws people as they differ, 0 gives the average person.
            generator: Draw from it instead of from a seed; on the CPU it gives the same people on every device.

        Raises:
            InvertAvatarError: `truncation_psi` or the seed is out of its range.
        """
        if not isinstance(seed, Integral) or not 0 <= seed < 1 << 64:
            raise InvertAvatarError(f"A seed is a whole number from 0 to 2^64 - 1, not {shortened(seed)}.")
        if not 0 <= truncation_psi <= 1:
            raise InvertAvatarError(f"truncation_psi runs from 0 to 1; {truncation_psi} does not.")
        generator = generator or torch.Generator().manual_seed(seed)
        device = self._execution_device
        avatar = sample_avatar(self._networks(), generator, truncation_psi, self.fingerprint, device)
        self.maybe_free_model_hooks()
        self._check_finite((avatar.ws, avatar.shape))
        return avatar

    # 2. Driver -> motion

    def track(
        self,
        driving: "str | Path | PIL.Image.Image | np.ndarray | Sequence",
        face_index: int = 0,
        fps: float | None = None,
        max_frames: int | None = None,
        neutral_frame: int | float | str | None = None,
    ) -> Motion:
        """The motion of a driver.

        Args:
            driving: A video, an animated GIF, WebP or PNG, a photo, a list of frames, a saved motion (.safetensors) or
                a table of ARKit scores (.csv and others: `Motion.from_arkit_csv`).
            face_index: Which face where there are several.
            fps: Resample to this rate; of a list of frames or a table without times it states the rate.
            max_frames: Take no more frames than this.
            neutral_frame: The frame that is neutral, by its number from 0 or its time; see `Motion.with_neutral_frame`.

        Raises:
            MediaError, NoFaceError, MotionError: The driver cannot be read, shows no face, or is no motion.
        """
        if max_frames is not None and max_frames < 1:
            raise InvertAvatarError(f"max_frames must be 1 or more, not {max_frames}.")
        reader = DriverReader(
            driving,
            lambda: self.recorder._replace(tracker=self._tracker()),
            face_index=face_index,
            fps=fps,
            max_frames=max_frames,
            neutral_frame=neutral_frame,
        )
        try:
            for _ in self._with_progress(reader, reader.num_frames, "Tracking"):
                pass
            return reader.motion()
        finally:
            self.maybe_free_model_hooks()

    def speak(
        self,
        audio: Audio,
        fps: float = 25,
        language: str = "en",
        speech_model: str | None = None,
        head_motion: float = 0.5,
        blinks: bool = True,
        seed: int = 0,
        max_frames: int | None = None,
        avatar: Avatar | None = None,
    ) -> Motion:
        """The motion of one who says what is heard; `speech.blending.with_speech` gives it the head motion of a driver.

        Args:
            audio: A sound file (wav, mp3, m4a, ogg, flac...), a video with sound, or samples [N] with their rate.
            fps: Frames per second.
            language: What is spoken: "en", or another with a `speech_model` that hears it.
            speech_model: Folder or Hub id of a phoneme model; by default PocketSphinx hears English.
            head_motion: 0..1 strength of the head's own small motion.
            blinks: Whether the eyes blink.
            seed: Of blinks and head motion.
            max_frames: Take no more frames than this.
            avatar: For whom: a smile of the first photo then gives way where lips close or round.

        Raises:
            MediaError: The sound cannot be read.
            InvertAvatarError: The language has no model here, or a number is out of its range.
        """
        recognise = recogniser_for(language, speech_model)
        parts = speak_stream(audio, recognise, fps, head_motion, blinks, seed)
        motion = joined(self._with_progress(parts, num_pieces(audio), "Listening"), max_frames)
        return motion if avatar is None else over_photo(motion, avatar.rest)

    # 3. Avatar and motion -> pictures

    @torch.no_grad()
    def animate_stream(
        self,
        avatar: Avatar,
        driving_video: "str | Path | Sequence | None" = None,
        driving_image: "str | Path | PIL.Image.Image | np.ndarray | None" = None,
        motion: Motion | None = None,
        animation_region: str = "all",
        relative_motion: bool = True,
        motion_scale: float = 1.0,
        smooth: float = 0.0,
        neutral_frame: int | float | str | None = None,
        follow_translation: bool = False,
        yaw: float | Sequence[float] = 0.0,
        pitch: float | Sequence[float] = 0.0,
        roll: float | Sequence[float] = 0.0,
        field_of_view: float | None = None,
        zoom: float = 1.0,
        height: int = 512,
        width: int | None = None,
        framing: str = "photo",
        background: "str | Path | np.ndarray | PIL.Image.Image" = "gray",
        into: "str | Path | np.ndarray | PIL.Image.Image | None" = None,
        into_face_index: int = 0,
        batch_size: int | None = None,
        frames: slice = slice(None),
        crossfade: float = 0.4,
        output_type: str = "uint8",
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("avatar", "frames"),
    ) -> FrameStream:
        """Render frame after frame; memory does not grow with their number.

        Args:
            avatar: From `reconstruct`.
            driving_video: A video (or list of frames) to follow; or give one of the next two.
            driving_image: A photo to take the expression and pose from.
            motion: From `track` or `Motion`'s own constructors.
            animation_region: "all", "exp", "pose", "lip" or "eyes"; the rest stays as in the first photo.
            relative_motion: Add the driver's departure from their own neutral to the first photo's expression and pose;
                else take the driver's expression and pose as they are.
            motion_scale: Strength of the motion.
            smooth: 0..1, One-Euro smoothing.
            neutral_frame: The driver's frame that is neutral, by its number from 0 (12) or its time (0.5, "0:01.5"). By
                default that of the motion, 0 in tables of scores, else the median over the clip.
            follow_translation: Let the head also move and grow in the picture as the driver's does.
            yaw: Degrees by which the camera sees the whole person turned further, to the picture's right. One
                number, or one for each rendered frame.
            pitch: Degrees, upwards.
            roll: Degrees, clockwise.
            field_of_view: Degrees of the camera, 0 for weak perspective; the model's own by default.
            zoom: Above 1 the head grows.
            height: H of the frames in pixels.
            width: W; as much as H by default.
            framing: "photo" shows as much as most photos do, "head" the head alone, "bust" all there is of the person,
                who ends in a curve below, and "crop" the square that the networks work on, whatever there is in it.
            background: "original", "blur", "transparent", a colour ("gray", "#3366cc") or a picture.
            into: A photo, or a video, in which the person's head is replaced; frames are as large as it is, up to 4096
                pixels, and what says how frames are seen (from `follow_translation` to `background`) has no effect. In
                a video the driver's expression takes the place of its own where `animation_region` says so.
            into_face_index: Which of several faces there, 0 is the largest.
            batch_size: Frames rendered at a time; by default one, and on CUDA as many as make good use of it.
            frames: Which of the driver's frames are rendered; the driver's neutral and the smoothing come from all.
            crossfade: Seconds in which hair and shoulders change over from one photo to the next as the head turns; 0
                where frames do not follow each other.
            output_type: "uint8" for arrays [H, W, 3 or 4], "pt" for tensors [3 or 4, H, W] in 0..1.
            callback_on_step_end: Called after each frame; see the class.
            callback_on_step_end_tensor_inputs: See the class.

        Returns:
            An iterator that renders a frame when it is asked for one, and says beforehand how many there are and their
            rate.

        Raises:
            InvertAvatarError: An input cannot be used; each message says which and what to do.
        """
        # 1. All that can be wrong is said before a long video is tracked.
        callback = callback_on_step_end, callback_on_step_end_tensor_inputs
        if into is not None:
            pasted.check_into(self)
        self.check_inputs(avatar, driving_video, driving_image, motion, callback_on_step_end_tensor_inputs)
        check_frames(field_of_view, zoom, height, batch_size, output_type, ("uint8", "pt"))
        check_framing(framing, width)
        check_retargeting(animation_region, motion_scale, smooth)
        if neutral_frame is not None:
            check_neutral_frame(neutral_frame)
        if crossfade < 0:
            raise InvertAvatarError(f"crossfade is a time in seconds, 0 or more, not {crossfade}.")
        view = rotations(yaw, pitch, roll)

        # 2. What is seen of the person, before what: their own photo or video with `into`.
        avatar = avatar.to(self._execution_device)
        scene = None if into is None else pasted.read_scene(self, avatar, into, into_face_index)
        frame = self.framing_of(avatar, framing, height, width)
        behind = resolve_background(background, avatar.backdrop, frame)

        # 3. The driver's motion, tracked where it is a picture.
        driver = motion
        if driver is None:
            driver = self.track(driving_video if driving_video is not None else driving_image)
        if neutral_frame is not None:
            driver = driver.with_neutral_frame(neutral_frame)
        options = {"relative_motion": relative_motion, "motion_scale": motion_scale, "smooth": smooth}
        if scene is not None:
            motion = pasted.driven_motion(driver, scene, animation_region, **options)
            rendered = pasted.pasted_frames(self, avatar, scene, motion, frames)
            rendered = finished_pictures(self, rendered, len(motion[frames]), output_type, callback)
            return FrameStream(rendered, len(motion[frames]), motion.fps, driver)

        # 4. The motion of the avatar.
        motion = retarget(
            driver,
            avatar.rest,
            animation_region=animation_region,
            follow_translation=follow_translation,
            **options,
        )
        whole, motion = motion, motion[frames]
        if view.ndim == 3 and len(view) not in (1, motion.num_frames):
            raise InvertAvatarError(f"There are {len(view)} angles for the {motion.num_frames} frames of the driver.")

        # 5. Photos that each frame looks up, then frames, batch after batch, over the background.
        blend = blend_of_photos(self, avatar, whole, frames, view, crossfade)
        sight = Sight(view, field_of_view, zoom, frame)
        recorded = callback_on_step_end is None  # a callback may change whatever it likes
        layers = rendered_layers(self, avatar, motion, sight, batch_size, blend, recorded)
        rendered = composed_frames(self, layers, behind, output_type, callback)
        return FrameStream(rendered, motion.num_frames, motion.fps, driver)

    @torch.no_grad()
    def animate(self, avatar: Avatar, output_type: str = "pil", **kwargs) -> InvertAvatarPipelineOutput:
        """All frames at once; takes what `animate_stream` takes.

        Args:
            avatar: From `reconstruct`.
            output_type: "pil", "np" ([T, S, S, C] in 0..1) or "pt" ([T, C, S, S] in 0..1).
        """
        check_output_type(output_type)
        stream = self.animate_stream(avatar, output_type="pt", **kwargs)
        frames = as_output_type(torch.stack(list(stream)), output_type)
        return InvertAvatarPipelineOutput(frames, stream.fps, avatar, stream.motion)

    @torch.no_grad()
    def render(
        self,
        avatar: Avatar,
        yaw: float | Sequence[float] = 0.0,
        pitch: float | Sequence[float] = 0.0,
        roll: float | Sequence[float] = 0.0,
        expression: Mapping[str, float] | None = None,
        field_of_view: float | None = None,
        zoom: float = 1.0,
        height: int = 512,
        width: int | None = None,
        framing: str = "photo",
        background: "str | Path | np.ndarray | PIL.Image.Image" = "gray",
        batch_size: int | None = None,
        output_type: str = "pil",
        return_depth: bool = False,
        turn_body: bool = False,
    ) -> "list[PIL.Image.Image] | np.ndarray | Tensor | tuple":
        """Still pictures from any side; with alpha on a "transparent" background.

        Args:
            avatar: From `reconstruct`.
            yaw: Degrees, one or a list; positive turns the face to the picture's right.
            pitch: Degrees, upwards.
            roll: Degrees, clockwise.
            expression: ARKit name -> score in 0..1, on the neutral face; the first photo's expression by default.
            field_of_view: See `animate_stream`.
            zoom: See `animate_stream`.
            height: See `animate_stream`.
            width: See `animate_stream`.
            framing: See `animate_stream`.
            background: See `animate_stream`.
            batch_size: See `animate_stream`.
            output_type: "pil", "np" ([T, S, S, C] in 0..1) or "pt" ([T, C, S, S] in 0..1).
            return_depth: Also give the depth of what is seen.
            turn_body: Look at the person from another side, instead of having the head turn on its neck.

        Returns:
            The pictures; with `return_depth` the tuple (pictures, depth). Depth is z in camera space in head units, 0
            at the plane through the head's centre and larger toward the viewer, NaN where there is no head: float32
            [T, S, S], for "pt" a tensor [T, 1, S, S].

        Raises:
            InvertAvatarError: An input cannot be used, such as an expression without such an axis.
        """
        # 1. All that can be wrong is said first.
        self._check_avatar(avatar)
        check_frames(field_of_view, zoom, height, batch_size, output_type)
        check_framing(framing, width)

        # 2. A motion of as many frames as there are angles: the head's, or with the body nobody's.
        rotation = rotations(yaw, pitch, roll).reshape(-1, 3, 3)
        scores, residual = posed_expression(avatar, expression)
        still = torch.eye(3).expand_as(rotation)
        motion = Motion(
            rotation=still if turn_body else rotation,
            expression=scores.expand(len(rotation), -1),
            residual=residual.expand(len(rotation), -1),
            residual_region=avatar.rest.residual_region,
            torso_pose=avatar.rest.torso_pose.expand(len(rotation), -1),
        )

        # 3. What is seen of the person, before what.
        avatar = avatar.to(self._execution_device)
        frame = self.framing_of(avatar, framing, height, width)
        behind = resolve_background(background, avatar.backdrop, frame)

        # 4. Frames, batch after batch, over the background.
        sight = Sight(rotation if turn_body else still, field_of_view, zoom, frame)
        frames, depths = [], []
        for colour, opacity, depth in rendered_layers(self, avatar, motion, sight, batch_size):
            self._check_finite((colour, opacity, depth))
            frames.append(compose(colour, opacity, behind))
            depths.append((depth / opacity).where(opacity > 0.5, torch.nan))
        frames, depth = as_output_type(torch.cat(frames), output_type), torch.cat(depths)
        if not return_depth:
            return frames
        return frames, depth if output_type == "pt" else depth[:, 0].cpu().numpy()

    @torch.no_grad()
    def bake(self, avatar: Avatar, texture_size: int = 1024) -> BakedAvatar:
        """The avatar as a rigged mesh in one texture, which any 3D program moves and a CPU draws in milliseconds.

        It is the head model fitted to the person, which the pictures are drawn on: skin, ears, eyeballs, teeth and
        tongue, with 52 morph targets named as ARKit's, joints and skinning; hair and clothes stand off it as far as the
        photos' mattes say (`head.displacement`). Its colours are those of rendered views, in one even light.

        Args:
            avatar: From `reconstruct`.
            texture_size: Side of the texture in pixels, a power of two.

        Raises:
            InvertAvatarError: An input cannot be used.
        """
        self._check_avatar(avatar)
        check_mesh(texture_size)
        avatar, size = avatar.to(self._execution_device), max(texture_size // 2, 256)
        features = self.canonical_features(avatar, size)

        def render(clip: Drive) -> tuple[Tensor, Tensor, Tensor]:
            frame = self.render_frames(avatar, features, clip, OWN_CAMERA, size)
            self._check_finite(frame[:2])
            return frame

        try:
            framing = self.framing_of(avatar, "photo", texture_size)
            return baked(self._networks(), avatar, features, render, texture_size, framing, self._with_progress)
        finally:
            self.maybe_free_model_hooks()

    def extract_mesh(
        self, avatar: Avatar, expression: Mapping[str, float] | None = None, texture_size: int = 1024
    ) -> RiggedMesh:
        """The mesh of `bake` alone, to be saved as .glb, .obj or .ply, with an expression where one is asked for.

        Args:
            avatar: From `reconstruct`.
            expression: ARKit name -> score; by default the neutral head.
            texture_size: Side of the texture in pixels, a power of two.

        Returns:
            A mesh in head space; its `save` writes .glb, .obj or .ply.

        Raises:
            InvertAvatarError: An input cannot be used.
        """
        self._check_avatar(avatar)
        named_scores(expression or {})  # all that can be wrong is said before anything is rendered
        return self.bake(avatar, texture_size).with_expression(expression or {})

    @torch.no_grad()
    def __call__(
        self,
        image: "str | PIL.Image.Image | np.ndarray | Tensor | Sequence | None" = None,
        driving_video: "str | Path | Sequence | None" = None,
        driving_image: "str | Path | PIL.Image.Image | np.ndarray | None" = None,
        motion: Motion | None = None,
        avatar: Avatar | None = None,
        face_index: int = 0,
        fusion: FusionMode = "gru",
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("avatar", "frames"),
        **kwargs,
    ) -> InvertAvatarPipelineOutput | tuple:
        """Photos and a driver in, frames out: `reconstruct` (or `update`, with an avatar too) and `animate`.

        Args:
            image: Photos of the person, as for `reconstruct`; may be None with an avatar.
            driving_video: See `animate_stream`, as are the next two.
            driving_image: A driving photo.
            motion: A motion tracked before.
            avatar: An avatar to animate, or to refine with `image`.
            face_index: See `reconstruct`.
            fusion: See `reconstruct`.
            output_type: "pil", "np" or "pt".
            return_dict: False gives the tuple (frames, fps, avatar, motion).
            callback_on_step_end: Called after each photo, and from 0 again after each frame; see the class.
            callback_on_step_end_tensor_inputs: See the class.
            **kwargs: The further arguments of `animate_stream`.
        """
        # 1. All that can be wrong is said first.
        if image is None and avatar is None:
            raise AvatarError("Give photos of a person as image, or an avatar built before.")
        drivers = {"driving_video": driving_video, "driving_image": driving_image, "motion": motion}
        self.check_inputs(avatar, **drivers, callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs)
        callback = {
            "callback_on_step_end": callback_on_step_end,
            "callback_on_step_end_tensor_inputs": callback_on_step_end_tensor_inputs,
        }

        # 2. Photos -> avatar; further photos refine the one that is given.
        if image is not None:
            photos = {"face_index": face_index, "fusion": fusion, **callback}
            avatar = self.reconstruct(image, **photos) if avatar is None else self.update(avatar, image, **photos)

        # 3. Avatar and driver -> frames.
        output = self.animate(avatar, output_type, **drivers, **callback, **kwargs)
        return output if return_dict else output.to_tuple()
