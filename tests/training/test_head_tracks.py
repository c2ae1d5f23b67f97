"""The people of shards as the head model learns from them."""

import numpy as np
import torch

from invertavatar.training.head_tracks import PHOTOS, outlined_people, tracked_people
from invertavatar.training.shards import Shards, pack
from tests.training.test_shards import SIZE, made_face


def test_people_seen_more_than_once_give_photos_from_the_most_left_to_the_most_right_one(tmp_path):
    yaws = [10.0, -35.0, 0.0, 20.0, 5.0, -5.0, 40.0, 15.0]
    faces = [made_face("clip", "c", k, "clip", yaw, seed=k) for k, yaw in enumerate(yaws)]
    pack([*faces, made_face("still", "s", 0, "still")], tmp_path)
    shards = Shards([tmp_path])
    (photos,) = outlined_people(shards)
    seen = [float(torch.rad2deg(torch.atan2(p.rotation[0, 0, 2], p.rotation[0, 2, 2]))) for p in photos]
    assert len(photos) == PHOTOS and seen == sorted(seen)
    np.testing.assert_allclose([seen[0], seen[-1]], [-35, 40], atol=1e-3)
    photo = photos[0]
    torch.testing.assert_close(photo.landmarks[0], torch.from_numpy(faces[1].vertices.astype(np.float32)))
    torch.testing.assert_close(photo.expression[0], torch.from_numpy(faces[1].expression.astype(np.float32) / 255))
    assert photo.matte.shape == photo.inside.shape == (1, 1, SIZE, SIZE)
    assert photo.inside[0, 0, :40].min() == 1 and photo.inside[0, 0, 40:].max() == 0
    assert photo.matte[0, 0, :40].min() > 0.95 and photo.matte[0, 0, 40:].max() == 0
    assert set(tracked_people(shards)) == {"clip", "still"}
