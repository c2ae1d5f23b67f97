from dataclasses import replace

import numpy as np
import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.evaluation import synthetic as protocol
from invertavatar.evaluation.report import markdown
from invertavatar.evaluation.synthetic import METRICS, synthetic
from invertavatar.training.geometry import Geometry, encode_geometry
from invertavatar.training.shards import Shards, encode_picture, pack
from tests.landmarks import mean_landmarks
from tests.training.test_shards import SIZE, made_face

YAWS = (-90.0, -30.0, 2.0, 60.0)


class Difference(torch.nn.Module):
    def forward(self, one, other):
        return (one - other).abs().mean((1, 2, 3))


@pytest.fixture
def faces(head_model):
    """Each of two people from four sides: a grey disc at depth 0.25, above a chin in row 50."""
    right, down = np.meshgrid(*[np.arange(SIZE) - SIZE / 2 + 0.5] * 2)
    disc = np.hypot(right, down) < 22
    labels = np.where(disc & (down < 18), protocol.FACE, 0).astype(np.uint8)
    depth = np.where(disc, np.float32(0.25), np.nan)
    mesh = np.zeros((4, 3), np.float16)
    geometry = encode_geometry(Geometry(depth, np.zeros((SIZE, SIZE, 3), np.float32), labels, mesh))
    matte = encode_picture(disc.astype(np.uint8) * 255)
    made = [made_face(person, f"{person}{yaw}", 0, "views", yaw) for person in "ab" for yaw in YAWS]
    for face in made:
        face.vertices[:] = mean_landmarks(head_model)
    whole = np.array([0, 0, SIZE, SIZE], np.int16)
    return [replace(face, matte=matte, geometry=geometry, inside=whole) for face in made]


def shards_of(faces, folder) -> Shards:
    pack(faces, folder)
    return Shards([folder])


def test_every_other_picture_is_compared_in_the_row_of_its_angle(tiny_pipeline, faces, tmp_path):
    outcome = synthetic(tiny_pipeline, shards_of(faces, tmp_path), Difference())
    counts = {case: scores["count"] for case, scores in outcome.scores.items()}
    frontal, turned = {"30": 2, "60": 2, "90": 2}, {"30, turned photo": 2, "60, turned photo": 2, "90, turned photo": 2}
    assert counts == frontal | turned
    assert all(scores.keys() >= set(METRICS) for scores in outcome.scores.values())
    assert "| 60, turned photo |" in markdown({"synthetic": outcome}, {})
    assert [len(row) for _, row in outcome.sheet] == [len(outcome.columns)] * 2


def test_an_avatar_that_is_the_truth_scores_so_and_what_lies_below_the_chin_does_not_count(
    tiny_pipeline, faces, tmp_path, monkeypatch
):
    shards = shards_of(faces, tmp_path)

    def truth(pipe, avatar, features, shards, face, size, spoiled=50):
        opacity = torch.from_numpy(shards.matte(face) / np.float32(255))[None, None]
        colour = torch.from_numpy(shards.picture(face).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        depth = torch.full_like(opacity, 0.25)
        for x in (opacity, colour, depth):
            x[..., spoiled:, :] = 1
        return colour * opacity, opacity, depth * opacity

    monkeypatch.setattr(protocol, "rendered", truth)
    _, scores = protocol.compared(tiny_pipeline, None, None, shards, 0, Difference())
    assert scores["psnr"] > 50 and scores["lpips"] < 0.01 and scores["iou"] == 1 and scores["depth"] < 1e-3
    monkeypatch.setattr(protocol, "rendered", lambda *a: truth(*a, spoiled=40))
    _, worse = protocol.compared(tiny_pipeline, None, None, shards, 0, Difference())
    assert worse["psnr"] < 25 and worse["iou"] < 0.95 and worse["depth"] > 0.02


def test_shards_that_cannot_be_measured_are_refused_in_a_sentence(tiny_pipeline, faces, tmp_path):
    bare = shards_of([replace(face, geometry=b"") for face in faces], tmp_path / "bare")
    with pytest.raises(InvertAvatarError, match="lack geometry"):
        synthetic(tiny_pipeline, bare, Difference())
    with pytest.raises(InvertAvatarError, match="a single picture: there is nothing to compare"):
        synthetic(tiny_pipeline, shards_of([faces[0], faces[4]], tmp_path / "single"), Difference())
