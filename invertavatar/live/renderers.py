"""What draws live frames: the baked avatar on a CPU, or the full renderer where there is a GPU for it.

Shapes: S side of a frame, N photos.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..avatar import Avatar
from ..baking.baked_avatar import BakedAvatar
from ..head.head_model import HeadModel
from ..rendering.background import compose, resolve_background
from ..rendering.drive import drive, standing
from ..rendering.source_views import view_weights
from ..tracking.motion import Motion

if TYPE_CHECKING:
    from ..pipelines.pipeline_invertavatar import InvertAvatarPipeline

STRAIGHT = torch.eye(3)


class FastRenderer:
    """Draws a baked avatar: some milliseconds a frame on one core.

    Args:
        avatar: From `InvertAvatarPipeline.bake`, or loaded.
        size: S.
        background: See `BakedAvatar.render`.

    Raises:
        InvertAvatarError: The background cannot be used.
    """

    head_model: HeadModel | None = None  # it shows nothing but the 52 scores

    def __init__(self, avatar: BakedAvatar, size: int = 512, background: str | Path | np.ndarray = "gray"):
        self.avatar, self.rest, self._frame = avatar, avatar.rest, avatar.framing("photo", size)
        self._behind, self._camera = avatar.behind(background, self._frame), avatar.camera(STRAIGHT)

    def __call__(self, motion: Motion) -> np.ndarray:
        """[S, S, 3] uint8 of a motion of one frame, which `retarget` has made the avatar's."""
        driven = motion.expression[0], motion.rotation[0]
        return self.avatar.frame(*driven, self._camera, self._behind, self._frame)


class FullRenderer:
    """Draws an avatar as `InvertAvatarPipeline.animate_stream` does, frame by frame.

    Args:
        pipe: The pipeline.
        avatar: From `reconstruct`.
        size: S.
        background: See `animate_stream`; not "transparent".
        crossfade: Seconds in which hair and shoulders change over from one photo to the next.
        fps: Frames a second that are expected.

    Raises:
        InvertAvatarError: The avatar is another model's, or the background cannot be used.
    """

    @torch.no_grad()
    def __init__(
        self,
        pipe: "InvertAvatarPipeline",
        avatar: Avatar,
        size: int = 512,
        background: str | Path | np.ndarray = "gray",
        crossfade: float = 0.4,
        fps: float = 20.0,
    ):
        pipe.check_inputs(avatar, None, None, Motion(STRAIGHT[None], torch.zeros(1, 52)), ())
        self.pipe, self.head_model = pipe, pipe.head_model
        self.avatar = avatar.to(pipe.device)
        self.rest = avatar.rest
        self._frame = pipe.framing_of(self.avatar, "photo", size)
        self._features = pipe.canonical_features(self.avatar, self._frame.side)
        self._behind = resolve_background(background, self.avatar.backdrop, self._frame)
        self._step = 1 - 0.1 ** (1 / max(1.0, crossfade * fps))  # of the way to new weights in a frame
        self._blend = None

    @torch.no_grad()
    def __call__(self, motion: Motion) -> np.ndarray:
        """[S, S, 3] uint8 of a motion of one frame, which `retarget` has made the avatar's."""
        blend = None
        if self.avatar.views is not None:
            torso_pose = motion.torso_pose.to(self.avatar.device) if motion.torso_pose.shape[1] else None
            rotation = motion.rotation.to(self.avatar.device)
            blend = view_weights(self.avatar.views, rotation, torso_pose, self.pipe.generator.fusion)
            blend = blend if self._blend is None else torch.lerp(self._blend, blend, self._step)
            self._blend = blend
        clip = drive(motion, STRAIGHT[None], blend, self.avatar.device)
        zoom, frame = 1 / self._frame.extent, self._frame
        if frame.stands:
            stay = standing(self.avatar.shape.joints, clip.head_to_torso, STRAIGHT, self.rest.rotation)
            clip = clip._replace(stay=frame.held(stay))
        camera = {"field_of_view": None, "zoom": zoom}
        layers = self.pipe.render_frames(self.avatar, self._features, clip, camera, frame.side, frame)[:2]
        colour, opacity = map(frame.cut, layers)
        picture = compose(colour, opacity, self._behind)[0]
        return (picture * 255).round().byte().permute(1, 2, 0).cpu().numpy()
