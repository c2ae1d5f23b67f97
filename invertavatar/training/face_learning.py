"""Learn the linear face model from tracked faces (DESIGN 4).

Shapes: N tracked pictures, P people, V 478 landmarks, K axes.

1. Pose: every face is laid on the current mean by weighted Procrustes; landmarks that move with expression get little
   weight, found by alternating with the fit (`rigid_weights`).
2. Expression: displacements from each person's own average are regressed on the tracker's blendshape scores, ridge
   toward a geometric guess, each axis only where it can act (`expression_support`), with mirror images added so that
   left and right are each other's reflection. Where the scores are silent (cheekPuff, noseSneer..) the guess speaks.
3. Identity: principal axes of the people's neutral faces.
4. Residual: principal axes, region by region, of what is left within a person.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse.linalg import eigsh

from ..camera import angles_from_rotation
from ..face.arkit import ARKIT_NAMES, mirrored
from ..face.face_model import FaceModel
from ..face.pose import PIXELS_TO_HEAD, PoseTemplate
from ..face.topology import INNER_LIPS, LEFT_EYE, LEFT_IRIS, LID_GAPS, RIGHT_EYE, RIGHT_IRIS, SKIN, Topology
from ..rendering.rasterizer import interpolate, rasterize

logger = logging.getLogger(__name__)

MIRRORED_AXES = np.array([ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES])
FLIP = np.array([-1, 1, 1], np.float32)


@dataclass
class TrackedFaces:
    """Landmarks of many pictures of many people."""

    landmarks: np.ndarray  # [N, 478, 3] pixels as the tracker gives them (y down, z away from the viewer)
    expression: np.ndarray  # [N, 52] ARKit scores
    person: np.ndarray  # [N] str
    moving: np.ndarray  # [N] bool: from a clip or a set of several expressions, so fit for learning expressions


@dataclass
class LearnedFace:
    """The arrays of a `FaceModel` and of the tracker's template."""

    mean: np.ndarray  # [478, 3] head space
    rigid: np.ndarray  # [478] weights of the pose fit
    identity_basis: np.ndarray  # [K, 478, 3] orthonormal
    identity_std: np.ndarray  # [K] head units
    expression_basis: np.ndarray  # [52, 478, 3] displacement at score 1
    residual_basis: np.ndarray  # [K, 478, 3] unit length each
    residual_std: np.ndarray  # [K]
    residual_regions: dict[str, int]  # region -> number of axes, in the order of the basis


def learn_face(
    faces: TrackedFaces,
    mirror: np.ndarray,
    template: np.ndarray,
    identity_axes: int = 64,
    residual_axes: dict[str, int] | None = None,
    rounds: int = 4,
) -> LearnedFace:
    """Fit everything.

    Args:
        faces: Tracks of the people to learn from.
        mirror: [478] the landmark on the other side of the face (`Topology.mirror`).
        template: [478, 3] a first guess of the mean in head space; fixes origin, axes and unit.
        identity_axes: Number of identity axes.
        residual_axes: Region -> number of axes; 16 for the eyes, 24 for the lips, 16 for the rest by default.
        rounds: Alternations of pose, expression and identity.
    """
    residual_axes = residual_axes or {"eyes": 16, "lip": 24, "other": 16}
    _, person = np.unique(faces.person, return_inverse=True)
    template = symmetric(template, mirror)  # else laying the mean back on it would tilt the mean
    mean, rigid = template, np.ones(478, np.float32)
    for turn in range(rounds):
        vertices, angles = align(faces.landmarks, mean, rigid)  # [N, 478, 3], [N, 3]
        basis = fit_expression(vertices, faces.expression, angles, person, faces.moving, mean, mirror)
        at_rest = vertices - np.einsum("nk,kvc->nvc", faces.expression, basis)
        neutral = per_person_mean(at_rest, person)  # [P, 478, 3]
        spread = np.sqrt(np.mean((at_rest - neutral[person])[faces.moving] ** 2, axis=(0, 2)))
        moves = np.sqrt(np.mean((vertices - per_person_mean(vertices, person)[person])[faces.moving] ** 2, axis=(0, 2)))
        rigid = rigid_weights(np.hypot(spread, moves), mirror)
        mean = keep_unit(symmetric(neutral.mean(0), mirror), template, rigid)
        logger.info(
            "round %d: within a person %.4f, unexplained %.4f head units", turn + 1, moves.mean(), spread.mean()
        )

    vertices, angles = align(faces.landmarks, mean, rigid)
    basis = close_lids(fit_expression(vertices, faces.expression, angles, person, faces.moving, mean, mirror), mean)
    at_rest = vertices - np.einsum("nk,kvc->nvc", faces.expression, basis)
    neutral = per_person_mean(at_rest, person)
    shapes = neutral - mean
    shapes = np.concatenate([shapes, shapes[:, mirror] * FLIP])
    identity_basis, identity_std = principal_axes(shapes, identity_axes)
    left = (at_rest - neutral[person])[faces.moving]
    left = np.concatenate([left, left[:, mirror] * FLIP])
    regions = region_weights(mean)
    residual = [principal_axes(left * regions[name][:, None], count) for name, count in residual_axes.items()]
    return LearnedFace(
        mean=mean.astype(np.float32),
        rigid=rigid,
        identity_basis=identity_basis,
        identity_std=identity_std,
        expression_basis=basis,
        residual_basis=np.concatenate([axes for axes, _ in residual]),
        residual_std=np.concatenate([std for _, std in residual]),
        residual_regions=dict(residual_axes),
    )


