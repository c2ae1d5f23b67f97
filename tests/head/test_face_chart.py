"""The chart of the face: how much of a patch shows, and the heights of a whole head around it."""

import numpy as np
import pytest
import torch

from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.landmark_topology import (
    LEFT_EYE_PATCH,
    LID_GAPS,
    LIP_GAP,
    MOUTH,
    RIGHT_EYE_PATCH,
    SKIN,
    build_topology,
)
from invertavatar.head_building.chart_building import chart_arrays
from tests.conftest import CHECKPOINTS
from tests.landmarks import driven_mean, mean_landmarks


def test_openness_is_the_gap_between_lips_or_lids_over_the_gap_that_counts_as_open(head_model):
    face, config = mean_landmarks(head_model)[None].clone(), head_model.config
    gaps = (LIP_GAP, 0.25 * config.open_mouth), (LID_GAPS[0], 0.5 * config.open_eye), (LID_GAPS[1], 0)
    for (upper, lower), gap in gaps:
        face[0, upper] = face[0, lower] + torch.tensor([0, gap, 0])
    openness = head_model.chart.openness(face)[0]
    assert openness[[SKIN, MOUTH, RIGHT_EYE_PATCH, LEFT_EYE_PATCH]].tolist() == pytest.approx(
        [1, 0.25, 0.5, 0], abs=1e-5
    )


def test_openness_ends_at_one(head_model):
    wide = torch.zeros(1, 52)
    wide[0, [ARKIT_NAMES.index(name) for name in ("jawOpen", "eyeWideLeft", "eyeWideRight")]] = 1
    torch.testing.assert_close(head_model.chart.openness(driven_mean(head_model, wide)), torch.ones(1, 4))


def test_the_shipped_chart_is_the_one_of_the_shipped_tracker(head_model):
    topology = build_topology(CHECKPOINTS / "face_tracker" / "face_landmarker.task")
    for name, built in chart_arrays(mean_landmarks(head_model).numpy(), topology).items():
        shipped = getattr(head_model.chart, name).numpy()
        assert shipped.shape == built.shape and shipped.dtype == built.dtype, name
        if name == "head_height":  # of a mean face that is a little deeper
            assert np.abs(shipped - built).mean() < 0.02
        else:  # stored in half precision, but for whole numbers and texture coordinates
            exact = name in ("triangles", "triangle_region", "mirror", "uv")
            np.testing.assert_allclose(shipped, built, atol=0 if exact else 2e-4)


def test_the_heads_heights_mirror_each_other_and_fall_to_zero_beside_the_face(head_model):
    heights = head_model.chart.head_height[0, 0]
    torch.testing.assert_close(heights, heights.flip(1), atol=0.02, rtol=0)
    border = torch.cat([heights[0], heights[-1], heights[:, 0], heights[:, -1]])
    assert border.abs().max() < 0.01
    row = 64  # through the head's centre: falling from the nose outward
    assert heights[row, 64] > heights[row, 40] > heights[row, 16]
