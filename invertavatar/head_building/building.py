"""Makes a `HeadModel` of MakeHuman's data and of our own tracks.

Shapes: N random heads, V vertices, J joints, F triangles, L 478 landmarks, K identity axes, T tracked frames.

1. The head is cut from the base mesh, and landmarks are found on it (`topology`, `embedding`).
2. Random heads are laid on the tracker's template: their mean and principal axes are the identity space.
3. Tracked people move the landmarks along the surface to where real faces have them, and shift the mean.
4. A smooth warp carries landmark displacements to all of the mesh; it lifts the learned landmark axes to it.
5. What the tracker adds as a head turns is regressed on yaw and pitch.
6. The chart of the face is laid over the landmarks.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu

from ..head.arkit import ARKIT_NAMES, mirrored
from ..head.eyeballs import NUM_SURFACE_LANDMARKS
from ..head.head_model import HeadModel
from ..head.landmark_topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, Topology
from ..head.makehuman import MakeHuman
from ..head.pose import NUM_LANDMARKS, PoseTemplate, Similarity, procrustes
from ..head.topology import JOINT_NAMES as JOINTS
from ..head.topology import PART_NAMES, HeadTopology
from .atlas import build_atlas
from .chart_building import chart_arrays
from .embedding import LandmarkEmbedding, nearest_points
from .labels import crown_weights, halved_triangles, label_triangles, lid_parts, texel_density
from .landmark_axes import LandmarkAxes
from .random_heads import RandomHeads
from .tracked_person import TrackedPerson

logger = logging.getLogger(__name__)

FLIP = np.array([-1, 1, 1])
LEAST_SCORE = 0.01  # standard deviation of a score below which tracks say nothing of an axis: MakeHuman's counts
FRONTAL = 15.0  # degrees of yaw within which the tracker's faces are taken for the truth
BIAS_RIDGE = 2.0
WARP_FADE = (0.12, 0.55)  # head units along the surface from the landmarks over which the warp fades away
WARP_HARD = 1e5  # how closely the warp meets the landmarks beside being smooth
NOSE_POINTS, JAW_POINTS = (2, 97, 326, 164), (152, 175, 199, 200)  # landmarks that the upper and the lower teeth follow
REFINING_ROUNDS, REFINING_HEADS = 4, 400


@dataclass
class IdentitySpace:
    """Random heads in head space."""

    mean: np.ndarray  # [V + J, 3]
    basis: np.ndarray  # [K, V + J, 3], orthonormal over the vertices
    std: np.ndarray  # [K]
    scale: float  # head units per decimetre
    rotation: np.ndarray  # [3, 3] MakeHuman's axes -> head space


def build_head_model(
    data: MakeHuman,
    topology: HeadTopology,
    embedding: LandmarkEmbedding,
    allowed: np.ndarray,
    people: list[TrackedPerson],
    template: PoseTemplate,
    face: Topology,
    learned: LandmarkAxes,
    num_heads: int = 2000,
    identity_axes: int = 100,
    warp_neighbours: int = 32,
) -> HeadModel:
    """Everything after the landmarks have been found.

    Args:
        data: MakeHuman's folder.
        topology: The head cut from it.
        embedding: A first one, from `embed_landmarks`.
        allowed: The triangles that landmarks may lie on.
        people: Tracks to learn from.
        template: The tracker's.
        face: Triangles over the landmarks, for the chart.
        learned: Axes of the landmarks.
        num_heads: Random heads to draw.
        identity_axes: K.
        warp_neighbours: Landmarks that a vertex follows.
    """
    vertices, landmark_axes = len(topology.part), learned.expression
    landmark_mirror = face.mirror[:NUM_LANDMARKS]
    heads = RandomHeads(data)
    rng = np.random.default_rng(1)
    mixtures = [heads.draw(rng) for _ in range(num_heads)]
    raw = np.stack([topology.head_and_joints(heads.base(m)).astype(np.float32) for m in mixtures])
    average = topology.head_and_joints(heads.base(heads.average()))
    mirrored_axes = [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES]
    score_spread = np.concatenate([p.expression for p in people]).std(0)
    silent = np.maximum(score_spread, score_spread[mirrored_axes]) < LEAST_SCORE
    units = np.zeros((len(ARKIT_NAMES), len(data.base.vertices), 3))
    for axis, name in enumerate(ARKIT_NAMES):
        morph = data.face_unit(name)
        units[axis, morph.index] = morph.displacement
    units = units[:, topology.base_vertex]  # [52, V, 3] decimetres
    logger.info("the tracks are silent about %s", ", ".join(np.array(ARKIT_NAMES)[silent]))

    for number in range(REFINING_ROUNDS + 1):
        matrix = embedding.matrix(topology.triangles, vertices)
        some = raw if number == REFINING_ROUNDS else raw[:REFINING_HEADS]
        space = identity_space(some, average, matrix, topology, template, identity_axes)
        residual = mean_residual(space, matrix, people, landmark_axes)
        residual = (residual + residual[landmark_mirror] * FLIP) / 2
        logger.info("round %d: people's mean differs by %.4f head units", number, np.abs(residual[:, :2]).mean())
        if number < REFINING_ROUNDS:
            embedding = moved(embedding, space.mean[:vertices], residual, topology, allowed, landmark_mirror)
    mean = space.mean[:vertices]
    warp = warp_matrix(mean, topology, matrix)
    index, weight = nearest_landmarks(warp, warp_neighbours)
    spread = np.zeros((vertices, NUM_SURFACE_LANDMARKS))
    np.put_along_axis(spread, index, weight, 1)
    inverse = np.linalg.inv(matrix[:NUM_SURFACE_LANDMARKS] @ spread)

    def lifted(displacement: np.ndarray) -> np.ndarray:  # [..., 468, 3] -> [..., V, 3]
        return spread @ (inverse @ displacement)

    mean = mean + lifted(residual[:NUM_SURFACE_LANDMARKS])
    joints = space.mean[vertices:]

    units = units @ space.rotation.T * space.scale
    axes = units.copy()
    for axis in np.flatnonzero(~silent):
        left = landmark_axes[axis] - matrix @ units[axis]
        axes[axis] += lifted(left[:NUM_SURFACE_LANDMARKS])
    for part in ("eyeLeft", "eyeRight"):  # turned by their joints
        axes[:, topology.part == PART_NAMES.index(part)] = 0
    axes[:, topology.part == PART_NAMES.index("upperTeeth")] = 0

    label = label_triangles(mean, topology, matrix @ mean, data)
    eye_part = np.stack([topology.part == PART_NAMES.index(name) for name in ("eyeLeft", "eyeRight")])
    lid_part = lid_parts(mean, topology, label, eye_part)
    uv, uv_triangles = build_atlas(
        mean,
        topology.triangles,
        data.base.uv,
        topology.uv_triangles,
        texel_density(mean, topology, label, lid_part),
        topology.mirror,
        halved_triangles(label),
    )
    model = HeadModel(
        vertices,
        len(topology.triangles),
        len(uv),
        identity_axes,
        warp_neighbours,
        residual_axes=learned.residual_regions,
        chart_vertices=len(face.offset),
        chart_triangles=len(face.triangles),
    )
    arrays = {
        "mean": mean,
        "identity_basis": space.basis[:, :vertices],
        "identity_std": space.std,
        "joint_mean": joints,
        "joint_basis": space.basis[:, vertices:],
        "expression_basis": axes,
        "residual_basis": learned.residual,
        "residual_std": learned.residual_std,
        "skin_weights": topology.skin_weights,
        "crown_weight": crown_weights(mean, topology, matrix @ mean),
        "landmark_weight": embedding.barycentric,
        "warp_weight": weight,
        "warp_inverse": inverse,
        "tracker_bias": np.zeros((7, len(landmark_mirror), 3)),
        "uv": uv,
        "triangles": topology.triangles,
        "uv_triangles": uv_triangles,
        "label": label,
        "mirror": topology.mirror,
        "landmark_vertex": topology.triangles[embedding.triangle],
        "warp_landmark": index,
        "eye_part": eye_part,
        "lid_part": lid_part,
        **{f"chart.{name}": array for name, array in chart_arrays(matrix @ mean, face).items()},
    }
    state = model.state_dict()
    model.load_state_dict({k: torch.from_numpy(np.ascontiguousarray(v)).to(state[k].dtype) for k, v in arrays.items()})
    model.register_to_config(gaze_degrees=gaze_degrees(model, people))
    model.tracker_bias.copy_(torch.from_numpy(tracker_bias(model, people, landmark_mirror)))
    return model


def identity_space(
    raw: np.ndarray,  # [N, V + J, 3]
    average: np.ndarray,  # [V + J, 3]
    matrix: sparse.csr_matrix,  # [L, V]
    topology: HeadTopology,
    template: PoseTemplate,
    axes: int,
) -> IdentitySpace:
    """Lay random heads on the template by their landmarks; principal axes of them and mirror images."""
    vertices, used = len(topology.part), template.rigid > 0
    target, weights = template.mean[used].astype(np.float64), template.rigid[used]

    def laid(head: np.ndarray) -> tuple[np.ndarray, Similarity]:
        fit = procrustes(matrix[used] @ head[:vertices], target, weights)
        return fit.scale * head @ fit.rotation.T + fit.translation, fit

    shapes, scales = np.empty_like(raw), []
    for row, head in enumerate(raw):
        shapes[row], fit = laid(head.astype(np.float64))
        scales.append(fit.scale)
    mirror = np.concatenate([topology.mirror, vertices + _joint_mirror()])
    mean = shapes.mean(0, dtype=np.float64)
    mean = (mean + mean[mirror] * FLIP) / 2
    shapes -= mean.astype(np.float32)
    both = np.concatenate([shapes, shapes[:, mirror] * FLIP.astype(np.float32)])
    flat = both[:, :vertices].reshape(len(both), -1)
    variance, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    variance, vectors = variance[::-1][:axes], vectors[:, ::-1][:, :axes]
    basis = (vectors.T @ both.reshape(len(both), -1)) / np.sqrt(variance)[:, None]
    basis *= np.sign(basis[np.arange(axes), np.abs(basis).argmax(1)])[:, None]  # eigenvectors have no sign of their own
    return IdentitySpace(
        mean=mean,
        basis=basis.reshape(axes, *raw.shape[1:]).astype(np.float64),
        std=np.sqrt(variance / len(both)),
        scale=float(np.median(scales)),
        rotation=laid(average)[1].rotation,
    )


def _joint_mirror() -> np.ndarray:
    swapped = {"eyeLeft": "eyeRight", "eyeRight": "eyeLeft"}
    return np.array([JOINTS.index(swapped.get(name, name)) for name in JOINTS])


def mean_residual(
    space: IdentitySpace,
    matrix: sparse.csr_matrix,  # [L, V]
    people: Sequence[TrackedPerson],
    landmark_axes: np.ndarray,  # [52, L, 3]
    noise: float = 0.015,
    depth: float = 0.5,
) -> np.ndarray:
    """[L, 3] what mean and identity leave of people's faces, on average over the people."""
    vertices = len(space.mean) - len(JOINTS)
    base = matrix @ space.mean[:vertices]
    basis = np.stack([matrix @ axis[:vertices] for axis in space.basis])
    weight = np.ones_like(base)
    weight[:, 2] = depth
    weight[NUM_SURFACE_LANDMARKS:] = 0
    weighted = (basis * weight).reshape(len(basis), -1)
    gram = weighted @ weighted.T + np.diag((noise / space.std) ** 2)
    left = []
    for person in people:
        neutral = (person.vertices - np.einsum("tk,klc->tlc", person.expression, landmark_axes)).mean(0) - base
        axes = np.linalg.solve(gram, weighted @ (neutral * weight).ravel())
        left.append(neutral - np.einsum("k,klc->lc", axes, basis))
    return np.mean(left, 0)