def explained(learned: LearnedFace, faces: TrackedFaces) -> list[str]:
    """How well the model explains people: one sentence for each of mean, identity, + expression and + residual.

    Distances are in the picture, between tracked and modelled landmarks after the pose fit, on crops of 256 px.
    Identity is one shape for a person over all their pictures; expressions are the tracker's scores; the residual is
    solved for each.
    """
    vertices, _ = align(faces.landmarks, learned.mean, learned.rigid)
    _, person = np.unique(faces.person, return_inverse=True)
    identity = learned.identity_basis.reshape(len(learned.identity_basis), -1)
    residual = learned.residual_basis.reshape(len(learned.residual_basis), -1)

    def of_identity(faces_at_rest):
        shapes = per_person_mean(faces_at_rest, person).reshape(person.max() + 1, -1) - learned.mean.ravel()
        return (learned.mean + (shapes @ identity.T @ identity).reshape(-1, 478, 3))[person]

    expression = np.einsum("nk,kvc->nvc", faces.expression, learned.expression_basis)
    driven = of_identity(vertices - expression) + expression
    left = (vertices - driven).reshape(len(vertices), -1)
    solved = left @ np.linalg.pinv(residual) @ residual
    steps = {
        "mean face": np.broadcast_to(learned.mean, vertices.shape),
        "+ identity": of_identity(vertices),
        "+ expression": driven,
        "+ residual": driven + solved.reshape(vertices.shape),
    }
    height = np.ptp(learned.mean[[10, 152], 1])
    lines = []
    for name, model in steps.items():
        error = np.linalg.norm((vertices - model)[..., :2], axis=-1)  # [N, 478] head units; 128 px each at 256 px
        lips, eyes = error[:, list(INNER_LIPS)].mean() * 128, error[:, list(RIGHT_EYE + LEFT_EYE)].mean() * 128
        lines.append(
            f"{name:13s} {100 * error.mean() / height:.2f} % of the face's height, {error.mean() * 128:.2f} px at 256 "
            f"(inner lips {lips:.2f} px, lids {eyes:.2f} px)"
        )
    return lines


def build_face_model(learned: LearnedFace, topology: Topology) -> FaceModel:
    """A `FaceModel` with everything in its buffers."""
    model = FaceModel(
        identity_axes=len(learned.identity_basis),
        residual_axes=learned.residual_regions,
        added_vertices=len(topology.offset),
        num_triangles=len(topology.triangles),
    )
    arrays = {
        **{name: getattr(learned, name) for name in ("mean", "identity_basis", "identity_std", "expression_basis")},
        **{name: getattr(learned, name) for name in ("residual_basis", "residual_std")},
        **{name: getattr(topology, name) for name in ("triangles", "triangle_region", "uv", "mirror")},
        **{name: getattr(topology, name) for name in ("live", "rest", "offset")},
        "head_height": head_heights(learned.mean, topology),
    }
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()})
    return model


def head_heights(mean: np.ndarray, topology: Topology, size: int = 128, slope: float = 0.3) -> np.ndarray:
    """[1, 1, size, size]: the mean face's height field, falling to the plane of the ears within `slope` head units."""
    skin = torch.from_numpy(topology.triangles[topology.triangle_region == SKIN])
    vertices = torch.from_numpy(mean)[None]
    drawn = rasterize(vertices * torch.tensor([1.0, -1.0, 1.0]), skin, size)
    height = interpolate(vertices[..., 2:], drawn, skin)[0, 0].numpy()
    face = ndimage.binary_fill_holes(drawn.mask[0].numpy())
    nearest = ndimage.distance_transform_edt(~drawn.mask[0].numpy(), return_distances=False, return_indices=True)
    away = ndimage.distance_transform_edt(~face) * (2 / size)
    height = height[tuple(nearest)] * np.clip(1 - away / slope, 0, 1)
    return ndimage.gaussian_filter(height, 1.5)[None, None].astype(np.float32)


