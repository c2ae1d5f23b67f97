"""Glasses drawn on faces: on the eyes, the same pair whichever way a person looks, and on nothing else."""

import numpy as np
import pytest

from invertavatar.camera import rotation_from_angles
from invertavatar.head.landmark_topology import LEFT_EYE, RIGHT_EYE
from invertavatar.training.augment import Augmentation
from invertavatar.training.glasses import Glasses, worn
from invertavatar.training.observation import Observation
from tests.landmarks import mean_landmarks

SIZE = 128
DARK = Glasses(0.4, 0.3, 2.5, 0.0, 0.05, (255, 0, 0), (0, 0, 0, 255))


def face(head_model, yaw=0.0, matte=255):
    """The mean face before a grey wall."""
    return Observation(
        picture=np.full((SIZE, SIZE, 3), 128, np.uint8),
        matte=np.full((SIZE, SIZE), matte, np.uint8),
        vertices=mean_landmarks(head_model).numpy(),
        expression=np.zeros(52, np.float32),
        rotation=rotation_from_angles(yaw).numpy(),
        inside=np.array([0, 0, SIZE, SIZE]),
        sharpness=1.0,
    )


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
def test_lenses_lie_on_the_eyes_from_every_side_and_the_mouth_is_free(head_model, yaw):
    plain = face(head_model, yaw)
    picture = worn(plain, DARK).picture
    seen = plain.vertices @ plain.rotation.T
    for eye in (RIGHT_EYE, LEFT_EYE):
        x, y = (np.array([1, -1]) * seen[list(eye), :2].mean(0) + 1) * SIZE / 2
        assert picture[int(y), int(x)].max() < 10
    assert (picture[SIZE * 5 // 8 :] == 128).all() and (plain.picture == 128).all()
    assert (np.abs(picture.astype(int) - (255, 0, 0)).max(-1) < 30).sum() > 50  # the frame


def test_beside_the_person_nothing_is_drawn(head_model):
    assert (worn(face(head_model, matte=0), DARK).picture == 128).all()


def test_a_person_wears_one_pair_in_all_pictures_of_an_episode(head_model):
    quiet = {"mirror": 0, "colour": 0, "exposure": 0, "degrade": 0, "cut": 0, "vertex_noise": 0, "pose_noise": 0}
    augment = Augmentation(glasses=1.0, **quiet)
    mirror = head_model.chart.mirror[:478].numpy()
    frames = [face(head_model) for _ in range(3)]
    for seed in range(3):
        sources, targets = augment(frames[:2], frames[2:], mirror, np.random.default_rng(seed))
        first, *others = (o.picture for o in (*sources, *targets))
        assert all(np.abs(first.astype(int) - other).max() <= 2 for other in others) and (first != 128).any()
