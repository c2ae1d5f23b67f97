"""The parametric model of the whole head, in the place of the paper's FaceVerse (Sec. 3.1; DESIGN 4).

Shapes: B batch, V vertices, F triangles, U texture coordinates, L 478 landmarks, K identity axes, J joints.

Head space: x to the picture's right (the person's left), y up, z out of the face.
"""

import copy
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ..camera import angles_from_rotation
from ..runtime.half_precision import Float32Island, Network
from .arkit import ARKIT_NAMES
from .displacement import Displacement, Evidence
from .face_chart import FaceChart
from .pose import NUM_LANDMARKS
from .skinning import matrix_root, skinned
from .topology import JOINT_NAMES as JOINTS

LABELS = ("face", "scalp", "ear", "neck", "torso", "lips", "mouth", "teeth", "tongue", "eye")
NECK_CHAIN = ("head", "neck03", "neck02", "neck01")
NUM_SURFACE_LANDMARKS = 468  # the others are irises: five of the right eye, then five of the left, centre first
# Upper and lower lid, landmark by landmark from the inner to the outer corner.
LID_PAIRS = {
    "Right": ((173, 155), (157, 154), (158, 153), (159, 145), (160, 144), (161, 163), (246, 7)),
    "Left": ((398, 382), (384, 381), (385, 380), (386, 374), (387, 373), (388, 390), (466, 249)),
}


class HeadShape(NamedTuple):
    """A person's head without expression."""

    vertices: Tensor  # [V, 3] head space
    joints: Tensor  # [J, 3]
    blink: Tensor  # [2, V, 3] what closes this person's left and right lids, beyond the model's own axis
    landmarks: Tensor  # [L, 3] as far as photos make them believable: where the chart of the face is


