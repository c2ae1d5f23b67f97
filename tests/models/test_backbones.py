import pytest
import torch

from invertavatar.models.backbones import AlphaBlend, SynthesisBackbone, spatial_feature_transform

CHANNELS = {4: 8, 8: 8, 16: 8, 32: 6, 64: 6, 128: 4}
SMALL = {4: 8, 8: 6, 16: 4}
W_DIM = 16


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def static_backbone(**kwargs):
    return SynthesisBackbone(W_DIM, SMALL, dict.fromkeys(SMALL, 9), skip_heads=True, **kwargs)


def face_backbone():
    return SynthesisBackbone(W_DIM, SMALL, {16: 5}, condition_channels={8: 3, 16: 4})


def random_condition(batch=2):
    return {8: (torch.randn(batch, 3, 8, 8), torch.rand(batch, 1, 8, 8))} | {
        16: (torch.randn(batch, 4, 16, 16), torch.rand(batch, 1, 16, 16))
    }


def random_sft(backbone, batch=2):
    return {r: (torch.randn(batch, c, r, r), torch.randn(batch, c, r, r)) for r, c in backbone.sft_channels.items()}


def test_texture_backbone_gives_maps_at_32_64_and_128():
    backbone = SynthesisBackbone(W_DIM, CHANNELS, {32: 5, 64: 5, 128: 5})
    outputs = backbone(torch.randn(2, backbone.num_ws, W_DIM))
    assert {r: x.shape for r, x in outputs.items()} == {r: (2, 5, r, r) for r in (32, 64, 128)}


def test_face_backbone_gives_one_map_at_the_finest_resolution():
    backbone = face_backbone()
    outputs = backbone(torch.randn(2, backbone.num_ws, W_DIM), condition=random_condition())
    assert {r: x.shape for r, x in outputs.items()} == {16: (2, 5, 16, 16)}


def test_a_backbone_from_4_to_256_reads_fourteen_ws_as_in_the_paper():
    assert SynthesisBackbone(W_DIM, {2**i: 1 for i in range(2, 9)}, {256: 1}).num_ws == 14


def test_every_w_is_read_and_none_beyond_num_ws():
    backbone = static_backbone()
    ws = torch.randn(1, backbone.num_ws + 2, W_DIM, requires_grad=True)
    backbone(ws)[16].square().sum().backward()
    assert (ws.grad.abs().sum((0, 2)) > 0).tolist() == [True] * backbone.num_ws + [False] * 2


def test_string_keys_of_a_saved_configuration_are_understood():
    backbone = SynthesisBackbone(W_DIM, {str(r): c for r, c in SMALL.items()}, {"16": 2}, condition_channels={"8": 3})
    assert backbone.resolutions == (4, 8, 16)
    assert backbone(torch.randn(1, 6, W_DIM)).keys() == {16}


def test_skip_heads_sum_the_up_sampled_outputs_of_all_coarser_heads():
    backbone = static_backbone()
    ws = torch.randn(1, backbone.num_ws, W_DIM)
    for r in (8, 16):
        backbone.blocks[str(r)].head.weight.data.zero_()
    backbone.blocks["4"].head.weight.data.zero_()
    backbone.blocks["4"].head.bias.data.fill_(0.25)
    backbone.blocks["8"].head.bias.data.fill_(0.5)
    torch.testing.assert_close(backbone(ws)[16], torch.full((1, 9, 16, 16), 0.75))


def test_outputs_start_near_zero_and_shrink_with_the_output_gain():
    ws = torch.randn(2, 6, W_DIM)
    assert static_backbone(output_gain=0.1)(ws)[16].std() < 0.5
    assert torch.equal(static_backbone(output_gain=0.0)(ws)[16], torch.zeros(2, 9, 16, 16))


def test_sft_leaves_the_first_half_of_the_channels_untouched():
    x = torch.randn(2, 6, 5, 5)
    scale, shift = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5)
    y = spatial_feature_transform(x, scale, shift)
    assert torch.equal(y[:, :3], x[:, :3])
    torch.testing.assert_close(y[:, 3:], x[:, 3:] * (1 + scale) + shift)


def test_zero_sft_is_the_identity_bit_for_bit_also_through_the_whole_backbone():
    backbone = static_backbone()
    ws = torch.randn(2, backbone.num_ws, W_DIM)
    zero = {r: (torch.zeros(2, c, r, r), torch.zeros(2, c, r, r)) for r, c in backbone.sft_channels.items()}
    assert torch.equal(backbone(ws, sft=zero)[16], backbone(ws)[16])


