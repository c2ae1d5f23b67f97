"""The avatar: everything that is kept of a person, and enough to add another photo later (DESIGN 6).

Shapes: N photos, L w-layers, V vertices of the head model, r resolution of a map.

An avatar file is biometric data of a person: treat it as you would their photos.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from .avatar_format.file import JSON_FILE, TENSOR_FILE, check_description, read_description, read_header, unpacked
from .avatar_format.layout import Layout, check_counts, check_numbers, described, field_name, stored_name
from .errors import AvatarError
from .head.displacement import Evidence
from .head.fitting import HeadShape
from .media.files import written_whole
from .media.packed import packed
from .media.packed import unpacked as unpacked_pictures
from .models.recurrent_unet import FusionState
from .rendering.source_views import SourceViews
from .tracking.motion import Motion

FORMAT_VERSION = 6
MAX_BYTES = 1 << 30
LARGEST_PICTURE = 2048  # pixels on a side: what is packed may come to far more than its file


@dataclass(frozen=True)
class PhotoRecord:
    """What was found in one photo."""

    name: str
    yaw: float  # degrees
    pitch: float
    roll: float
    face_pixels: float  # pixels of one head unit in the photo as given: how finely it was taken
    visible: float  # share of the UV map that it shows, 0..1


@dataclass(frozen=True, eq=False)
class Avatar:
    """State of an avatar; made by `InvertAvatarPipeline.reconstruct` and `.update`, never changed in place."""

    ws: Tensor  # [1, L, w_dim] w+ of the first photo
    texture_state: FusionState  # hidden states of E_tex_rec
    triplane_state: FusionState  # hidden states of E_tri_rec
    texture_sum: Tensor  # [1, 4, r, r] observed colours of the face at the networks' resolution
    views: SourceViews | None  # up to eight photos; None before the first
    neutral_sum: Tensor  # [478, 3] sum over photos of the landmarks without expression, head space
    crown: Tensor  # [1] how much of the skull's height the photos leave, the least of all
    shape: HeadShape  # the person's neutral head
    displacement: Evidence  # sum over photos of what they say of how far hair and clothes stand off it
    rest: Motion  # one frame: pose, expression, residual and torso pose of the first photo
    thumbnails: Tensor  # [N, 3, 96, 96] uint8
    backdrop: Tensor  # [3, r, r] uint8, the first photo's background with the person filled in
    photos: tuple[PhotoRecord, ...]
    model: str  # fingerprint of the pipeline that made it

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.photos)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.ws.device

    @property
    def num_bytes(self) -> int:
        """What the tensors take in memory."""
        return sum(x.nbytes for x in _tensors(self).values())

    def to(self, device: torch.device | str) -> "Avatar":
        """The same avatar on another device."""
        return _from_tensors({k: v.to(device) for k, v in _tensors(self).items()}, self)

    def check(self, layout: Layout) -> None:
        """Hold names, shapes and kinds of the tensors against the layout of a pipeline.

        Raises:
            AvatarError: Something does not fit.
        """
        try:
            layout.check(described(_tensors(self)), self.num_images)
            check_counts(self.num_images, self.texture_state, self.triplane_state)
        except ValueError as error:
            raise AvatarError(
                f"This avatar does not fit its model: {error}. Build it again from its photos."
            ) from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `avatar.safetensors` and `avatar.json` into a folder, which is made.

        Raises:
            MediaError: Nothing can be written there.
        """
        folder = Path(folder)
        with written_whole(folder / JSON_FILE) as json_file, written_whole(folder / TENSOR_FILE) as tensor_file:
            save_file(pack_pictures({k: v.cpu().contiguous() for k, v in _tensors(self).items()}), tensor_file)
            description = {
                "format_version": FORMAT_VERSION,
                "sha256": _digest(tensor_file),
                "model": self.model,
                "texture_count": self.texture_state.count,
                "triplane_count": self.triplane_state.count,
                "residual_region": list(self.rest.residual_region),
                "photos": [vars(photo) for photo in self.photos],
            }
            json_file.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        layout: Layout | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> "Avatar":
        """Read an avatar's folder, or a .zip of it; nothing in it is ever executed.

        Args:
            folder: The folder, or the .zip.
            device: Where the avatar shall be.
            layout: `InvertAvatarPipeline.avatar_layout`: what it must fit before its tensors are read, where that
                pipeline made it. Without one it is held against what any model's avatars are.
            max_bytes: It is refused unread if it is larger.

        Raises:
            AvatarError: There is no avatar, a damaged one, or one of another version.
        """
        with unpacked(folder, max_bytes) as files:
            description = read_description(files, FORMAT_VERSION)
            try:
                if _digest(files / TENSOR_FILE) != description["sha256"]:
                    raise ValueError(f"{TENSOR_FILE} is not the one that was saved")
                check_description(description)
                known = layout if layout is not None and layout.model == description["model"] else Layout()
                count = len(description["photos"])
                known.check(read_header(files / TENSOR_FILE), count, packed=True)
                tensors = load((files / TENSOR_FILE).read_bytes())  # `load_file` would keep the file open
                tensors = unpack_pictures(tensors, known.detail)
                known.check(described(tensors), count)
                check_numbers(tensors)
                avatar = _assemble(tensors, description)
            except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
                reason = f": {error}" if type(error) is ValueError else ""
                raise AvatarError(f"The avatar in {folder} is damaged{reason}. Save it again.") from error
        return avatar.to(device)


