"""Ears where photos of turned heads have them."""

import copy

import numpy as np
import pytest
import torch

from invertavatar.camera import project, rotation_from_angles
from invertavatar.head_building.ears import ear_offset, ear_vertices, place_ears
from invertavatar.raster.rasterizer import rasterize
from invertavatar.tracking.tracker import Track
from tests.landmarks import mean_person

SCALE, CENTRE, YAW = 100.0, np.array([200.0, 180.0], np.float32), 48.0


@pytest.fixture(scope="module")
def profiles(head_model) -> list[tuple[Track, list[float]]]:
    """The mean person looking to the right and to the left, and a box around the ear that is in front."""
    return [profile(head_model, side) for side in (1, -1)]


def profile(head_model, side):
    rotation, scores = rotation_from_angles(torch.tensor([side * YAW])), torch.zeros(1, 52)
    shape = mean_person(head_model)
    landmarks = head_model.driven_landmarks(shape.landmarks, scores, None, rotation)
    track = Track(np.zeros((478, 3)), scores[0].numpy(), rotation[0].numpy(), SCALE, CENTRE, landmarks[0].numpy(),
                  (400, 360), 1)  # fmt: skip
    seen = project(head_model.seen_in(shape, scores, landmarks, rotation), rotation)
    ears = torch.isin(head_model.triangles.long(), ear_vertices(head_model)).all(1)
    front = head_model.mean[head_model.triangles[:, 0].long(), 0] * side < 0
    drawn = rasterize(seen, head_model.triangles[ears & front], 512).triangle[0] >= 0
    rows, columns = (torch.nonzero(drawn.any(k))[:, 0] / 256 - 1 for k in (1, 0))
    box = [columns.min() * SCALE, rows.min() * SCALE, columns.max() * SCALE, rows.max() * SCALE]
    return track, [float(x) + float(CENTRE[k % 2]) for k, x in enumerate(box)]


def test_an_ear_where_the_model_has_it_is_off_by_nothing(head_model, profiles):
    for track, box in profiles:
        assert np.abs(ear_offset(head_model, track, box)).max() < 0.01


def test_ears_behind_and_above_are_told(head_model, profiles):
    for (track, box), left in zip(profiles, (-1, 1), strict=True):  # back is left for who looks to the right
        moved = np.array(box) + np.tile([left * 5.0, -8.0], 2)  # pixels
        np.testing.assert_allclose(ear_offset(head_model, track, moved), [0.05, 0.08], atol=0.01)


def test_ears_go_where_photos_have_them_and_the_face_stays(head_model, profiles):
    fresh = copy.deepcopy(head_model)
    tracks = [track for track, _ in profiles]
    boxes = [np.array(box) + np.tile([left * 4.0, -5.0], 2) for (_, box), left in zip(profiles, (-1, 1), strict=True)]
    back, up = place_ears(fresh, tracks, boxes)
    assert up > 0.04 and back > 0.04
    left = [np.abs(ear_offset(fresh, *ear)).max() for ear in zip(tracks, boxes, strict=True)]
    assert max(left) < 0.02
    torch.testing.assert_close(fresh.landmarks(fresh.mean), head_model.landmarks(head_model.mean), atol=5e-3, rtol=0)
    assert ((fresh.mean - head_model.mean).norm(dim=1) > 0.03).sum() < 900  # of 4,443 vertices
