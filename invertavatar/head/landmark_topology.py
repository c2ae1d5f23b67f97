"""The face mesh: which triangles there are, how its holes are closed and how it unwraps.

Shapes: V 478 landmarks, E vertices added to close the mesh, F triangles.

MediaPipe's canonical face covers eyes and lips with a few stretched triangles. Here those are cut out, and behind each
opening lies a patch of its own: the eyeball with the iris (so gaze moves texture) and two rows of teeth, the upper one
fixed to the skull and the lower one to the jaw (so a smile uncovers teeth instead of stretching them). The patches are
linear in the landmarks: `added = live @ landmarks + rest @ neutral landmarks + offset`, and have charts of their own in
the corners of the UV map that the skin leaves free. A patch is seen through its opening only, never through skin.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import Delaunay

RIGHT_EYE = (
    33,
    246,
    161,
    160,
    159,
    158,
    157,
    173,
    133,
    155,
    154,
    153,
    145,
    144,
    163,
    7,
)  # lid ring from the outer corner
LEFT_EYE = (
    263,
    466,
    388,
    387,
    386,
    385,
    384,
    398,
    362,
    382,
    381,
    380,
    374,
    373,
    390,
    249,
)  # its mirror image
RIGHT_IRIS, LEFT_IRIS = (
    (468, 469, 470, 471, 472),
    (473, 476, 475, 474, 477),
)  # centre, then toward the nose, top, outward, bottom
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LID_GAPS = ((159, 145), (386, 374))  # upper and lower lid of the right and of the left eye
LIP_GAP = (13, 14)
CHIN_LANDMARKS = (152, 175, 199, 200)

SKIN, MOUTH, RIGHT_EYE_PATCH, LEFT_EYE_PATCH = range(4)  # what `Topology.triangle_region` says
CHART_CENTRES = {RIGHT_EYE_PATCH: (-0.79, -0.79), LEFT_EYE_PATCH: (0.79, -0.79), MOUTH: (-0.79, 0.84)}
EYE_CHART, MOUTH_CHART = (0.18, 0.13), (0.19, 0.13)  # half width and half height of a chart in UV units

MOUTH_COLUMNS = 9
JAW_FOLLOW = 0.85  # the lower teeth turn about the jaw joint on a shorter arm than the chin
# Rows of the mouth patch from the upper gum down: height above the line where the lips meet, depth behind the lips, and
# how far the row follows the jaw. The middle row is the dark of the throat.
MOUTH_ROWS = ((0.13, 0.03, 0.0), (-0.012, 0.035, 0.0), (-0.015, 0.12, 0.5), (-0.018, 0.05, 1.0), (-0.15, 0.05, 1.0))
DENTAL_ARCH = 0.07  # how far the ends of the rows lie behind their middle


@dataclass(frozen=True)
class Topology:
    """Everything about the mesh that no face changes."""

    triangles: np.ndarray  # [F, 3] int64 into V + E vertices; skin triangles first
    triangle_region: np.ndarray  # [F] int64: SKIN, MOUTH, RIGHT_EYE_PATCH or LEFT_EYE_PATCH
    uv: np.ndarray  # [V + E, 2] float32 in [-1, 1], v down; bijective over the triangles
    mirror: np.ndarray  # [V + E] int64: the vertex on the other side of the face
    live: np.ndarray  # [E, V] float32
    rest: np.ndarray  # [E, V] float32
    offset: np.ndarray  # [E, 3] float32, head units


def build_topology(face_landmarker: Path) -> Topology:
    """The topology from the canonical face inside MediaPipe's `face_landmarker.task`."""
    canonical, canonical_triangles = read_canonical_face(face_landmarker)
    position, uv = canonical[:, :3], canonical[:, 3:] * 2 - 1
    openings = [set(RIGHT_EYE), set(LEFT_EYE), set(INNER_LIPS)]
    skin = [t for t in canonical_triangles.tolist() if not any(set(t) <= opening for opening in openings)]

    landmark_uv = np.zeros((478, 2), np.float32)  # the ten iris landmarks stand on no triangle: the patches copy them
    landmark_uv[:468] = uv
    landmark_mirror = np.empty(478, np.int64)
    distance = np.linalg.norm(position[:, None] * [-1, 1, 1] - position[None], axis=-1)  # [468, 468]
    landmark_mirror[:468] = distance.argmin(1)
    for right, left in zip(RIGHT_IRIS, LEFT_IRIS, strict=True):
        landmark_mirror[right], landmark_mirror[left] = left, right

    patches = [
        _eye_patch(position, RIGHT_EYE, RIGHT_IRIS, CHART_CENTRES[RIGHT_EYE_PATCH], 1),
        _eye_patch(position, LEFT_EYE, LEFT_IRIS, CHART_CENTRES[LEFT_EYE_PATCH], -1),
        _mouth_patch(),
    ]
    right_eye, left_eye, mouth = (len(patch["offset"]) for patch in patches)
    first = np.cumsum([478, right_eye, left_eye])
    mouth_mirror = np.arange(mouth).reshape(len(MOUTH_ROWS), MOUTH_COLUMNS)[:, ::-1].ravel()
    mirror = np.concatenate(
        [landmark_mirror, np.arange(left_eye) + first[1], np.arange(right_eye) + first[0], mouth_mirror + first[2]]
    )
    triangles = [np.array(skin), *(p["triangles"] + f for p, f in zip(patches, first, strict=True))]
    regions = (SKIN, RIGHT_EYE_PATCH, LEFT_EYE_PATCH, MOUTH)
    return Topology(
        triangles=np.concatenate(triangles).astype(np.int64),
        triangle_region=np.repeat(regions, [len(t) for t in triangles]).astype(np.int64),
        uv=np.concatenate([landmark_uv, *(p["uv"] for p in patches)]).astype(np.float32),
        mirror=mirror.astype(np.int64),
        live=np.concatenate([p["live"] for p in patches]).astype(np.float32),
        rest=np.concatenate([p["rest"] for p in patches]).astype(np.float32),
        offset=np.concatenate([p["offset"] for p in patches]).astype(np.float32),
    )