def moved(
    embedding: LandmarkEmbedding,
    mean: np.ndarray,  # [V, 3]
    residual: np.ndarray,  # [L, 3]
    topology: HeadTopology,
    allowed: np.ndarray,
    mirror: np.ndarray,  # [L]
) -> LandmarkEmbedding:
    """The embedding with its points moved along the surface by `residual`, in depth by half of it."""
    matrix = embedding.matrix(topology.triangles, len(mean))
    points = matrix @ mean + residual * [1, 1, 0.5]
    triangle, barycentric = embedding.triangle.copy(), embedding.barycentric.copy()
    skin = slice(NUM_SURFACE_LANDMARKS)
    points[skin] = (points[skin] + points[mirror[skin]] * FLIP) / 2
    triangle[skin], barycentric[skin] = nearest_points(points[skin], mean, topology.triangles, allowed)
    for part, iris in (("eyeRight", RIGHT_IRIS), ("eyeLeft", LEFT_IRIS)):
        faces, iris = np.flatnonzero(topology.triangle_part == PART_NAMES.index(part)), list(iris)
        ball = mean[np.unique(topology.triangles[faces])]
        centre, radius = (ball.max(0) + ball.min(0)) / 2, np.ptp(ball, axis=0).mean() / 2
        away = points[iris, :2] - centre[:2]
        front = np.sqrt((radius**2 - (away**2).sum(1)).clip((radius / 2) ** 2))
        on_ball = np.column_stack([points[iris, :2], centre[2] + front])
        triangle[iris], barycentric[iris] = nearest_points(on_ball, mean, topology.triangles, faces)
    return LandmarkEmbedding(triangle, barycentric)


