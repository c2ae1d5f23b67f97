"""What the compositor learns from: frames as it looks at them, with the pictures that they ought to be.

All that comes before the compositor stays as it is while that learns, and costs more than it does. So it is worked out
once and kept in files, one for each episode; what is left of a step is the compositor alone.

Shapes: B frames, T frames of an episode, C layers, D feature channels, V landmarks, S side of a frame, h w raw picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ..camera import project
from ..errors import InvertAvatarError
from ..inversion import look_at
from ..models.compositor import Look
from ..rendering.reprojection import Reprojection
from ..rendering.surface import GROUPS, ShownSurface
from .episodes import Episode, Episodes, EpisodeSizes, loaded
from .reconstruction import Reconstruction, Truth, repeat, truth

FRAMES_OF_A_LOOK = 6  # T
PART = 160  # pixels of the parts that the others see, a multiple of what the compositor halves
WHOLE_EVERY = 5  # one of so many steps sees whole frames, which faces and identities are compared in
# Layers of a look and of its goal: channels, and whether they run from -1 to 1 instead of from 0.
LAYERS = {
    "colour": (3, True), "seen": (1, False), "matte": (1, False), "inside": (1, False),
    "mirrored": (3, True), "mirrored_seen": (1, False), "fill": (3, True),
    "mask": (1, False), "normal": (3, True), "depth": (1, True), "groups": (len(GROUPS), False),
    "picture": (3, True), "goal": (1, False), "valid": (1, False),
}  # fmt: skip


class Looks(NamedTuple):
    """Frames, or the same part of each of them, as bytes: as they lie in files and travel to the device."""

    layers: Tensor  # [B, C, S, S] uint8 of `LAYERS`
    features: Tensor  # [B, D, h, w] float16
    angle: Tensor  # [B] degrees between head and photos
    landmarks: Tensor  # [B, V, 2] in the whole picture, -1..1, y down

    def to(self, device: torch.device) -> "Looks":
        """The same on a device."""
        return Looks(*(x.to(device, non_blocking=True) for x in self))

    def unpacked(self, background: Tensor) -> tuple[Look, Truth]:
        """What the compositor looks at, and what it ought to make of it over backgrounds [B, 3, 1, 1] in -1..1."""
        parts = zip(LAYERS, self.layers.split([count for count, _ in LAYERS.values()], 1), strict=True)
        layers = {name: x.float() / 127.5 - 1 if LAYERS[name][1] else x.float() / 255 for name, x in parts}
        mask = layers["mask"]
        reprojection = Reprojection(*(layers[name] for name in Reprojection._fields))
        surface = ShownSurface(mask, layers["normal"] * mask, layers["depth"] * mask, layers["groups"])
        goal = Truth(layers["picture"], layers["goal"], layers["valid"], background)
        return Look(reprojection, surface, self.features.float(), self.angle), goal


@torch.no_grad()
def looks_of(reconstruction: Reconstruction, episode: Episode) -> Looks:
    """The B T targets of an episode, as the compositor looks at them."""
    size, times = episode.targets.shape[-1], episode.targets.shape[1]
    state = reconstruction.fuse(reconstruction.views(episode), episode.sharpness)
    features = reconstruction.features(state, episode, size)
    head = reconstruction.driven(episode)
    camera = reconstruction.camera(head)
    drawn = (repeat(state.ws, times), repeat(features, times), head, camera, size)
    (reprojection, surface, seen, angle, _), _ = look_at(reconstruction.networks, *drawn)
    goal = truth(episode, angle.new_zeros(len(angle), 3, 1, 1))
    values = (
        reprojection._asdict() | surface._asdict() | {"picture": goal.picture, "goal": goal.matte, "valid": goal.valid}
    )
    layers = [(values[name] + 1) * 127.5 if signed else values[name] * 255 for name, (_, signed) in LAYERS.items()]
    landmarks = project(episode.tracked.flatten(0, 1), camera.rotation)[..., :2]
    return Looks(torch.cat(layers, 1).round().clamp(0, 255).byte(), seen.half(), angle, landmarks)


def make_looks(reconstruction: Reconstruction, episodes: Episodes, count: int, folder: Path, workers: int = 0) -> None:
    """Write the looks of the first `count` episodes, one file each; those that are there already stay. Several
    processes share them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rank, processes = episodes.process
    paths = [folder / f"looks_{number:06d}_{rank}.safetensors" for number in range(count // processes)]
    made = next((i for i, path in enumerate(paths) if not path.exists()), len(paths))
    todo = zip(paths[made:], episodes.loader(made, len(paths), workers), strict=True)
    for path, episode in tqdm(todo, "Looks", len(paths), initial=made, disable=rank > 0):
        looks = looks_of(reconstruction, episode.to(reconstruction.networks.generator.device))
        temporary = path.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in looks._asdict().items()}, temporary)
        temporary.replace(path)  # it is there as a whole or not at all


class LooksFolder(Dataset):
    """Steps of the compositor's training, drawn from files of `make_looks`; a pure function of (seed, step, process).

    Args:
        folder: Of the files.
        batch_size: B of a step of parts; one of `WHOLE_EVERY` steps has a third as many whole frames.
        seed: Of everything.
        process: (rank, number of processes) of a run on several GPUs.

    Raises:
        InvertAvatarError: There are no files.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int = 0, process: tuple[int, int] = (0, 1)):
        self.files = sorted(folder.glob("looks_*.safetensors"))
        if not self.files:
            raise InvertAvatarError(f"There are no looks in {folder}: raise --looks, of which each makes one file.")
        self.sizes, self.seed, self.process = EpisodeSizes(batch_size), seed, process

    def loader(self, start: int, stop: int, workers: int) -> Iterator[Looks]:
        """The looks of steps `start` to `stop`, read ahead by worker processes (0: none)."""
        return loaded(self, start, stop, workers)

    def __getitem__(self, step: int) -> Looks:
        rng = np.random.default_rng([self.seed, step, *self.process])
        whole = step % WHOLE_EVERY == 0
        count = max(1, self.sizes.batch_size // 3) if whole else self.sizes.batch_size
        drawn = [self._frame(rng, whole) for _ in range(count)]
        return Looks(*(torch.stack(x) for x in zip(*drawn, strict=True)))

    def _frame(self, rng: np.random.Generator, whole: bool) -> tuple[Tensor, ...]:
        with safe_open(self.files[rng.integers(len(self.files))], "pt") as file:
            layers, features = (file.get_slice(name) for name in ("layers", "features"))
            frames, _, size, _ = layers.get_shape()
            frame, scale = int(rng.integers(frames)), size // features.get_shape()[-1]
            side = size if whole else min(PART, size)
            top, left = (int(x) * scale for x in rng.integers(0, (size - side) // scale + 1, 2))
            rows, columns = slice(top, top + side), slice(left, left + side)
            small = (slice(s.start // scale, s.stop // scale) for s in (rows, columns))
            angle, landmarks = (file.get_tensor(name)[frame] for name in ("angle", "landmarks"))
            return layers[frame, :, rows, columns], features[(frame, slice(None), *small)], angle, landmarks
