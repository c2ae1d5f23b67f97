"""The mesh: its holes, the patches behind them, its mirror image and its unwrapping."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from invertavatar.camera import project
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.landmark_topology import (
    CHIN_LANDMARKS,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_EYE_PATCH,
    LEFT_IRIS,
    MOUTH,
    MOUTH_COLUMNS,
    MOUTH_ROWS,
    RIGHT_EYE,
    RIGHT_EYE_PATCH,
    RIGHT_IRIS,
    SKIN,
    build_topology,
    read_canonical_face,
)
from invertavatar.raster.rasterizer import rasterize
from invertavatar.rendering.uv import layered
from tests.landmarks import driven_mean, mean_landmarks

LANDMARKER = Path(__file__).parents[2] / "invertavatar" / "checkpoints" / "face_tracker" / "face_landmarker.task"
EYES = {RIGHT_EYE_PATCH: (RIGHT_EYE, RIGHT_IRIS), LEFT_EYE_PATCH: (LEFT_EYE, LEFT_IRIS)}
MIRRORED_REGION = {SKIN: SKIN, MOUTH: MOUTH, RIGHT_EYE_PATCH: LEFT_EYE_PATCH, LEFT_EYE_PATCH: RIGHT_EYE_PATCH}
PATCH_START = {RIGHT_EYE_PATCH: 478, LEFT_EYE_PATCH: 503, MOUTH: 528}  # first vertex of each patch


@pytest.fixture(scope="module")
def topology():
    return build_topology(LANDMARKER)


@pytest.fixture(scope="module")
def canonical():
    return read_canonical_face(LANDMARKER)


def triangles_of(topology, region):
    return topology.triangles[topology.triangle_region == region]


def boundary_loops(triangles):
    """The closed lines of edges that belong to one triangle only, as sets of vertices."""
    edges = {(t[k], t[(k + 1) % 3]) for t in triangles.tolist() for k in range(3)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        first, vertex = following.popitem()
        loop = {first}
        while vertex != first:
            loop.add(vertex)
            vertex = following.pop(vertex)
        loops.append(frozenset(loop))
    return loops


def barycentric(points, triangles):
    """[P, 2], [F, 3, 2] -> [P, F, 3]."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    whole, points = cross(b - a, c - a), points[:, None]
    parts = [cross(q - p, points - p) / whole for p, q in ((b, c), (c, a), (a, b))]
    return np.stack(parts, -1)


# The canonical face


def test_the_canonical_face_is_read_from_the_landmarker_with_its_tip_of_the_nose_foremost(canonical):
    vertices, triangles = canonical
    assert vertices.shape == (468, 5) and triangles.shape == (898, 3)
    np.testing.assert_allclose(vertices[0], [0, -3.406404, 5.979507, 0.499977, 0.652534], atol=1e-6)  # as published
    assert vertices[:, 2].argmax() == 4
    assert set(triangles.ravel().tolist()) == set(range(468))


# The mesh


def test_the_skin_has_four_borders_which_are_the_outline_the_two_lid_rings_and_the_inner_lips(topology):
    loops = boundary_loops(triangles_of(topology, SKIN))
    assert len(loops) == 4
    assert {frozenset(RIGHT_EYE), frozenset(LEFT_EYE), frozenset(INNER_LIPS)} < set(loops)
    outline = next(loop for loop in loops if 10 in loop)
    assert {152, 234, 454} < outline  # chin and both ears


def test_every_inner_edge_of_the_mesh_is_run_through_once_in_each_direction(topology):
    edges = [(t[k], t[(k + 1) % 3]) for t in topology.triangles.tolist() for k in range(3)]
    assert len(set(edges)) == len(edges)


@pytest.mark.parametrize("region", EYES)
def test_an_eye_patch_is_one_disc_whose_border_lies_right_behind_the_lid_ring(topology, canonical, region):
    ring, _ = EYES[region]
    first = PATCH_START[region]
    (border,) = boundary_loops(triangles_of(topology, region))
    assert border == set(range(first, first + len(ring)))
    rows = slice(first - 478, first - 478 + len(ring))
    np.testing.assert_array_equal(topology.live[rows].argmax(1), ring)
    np.testing.assert_array_equal(topology.live[rows].sum(1), 1)
    assert (topology.offset[rows, 2] < 0).all() and (topology.offset[rows, :2] == 0).all()