# The warp


def warp_matrix(mean: np.ndarray, topology: HeadTopology, matrix: sparse.csr_matrix) -> np.ndarray:
    """[V, 468] how far each vertex goes along with each landmark: the smoothest way (bi-Laplacian), held still away
    from the face. Eyeballs go with their lids, teeth and tongue with the nose's base or the chin, each as a whole.
    """
    triangles, matrix = topology.triangles, matrix[:NUM_SURFACE_LANDMARKS]
    laplacian, area = cotangent_laplacian(mean, triangles)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    lengths = np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    graph = sparse.csr_matrix((lengths, edges.T), shape=(len(mean),) * 2)
    distance = dijkstra(graph, directed=False, indices=np.unique(matrix.indices), min_only=True)
    start, end = WARP_FADE
    held = np.clip((np.where(np.isfinite(distance), distance, 9) - start) / (end - start), 0, 1) ** 2 * 4e4 + 1e-3
    energy = laplacian @ sparse.diags(1 / area) @ laplacian + sparse.diags(area * held)
    system = splu((energy + WARP_HARD * matrix.T @ matrix).tocsc())
    warp = system.solve((WARP_HARD * matrix.T).toarray())
    leaders = {
        "eyeRight": RIGHT_EYE,
        "eyeLeft": LEFT_EYE,
        "upperTeeth": NOSE_POINTS,
        "lowerTeeth": JAW_POINTS,
        "tongue": JAW_POINTS,
    }
    for part, landmarks in leaders.items():
        row = np.zeros(warp.shape[1])
        row[list(landmarks)] = 1 / len(landmarks)
        warp[topology.part == PART_NAMES.index(part)] = row
    return warp


