"""What the tensors of an avatar must be: names, shapes, kinds and ranges of numbers, in one place.

An avatar may come from anybody. Its file is held against this table before any of its tensors is read, so that absurd
sizes cost nothing, and its numbers after. A size that some model decides is a word here; `layout_of` says what it is.

Shapes: N photos, K kept views, L w-layers, V vertices of the head model.
"""

import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..head.arkit import ARKIT_NAMES
from ..head.pose import NUM_LANDMARKS
from ..head.rest_pose import TORSO_POSE_NAMES
from ..head.topology import JOINT_NAMES as JOINTS
from ..inversion import Networks
from ..models.recurrent_unet import FusionState
from ..rendering.source_views import LIMIT
from ..tracking.portrait import THUMBNAIL_SIZE

MAX_PHOTOS = 10_000  # N
MAX_SIZE = 8192  # of what a word stands for, as far as no model says
MAX_SCALES = 16  # of an encoder
LARGEST = 1e5  # of any number: sums over many photos stay far below
MAY_BE_NONE = ("photos", "residual", "posture")  # sizes that may be 0
PACKED = {"backdrop": "backdrop", "views.picture": "views.picture", "views.masks": "views.picture"}  # what a file packs
MAX_PACKED = 1 << 26  # bytes

FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # and what safetensors calls them
BYTES = {torch.uint8: "U8"}
SAFETENSORS_NAMES = FLOATS | BYTES

Shape = tuple[int, ...]


class Field(NamedTuple):
    """One tensor."""

    shape: tuple[int | str, ...]  # a word is one size wherever it stands
    bytes: bool = False  # uint8; else any kind of float
    largest: float = LARGEST  # magnitude
    least: float | None = None  # of weights
    weights: int | None = None  # the channel (axis -3) from which on there are weights; None for all of it


FIELDS = {
    "ws": Field((1, "layers", "w_dim")),
    "texture_sum": Field((1, 4, "maps", "maps"), least=0, weights=3),
    "rest_sum": Field((NUM_LANDMARKS, 3)),
    "crown": Field((1,), largest=1, least=0),
    "shape.vertices": Field(("vertices", 3), largest=10),
    "shape.joints": Field((len(JOINTS), 3), largest=10),
    "shape.blink": Field((2, "vertices", 3), largest=10),
    "shape.landmarks": Field((NUM_LANDMARKS, 3), largest=10),
    "displacement.gram": Field(("controls", "controls")),
    "displacement.target": Field(("controls",)),
    "thumbnails": Field(("photos", 3, THUMBNAIL_SIZE, THUMBNAIL_SIZE), bytes=True),
    "backdrop": Field((3, "backdrop", "backdrop"), bytes=True),
    "rest.rotation": Field((1, 3, 3), largest=1.01),
    "rest.expression": Field((1, len(ARKIT_NAMES)), largest=10),
    "rest.residual": Field((1, "residual")),
    "rest.posture": Field((1, "posture"), largest=10),
}
VIEWS = {
    "views.rotation": Field((1, "views", 3, 3), largest=1.01),
    "views.posture": Field((1, "views", len(TORSO_POSE_NAMES)), largest=10),
    "views.weight": Field((1, "views"), least=0),
    "views.by_pose": Field((1, "views"), largest=1, least=0),
    "views.skin": Field((1, "views", "vertices", 3), largest=10),
    "views.front": Field((1, "views", 5, "maps", "maps"), largest=10, least=0, weights=3),
    "views.picture": Field((1, "views", 5, "detail", "detail"), bytes=True),
}
STATES = ("texture_state", "triplane_state")
STORED = {"neutral_sum": "rest_sum", "torso_pose": "posture"}  # fields of `Avatar` that a file names differently