def _eye_patch(
    position: np.ndarray,  # [478, 3]
    ring: Sequence[int],
    iris: Sequence[int],
    chart_centre: tuple[float, float],
    side: int,
) -> dict[str, np.ndarray]:
    """Lid ring, a ring of eight around the iris and its centre; `side` is 1 for the right eye and -1 for the left."""
    n, live = len(ring), np.zeros((len(ring) + 9, 478))
    for row, vertex in enumerate(ring):
        live[row, vertex] = 1
    centre, *quarters = iris
    for step in range(8):  # every second one is a landmark, those between lie on the same ellipse
        live[n + step, quarters[step // 2]] = 1
        if step % 2:
            live[n + step, [quarters[step // 2], quarters[(step // 2 + 1) % 4]]] = np.sqrt(0.5)
            live[n + step, centre] = 1 - np.sqrt(2)
    live[n + 8, centre] = 1
    offset = np.zeros((n + 9, 3))
    offset[:n, 2], offset[n:, 2] = -0.012, -0.004  # lids win over the eyeball, the iris over the white

    outline = position[list(ring), :2]
    middle, half = (outline.max(0) + outline.min(0)) / 2, np.ptp(outline, axis=0) / 2
    chart = np.zeros((n + 9, 2))
    chart[:n] = (outline - middle) / half * [1, -1]
    angle = np.arange(8) * np.pi / 4
    # In the chart the iris keeps the shape it has in a wide open eye; step 0 points toward the nose, as in the face.
    chart[n : n + 8] = np.stack([side * np.cos(angle) * 0.36, -np.sin(angle) * 0.62], 1)
    chart[:, 0] *= EYE_CHART[0]
    chart[:, 1] *= EYE_CHART[1]
    return {
        "live": live,
        "rest": np.zeros_like(live),
        "offset": offset,
        "uv": chart + chart_centre,
        "triangles": _eye_triangles(chart, n),
    }


def _eye_triangles(chart: np.ndarray, ring: int) -> np.ndarray:
    """Delaunay triangles [F, 3] of the chart's points [V, 2] inside the lid outline, which are the first `ring`."""
    outline = chart[:ring].astype(np.float32)
    triangles = Delaunay(chart).simplices
    inside = [cv2.pointPolygonTest(outline, tuple(map(float, c)), False) > 0 for c in chart[triangles].mean(1)]
    return triangles[inside]


def _mouth_patch() -> dict[str, np.ndarray]:
    """Rows of teeth behind the lips, MOUTH_COLUMNS wide; see MOUTH_ROWS."""
    across = np.linspace(-1, 1, MOUTH_COLUMNS)
    live, rest, offset, uv = [], [], [], []
    for (height, depth, follow), v in zip(MOUTH_ROWS, (-1, -0.3, 0, 0.3, 1), strict=True):
        for x in across:
            neutral_part, now = np.zeros(478), np.zeros(478)
            neutral_part[list(LIP_GAP)] += 0.5
            # Half as wide again as the resting lips: a smile must not uncover the patch's ends.
            neutral_part[[INNER_LIPS[0], INNER_LIPS[10]]] += np.array([-0.75, 0.75]) * x
            now[list(CHIN_LANDMARKS)] += follow * JAW_FOLLOW / len(CHIN_LANDMARKS)
            live.append(now)
            rest.append(neutral_part - now)
            offset.append((0, height, -depth - DENTAL_ARCH * x * x))
            uv.append((x * MOUTH_CHART[0], v * MOUTH_CHART[1]))
    grid = np.arange(len(live)).reshape(len(MOUTH_ROWS), MOUTH_COLUMNS)
    a, b, c, d = grid[:-1, :-1].ravel(), grid[:-1, 1:].ravel(), grid[1:, :-1].ravel(), grid[1:, 1:].ravel()
    return {
        "live": np.array(live),
        "rest": np.array(rest),
        "offset": np.array(offset),
        "uv": np.array(uv) + CHART_CENTRES[MOUTH],
        "triangles": np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]),
    }


def read_canonical_face(face_landmarker: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [468, 5] (x, y, z in cm; u, v in 0..1) and triangles [898, 3] of MediaPipe's canonical face.

    The geometry metadata inside the .task archive is a protocol buffer; field 1 is the mesh, whose field 3 holds the
    vertex buffer and field 4 the indices.
    """
    metadata = zipfile.ZipFile(face_landmarker).read("geometry_pipeline_metadata_landmarks.binarypb")
    mesh = next(value for field, value in _fields(metadata) if field == 1 and isinstance(value, bytes))
    vertices = b"".join(value for field, value in _fields(mesh) if field == 3 and isinstance(value, bytes))
    indices = [value for field, value in _fields(mesh) if field == 4]
    return np.frombuffer(vertices, "<f4").reshape(-1, 5).copy(), np.array(indices).reshape(-1, 3)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (field number, value) pairs of a protocol buffer message; groups and packed values stay bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = 4 if key & 7 == 5 else varint()
            yield key >> 3, message[at : at + size]
            at += size
