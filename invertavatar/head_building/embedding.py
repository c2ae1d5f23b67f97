"""Where MediaPipe's 478 landmarks lie on the head: each on a triangle, at barycentric coordinates.

Shapes: L 478 landmarks, V vertices, F triangles, P points, S side of a picture.

Random heads are drawn with skin, eyes and brows, the tracker looks at the pictures, and the surface under each landmark
is carried to the mean head, where the votes of all pictures are united.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree
from trimesh.triangles import closest_point, points_to_barycentric

from ..camera import rotation_from_angles
from ..errors import MediaError, NoFaceError
from ..head.landmark_topology import INNER_LIPS, LEFT_IRIS, RIGHT_IRIS
from ..head.makehuman import MakeHuman, Surface, texture_of
from ..head.topology import JOINT_NAMES, PART_NAMES, HeadTopology
from ..raster.rasterizer import rasterize
from ..tracking.tracker import FaceTracker
from .drawing import Layer, draw
from .random_heads import Mixture, RandomHeads

SURFACE_LANDMARKS = 468  # the others are irises
PICTURE_SIZE, PICKED_SIZE = 448, 1000
YAWS, TILT = (-25, 0, 25), 6.0  # degrees; pitch is drawn within +-PITCH
OPEN_MOUTH = {"jawOpen": 0.35, "mouthSmileLeft": 0.3, "mouthSmileRight": 0.3}
HALF_SIDE = 2.9  # of the picture, in distances between the eyes
MAX_OFF_SURFACE = 12  # pixels of the depth picture by which a landmark may miss the head
MIDLINE = 0.25  # of |x| in head units, within which a landmark is seen well from everywhere
IRIS_RADIUS = 0.49  # of the eyeball's
CANDIDATE_YAWS, CANDIDATE_PITCHES = (-55, -25, 0, 25, 55), (-15, 0, 20)


@dataclass(frozen=True)
class LandmarkEmbedding:
    """The surface point of each landmark."""

    triangle: np.ndarray  # [L] int64
    barycentric: np.ndarray  # [L, 3] float64

    def matrix(self, triangles: np.ndarray, num_vertices: int) -> sparse.csr_matrix:
        """[L, V]: landmarks = matrix @ vertices."""
        rows = np.repeat(np.arange(len(self.triangle)), 3)
        entries = self.barycentric.ravel(), (rows, triangles[self.triangle].ravel())
        return sparse.csr_matrix(entries, shape=(len(self.triangle), num_vertices))


class Vote(NamedTuple):
    """Where one picture puts the landmarks."""

    point: np.ndarray  # [L, 3] on the mean head
    weight: np.ndarray  # [L]; 0 does not count


def nearest_points(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point on some of a mesh's triangles.

    Args:
        points: [P, 3].
        vertices: [V, 3].
        triangles: [F, 3].
        candidates: [C] the triangles that may be hit.

    Returns:
        [P] triangles and [P, 3] barycentric coordinates.
    """
    corners = vertices[triangles[candidates]]
    hits, places = [], []
    for point in points:
        on_each = closest_point(corners, np.broadcast_to(point, (len(corners), 3)))
        best = int(np.linalg.norm(on_each - point, axis=1).argmin())
        hits.append(candidates[best])
        places.append(on_each[best])
    hits = np.array(hits)
    barycentric = points_to_barycentric(vertices[triangles[hits]], np.array(places)).clip(0, 1)
    return hits, barycentric / barycentric.sum(1, keepdims=True)


def candidates(vertices: np.ndarray, topology: HeadTopology, centre: np.ndarray) -> np.ndarray:
    """The skin triangles that a landmark may lie on: seen from some side of the front half, and one ring further."""
    seen = np.zeros(len(vertices), bool)
    for yaw in CANDIDATE_YAWS:
        for pitch in CANDIDATE_PITCHES:
            camera = (vertices - centre) @ rotation_from_angles(yaw, pitch).numpy().T / 1.5
            triangle, _ = _depth_picture(camera, topology.triangles)
            seen[topology.triangles[np.unique(triangle[triangle >= 0])]] = True
    skin = topology.triangle_part == PART_NAMES.index("skin")
    return np.flatnonzero(skin & seen[topology.triangles].any(1))


