"""The two presets at their real size: counted, and run without computing a number."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from invertavatar.camera import Camera
from invertavatar.head.driven_head import DrivenHead
from invertavatar.models.compositor import Look
from invertavatar.models.presets import build_networks
from invertavatar.rendering.face_window import FaceWindow
from invertavatar.rendering.reprojection import empty_reprojection
from invertavatar.rendering.surface import GROUPS, HeadSurface
from tests.tiny import tiny_sizes

MILLION = 10**6


@pytest.fixture(scope="module", params=["compact", "paper"])
def preset(request):
    """(name, networks, mode): networks of a preset whose tensors have shapes but no content, and the mode they need."""
    with FakeTensorMode() as mode:
        return request.param, build_networks(request.param), mode


def parameters(network) -> int:
    return sum(p.numel() for p in network.parameters())


def stored_bytes(network) -> int:
    return sum(2 * p.numel() for p in network.state_dict().values())  # float16


def test_the_boxes_have_the_published_sizes(preset):
    name, networks, _ = preset
    counts = {box: parameters(network) / MILLION for box, network in networks.items()}
    if name == "compact":
        assert sum(counts.values()) < 15
        assert sum(map(stored_bytes, networks.values())) < 32 * MILLION
    else:
        assert counts["generator"] == pytest.approx(83, abs=1)
        assert counts["latent_encoder"] == pytest.approx(209, abs=1)
        assert counts["texture_encoder"] == pytest.approx(82, abs=1)
        assert counts["triplane_encoder"] == pytest.approx(158, abs=1)


def test_a_photo_goes_through_every_box_at_the_published_resolutions(preset):
    name, networks, mode = preset
    generator, triplane_encoder = networks["generator"], networks["triplane_encoder"]
    channels, planes, layers, w_dim = (32, 256, 14, 512) if name == "paper" else (16, 128, 12, 128)
    with mode, torch.no_grad():

        def maps(resolution, *channels):
            return [torch.empty(1, c, resolution, resolution) for c in channels]

        ws = networks["latent_encoder"](*maps(256, 3))
        assert ws.shape == (1, layers, w_dim)
        offsets, _ = networks["texture_encoder"](*maps(256 if name == "paper" else 128, 3, 3, 1, 3, 1))
        looks = maps(512, 3, 1, 3) if name == "paper" else maps(128, 3, 1, 3, 1)
        modulation, _ = triplane_encoder(*looks)
        assert set(modulation.sft) == {2**k for k in range(2, planes.bit_length())}
        features = generator.canonical(ws, offsets, modulation)
        assert {r: t.shape[1:] for r, t in features.textures.items()} == {r: (channels, r, r) for r in (32, 64, 128)}
        assert features.planes.shape == (1, 3 * channels, planes, planes)
        grid, mask, patch, soft = maps(generator.window_resolution, 2, 1, 1, 1)
        window = FaceWindow(grid.permute(0, 2, 3, 1), mask, patch, soft)
        face = generator.face(ws, features, window)
        assert face.shape == (1, channels, planes, planes)
        head, camera = DrivenHead(*torch.empty(4, 1, 478, 3)), Camera(torch.empty(1, 3, 3))

        def surface(resolution):
            return HeadSurface(None, *maps(resolution, 1, 3, 3, 1, 1, len(GROUPS)))

        rendering = generator.render(features, face, window, surface(128) if name == "compact" else None, head, camera)
        assert rendering.features.shape == (1, channels, 128, 128)
        if name == "paper":
            assert generator.upsample(rendering, ws, 512).shape == (1, 3, 512, 512)
        else:
            seen = surface(512)
            reprojection = empty_reprojection(seen, rendering.features[:, :3])
            colour, opacity = generator.compose(Look(reprojection, seen, rendering.features, torch.empty(1)))
            assert colour.shape == (1, 3, 512, 512) and opacity.shape == (1, 1, 512, 512)


def test_paper_has_none_of_our_additions_and_compact_has_all(preset):
    name, networks, _ = preset
    generator, compact = networks["generator"].config, name == "compact"
    for switch in ("observed_colour", "surface_rendering"):
        assert generator[switch] is compact
    assert networks["texture_encoder"].config.mirror is compact
    assert networks["triplane_encoder"].canonical is compact
    assert networks["triplane_encoder"].config.plane_offsets is compact
    assert generator.output_gain < 0.1 if compact else generator.output_gain == 1


def test_paper_has_the_camera_and_the_samples_of_eg3d_and_compact_a_weak_perspective(preset):
    name, networks, _ = preset
    config = networks["generator"].config
    assert config.field_of_view == pytest.approx(13.37 if name == "paper" else 0, abs=0.01)
    assert name == "compact" or (config.coarse_samples, config.fine_samples) == (48, 48)


def test_the_seed_set_before_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        networks = build_networks(tiny_sizes())
        return torch.cat([p.flatten() for network in networks.values() for p in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(ValueError, match='no preset "huge"; choose one of compact, paper'):
        build_networks("huge")
