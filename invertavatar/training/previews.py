"""Pictures to judge a run by: what the validation people look like, and who the prior imagines.

Shapes: B subjects, N source photos, T targets, S side of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from ..camera import project
from ..head.arkit import ARKIT_NAMES
from ..head.driven_head import driven_head
from ..inversion import Networks
from ..metrics.angles import BUCKETS, angles_between, bucket
from .episodes import Episode
from .reconstruction import Reconstruction, repeat, truth

SHOWN_PEOPLE, SHOWN_PHOTOS = 8, 3
SAMPLES, SAMPLE_COLUMNS = 24, 6


@dataclass
class Validation:
    """How the networks do on people held out."""

    psnr: float  # dB, over grey, on real pixels
    l1: float  # in 0..1
    lpips: float | None
    by_angle: dict[str, float]  # LPIPS, L1 without, of targets by degrees from the nearest photo; buckets in order
    sheet: Image.Image  # a row for each person: photos, target, picture, the coarse picture

    @property
    def score(self) -> float:
        """The lower the better: near and far targets count alike, however many of each there are."""
        return sum(self.by_angle.values()) / len(self.by_angle)


@torch.no_grad()
def validate(
    networks: Networks,
    episodes: Sequence[Episode],
    lpips: nn.Module | None,
    coarse_only: bool = False,
) -> Validation:
    """Reconstruct episodes and measure them.

    Args:
        networks: In eval mode, on a device.
        episodes: On any device.
        lpips: None leaves LPIPS out.
        coarse_only: Measure the picture of w+ alone.
    """
    reconstruction, device = Reconstruction(networks), networks.head_model.mean.device
    measures, rows, buckets = [], [], []
    for episode in episodes:
        episode = episode.to(device)
        times, size = episode.driven.shape[1], episode.targets.shape[-1]
        goal = truth(episode, torch.zeros(episode.driven.shape[0] * times, 3, 1, 1, device=device))
        state = reconstruction.fuse(reconstruction.views(episode), episode.sharpness)
        ws, head = repeat(state.ws, times), reconstruction.driven(episode)
        drawn = coarse = reconstruction.coarse(ws, head, size)
        if not coarse_only:
            features = reconstruction.features(state, episode, size)
            drawn = reconstruction.draw(ws, repeat(features, times), head, reconstruction.camera(head), size)
        target = goal.over_background()
        picture = goal.over_background(drawn.colour, drawn.opacity).clamp(-1, 1)
        picture = target + (picture - target) * goal.valid
        error = (picture - target) / 2
        valid = goal.valid.mean((1, 2, 3))
        measures.append({
            "psnr": -10 * torch.log10(error.square().mean((1, 2, 3)) / valid),
            "l1": error.abs().mean((1, 2, 3)) / valid,
            "lpips": lpips(picture, target) if lpips is not None else error.new_zeros(0),
        })  # fmt: skip
        for photos, targets in zip(
            episode.rotations.cpu().numpy(), episode.target_rotations.cpu().numpy(), strict=True
        ):
            buckets += map(bucket, np.min([angles_between(photo, targets) for photo in photos], 0))
        shown = episode.photos[:, :SHOWN_PHOTOS].float() / 127.5 - 1
        blank = shown.new_zeros(len(shown), SHOWN_PHOTOS - shown.shape[1], *shown.shape[2:])
        ghost = goal.over_background(coarse.colour, coarse.opacity)
        first = (x.unflatten(0, (-1, times))[:, :1] for x in (target, picture, ghost))
        rows.append(torch.cat([shown, blank, *first], 1).cpu())
    means = {name: torch.cat([m[name] for m in measures]) for name in measures[0]}
    compared = means["l1" if lpips is None else "lpips"].tolist()
    found = {name: [x for x, there in zip(compared, buckets, strict=True) if there == name] for name in BUCKETS}
    return Validation(
        psnr=float(means["psnr"].mean()),
        l1=float(means["l1"].mean()),
        lpips=float(means["lpips"].mean()) if lpips is not None else None,
        by_angle={name: float(np.mean(values)) for name, values in found.items() if values},
        sheet=_sheet(torch.cat(rows)[:SHOWN_PEOPLE]),
    )


@torch.no_grad()
def sample_sheet(networks: Networks, size: int, count: int = SAMPLES) -> Image.Image:
    """The prior's people of seeds 0, 1, 2, ... with a neutral face, seen from the front."""
    head_model, reconstruction = networks.head_model, Reconstruction(networks)
    person = head_model.person(torch.zeros_like(head_model.identity_std))
    off = head_model.stand_off(head_model.displacement.no_evidence())
    straight = torch.eye(3, device=head_model.mean.device)[None]
    still = straight.new_zeros(1, len(ARKIT_NAMES)), straight.new_zeros(1, len(head_model.residual_region))
    head, pictures = driven_head(head_model, person, off, *still, straight, head_to_torso=straight), []
    for seed in range(count):
        z = torch.randn(1, networks.generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
        ws = networks.generator.mapping(z.to(straight.device))
        pictures.append(reconstruction.coarse(ws, head, size).colour[0].cpu())
    return _sheet(torch.stack(pictures).unflatten(0, (-1, min(count, SAMPLE_COLUMNS))))


def landmark_dots(picture: np.ndarray, vertices: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A crop [S, S, 3] uint8 with the landmarks of its track, vertices [V, 3] and rotation [3, 3]."""
    shown = Image.fromarray(picture)
    points = torch.from_numpy(vertices).float()[None]
    points = project(points, torch.from_numpy(rotation)[None])[0, ::3, :2]  # every third keeps the face visible
    pixels = ((points + 1) * (picture.shape[0] / 2)).tolist()
    ImageDraw.Draw(shown).point([tuple(pixel) for pixel in pixels], (255, 255, 0))
    return np.asarray(shown)


def _sheet(pictures: Tensor) -> Image.Image:
    """Pictures [rows, columns, 3, S, S] in -1..1 -> one picture. Training needs no PyAV, so nothing of `media`."""
    rows, columns, _, height, width = pictures.shape
    table = pictures.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    return Image.fromarray(((table + 1) * 127.5).clamp(0, 255).round().byte().numpy().astype(np.uint8))