def _depth_picture(camera: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of [V, 3] in -1..1: [S, S] triangles (-1 for none) and [S, S, 3] barycentric coordinates."""
    positions = torch.from_numpy((camera * [1, -1, 1]).astype(np.float32))[None]
    fragments = rasterize(positions, torch.from_numpy(triangles), PICKED_SIZE)
    return fragments.triangle[0].numpy(), fragments.barycentric[0].numpy()


def embed_landmarks(
    data: MakeHuman,
    heads: RandomHeads,
    topology: HeadTopology,
    tracker: FaceTracker,
    mirror: np.ndarray,
    count: int = 24,
    seed: int = 3,
) -> tuple[LandmarkEmbedding, np.ndarray]:
    """Find the landmarks on random heads.

    Args:
        data: MakeHuman's folder.
        heads: Of the same.
        topology: The head.
        tracker: Finds landmarks.
        mirror: [L] the landmark on the other side of the face.
        count: Heads to draw, in two expressions from three sides each.
        seed: Of the heads.

    Returns:
        The embedding, symmetric, and the candidates that landmarks may lie on.
    """
    mean = topology.head_and_joints(data.base.vertices)
    eyes = mean[len(topology.part) :][[JOINT_NAMES.index("eyeLeft"), JOINT_NAMES.index("eyeRight")]].mean(0)
    mean, flip = mean[: len(topology.part)], np.array([-1, 1, 1])
    allowed = candidates(mean, topology, eyes + [0, -0.3, -0.4])
    pictures = list(votes(data, heads, topology, tracker, mean, allowed, count, seed))
    points = np.stack([v.point for v in pictures])[:, :SURFACE_LANDMARKS]  # [pictures, 468, 3]
    weights = np.stack([v.weight for v in pictures])[:, :SURFACE_LANDMARKS]
    image = mirror[:SURFACE_LANDMARKS]
    points = np.concatenate([points, points[:, image] * flip])
    weights = np.concatenate([weights, weights[:, image]])
    median = weighted_median(points, weights)
    triangle, barycentric = nearest_points((median + median[image] * flip) / 2, mean, topology.triangles, allowed)
    triangle, barycentric = (np.pad(x, [(0, 10)] + [(0, 0)] * (x.ndim - 1)) for x in (triangle, barycentric))
    for part, iris in (("eyeRight", RIGHT_IRIS), ("eyeLeft", LEFT_IRIS)):
        triangle[list(iris)], barycentric[list(iris)] = _iris(mean, topology, part, tracker.template.mean, iris)
    return LandmarkEmbedding(triangle, barycentric), allowed


def weighted_median(points: np.ndarray, weights: np.ndarray, rounds: int = 30) -> np.ndarray:
    """The geometric median of [N, L, 3] points with weights [N, L] -> [L, 3], by Weiszfeld's iteration."""
    centre = (points * weights[..., None]).sum(0) / weights.sum(0)[:, None].clip(1e-9)
    for _ in range(rounds):
        pull = weights / np.linalg.norm(points - centre, axis=-1).clip(1e-4)
        centre = (points * pull[..., None]).sum(0) / pull.sum(0)[:, None].clip(1e-9)
    return centre


def votes(
    data: MakeHuman,
    heads: RandomHeads,
    topology: HeadTopology,
    tracker: FaceTracker,
    mean: np.ndarray,  # [V, 3]
    allowed: np.ndarray,
    count: int,
    seed: int,
) -> Iterator[Vote]:
    """Draw, track, and look what surface lies under each landmark; for the arguments see `embed_landmarks`."""
    rng = np.random.default_rng(seed)
    base, template = data.base, tracker.template.mean
    body = base.group == "body"
    skin = Surface(base.vertices, base.uv, base.triangles[body], base.uv_triangles[body], base.group[body])
    inner_lips = np.isin(np.arange(len(template)), INNER_LIPS)
    for _ in range(count):
        mixture = heads.draw(rng, 0.45, children=0)
        layers = _dressing(data, mixture, rng)
        for expression in ({}, OPEN_MOUTH):
            vertices = heads.base(mixture, expression)
            head = topology.head_and_joints(vertices)
            eyes = head[[len(mean) + JOINT_NAMES.index(name) for name in ("eyeLeft", "eyeRight")]]
            head, half = head[: len(mean)], float(np.linalg.norm(eyes[0] - eyes[1])) * HALF_SIDE
            centre = eyes.mean(0) + [0, -0.25, -0.4]
            for yaw in YAWS:
                rotation = rotation_from_angles(yaw, rng.uniform(-TILT, TILT)).numpy().astype(np.float64)
                scene = [Layer(skin, vertices, layers[0])]
                scene += [Layer(p.surface, p.fitted(vertices), texture, card=card) for p, texture, card in layers[1:]]
                try:
                    track = tracker.detect(draw(scene, rotation, centre, half, PICTURE_SIZE))
                except NoFaceError:
                    continue
                camera = (head - centre) @ rotation.T / half
                vote = _under(track.landmarks[:, :2] / PICTURE_SIZE, camera, mean, topology.triangles, allowed)
                weight = np.where(inner_lips & (not expression), 0, vote.weight)  # closed lips hide where they meet
                # A landmark near the outline is a guess: the side that faces the viewer knows better.
                toward = -template[:, 0] * yaw
                sideways = np.where(toward > 0, 4.0, 0.02)
                sideways = np.where((np.abs(template[:, 0]) < MIDLINE) | (yaw == 0), 1.0, sideways)
                yield Vote(vote.point, weight * sideways)


def _dressing(data: MakeHuman, mixture: Mixture, rng: np.random.Generator) -> list:
    """A skin's texture, then (proxy, texture, card?) of eyes, teeth, tongue, brows and lashes."""
    race = max(("african", "asian", "caucasian"), key=lambda r: sum(w for k, w in mixture.items() if f"/{r}-" in k))
    female = sum(w for k, w in mixture.items() if "universal-female" in k) > 0.5
    fitting = [s for s in data.skins() if race in s and (("female" in s) == female)]
    skin = fitting[rng.integers(len(fitting))]
    iris = ("brown", "brownlight", "green", "blue", "grey")[rng.integers(5)]
    brow, lash = f"eyebrow{rng.integers(1, 13):03d}", f"eyelashes{rng.integers(1, 5):02d}"
    proxies = [
        (data.proxy("eyes/low-poly/low-poly", f"eyes/materials/{iris}"), False),
        (data.proxy("teeth/teeth_base/teeth_base"), False),
        (data.proxy("tongue/tongue01/tongue01"), False),
        (data.proxy(f"eyebrows/{brow}/{brow}"), True),
        (data.proxy(f"eyelashes/{lash}/{lash}"), True),
    ]
    texture = _picture(texture_of(data.folder / f"{skin}.mhmat"))
    return [texture, *((proxy, _picture(proxy.texture), card) for proxy, card in proxies)]


def _picture(texture: Path | None) -> np.ndarray:
    if texture is None:
        raise MediaError("A skin or proxy of MakeHuman's data names no texture; give its folder as it is packed.")
    return Layer.picture(texture)


def _under(
    places: np.ndarray,
    camera: np.ndarray,  # [V, 3]
    mean: np.ndarray,  # [V, 3]
    triangles: np.ndarray,
    allowed: np.ndarray,
) -> Vote:
    """The surface under picture places [L, 2] in 0..1: points of the mean head, and how squarely they are seen."""
    corners = camera[triangles[allowed]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = allowed[normal[:, 2] > 0]
    triangle, barycentric = _depth_picture(camera, triangles[front])
    rows, columns = np.nonzero(triangle >= 0)
    distance, hit = KDTree(np.column_stack([columns, rows]) + 0.5).query(places * PICKED_SIZE)
    row, column = rows[hit], columns[hit]
    chosen = triangles[front[triangle[row, column]]]
    weights = barycentric[row, column][..., None]
    corners = camera[chosen]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal[:, 2] / np.linalg.norm(normal, axis=1).clip(1e-12)
    weight = np.where((distance < MAX_OFF_SURFACE) & (facing > 0.3), (facing - 0.2).clip(0.02) ** 2, 0)
    inner = np.isin(np.arange(len(places)), INNER_LIPS) & (distance < MAX_OFF_SURFACE)
    return Vote((mean[chosen] * weights).sum(1), np.where(inner, weight.clip(0.02), weight))


def _iris(
    mean: np.ndarray,  # [V, 3]
    topology: HeadTopology,
    part: str,
    template: np.ndarray,  # [L, 3]
    landmarks: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The iris' centre and its four quarters on an eyeball that looks straight ahead."""
    faces = np.flatnonzero(topology.triangle_part == PART_NAMES.index(part))
    ball = mean[np.unique(topology.triangles[faces])]
    centre, radius = (ball.max(0) + ball.min(0)) / 2, np.ptp(ball, axis=0) / 2
    points = []
    for landmark in landmarks:
        away = template[landmark, :2] - template[landmarks[0], :2]
        direction = np.zeros(2)
        if landmark != landmarks[0]:
            axis = int(np.abs(away).argmax())
            direction[axis] = np.sign(away[axis]) * IRIS_RADIUS
        points.append(centre + radius * [*direction, np.sqrt(1 - direction @ direction)])
    return nearest_points(np.array(points), mean, topology.triangles, faces)
