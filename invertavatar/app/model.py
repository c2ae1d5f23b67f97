"""The model, and what is asked of it where the GPU is: on ZeroGPU each function below runs in a worker.

A worker takes and gives what is on the CPU, and no attribute that it sets outlives it.

Shapes: T frames, S side of a picture, C channels.
"""

import copy
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

import invertavatar

from ..avatar import Avatar
from ..baking.baked_avatar import BakedAvatar
from ..head.head_model import HeadModel
from ..runtime.devices import best_device
from ..tracking.motion import Motion
from ..tracking.portrait import Portrait
from ..tracking.recorder import Recorder
from ..tracking.tracker import FaceTracker
from . import spaces

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

DEVICE = best_device()
ON_ZERO_GPU = spaces is not None
MOST_BAKED = 8  # at a time, some 20 MB each
MODEL_VARIABLE = "INVERTAVATAR_MODEL"  # names the model in the environment; without it the shipped one is taken


class Model(NamedTuple):
    """The pipeline, and on the CPU, where faces are tracked, what reads drivers and fits heads."""

    pipe: "InvertAvatarPipeline"
    recorder: Recorder


_loading, _loaded = threading.Lock(), []
_baking, _baked = threading.Lock(), WeakKeyDictionary()


def load() -> Model:
    """The model, loaded by whoever asks first."""
    with _loading:
        if not _loaded:
            pipe = invertavatar.InvertAvatarPipeline.from_pretrained(os.environ.get(MODEL_VARIABLE))
            pipe.set_progress_bar_config(disable=True)
            network = pipe.triplane_encoder.posture_network
            recorder = pipe.recorder._replace(
                head_model=copy.deepcopy(pipe.head_model), torso_pose=copy.deepcopy(network)
            )
            _loaded.append(Model(pipe.to(DEVICE), recorder))
    return _loaded[0]


def tracker() -> FaceTracker:
    """The face tracker, which works on the CPU."""
    return load().recorder.tracker


def finest() -> int:
    """Pixels at most of the photos that avatars keep."""
    return load().pipe.generator.config.detail_resolution


def head_model() -> HeadModel:
    """The head model on the CPU."""
    return load().recorder.head_model


def hand_back_memory() -> None:
    """What a job has freed goes back to the system; the allocator would keep it, apart for each of many threads."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None:
        trim(0)


def gpu(duration: int | Callable[..., int]) -> Callable:
    """Marks what wants a GPU, and for how many seconds at most; a callable computes them from the arguments."""
    return spaces.GPU(duration=duration) if spaces else lambda function: function


@gpu(lambda avatar, portraits: 10 + 4 * len(portraits))
def fuse(avatar: Avatar | None, portraits: list[Portrait]) -> Iterator[Avatar]:
    """The avatar after each further photo."""
    for portrait in portraits:
        fused: Avatar = load().pipe.add_portrait(avatar, portrait)
        yield fused.to("cpu")
        avatar = fused


@gpu(20)
def sample(seed: int, variety: float) -> Avatar:
    """`pipe.sample`."""
    return load().pipe.sample(seed, variety).to("cpu")


@gpu(30)
def pictures(avatar: Avatar, **options) -> tuple[np.ndarray, np.ndarray]:
    """`pipe.render`: uint8 [T, S, S, C], and depth [T, S, S]."""
    colours, depths = load().pipe.render(avatar, output_type="np", return_depth=True, **options)
    return (colours * 255).round().astype(np.uint8), depths


@gpu(lambda avatar, motion, **options: 20 + motion.num_frames // 8)
def frames(avatar: Avatar, motion: Motion, **options) -> Iterator[np.ndarray]:
    """`pipe.animate_stream`: uint8 [S, S, C], one at a time."""
    yield from load().pipe.animate_stream(avatar, motion=motion, **options)


@gpu(60)
def bake(avatar: Avatar) -> BakedAvatar:
    """`pipe.bake`."""
    return load().pipe.bake(avatar)


def baked(avatar: Avatar) -> BakedAvatar:
    """The baked avatar, made once for whoever asks first, and gone with the avatar."""
    with _baking:
        if avatar not in _baked:
            _baked[avatar] = bake(avatar)
            while len(_baked) > MOST_BAKED:
                _baked.pop(next(iter(_baked)), None)
        return _baked[avatar]


def baked_already(avatar: Avatar) -> BakedAvatar | None:
    """The same where it is there, without waiting."""
    return _baked.get(avatar)
