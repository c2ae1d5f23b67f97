"""A baked avatar: a rigged mesh in one texture that any 3D program moves, and that a CPU draws in milliseconds.

Shapes: V vertices, F triangles, T driving frames, S side of the output.

It needs no network, and no photo: what the full renderer knows of a person is in the mesh. What it loses is what lies
in no surface (strands of hair, the outline of photos near the frame) and what changes with the view.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..camera import Camera, angles_from_rotation, rotation_from_angles
from ..errors import InvertAvatarError, MediaError
from ..head.arkit import ARKIT_NAMES
from ..head.fitting import bias_terms, capped
from ..head.neck import bent_neck
from ..head.rest_pose import TORSO_POSE_NAMES, displacement
from ..head.skinning import skinned
from ..head.topology import JOINT_NAMES as JOINTS
from ..rendering.background import resolve_background
from ..rendering.drive import standing
from ..rendering.framing import ENDLESS, WHOLE, Framing, Window, framed, placed
from ..tracking.motion import Motion
from ..tracking.retargeting import Retargeting, named_scores, retarget
from . import fast_numba
from .gltf_reader import read_glb
from .rigged_mesh import RiggedMesh
from .smooth_bias import field
from .texturing import even_light

LIDS = 0.004  # head units by which a blink moves what is lid
SMALLEST = 128  # side of a texture, a power of two
BIAS_TERMS = 7  # of `head_model.bias_terms`
CLEARANCE = 1.02  # radii of an eyeball that lids stay away from its middle
EXTRAS = "invertavatar"  # under which a file holds what a mesh does not
# What of `Motion` a file holds of the first photo: its name there -> the field
REST = {"rotation": "rotation", "expression": "expression", "posture": "torso_pose"}


@dataclass(frozen=True, eq=False)
class BakedAvatar:
    """Made by `InvertAvatarPipeline.bake`, or loaded from its own .glb.

    Args:
        mesh: The head without expression, its texture [H, W, 4] in one even light.
        light: [3] logarithm of the photos' light over the unit sphere of normals, in camera space; frames are lit by it
            as the full renderer's are.
        most: Logarithm of the most that light may change a colour, either way.
        rest: One frame: pose, expression and torso pose of the first photo, from which relative motion departs.
        field_of_view: Degrees of the camera, where none is asked for.
        bias: [7, 20, 3] float32 how much elsewhere a tracker would see a turned head, where pictures have it; see
            `head.smooth_bias`.
        bias_reach: Degrees of yaw and pitch beyond which that grows no more.
        window: Of the crop around the head, what the photos show.
        slack: See `Framing.slack`.
        backdrop: [3, r, r] uint8 background of the first photo. Files leave it out: they are made to be given away.
    """

    mesh: RiggedMesh
    light: np.ndarray
    most: float
    rest: Motion
    field_of_view: float = 0.0
    bias: np.ndarray | None = None
    bias_reach: tuple[float, float] = (35.0, 25.0)
    window: Window = WHOLE
    slack: Window = ENDLESS
    backdrop: Tensor | None = None

    # Files

    def save(self, path: str | Path) -> None:
        """Write the avatar: .glb holds all of it but the backdrop; for .obj and .ply see `RiggedMesh.save`.

        Raises:
            MediaError: Another ending, or the place cannot be written to.
        """
        rest = {name: getattr(self.rest, field)[0].tolist() for name, field in REST.items()}
        light = {"light": np.asarray(self.light, float).tolist(), "most": self.most}
        extras = {"rest": rest, **light, "field_of_view": self.field_of_view, "unit": self.mesh.metres_per_unit}
        extras |= {"window": list(self.window), "slack": list(self.slack)}
        if self.bias is not None:
            extras |= {"bias": np.asarray(self.bias, float).tolist(), "reach": list(self.bias_reach)}
        self.mesh.save(path, {EXTRAS: extras})

    @classmethod
    def load(cls, path: str | Path) -> "BakedAvatar":
        """Read a .glb that `save` has written.

        Raises:
            MediaError: It cannot be read, or is another program's.
        """
        name = Path(path).name
        read = read_glb(path)
        try:
            extras = read.extras[EXTRAS]
            rest = {field: torch.tensor(extras["rest"][name])[None] for name, field in REST.items()}
            mesh = read.mesh(float(extras["unit"]))
            light, most = np.array(extras["light"], np.float32), float(extras["most"])
            window, slack = (Window(*map(float, extras[name])) for name in ("window", "slack"))
            side = len(mesh.texture)
            if mesh.texture.shape[1] != side or side < SMALLEST or side & (side - 1):
                raise ValueError
            if light.shape != (3,) or tuple(mesh.joint_names) != JOINTS or tuple(mesh.morphs) != ARKIT_NAMES:
                raise ValueError
            motion = Motion(rest["rotation"], rest["expression"], torso_pose=rest["torso_pose"])
            avatar = cls(mesh, light, most, motion, float(extras["field_of_view"]), window=window, slack=slack)
            if "bias" not in extras:
                return avatar
            bias, (yaw, pitch) = np.array(extras["bias"], np.float32).reshape(7, 20, 3), extras["reach"]
            return replace(avatar, bias=bias, bias_reach=(float(yaw), float(pitch)))
        except (LookupError, TypeError, ValueError, InvertAvatarError) as error:
            raise MediaError(
                f"{name} is no baked avatar of this version; write it anew with `invertavatar export`."
            ) from error

    # Pictures

    def render(
        self,
        motion: Motion,
        size: int = 512,
        background: "str | Path | np.ndarray" = "gray",
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        field_of_view: float | None = None,
        zoom: float = 1.0,
        framing: str = "photo",
        frames: slice = slice(None),
        **retargeting: Unpack[Retargeting],
    ) -> Iterator[np.ndarray]:
        """Draw frame after frame of a motion, as `InvertAvatarPipeline.animate_stream` does.

        Args:
            motion: The driver's.
            size: S.
            background: A colour, a picture, "transparent", or "original" and "blur" where there is a backdrop.
            yaw: Degrees by which the camera sees the whole person turned further, to the picture's right.
            pitch: Degrees, upwards.
            roll: Degrees, clockwise.
            field_of_view: Degrees of the camera; that of the avatar by default.
            zoom: Above 1 the head grows.
            framing: "photo" shows as much as the photos do, "crop" all of the crop around the head.
            frames: Which of the motion's are drawn.
            **retargeting: Options of `retarget`: animation_region, relative_motion, motion_scale, smooth,
                follow_translation.

        Yields:
            [S, S, 3] uint8, or [S, S, 4] with straight alpha where the background is transparent.

        Raises:
            InvertAvatarError: An input cannot be used.
        """
        motion = retarget(motion, self.rest, **retargeting)[frames]
        frame = self.framing(framing, size)
        camera = self.camera(rotation_from_angles(yaw, pitch, roll), field_of_view, zoom)
        behind = self.behind(background, frame)
        moved = torch.cat([motion.translation, motion.scale[:, None]], 1)
        for k in range(motion.num_frames):
            driven = motion.expression[k], motion.rotation[k]
            yield self.frame(*driven, camera, behind, frame, motion.torso_pose[k], moved[k])

    def still(
        self,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        expression: Mapping[str, float] | None = None,
        size: int = 512,
        background: "str | Path | np.ndarray" = "gray",
        turn_body: bool = False,
        field_of_view: float | None = None,
        zoom: float = 1.0,
        framing: str = "photo",
    ) -> np.ndarray:
        """A picture from any side with any expression, as `InvertAvatarPipeline.render` makes it.

        Args:
            yaw: Degrees by which the head is turned, or the whole person with `turn_body`; see `render`.
            pitch: Degrees, upwards.
            roll: Degrees, clockwise.
            expression: ARKit name -> score; that of the first photo by default.
            size: S.
            background: See `render`.
            turn_body: See `yaw`.
            field_of_view: See `render`, as are the others.
            zoom: Above 1 the head grows.
            framing: "photo" or "crop".

        Returns:
            See `render`.

        Raises:
            InvertAvatarError: An input cannot be used.
        """
        still, rotation = torch.eye(3), rotation_from_angles(yaw, pitch, roll)
        head_to_torso, view = (still, rotation) if turn_body else (rotation, still)
        scores = self.rest.expression[0] if expression is None else named_scores(expression)
        frame = self.framing(framing, size)
        behind = self.behind(background, frame)
        return self.frame(scores, head_to_torso, self.camera(view, field_of_view, zoom), behind, frame)

    def camera(self, view: Tensor, field_of_view: float | None = None, zoom: float = 1.0) -> Camera:
        """A camera by which the whole person is turned by [3, 3]; see `render`."""
        return Camera(view, self.field_of_view if field_of_view is None else field_of_view, zoom)

    def framing(self, framing: str, size: int) -> Framing:
        """How frames are cut out of the crop; see `render`."""
        if framing not in ("photo", "crop"):
            raise InvertAvatarError(f'A baked avatar is framed as "photo" or as "crop", not as "{framing}".')
        return placed(WHOLE, size, size) if framing == "crop" else framed(self.window, self.slack, size)

    def behind(self, background: "str | Path | np.ndarray", frame: Framing) -> np.ndarray | None:
        """A background for `frame`, prepared once: [S, S, 3] uint8, None for transparent; see `render`."""
        if isinstance(background, str) and background in ("original", "blur") and self.backdrop is None:
            raise MediaError(f"This baked avatar came without the photo's background: give another than {background}.")
        original = torch.zeros(3, 1, 1, dtype=torch.uint8) if self.backdrop is None else self.backdrop
        picture = resolve_background(background, original, frame)
        if picture is None:
            return None
        return (picture[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()

    def frame(
        self,
        expression: Tensor,
        head_to_torso: Tensor,
        camera: Camera,
        behind: np.ndarray | None,
        framing: Framing,
        torso_pose: Tensor | None = None,
        moved: Tensor | None = None,
    ) -> np.ndarray:
        """Draw one frame.

        Args:
            expression: [52] ARKit scores.
            head_to_torso: [3, 3] the head's rotation relative to the body.
            camera: From `camera`.
            behind: From `behind`.
            framing: From `framing`.
            torso_pose: [12] how shoulders lie, see `rest_pose`; that of the first photo by default.
            moved: [3] right, down in head units and the scale by which the head is moved in the picture.

        Returns:
            See `render`.
        """
        view, zoom = camera.rotation, camera.zoom
        rotation = (view @ head_to_torso)[None]
        vertices = self.posed(expression, head_to_torso, torso_pose, rotation)
        shift, size = None, framing.side
        if framing.stands and (
            moved is None or moved.tolist() == [0, 0, 1]
        ):  # shoulders that the driver moves do not stand
            shift = framing.held(standing(self._drawn.joints, head_to_torso[None], view, self.rest.rotation)) * zoom
        seen = Camera(rotation, camera.field_of_view, zoom / framing.extent, shift)
        places = seen.project(vertices)[0]
        if moved is not None:
            places = torch.cat([places[:, :2] * moved[2] + moved[:2], places[:, 2:]], 1)
        light = torch.from_numpy(self.light)
        ready, drawn = self._drawn, (light @ rotation[0]).numpy()
        gain = fast_numba.lit(vertices[0].numpy(), ready.triangles, drawn, float(even_light(light)), self.most)
        level = int(np.clip(np.log2(len(self.mesh.texture) / (2 * size * max(zoom, 1e-3))), 0, len(ready.levels) - 1))
        arrays = places.numpy(), ready.triangles, ready.part, ready.uv, ready.uv_triangles, gain, ready.levels[level]
        picture = fast_numba.draw(*arrays, framing, ready.opacity, self.mesh.veil)
        return fast_numba.straight(picture) if behind is None else fast_numba.over(picture, behind)

    def with_expression(self, expression: Mapping[str, float]) -> RiggedMesh:
        """The mesh as it stands with an expression, ARKit name -> score; it is no avatar to be driven any more."""
        return replace(self.mesh, vertices=self.posed(named_scores(expression))[0].numpy())

    def posed(
        self,
        expression: Tensor,
        head_to_torso: Tensor | None = None,
        torso_pose: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> Tensor:
        """The mesh with an expression, the neck bent: [1, V, 3] in head space.

        Args:
            expression: [52] ARKit scores.
            head_to_torso: See `frame`, as is `torso_pose`.
            torso_pose: [12].
            rotation: [1, 3, 3] head -> camera, where vertices shall lie as a tracker would see them; see `bias`.
        """
        ready = self._drawn
        bias, further = torch.zeros(1, BIAS_TERMS), torch.zeros(1, len(TORSO_POSE_NAMES))
        if rotation is not None and self.bias is not None:
            yaw, pitch, _ = angles_from_rotation(rotation).unbind(-1)
            bias = bias_terms(yaw, pitch, self.bias_reach)
        if torso_pose is not None and len(torso_pose) and self.rest.torso_pose.shape[1]:
            further = torso_pose[None] - self.rest.torso_pose
        moved = torch.cat([capped(expression[None]), bias, further], 1) @ ready.moves
        vertices = ready.vertices + moved.unflatten(1, (-1, 3))
        for eye, lid in zip(ready.eyes, ready.lids, strict=True):
            middle = vertices[:, eye].mean(1, keepdim=True)
            radius = (vertices[:, eye] - middle).norm(dim=-1).mean() * CLEARANCE
            away = vertices[:, lid] - middle
            vertices[:, lid] = middle + away * (radius / away.norm(dim=-1, keepdim=True).clamp(min=1e-6)).clamp(min=1)
        if head_to_torso is None:
            return vertices
        return skinned(vertices, ready.weights, *bent_neck(ready.joints, head_to_torso[None]))

    @cached_property
    def _drawn(self) -> "Drawn":
        return Drawn.of(self.mesh, self.bias)


@dataclass(frozen=True)
class Drawn:
    """A mesh ready to be drawn."""

    vertices: Tensor  # [1, V, 3]
    moves: Tensor  # [71, 3 V] what moves them: the 52 scores, the 7 terms of the bias, the 12 of a torso pose
    joints: Tensor  # [J, 3]
    weights: Tensor  # [V, J]
    eyes: tuple[Tensor, ...]  # left and right: the vertices of each
    lids: tuple[Tensor, ...]  # and of what closes over it
    triangles: np.ndarray  # [F, 3] int32
    part: np.ndarray  # [F] uint8 skin, eyes, teeth, tongue as pieces that hang together
    uv: np.ndarray  # [U, 2] float32, v down
    uv_triangles: np.ndarray  # [F, 3] int32
    opacity: np.ndarray | None  # [V] float32 of the veil
    levels: tuple[np.ndarray, ...]  # the texture [H, H, 4] uint8, and halves of it

    @classmethod
    def of(cls, mesh: RiggedMesh, bias: np.ndarray | None) -> "Drawn":
        """Prepare a mesh."""
        weights = torch.from_numpy(np.asarray(mesh.skin_weights, np.float32))
        morphs = {name: torch.from_numpy(np.asarray(moved, np.float32)) for name, moved in mesh.morphs.items()}
        eyes = [weights[:, JOINTS.index(f"eye{side}")] > 0.5 for side in ("Left", "Right")]
        blinks = [morphs[f"eyeBlink{side}"].norm(dim=1) > LIDS for side in ("Left", "Right")]
        lids = [blink & ~eyes[0] & ~eyes[1] for blink in blinks]
        vertices = torch.from_numpy(np.asarray(mesh.vertices, np.float32))
        biased = (
            torch.zeros(BIAS_TERMS, vertices.numel())
            if bias is None
            else field(torch.from_numpy(bias), vertices).flatten(1)
        )
        torso_poses = displacement(vertices[None, :, :2], torch.eye(len(TORSO_POSE_NAMES)))
        torso_poses = torch.nn.functional.pad(torso_poses, (0, 1)).flatten(1)
        count, (a, b, c) = len(mesh.vertices), mesh.triangles.T
        pairs = np.concatenate([a, b]), np.concatenate([b, c])
        _, piece = connected_components(coo_array((np.ones(2 * len(a)), pairs), (count, count)))
        return cls(
            vertices=vertices[None],
            moves=torch.cat([torch.stack([morphs[name].flatten() for name in ARKIT_NAMES]), biased, torso_poses]),
            joints=torch.from_numpy(np.asarray(mesh.joint_positions, np.float32)),
            weights=weights,
            eyes=tuple(part.nonzero()[:, 0] for part in eyes),
            lids=tuple(part.nonzero()[:, 0] for part in lids),
            triangles=mesh.triangles.astype(np.int32),
            part=piece[a].astype(np.uint8),
            uv=np.column_stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]]).astype(np.float32),
            uv_triangles=mesh.uv_triangles.astype(np.int32),
            opacity=mesh.opacity,
            levels=halvings(mesh.texture),
        )


def halvings(texture: np.ndarray) -> tuple[np.ndarray, ...]:
    """A texture [H, H, 3 or 4] uint8 as [H, H, 4], and halves of it down to `SMALLEST`."""
    if texture.shape[2] == 3:
        texture = np.dstack([texture, np.full(texture.shape[:2], 255, np.uint8)])
    levels = [np.ascontiguousarray(texture)]
    while len(levels[-1]) > SMALLEST:
        quarters = levels[-1].astype(np.uint16)
        quarters = quarters[::2, ::2] + quarters[1::2, ::2] + quarters[::2, 1::2] + quarters[1::2, 1::2]
        levels.append(((quarters + 2) // 4).astype(np.uint8))
    return tuple(levels)
