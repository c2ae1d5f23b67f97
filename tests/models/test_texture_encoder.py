import pytest
import torch

from invertavatar.models.texture_encoder import TextureEncoder

TINY = {"resolution": 32, "channels": (4, 6, 8), "texture_channels": 5, "texture_resolutions": (8, 16, 32)}


def encoder(**kwargs):
    torch.manual_seed(0)
    return TextureEncoder(**TINY | kwargs)


def maps(*batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, c, 32, 32, generator=generator) for c in (3, 3, 1, 3, 1)]


def test_offsets_have_the_resolutions_and_channels_of_the_textures():
    offsets, state = encoder()(*maps(2))
    assert {r: tuple(x.shape) for r, x in offsets.items()} == {r: (2, 5, r, r) for r in (8, 16, 32)}
    assert state.count == 1


def test_inputs_may_be_finer_than_the_finest_texture_as_in_the_paper():
    offsets, _ = encoder(texture_resolutions=(8, 16))(*maps(1))
    assert set(offsets) == {8, 16}


def test_without_textures_to_correct_it_says_nothing():
    assert encoder(texture_resolutions=())(*maps(1))[0] == {}


def test_without_mirror_it_takes_photo_residual_and_visibility_only():
    net = encoder(mirror=False)
    assert net.unet.conv_in.in_channels == 7
    offsets, _ = net(*maps(1)[:3])
    assert set(offsets) == {8, 16, 32}


@pytest.mark.parametrize("i", range(5), ids=["photo", "residual", "visibility", "mirrored", "mirrored visibility"])
def test_every_input_matters(i):
    net, inputs = encoder(), maps(1)
    changed = [x + 1 if i == j else x for j, x in enumerate(inputs)]
    assert not torch.equal(net(*inputs)[0][32], net(*changed)[0][32])


def test_offsets_are_near_zero_at_the_start():
    offsets, _ = encoder(channels=(16, 24, 32))(*maps(2))
    assert all(x.std() < 0.1 for x in offsets.values())


def test_n_photos_in_one_call_equal_n_calls_bit_for_bit():
    net, photos = encoder(), maps(2, 3)
    offsets, state = net(*photos)
    steps = None
    for n in range(3):
        last, steps = net(*(x[:, n] for x in photos), state=steps)
    assert state.count == steps.count == 3
    assert all(torch.equal(a, b) for a, b in zip(state.hidden, steps.hidden, strict=True))
    assert all(torch.equal(offsets[r], last[r]) for r in offsets)


def test_offsets_follow_from_the_state_alone():
    net = encoder()
    offsets, state = net(*maps(1))
    assert all(torch.equal(x, offsets[r]) for r, x in net.offsets(state).items())


def test_a_saved_encoder_gives_the_same_bits(tmp_path):
    net = encoder().eval()
    net.save_pretrained(tmp_path)
    loaded = TextureEncoder.from_pretrained(tmp_path)
    assert dict(loaded.config)["channels"] == [4, 6, 8]
    assert all(torch.equal(loaded(*maps(1))[0][r], x) for r, x in net(*maps(1))[0].items())


def test_gradient_reaches_every_parameter():
    net = encoder()
    offsets, _ = net(*maps(1, 2))
    sum(x.square().sum() for x in offsets.values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