def pack_pictures(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file has them: pictures without loss, in a fraction of their bytes."""
    tensors = dict(tensors)
    parts = {"backdrop": tensors.pop("backdrop")[None]}
    if "views.picture" in tensors:
        parts["views.picture"], parts["views.masks"] = tensors.pop("views.picture")[0].split([3, 2], 1)
    for name, pictures in parts.items():
        content = packed(pictures.permute(0, 2, 3, 1).contiguous().numpy())
        tensors[name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return tensors


def unpack_pictures(tensors: dict[str, Tensor], largest: int) -> dict[str, Tensor]:
    """The inverse of `pack_pictures`; ValueError where a photo has more than `largest` pixels on a side."""
    tensors = dict(tensors)

    def pictures(name: str, count: int, channels: int, most: int) -> Tensor:  # [count, channels, r, r]
        content = tensors.pop(name).numpy().tobytes()
        return torch.from_numpy(unpacked_pictures(content, count, channels, most)).permute(0, 3, 1, 2)

    tensors["backdrop"] = pictures("backdrop", 1, 3, LARGEST_PICTURE)[0].contiguous()
    if "views.picture" in tensors:
        count, most = tensors["views.weight"].shape[1], min(largest, LARGEST_PICTURE)
        parts = pictures("views.picture", count, 3, most), pictures("views.masks", count, 2, most)
        tensors["views.picture"] = torch.cat(parts, 1)[None]
    return tensors


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tensors(avatar: Avatar) -> dict[str, Tensor]:
    """All tensors of an avatar under the names they have in its file."""
    named = {f.name: getattr(avatar, f.name) for f in fields(avatar) if isinstance(getattr(avatar, f.name), Tensor)}
    for name in ("texture_state", "triplane_state"):
        named |= {f"{name}.{i}": hidden for i, hidden in enumerate(getattr(avatar, name).hidden)}
    for name in ("shape", "displacement", "views"):
        if (part := getattr(avatar, name)) is not None:
            named |= {f"{name}.{key}": value for key, value in part._asdict().items()}
    for key in ("rotation", "expression", "residual", "torso_pose"):
        named[f"rest.{key}"] = getattr(avatar.rest, key)
    return {stored_name(name): value for name, value in named.items()}


def _built(
    tensors: dict[str, Tensor],
    texture_count: int,
    triplane_count: int,
    residual_region: tuple[str, ...],
    photos: tuple[PhotoRecord, ...],
    model: str,
) -> Avatar:
    """The inverse of `_tensors`, with what an avatar has beside them."""
    tensors = {field_name(stored): value for stored, value in tensors.items()}

    def group(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix + "."): v for k, v in tensors.items() if k.startswith(prefix + ".")}

    def state(name: str, count: int) -> FusionState:
        hidden = group(name)
        return FusionState([hidden[str(i)] for i in range(len(hidden))], count)

    views, rest = group("views"), group("rest")
    return Avatar(
        texture_state=state("texture_state", texture_count),
        triplane_state=state("triplane_state", triplane_count),
        views=SourceViews(**views) if views else None,
        shape=HeadShape(**group("shape")),
        displacement=Evidence(**group("displacement")),
        rest=Motion(rest["rotation"], rest["expression"], rest["residual"], residual_region, rest["torso_pose"]),
        photos=photos,
        model=model,
        **{name: value for name, value in tensors.items() if "." not in name},
    )


def _from_tensors(tensors: dict[str, Tensor], avatar: Avatar) -> Avatar:
    counts = avatar.texture_state.count, avatar.triplane_state.count
    return _built(tensors, *counts, avatar.rest.residual_region, avatar.photos, avatar.model)


def _assemble(tensors: dict[str, Tensor], description: dict) -> Avatar:
    counts = description["texture_count"], description["triplane_count"]
    photos = tuple(PhotoRecord(**photo) for photo in description["photos"])
    avatar = _built(tensors, *counts, tuple(description["residual_region"]), photos, description["model"])
    check_counts(len(photos), avatar.texture_state, avatar.triplane_state)
    return avatar
