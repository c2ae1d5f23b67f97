"""Networks in and out of files: the pipeline folder that a user loads, and the state a run goes on from."""

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import diffusers
import torch
from torch import nn

from ..errors import InvertAvatarError
from ..head.head_model import HeadModel
from ..inversion import Networks
from ..models.generator import AvatarGenerator
from ..models.latent_encoder import LatentEncoder
from ..models.presets import build_networks
from ..models.texture_encoder import TextureEncoder
from ..models.triplane_encoder import TriplaneEncoder
from ..runtime.half_precision import Network
from ..tracking.tracker import FaceTracker

Part = TypeVar("Part", bound=Network)

MAX_FILE = "15MB"  # weights are carried to machines and repositories that take no larger files
STATE_FILE, BEST_FILE, STATE_FORMAT = "state.pt", "best.pt", 2


def save_pipeline(networks: Networks, folder: str | Path) -> None:
    """Write a folder that `InvertAvatarPipeline.from_pretrained` loads: half-precision weights, head model and tracker.

    The folder is written part by part instead of by the pipeline, which would import the video libraries that a
    training machine need not have.
    """
    folder = Path(folder)
    index: dict[str, str | list[str]] = {
        "_class_name": "InvertAvatarPipeline",
        "_diffusers_version": diffusers.__version__,
    }
    parts = _as_stored(networks)
    parts["generator"].register_to_config(weights_id=digest(parts.values()))
    for name, part in parts.items():
        part.save_pretrained(folder / name, max_shard_size=MAX_FILE)
        config = json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # a place on the machine that trained
        (folder / name / "config.json").write_text(
            json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )
        index[name] = ["invertavatar", type(part).__name__]
    FaceTracker.from_pretrained().save_pretrained(folder / "face_tracker")
    index["face_tracker"] = ["invertavatar", "FaceTracker"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def renew_weights_id(folder: str | Path) -> str:
    """Have a pipeline folder's generator name the weights that lie beside it, where another program wrote some of them.

    Returns:
        The new `weights_id`.
    """
    file = Path(folder) / "generator" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["weights_id"] = digest(_as_stored(load_networks(folder)).values())
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return config["weights_id"]


def _as_stored(networks: Networks) -> dict[str, Network]:
    parts = copy.deepcopy({name: part for name, part in networks._asdict().items() if name != "head_model"})
    for part in parts.values():
        for tensor in (*part.parameters(), *part.buffers()):
            if tensor.is_floating_point():  # islands of float32 too, which compute in it and need not be stored in it
                tensor.data = tensor.data.half()
    return {**parts, "head_model": networks.head_model}  # a head model sees to that itself


def digest(parts: Iterable[nn.Module]) -> str:
    """Twelve hexadecimal digits that change with any weight."""
    total = hashlib.sha256()
    for part in parts:
        for name, tensor in sorted(part.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:12]


def load_networks(folder: str | Path) -> Networks:
    """The networks of a pipeline folder, in float32 on the CPU; what an older folder lacks is untrained.

    Raises:
        InvertAvatarError: The folder holds no pipeline.
    """
    whole = Path(folder)
    try:
        return Networks(
            latent_encoder=_load(LatentEncoder, whole / "latent_encoder"),
            texture_encoder=_load(TextureEncoder, whole / "texture_encoder"),
            triplane_encoder=_load(TriplaneEncoder, whole / "triplane_encoder"),
            generator=_load(AvatarGenerator, whole / "generator"),
            head_model=_load(HeadModel, whole / "head_model"),
        )
    except (OSError, ValueError) as error:
        raise InvertAvatarError(
            f"{folder} is no folder of InvertAvatarPipeline; give one that training or save_pretrained wrote."
        ) from error


def _load(kind: type[Part], folder: Path) -> Part:
    """A component from its folder, in float32; diffusers leaves what a file lacks without values."""
    # A run that goes on writes into the folder that it was read from.
    loaded = kind.from_pretrained(folder, output_loading_info=True, disable_mmap=True)
    part, about = loaded  # pyright: ignore[reportGeneralTypeIssues]  a pair, of which diffusers' types know nothing
    if about["missing_keys"]:
        fresh = kind.from_config(part.config)
        fresh = fresh.state_dict()  # pyright: ignore[reportAttributeAccessIssue]  a pair only where one asks for it
        part.load_state_dict({name: fresh[name] for name in about["missing_keys"]}, strict=False, assign=True)
    return part.float()


def fresh_networks(preset: str | dict, head_model_folder: str | Path, seed: int = 0) -> Networks:
    """New networks of a preset with a head model that was built.

    Args:
        preset: See `build_networks`.
        head_model_folder: Folder of a saved `HeadModel`.
        seed: Of the initial weights.
    """
    torch.manual_seed(seed)
    return Networks(**build_networks(preset), head_model=HeadModel.from_pretrained(head_model_folder))


@torch.no_grad()
def blended(before: Networks, after: Networks, fraction: float, only: Sequence[str] | None = None) -> Networks:
    """The networks of `after`, whose weights are moved toward those of `before`, as far as these have them too.

    Args:
        before: Stay as they are.
        after: Are changed in place.
        fraction: 0..1 of `after`.
        only: Beginnings of the names of what is moved, such as "generator.compositor"; None for all.

    Raises:
        InvertAvatarError: Nothing has such a name.
    """
    parts = [(name, part) for name, part in after._asdict().items() if name != "head_model"]
    named = {f"{name}.{key}": (name, key, weight) for name, part in parts for key, weight in part.state_dict().items()}
    if unknown := [x for x in only or () if not any(name.startswith(x) for name in named)]:
        raise InvertAvatarError(f'No weight has a name that begins with "{unknown[0]}"; try generator.compositor.')
    other = {name: part.state_dict() for name, part in before._asdict().items()}
    for full, (name, key, weight) in named.items():
        own = other[name].get(key)
        if (only is None or full.startswith(tuple(only))) and own is not None and own.shape == weight.shape:
            weight.copy_(own.lerp(weight, fraction) if weight.is_floating_point() else weight)
    return after


def save_state(state: dict, folder: Path, file: str = STATE_FILE) -> None:
    """Write a run's state; a run that is killed meanwhile leaves the one before."""
    temporary = folder / f"{file}.partial"
    torch.save({"format": STATE_FORMAT, **state}, temporary)
    temporary.replace(folder / file)


def load_state(folder: Path, stage: str, file: str = STATE_FILE) -> dict:
    """Read a run's state.

    Args:
        folder: Output of the run that is to go on.
        stage: It must have been of this one.
        file: `STATE_FILE`, or `BEST_FILE` for its best checkpoint.

    Raises:
        InvertAvatarError: There is no state, or one of another stage.
    """
    path = folder / file
    if not path.is_file():
        raise InvertAvatarError(f"There is no run to resume in {folder}; leave --resume out to begin one.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["format"] != STATE_FORMAT:
        raise InvertAvatarError(
            f"The state in {folder} was written by another version of this program. To go on from its weights give "
            f"another --output and --init {folder / 'pipeline'}."
        )
    if state["stage"] != stage:
        raise InvertAvatarError(
            f"The run in {folder} was of stage {state['stage']}, not {stage}. To begin the next stage from its weights "
            f"give another --output and --init {folder / 'pipeline'}."
        )
    return state
