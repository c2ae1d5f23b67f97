"""The parametric model of the whole head, in the place of the paper's FaceVerse (Sec. 3.1; DESIGN 4).

Shapes: B batch, V vertices, F triangles, U texture coordinates, L 478 landmarks, K identity axes, J joints.

Head space: x to the picture's right (the person's left), y up, z out of the face.
"""

import copy
from pathlib import Path

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from .arkit import ARKIT_NAMES
from .displacement import Displacement, Evidence
from .eyeballs import NUM_SURFACE_LANDMARKS, irises
from .face_chart import FaceChart
from .fitting import Fitting, HeadShape, capped
from .neck import bent_neck
from .pose import NUM_LANDMARKS
from .skinning import skinned
from .topology import JOINT_NAMES as JOINTS

LABELS = ("face", "scalp", "ear", "neck", "torso", "lips", "mouth", "teeth", "tongue", "eye")


class HeadModel(Fitting):
    """One mesh of face, scalp, ears, neck, shoulders, eyeballs, teeth and tongue, with identity and 52 ARKit axes.

    Beside the 52 axes there are residual axes: movements of the landmarks that a tracker sees and no score holds. The
    chart that the networks paint the face in (`FaceChart`) rides on the landmarks.

    All arrays are buffers, built by `scripts/build_head_model.py` from CC0 data and our own tracks. They are stored in
    half precision and computed with in float32, whatever the pipeline's dtype.

    Args:
        num_vertices: V.
        num_triangles: F.
        num_texture_coordinates: U.
        identity_axes: K.
        warp_neighbours: Landmarks that a vertex follows.
        residual_axes: Region ("eyes", "lip", "other") -> number of residual axes, in the order of the basis.
        residual_noise: Head units; what landmarks are off by when the residual is solved for.
        chart_vertices: Vertices that close the chart's eyes and mouth.
        chart_triangles: Triangles of the chart.
        open_mouth: See `FaceChart`.
        open_eye: See `FaceChart`.
        gaze_degrees: Eyeball rotation at scores of 1: outward or inward, and up or down.
        lid_clearance: Radius of the ball that lids stay outside of, in eyeball radii.
        identity_noise: Head units; what tracked landmarks of a neutral face are off by.
        neutral_prior: Photos' worth of belief that a person has no shape beyond the identity axes: of n photos the
            share n / (n + neutral_prior) of what the axes leave counts as the person's own.
        depth_trust: Weight of a landmark's depth beside its place in the picture.
        warp_fade: Degrees of yaw from which landmarks of a frame begin to be distrusted, and where they are all so.
        bias_reach: Degrees of yaw and of pitch beyond which the tracker's bias is taken to grow no more: there were few
            faces to learn it from.
        displacement_controls: Control points of the `Displacement`; what follows is described there.
        displacement_reach: See `Displacement`.
        displacement_noise: See `Displacement`.
        displacement_largest: See `Displacement`.
        displacement_inward: See `Displacement`.
        displacement_step: See `Displacement`.
        rim_power: See `Displacement`.
        own_outline: See `Displacement`.
        neck_forward: Head units by which the neck turns in front of MakeHuman's joints, as people who turn their head
            take their shoulders along a little.
        crown_margin: Head units that the skull keeps inside the matte.
        crown_least: The most that a skull may be lowered, as a share of its height above the forehead.
    """

    @register_to_config
    def __init__(
        self,
        num_vertices: int = 4443,
        num_triangles: int = 8684,
        num_texture_coordinates: int = 4700,
        identity_axes: int = 100,
        warp_neighbours: int = 32,
        residual_axes: dict[str, int] | None = None,
        residual_noise: float = 0.002,
        chart_vertices: int = 95,
        chart_triangles: int = 980,
        open_mouth: float = 0.08,
        open_eye: float = 0.05,
        gaze_degrees: tuple[float, float] = (30.0, 25.0),
        lid_clearance: float = 1.03,
        identity_noise: float = 0.015,
        neutral_prior: float = 0.5,
        depth_trust: float = 0.5,
        warp_fade: tuple[float, float] = (15.0, 35.0),
        bias_reach: tuple[float, float] = (35.0, 25.0),
        displacement_controls: int = 90,
        displacement_reach: float = 0.22,
        displacement_noise: float = 0.16,
        displacement_largest: float = 0.6,
        displacement_inward: float = 0.08,
        displacement_step: float = 0.02,
        rim_power: float = 8.0,
        own_outline: float = 0.05,
        neck_forward: float = 0.15,
        crown_margin: float = 0.01,
        crown_least: float = 0.7,
    ):
        super().__init__()
        self.chart = FaceChart(chart_vertices, chart_triangles, open_mouth, open_eye)
        self.displacement = Displacement(
            num_vertices,
            displacement_controls,
            displacement_reach,
            displacement_noise,
            displacement_largest,
            displacement_inward,
            displacement_step,
            rim_power,
            own_outline,
        )
        residuals = sum((residual_axes or {}).values())

        def buffer(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

        buffer("mean", num_vertices, 3)
        buffer("identity_basis", identity_axes, num_vertices, 3)  # orthonormal over the vertices
        buffer("identity_std", identity_axes)
        buffer("joint_mean", len(JOINTS), 3)
        buffer("joint_basis", identity_axes, len(JOINTS), 3)
        buffer("expression_basis", len(ARKIT_NAMES), num_vertices, 3)
        buffer("residual_basis", residuals, NUM_LANDMARKS, 3)
        buffer("residual_std", residuals)
        buffer("skin_weights", num_vertices, len(JOINTS))
        buffer("crown_weight", num_vertices)  # 0..1 how far a vertex follows the height of the skull
        buffer("landmark_weight", NUM_LANDMARKS, 3)  # barycentric
        buffer("warp_weight", num_vertices, warp_neighbours)
        buffer("warp_inverse", NUM_SURFACE_LANDMARKS, NUM_SURFACE_LANDMARKS)
        buffer("tracker_bias", 7, NUM_LANDMARKS, 3)  # see `unbiased`
        buffer("uv", num_texture_coordinates, 2)
        for name, shape in {
            "triangles": (num_triangles, 3),
            "uv_triangles": (num_triangles, 3),
            "label": (num_triangles,),
            "mirror": (num_vertices,),
            "landmark_vertex": (NUM_LANDMARKS, 3),
        }.items():
            buffer(name, *shape, dtype=torch.int32)
        buffer("warp_landmark", num_vertices, warp_neighbours, dtype=torch.int16)
        self.register_buffer("eye_part", torch.zeros(2, num_vertices, dtype=torch.bool))  # left and right eyeball
        self.register_buffer("lid_part", torch.zeros(2, num_vertices, dtype=torch.bool))  # skin around each

    def save_pretrained(self, save_directory: str | Path, **kwargs) -> None:
        """As in diffusers, in half precision but for texture coordinates: rounded, small triangles would flip."""
        compact = copy.deepcopy(self)
        for module in compact.modules():
            for name, value in module.named_buffers(recurse=False):
                if value.is_floating_point() and name != "uv":
                    module._buffers[name] = value.half()
        super(HeadModel, compact).save_pretrained(save_directory, **kwargs)

    @property
    def residual_region(self) -> tuple[str, ...]:
        """The region of each residual axis."""
        axes = self.config.residual_axes or {}
        return tuple(region for region, count in axes.items() for _ in range(count))

    def outline_evidence(self, vertices: Tensor, rotation: Tensor, matte: Tensor, inside: Tensor) -> Evidence:
        """What a photo says of hair and clothes: see `Displacement.observe`; vertices [V, 3] from `seen_in`."""
        return self.displacement.observe(vertices, self.mean, self.triangles, rotation, matte, inside)

    def dressed(self, vertices: Tensor, off: Tensor) -> Tensor:
        """The mesh [B, V, 3] with hair and clothes, which stand [V] or [B, V] head units off it: see `stand_off`."""
        return vertices + off[..., None] * self.displacement.direction

    def stand_off(self, evidence: Evidence) -> Tensor:
        """How far hair and clothes stand off each vertex by what photos say of them: [V] head units."""
        return self.displacement.of_vertices(evidence, self.mean)

    def forward(
        self,
        shape: HeadShape,
        expression: Tensor,
        residual: Tensor | None = None,
        landmarks: Tensor | None = None,
        yaw: Tensor | None = None,
        gaze: Tensor | None = None,
    ) -> Tensor:
        """Drive a head.

        Args:
            shape: The person.
            expression: [B, 52] ARKit scores.
            residual: [B, K] what moves beside them, from `residual`.
            landmarks: [B, L, 3] where a tracker saw them (`unbiased`); the mesh is warped toward them.
            yaw: [B] degrees of the head in that picture, which the warp fades with.
            gaze: [B, 2, 2] yaw and pitch of the left and right eyeball in degrees; by default what the scores say.

        Returns:
            [B, V, 3] in head space.
        """
        expression = capped(expression)
        vertices = shape.vertices + torch.einsum("bk,kvc->bvc", expression, self.expression_basis)
        blink = torch.stack([expression[:, ARKIT_NAMES.index(f"eyeBlink{side}")] for side in ("Left", "Right")], 1)
        vertices = vertices + torch.einsum("bk,kvc->bvc", blink, shape.blink)
        gaze = self.gaze_of(expression) if gaze is None else gaze
        if residual is not None and residual.shape[-1]:
            moved = torch.einsum("bk,klc->blc", residual, self.residual_basis)
            carried = self.warp(moved)
            # An iris moves with its eyeball, and turns it by the rest of its way.
            iris = irises(moved) - self.eye_centres(carried)
            gaze = gaze + torch.rad2deg(iris[..., :2] / self.eye_radius(vertices)[..., None])
            vertices = vertices + carried
        if landmarks is not None:
            if yaw is None:
                raise ValueError("How far landmarks warp a head depends on its yaw: give both.")
            left = (landmarks - self.landmarks(vertices)) * self.warp_trust(yaw)[:, None, None]
            vertices = vertices + self.warp(left)
        vertices = self.outside_of_eyeballs(vertices)
        return self.rotated_eyes(vertices, gaze)

    def seen_in(self, shape: HeadShape, expression: Tensor, landmarks: Tensor, rotation: Tensor) -> Tensor:
        """The mesh as a tracker saw it in pictures: on its very landmarks, the body facing the viewer.

        Args:
            shape: The person.
            expression: [B, 52].
            landmarks: [B, L, 3] as tracked.
            rotation: [B, 3, 3] head -> camera.

        Returns:
            [B, V, 3] in head space.
        """
        gaze = self.gaze_in(landmarks, shape.vertices[None])
        vertices = self(shape, expression, None, landmarks, torch.zeros_like(rotation[:, 0, 0]), gaze)
        return self.pose(shape.joints, vertices, rotation)

    def driven_landmarks(
        self, neutral: Tensor, expression: Tensor, residual: Tensor | None = None, rotation: Tensor | None = None
    ) -> Tensor:
        """The landmarks that the chart of the face rides on: where a tracker would see them in the picture.

        They differ from those on the driven mesh where that mends what is tracked: lids are laid onto the eyeballs
        there, irises are on them, and landmarks stay where they are on the skin as the head turns.

        Args:
            neutral: [L, 3] or [B, L, 3] `HeadShape.landmarks`.
            expression: [B, 52] ARKit scores.
            residual: [B, K].
            rotation: [B, 3, 3] head -> camera in that picture; None for one from the front.

        Returns:
            [B, L, 3] in head space.
        """
        landmarks = neutral + self.moved_landmarks(expression)
        if residual is not None and residual.shape[-1]:
            landmarks = landmarks + torch.einsum("bk,klc->blc", residual, self.residual_basis)
        return landmarks if rotation is None else landmarks + self.bias(rotation)

    def warp_trust(self, yaw: Tensor) -> Tensor:
        """How far a frame's landmarks are believed, by its yaw in degrees: [B] -> [B] in 0..1."""
        start, end = self.config.warp_fade
        return ((end - yaw.abs()) / (end - start)).clamp(0, 1)

    def pose(self, joints: Tensor, vertices: Tensor, head_to_torso: Tensor) -> Tensor:
        """Bend the neck: the head stays where it is, in head space, and the body under it turns the other way.

        Args:
            joints: [J, 3] or [B, J, 3] the person's.
            vertices: [B, V, 3] driven.
            head_to_torso: [B, 3, 3] the head's rotation relative to the body.

        Returns:
            [B, V, 3].
        """
        return skinned(vertices, self.skin_weights, *self.neck(joints, head_to_torso))

    def neck(self, joints: Tensor, head_to_torso: Tensor) -> tuple[Tensor, Tensor]:
        """How each joint's bone moves when the neck is bent as in `pose`: x -> rotation x + moved.

        Args:
            joints: [J, 3] or [B, J, 3] the person's.
            head_to_torso: [B, 3, 3] the head's rotation relative to the body.

        Returns:
            [B, J, 3, 3] and [B, J, 3].
        """
        return bent_neck(joints, head_to_torso)
