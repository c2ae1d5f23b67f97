"""Shoulders and hair of a driver, read by the shipped network from example photos of people whom it never saw."""

import numpy as np
import pytest
import torch

from invertavatar.head.rest_pose import TORSO_POSE_NAMES
from invertavatar.models.triplane_encoder import TriplaneEncoder
from invertavatar.tracking.recorder import Recorder
from invertavatar.training.reconstruction import Crop
from invertavatar.training.stages.torso_pose import moved_on_purpose
from tests.conftest import CHECKPOINTS

PEOPLE = ("anna_1", "ben_1", "clara_1", "dan_1", "eva_1", "finn_1")


@pytest.fixture(scope="module")
def encoder():
    return TriplaneEncoder.from_pretrained(CHECKPOINTS / "triplane_encoder").float().eval()


@pytest.fixture(scope="module")
def recorder(face_tracker, head_model, encoder):
    return Recorder(face_tracker, head_model, encoder.torso_pose)


@pytest.mark.parametrize(("name", "amount"), [
    ("shouldersRight", 0.08), ("shouldersUp", 0.06), ("shouldersRoll", 0.08),
    ("hairRight", 0.03), ("hairUp", 0.03), ("hairSize", 0.04),
])  # fmt: skip
@torch.no_grad()
def test_what_was_moved_on_purpose_is_read(encoder, head_model, portrait, name, amount):
    read, axis = [], TORSO_POSE_NAMES.index(name)
    for person in PEOPLE:
        p = portrait(person)
        view = Crop(p.photo, p.matte, p.inside, p.rotation)
        torso_pose = torch.zeros(1, len(TORSO_POSE_NAMES))
        torso_pose[0, axis] = amount
        moved = moved_on_purpose(view, torso_pose)
        before, after = (
            encoder.torso_pose(v.photo, v.matte, v.inside, v.rotation, head_model.chart.head_height)[0, axis].item()
            for v in (view, moved)
        )
        read.append((after - before) / amount)
    assert 0.5 < np.mean(read) < 1.3 and min(read) > 0.1, read


def test_a_photo_is_read_with_its_torso_pose_and_a_video_frame_by_frame(recorder, face_tracker, example):
    anna = example("anna_1")
    track = recorder.detect(anna)
    assert track.torso_pose.shape == (12,) and np.abs(track.torso_pose).max() > 0.001
    np.testing.assert_array_equal(track.landmarks, face_tracker.detect(anna).landmarks)
    blank = np.zeros_like(anna)
    found = list(recorder.detect_video(iter([anna, blank, example("anna_2")]), 25))
    assert [t is not None for t in found] == [True, False, True]
    assert np.abs(found[0].torso_pose - found[2].torso_pose).max() > 0.005


def test_what_lies_behind_a_person_does_not_matter(encoder, head_model, portrait):
    p = portrait("ben_1")
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    repainted = p.photo * p.matte + red * (1 - p.matte)
    with torch.no_grad():
        one, other = (
            encoder.torso_pose(photo, p.matte, p.inside, p.rotation, head_model.chart.head_height)
            for photo in (p.photo, repainted)
        )
    assert (one - other).abs().max() < 0.02


def test_without_a_network_nothing_is_known(face_tracker, head_model, example):
    assert Recorder(face_tracker, head_model).detect(example("anna_1")).torso_pose is None
