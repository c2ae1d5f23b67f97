"""What `benchmark.py` measures, in a process of its own: the library that is imported there, whichever tree it is of.

Of the library only what has long been public is used, so that older revisions can be measured too.
"""

import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from invertavatar.scripts import stored
from invertavatar.scripts.console import TERMINATED, load_pipeline

if TYPE_CHECKING:
    import torch

    from invertavatar import Avatar, BakedAvatar, InvertAvatarPipeline

EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"
PHOTOS = tuple(str(EXAMPLES / f"anna_{k}.jpg") for k in range(1, 5))
CLIP = EXAMPLES / "talk_a.mp4"
CLIP_FPS, CLIP_SECONDS = 25, 10
WINDOW = 4  # batches


@dataclass(frozen=True)
class Plan:
    """How much is measured. The defaults are those of the program."""

    device: str = "auto"
    model: str | None = None
    starts: int = 3  # fresh processes that import, load or serve the app
    repeats: int = 3  # of what takes seconds: a photo, an avatar, a clip
    frames: int = 24  # rendered or tracked one after the other, each a measurement
    clip_frames: int = CLIP_FPS * CLIP_SECONDS
    photos: tuple[int, ...] = (1, 4, 16)
    sizes: tuple[int, ...] = (256, 512)  # the first has keys without a suffix
    batches: tuple[int, ...] | None = None  # that may be the best; those of the device by default
    rounds: int = 2  # of a comparison: A B A B
    stored: bool = False  # photos and motion are `invertavatar.scripts.stored`: nothing is tracked, read or written
    half: bool = True  # measured in half precision too, where the device multiplies it


QUICK = Plan(starts=1, repeats=1, frames=6, clip_frames=12, batches=(1, 2))
BATCHES = {"cpu": (1, 2, 4, 8), "cuda": (1, 4, 16, 64), "mps": (1, 4, 16)}


def suffix(plan: Plan, size: int) -> str:
    """What the keys of a size end in."""
    return "" if size == plan.sizes[0] else f"_{size}"


