"""Episodes: N source photos and T target frames of a few people each, drawn from shards for one training step.

Shapes: B subjects, N source photos, T targets, L 478 landmarks, V vertices of the head model, J joints, S side of the
crop.

An episode is a pure function of (seed, step, process): a run that stops and goes on draws the same data as one that
never stopped, on any number of workers, without any state to keep.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import InvertAvatarError
from ..head.driven_head import driven_skin
from ..head.head_model import HeadModel
from ..head.known_head import unknown_head, with_outline
from ..metrics.angles import angles_between
from ..tracking.portrait import FEATHER
from .augment import Augmentation
from .observation import Observation
from .shards import KINDS, Shards, Source, held_out


class Episode(NamedTuple):
    """The data of one step: pictures, which travel to the device as bytes, and all geometry, as no network decides it.

    The person is as known after each photo, and for targets as known after the last one.
    """

    photos: Tensor  # [B, N, 3, S, S] uint8
    mattes: Tensor  # [B, N, 1, S, S] uint8
    inside: Tensor  # [B, N, 4] left, top, right, bottom of the real pixels
    sharpness: Tensor  # [B, N]
    rotations: Tensor  # [B, N, 3, 3] head -> camera
    landmarks: Tensor  # [B, N, L, 3] head space
    neutrals: Tensor  # [B, N, L, 3] the same of the person without expression
    skin: Tensor  # [B, N, V, 3] the head in the photo, see `driven_skin`
    off: Tensor  # [B, N, V] how far hair and clothes stand off it
    joints: Tensor  # [B, N, J, 3]
    targets: Tensor  # [B, T, 3, S, S] uint8
    target_mattes: Tensor  # [B, T, 1, S, S] uint8
    target_inside: Tensor  # [B, T, 4]
    target_rotations: Tensor  # [B, T, 3, 3]
    tracked: Tensor  # [B, T, L, 3] the face in the target as the tracker saw it
    driven: Tensor  # [B, T, L, 3] the driven face that is to be rendered
    target_skin: Tensor  # [B, T, V, 3] the head that goes with it
    neutral_skin: Tensor  # [B, V, 3] the head without expression

    def to(self, device: torch.device) -> "Episode":
        """The same on a device."""
        return Episode(*(x.to(device, non_blocking=True) for x in self))


MIX = (0.55, 0.35, 0.1)  # of clips, views and stills


@dataclass(frozen=True)
class EpisodeSizes:
    """How many of what in a step.

    Attributes:
        batch_size: B.
        photos: The smallest and the largest N; each number between is as likely as it is small, so that every one
            takes its share of the time.
        targets: T.
        mix: Shares of the episodes that `shards.KINDS` have, where there are all of them.
    """

    batch_size: int = 4
    photos: tuple[int, int] = (1, 4)
    targets: int = 1
    mix: tuple[float, ...] = MIX


class Episodes(Dataset):
    """Episodes by step.

    Args:
        shards: Where faces come from.
        head_model: On the CPU; for neutral and driven faces.
        sizes: B, N and T.
        held_out_fraction: Share of the people who are kept for validation.
        validation: Draw from the people held out, the others otherwise.
        augmentation: None leaves all as it is.
        seed: Of everything.
        process: (rank, number of processes) of a run on several GPUs, each of which draws its own people.

    Raises:
        InvertAvatarError: Nobody is left to draw from.
    """

    def __init__(
        self,
        shards: Shards,
        head_model: HeadModel,
        sizes: EpisodeSizes,
        held_out_fraction: float = 0.0,
        validation: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        process: tuple[int, int] = (0, 1),
    ):
        self.shards, self.head_model, self.sizes = shards, head_model, sizes
        self.augmentation, self.seed, self.process = augmentation, seed, process
        # A copy, as a tensor that is sent to a worker moves and leaves views of it behind.
        self.mirror = head_model.chart.mirror[: shards.vertices.shape[1]].numpy().copy()
        self.people: dict[str, dict[str, list[Source]]] = {kind: {} for kind in KINDS}
        for source in shards.sources:
            if held_out(source.person, held_out_fraction) == validation:
                self.people[source.kind].setdefault(source.person, []).append(source)
        self.kinds = [kind for kind in KINDS if self.people[kind]]
        if not self.kinds:
            whom = "held out for validation" if validation else "left to train on"
            raise InvertAvatarError(
                f"Of {len(shards.people)} people in the shards nobody is {whom} at a held-out share of "
                f"{held_out_fraction}. Prepare more people or change --held-out."
            )

    def loader(self, start: int, stop: int, workers: int) -> Iterator[Episode]:
        """The episodes of steps `start` to `stop`, prepared ahead by worker processes (0: none)."""
        return loaded(self, start, stop, workers)

    @torch.no_grad()
    def __getitem__(self, step: int) -> Episode:
        rank, processes = self.process
        # N is the same on all processes, so that none waits for another's longer sequence.
        counts = np.arange(self.sizes.photos[0], self.sizes.photos[1] + 1)
        count = int(np.random.default_rng([self.seed, step]).choice(counts, p=1 / counts / (1 / counts).sum()))
        rng = np.random.default_rng([self.seed, step, rank + 1, processes])
        people = [self._person(count, rng) for _ in range(self.sizes.batch_size)]
        return Episode(*(torch.stack(x) for x in zip(*people, strict=True)))

    def _person(self, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        probability = np.array([self.sizes.mix[KINDS.index(kind)] for kind in self.kinds])
        kind = self.kinds[rng.choice(len(self.kinds), p=probability / probability.sum())]
        names = list(self.people[kind])
        sources = self.people[kind][names[rng.integers(len(names))]]
        photos, targets = draw_faces(sources, count, self.sizes.targets, self.shards.rotation, rng)
        photos, targets = ([self._observation(face) for face in faces] for faces in (photos, targets))
        if self.augmentation is not None:
            photos, targets = self.augmentation(photos, targets, self.mirror, rng)
        return self._tensors(photos, targets)

    def _observation(self, face: int) -> Observation:
        shards = self.shards
        return Observation(
            picture=shards.picture(face),
            matte=shards.matte(face),
            vertices=shards.vertices[face].astype(np.float32),
            expression=shards.expression[face].astype(np.float32) / 255,
            rotation=shards.rotation[face],
            inside=shards.inside[face],
            sharpness=float(shards.sharpness[face]),
        )

    def _tensors(self, photos: Sequence[Observation], targets: Sequence[Observation]) -> tuple[Tensor, ...]:
        head_model = self.head_model

        def stack(group: Sequence[Observation], name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(o, name) for o in group]))

        def pictures(group: Sequence[Observation]) -> tuple[Tensor, Tensor, Tensor]:
            rectangles = stack(group, "inside").long()
            return stack(group, "picture").permute(0, 3, 1, 2).contiguous(), stack(group, "matte")[:, None], rectangles

        # The person as the avatar of so many photos has it.
        colours, mattes, rectangles = pictures(photos)
        landmarks, rotations = stack(photos, "vertices"), stack(photos, "rotation")
        tracked = (landmarks, stack(photos, "expression"), rotations)
        seen = (*tracked, mattes.float() / 255, real_pixels(rectangles, mattes.shape[-1], FEATHER))
        known, heads = unknown_head(head_model), []
        for photo in zip(*(x.split(1) for x in seen), strict=True):
            known, shape, skin = with_outline(head_model, known, *photo)
            heads.append((shape.landmarks, skin[0], head_model.stand_off(known.displacement), shape.joints))
        # Targets are driven through the head model, as at inference. The residual is solved against the neutral face
        # that the photos gave: it takes up most of what they got wrong, so the picture stays aligned with the mesh.
        faces, scores, turned = (stack(targets, name) for name in ("vertices", "expression", "rotation"))
        residual = head_model.residual(head_model.unbiased(faces, turned), shape.landmarks, scores)
        driven = head_model.driven_landmarks(shape.landmarks, scores, residual, turned)
        return (
            colours,
            mattes,
            rectangles,
            torch.tensor([o.sharpness for o in photos]),
            rotations,
            landmarks,
            *map(torch.stack, zip(*heads, strict=True)),
            *pictures(targets),
            turned,
            faces,
            driven,
            driven_skin(head_model, shape, scores, driven),
            shape.vertices,
        )


def real_pixels(inside: Tensor, size: int, feather: float = 0.0) -> Tensor:
    """Where a crop has real pixels, from the rectangle that holds them.

    Args:
        inside: [..., 4] left, top, right, bottom in pixels; right and bottom excluded.
        size: S.
        feather: Head units within which it fades in from the rectangle's border (`portrait.feathered`).

    Returns:
        [..., 1, S, S] in 0..1.
    """
    line = torch.arange(size, device=inside.device)
    low, high = inside[..., :2, None], inside[..., 2:, None]
    # Pixels to the nearest one outside, for columns and rows: [..., 2, S]
    distance = torch.minimum(line + 1 - low, high - line).clamp(min=0).float()
    depth = torch.minimum(distance[..., 0, None, :], distance[..., 1, :, None])[..., None, :, :]
    return (depth / max(feather * size / 2, 1)).clamp(max=1)


def loaded(steps: Dataset, start: int, stop: int, workers: int) -> Iterator:
    """Steps `start` to `stop` of a set of them, each a batch, prepared ahead by worker processes (0: none)."""
    return iter(
        DataLoader(
            steps,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context=start_method() if workers else None,
        )
    )


def start_method() -> str:
    """How a worker comes into being: on Linux it inherits the shards and the face model without a copy.

    Windows cannot fork, and on a Mac the system's own libraries do not survive it: there it reads the shards again.
    """
    return "fork" if sys.platform == "linux" else "spawn"


def draw_faces(
    sources: Sequence[Source], count: int, targets: int, rotations: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose source photos and targets among the faces of a person, so that all angles between them are as common.

    Heads are near the front in most frames, so that frames drawn evenly would lie a few degrees apart: a target is the
    face whose angle to one of the photos is nearest to a number between 0 and the largest there is. Half of the time
    the two change their parts, so that a photo may be the turned one.

    Of a clip all come from the same one, as light and hair change between clips, and no target is a source photo unless
    there are too few faces. With a single face, sources and targets show the same one.

    Args:
        sources: Clips or photos of one person, of one kind.
        count: N.
        targets: T.
        rotations: [n, 3, 3] head -> camera, of all faces there are.
        rng: Decides.

    Returns:
        Numbers of N and of T faces; photos of a clip in their order in it.
    """
    if sources[0].kind == "clip":
        faces = sources[int(rng.integers(len(sources)))].faces
    else:
        faces = np.concatenate([source.faces for source in sources])
    if len(faces) == 1:
        return faces.repeat(count), faces.repeat(targets)
    first = int(rng.integers(len(faces)))
    away = angles_between(rotations[faces[first]], rotations[faces])
    apart = min(targets, len(faces) - 1)
    chosen: list[int] = []
    for wanted in rng.uniform(0, away.max(), apart):
        free = np.setdiff1d(np.arange(len(faces)), [first, *chosen])
        chosen.append(int(free[np.abs(away[free] - wanted).argmin()]))
    if rng.random() < 0.5:
        first, chosen[0] = chosen[0], first
    others = rng.permutation(np.setdiff1d(np.arange(len(faces)), [first, *chosen]))
    photos = np.concatenate([[first], others])[np.arange(count) % (len(others) + 1)]
    if sources[0].kind == "clip":
        photos = np.sort(photos)
    return faces[photos], faces[np.array(chosen)[np.arange(targets) % apart]]
