"""Made-up people whose tracks follow known axes."""

import numpy as np
import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head_building.landmark_axes import FLIP, MIRRORED_AXES, symmetric
from invertavatar.head_building.tracked_person import TrackedPerson
from tests.landmarks import mean_landmarks

JAW, SMILE, BLINK = (ARKIT_NAMES.index(name) for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight"))
PEOPLE, PICTURES = 6, 80
TRUE_AXES = [JAW, SMILE, MIRRORED_AXES[SMILE], BLINK, MIRRORED_AXES[BLINK]]


@pytest.fixture(scope="module")
def mirror(head_model):
    return head_model.chart.mirror[:478].numpy()


@pytest.fixture(scope="module")
def mean(head_model, mirror):
    return symmetric(mean_landmarks(head_model).numpy(), mirror)


@pytest.fixture(scope="module")
def truth(head_model, mirror):
    """[52, 478, 3]: the axes of `TRUE_AXES`, exactly symmetrical; all others do nothing."""
    axes = np.zeros((52, 478, 3), np.float32)
    shipped = head_model.moved_landmarks(torch.eye(52)).numpy()
    axes[TRUE_AXES] = (shipped + shipped[MIRRORED_AXES][:, mirror] * FLIP)[TRUE_AXES] / 2
    return axes


@pytest.fixture(scope="module")
def people(head_model, truth) -> list[TrackedPerson]:
    """Tracks of people of the identity space, who smile, blink and talk while they turn their heads."""
    random, people = np.random.default_rng(0), []
    for _ in range(PEOPLE):
        coefficients = torch.from_numpy(random.normal(size=100)).float() * head_model.identity_std * 0.5
        scores = np.zeros((PICTURES, 52), np.float32)
        scores[:, TRUE_AXES] = random.uniform(0, 1, (PICTURES, len(TRUE_AXES)))
        vertices = head_model.person(coefficients).landmarks.numpy() + np.einsum("nk,kvc->nvc", scores, truth)
        vertices = (vertices + random.normal(0, 7e-4, vertices.shape)).astype(np.float32)  # a tracker's noise
        rotation = rotation_from_angles(*torch.from_numpy(random.normal(0, 12, (3, PICTURES))).float()).numpy()
        people.append(TrackedPerson(vertices, scores, rotation))
    return people
