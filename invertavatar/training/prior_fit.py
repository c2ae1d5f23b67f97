"""The prior where there is no compute for an adversarial one: the mapping network learns where inverted people lie.

Shapes: M people, L w-layers.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from ..inversion import Networks
from ..models.stylegan2 import LEAKY_GAIN, LEAKY_SLOPE
from .episodes import Episodes, EpisodeSizes
from .reconstruction import Reconstruction
from .shards import KINDS, Shards

SHRINKAGE = 0.05  # share of the mean variance given to every direction, which a few people do not span
BATCH, LEARNING_RATE = 256, 2e-3


@torch.no_grad()
def inverted_codes(networks: Networks, shards: Shards, people: int, batch_size: int, seed: int = 0) -> Tensor:
    """E_latent's w+ of a photo of each of many people, [M, L, w_dim].

    Args:
        networks: On their device.
        shards: Whose people are inverted, each as likely as another.
        people: M, drawn one by one, so that some may come twice.
        batch_size: Photos at a time.
        seed: Of the choice.
    """
    counts = (len({source.person for source in shards.sources if source.kind == kind}) for kind in KINDS)
    sizes = EpisodeSizes(batch_size, photos=(1, 1), mix=tuple(counts))
    episodes = Episodes(shards, copy.deepcopy(networks.head_model).cpu(), sizes, seed=seed)
    reconstruction, device = Reconstruction(networks), networks.head_model.mean.device
    steps = episodes.loader(0, -(-people // batch_size), 0)
    codes = [reconstruction.code(reconstruction.views(episode.to(device))[0]) for episode in steps]
    return torch.cat(codes)[:people].float()


def fit_mapping(networks: Networks, codes: Tensor, iterations: int = 3000, seed: int = 0) -> float:
    """Fit the mapping network to the codes' mean and covariance, for every pose alike; `w_avg` becomes their mean.

    Args:
        networks: Their mapping network is changed in place.
        codes: [M, L, w_dim] of at least two people; their layers are averaged where the mapping has one w for all.
        iterations: Of Adam.
        seed: Of the noise.

    Returns:
        Root of the mean squared error of the codes, relative to their standard deviation, at the end.
    """
    generator = torch.Generator(codes.device).manual_seed(seed)
    mapping, z_dim = networks.generator.mapping_network, networks.generator.config.z_dim
    if mapping.offsets is None:
        codes = codes.mean(1, keepdim=True)
    average, flat = codes.mean(0), codes.flatten(1)
    _, deviations, vectors = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    # The largest directions take the first entries of z.
    variances = (deviations.square() / (len(flat) - 1))[:z_dim]
    ridge = SHRINKAGE * variances.sum() / z_dim
    axes = (variances + ridge).sqrt()[:, None] * vectors[:z_dim]
    scale = axes.square().sum().sqrt() / axes.shape[1] ** 0.5

    with torch.no_grad():
        # No pose changes who is drawn, and the way begins at the mean person.
        first, *_, last = mapping.layers.parameters()  # the first layer's weight, the last one's bias
        first[:, z_dim:] = 0
        mean = average.mean(0)
        last.copy_(torch.where(mean > 0, mean, mean / LEAKY_SLOPE) / LEAKY_GAIN)
        if mapping.offsets is not None:
            _, bias = mapping.offsets.parameters()
            bias.copy_((average - mean).flatten())
    no_pose = codes.new_zeros(BATCH, 9)  # gives the zeroed weights no gradient

    mapping.requires_grad_(True)
    optimizer = torch.optim.Adam(mapping.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    error = codes.new_ones(())
    for _ in range(iterations):
        z = torch.randn(BATCH, z_dim, generator=generator, device=codes.device)
        target = flat.mean(0) + (F.normalize(z, dim=1) * z.shape[1] ** 0.5)[:, : len(axes)] @ axes
        made = mapping(z, no_pose)[:, : len(average)].flatten(1)
        loss = ((made - target) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = error.lerp(loss.detach(), 0.05)
    mapping.w_avg.copy_(average.view_as(mapping.w_avg))
    return float(error.sqrt())
