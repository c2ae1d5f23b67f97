import torch

from invertavatar.camera import pixel_centres
from invertavatar.models.relief import ReliefNetwork

SIZE = 32


def looks(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, c, SIZE, SIZE, generator=generator) for c in (3, 1, 1, 1, 1)]


def network():
    torch.manual_seed(0)
    return ReliefNetwork((4, 4, 4))


def test_at_the_start_a_head_is_as_the_template_has_it():
    assert network()(*looks()).abs().max() < 0.02


@torch.no_grad()
def test_the_relief_is_what_all_heads_share_and_what_the_photo_tells():
    net = network()
    alone = [net(*looks(seed)) for seed in (0, 1)]
    assert not torch.equal(*alone)
    net.mean += 0.1
    shared = [net(*looks(seed)) for seed in (0, 1)]
    raised = shared[0] - alone[0]
    torch.testing.assert_close(raised, shared[1] - alone[1], atol=1e-5, rtol=0)
    assert raised[0, 0, : SIZE // 2].min() > 0.05


@torch.no_grad()
def test_the_body_has_no_relief():
    net = network()
    net.mean += 1.0
    _, up = pixel_centres(SIZE)
    relief = net(*looks())[0, 0]
    assert relief[up < -0.95].abs().max() == 0
    assert relief[up > -0.6].min() > 0.5


@torch.no_grad()
def test_background_does_not_change_the_relief():
    net, (picture, matte, *rest) = network(), looks()
    matte[..., : SIZE // 2] = 0
    other = picture.clone()
    other[..., : SIZE // 2] += 1
    assert torch.equal(net(picture, matte, *rest), net(other, matte, *rest))
