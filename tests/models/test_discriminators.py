import itertools

import pytest
import torch

from invertavatar.models.discriminators import (
    LANDMARK_CHAINS,
    LANDMARK_CHANNELS,
    DualDiscriminator,
    FeatureDiscriminator,
    LatentDiscriminator,
    draw_landmark_map,
)

CHANNELS = {32: 4, 16: 6, 8: 8, 4: 8}


def discriminator(**kwargs):
    torch.manual_seed(0)
    return DualDiscriminator(CHANNELS, **kwargs)


def inputs(batch=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, c, r, r, generator=generator) for c, r in ((3, 32), (3, 16), (LANDMARK_CHANNELS, 32))]


def outside():
    """Landmarks [1, 478, 2] of which none is in the picture."""
    return torch.full((1, 478, 2), 3.0)


def test_the_chains_are_the_edges_of_mediapipe():
    from mediapipe.tasks.python.vision import FaceLandmarksConnections as Connections

    names = {
        "lips": ("LIPS",),
        "eyes": ("LEFT_EYE", "RIGHT_EYE"),
        "irises": ("LEFT_IRIS", "RIGHT_IRIS"),
        "brows": ("LEFT_EYEBROW", "RIGHT_EYEBROW"),
        "face_oval": ("FACE_OVAL",),
        "nose": ("NOSE",),
    }
    for group, parts in names.items():
        expected = {frozenset((c.start, c.end)) for p in parts for c in getattr(Connections, f"FACE_LANDMARKS_{p}")}
        edges = {frozenset(e) for chain in LANDMARK_CHAINS[group] for e in itertools.pairwise(chain)}
        assert edges == expected, group


def test_a_line_between_two_known_pixel_centres_is_drawn_there_in_its_own_channel():
    size = 64
    landmarks = outside()
    # The right brow's upper chain ends in 66, 107: here a level line at row 10, from column 40 to column 50.
    landmarks[0, [70, 63, 105, 66]] = (torch.tensor([40.0, 10.0]) + 0.5) * 2 / size - 1
    landmarks[0, 107] = (torch.tensor([50.0, 10.0]) + 0.5) * 2 / size - 1
    drawn = draw_landmark_map(landmarks, size)
    assert drawn.shape == (1, LANDMARK_CHANNELS, size, size)
    brows = drawn[0, list(LANDMARK_CHAINS).index("brows")]
    assert (brows[10, 41:50] > 0.9).all()
    assert brows[10, 35] == brows[10, 55] == brows[14, 45] == brows[6, 45] == 0
    assert drawn[0].sum() == brows.sum()


def test_the_persons_right_iris_on_the_images_left_is_drawn_on_the_left():
    landmarks = outside()
    right_iris = torch.tensor([[0.1, 0.0], [0.0, -0.1], [-0.1, 0.0], [0.0, 0.1]])
    landmarks[0, 469:473] = right_iris + torch.tensor([-0.5, 0.0])
    irises = draw_landmark_map(landmarks, 64)[0, list(LANDMARK_CHAINS).index("irises")]
    assert irises[:, :32].sum() > 0
    assert irises[:, 32:].sum() == 0


def test_mirroring_the_landmarks_mirrors_the_map():
    torch.manual_seed(0)
    # Multiples of 1/8 pixel, which the drawing represents exactly, well inside the picture.
    landmarks = torch.randint(-200, 200, (1, 478, 2)) / 8 * 2 / 64
    mirrored = draw_landmark_map(landmarks * torch.tensor([-1.0, 1.0]), 64)
    difference = (mirrored - draw_landmark_map(landmarks, 64).flip(-1)).abs()
    assert difference.mean() < 0.02 * mirrored.mean()


