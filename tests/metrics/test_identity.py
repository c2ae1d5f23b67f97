"""SFace with gradients: the same identities as the metric's, on faces aligned alike."""

import cv2
import numpy as np
import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.metrics import identity
from invertavatar.metrics.aligned_face import RECOGNITION_SIZE, TEMPLATE, aligned_face
from invertavatar.metrics.auxiliary import SHARED_FOLDER
from invertavatar.metrics.identity import FixedPReLU, SFace
from invertavatar.metrics.paper import FaceRecognizer, five_points
from invertavatar.training.losses import identity_distance

FILE = SHARED_FOLDER / identity.FILE_NAME
needs_weights = pytest.mark.skipif(not FILE.is_file(), reason="the weights of SFace are not here")


def tensors(picture, landmarks):
    """As the loss takes them: a picture in -1..1 and landmarks in -1..1 over it."""
    size = torch.tensor([picture.shape[1], picture.shape[0]])
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return x, torch.from_numpy(landmarks[None, :, :2]).float() * 2 / size - 1


@pytest.fixture(scope="module")
def faces(face_tracker, example):
    """Two pictures of one person and one of another, small enough that none is scaled down: (picture, landmarks)."""
    pictures = [
        cv2.resize(example(name), (256, 256), interpolation=cv2.INTER_AREA) for name in ("anna_1", "anna_4", "ben_1")
    ]
    return [(picture, face_tracker.detect(picture).landmarks) for picture in pictures]


def test_alignment_brings_eyes_nose_and_mouth_to_the_template(faces):
    picture, landmarks = faces[0]
    right, up = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="xy")
    places = torch.stack([right, up])[None] + 0.5
    _, points = tensors(picture, landmarks)
    crop = aligned_face(places, points)[0]  # the place in the picture that each pixel of the crop comes from
    assert crop.shape == (2, RECOGNITION_SIZE, RECOGNITION_SIZE)
    found = np.array([crop[:, round(y), round(x)].numpy() for x, y in TEMPLATE])
    assert np.abs(found - five_points(landmarks)).max() < 12  # pixels: a face is no template, but near it
    eyes = found[1] - found[0]
    assert np.linalg.norm(eyes) == pytest.approx(np.linalg.norm(np.subtract(*five_points(landmarks)[:2])), rel=0.15)


@needs_weights
def test_identities_are_those_of_the_metric(faces):
    pytest.importorskip("onnx")
    network, recognizer = SFace.from_file(), FaceRecognizer()
    for picture, landmarks in faces:
        ours = network.embed(*tensors(picture, landmarks))[0].numpy()
        assert ours @ recognizer.embed(picture, landmarks) > 0.95


@needs_weights
@torch.enable_grad()
def test_another_person_is_further_away_and_the_gradient_reaches_the_picture_alone(faces):
    pytest.importorskip("onnx")
    network = SFace.from_file().train()
    assert not network.training
    (one, points), (same, _), (other, _) = (tensors(*face) for face in faces)
    one.requires_grad_()
    distances = [identity_distance(network, one, x, points) for x in (one.detach(), same, other)]
    assert distances[0].abs() < 1e-5 < distances[1] < distances[2]
    distances[2].backward()
    assert one.grad.abs().max() > 0
    assert all(not parameter.requires_grad for parameter in network.parameters())


def test_a_file_that_is_no_such_network_is_named(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(InvertAvatarError, match="is not the network SFace"):
        SFace.from_file(tmp_path / "x.onnx")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fixed_slopes_give_the_gradient_of_those_that_learn(dtype):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(2, 6, 5, 4, generator=generator).to(dtype) for _ in range(2))
    gradients = []
    for kind in (torch.nn.PReLU, FixedPReLU):
        layer, given = kind(6).requires_grad_(False), x.clone().requires_grad_()
        layer.weight.copy_(torch.linspace(-0.5, 1.5, 6))
        (layer.to(dtype)(given) * weight).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
