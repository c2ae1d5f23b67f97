"""Tracked portraits, a motion and a CPU's pictures in a folder: what a bare machine is measured and checked with.

It needs no tracker and no video decoder. The people are the bundled examples, who do not exist.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from invertavatar import Avatar, InvertAvatarPipeline, Motion
    from invertavatar.tracking.portrait import Portrait

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "benchmark"
TRACKING = ("av", "mediapipe", "pillow_heif")  # what reads videos, photos of phones, and faces
NUMBERS, MOTION, ABOUT = "portraits.safetensors", "motion.safetensors", "about.json"
SHEET = "sheet.webp"  # all pictures, to look at
# Frames of the motion at 256 px and one at 512, which has the fine detail; a view from the side; one of the first
# photo's avatar, turned the other way; and a person of the prior.
FRAMES = {256: (0, 11), 512: (5,)}
SIDE, OTHER_SIDE = 35.0, -25.0  # degrees
SEED = 1
# Means and 999th thousandths of the differences, in grey levels of 255, by dtype of the networks. A pixel at an edge
# may be on either side of it; on an H200 float32 and bfloat16 were within 0.2 in the mean.
TOLERANCES = {"float32": (0.3, 4.0), "bfloat16": (1.0, 12.0), "float16": (0.5, 8.0)}


def absent() -> list[str]:
    """Which of `TRACKING` cannot be imported."""

    def is_there(name: str) -> bool:
        try:
            return importlib.util.find_spec(name) is not None
        except ImportError:
            return False

    return [name for name in TRACKING if not is_there(name)]


class StandIns(MetaPathFinder, Loader):
    """Modules that can be imported and do nothing, in the place of packages that are not there."""

    def __init__(self, names: list[str]):
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As in `MetaPathFinder`."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """As in `Loader`."""
        module = ModuleType(spec.name)
        module.__getattr__ = lambda name: MagicMock(name=name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As in `Loader`."""


def do_without(names: list[str]) -> None:
    """Let the library be imported without these packages."""
    if names:
        sys.meta_path.insert(0, StandIns(names))


def store(pipe: "InvertAvatarPipeline", photos: list[str], clip: str, folder: Path = FOLDER) -> None:
    """Track photos and a clip, and keep them with pictures of the avatar, which should be a CPU's.

    Args:
        pipe: With its tracker, on the CPU.
        photos: Paths.
        clip: Path of a video.
        folder: Is made.
    """
    import torch
    from safetensors.torch import save_file

    from invertavatar.media import contact_sheet, load_image, save_image

    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for k, path in enumerate(photos):
        portrait = portrait_module().prepare_portrait(load_image(path), pipe.face_tracker, Path(path).stem)
        save_picture(folder / f"photo_{k}.webp", (portrait.photo[0] + 1) / 2)
        masks = torch.cat([portrait.matte, portrait.inside, torch.zeros_like(portrait.matte)], 1)
        save_picture(folder / f"masks_{k}.webp", masks[0])
        for name in ("vertices", "expression", "rotation"):
            numbers[f"{k}.{name}"] = getattr(portrait, name).contiguous()
        numbers[f"{k}.scale"] = torch.tensor(portrait.scale, dtype=torch.float64)
    save_file(numbers, folder / NUMBERS)
    pipe.track(clip, max_frames=24).save(folder / MOTION)
    drawn = dict(pictures(pipe, portraits(folder), motion(folder)))
    for name, picture in drawn.items():
        save_picture(folder / name, picture)
    cells = [load_picture(folder / name).permute(1, 2, 0).numpy() for name in drawn]
    save_image(folder / SHEET, contact_sheet(cells, 3, [Path(name).stem for name in drawn]))
    (folder / ABOUT).write_text(json.dumps({"model": pipe.fingerprint}, indent=1) + "\n", encoding="utf-8")


def portrait_module() -> ModuleType:
    """The library's module of portraits, which revisions of before 2026-11-28 have elsewhere."""
    try:
        return import_module("invertavatar.tracking.portrait")
    except ModuleNotFoundError:
        return import_module("invertavatar.face.portrait")