@dataclass(frozen=True)
class Layout:
    """Which tensors an avatar has, as far as it is known; by itself it knows no model.

    Args:
        sizes: What words of the shapes stand for.
        scales: How many maps each encoder's state has, after the first photo; None for any number.
        detail: Pixels of its photos at most.
        model: `InvertAvatarPipeline.fingerprint` of the model whose layout it is.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    scales: Mapping[str, int] | None = None
    detail: int = MAX_SIZE
    model: str | None = None

    def check(self, tensors: Mapping[str, tuple[Shape, str]], num_photos: int, packed: bool = False) -> None:
        """Hold names, shapes and kinds of numbers against the layout.

        Args:
            tensors: Name -> shape, and the kind as safetensors calls it.
            num_photos: N.
            packed: As a file has them, in which pictures are bytes, see `PACKED`.

        Raises:
            ValueError: With the first thing that does not fit, as a piece of a sentence.
        """
        if num_photos > MAX_PHOTOS:
            raise ValueError(f"it has {num_photos} photos, and {MAX_PHOTOS} are the most")
        fields = self._fields(tensors, num_photos)
        if packed:
            kept = {name for name, whole in PACKED.items() if whole in fields}
            fields = {name: expected for name, expected in fields.items() if name not in PACKED.values()}
            tensors = _without_packed(tensors, kept)
        if missing := sorted(fields.keys() - tensors.keys()):
            raise ValueError(f"it has no {missing[0]}")
        if strange := sorted(tensors.keys() - fields.keys()):
            raise ValueError(f"it has a {shortened(strange[0])} too many")
        sizes = {**self.sizes, "photos": num_photos}
        for name, expected in fields.items():
            shape, kind = tensors[name]
            if kind not in (BYTES if expected.bytes else FLOATS).values():
                raise ValueError(f"its {name} is of kind {kind}")
            known = [size if isinstance(size, int) else sizes.get(size, size) for size in expected.shape]
            if len(shape) != len(known) or not all(map(partial(_binds, sizes), expected.shape, shape)):
                raise ValueError(f"its {name} is {shortened(list(shape))} where [{', '.join(map(str, known))}] belongs")
        if sizes.get("detail", 0) > self.detail:
            raise ValueError(f"its photos have {sizes['detail']} pixels on a side, and {self.detail} are the most")
        if sizes["posture"] not in (0, len(TORSO_POSE_NAMES)):
            raise ValueError(f"its rest.posture has {sizes['posture']} numbers")
        if num_photos and not 1 <= sizes["views"] <= min(num_photos, LIMIT):
            raise ValueError(f"it keeps {sizes['views']} views of {num_photos} photos")

    def _fields(self, tensors: Mapping[str, tuple[Shape, str]], num_photos: int) -> dict[str, Field]:
        """All tensors that there have to be. Before its first photo an avatar remembers nothing of any."""
        fields = FIELDS | (VIEWS if num_photos else {})
        for state in STATES if num_photos else ():
            held = sum(name.startswith(f"{state}.") for name in tensors)
            count = max(1, min(held, MAX_SCALES)) if self.scales is None else self.scales[state]
            for name in (f"{state}.{index}" for index in range(count)):
                fields = fields | {name: Field((1, f"{name} channels", f"{name} size", f"{name} size"))}
        return fields


def _without_packed(tensors: Mapping[str, tuple[Shape, str]], names: Collection[str]) -> dict:
    """The tensors that are no packed pictures, after a look at these."""
    for name in names:
        if name not in tensors:
            raise ValueError(f"it has no {name}")
        shape, kind = tensors[name]
        if kind != BYTES[torch.uint8] or len(shape) != 1 or not 0 < shape[0] <= MAX_PACKED:
            raise ValueError(f"its {name} is {shortened(list(shape))} of kind {kind} where a picture's bytes belong")
    return {name: found for name, found in tensors.items() if name not in names}


def layout_of(networks: Networks, model: str) -> Layout:
    """The layout of the avatars that a pipeline's networks make and take; `model` is its fingerprint."""
    generator, head_model = networks.generator, networks.head_model
    sizes = {
        "layers": generator.num_ws,
        "w_dim": generator.config.w_dim,
        "maps": networks.texture_encoder.config.resolution,
        "vertices": len(head_model.mean),
        "controls": len(head_model.displacement.mean),
        "residual": len(head_model.residual_region),
    }
    scales = {}
    for state, encoder in zip(STATES, (networks.texture_encoder, networks.triplane_encoder), strict=True):
        scales[state] = len(encoder.unet.decoder_scales)
        for index, (scale, channels) in enumerate(encoder.unet.state_channels.items()):
            sizes[f"{state}.{index} channels"] = channels
            sizes[f"{state}.{index} size"] = encoder.config.resolution >> scale
    return Layout(sizes, scales, generator.config.detail_resolution, model)


def described(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Shape, str]]:
    """What `Layout.check` takes, of tensors that are there."""
    return {name: (tuple(x.shape), SAFETENSORS_NAMES.get(x.dtype, str(x.dtype))) for name, x in tensors.items()}


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Hold the numbers of tensors that passed `Layout.check` against their ranges.

    Raises:
        ValueError: With the first thing that does not fit, as a piece of a sentence.
    """
    fields = FIELDS | VIEWS
    for name, value in tensors.items():
        expected = fields.get(name, Field(()))
        if expected.bytes or not value.numel():
            continue
        if not value.isfinite().all():
            raise ValueError(f"its {name} holds numbers that are not finite")
        if value.abs().max() > expected.largest:
            raise ValueError(f"its {name} holds numbers beyond {expected.largest:g}")
        if expected.least is not None and _weights(value, expected).min() < expected.least:
            raise ValueError(f"its {name} holds weights that are none")


def check_counts(num_photos: int, *states: FusionState) -> None:
    """Hold what the encoders count against the number of photos; ValueError as of the others."""
    for state in states:
        if type(state.count) is not int or state.count != num_photos:
            raise ValueError(f"its encoders remember {shortened(state.count)} photos of {num_photos}")


def shortened(value: object, longest: int = 60) -> str:
    """Anything as a few words, whoever sent it."""
    if isinstance(value, int) and value.bit_length() > 100:
        return "a huge number"
    text = value if isinstance(value, str) else reprlib.repr(value)  # which goes neither deep nor far
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _weights(value: Tensor, expected: Field) -> Tensor:
    return value if expected.weights is None else value.movedim(-3, 0)[expected.weights :]


def _binds(sizes: dict[str, int], word: int | str, size: int) -> bool:
    """Whether a size is what its word stands for; a word that stands for nothing yet takes it."""
    if isinstance(word, int):
        return size == word
    if word in sizes:
        return size == sizes[word]
    sizes[word] = size
    return (word not in MAY_BE_NONE) <= size <= MAX_SIZE


def stored_name(field: str) -> str:
    """What a file calls a field of `Avatar`, or of a part of it after a dot: see `STORED`."""
    group, dot, last = field.rpartition(".")
    return group + dot + STORED.get(last, last)


def field_name(stored: str) -> str:
    """The inverse of `stored_name`."""
    group, dot, last = stored.rpartition(".")
    return group + dot + {name: field for field, name in STORED.items()}.get(last, last)
