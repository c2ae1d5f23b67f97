"""A device beside the CPU, made of tensors on the CPU: its numbers are right, and mixing it with the CPU is an error.

It is a backend of torch by the name of "elsewhere" and keeps the rules of a real one: operands lie on one device (only
a number without dimensions may come from the CPU), a tensor leaves it by a copy and is no NumPy array, and, as on
Apple's GPUs, there is no float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Elsewhere(_DummyBackendModule):
    def get_rng_state(self, device=None) -> Tensor:
        return torch.get_rng_state()  # numbers are drawn on the CPU

    def set_rng_state(self, state: Tensor, device=None) -> None:
        torch.set_rng_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend("elsewhere", _Elsewhere())
ELSEWHERE = torch.device("elsewhere", 0)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Held(Tensor):
    """A tensor on that device; `numbers`, which nobody else sees, are on the CPU."""

    @staticmethod
    def __new__(cls, numbers: Tensor):
        if numbers.dtype == torch.float64:
            raise TypeError("This device has no float64.")
        place = {"strides": numbers.stride(), "storage_offset": numbers.storage_offset(), "dtype": numbers.dtype}
        tensor = Tensor._make_wrapper_subclass(cls, numbers.shape, **place, device=ELSEWHERE)
        tensor.numbers = numbers
        return tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        strays = [list(x.shape) for x in tensors if not isinstance(x, Held) and x.ndim]
        if strays and function not in COPIES:
            raise RuntimeError(f"{function}: all tensors must be on one device; on the CPU are some of shape {strays}.")
        there = torch.device(kwargs.get("device") or ELSEWHERE).type == ELSEWHERE.type
        args, kwargs = tree_map(lambda x: x.numbers if isinstance(x, Held) else x, (args, kwargs))
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        result = function(*args, **kwargs)
        given = {id(x.numbers if isinstance(x, Held) else x): x for x in tensors}  # changed in place it stays itself

        def wrapped(x):
            return given.get(id(x), Held(x) if there else x)

        return tree_map(lambda x: wrapped(x) if isinstance(x, Tensor) else x, result)

    def tolist(self):
        return self.numbers.tolist()

    def __repr__(self):
        return f"Held({self.numbers!r})"


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return Held(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return Held(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    here, there = (x.numbers if isinstance(x, Held) else x for x in (source, target))
    there.copy_(here)
    return target


_library = torch.library.Library("aten", "IMPL")  # all other ways to make a tensor there begin with these
_library.impl("_copy_from", _copy_from, "PrivateUse1")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")


@contextmanager
def networks_can_move() -> Iterator[None]:
    """While the block runs a network may be moved to the device: a parameter's data cannot change its class."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
