"""What `torch.cuda` offers for CUDA graphs, played on a CPU: operations are written down, and done again on replay.

As on a GPU, a replay knows nothing but the memory that was used while it was written down: a number that came from a
tensor's value would stay what it was. What cannot be captured there is refused here.
"""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that have the host wait for the device, or whose result is as large as its values say.
HOST = {
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "lift_fresh",
    "_linalg_check_errors",
    "linalg_eigh",
    "_pin_memory",
}
DEPENDENT = {"nonzero", "masked_select", "unique_consecutive", "_unique2", "unique_dim", "bincount"}


def refusal(function, args) -> str | None:
    """Why an operation cannot be captured; None where it can."""
    name = function.overloadpacket.__name__
    if name in HOST or function.name() == "aten::repeat_interleave.Tensor":
        return f"{name} is not permitted when a stream is capturing"
    masks = [x for x in tree_leaves(args[1:]) if isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)]
    if name in DEPENDENT or (name in ("index", "index_put", "index_put_") and masks):
        return f"the size of what {name} returns depends on values"
    return None


class Graph(TorchDispatchMode):
    """One recording."""

    def __init__(self):
        super().__init__()
        self.steps, self.replays = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if reason := refusal(function, args):
            raise RuntimeError(reason)
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        memory = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if function._schema.is_mutable or any(x.untyped_storage().data_ptr() not in memory for x in made):
            self.steps.append((function, args, kwargs, made))
        return out

    def replay(self):
        self.replays += 1
        for function, args, kwargs, made in self.steps:
            again = function(*args, **kwargs)
            for old, new in zip(made, (x for x in tree_leaves(again) if isinstance(x, Tensor)), strict=True):
                if old is not new:
                    old.copy_(new)


class StandIn:
    """To be given to `Recordings` as its `api`."""

    CUDAGraph = Graph

    def __init__(self):
        self.graphs = []

    @contextmanager
    def graph(self, graph, pool, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        self.graphs.append(graph)
        with graph:
            yield

    def Stream(self):
        return SimpleNamespace(wait_event=lambda event: None, wait_stream=lambda stream: None)

    def Event(self):
        return SimpleNamespace(record=lambda stream: None)

    current_stream = Stream

    def device(self, device):
        return nullcontext()

    def stream(self, stream):
        return nullcontext()

    def graph_pool_handle(self):
        return "pool"

    def is_current_stream_capturing(self):
        return False
