import pytest
import torch

from invertavatar.models.latent_encoder import LatentEncoder

TINY_STAGES = ((16, 1), (16, 1), (32, 2), (32, 1))


def make(backbone):
    torch.manual_seed(0)
    sizes = {"ir_se_stages": TINY_STAGES, "compact_channels": (4, 6, 8, 8, 8)}
    return LatentEncoder(8, 16, backbone, 128, face_channels=(4, 8) if backbone == "compact" else (), **sizes)


@pytest.fixture(params=["compact", "ir_se_50"])
def encoder(request):
    return make(request.param)


def images(batch=2):
    return torch.rand(batch, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1


def face(batch=2):
    """Texture, residual and visibility in the UV map."""
    return torch.rand(batch, 7, 32, 32, generator=torch.Generator().manual_seed(2)).split([3, 3, 1], 1)


def test_one_w_for_each_layer(encoder):
    assert encoder(images()).shape == (2, 8, 16)


def test_the_inverted_code_starts_at_the_mean_and_still_sees_the_photo(encoder):
    encoder.latent_avg.normal_()
    ws = encoder(images())
    offset = ws - encoder.latent_avg
    assert offset.square().mean().sqrt() < 0.1  # a code of the prior deviates by about 1
    assert not torch.equal(ws[0], ws[1])


def test_the_first_head_moves_every_layer_and_another_one_its_own(encoder):
    before = encoder(images())
    encoder.style_heads[5].linear.bias.data.add_(1)
    moved = (encoder(images()) - before).mean((0, 2))
    torch.testing.assert_close(moved, torch.eye(8)[5], atol=1e-4, rtol=0)
    encoder.style_heads[0].linear.bias.data.add_(1)
    torch.testing.assert_close((encoder(images()) - before).mean((0, 2)), 1 + torch.eye(8)[5], atol=1e-4, rtol=0)


def test_styles_0_to_2_read_the_coarse_level_3_to_6_the_medium_and_the_rest_the_fine_one(encoder):
    encoder.eval()
    before = encoder(images())
    encoder.lateral_fine.bias.data.add_(1)
    changed = (encoder(images()) != before).any(2).all(0)
    assert changed.tolist() == [False] * 7 + [True]
    encoder.lateral_medium.bias.data.add_(1)
    changed = (encoder(images()) != before).any(2).all(0)
    assert changed.tolist() == [False] * 3 + [True] * 5


def test_gradient_reaches_every_parameter(encoder):
    target = torch.randn(2, 8, 16)
    ws = encoder(images())
    if encoder.config.face_channels:
        ws = encoder.refine(ws, *face())
    (ws - target).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_a_saved_encoder_gives_the_same_bits(encoder, tmp_path):
    encoder.latent_avg.normal_()
    encoder.eval().save_pretrained(tmp_path)
    loaded = LatentEncoder.from_pretrained(tmp_path)
    assert torch.equal(loaded.latent_avg, encoder.latent_avg)
    assert torch.equal(loaded(images()), encoder(images()))


def test_a_refinement_depends_on_what_is_left_of_the_face_and_moves_every_layer():
    encoder = make("compact")
    ws = encoder(images())
    texture, residual, visibility = face()
    refined = encoder.refine(ws, texture, residual, visibility)
    assert (refined != ws).any(2).all()
    assert (encoder.refine(ws, texture, -residual, visibility) != refined).any(2).all()


def test_bfloat16_autocast_agrees_with_float32():
    encoder = make("compact")
    for head in encoder.style_heads:
        head.linear.weight.data.mul_(100)
    expected = encoder(images())
    with torch.autocast("cpu", torch.bfloat16):
        ws = encoder(images())
    assert (ws.float() - expected).square().mean().sqrt() < 0.03 * expected.std()


def test_ir_se_50_has_the_body_of_the_paper_and_e4e_heads():
    with torch.device("meta"):
        encoder = LatentEncoder(14, 512, "ir_se_50", 256)
    assert sum(len(stage) for stage in encoder.body.stages) == 24
    assert encoder.body.out_channels == (128, 256, 512)
    strided = [sum(isinstance(m, torch.nn.Conv2d) for m in head.modules()) for head in encoder.style_heads]
    assert strided == [4] * 3 + [5] * 4 + [6] * 7  # 16, 32 and 64 pixels down to one