def align(landmarks: np.ndarray, mean: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [N, 478, 3] in pixels -> vertices [N, 478, 3] in head space and angles [N, 3] in degrees."""
    template = PoseTemplate(mean.astype(np.float32), rigid.astype(np.float32))
    poses = [template.fit(face) for face in landmarks]
    rotation = torch.from_numpy(np.stack([pose.rotation for pose in poses]))
    return np.stack([pose.vertices for pose in poses]), angles_from_rotation(rotation).numpy()


def rigid_weights(spread: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """[478] weights in 0..1 of the pose fit: high where a landmark stays put on the skull whatever the face does."""
    spread = (spread + spread[mirror]) / 2
    weight = 1 / (spread**2 + np.quantile(spread, 0.1) ** 2)
    weight[468:] = 0  # the irises look around
    weight[list(RIGHT_EYE + LEFT_EYE)] *= 0.2  # lids blink
    weight[weight < 0.2 * weight.max()] = 0  # many weak votes of the jaw would drag the head along
    return (weight / weight.max()).astype(np.float32)


def keep_unit(mean: np.ndarray, template: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """The mean laid back on the template, so that origin, axes and the unit of head space never drift."""
    return align((mean * PIXELS_TO_HEAD)[None], template, rigid)[0][0]


def fit_expression(vertices, scores, angles, person, moving, mean, mirror, ridge=25.0):
    """[52, 478, 3]: ridge regression of displacement on scores, vertex by vertex over the axes that can act there.

    The head's angles are regressed along and thrown away: the tracker's faces change a little with the view, and a view
    that goes with a smile must not become part of the smile.
    """
    turned = np.concatenate([angles, angles * [-1, 1, -1]]) / 30  # [2N, 3] yaw, pitch, roll
    turned = np.stack(
        [turned[:, 0], turned[:, 1], turned[:, 0] ** 2, turned[:, 1] ** 2, turned[:, 0] * turned[:, 1]], 1
    )
    x = np.concatenate([scores, scores[:, MIRRORED_AXES]])
    y = np.concatenate([vertices, vertices[:, mirror] * FLIP]).astype(np.float64)
    x = np.concatenate([x, turned], 1).astype(np.float64)  # [2N, 52 + 5]
    twice = np.concatenate([person, person + person.max() + 1])
    both = np.concatenate([moving, moving])
    x, y = ((a - per_person_mean(a, twice)[twice])[both] for a in (x, y))
    axes = scores.shape[1]
    guess, support = np.zeros((x.shape[1], 478, 3)), np.ones((x.shape[1], 478))
    guess[:axes], support[:axes] = expression_guess(mean), expression_support(mean)
    gram, product = x.T @ x, np.tensordot(x, y, (0, 0))
    basis = np.empty_like(product)
    for vertex in range(y.shape[1]):  # a small support is a strong pull toward the guess, none pins the axis to it
        pull = np.diag(ridge / np.maximum(support[:, vertex], 1e-4) ** 2)
        basis[:, vertex] = np.linalg.solve(gram + pull, product[:, vertex] + pull @ guess[:, vertex])
    return basis[:axes].astype(np.float32)


def close_lids(basis: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The blink axes [52, 478, 3] made to shut the lids at 1: the tracker seldom scores a shut eye above 0.7."""
    basis = basis.copy()
    for name, (upper, lower) in zip(("eyeBlinkRight", "eyeBlinkLeft"), LID_GAPS, strict=True):
        axis = ARKIT_NAMES.index(name)
        gap, closing = mean[upper, 1] - mean[lower, 1], basis[axis, lower, 1] - basis[axis, upper, 1]
        basis[axis] *= max(1.0, gap / closing)
    return basis


# What an axis does where the scores say nothing: (landmark at its centre, displacement in head units, radius).
# Left axes are the mirror images of the right ones.
GUESSES = {
    "cheekPuff": ((205, (-0.05, 0.0, 0.06), 0.13), (425, (0.05, 0.0, 0.06), 0.13)),
    "cheekSquintRight": ((118, (0.0, 0.035, 0.015), 0.09),),
    "cheekSquintLeft": ((347, (0.0, 0.035, 0.015), 0.09),),
    "noseSneerRight": ((64, (0.0, 0.035, 0.0), 0.07),),
    "noseSneerLeft": ((294, (0.0, 0.035, 0.0), 0.07),),
    "jawForward": ((200, (0.0, 0.0, 0.07), 0.2),),
    "jawRight": ((200, (-0.06, 0.0, 0.0), 0.2),),
    "jawLeft": ((200, (0.06, 0.0, 0.0), 0.2),),
    "mouthRight": ((14, (-0.06, 0.0, 0.0), 0.14),),
    "mouthLeft": ((14, (0.06, 0.0, 0.0), 0.14),),
    "mouthFrownRight": ((61, (0.0, -0.05, 0.0), 0.09),),  # scored too seldom to be told from a pout
    "mouthFrownLeft": ((291, (0.0, -0.05, 0.0), 0.09),),
    "mouthClose": ((17, (0.0, 0.05, 0.0), 0.1),),
}


def expression_guess(mean: np.ndarray) -> np.ndarray:
    """[52, 478, 3]: bumps at landmarks for the axes of `GUESSES`, zero for all others (there is no tongue)."""
    guess = np.zeros((len(ARKIT_NAMES), 478, 3))
    for name, bumps in GUESSES.items():
        for landmark, displacement, radius in bumps:
            distance = np.linalg.norm(mean - mean[landmark], axis=1)
            guess[ARKIT_NAMES.index(name)] += np.exp(-((distance / radius) ** 2))[:, None] * np.array(displacement)
    return guess


def expression_support(mean: np.ndarray) -> np.ndarray:
    """[52, 478] in 0..1: where an axis can move the face. A left lid leaves the right one alone."""
    regions = region_weights(mean)
    side = 1 / (1 + np.exp(-mean[:, 0] / 0.06))  # 1 on the person's left = the image's right
    irises = np.zeros(478)
    irises[list(RIGHT_IRIS + LEFT_IRIS)] = 1
    support = np.empty((len(ARKIT_NAMES), 478))
    for axis, name in enumerate(ARKIT_NAMES):
        if name.startswith(("eye", "brow")):
            support[axis] = regions["eyes"]
        elif name.startswith(("cheek", "nose")):
            support[axis] = 1 - irises
        else:
            support[axis] = np.minimum(1, regions["lip"] + 0.7 * regions["other"])
        if name.startswith("eye") and not name.startswith("eyeLook"):
            support[axis] = support[axis] * (1 - irises)  # a blink does not turn the eyeball
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            support[axis] = support[axis] * side
        if name.endswith("Right") and name not in ("jawRight", "mouthRight"):
            support[axis] = support[axis] * (1 - side)
    return support


def region_weights(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Three smooth weights [478] that add up to 1: the eyes with the brows, the lips with the jaw, the rest."""
    x, y = mean[:, 0], mean[:, 1]
    eye_height, lip_height = mean[list(RIGHT_EYE + LEFT_EYE), 1].mean(), mean[[13, 14], 1].mean()
    nose_height = mean[2, 1]

    def rise(value, centre, width):
        return 1 / (1 + np.exp(-(value - centre) / width))

    eyes = rise(y, eye_height - 0.12, 0.02) * rise(eye_height + 0.30 - y, 0, 0.03)
    eyes *= rise(np.abs(x), 0.06, 0.02) + (1 - rise(np.abs(x), 0.06, 0.02)) * rise(y, eye_height + 0.05, 0.02)
    eyes *= rise(0.44 - np.abs(x), 0, 0.015)  # the outline beside the temples wobbles more than any lid
    lip = rise((lip_height + nose_height) / 2 + 0.05 - y, 0, 0.02)
    eyes = eyes * (1 - lip)
    return {"eyes": eyes, "lip": lip, "other": 1 - eyes - lip}


def per_person_mean(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """[N, ...] -> [P, ...] averages; `person` [N] numbers the people from 0."""
    sums = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(sums, person, values)
    return sums / np.bincount(person).reshape(-1, *[1] * (values.ndim - 1))


def symmetric(shape: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The average of a shape [478, 3] and its mirror image."""
    return (shape + shape[mirror] * FLIP) / 2


def principal_axes(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, 478, 3] -> the first `count` unit axes [count, 478, 3] about zero and the standard deviation along each."""
    flat = samples.reshape(len(samples), -1)
    start = np.random.default_rng(0).normal(size=flat.shape[1])  # the same axes each time
    variance, axes = eigsh(flat.T @ flat / len(flat), count, v0=start)
    axes = axes.T[::-1].reshape(count, *samples.shape[1:])
    return axes.astype(np.float32), np.sqrt(variance[::-1].clip(min=0)).astype(np.float32)
