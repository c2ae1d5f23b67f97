import pytest
import torch

from invertavatar.models.mapping import MappingNetwork


@pytest.fixture
def mapping():
    torch.manual_seed(0)
    network = MappingNetwork(z_dim=8, w_dim=16, num_ws=6, condition_dim=9)
    network.w_avg.normal_()
    return network


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 8, generator=generator), torch.randn(3, 9, generator=generator)


def test_every_layer_gets_the_same_w(mapping):
    ws = mapping(*inputs())
    assert ws.shape == (3, 6, 16)
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


def test_layerwise_each_layer_gets_its_own_w_and_its_own_average():
    torch.manual_seed(0)
    network = MappingNetwork(8, 16, 6, layerwise=True)
    torch.nn.init.normal_(network.offsets.weight, std=0.1)
    ws = network(*inputs())
    assert ws.shape == (3, 6, 16) and (ws[:, 1:] - ws[:, :1]).abs().amax((0, 2)).min() > 0.01
    network.update_w_avg(ws, decay=0.0)
    torch.testing.assert_close(network(*inputs(), truncation_psi=0.0)[0], ws.mean(0))


def test_psi_zero_is_the_average_and_psi_one_changes_nothing(mapping):
    z, pose = inputs()
    assert torch.equal(mapping(z, pose, truncation_psi=0.0), mapping.w_avg.expand(3, 6, 16))
    halfway = mapping(z, pose, truncation_psi=0.5)
    torch.testing.assert_close(halfway, (mapping(z, pose) + mapping.w_avg) / 2)


def test_the_cutoff_truncates_the_first_layers_only(mapping):
    z, pose = inputs()
    ws = mapping(z, pose, truncation_psi=0.0, truncation_cutoff=2)
    assert torch.equal(ws[:, :2], mapping.w_avg.expand(3, 2, 16))
    assert torch.equal(ws[:, 2:], mapping(z, pose)[:, 2:])


def test_w_depends_on_the_pose_only_where_a_condition_is_configured(mapping):
    z, pose = inputs()
    assert not torch.allclose(mapping(z, pose), mapping(z, -pose))
    assert MappingNetwork(8, 16, 6, condition_dim=0)(z).shape == (3, 6, 16)


def test_the_length_of_z_does_not_matter(mapping):
    z, pose = inputs()
    torch.testing.assert_close(mapping(z, pose), mapping(5 * z, pose))


def test_the_average_moves_by_the_explicit_call_only(mapping):
    before = mapping.w_avg.clone()
    ws = mapping.train()(*inputs())
    assert torch.equal(mapping.w_avg, before)
    mapping.update_w_avg(ws, decay=0.75)
    torch.testing.assert_close(mapping.w_avg, 0.75 * before + 0.25 * ws[:, 0].mean(0))
    assert not mapping.w_avg.requires_grad


def test_gradient_reaches_every_parameter(mapping):
    mapping(*inputs()).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mapping.parameters())
