"""People drawn from a seed: avatars without photos, of the tiny pipeline."""

from dataclasses import replace

import pytest
import torch

from invertavatar.avatar import Avatar, _tensors
from invertavatar.errors import InvertAvatarError
from invertavatar.steps.prior import sample_identity
from tests.landmarks import mean_landmarks


def same(a: Avatar, b: Avatar) -> bool:
    x, y = _tensors(a), _tensors(b)
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def test_a_seed_names_one_person_and_another_seed_another(tiny_pipeline):
    first, again, other = (tiny_pipeline.sample(seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert not torch.equal(first.ws, other.ws)
    assert not torch.equal(first.shape.vertices, other.shape.vertices)


def test_a_generator_draws_one_person_after_the_other(tiny_pipeline):
    generator = torch.Generator().manual_seed(5)
    first, second = (tiny_pipeline.sample(generator=generator) for _ in range(2))
    assert same(first, tiny_pipeline.sample(5))
    assert not torch.equal(first.ws, second.ws)


def test_without_spread_everybody_is_the_average_person(tiny_pipeline, head_model):
    first, second = (tiny_pipeline.sample(seed, truncation_psi=0.0) for seed in (1, 2))
    assert same(first, second)
    assert torch.equal(first.shape.landmarks, mean_landmarks(head_model))
    assert torch.equal(first.ws[0], tiny_pipeline.generator.mapping_network.w_avg)


@pytest.mark.parametrize("truncation_psi", [-0.1, 1.5])
def test_a_spread_out_of_range_is_refused(tiny_pipeline, truncation_psi):
    with pytest.raises(InvertAvatarError, match="from 0 to 1"):
        tiny_pipeline.sample(truncation_psi=truncation_psi)


def test_identities_spread_as_the_head_model_says(head_model):
    generator = torch.Generator().manual_seed(0)
    heads = torch.stack([sample_identity(head_model, generator, 1.0).landmarks for _ in range(200)])
    spread = (heads - mean_landmarks(head_model)).square().mean(0)
    expected = (
        (head_model.landmarks(head_model.identity_basis) * head_model.identity_std[:, None, None]).square().sum(0)
    )
    torch.testing.assert_close(spread.mean().sqrt(), expected.mean().sqrt(), atol=0, rtol=0.05)


def test_a_sampled_person_survives_saving(tiny_pipeline, tmp_path):
    person = tiny_pipeline.sample(3)
    person.save_pretrained(tmp_path)
    loaded = Avatar.from_pretrained(tmp_path)
    assert loaded.num_images == 0
    assert same(person, loaded)


def test_a_sampled_person_is_rendered_and_animated(tiny_pipeline, portrait):
    person = tiny_pipeline.sample(3)
    still = tiny_pipeline.render(person, yaw=20, expression={"jawOpen": 0.5}, height=64, output_type="pt")
    frames = tiny_pipeline.animate(person, "pt", driving_image=portrait("anna_1").picture, height=64).frames
    assert still.shape == frames.shape == (1, 3, 64, 64)
    assert still.std() > 0.01


def test_the_first_photo_decides_over_all_but_w_plus(tiny_pipeline, portrait):
    from_photo = tiny_pipeline.add_portrait(None, portrait("anna_1"))
    person = replace(tiny_pipeline.sample(3), ws=from_photo.ws)
    updated = tiny_pipeline.add_portrait(person, portrait("anna_1"))
    assert updated.photos == from_photo.photos
    assert same(updated, from_photo)

    other = tiny_pipeline.sample(3)
    assert torch.equal(tiny_pipeline.add_portrait(other, portrait("anna_1")).ws, other.ws)


@pytest.mark.parametrize("fusion", ["gru", "mean", "first"])
def test_every_fusion_takes_a_first_photo_after_none(tiny_pipeline, portrait, fusion):
    person = replace(tiny_pipeline.sample(3), ws=tiny_pipeline.add_portrait(None, portrait("anna_1")).ws)
    updated = tiny_pipeline.add_portrait(person, portrait("anna_1"), fusion)
    assert same(updated, tiny_pipeline.add_portrait(None, portrait("anna_1"), fusion))
