import pytest
import torch

from invertavatar.models.recurrent_unet import FusionState, RecurrentUNet

CHANNELS = (4, 6, 8)
HEADS = {0: 5, 1: 3, 2: 2}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def unet(**kwargs):
    return RecurrentUNet(3, CHANNELS, HEADS, **kwargs)


def assert_same_bits(a: FusionState, b: FusionState):
    assert a.count == b.count
    assert all(torch.equal(x, y) for x, y in zip(a.hidden, b.hidden, strict=True))


def test_every_decoder_scale_has_a_hidden_state_and_every_head_an_output():
    net = unet()
    state = net(torch.randn(2, 3, 16, 16))
    assert [tuple(h.shape) for h in state.hidden] == [(2, 8, 4, 4), (2, 6, 8, 8), (2, 4, 16, 16)]
    assert {s: tuple(x.shape) for s, x in net.apply_heads(state).items()} == {
        0: (2, 5, 16, 16),
        1: (2, 3, 8, 8),
        2: (2, 2, 4, 4),
    }


def test_the_decoder_ends_at_the_finest_scale_with_a_head():
    net = RecurrentUNet(3, CHANNELS, {1: 2})
    assert [h.shape[-1] for h in net(torch.randn(1, 3, 16, 16)).hidden] == [4, 8]


@pytest.mark.parametrize("fusion_window", [0, 2])
@pytest.mark.parametrize("fusion", ["gru", "mean", "first"])
def test_a_sequence_in_one_pass_equals_step_by_step_bit_for_bit(fusion, fusion_window):
    net, photos = unet(fusion_window=fusion_window), torch.randn(2, 3, 3, 16, 16)
    state = None
    for n in range(3):
        state = net(photos[:, n], state, fusion)
    assert_same_bits(net.forward_sequence(photos, fusion=fusion), state)
    halves = net.forward_sequence(photos[:, 1:], net.forward_sequence(photos[:, :1], fusion=fusion), fusion)
    assert_same_bits(halves, state)


def test_a_state_that_went_through_a_file_continues_bit_for_bit():
    net = RecurrentUNet(3, (16, 24), {0: 5})
    photos = torch.randn(1, 2, 3, 32, 32)
    state = net(photos[:, 0])
    stored = FusionState([h.clone(memory_format=torch.contiguous_format) for h in state.hidden], state.count)
    assert_same_bits(net(photos[:, 1], stored), net(photos[:, 1], state))
    for a, b in zip(net.apply_heads(stored).values(), net.apply_heads(state).values(), strict=True):
        assert torch.equal(a, b)


def test_adding_a_photo_does_not_change_the_old_state():
    net, photos = unet(), torch.randn(1, 2, 3, 16, 16)
    for fusion in ("gru", "mean", "first"):
        state = net(photos[:, 0])
        before = [h.clone() for h in state.hidden]
        net(photos[:, 1], state, fusion)
        assert_same_bits(state, FusionState(before, 1))


def test_the_gru_depends_on_both_photos_and_on_their_order():
    net = unet()
    a, b = torch.randn(2, 1, 3, 16, 16)
    ab, ba = net(b, net(a)), net(a, net(b))
    assert not torch.allclose(ab.hidden[-1], ba.hidden[-1])
    assert not torch.allclose(ab.hidden[-1], net(b).hidden[-1])


def test_mean_is_the_average_of_what_each_photo_reaches_alone():
    net, photos = unet(), torch.randn(1, 3, 3, 16, 16)
    alone = [net(photos[:, n]).hidden for n in range(3)]
    for i, hidden in enumerate(net.forward_sequence(photos, fusion="mean").hidden):
        torch.testing.assert_close(hidden, torch.stack([a[i] for a in alone]).mean(0))


def test_first_keeps_the_first_photo_and_counts_the_others():
    net, photos = unet(), torch.randn(1, 3, 3, 16, 16)
    assert_same_bits(net.forward_sequence(photos, fusion="first"), FusionState(net(photos[:, 0]).hidden, 3))


def test_the_plain_decoder_refuses_to_fuse_by_gru_with_a_sentence():
    net, photo = unet(recurrent=False), torch.randn(1, 3, 16, 16)
    with pytest.raises(ValueError, match='use fusion="mean" or "first"'):
        net(photo, net(photo))


def test_weights_of_the_plain_net_fit_the_recurrent_one_which_lacks_only_its_grus():
    plain, recurrent = unet(recurrent=False), unet()
    missing, unexpected = recurrent.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"gru"}


def test_the_hidden_state_and_nothing_else_goes_up_and_into_the_heads():
    net, photo = unet(), torch.randn(1, 3, 16, 16)
    state = net(photo)
    net.gru[0].gates.bias.data[:8] = 100  # z = 1: the coarsest state keeps what it was, whatever the photo shows
    frozen = net(photo, FusionState([torch.zeros_like(h) for h in state.hidden], 1))
    assert frozen.hidden[0].abs().max() == 0
    net.decoder[0][0].conv1.weight.data.normal_()  # so nothing of the coarsest features reaches the next scale
    again = net(photo, FusionState([torch.zeros_like(h) for h in state.hidden], 1))
    assert_same_bits(frozen, again)


def test_outputs_start_near_zero():
    net = RecurrentUNet(3, (16, 24, 32), {0: 8})
    assert net.apply_heads(net(torch.randn(2, 3, 32, 32)))[0].std() < 0.1


@pytest.mark.parametrize("recurrent", [True, False])
def test_gradient_reaches_every_parameter(recurrent):
    net = unet(recurrent=recurrent, layers_per_block=2)
    state = net.forward_sequence(torch.randn(2, 2, 3, 16, 16), fusion="gru" if recurrent else "mean")
    sum(x.square().sum() for x in net.apply_heads(state).values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_with_conv_fusion_the_state_holds_the_window_and_only_its_first_maps_are_heard():
    net, photos = unet(fusion_window=2), torch.randn(2, 3, 3, 16, 16)
    assert len(net.gru) == 0
    state = net.forward_sequence(photos)
    assert [h.shape[1] for h in state.hidden] == [*net.state_channels.values()] == [4 * 8, 4 * 6, 4 * 4]
    rest = [torch.cat([h[:, :c], torch.zeros_like(h[:, c:])], 1) for h, c in zip(state.hidden, (8, 6, 4), strict=True)]
    for a, b in zip(net.apply_heads(state).values(), net.apply_heads(FusionState(rest, 3)).values(), strict=True):
        assert torch.equal(a, b)
    sum(x.square().sum() for x in net.apply_heads(state).values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_without_heads_only_the_coarsest_scale_is_decoded():
    net = RecurrentUNet(3, CHANNELS, {})
    state = net(torch.randn(1, 3, 16, 16))
    assert [h.shape[-1] for h in state.hidden] == [4]
    assert net.apply_heads(state) == {}


def test_two_instances_share_no_state():
    a, b, photo = unet(), unet(), torch.randn(1, 3, 16, 16)
    b.load_state_dict(a.state_dict())
    expected = b(photo)
    a(photo, a(photo))
    assert_same_bits(b(photo), expected)


def test_bfloat16_autocast_agrees_with_float32():
    net, photos = unet(), torch.randn(2, 2, 3, 16, 16)
    expected = net.forward_sequence(photos)
    with torch.autocast("cpu", torch.bfloat16):
        state = net.forward_sequence(photos)
    for h, reference in zip(state.hidden, expected.hidden, strict=True):
        assert (h.float() - reference).square().mean().sqrt() < 0.03 * reference.std()