@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_sft_of_each_resolution_changes_the_tri_plane(resolution):
    backbone = static_backbone()
    ws = torch.randn(2, backbone.num_ws, W_DIM)
    sft = {resolution: random_sft(backbone)[resolution]}
    assert not torch.allclose(backbone(ws, sft=sft)[16], backbone(ws)[16])


def test_sft_acts_where_it_is_given_and_not_far_away():
    backbone = static_backbone()
    ws = torch.randn(1, backbone.num_ws, W_DIM)
    scale = torch.zeros(1, 2, 16, 16)
    scale[..., 8, 8] = 1
    change = (backbone(ws, sft={16: (scale, torch.zeros_like(scale))})[16] - backbone(ws)[16]).abs().sum((0, 1))
    assert change[8, 8] > 0
    change[7:10, 7:10] = 0  # one 3x3 convolution follows
    assert change.sum() == 0


def test_alpha_one_makes_the_blended_feature_independent_of_w_and_alpha_zero_of_the_texture():
    blend = AlphaBlend(3, 6)
    alpha = torch.zeros(1, 1, 4, 4)
    alpha[..., 1, 2] = 1
    x, texture = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4)  # two feature maps from two w, two textures
    covered, uncovered = (..., 1, 2), (..., 3, 3)
    same_texture, same_map = blend(x, texture[:1], alpha), blend(x[:1], texture, alpha)
    assert torch.equal(same_texture[0][covered], same_texture[1][covered])
    assert not torch.equal(same_map[0][covered], same_map[1][covered])
    assert torch.equal(same_map[0][uncovered], same_map[1][uncovered])
    assert not torch.equal(same_texture[0][uncovered], same_texture[1][uncovered])


def test_a_texture_with_the_channels_of_the_map_is_blended_as_it_is():
    texture = torch.randn(1, 4, 3, 3)
    assert torch.equal(AlphaBlend(4, 4)(torch.randn(1, 4, 3, 3), texture, torch.ones(1, 1, 3, 3)), texture)


def test_the_face_backbone_ignores_a_texture_under_zero_alpha():
    backbone = face_backbone()
    ws, condition = torch.randn(2, 6, W_DIM), random_condition()
    hidden = {r: (texture, torch.zeros_like(alpha)) for r, (texture, alpha) in condition.items()}
    other = {r: (texture + 1, alpha) for r, (texture, alpha) in hidden.items()}
    assert torch.equal(backbone(ws, condition=hidden)[16], backbone(ws, condition=other)[16])


def test_gradient_reaches_every_parameter_of_the_three_roles():
    texture = SynthesisBackbone(W_DIM, SMALL, {8: 3, 16: 3})
    static, face = static_backbone(), face_backbone()
    ws = torch.randn(2, 6, W_DIM)
    sum(x.square().sum() for x in texture(ws).values()).backward()
    static(ws, sft=random_sft(static))[16].square().sum().backward()
    face(ws, condition=random_condition())[16].square().sum().backward()
    for backbone in (texture, static, face):
        assert [n for n, p in backbone.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_random_noise_of_a_whole_backbone_follows_the_generator():
    backbone = static_backbone()
    for name, p in backbone.named_parameters():
        if name.endswith("noise_strength"):
            p.data.fill_(0.3)
    ws = torch.randn(1, 6, W_DIM)
    a, b, c = (
        backbone(ws, noise_mode="random", generator=torch.Generator().manual_seed(seed))[16] for seed in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_batch_gives_each_sample_what_it_gets_alone():
    backbone = static_backbone()
    ws = torch.randn(3, backbone.num_ws, W_DIM)
    alone = torch.cat([backbone(w[None])[16] for w in ws])
    torch.testing.assert_close(backbone(ws)[16], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_with_float32(dtype):
    backbone = static_backbone()
    ws, sft = torch.randn(2, backbone.num_ws, W_DIM), random_sft(backbone)
    sft = {r: (0.1 * scale, 0.1 * shift) for r, (scale, shift) in sft.items()}
    expected = backbone(ws, sft=sft)[16]
    output = backbone.to(dtype)(ws.to(dtype), sft=sft)[16]
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01
    assert output.dtype == dtype
    assert (output.float() - expected).square().mean().sqrt() < tolerance * expected.std()
