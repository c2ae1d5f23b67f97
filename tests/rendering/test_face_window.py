"""The window of the frontal plane that shows the driven face."""

import pytest
import torch
import torch.nn.functional as F

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.landmark_topology import LEFT_EYE_PATCH, MOUTH, RIGHT_EYE_PATCH
from invertavatar.rendering.face_window import FaceWindow, face_window, soften
from tests.landmarks import driven_mean, mean_landmarks

WINDOW, SIZE = 0.65, 128


def mesh(head_model, **expression):
    """[1, V + E, 3] the mean face, closed."""
    scores = torch.zeros(1, 52)
    for name, score in expression.items():
        scores[0, ARKIT_NAMES.index(name)] = score
    return head_model.chart.closed_vertices(driven_mean(head_model, scores), mean_landmarks(head_model))


@pytest.fixture(scope="module")
def window(head_model):
    return face_window(mesh(head_model), head_model.chart, WINDOW, SIZE)


def pixel(point, half=WINDOW, size=SIZE):
    """(row, column) of a head-space point in the window."""
    x, y, _ = point.tolist()
    return int((1 - y / half) / 2 * size), int((1 + x / half) / 2 * size)


def test_the_window_shows_each_landmark_at_its_place_with_its_own_texture_coordinates(head_model, window):
    for landmark in (151, 50, 280, 152, 195, 4):
        row, column = pixel(mean_landmarks(head_model)[landmark] * 0.98)
        assert window.mask[0, 0, row, column] == 1
        assert (window.grid[0, row, column] - head_model.chart.uv[landmark]).abs().max() < 0.06


def test_the_patch_mask_marks_eyes_and_an_open_mouth(head_model):
    opened = face_window(mesh(head_model, jawOpen=1.0), head_model.chart, WINDOW, SIZE)
    for landmark in (468, 473):
        assert opened.patch[0, 0][pixel(mean_landmarks(head_model)[landmark])] == 1
    assert opened.patch[0, 0][pixel(mesh(head_model, jawOpen=1.0)[0, [13, 14]].mean(0))] == 1
    assert opened.patch[0, 0][pixel(mean_landmarks(head_model)[4])] == 0
    assert (opened.patch <= opened.mask).all()


def test_a_symmetrical_face_has_a_symmetrical_window(window):
    flipped = FaceWindow(window.grid.flip(2), *(m.flip(-1) for m in window[1:]))
    assert (window.mask != flipped.mask).float().mean() < 0.003
    assert (window.soft - flipped.soft).abs().mean() < 0.003


def test_the_window_is_not_used_at_the_edge_of_the_mesh_and_wholly_used_in_the_middle_of_the_face(head_model, window):
    edge = window.mask - -F.max_pool2d(-window.mask, 3, 1, 1)
    assert edge.sum() > 100
    assert window.soft[edge == 1].max() < 0.3
    assert window.soft[window.mask == 0].max() == 0
    for landmark in (4, 50, 280, 14, 9, 468, 473):
        assert window.soft[0, 0][pixel(mean_landmarks(head_model)[landmark])] == 1


def test_a_mesh_beyond_the_window_leaves_the_window_as_it_is(head_model):
    near = mesh(head_model)
    far = near.clone()
    outside = near[..., :2].abs().amax(-1) > WINDOW * 0.75
    triangles = head_model.chart.triangles
    # Only vertices all of whose triangles lie beyond a small window.
    beyond = outside[0, triangles].all(1)
    held = torch.zeros(len(outside[0]), dtype=torch.bool)
    held[triangles[~beyond].flatten()] = True
    free = outside[0] & ~held
    assert free.sum() > 5
    far[:, free] *= 1.3
    small = WINDOW * 0.6
    for one, other in zip(
        face_window(near, head_model.chart, small, 64), face_window(far, head_model.chart, small, 64), strict=True
    ):
        assert torch.equal(one, other)


def test_meshes_of_a_batch_are_drawn_independently(head_model):
    both = torch.cat([mesh(head_model), mesh(head_model, jawOpen=1.0)])
    together = face_window(both, head_model.chart, WINDOW, 64)
    for k in range(2):
        for alone, batched in zip(face_window(both[k : k + 1], head_model.chart, WINDOW, 64), together, strict=True):
            torch.testing.assert_close(alone, batched[k : k + 1])


def test_softening_keeps_the_inside_of_a_mask_and_spreads_nothing_beyond_it():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    soft = soften(mask)
    assert soft[mask == 0].max() == 0
    assert soft[..., 24:40, 24:40].min() == 1
    profile = soft[0, 0, 32, 16:33]
    assert (profile.diff() >= 0).all() and profile[0] < 0.4
    large = F.interpolate(mask, scale_factor=8.0)
    torch.testing.assert_close(F.avg_pool2d(soften(large), 8), soft, atol=0.12, rtol=0)


def test_patches_named_in_the_topology_are_what_the_window_calls_patches(head_model, window):
    triangle_kinds = {LEFT_EYE_PATCH, RIGHT_EYE_PATCH, MOUTH}
    uv = window.grid[0][window.patch[0, 0] == 1]
    charts = torch.stack(
        [
            head_model.chart.uv[head_model.chart.triangles[head_model.chart.triangle_region == k]].mean((0, 1))
            for k in sorted(triangle_kinds)
        ]
    )
    assert torch.cdist(uv, charts).amin(1).max() < 0.25