def portraits(folder: Path = FOLDER) -> list["Portrait"]:
    """The tracked photos."""
    import cv2
    import torch
    from safetensors.torch import load_file

    library, found = portrait_module(), []
    numbers = load_file(folder / NUMBERS)
    for k in range(sum(name.endswith(".scale") for name in numbers)):
        photo, masks = (load_picture(folder / f"{kind}_{k}.webp") for kind in ("photo", "masks"))
        small = cv2.resize(photo.permute(1, 2, 0).numpy(), (library.THUMBNAIL_SIZE,) * 2, interpolation=cv2.INTER_AREA)
        found.append(
            library.Portrait(
                name=f"photo {k + 1}",
                photo=photo[None].float() / 127.5 - 1,
                matte=masks[None, :1].float() / 255,
                inside=masks[None, 1:2].float() / 255,
                **{name: numbers[f"{k}.{name}"] for name in ("vertices", "expression", "rotation")},
                scale=numbers[f"{k}.scale"].item(),
                thumbnail=torch.from_numpy(small).permute(2, 0, 1),
            )
        )
    return found


def motion(folder: Path = FOLDER) -> "Motion":
    """24 frames of a clip."""
    from invertavatar import Motion

    return Motion.load(folder / MOTION)


def avatar_of(pipe: "InvertAvatarPipeline", photos: list["Portrait"]) -> "Avatar":
    """The avatar of tracked photos."""
    avatar = None
    for portrait in photos:
        avatar = pipe.add_portrait(avatar, portrait)
    return avatar


def pictures(
    pipe: "InvertAvatarPipeline", photos: list["Portrait"], motion: "Motion"
) -> Iterator[tuple[str, "Tensor"]]:
    """File names and pictures [3, S, S] in 0..1 that are compared."""
    avatar, look = avatar_of(pipe, photos), {"height": 256, "framing": "crop", "output_type": "pt"}
    for size, numbers in FRAMES.items():
        with closing(pipe.animate_stream(avatar, motion=motion, **look | {"height": size})) as stream:
            frames = list(islice(stream, max(numbers) + 1))
        yield from ((f"frame_{k}_{size}.webp", frames[k]) for k in numbers)
    yield "side_256.webp", pipe.render(avatar, yaw=SIDE, **look)[0]
    yield "alone_256.webp", pipe.render(avatar_of(pipe, photos[:1]), yaw=OTHER_SIDE, **look)[0]
    yield "sample_256.webp", pipe.render(pipe.sample(SEED), **look)[0]


def compare(pipe: "InvertAvatarPipeline", folder: Path = FOLDER) -> Iterator[dict]:
    """How far a pipeline's pictures are from the stored ones.

    Yields:
        For each picture its `picture` name, and `mean`, `most` (of 999 in 1000 pixels) and `max` of the differences, in
        grey levels of 255.

    Raises:
        InvertAvatarError: The stored ones are of another model.
    """
    from invertavatar.errors import InvertAvatarError

    if json.loads((folder / ABOUT).read_text(encoding="utf-8"))["model"] != pipe.fingerprint:
        raise InvertAvatarError(f"The pictures in {folder.name} are of another model: write them anew with --store.")
    for name, picture in pictures(pipe, portraits(folder), motion(folder)):
        apart = ((picture.float().cpu() * 255).round() - load_picture(folder / name).float()).abs().flatten()
        apart = apart.nan_to_num(255.0)
        most = apart.kthvalue(int(0.999 * len(apart))).values
        yield {
            "picture": name.removesuffix(".webp"),
            "mean": apart.mean().item(),
            "most": most.item(),
            "max": apart.max().item(),
        }


def is_off(line: dict, dtype: str) -> bool:
    """Whether a line of `compare` is beyond what may be expected of the networks' dtype."""
    mean, most = TOLERANCES[dtype]
    return line["mean"] > mean or line["most"] > most


def save_picture(path: Path, picture: "Tensor") -> None:
    """[3, S, S] in 0..1, to the next of 255 grey levels."""
    from PIL import Image

    pixels = (picture * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path, "WEBP", lossless=True, quality=50, method=4)


def load_picture(path: Path) -> "torch.Tensor":
    """[3, S, S] uint8."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