@pytest.mark.parametrize("region", EYES)
def test_the_ring_around_an_iris_lies_on_one_ellipse_through_its_four_landmarks(topology, head_model, region):
    _, (centre, *quarters) = EYES[region]
    mean = mean_landmarks(head_model)
    ring = (topology.live @ mean.numpy())[PATCH_START[region] - 478 + 16 :][:8, :2]
    np.testing.assert_allclose(ring[::2], mean[quarters, :2], atol=1e-6)
    axes = ((ring[0] - ring[4]) / 2, (ring[2] - ring[6]) / 2)
    on_circle = np.linalg.solve(np.stack(axes, 1), (ring - mean[centre, :2].numpy()).T)
    np.testing.assert_allclose(np.linalg.norm(on_circle, axis=0), 1, atol=0.05)


def test_iris_landmarks_run_from_the_centre_toward_the_nose_then_up_then_outward_then_down(head_model):
    for iris, nose in ((RIGHT_IRIS, 1), (LEFT_IRIS, -1)):
        centre, *around = mean_landmarks(head_model)[list(iris), :2]
        toward_nose, top, outward, bottom = ((p - centre) * torch.tensor([nose, 1.0]) for p in around)
        assert toward_nose[0] > 0.02 > abs(toward_nose[1])
        assert outward[0] < -0.02 < -abs(outward[1])
        assert top[1] > 0.02 > abs(top[0])
        assert bottom[1] < -0.02 < -abs(bottom[0])


def test_the_patches_move_along_when_the_whole_face_is_shifted(topology):
    np.testing.assert_allclose(topology.live.sum(1) + topology.rest.sum(1), 1, atol=1e-5)


def test_upper_teeth_stay_on_the_skull_and_lower_teeth_follow_the_jaw(head_model):
    neutral = mean_landmarks(head_model)
    jaw = torch.zeros(1, 52)
    jaw[0, ARKIT_NAMES.index("jawOpen")] = 1
    opened = driven_mean(head_model, jaw)
    chart = head_model.chart
    moved = (chart.closed_vertices(opened, neutral) - chart.closed_vertices(neutral[None], neutral))[
        0, PATCH_START[MOUTH] :
    ]
    rows = moved.unflatten(0, (len(MOUTH_ROWS), MOUTH_COLUMNS))
    chin = (opened[0] - neutral)[list(CHIN_LANDMARKS)].mean(0)
    assert chin[1] < -0.05
    assert rows[:2].abs().max() < 1e-6
    torch.testing.assert_close(rows[3:], (0.85 * chin).expand(2, MOUTH_COLUMNS, 3), atol=1e-4, rtol=0)


