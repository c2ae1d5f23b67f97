"""The prior where there is no compute for an adversarial one: the mapping network learns where inverted people lie.

Shapes: M codes, L w-layers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..inversion import Networks
from ..models.stylegan2 import LEAKY_GAIN, LEAKY_SLOPE
from ..rendering.resize import resize
from .episodes import Episodes
from .reconstruction import photo_crops

SPREAD = 0.8  # of the samples, relative to the inverted people: far-out codes are those that fit badly
SHRINKAGE = 0.05  # share of the mean variance given to every direction, which a few people do not span
BATCH, LEARNING_RATE = 256, 2e-3


@torch.no_grad()
def inverted_codes(networks: Networks, episodes: Episodes, steps: int) -> Tensor:
    """w of people: E_latent's w+ of the first photo of `steps` episodes, averaged over the layers, [M, w_dim]."""
    encoder, codes = networks.latent_encoder, []
    for step in range(steps):
        episode = episodes[step].to(networks.head_model.mean.device)
        codes.append(encoder(resize(photo_crops(episode)[0].photo, encoder.config.image_size)).mean(1))
    return torch.cat(codes).float()


def fit_mapping(networks: Networks, codes: Tensor, iterations: int = 3000, seed: int = 0) -> float:
    """Fit the mapping network to the codes' mean and covariance, for every pose alike; `w_avg` becomes their mean.

    Args:
        networks: Their mapping network is changed in place.
        codes: [M, w_dim] of at least two people.
        iterations: Of Adam.
        seed: Of the noise.

    Returns:
        Root of the mean squared error of w, relative to its standard deviation, at the end.
    """
    generator = torch.Generator(codes.device).manual_seed(seed)
    mapping = networks.generator.mapping_network
    mean, centred = codes.mean(0), codes - codes.mean(0)
    covariance = centred.T @ centred / (len(codes) - 1)
    ridge = SHRINKAGE * covariance.diagonal().mean().clamp(min=1e-8)
    values, vectors = torch.linalg.eigh(covariance)
    # The largest directions take the first entries of z: all of them, where z is shorter than w.
    axes = (vectors * (values.clamp(min=0) + ridge).sqrt()).flip(1).T[: networks.generator.config.z_dim] * SPREAD
    scale = axes.square().sum().sqrt() / axes.shape[1] ** 0.5

    with torch.no_grad():
        # No pose changes who is drawn, and the way begins at the mean person.
        mapping.layers[0].weight[:, networks.generator.config.z_dim :] = 0
        mapping.layers[-1].bias.copy_(torch.where(mean > 0, mean, mean / LEAKY_SLOPE) / LEAKY_GAIN)
    no_pose = codes.new_zeros(BATCH, 9)  # gives the zeroed weights no gradient

    mapping.requires_grad_(True)
    optimizer = torch.optim.Adam(mapping.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    error = codes.new_ones(())
    for _ in range(iterations):
        z = torch.randn(BATCH, networks.generator.config.z_dim, generator=generator, device=codes.device)
        target = mean + (F.normalize(z, dim=1) * z.shape[1] ** 0.5)[:, : len(axes)] @ axes
        loss = ((mapping(z, no_pose)[:, 0] - target) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = error.lerp(loss.detach(), 0.05)
    mapping.w_avg.copy_(mean)
    return float(error.sqrt())
