"""What each part of the head is: semantic labels, and what follows from them.

Shapes: V vertices, F triangles, L 478 landmarks.
"""

import numpy as np

from ..head.head_model import LABELS
from ..head.makehuman import MakeHuman
from ..head.topology import JOINT_NAMES as JOINTS
from ..head.topology import PART_NAMES, HeadTopology, texture_islands

# Rings of landmarks.
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
             152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
HIGHEST_LANDMARK, LOWEST_LANDMARK, EARS = 10, 152, (234, 454)  # highest and lowest point of the face; beside the ears
EAR_TARGETS = ("ears/l-ear-wing-incr", "ears/r-ear-wing-incr")
EAR_MOVEMENT = 0.05  # of the largest displacement, above which a vertex is the ear's
LID_REACH = 1.35  # eyeball radii around its middle
# How finely each part is textured, relative to each other; inside of the mouth it falls with depth.
DENSITY = {"face": 3.0, "scalp": 1.5, "ear": 2.0, "neck": 1.3, "torso": 0.5, "lips": 4.0, "mouth": 2.0,
           "teeth": 3.0, "tongue": 1.5, "eye": 5.0}  # fmt: skip
DEEP_DENSITY, DEEP = {"mouth": 0.35, "teeth": 1.2, "tongue": 0.4}, 0.25  # and the head units behind the lips by which
LID_DENSITY = 4.0
HALVED = ("mouth", "teeth")  # cut along the middle: whole, their islands would push all others aside


def label_triangles(mean: np.ndarray, topology: HeadTopology, landmarks: np.ndarray, data: MakeHuman) -> np.ndarray:
    """[F] int64 into `LABELS`.

    Args:
        mean: [V, 3] the mean head in head space.
        topology: Of the head.
        landmarks: [L, 3] on it.
        data: MakeHuman's folder.
    """
    triangles, centre = topology.triangles, mean[topology.triangles].mean(1)
    weights = topology.skin_weights[triangles].mean(1)  # [F, J]
    ear = ear_vertices(topology, data)[triangles].all(1)
    ear_z, ear_bottom = landmarks[list(EARS), 2].mean(), mean[ear_vertices(topology, data), 1].min()
    in_oval = inside(centre[:, :2], landmarks[list(FACE_OVAL), :2]) & (centre[:, 2] > ear_z)
    above = centre[:, 1] > landmarks[HIGHEST_LANDMARK, 1]
    behind = (centre[:, 2] < ear_z) & (centre[:, 1] > ear_bottom)

    label = np.full(len(triangles), LABELS.index("face"))
    label[~in_oval & (above | behind)] = LABELS.index("scalp")
    under = (centre[:, 1] <= ear_bottom) & (centre[:, 2] < ear_z)
    label[(~in_oval & under) | (centre[:, 1] < landmarks[LOWEST_LANDMARK, 1] - 0.02)] = LABELS.index("neck")
    label[ear] = LABELS.index("ear")
    label[weights[:, [JOINTS.index(f"neck0{k}") for k in (1, 2, 3)]].sum(1) > 0.5] = LABELS.index("neck")
    label[weights[:, JOINTS.index("torso")] > 0.5] = LABELS.index("torso")
    lips = inside(centre[:, :2], landmarks[list(OUTER_LIPS), :2])
    label[lips & (centre[:, 2] > landmarks[list(OUTER_LIPS), 2].min() - 0.02)] = LABELS.index("lips")
    label[mouth_lining(centre, topology, landmarks)] = LABELS.index("mouth")
    named = {"eyeRight": "eye", "eyeLeft": "eye", "upperTeeth": "teeth", "lowerTeeth": "teeth", "tongue": "tongue"}
    for part, name in named.items():
        label[topology.triangle_part == PART_NAMES.index(part)] = LABELS.index(name)
    return label.astype(np.int64)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which of the points [N, 2] lie in a polygon [K, 2]: [N] bool."""
    (x, y), start, end = points.T[:, :, None], polygon, np.roll(polygon, -1, 0)
    crossed = (start[:, 1] > y) != (end[:, 1] > y)  # [N, K] edges at the point's height
    slope = (end[:, 0] - start[:, 0]) / np.where(end[:, 1] == start[:, 1], 1, end[:, 1] - start[:, 1])
    return (crossed & (x < start[:, 0] + (y - start[:, 1]) * slope)).sum(1) % 2 == 1


def mouth_lining(centre: np.ndarray, topology: HeadTopology, landmarks: np.ndarray) -> np.ndarray:
    """[F] bool: the mouth's inside, an island of its own in MakeHuman's texture and not much wider than the lips."""
    skin = topology.triangle_part == PART_NAMES.index("skin")
    island, lips = texture_islands(topology.uv_triangles), landmarks[list(OUTER_LIPS)]
    narrow = [k for k in np.unique(island[skin]) if np.ptp(centre[island == k, 0]) < 2 * np.ptp(lips[:, 0])]
    return skin & np.isin(island, narrow)


def ear_vertices(topology: HeadTopology, data: MakeHuman) -> np.ndarray:
    """[V] bool."""
    ear = np.zeros(len(data.base.vertices), bool)
    for name in EAR_TARGETS:
        morph = data.morph(name)
        size = np.linalg.norm(morph.displacement, axis=1)
        ear[morph.index[size > EAR_MOVEMENT * size.max()]] = True
    return ear[topology.base_vertex]


def crown_weights(mean: np.ndarray, topology: HeadTopology, landmarks: np.ndarray) -> np.ndarray:
    """[V] 0 up to the forehead, 1 on the upper skull, smooth between."""
    forehead, top = landmarks[HIGHEST_LANDMARK, 1], mean[:, 1].max()
    rise = ((mean[:, 1] - forehead) / (0.4 * (top - forehead))).clip(0, 1)
    skin = topology.part == PART_NAMES.index("skin")
    return rise * rise * (3 - 2 * rise) * skin


def lid_parts(mean: np.ndarray, topology: HeadTopology, label: np.ndarray, eye_part: np.ndarray) -> np.ndarray:
    """[2, V] bool: the outer skin around each eyeball, in front of its middle."""
    skin, parts = np.zeros(len(mean), bool), []
    skin[topology.triangles[label == LABELS.index("face")]] = True
    for eye in eye_part:
        centre = mean[eye].mean(0)
        radius = np.linalg.norm(mean[eye] - centre, axis=1).mean()
        near = np.linalg.norm(mean - centre, axis=1) < LID_REACH * radius
        parts.append(skin & near & (mean[:, 2] > centre[2]))
    return np.stack(parts)


def texel_density(mean: np.ndarray, topology: HeadTopology, label: np.ndarray, lid_part: np.ndarray) -> np.ndarray:
    """[F] how finely each triangle is to be textured."""
    density = np.array([DENSITY[name] for name in LABELS])[label]
    density[np.logical_or(*lid_part)[topology.triangles].all(1)] = LID_DENSITY
    depth = mean[topology.triangles].mean(1)[:, 2]
    front = depth[label == LABELS.index("lips")].mean()
    deep = ((front - depth) / DEEP).clip(0, 1)
    for name, least in DEEP_DENSITY.items():
        inside = label == LABELS.index(name)
        density[inside] += deep[inside] * (least - DENSITY[name])
    return density


def halved_triangles(label: np.ndarray) -> np.ndarray:
    """[F] bool: those of islands that the atlas cuts along the middle."""
    return np.isin(label, [LABELS.index(name) for name in HALVED])
