"""What a face tracker's folder holds: models, thresholds, the head for the pose; read, checked, fetched and written."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from ..errors import InvertAvatarError
from ..head.pose import TEMPLATE_FILE, PoseTemplate, read_template, write_template

DEFAULT_FOLDER = Path(__file__).parents[1] / "checkpoints" / "face_tracker"
CONFIG_FILE, NOTICE_FILE = "config.json", "NOTICE.txt"  # a name without an ending breaks diffusers' `variant`
HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "force_download", "token")


@dataclass(frozen=True)
class TrackerConfig:
    """What `config.json` of a tracker's folder holds."""

    landmarker: str = "face_landmarker.task"
    segmenter: str = "selfie_segmenter.tflite"
    sha256: dict[str, str] = field(default_factory=dict)  # file name -> hex digest
    max_faces: int = 8  # looked for in one picture
    min_face_detection_confidence: float = 0.5
    min_face_presence_confidence: float = 0.5
    # Mean distance of a face's close-ups from their mean, in head units. Faces come to 0.005, cut-off ones to 0.015,
    # and what is seen in an upside-down face to 0.01 and much more.
    sure_disagreement: float = 0.007
    max_disagreement: float = 0.03


class TrackerFiles(NamedTuple):
    """All of a folder."""

    config: TrackerConfig
    models: dict[str, bytes]  # file name -> content of the two that the config names
    template: PoseTemplate
    notice: str = ""  # licence of the models


def read_folder(name: str | Path, subfolder: str | None, options: dict) -> TrackerFiles:
    """A folder, here or on the Hub (`options` are diffusers'); errors are those of `FaceTracker.from_pretrained`."""
    folder = Path(name)
    if not folder.is_dir():
        folder = _downloaded(str(name), subfolder, {name: options[name] for name in HUB_OPTIONS if name in options})
    folder /= subfolder or ""
    try:
        config = TrackerConfig(**json.loads(_present(folder, CONFIG_FILE).read_text(encoding="utf-8")))
        models = {name: _present(folder, name).read_bytes() for name in (config.landmarker, config.segmenter)}
        template = read_template(_present(folder, TEMPLATE_FILE).parent)
        notice = _present(folder, NOTICE_FILE).read_text(encoding="utf-8")
    except InvertAvatarError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # no JSON, or a strange one
        raise InvertAvatarError(
            f"A description in the face tracker's folder {folder} is damaged. Restore it or download it again."
        ) from error
    return TrackerFiles(config, models, template, notice)


def write_folder(folder: Path, files: TrackerFiles) -> None:
    """Write what `read_folder` reads; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(files.config), indent=2) + "\n", encoding="utf-8")
    (folder / NOTICE_FILE).write_text(files.notice, encoding="utf-8")
    for name, content in files.models.items():
        (folder / name).write_bytes(content)
    write_template(folder, files.template.mean, files.template.rigid)


def check_models(config: TrackerConfig, models: dict[str, bytes]) -> None:
    """Refuse model files that are not those that the config names by their hashes.

    Raises:
        InvertAvatarError: One is not.
    """
    for name in (config.landmarker, config.segmenter):
        digest = hashlib.sha256(models[name]).hexdigest()
        if digest != config.sha256.get(name):
            raise InvertAvatarError(
                f"The face tracker's file {name} is damaged or not the expected one (SHA-256 {digest[:12]}…). "
                "Restore its folder from the package or download it again."
            )


def _downloaded(name: str, subfolder: str | None, options: dict) -> Path:
    """The cache's copy of a repository, as far as the tracker is in it."""
    files = [f"{subfolder}/*" if subfolder else "*"]
    try:
        return Path(snapshot_download(name, allow_patterns=files, **options))
    except (OSError, HFValidationError) as error:
        raise InvertAvatarError(
            f"There is no face tracker at {name}: no folder here has that name, and no repository that the Hub serves."
        ) from error


def _present(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InvertAvatarError(f"The face tracker's folder {folder} has no {name}. Restore it or download it again.")
    return folder / name
