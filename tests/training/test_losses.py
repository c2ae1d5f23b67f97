import math

import pytest
import torch

from invertavatar.camera import rotation_from_angles
from invertavatar.head.driven_head import driven_head
from invertavatar.inversion import Networks
from invertavatar.metrics.aligned_face import face_crop
from invertavatar.training.adversarial import Discriminator
from invertavatar.training.losses import (
    LossWeights,
    discriminator_loss,
    generator_loss,
    masked_l1,
    perceptual,
    pyramid_l1,
    r1_penalty,
)
from invertavatar.training.precision import use_mixed_precision
from invertavatar.training.prior_fit import fit_mapping
from invertavatar.training.reconstruction import Reconstruction
from invertavatar.training.stages import STAGES
from invertavatar.training.stages.base import deviation
from tests.landmarks import mean_landmarks, mean_person
from tests.tiny import tiny_networks


def test_l1_counts_valid_places_only():
    prediction, target, valid = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    target[:, :, :4], valid[:, :, 2:] = 1, 1
    assert masked_l1(prediction, target, valid).item() == pytest.approx(2 / 6)


def test_the_pyramid_forgives_what_is_a_pixel_off_and_not_what_has_the_wrong_colour():
    stripes = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    valid = torch.ones(1, 1, 32, 32)
    assert pyramid_l1(stripes, 1 - stripes, valid).item() == pytest.approx(1 / 4)  # equal from the first halving on
    assert pyramid_l1(stripes, stripes + 0.5, valid).item() == pytest.approx(0.5)


def test_nothing_is_asked_where_the_target_has_no_pixels():
    def network(a, b):
        return (a - b).abs().mean((1, 2, 3))

    prediction, target, valid = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    assert perceptual(network, prediction, target, valid).item() == 0
    assert perceptual(network, prediction, target).item() > 0


def test_the_face_crop_is_upright_and_holds_all_landmarks_whatever_the_roll(head_model):
    size, angle = 128, math.radians(30)
    points = mean_landmarks(head_model)[:, :2] * torch.tensor([1.0, -1.0]) * 0.8
    roll = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    line = (torch.arange(size) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    upright = torch.stack([x, y, torch.zeros_like(x)])[None]
    back = torch.stack([x, y], -1) @ roll  # where each pixel of the rolled picture was before
    rolled = torch.cat([back, torch.zeros(size, size, 1)], -1).permute(2, 0, 1)[None]
    straight = face_crop(upright, points[None])
    turned = face_crop(rolled, (points @ roll.T)[None])
    torch.testing.assert_close(turned, straight, atol=0.02, rtol=0)
    low, high = straight[0, :2].amin((1, 2)), straight[0, :2].amax((1, 2))
    assert (low <= points.amin(0)).all()
    assert (high >= points.amax(0)).all()


def test_an_undecided_discriminator_costs_log_two_for_each_side():
    zero = torch.zeros(4, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))


def test_r1_of_a_linear_discriminator_is_the_squared_length_of_its_weights():
    weight = torch.tensor([3.0, 4.0])
    inputs = torch.randn(5, 2, requires_grad=True)
    assert r1_penalty(inputs @ weight, inputs).item() == pytest.approx(25)


def test_to_be_judged_gives_the_picture_a_gradient_and_the_discriminator_none():
    discriminator = Discriminator.latent(8)
    codes = torch.randn(2, 3, 8, requires_grad=True)
    generator_loss(discriminator.score((codes,))).backward()
    assert codes.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in discriminator.parameters())


def test_layers_of_w_plus_that_agree_do_not_deviate():
    ws = torch.randn(2, 1, 8).expand(2, 5, 8)
    assert deviation(ws).item() == pytest.approx(0, abs=1e-10)
    ws = torch.stack([torch.ones(1, 8), -torch.ones(1, 8)], 1)
    assert deviation(ws).item() == pytest.approx(8)


def test_the_weights_of_equations_2_and_3_are_those_of_the_supplement():
    latent, encoders = STAGES["latent"].weights, STAGES["oneshot"].weights
    assert (latent.l1, latent.lpips, latent.face, latent.latent_adversarial) == (1, 0.5, 0.25, 1)
    assert (encoders.l1, encoders.lpips, encoders.adversarial) == (1, 1, 0.1)
    assert (encoders.planes, encoders.textures, encoders.features) == (0.001, 0.001, 1)
    assert STAGES["recurrent"].weights == encoders


def test_the_total_is_the_weighted_sum_of_the_terms_there_are():
    weights = LossWeights(l1=2.0, lpips=3.0, raw=5.0)
    assert weights.total({"l1": torch.tensor(1.0), "lpips": torch.tensor(10.0)}).item() == 32


@pytest.mark.parametrize("layerwise", [False, True])
def test_the_fitted_mapping_draws_people_like_those_it_was_fitted_to_in_every_pose_alike(head_model, layerwise):
    networks = Networks(**tiny_networks(layerwise_mapping=layerwise), head_model=head_model)
    generator, layers = torch.Generator().manual_seed(0), networks.generator.num_ws
    people, layer = torch.randn(64, 1, 16, generator=generator), torch.arange(layers)[:, None] / layers
    codes = 2 + layer + 0.3 * (1 + layer) * people
    error = fit_mapping(networks, codes, iterations=400)
    z = torch.randn(500, 16, generator=generator)
    drawn = networks.generator.mapping(z)
    turned = networks.generator.mapping(z, rotation_from_angles(40.0).expand(500, 3, 3))
    torch.testing.assert_close(turned, drawn)
    goal = codes if layerwise else codes.mean(1, keepdim=True).expand_as(codes)
    torch.testing.assert_close(drawn.mean(0), goal.mean(0), atol=0.15, rtol=0)
    assert 0.2 < (drawn.var(0).sum() / goal.var(0).sum()).sqrt().item() < 1.2
    assert error < 0.9
    average = networks.generator.mapping(z, truncation_psi=0.0)
    torch.testing.assert_close(average[0], goal.mean(0))


def test_mixed_precision_leaves_geometry_alone_and_changes_pictures_by_little(head_model):
    plain, mixed = (Networks(**tiny_networks(output_gain=0.1), head_model=head_model) for _ in range(2))
    use_mixed_precision(mixed, torch.device("cpu"), torch.bfloat16)
    head_to_torso = rotation_from_angles(torch.tensor([15.0]))
    none = head_model.stand_off(head_model.displacement.no_evidence())
    still = torch.zeros(1, 52), torch.zeros(1, len(head_model.residual_region))
    head = driven_head(head_model, mean_person(head_model), none, *still, head_to_torso, head_to_torso)
    ws = torch.zeros(1, plain.generator.num_ws, 16)
    with torch.no_grad():
        expected, drawn = (Reconstruction(n).coarse(ws, head, 64) for n in (plain, mixed))
    assert drawn.colour.dtype == torch.float32
    assert not torch.equal(drawn.colour, expected.colour)
    torch.testing.assert_close(drawn.colour, expected.colour, atol=0.05, rtol=0)
