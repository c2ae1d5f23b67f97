import math

import pytest
import torch

from invertavatar.models.conv_gru import ConvGRU


def test_equation_1_on_one_pixel_against_the_hand_written_scalar_case():
    gru = ConvGRU(1, kernel_size=1)
    gru.gates.weight.data = torch.tensor([[0.5, -0.3], [0.2, 0.7]])[:, :, None, None]  # rows z, r; columns f, h
    gru.gates.bias.data = torch.tensor([0.1, -0.2])
    gru.candidate.weight.data = torch.tensor([[0.9, -0.4]])[:, :, None, None]
    gru.candidate.bias.data = torch.tensor([0.05])
    f, h = 0.8, -0.6
    z = 1 / (1 + math.exp(-(0.5 * f - 0.3 * h + 0.1)))
    r = 1 / (1 + math.exp(-(0.2 * f + 0.7 * h - 0.2)))
    o = math.tanh(0.9 * f - 0.4 * (r * h) + 0.05)
    expected = z * h + (1 - z) * o
    state = gru(torch.full((1, 1, 1, 1), f), torch.full((1, 1, 1, 1), h))
    assert state.item() == pytest.approx(expected, abs=1e-6)


def test_no_hidden_state_means_zeros():
    torch.manual_seed(0)
    gru, features = ConvGRU(3), torch.randn(2, 3, 4, 4)
    assert torch.equal(gru(features), gru(features, torch.zeros_like(features)))


def test_an_update_gate_at_one_keeps_the_state_and_at_zero_forgets_it():
    torch.manual_seed(0)
    gru, features, hidden = ConvGRU(2), torch.randn(1, 2, 4, 4), torch.rand(2, 2, 4, 4)
    gru.gates.weight.data.zero_()
    gru.gates.bias.data[:2] = 100  # z = 1
    assert torch.equal(gru(features, hidden[:1]), hidden[:1])
    gru.gates.bias.data[:2] = -100  # z = 0
    gru.gates.bias.data[2:] = -100  # r = 0
    torch.testing.assert_close(gru(features, hidden[:1]), gru(features, hidden[1:]))


def test_the_state_stays_within_one():
    torch.manual_seed(0)
    gru, state = ConvGRU(2), None
    for _ in range(20):
        state = gru(10 * torch.randn(1, 2, 4, 4), state)
    assert state.abs().max() <= 1


def test_a_first_photo_passes_more_than_half():
    torch.manual_seed(0)
    gru = ConvGRU(4)
    gru.gates.weight.data.zero_()
    features = torch.randn(1, 4, 4, 4)
    candidate = torch.tanh(gru.candidate(torch.cat([features, torch.zeros_like(features)], 1)))
    torch.testing.assert_close(gru(features), candidate / (1 + math.exp(-1)))
