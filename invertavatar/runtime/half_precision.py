"""Networks in half precision: islands of float32 in them, and how they are loaded and cast.

float16 ends at 65,504, and the parts of a network that come near it stay float32; bfloat16 needs none of that for its
range, but the same parts gain by float32's precision.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn as nn
from diffusers import ConfigMixin, ModelMixin
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


class Float32Island(nn.Module):
    """A module that stays float32 whatever half precision the network around it is cast to.

    This goes for `.to`, `.half` and all other ways of casting, whose common end is `_apply`.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def kept(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            return tensor.to(cast.device, torch.float32) if cast.dtype in HALVES else cast

        return super()._apply(kept, recurse)


class Network(ModelMixin, ConfigMixin):
    """A component of the pipeline with weights, some of which may lie in islands of float32.

    diffusers' own way, a list of names that `from_pretrained` leaves alone, is forgotten by `.to(torch.float16)`, takes
    a name wherever it stands in a path, and forbids `low_cpu_mem_usage=False`.
    """

    config: Any  # what `register_to_config` kept, by attribute as by key
    # Settings that came after models were published, with the values that change nothing: what was made by a model of
    # before is still that model's (`InvertAvatarPipeline.fingerprint`).
    later_settings: ClassVar[Mapping[str, Any]] = {}

    if TYPE_CHECKING:  # buffers, parameters and parts, of which torch says that each may be either

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> Self:
        """As in diffusers; `torch_dtype` is the older name of `dtype`."""
        network, dtype = super().from_pretrained(pretrained_model_name_or_path, **kwargs), dtype or torch_dtype
        return network if dtype is None else network.to(dtype)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves and casts as any module does."""
        nn.Module.to(self, *args, **kwargs)  # diffusers' own warns of what the islands see to themselves
        return self


def finite(values: Iterable) -> Tensor:
    """Whether all numbers in nested tuples, lists and tables of tensors are finite: [] bool on their device, for which
    nobody has to wait here.

    Args:
        values: What is no tensor in them counts as finite.
    """
    extremes = [extreme.float() for x in _floating(values) for extreme in x.aminmax()]
    return torch.stack(extremes).isfinite().all()  # an extreme is NaN where any number is


def all_finite(values: Iterable) -> bool:
    """The same, waiting for the device."""
    return bool(finite(values))


def _floating(values: Iterable) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            if value.is_floating_point() and value.numel():
                yield value
        elif isinstance(value, Mapping):
            yield from _floating(value.values())
        elif isinstance(value, (tuple, list)):
            yield from _floating(value)
