"""A GPU's work recorded once and replayed: launching kernels one by one takes longer than most of them run.

A frame of 512 pixels is some 1,500 kernels, which a CUDA graph launches as one. A recording belongs to the shapes of
what the recorded function is given, to its arguments that are no tensors, and to where the weights lie. Tensors are
copied into its own memory, so that it serves every avatar. What is asked for once is computed in the ordinary way:
recording takes as long as some frames, and pays from the second time on.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from .fixed_sizes import FixedSizes, fixed_sizes
from .prefetch import to_host

logger = logging.getLogger(__name__)

MAX_GRAPHS = 8  # recordings at a time: avatars of one to four photos, and frames of a few sizes
REMEMBERED = 64  # calls that were asked for
WARM_UPS = 2  # libraries choose their kernels and take their memory in the first calls


class Pending:
    """A result that the device may still be working on.

    Args:
        value: What was computed or replayed.
        short: Boolean tensor [], true where the recording had too little room; None where it was none.
        again: Computes the value without one.
    """

    def __init__(self, value: Any, short: Tensor | None = None, again: Callable[[], Any] | None = None):
        self._value, self._again = value, again
        self._short = None if short is None else to_host(short)

    def result(self) -> Any:
        """The value; waits for the device only where it came from a recording."""
        if self._short is not None and self._again is not None and self._short().item():
            return self._again()
        return self._value


@dataclass
class Recording:
    """One recorded call."""

    graph: Any
    inputs: list[Any]  # leaves of the arguments: tensors of its own, which a replay reads
    loaded: list[Any]  # weak references to the tensors that were copied into them last
    outputs: list[Any]  # leaves of the result, which a replay overwrites
    layout: TreeSpec  # of the result
    short: Tensor | None
    done: Any  # event after the latest use


class Recordings:
    """The recordings of one pipeline; the least recently used goes first.

    Args:
        limit: How many there are at most.
        api: `torch.cuda`; tests give a stand-in.
    """

    def __init__(self, limit: int = MAX_GRAPHS, api: Any = torch.cuda):
        self.limit, self.api = limit, api
        self._kept: OrderedDict[Hashable, Recording] = OrderedDict()
        self._asked: OrderedDict[Hashable, FixedSizes | None] = OrderedDict()  # None: it cannot be recorded
        self._weights: Hashable = None
        self._pool = None  # of memory that all share, as none is replayed before the last one's result was copied
        self._complained = False
        self._lock = threading.RLock()

    def __reduce__(self):
        return Recordings, (self.limit,)  # a graph stays in its process

    def __len__(self) -> int:
        return len(self._kept)

    def bound(
        self, function: Callable, modules: Iterable[nn.Module], key: Hashable, sizes: FixedSizes
    ) -> Callable[..., Pending]:
        """`function` with its recordings.

        Args:
            function: Takes and returns trees of tensors and plain values; decides nothing by a tensor's values, and
                reads nothing that changes but its arguments, the weights and what `key` names.
            modules: Whose weights it reads, the same for all functions: recordings do not survive other weights.
            key: All else that decides over its result.
            sizes: To begin with; doubled where they do not do.

        Returns:
            A function of the same arguments.
        """
        tensors = (x for module in modules for x in (*module.parameters(), *module.buffers()))
        weights = tuple((x.data_ptr(), x.dtype) for x in tensors)
        with self._lock:
            if weights != self._weights:
                self.clear()
                self._weights = weights

        def call(*arguments: Any) -> Pending:
            leaves, _ = tree_flatten(arguments)
            shapes = tuple((*x.shape, x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves)
            return self._call(function, (key, shapes), sizes, arguments, leaves)

        return call

    def clear(self) -> None:
        """Give all memory back."""
        with self._lock:
            self._kept.clear()
            self._asked.clear()
            self._pool = self._weights = None

    def _call(self, function: Callable, key: Hashable, sizes: FixedSizes, arguments: tuple, leaves: list) -> Pending:
        device = next(x.device for x in leaves if isinstance(x, Tensor))
        with self._lock, self.api.device(device):
            recorded = self._recording(function, key, sizes, arguments)
            if recorded is not None:
                recording, room = recorded
                value, short = self._replayed(recording, leaves)
        if recorded is None:
            return Pending(function(*arguments))

        def again() -> Any:
            with self._lock:
                if self._asked.get(key) is room:  # else another thread has made room already
                    self._asked[key] = room.doubled()
                    self._kept.pop(key, None)
            return function(*arguments)

        return Pending(value, short, again)

    def _recording(
        self, function: Callable, key: Hashable, sizes: FixedSizes, arguments: tuple
    ) -> tuple[Recording, FixedSizes] | None:
        """The call's recording and its room, made where it is asked for again; None where it shall be computed."""
        known = key in self._asked
        room = self._asked.setdefault(key, sizes)
        self._asked.move_to_end(key)
        if len(self._asked) > REMEMBERED:
            self._kept.pop(self._asked.popitem(last=False)[0], None)
        # Autocast keeps cast weights of its own, which a graph would not know to be stale.
        ordinary = torch.is_autocast_enabled("cuda") or self.api.is_current_stream_capturing()
        if not known or room is None or ordinary:
            return None
        if key not in self._kept:
            while len(self._kept) >= self.limit:
                self._kept.popitem(last=False)
            try:
                self._kept[key] = self._recorded(function, arguments, room)
            except Exception as error:  # whatever a driver or a library refuses: the ordinary way stays
                self._asked[key] = None
                if not self._complained:
                    self._complained = True
                    reason = str(error).strip().split("\n")[0]
                    logger.warning("A frame cannot be recorded here (%s); each is computed anew, more slowly.", reason)
                return None
        self._kept.move_to_end(key)
        return self._kept[key], room

    # Neither what is copied into nor what comes out may be a tensor of inference mode, which others could not change.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _recorded(self, function: Callable, arguments: tuple, room: FixedSizes) -> Recording:
        leaves, layout = tree_flatten(arguments)
        inputs = [x.clone() if isinstance(x, Tensor) else x for x in leaves]
        arguments, api = tree_unflatten(inputs, layout), self.api
        beside = api.Stream()
        beside.wait_stream(api.current_stream())
        with api.stream(beside), fixed_sizes(room.emptied()):
            for _ in range(WARM_UPS):
                function(*arguments)
        api.current_stream().wait_stream(beside)
        if self._pool is None:
            self._pool = api.graph_pool_handle()
        graph = api.CUDAGraph()
        # In another thread's way only where it must be: an app may be building an avatar meanwhile.
        capture = api.graph(graph, pool=self._pool, capture_error_mode="thread_local")
        with capture, fixed_sizes(room.emptied()) as sizes:
            outputs, layout = tree_flatten(function(*arguments))
            short = sizes.short()
        return Recording(graph, inputs, [None] * len(inputs), outputs, layout, short, api.Event())

    @torch.no_grad()
    def _replayed(self, recording: Recording, leaves: list) -> tuple[Any, Tensor | None]:
        stream = self.api.current_stream()
        stream.wait_event(recording.done)
        for k, (own, given) in enumerate(zip(recording.inputs, leaves, strict=True)):
            # What all frames of an avatar share comes as the same tensors again and again.
            if isinstance(own, Tensor) and (recording.loaded[k] is None or recording.loaded[k]() is not given):
                own.copy_(given, non_blocking=True)
                recording.loaded[k] = ref(given)
        recording.graph.replay()
        outputs = [x.clone() if isinstance(x, Tensor) else x for x in recording.outputs]
        short = None if recording.short is None else recording.short.clone()
        recording.done.record(stream)
        return tree_unflatten(outputs, recording.layout), short
