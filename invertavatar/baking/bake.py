"""Avatar -> baked avatar: pictures of the full renderer, from where it is good, become the texture of the head model.

Shapes: B batch, V vertices, F triangles, N photos, S side of a picture.

The best source of colour is the full renderer itself: its frames hold the photos' own pixels where a photo shows a
place, and what it has learned beside them. The nearer a frame is to a photo, the more it counts; from where no photo
looked at the head, its frames count little, and what only such show takes what the mesh says (`reprojection.filled`).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..avatar import Avatar
from ..camera import rotation_from_angles
from ..head.arkit import ARKIT_NAMES
from ..head.driven_head import driven_head, worn
from ..head.head_model import HeadModel
from ..inversion import Networks
from ..models.generator import CanonicalFeatures
from ..rendering.drive import Drive
from ..rendering.framing import Framing
from ..rendering.reprojection import Sources
from ..rendering.source_views import SourceViews, angle_between, view_weights
from ..tracking.motion import Motion
from . import smooth_bias
from .baked_avatar import BakedAvatar
from .bust import with_bust
from .hair import hairiness, veiled, with_strands
from .hidden_parts import whole_eyes, with_tongue
from .outline import outlined
from .rig import (
    PaintingPose,
    inside_of_mouth,
    lips_shut,
    neutral_head,
    painting_poses,
    rigged_mesh,
    teeth_shift,
)
from .texturing import BakingView, adjacency, even_light, paint

# Yaw and pitch in degrees from which a head is looked at beside the photos' own poses. Farther round nobody learned it.
BAKED_ANGLES = ((0, 0), (-30, 0), (30, 0), (-45, 0), (45, 0), (0, 30), (0, -30))
OF_PARTS = 1  # so many of them show what is inside of a mouth and on lids
NEAR_DEGREES = 20.0  # degrees from the photos over which a picture's weight falls
FAR_WEIGHT = 0.1  # and what it falls to
SOFTENING = 12  # rounds in which colours nobody has seen mix with their neighbours'
APART = 8.0  # degrees by which poses must differ to be looked at both

Render = Callable[[Drive], tuple[Tensor, Tensor, Tensor]]
Progress = Callable[[Sequence, int, str], Iterable]


def baked(
    networks: Networks,
    avatar: Avatar,
    features: CanonicalFeatures,
    render: Render,
    texture_size: int,
    framing: Framing,
    progress: Progress,
) -> BakedAvatar:
    """Bake an avatar.

    Args:
        networks: The networks.
        avatar: On their device.
        features: Of the avatar, from `canonical_features`.
        render: A frame [1, 3, S, S] of the avatar from the model's own camera, its opacity and depth.
        texture_size: Side of the texture in pixels, a power of two.
        framing: As the photos show it.
        progress: Goes through items, of which it is told how many there are and what is done with them.
    """
    head_model, config = networks.head_model, networks.generator.config
    poses = painting_poses(head_model)
    skin = neutral_head(head_model, avatar.shape)
    off = head_model.stand_off(avatar.displacement)
    further, rotations = teeth_shift(head_model, skin[0]), looked_from(avatar)
    if avatar.views is not None and features.sources is not None:
        further = further + on_outlines(head_model, avatar.views, features.sources)
    steps = [(pose, x) for pose in poses for x in rotations[: OF_PARTS if pose.expression else None]]
    views = [
        baking_view(networks, avatar, features, off, render, pose, rotation, further)
        for pose, rotation in progress(steps, len(steps), "Baking")
    ]
    light = views[0].light  # of the front
    triangles = head_model.triangles.cpu().numpy().astype(np.int64)
    layout = head_model.uv[head_model.uv_triangles].cpu().numpy() * 2 - 1
    unseen = None
    if features.fill is not None:
        unseen = ((features.fill[0] + even_light(light)).exp() * 2 - 1).clamp(-1, 1)
        unseen = softened(unseen, triangles)
        unseen[head_model.eye_part.any(0) | inside_of_mouth(head_model)[:, 0].bool()] = torch.nan
    texture, seen = paint(triangles, views, texture_size, layout, unseen)
    texture = with_tongue(whole_eyes(texture, seen, head_model), head_model)
    torso_pose = avatar.rest.torso_pose.to(avatar.device)
    _, vertices = worn(head_model, skin, off, avatar.shape.joints, None, torso_pose if torso_pose.numel() else None)
    vertices = vertices[0] + further + lips_shut(head_model, skin[0])
    hair, contrast = hairiness(head_model, texture, seen)
    texture = with_strands(texture, seen, hair, contrast, vertices, head_model)
    return BakedAvatar(
        mesh=veiled(with_bust(rigged_mesh(head_model, avatar.shape, vertices, texture)), hair),
        light=light.cpu().numpy(),
        most=networks.generator.reprojection.largest_gain,
        rest=without_residual(avatar),
        field_of_view=config.field_of_view,
        bias=smooth_bias.fitted(head_model).numpy(),
        bias_reach=tuple(head_model.config.bias_reach),
        window=framing.window,
        slack=framing.slack,
        backdrop=avatar.backdrop.cpu(),
    )


def softened(colours: Tensor, triangles: np.ndarray) -> Tensor:
    """Colours [V, 3] of vertices that nobody has seen, without the edges between kinds of surface that were filled in
    each by itself.
    """
    beside = adjacency(triangles, len(colours))
    mean = sparse.diags_array(1 / np.maximum(beside.sum(1), 1)) @ beside
    values = colours.cpu().numpy()
    for _ in range(SOFTENING):
        values = (values + mean @ values) / 2
    return torch.from_numpy(values).to(colours)


def on_outlines(head_model: HeadModel, views: SourceViews, photos: Sources) -> Tensor:
    """[V, 3] what brings the mesh onto the outlines of the photos; see `outline`."""
    _, _, _, matte, inside = views.picture[0].float().div(255).unbind(1)
    return outlined(head_model, photos.place[0], photos.normal[0, ..., 2], views.rotation[0], matte, inside)


def looked_from(avatar: Avatar) -> list[Tensor]:
    """Rotations [1, 3, 3] head -> camera: from the front, then `BAKED_ANGLES`, then as the photos have it."""
    rotations = list(rotation_from_angles(*torch.tensor(BAKED_ANGLES).float().T).to(avatar.device).split(1))
    photos = () if avatar.views is None else avatar.views.rotation[0].split(1)
    for photo in photos:
        if min(apart(photo, other) for other in rotations) > APART:
            rotations.append(photo)
    return rotations


def apart(one: Tensor, other: Tensor) -> float:
    """Degrees between two rotations [1, 3, 3]."""
    cosine = ((one * other).sum() - 1) / 2
    return float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))))


def baking_view(
    networks: Networks,
    avatar: Avatar,
    features: CanonicalFeatures,
    off: Tensor,  # [V]
    render: Render,
    pose: PaintingPose,
    rotation: Tensor,
    further: Tensor,
) -> BakingView:
    """What the full renderer shows of a head with an expression from one side, and how much that counts."""
    head_model, generator, device = networks.head_model, networks.generator, avatar.device
    scores = torch.tensor([[pose.expression.get(name, 0.0) for name in ARKIT_NAMES]], device=device)
    residual = torch.zeros_like(avatar.rest.residual, device=device)
    torso_pose = avatar.rest.torso_pose.to(device) if avatar.rest.torso_pose.numel() else None
    still = torch.eye(3, device=device)[None]
    colour, opacity, _ = render(Drive(scores, residual, rotation, still, torso_pose=torso_pose))
    head = driven_head(head_model, avatar.shape, off, scores, residual, rotation, still, torso_pose)
    weight, light = 1.0, torch.zeros(3, device=device)
    if avatar.views is not None and features.sources is not None:
        blend = view_weights(avatar.views, rotation, torso_pose, generator.fusion)
        angle = float(angle_between(avatar.views, blend, rotation))
        weight = FAR_WEIGHT + (1 - FAR_WEIGHT) * float(np.exp(-((angle / NEAR_DEGREES) ** 2)))
        light = (blend[0, :, None] * features.sources.light[0]).sum(0) / blend.sum()
    seen = colour, opacity, rotation, generator.config.field_of_view
    return BakingView(
        *seen, weight, head.vertices[0] + further, pose.weight, light, generator.reprojection.largest_gain
    )


def without_residual(avatar: Avatar) -> Motion:
    """The rest of an avatar as a mesh with 52 morph targets has it."""
    rest = avatar.rest
    return Motion(rotation=rest.rotation, expression=rest.expression, torso_pose=rest.torso_pose)
