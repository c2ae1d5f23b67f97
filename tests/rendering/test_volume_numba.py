"""The compiled loop over rays against the renderer in torch, which is the reference."""

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.rendering.volume_renderer import Planes, Solid, VolumeRenderer


@pytest.fixture
def scene():
    """A renderer loud enough to be heard, and two pictures of different heads that turn on their necks."""

    def build(channels=6, hidden=12, features=5, with_back=True):
        torch.manual_seed(0)
        renderer = VolumeRenderer(channels, features, hidden, 0.62, 3, 5, guided=True, output_gain=0.5)
        torch.nn.init.normal_(renderer.decoder[2].bias, std=0.3)
        planes = Planes(
            *(torch.randn(2, 3 * channels, 16, 16), torch.randn(2, channels, 12, 12), torch.rand(2, 1, 12, 12)),
            torch.randn(2, 3, 16, 16) if with_back else None,
        )
        front = 0.3 + 0.1 * torch.randn(2, 1, 32, 32)
        solid = Solid(front, front - 0.7, 6 * torch.randn(2, 1, 32, 32) + 3)
        rotation = rotation_from_angles(torch.tensor([20.0, -65.0]), torch.tensor([-15.0, 30.0]))
        return renderer, planes, solid, rotation

    return build


@pytest.mark.parametrize("channels", [3, 6, 16])  # the loop takes four at a time, and what is left
@pytest.mark.parametrize("camera", [(0.0, 1.0), (25.0, 1.4)])
@pytest.mark.parametrize("moved", ["turn", "posture", "turn posture", ""])
def test_it_renders_what_torch_renders(scene, channels, camera, moved):
    renderer, planes, solid, rotation = scene(channels)
    turn = rotation_from_angles(torch.tensor([40.0, 5.0]), 10.0) if "turn" in moved else None
    posture = 0.03 * torch.randn(2, 12) if "posture" in moved else None
    reference = renderer(
        planes, solid, rotation, 32, *camera, turn=turn, posture=posture
    )  # with gradients, so in torch
    with torch.no_grad():
        compiled = renderer(planes, solid, rotation, 32, *camera, turn=turn, posture=posture)
    assert reference.opacity.amax() > 0.9 and reference.opacity.amin() < 0.1
    for expected, found in zip(reference, compiled, strict=True):
        assert not found.requires_grad
        # What lies behind a surface that lets 1e-4 of the light through is left out: of features up to 20.
        torch.testing.assert_close(found, expected.detach(), atol=5e-3, rtol=0)


def test_heads_without_colours_for_their_back_are_drawn_too(scene):
    renderer, planes, solid, rotation = scene(with_back=False)
    reference = renderer(planes, solid, rotation, 32)
    with torch.no_grad():
        compiled = renderer(planes, solid, rotation, 32)
    torch.testing.assert_close(compiled.features, reference.features.detach(), atol=5e-3, rtol=0)


def test_it_draws_the_same_with_any_number_of_threads(scene):
    renderer, planes, solid, rotation = scene()
    pictures = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            with torch.no_grad():
                pictures.append(renderer(planes, solid, rotation, 32))
        finally:
            torch.set_num_threads(1)
    for one, three in zip(*pictures, strict=True):
        assert torch.equal(one, three) or (one - three).abs().max() < 1e-6  # matrix products may round differently


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_numbers_that_are_none_never_lead_it_beyond_its_tables(scene, value):
    renderer, planes, solid, rotation = scene()
    with torch.no_grad():
        broken = Solid(solid.front * value, solid.back, solid.silhouette)
        assert renderer(planes, broken, rotation, 32).opacity.shape == (2, 1, 32, 32)
        assert renderer(planes, solid, rotation * value, 32).opacity.shape == (2, 1, 32, 32)


def test_half_precision_weights_are_decoded_in_float32(scene):
    renderer, planes, solid, rotation = scene()
    with torch.no_grad():
        single = renderer(planes, solid, rotation, 32)
        half = renderer.bfloat16()(planes, solid, rotation, 32)
    assert half.features.dtype == torch.float32
    assert (single.features - half.features).abs().mean() < 0.02