def answer(request: str) -> None:
    """Measure the library that is imported here and print a line of JSON for each row, as soon as it is known.

    Args:
        request: JSON of a `plan`, a `dtype`, and what is wanted: "rows", only the "start" of them, to "store" or to
            "compare" (see `invertavatar.scripts.stored`), or the "operations" (see `invertavatar.scripts.operations`).
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an exit leaves no temporary files
    request = json.loads(request)
    plan = Plan(**request["plan"])

    def tell(**line) -> None:
        print(json.dumps(line), flush=True)

    stored.do_without(stored.absent())
    started = time.perf_counter()
    from invertavatar import InvertAvatarPipeline  # noqa: F401

    imported = time.perf_counter()
    pipe = load_pipeline(plan.model, plan.device, quiet=True)
    tell(key="import_s", samples=[imported - started])
    tell(key="load_s", samples=[time.perf_counter() - imported])
    wanted = request["wanted"]
    if wanted == "start":
        return
    tell(about=about(pipe.device))
    if wanted == "store":
        stored.store(pipe, PHOTOS, str(CLIP))
        return
    if wanted == "compare":
        for line in stored.compare(in_dtype(pipe, request["dtype"])):
            tell(**line)
        return
    if wanted == "operations":
        from invertavatar.scripts.operations import counts

        photos = stored.portraits()
        for line in counts(pipe, stored.avatar_of(pipe, photos), stored.motion(), photos[1], plan.sizes):
            tell(**line)
        return
    for key, samples in Measures(pipe, plan, request["dtype"]).rows():
        tell(key=key, samples=samples)


def in_dtype(pipe: "InvertAvatarPipeline", dtype: str) -> "InvertAvatarPipeline":
    """The pipeline with its networks in "float32", "bfloat16" or "float16"."""
    import torch

    return pipe.to(getattr(torch, dtype))


class Measures:
    """The rows of one pipeline; making it also warms it up.

    Args:
        pipe: On its device.
        plan: How much is measured.
        dtype: Of the networks: "float32", "bfloat16" or "float16".
    """

    def __init__(self, pipe: "InvertAvatarPipeline", plan: Plan, dtype: str):
        from invertavatar import Motion

        self.pipe, self.plan, self.portraits = in_dtype(pipe, dtype), plan, stored.portraits()
        # The first photos and frames load the tracker and compile kernels.
        if plan.stored:
            motion = stored.motion()
            self.motion = Motion.concatenate([motion] * -(-plan.frames // motion.num_frames))[: plan.frames]
            self.avatar = self.from_tracked()
        else:
            self.avatar = pipe.reconstruct(PHOTOS[:2])
            self.motion = pipe.track(str(CLIP), max_frames=plan.frames)
        self.first = {size: self.seconds(lambda size=size: self.first_frames(size), 1) for size in plan.sizes}

    def rows(self) -> Iterator[tuple[str, list[float]]]:
        """Key and values of one row after the other."""
        if not self.plan.stored:
            yield from self.from_pictures()
        self.from_tracked()  # twice what a GPU records the second time
        yield "tracked_4_s", self.seconds(self.from_tracked, self.plan.repeats)
        yield from self.frames()

    def from_pictures(self) -> Iterator[tuple[str, list[float]]]:
        """What is tracked."""
        from invertavatar.media import load_image

        pipe, plan, prepare_portrait = self.pipe, self.plan, stored.portrait_module().prepare_portrait
        tracker = pipe.face_tracker
        yield "track_photo_s", self.seconds(lambda: prepare_portrait(load_image(PHOTOS[0]), tracker), 3 * plan.repeats)
        for count in plan.photos:
            photos = list(islice(cycle(PHOTOS), count))
            yield f"reconstruct_{count}_s", self.seconds(lambda photos=photos: pipe.reconstruct(photos), plan.repeats)
        tracking = self.seconds(lambda: pipe.track(str(CLIP), max_frames=plan.frames), plan.repeats)
        yield "track_frame_ms", [1000 * x / plan.frames for x in tracking]

    def frames(self) -> Iterator[tuple[str, list[float]]]:
        """What is rendered."""
        import torch

        pipe, plan = self.pipe, self.plan
        alone = {size: self.frame_times(size, 1) for size in plan.sizes}
        head = pipe.bake(self.avatar) if hasattr(pipe, "bake") and not plan.stored else None
        with tempfile.TemporaryDirectory(prefix="invertavatar-") as folder:
            clip = Path(folder) / "clip.mp4"
            if not plan.stored:
                self.write_clip(clip)
            for size in plan.sizes:
                yield f"first_frames_s{suffix(plan, size)}", self.first[size]
                yield f"frame_ms{suffix(plan, size)}", alone[size]
                if plan.stored:
                    continue
                if head is not None:
                    times = self.seconds(lambda size=size: list(head.render(self.motion, size)), plan.repeats)
                    yield f"baked_frame_ms{suffix(plan, size)}", [1000 * x / self.motion.num_frames for x in times]
                    if pipe.device.type == "cpu":
                        yield f"baked_cheaper{suffix(plan, size)}", self.times_cheaper(head, size)
                times = self.seconds(lambda size=size: self.animate_clip(clip, size), plan.repeats)
                rates = [plan.clip_frames / x for x in times]
                yield f"end_to_end_fps{suffix(plan, size)}", rates
                yield f"end_to_end_s{suffix(plan, size)}", [CLIP_SECONDS * CLIP_FPS / rate for rate in rates]

        yield "peak_rss_gib", [peak_memory() / 2**30]
        if pipe.device.type == "cuda":
            yield "peak_gpu_gib", [torch.cuda.max_memory_allocated() / 2**30]

        batches = [batch for batch in plan.batches or BATCHES[pipe.device.type] if batch > 1]
        for size in plan.sizes:
            times = {1: alone[size]} | {batch: self.frame_times(size, batch) for batch in batches}
            best = min(times, key=lambda batch, times=times: median(times[batch]))
            yield f"frame_ms_best_batch{suffix(plan, size)}", times[best]
            yield f"best_batch{suffix(plan, size)}", [best]
            yield f"fps{suffix(plan, size)}", [1000 / x for x in alone[size]]
            yield f"fps_best_batch{suffix(plan, size)}", [1000 / x for x in times[best]]

    def from_tracked(self) -> "Avatar":
        """An avatar of the stored photos."""
        return stored.avatar_of(self.pipe, self.portraits)

    def first_frames(self, size: int) -> None:
        """Three frames of a size of which there was none yet, one by one: a GPU computes, records and replays it."""
        for _ in self.pipe.animate_stream(self.avatar, motion=self.motion[:3], height=size, batch_size=1):
            pass

    def seconds(self, function: Callable, times: int) -> list[float]:
        """How long a function takes, several times, until the device has finished too."""
        import torch

        found = []
        for _ in range(times):
            started = time.perf_counter()
            function()
            if self.pipe.device.type != "cpu":
                torch.accelerator.synchronize()
            found.append(time.perf_counter() - started)
        return found

    def times_cheaper(self, head: "BakedAvatar", size: int) -> list[float]:
        """Time on cores of a full frame over that of a baked one, measured in turns: what else runs slows down both."""
        found = []
        for _ in range(self.plan.repeats):
            spent = []
            for frames in (
                self.pipe.animate_stream(self.avatar, motion=self.motion, height=size),
                head.render(self.motion, size),
            ):
                started = time.process_time()
                for _ in frames:
                    pass
                spent.append(time.process_time() - started)
            found.append(spent[0] / spent[1])
        return found

    def frame_times(self, size: int, batch: int) -> list[float]:
        """Milliseconds of a frame, each a mean over `WINDOW` batches of a running stream.

        A stream may render on several threads ahead of the one who asks: then frames come in bursts, and the first ones
        and the last ones of a stream are no measure of the others.
        """
        from invertavatar import Motion

        num_windows = max(2, -(-self.plan.frames // (WINDOW * batch)))
        motion = Motion.concatenate([self.motion] * -(-(num_windows + 3) * WINDOW * batch // self.plan.frames))
        stream = self.pipe.animate_stream(self.avatar, motion=motion, height=size, batch_size=batch)
        times = self.seconds(lambda: [next(stream) for _ in range(WINDOW * batch)], 1 + num_windows)
        stream.close()
        return [1000 * x / (WINDOW * batch) for x in times[1:]]

    def write_clip(self, path: Path) -> None:
        """The example clip over and over, with its sound."""
        from invertavatar.media import VideoReader, VideoWriter

        with VideoReader(CLIP) as video:
            pictures = list(islice(video, self.plan.clip_frames))
        with VideoWriter(path, CLIP_FPS, audio_from=CLIP, quality="draft") as writer:
            for picture in islice(cycle(pictures), self.plan.clip_frames):
                writer.write(picture)

    def animate_clip(self, clip: Path, size: int) -> None:
        """From video to video, as a user does it."""
        from invertavatar.media import VideoWriter

        with VideoWriter(clip.with_name("out.mp4"), CLIP_FPS, audio_from=clip) as writer:
            for frame in self.pipe.animate_stream(self.avatar, driving_video=str(clip), height=size):
                writer.write(frame)


def about(device: "torch.device") -> dict:
    """What a reader of the numbers has to know, and which half-precision types are worth measuring on this device."""
    import torch

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    half = []
    if device.type == "cuda":
        half = ["bfloat16"] * torch.cuda.is_bf16_supported(including_emulation=False) + ["float16"]
    elif {"amx_bf16", "avx512_bf16"} & set(facts.get("flags", "").split()):
        half = ["bfloat16"]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "half_precision": half,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
