"""How the pipeline is loaded: from safetensors only, with a sentence for each file that is not what it should be."""

from pathlib import Path
from typing import Self

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_loading_utils import ALL_IMPORTABLE_CLASSES, LOADABLE_CLASSES
from safetensors import SafetensorError

import invertavatar
from invertavatar.errors import InvertAvatarError
from invertavatar.runtime.devices import best_device

# With these entries `model_index.json` names each component ["invertavatar", class], which diffusers then finds from
# the Hub too, and the tracker, which is no ModelMixin, is saved and loaded like the networks.
LOADABLE_CLASSES["invertavatar"] = {"FaceTracker": ["save_pretrained", "from_pretrained"]}
ALL_IMPORTABLE_CLASSES.update(LOADABLE_CLASSES["invertavatar"])

DEFAULT_CHECKPOINT = Path(invertavatar.__file__).parent / "checkpoints"

# What diffusers lets through where the JSON or the weights of a model are not what they should be.
DAMAGE = (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, SafetensorError)


class LoadedPipeline(DiffusionPipeline):
    """A pipeline of diffusers whose errors at loading are sentences."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, **kwargs) -> Self:
        """As in diffusers, from safetensors only; without a name it loads the weights shipped with the package.

        Raises:
            OSError, ValueError: As diffusers raises them.
            InvertAvatarError: A file of the model holds something else than it should, or pickled weights are wanted.
        """
        folder = pretrained_model_name_or_path or DEFAULT_CHECKPOINT
        if kwargs.pop("use_safetensors", None) is False:
            raise InvertAvatarError(
                f"The model {folder} is read from safetensors only, as other weight files may run code: leave "
                "use_safetensors=False out."
            )
        if kwargs.get("device_map") == "balanced":
            kwargs["device_map"] = best_device()
        try:
            pipe = super().from_pretrained(folder, use_safetensors=True, **kwargs)
        except DAMAGE as error:
            reason = str(error).strip().split("\n")[0]
            raise InvertAvatarError(
                f"The model {folder} cannot be loaded ({reason}): one of its files is damaged or of another version. "
                "Download it again."
            ) from error
        for name, part in pipe.components.items():
            # What a file lacks diffusers leaves without memory, and says so in a log only.
            if isinstance(part, torch.nn.Module) and any(p.is_meta for p in part.parameters()):
                raise InvertAvatarError(
                    f"The model {folder} is of another version: its {name} lacks weights that this version needs. "
                    "Take the weights that belong to it, or train on from them (docs/training.md)."
                )
        return pipe
