"""How many operations a frame and a photo are, and how much memory they read and write.

On a GPU an operation is a kernel or some; launched one by one they cost about 10 microseconds each, whatever they do.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from invertavatar import Avatar, InvertAvatarPipeline, Motion
    from invertavatar.tracking.portrait import Portrait

PLACES = 8  # functions that are named, those with the most operations


class Count(TorchDispatchMode):
    """Counts what is computed within; views of what is there are nothing."""

    def __init__(self):
        super().__init__()
        self.places, self.bytes = Counter(), 0

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        out = function(*args, **(kwargs or {}))
        given, made = ([x for x in tree_leaves(y) if isinstance(x, torch.Tensor)] for y in ((args, kwargs), out))
        there = {x.untyped_storage().data_ptr() for x in given}
        if function._schema.is_mutable or any(x.untyped_storage().data_ptr() not in there for x in made):
            self.places[place()] += 1
            self.bytes += sum(min(x.nbytes, x.untyped_storage().nbytes()) for x in (*given, *made))
        return out


def place() -> str:
    """The function of the library that is at work."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if "invertavatar" in path.parent.parts:
            return f"{path.name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def counted(function: Callable) -> dict:
    """The `operations` of a call, the `megabytes` they move, and the `places` with the most."""
    with Count() as count:
        function()
    return {
        "operations": count.places.total(),
        "megabytes": count.bytes / 1e6,
        "places": dict(count.places.most_common(PLACES)),
    }


def counts(
    pipe: "InvertAvatarPipeline", avatar: "Avatar", motion: "Motion", portrait: "Portrait", sizes: tuple[int, ...]
) -> Iterator[dict]:
    """Lines of `counted` with their `what`: a frame of each size, and one more photo, as a GPU would compute them."""
    from invertavatar.pipelines.pipeline_invertavatar import OWN_CAMERA
    from invertavatar.rendering.drive import drive
    from invertavatar.runtime.fixed_sizes import FixedSizes, fixed_sizes

    clip = drive(motion[:1], torch.eye(3), None, avatar.device)
    with torch.no_grad(), fixed_sizes(FixedSizes()):
        for size in sizes:
            frame = partial(pipe.render_frames, avatar, pipe.canonical_features(avatar, size), clip, OWN_CAMERA, size)
            yield {"what": f"frame of {size} px", **counted(frame)}
        yield {"what": "photo", **counted(partial(pipe.add_portrait, avatar, portrait))}