class HeadModel(Float32Island, Network):
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

        def buffer(name, *shape, dtype=torch.float32):
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

    # Fit

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's landmarks on the mesh: [..., V, 3] -> [..., L, 3]."""
        return (vertices[..., self.landmark_vertex, :] * self.landmark_weight[..., None]).sum(-2)

    def unbiased(self, landmarks: Tensor, rotation: Tensor) -> Tensor:
        """Tracked landmarks without what the tracker adds when a head is turned, the same for all people.

        Args:
            landmarks: [B, L, 3] in head space.
            rotation: [B, 3, 3] head -> camera, as tracked with them.
        """
        return landmarks - self.bias(rotation)

    def bias(self, rotation: Tensor) -> Tensor:
        """What the tracker adds to the landmarks of a head turned by [B, 3, 3]: [B, L, 3]."""
        yaw, pitch, _ = angles_from_rotation(rotation).unbind(-1)
        return torch.einsum("bk,klc->blc", self.bias_terms(yaw, pitch), self.tracker_bias)

    def bias_terms(self, yaw: Tensor, pitch: Tensor) -> Tensor:
        """[B] degrees each -> [B, 7] the terms that the tracker's bias is made of."""
        return bias_terms(yaw, pitch, self.config.bias_reach)

    def without_expression(self, landmarks: Tensor, expression: Tensor) -> Tensor:
        """Landmarks with the expression taken off: [B, L, 3] and scores [B, 52] -> [B, L, 3]."""
        return landmarks - self.moved_landmarks(expression)

    def moved_landmarks(self, expression: Tensor) -> Tensor:
        """How far an expression moves the landmarks: scores [B, 52] -> [B, L, 3]."""
        moved = self.landmarks(torch.einsum("bk,kvc->bvc", capped(expression), self.expression_basis))
        rotation = self.eye_rotations(self.gaze_of(expression))  # [B, 2, 3, 3]
        iris = self.landmarks(self.mean)[NUM_SURFACE_LANDMARKS:].unflatten(0, (2, -1)).flip(0)  # left, right
        iris = iris - self.eye_centres(self.mean[None])[0, :, None]
        turned = (iris @ rotation.mT - iris).flip(1).flatten(1, 2)  # [B, 10, 3]
        return torch.cat([moved[:, :NUM_SURFACE_LANDMARKS], turned], 1)

    def residual(self, landmarks: Tensor, neutral: Tensor, expression: Tensor) -> Tensor:
        """What the 52 axes leave of a face: [B, L, 3], neutral landmarks [L, 3] or [B, L, 3], [B, 52] -> [B, K].

        Least squares on axes of neighbouring regions, which overlap, with each axis held to its usual size.
        """
        basis = self.residual_basis.flatten(1)  # [K, 3L]
        left = (self.without_expression(landmarks, expression) - neutral).flatten(1)
        if not len(basis):
            return left.new_zeros(len(left), 0)
        gram = basis @ basis.T + torch.diag((self.config.residual_noise / self.residual_std.clamp(min=1e-6)) ** 2)
        return torch.linalg.solve(gram, basis @ left.T).T

    def shape(self, neutral_sum: Tensor, count: int, crown: float | Tensor = 1.0) -> HeadShape:
        """A person's neutral head from the sum of `without_expression` over their photos, all that is kept of them.

        Args:
            neutral_sum: [L, 3].
            count: Number of photos in the sum.
            crown: From `crown_height`; the least over the photos.

        Returns:
            Identity as far as the axes explain it, then warped toward the landmarks as far as so many photos make it
            believable (`neutral_prior`).
        """
        neutral = neutral_sum / count
        vertices, joints = self.identity(neutral)
        own = (neutral - self.landmarks(vertices)) * self._believed(count)  # [L, 3]
        landmarks = self.landmarks(vertices) + own
        return self._finished(vertices + self.warp(own[None])[0], joints, landmarks, crown)

    def neutral_landmarks(self, neutral_sums: Tensor, counts: Tensor) -> Tensor:
        """`HeadShape.landmarks` alone, of several sums at once: [N, L, 3] over [N] photos -> [N, L, 3]."""
        neutral = neutral_sums / counts[:, None, None]
        basis = self.landmarks(self.identity_basis)
        explained = torch.einsum("nk,klc->nlc", self._coefficients(neutral, basis), basis) + self.landmarks(self.mean)
        return explained + (neutral - explained) * self._believed(counts)[:, None, None]

    def _believed(self, count: int | Tensor) -> float | Tensor:
        return count / (count + self.config.neutral_prior)

    def person(self, coefficients: Tensor) -> HeadShape:
        """The head of identity coefficients [K], whose usual size is `identity_std`."""
        vertices, joints = self._of_axes(coefficients)
        return self._finished(vertices, joints, self.landmarks(vertices), 1.0)

    def _finished(self, vertices: Tensor, joints: Tensor, landmarks: Tensor, crown: float | Tensor) -> HeadShape:
        """With the skull at its height, eye joints in the eyeballs, and lids that lie on them and close."""
        left, right = self.eye_centres(vertices[None])[0]
        order = {"eyeLeft": left, "eyeRight": right}
        joints = torch.stack([order.get(name, joint) for name, joint in zip(JOINTS, joints, strict=True)])
        bending = joints.new_tensor([[name in NECK_CHAIN] for name in JOINTS])
        joints = joints + F.pad(bending * self.config.neck_forward, (2, 0))
        forehead = self.landmarks(vertices)[10, 1]
        lowered = (vertices[:, 1] - forehead).clamp(min=0) * self.crown_weight * (crown - 1)
        vertices = torch.stack([vertices[:, 0], vertices[:, 1] + lowered, vertices[:, 2]], -1)
        vertices = self.outside_of_eyeballs(vertices[None])[0]
        return HeadShape(vertices, joints, self.blink_correction(vertices), landmarks)

    def with_skull(self, vertices: Tensor, like: Tensor) -> Tensor:
        """Heads [B, N, V, 3] whose skulls reach as far above the forehead as those of other heads of the same people,
        [B, V, 3] or [V, 3].
        """
        like, skull = like.expand(len(vertices), -1, -1)[:, None], self.crown_weight > 0.9
        forehead = self.landmarks(like[:, 0])[:, None, 10:11, 1]
        above, wanted = ((x[..., 1] - forehead).clamp(min=0) for x in (vertices, like))
        own = above[..., skull]
        scale = (own * wanted[..., skull]).sum(-1, keepdim=True) / own.square().sum(-1, keepdim=True)
        raised = above * self.crown_weight * (scale - 1)
        return torch.stack([vertices[..., 0], vertices[..., 1] + raised, vertices[..., 2]], -1)

    def identity(self, neutral: Tensor) -> tuple[Tensor, Tensor]:
        """The head [V, 3] and its joints [J, 3] that the identity axes make of neutral landmarks [L, 3]."""
        return self._of_axes(self._coefficients(neutral[None], self.landmarks(self.identity_basis))[0])

    def _coefficients(self, neutral: Tensor, basis: Tensor) -> Tensor:
        """Of neutral landmarks [N, L, 3] on the axes at landmarks [K, L, 3]: [N, K]."""
        weight = neutral.new_ones(NUM_LANDMARKS, 3)
        weight[:, 2] = self.config.depth_trust
        weight[NUM_SURFACE_LANDMARKS:] = 0
        weighted = (basis * weight).flatten(1)  # [K, 3L]
        off = ((neutral - self.landmarks(self.mean)) * weight).flatten(1)
        gram = weighted @ weighted.T + torch.diag((self.config.identity_noise / self.identity_std) ** 2)
        return torch.linalg.solve(gram, weighted @ off.T).T

    def _of_axes(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        vertices = self.mean + torch.einsum("k,kvc->vc", coefficients, self.identity_basis)
        return vertices, self.joint_mean + torch.einsum("k,kjc->jc", coefficients, self.joint_basis)

    def warp(self, displacement: Tensor) -> Tensor:
        """Carry displacements of the landmarks to the whole mesh, smoothly and fading away from the face.

        Args:
            displacement: [B, L, 3]; those of the irises do not count.

        Returns:
            [B, V, 3] whose landmarks are displaced as asked.
        """
        wanted = displacement[:, :NUM_SURFACE_LANDMARKS]
        carried = 0.0
        for _ in range(2):  # the inverse is stored in half precision; the second round mends its rounding
            carried = carried + self._spread(self.warp_inverse @ wanted)
            wanted = displacement[:, :NUM_SURFACE_LANDMARKS] - self.landmarks(carried)[:, :NUM_SURFACE_LANDMARKS]
        return carried

    def _spread(self, displacement: Tensor) -> Tensor:
        flat = displacement.transpose(0, 1).flatten(1)  # [L, 3B]
        index = self.warp_landmark.int()
        carried = F.embedding_bag(index, flat, mode="sum", per_sample_weights=self.warp_weight)  # [V, 3B]
        return carried.unflatten(1, (-1, 3)).transpose(0, 1)

    def blink_correction(self, vertices: Tensor) -> Tensor:
        """What `eyeBlinkLeft` and `eyeBlinkRight` at 1 lack to close a person's lids: [V, 3] -> [2, V, 3]."""
        moved = vertices.new_zeros(2, NUM_LANDMARKS, 3)
        neutral = self.landmarks(vertices)
        for row, side in enumerate(("Left", "Right")):
            upper, lower = torch.tensor(LID_PAIRS[side], device=vertices.device).T
            blink = self.landmarks(self.expression_basis[ARKIT_NAMES.index(f"eyeBlink{side}")])
            gap = neutral[upper] - neutral[lower] + blink[upper] - blink[lower]
            moved[row, upper] = -gap
        return self.warp(moved)

    def crown_height(self, shape: HeadShape, rotation: Tensor, matte: Tensor, valid: Tensor | None = None) -> float:
        """How much of the skull's height above the forehead a photo's matte leaves it, `crown_least`..1.

        Args:
            shape: The person's head with its full height.
            rotation: [3, 3] head -> camera in the photo.
            matte: [1, 1, H, H] of the crop in 0..1.
            valid: [1, 1, H, H] where the photo has pixels; None for everywhere.
        """
        config = self.config
        forehead = self.landmarks(shape.vertices)[10, 1]
        skull = self.crown_weight > 0.5
        place, weight = shape.vertices[skull], self.crown_weight[skull]
        above = (place[:, 1] - forehead).clamp(min=0) * weight
        inside = matte if valid is None else torch.where(valid > 0.5, matte, torch.ones_like(matte))
        crowns = torch.linspace(1, config.crown_least, 31, device=place.device)
        heights = place[:, 1] + above * (crowns[:, None] - 1)  # [31, N]
        lowered = torch.stack([place[:, 0].expand_as(heights), heights, place[:, 2].expand_as(heights)], -1)
        seen = lowered @ rotation.mT
        grid = torch.stack([seen[..., 0], -seen[..., 1] - config.crown_margin], -1)[None]
        covered = F.grid_sample(inside, grid, padding_mode="border", align_corners=False)[0, 0]
        fits = (covered < 0.5).float().mean(1) < 0.01
        return float(torch.where(fits, crowns, config.crown_least).max())

    def outline_evidence(self, vertices: Tensor, rotation: Tensor, matte: Tensor, inside: Tensor) -> Evidence:
        """What a photo says of hair and clothes: see `Displacement.observe`; vertices [V, 3] from `seen_in`."""
        return self.displacement.observe(vertices, self.mean, self.triangles, rotation, matte, inside)

    def dressed(self, vertices: Tensor, off: Tensor) -> Tensor:
        """The mesh [B, V, 3] with hair and clothes, which stand [V] or [B, V] head units off it: see `stand_off`."""
        return vertices + off[..., None] * self.displacement.direction

    def stand_off(self, evidence: Evidence) -> Tensor:
        """How far hair and clothes stand off each vertex by what photos say of them: [V] head units."""
        return self.displacement.of_vertices(evidence, self.mean)

    # Drive

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

    def gaze_of(self, expression: Tensor) -> Tensor:
        """Scores [B, 52] -> [B, 2, 2] degrees of yaw (rightward) and pitch (up) of left and right eyeball."""
        sideways, upward = self.config.gaze_degrees

        def score(name):
            return expression[:, ARKIT_NAMES.index(name)]

        gaze = []
        for side, outward in (("Left", 1), ("Right", -1)):
            yaw = (score(f"eyeLookOut{side}") - score(f"eyeLookIn{side}")) * outward * sideways
            gaze.append(torch.stack([yaw, (score(f"eyeLookUp{side}") - score(f"eyeLookDown{side}")) * upward], -1))
        return torch.stack(gaze, 1)

    def gaze_in(self, landmarks: Tensor, vertices: Tensor) -> Tensor:
        """Where tracked irises look: landmarks [B, L, 3] on a driven head [B, V, 3] -> [B, 2, 2] degrees."""
        away = (irises(landmarks) - self.eye_centres(vertices))[..., :2] / self.eye_radius(vertices)[..., None]
        return torch.rad2deg(torch.asin(away.clamp(-0.9, 0.9)))

    def rotated_eyes(self, vertices: Tensor, gaze: Tensor) -> Tensor:
        """Turn the eyeballs of a head [B, V, 3] by `gaze` [B, 2, 2] degrees."""
        centres, rotation = self.eye_centres(vertices), self.eye_rotations(gaze)
        for eye in range(2):
            centre, part = centres[:, eye, None], self.eye_part[eye][:, None]
            turned = (vertices - centre) @ rotation[:, eye].mT + centre
            vertices = torch.where(part, turned, vertices)
        return vertices

    @staticmethod
    def eye_rotations(gaze: Tensor) -> Tensor:
        """Rotations [B, 2, 3, 3] of the eyeballs for `gaze` [B, 2, 2] degrees."""
        yaw, pitch = torch.deg2rad(gaze).unbind(-1)  # [B, 2]
        zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
        (sy, cy), (sp, cp) = ((a.sin(), a.cos()) for a in (yaw, pitch))
        about_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).unflatten(-1, (3, 3))
        about_x = torch.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], -1).unflatten(-1, (3, 3))
        return about_y @ about_x

    def eye_centres(self, vertices: Tensor) -> Tensor:
        """[B, V, 3] -> [B, 2, 3] the middle of the left and of the right eyeball."""
        part = self.eye_part.to(vertices.dtype)
        return torch.einsum("ev,bvc->bec", part / part.sum(1, keepdim=True), vertices)

    def eye_radius(self, vertices: Tensor) -> Tensor:
        """[B, V, 3] -> [B, 2]."""
        part = self.eye_part.to(vertices.dtype)
        away = (vertices[:, None] - self.eye_centres(vertices)[:, :, None]).norm(dim=-1)  # [B, 2, V]
        return (away * part).sum(-1) / part.sum(-1)

    def outside_of_eyeballs(self, vertices: Tensor) -> Tensor:
        """Lids that would lie inside an eyeball are laid onto it: [B, V, 3] -> [B, V, 3]."""
        radius = self.eye_radius(vertices) * self.config.lid_clearance
        for eye in range(2):
            away = vertices - self.eye_centres(vertices)[:, eye, None]
            distance = away.norm(dim=-1, keepdim=True).clamp(min=1e-6)
            short = (radius[:, eye, None, None] / distance).clamp(min=1) - 1  # 0 outside
            vertices = vertices + away * short * self.lid_part[eye][:, None]
        return vertices

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


