import torch

from invertavatar.models.backbones import SynthesisBackbone
from invertavatar.models.triplane_encoder import TriplaneEncoder

SFT_CHANNELS = {4: 4, 8: 3, 16: 2}


def encoder(**kwargs):
    torch.manual_seed(0)
    options = {
        "resolution": 16,
        "in_channels": 8,
        "channels": (4, 6, 8),
        "plane_channels": 3,
    }
    return TriplaneEncoder(SFT_CHANNELS, **options | kwargs)


def maps(*batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, c, 16, 16, generator=generator) for c in (3, 1, 3, 1)]


def tensors(modulation):
    extra = [] if modulation.plane_offsets is None else [modulation.plane_offsets]
    return [x for pair in modulation.sft.values() for x in pair] + extra


def test_scale_and_shift_have_the_shapes_the_static_backbone_takes():
    backbone = SynthesisBackbone(8, {4: 8, 8: 6, 16: 4}, {4: 9, 8: 9, 16: 9}, skip_heads=True)
    assert backbone.sft_channels == SFT_CHANNELS
    modulation, _ = encoder()(*maps(2))
    assert {r: tuple(x.shape) for r, (x, _) in modulation.sft.items()} == {4: (2, 4, 4, 4), 8: (2, 3, 8, 8)} | {
        16: (2, 2, 16, 16)
    }
    ws = torch.randn(2, backbone.num_ws, 8)
    assert not torch.equal(backbone(ws, sft=modulation.sft)[16], backbone(ws)[16])


def test_plane_offsets_come_at_full_plane_resolution_and_only_where_configured():
    modulation, _ = encoder()(*maps(2))
    assert modulation.plane_offsets.shape == (2, 9, 16, 16)
    modulation, _ = encoder(plane_offsets=False)(*maps(2))
    assert modulation.plane_offsets is None


def test_the_paper_takes_seven_channels_at_a_finer_resolution_than_the_planes():
    net = encoder(resolution=32, in_channels=7, channels=(4, 4, 6, 8), plane_offsets=False)
    photo, matte, residual = (torch.randn(1, c, 32, 32) for c in (3, 1, 3))
    assert set(net(photo, matte, residual)[0].sft) == {4, 8, 16}


def test_everything_is_near_zero_at_the_start():
    modulation, _ = encoder(channels=(16, 24, 32))(*maps(2))
    assert all(x.std() < 0.1 for x in tensors(modulation))


def test_n_photos_in_one_call_equal_n_calls_bit_for_bit():
    net, photos = encoder(), maps(2, 3)
    modulation, _ = net(*photos)
    state = None
    for n in range(3):
        last, state = net(*(x[:, n] for x in photos), state=state)
    assert state.count == 3
    assert all(torch.equal(a, b) for a, b in zip(tensors(modulation), tensors(last), strict=True))


def test_the_modulation_follows_from_the_state_alone():
    net = encoder()
    modulation, state = net(*maps(1))
    assert all(torch.equal(a, b) for a, b in zip(tensors(net.modulation(state)), tensors(modulation), strict=True))


def test_a_saved_encoder_gives_the_same_bits(tmp_path):
    net = encoder().eval()
    net.save_pretrained(tmp_path)
    loaded = TriplaneEncoder.from_pretrained(tmp_path)
    pairs = zip(tensors(loaded(*maps(1))[0]), tensors(net(*maps(1))[0]), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert loaded.sft_channels == SFT_CHANNELS


def test_gradient_reaches_every_parameter():
    net = encoder()
    modulation, _ = net(*maps(1, 2))
    torso_pose = net.torso_pose(*maps(1)[:2], torch.ones(1, 1, 16, 16), torch.eye(3)[None], torch.zeros(1, 1, 16, 16))
    sum(x.square().sum() for x in (*tensors(modulation), torso_pose)).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