def test_the_map_is_between_zero_and_one_and_each_face_of_a_batch_has_its_own():
    torch.manual_seed(0)
    landmarks = torch.rand(2, 478, 2) * 2 - 1
    drawn = draw_landmark_map(landmarks, 32)
    assert drawn.min() == 0
    assert drawn.max() == 1
    assert torch.equal(drawn[1:], draw_landmark_map(landmarks[1:], 32))
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("i", range(3), ids=["image", "raw", "landmark map"])
def test_the_verdict_depends_on_every_input(i):
    net, tensors = discriminator(), inputs()
    changed = [x.flip(-1) if i == j else x for j, x in enumerate(tensors)]
    logits = net(*tensors)
    assert logits.shape == (4, 1)
    assert not torch.allclose(logits, net(*changed))


def test_without_landmark_channels_image_and_raw_are_enough():
    image, raw, _ = inputs()
    assert discriminator(landmark_channels=0)(image, raw).shape == (4, 1)


def test_a_sample_is_judged_within_its_group_so_that_a_collapsed_batch_shows():
    net, tensors = discriminator(), inputs()
    same = [x[:1].expand_as(x) for x in tensors]
    assert not torch.allclose(net(*tensors)[0], net(*same)[0])


@pytest.mark.parametrize("batch", [1, 2, 3, 6])
def test_any_batch_size_is_judged(batch):
    assert discriminator()(*inputs(batch)).shape == (batch, 1)


def test_r1_penalty_has_a_gradient_for_the_weights():
    net, (image, raw, landmark_map) = discriminator(), inputs()
    image.requires_grad_()
    raw.requires_grad_()
    gradients = torch.autograd.grad(net(image, raw, landmark_map).sum(), (image, raw), create_graph=True)
    sum(g.square().sum() for g in gradients).backward()
    assert net.conv_in.weight.grad.abs().sum() > 0
    assert net.blocks[0].skip.weight.grad.abs().sum() > 0


def test_gradient_reaches_every_parameter():
    net = discriminator()
    net(*inputs()).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []


def test_bfloat16_autocast_agrees_with_float32():
    net = discriminator()
    expected = net(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(*inputs())
    assert (logits.float() - expected).abs().max() < 0.1 * expected.std()


def test_a_saved_discriminator_gives_the_same_bits(tmp_path):
    net = discriminator().eval()
    net.save_pretrained(tmp_path)
    assert torch.equal(DualDiscriminator.from_pretrained(tmp_path)(*inputs()), net(*inputs()))


def test_the_latent_discriminator_judges_each_code_by_four_layers():
    torch.manual_seed(0)
    net = LatentDiscriminator(w_dim=8, hidden_dim=16)
    assert sum(isinstance(m, torch.nn.Linear) for m in net.modules()) == 4
    ws = torch.randn(2, 5, 8)
    logits = net(ws)
    assert logits.shape == (2, 5, 1)
    torch.testing.assert_close(logits[:, 3], net(ws[:, 3]))
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_each_layer_of_the_features_has_as_much_to_say_and_none_says_too_much():
    torch.manual_seed(0)
    net = FeatureDiscriminator((4, 6), hidden_dim=8).train()
    activations = [torch.randn(3, 4, 31, 31), torch.randn(3, 6, 7, 7)]
    for _ in range(20):  # spectral norms settle
        logits = net(*activations)
    assert logits.shape == (3, 2 * 16)
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())
    for convolution in (layer for layer in net.eval().modules() if isinstance(layer, torch.nn.Conv2d)):
        norm = torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=0.1)


def test_people_who_all_look_alike_at_a_place_are_told_from_those_who_do_not():
    torch.manual_seed(0)
    net = FeatureDiscriminator((4,), hidden_dim=8).eval()
    x = torch.randn(4, 4, 32, 32)
    alike = torch.cat([x[..., :16], x[:1, ..., 16:].expand(4, -1, -1, -1)], -1)  # in the right half
    apart, together = (net(y)[0].view(4, 4) for y in (x, alike))  # the first picture is the same in both
    change = (apart - together).abs()
    assert change[:, 3].min() > 1e-4 and change[:, 0].max() < 1e-6