def bias_terms(yaw: Tensor, pitch: Tensor, bias_reach: tuple[float, float]) -> Tensor:
    """See `HeadModel.bias_terms`; `bias_reach` is that of its config."""
    y, p = (angle.clamp(-most, most) / 30 for angle, most in zip((yaw, pitch), bias_reach, strict=True))
    return torch.stack([y, y * y, y**3, p, p * p, y * p, y * y * p], -1)


def bent_neck(joints: Tensor, head_to_torso: Tensor) -> tuple[Tensor, Tensor]:
    """See `HeadModel.neck`."""
    step = matrix_root(head_to_torso, len(NECK_CHAIN)).mT  # each neck joint takes its share
    rotation = torch.eye(3, device=head_to_torso.device, dtype=head_to_torso.dtype).expand_as(head_to_torso)
    moved = torch.zeros_like(head_to_torso[:, :, 0])
    bones = dict.fromkeys(JOINTS, (rotation, moved))  # jaw and eyes go with the head, which stays
    for above, below in pairwise((*NECK_CHAIN, "torso")):
        pivot = joints[..., JOINTS.index(above), :, None]
        moved = moved + ((rotation - rotation @ step) @ pivot)[..., 0]
        rotation = rotation @ step
        bones[below] = rotation, moved
    rotations, shifts = zip(*bones.values(), strict=True)
    return torch.stack(rotations, 1), torch.stack(shifts, 1)


def irises(landmarks: Tensor) -> Tensor:
    """The middles of left and right iris among landmarks: [B, L, 3] -> [B, 2, 3]."""
    right, left = landmarks[:, NUM_SURFACE_LANDMARKS], landmarks[:, NUM_SURFACE_LANDMARKS + 5]
    return torch.stack([left, right], 1)


def capped(expression: Tensor) -> Tensor:
    """Scores [B, 52] with `mouthClose` up to `jawOpen`: it closes lips over an open jaw and would tear shut ones."""
    close, jaw = ARKIT_NAMES.index("mouthClose"), ARKIT_NAMES.index("jawOpen")
    capped = expression.clone()
    capped[:, close] = torch.minimum(expression[:, close], expression[:, jaw].clamp(min=0))
    return capped