def test_teeth_stay_as_wide_when_a_smile_widens_the_lips(head_model):
    neutral = mean_landmarks(head_model)
    smile = torch.zeros(1, 52)
    smile[0, [ARKIT_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right")]] = 1
    smiling = driven_mean(head_model, smile)
    assert (smiling[0, 308, 0] - smiling[0, 78, 0]) > 1.1 * (neutral[308, 0] - neutral[78, 0])
    teeth = head_model.chart.closed_vertices(smiling, neutral)[0, PATCH_START[MOUTH] :].unflatten(0, (5, MOUTH_COLUMNS))
    width = teeth[:, -1, 0] - teeth[:, 0, 0]
    torch.testing.assert_close(width, 1.5 * (neutral[308, 0] - neutral[78, 0]).expand(5), atol=1e-5, rtol=0)


# What a viewer sees of it


def drawn_regions(head_model, size=256, **expression):
    """[size, size] region of each pixel of the mean face from the front, -1 where there is none."""
    scores = torch.zeros(1, 52)
    for name, score in expression.items():
        scores[0, ARKIT_NAMES.index(name)] = score
    closed = head_model.chart.closed_vertices(driven_mean(head_model, scores), mean_landmarks(head_model))
    positions = layered(project(closed, torch.eye(3)[None]), head_model.chart)
    fragments = rasterize(positions, head_model.chart.triangles, size)
    return torch.where(fragments.mask, head_model.chart.triangle_region[fragments.triangle], -1)[0].numpy()


BLINK, JAW = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, {"jawOpen": 1.0}


@pytest.mark.parametrize(
    "expression",
    [
        {},
        BLINK,
        JAW,
        BLINK | JAW,
        {"eyeWideLeft": 1.0, "eyeWideRight": 1.0, "jawOpen": 0.5, "mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
        {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0, "mouthFunnel": 1.0},
        {"mouthPucker": 1.0, "jawLeft": 1.0},
        {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
        {"mouthStretchLeft": 1.0, "mouthStretchRight": 1.0, "jawOpen": 0.5},
        {"mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0, "mouthLowerDownLeft": 1.0, "mouthLowerDownRight": 1.0},
    ],
    ids=lambda expression: "+".join(expression) or "neutral",
)
def test_from_the_front_the_face_has_no_hole(head_model, expression):
    covered = drawn_regions(head_model, **expression) >= 0
    assert covered.mean() > 0.2
    assert (ndimage.binary_fill_holes(covered) == covered).all()


def test_a_blink_hides_most_of_the_eyeball_of_its_own_side_and_none_of_the_other(head_model):
    open_eyes, closed_left = drawn_regions(head_model), drawn_regions(head_model, eyeBlinkLeft=1.0)
    for region, fraction in ((LEFT_EYE_PATCH, (0, 0.15)), (RIGHT_EYE_PATCH, (0.9, 1.1))):
        assert (open_eyes == region).sum() > 100
        assert fraction[0] <= (closed_left == region).sum() / (open_eyes == region).sum() <= fraction[1]


def test_the_left_eye_patch_is_drawn_in_the_right_half_of_the_picture_and_the_right_one_in_the_left(head_model):
    regions = drawn_regions(head_model)
    assert (np.argwhere(regions == LEFT_EYE_PATCH)[:, 1] > 128).all()
    assert (np.argwhere(regions == RIGHT_EYE_PATCH)[:, 1] < 128).all()


def test_opening_the_jaw_uncovers_the_mouth(head_model):
    shut, opened = (drawn_regions(head_model, jawOpen=score) == MOUTH for score in (0.0, 1.0))
    assert shut.sum() < 150
    assert opened.sum() > 700
    rows, columns = np.argwhere(opened).T
    assert rows.min() > 128 and np.ptp(rows) > 20  # below the middle of the picture
    assert columns.mean() == pytest.approx(127.5, abs=3)


def test_with_the_jaw_open_the_teeth_patch_fills_the_whole_opening(head_model):
    regions = drawn_regions(head_model, jawOpen=1.0)
    without_patch = regions != SKIN
    labels, _ = ndimage.label(without_patch)
    opening = labels == labels[tuple(np.argwhere(regions == MOUTH).mean(0).astype(int))]
    assert (regions[opening] == MOUTH).all()


@pytest.mark.parametrize(
    ("axis", "iris", "right", "up"),
    [
        ("eyeLookOutLeft", LEFT_IRIS, 1, 0),
        ("eyeLookInLeft", LEFT_IRIS, -1, 0),
        ("eyeLookOutRight", RIGHT_IRIS, -1, 0),
        ("eyeLookInRight", RIGHT_IRIS, 1, 0),
        ("eyeLookUpLeft", LEFT_IRIS, 0, 1),
        ("eyeLookDownRight", RIGHT_IRIS, 0, -1),
    ],
)
def test_a_gaze_axis_moves_the_iris_of_its_own_eye_where_its_name_says(head_model, axis, iris, right, up):
    scores = torch.zeros(1, 52)
    scores[0, ARKIT_NAMES.index(axis)] = 1
    moved = driven_mean(head_model, scores)[0] - mean_landmarks(head_model)
    shift = moved[list(iris), :2].mean(0)
    assert shift @ torch.tensor([right, up], dtype=torch.float32) > 0.015
    other = RIGHT_IRIS if iris is LEFT_IRIS else LEFT_IRIS
    assert moved[list(other), :2].mean(0).norm() < 0.2 * shift.norm()


# The mirror image


def test_the_mirror_is_an_involution_and_takes_each_skin_triangle_to_a_skin_triangle(topology):
    np.testing.assert_array_equal(topology.mirror[topology.mirror], np.arange(len(topology.mirror)))
    skin = {frozenset(t) for t in triangles_of(topology, SKIN).tolist()}
    assert {frozenset(t) for t in topology.mirror[triangles_of(topology, SKIN)].tolist()} == skin


def test_the_mirror_takes_each_region_to_the_region_on_the_other_side(topology):
    for region, other in MIRRORED_REGION.items():
        image = set(topology.mirror[triangles_of(topology, region)].ravel().tolist())
        assert image == set(triangles_of(topology, other).ravel().tolist())


def test_mirrored_vertices_of_the_mean_face_lie_at_the_opposite_x(head_model):
    mean, chart = mean_landmarks(head_model), head_model.chart
    closed = chart.closed_vertices(mean[None], mean)[0]
    torch.testing.assert_close(closed[chart.mirror] * torch.tensor([-1.0, 1.0, 1.0]), closed, atol=2e-3, rtol=0)


def test_mirrored_vertices_unwrap_to_the_opposite_side_of_their_chart(topology):
    uv, mirrored = topology.uv, topology.uv[topology.mirror]
    used = np.unique(topology.triangles)
    mouth = used >= PATCH_START[MOUTH]
    np.testing.assert_allclose(mirrored[used[~mouth]] * [-1, 1], uv[used[~mouth]], atol=0.02)
    np.testing.assert_allclose(mirrored[used[mouth], 0] + uv[used[mouth], 0], 2 * -0.79, atol=1e-6)  # its centre


# The unwrapping


def test_the_unwrapping_lies_inside_of_the_map_and_turns_no_triangle_over(topology):
    assert np.abs(topology.uv).max() < 0.995
    corners = topology.uv[topology.triangles].astype(np.float64)
    sides = corners[:, 1:] - corners[:, :1]
    area = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
    for region in MIRRORED_REGION:
        assert len(set(np.sign(area[topology.triangle_region == region]))) == 1


def test_no_place_of_the_map_belongs_to_two_triangles(topology):
    corners = topology.uv[topology.triangles].astype(np.float64)  # [F, 3, 2]
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), (len(corners), 2))  # [F, 2, 3]
    points = np.einsum("fpk,fkc->fpc", weights, corners).reshape(-1, 2)
    holds = (barycentric(points, corners) > 1e-6).all(-1)  # [2 F, F]
    own = np.repeat(np.arange(len(corners)), 2)
    holds[np.arange(len(points)), own] = False  # a point too near its own edge may not count there
    assert not holds.any()


def test_charts_have_an_empty_texel_between_them_at_128_texels(topology):
    flat = torch.from_numpy(np.column_stack([topology.uv, np.zeros(len(topology.uv))])).float()[None]
    triangle = rasterize(flat, torch.from_numpy(topology.triangles), 128).triangle[0].numpy()
    region = np.where(triangle >= 0, topology.triangle_region[triangle], -1)
    for one in MIRRORED_REGION:
        near = ndimage.binary_dilation(region == one, np.ones((3, 3)))
        assert set(np.unique(region[near])) <= {one, -1}


def test_an_eye_has_more_texels_than_pixels_in_a_frontal_picture_of_that_size(topology, head_model):
    flat = torch.from_numpy(np.column_stack([topology.uv, np.zeros(len(topology.uv))])).float()[None]
    triangle = rasterize(flat, torch.from_numpy(topology.triangles), 256).triangle[0].numpy()
    texels = np.where(triangle >= 0, topology.triangle_region[triangle], -1)
    pixels = drawn_regions(head_model, 256)
    for region in EYES:
        assert (texels == region).sum() > 3 * (pixels == region).sum()