def nearest_landmarks(warp: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` landmarks that count most for each vertex, with their weights summing to what all do."""
    index = np.argsort(-np.abs(warp), axis=1, kind="stable")[:, :count]
    weight = np.take_along_axis(warp, index, 1)
    remainder = warp.sum(1) - weight.sum(1)
    return index, weight + remainder[:, None] * np.abs(weight) / np.abs(weight).sum(1, keepdims=True).clip(1e-9)


def cotangent_laplacian(vertices: np.ndarray, triangles: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """The Laplacian [V, V] of a mesh and the area [V] around each vertex."""
    rows, columns, values = [], [], []
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        u = vertices[triangles[:, b]] - vertices[triangles[:, a]]
        v = vertices[triangles[:, c]] - vertices[triangles[:, a]]
        cotangent = (u * v).sum(1) / np.linalg.norm(np.cross(u, v), axis=1).clip(1e-9)
        cotangent = cotangent.clip(0.02, 8) / 2  # slivers must not rule
        rows += [triangles[:, b], triangles[:, c]]
        columns += [triangles[:, c], triangles[:, b]]
        values += [cotangent, cotangent]
    pairs = np.concatenate(rows), np.concatenate(columns)
    weights = sparse.csr_matrix((np.concatenate(values), pairs), shape=(len(vertices),) * 2)
    laplacian = sparse.diags(np.asarray(weights.sum(1)).ravel()) - weights
    edge = vertices[triangles[:, 1:]] - vertices[triangles[:, :1]]
    twice = np.linalg.norm(np.cross(edge[:, 0], edge[:, 1]), axis=1)
    area = np.zeros(len(vertices))
    np.add.at(area, triangles, np.repeat(twice[:, None] / 6, 3, 1))
    return sparse.csr_matrix(laplacian), area.clip(1e-8)


# What the tracker says


@torch.no_grad()
def gaze_degrees(model: HeadModel, people: list[TrackedPerson]) -> tuple[float, float]:
    """How far eyeballs turn at scores of 1, by where the tracked irises are: sideways and up or down."""
    said, seen = [], []
    for person in people:
        landmarks, scores = (torch.from_numpy(x).float() for x in (person.vertices, person.expression))
        shape = model.shape(model.without_expression(landmarks, scores).sum(0), len(landmarks))
        vertices = model(shape, scores)
        gaze, unit = model.gaze_in(landmarks, vertices), model.gaze_of(scores)
        said.append((unit - unit.mean(0)) / torch.tensor(model.config.gaze_degrees))
        seen.append(gaze - gaze.mean(0))
    said, seen = torch.cat(said).flatten(0, 1), torch.cat(seen).flatten(0, 1)
    sideways, up = ((said * seen).sum(0) / (said * said).sum(0)).tolist()
    return round(sideways, 1), round(up, 1)


@torch.no_grad()
def tracker_bias(model: HeadModel, people: list[TrackedPerson], mirror: np.ndarray) -> np.ndarray:
    """[7, L, 3]: what turned faces differ by from the same faces seen from the front, regressed on yaw and pitch."""
    terms, left = [], []

    def of(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:  # [T] each -> [T, 7]
        return model.bias_terms(torch.from_numpy(yaw), torch.from_numpy(pitch)).numpy()

    for person in people:
        yaw, pitch = person.angles.T
        frontal = np.abs(yaw) < FRONTAL
        if frontal.sum() < 2:
            continue
        scores = torch.from_numpy(person.expression).float()
        neutral = model.without_expression(torch.from_numpy(person.vertices).float(), scores).numpy().astype(np.float64)
        difference = neutral - neutral[frontal].mean(0)
        chosen = np.unique(np.linspace(0, len(yaw) - 1, min(len(yaw), 40)).astype(int))
        for sign, seen in ((1, difference), (-1, difference[:, mirror] * FLIP)):
            x = of(yaw * sign, pitch)
            terms.append((x - x[frontal].mean(0))[chosen])
            left.append(seen[chosen])
    x, y = np.concatenate(terms), np.concatenate(left).reshape(sum(map(len, terms)), -1)
    bias = np.linalg.solve(x.T @ x + BIAS_RIDGE * np.eye(x.shape[1]), x.T @ y).reshape(-1, len(mirror), 3)
    for iris, lids in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        # An iris goes along with its lids: that eyes stay on the camera while a head turns is gaze.
        bias[:, list(iris)] = bias[:, list(lids)].mean(1, keepdims=True)
    return bias
