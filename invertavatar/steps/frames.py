"""Frames of an avatar, batch after batch: rendered, laid over a background, handed out one by one.

On a CPU batches are made ahead by threads; on a GPU their work is recorded, and a batch is begun before the one before
it is waited for.

Shapes: T frames, N photos, H W frame.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..avatar import Avatar
from ..head.head_model import HeadShape
from ..models.generator import CanonicalFeatures
from ..rendering.background import compose, shifted
from ..rendering.drive import Drive, drive, frames_at_a_time, known_torso_pose, standing
from ..rendering.framing import Framing
from ..rendering.source_views import crossfaded, num_blended, view_weights
from ..runtime.cuda_graphs import Pending
from ..runtime.fixed_sizes import FixedSizes
from ..runtime.half_precision import finite
from ..runtime.prefetch import prefetch, staggered, to_host, workers_for
from ..tracking.motion import Motion

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

StepEnd = tuple[Callable | None, Sequence[str]]
Awaited = Callable[[], Tensor]  # waits for what is on its way from the device


class Sight(NamedTuple):
    """How frames are seen."""

    view: Tensor  # [3, 3], or [T, 3, 3], by which all of the person is turned
    field_of_view: float | None  # degrees; None for the model's own
    zoom: float
    frame: Framing


def blend_of_photos(
    pipe: "InvertAvatarPipeline", avatar: Avatar, motion: Motion, frames: slice, view: Tensor, crossfade: float
) -> Tensor | None:
    """How much each photo counts in each of the chosen frames: [T, N]; None where an avatar has none.

    Args:
        pipe: For how near a photo has to be.
        avatar: On its device.
        motion: Of all frames, as photos change over in time.
        frames: Which of them are rendered.
        view: See `Sight`.
        crossfade: Seconds.
    """
    if avatar.views is None:
        return None
    alone = view.ndim == 3 and len(view) > 1  # each rendered frame has an angle of its own
    moved = motion[frames] if alone else motion
    seen = view.to(avatar.device) @ moved.rotation.to(avatar.device)
    blend = view_weights(avatar.views, seen, known_torso_pose(moved, avatar.device), pipe.generator.fusion)
    blend = crossfaded(blend, crossfade * float(motion.fps))
    return blend if alone else blend[frames]


@torch.no_grad()
def rendered_layers(
    pipe: "InvertAvatarPipeline",
    avatar: Avatar,
    motion: Motion,
    sight: Sight,
    batch_size: int | None = None,
    blend: Tensor | None = None,
    recorded: bool = True,
) -> Iterator[Sequence[Tensor]]:
    """What `InvertAvatarPipeline.render_frames` returns, cut out, batch after batch.

    Args:
        pipe: Renders them.
        avatar: On its device.
        motion: Of T frames.
        sight: How they are seen.
        batch_size: Frames at a time; as many as suit the device by default.
        blend: [T, N] from `blend_of_photos`.
        recorded: Whether a GPU's work may be recorded, as it may where no callback looks in.
    """
    frame, zoom = sight.frame, sight.zoom
    height = frame.side
    features = pipe.canonical_features(avatar, height)
    view, num_frames = sight.view.expand_as(motion.rotation), motion.num_frames
    whole = drive(motion, view, blend, avatar.device)
    camera = {"field_of_view": sight.field_of_view, "zoom": zoom / frame.extent}
    if frame.stands and whole.shifts is None:  # shoulders that the driver moves do not stand
        stay = standing(avatar.shape.joints, whole.head_to_torso, view, avatar.rest.rotation)
        whole = whole._replace(stay=frame.held(stay) * zoom)
    tile = pipe.generator.renderer.rays_per_tile
    default = frames_at_a_time(avatar.device, height) if tile is None else 1
    size = min(batch_size or default, num_frames)
    starts = range(0, num_frames, size)

    def layers(ws: Tensor, shape: HeadShape, features: CanonicalFeatures, clip: Drive) -> Sequence[Tensor]:
        person = replace(avatar, ws=ws, shape=shape)
        rendered = torch.cat(pipe.render_frames(person, features, clip, camera, height, frame), 1)
        if clip.shifts is not None:
            rendered = shifted(rendered, clip.shifts)
        return frame.cut(rendered).split([3, 1, 1], 1)

    late = recorded and pipe._recordings is not None
    room = (
        FixedSizes(photos=num_blended(blend, pipe.generator.reprojection.negligible))
        if late and blend is not None
        else FixedSizes()
    )
    key = ("frames", frame, tile, room.photos, *camera.values())
    render = pipe._recorded(layers, key, room, recorded)

    def begin(start: int) -> tuple[Pending, int]:
        # A recording is of whole batches.
        clip = whole.batch(start, size if late else min(size, num_frames - start))
        return render(avatar.ws, avatar.shape, features, clip), min(size, num_frames - start)

    def finish(begun: tuple[Pending, int]) -> list[Tensor]:
        pending, count = begun
        return [x[:count] for x in pending.result()]

    if late:
        batches = staggered(map(begin, starts), finish)
    else:
        batches = prefetch(lambda start: finish(begin(start)), starts, workers_for(avatar.device, len(starts)))
    try:
        with closing(batches):
            yield from pipe._with_progress(batches, len(starts), "Rendering")
    finally:  # also where a stream is left half-way
        pipe.maybe_free_model_hooks()


@torch.no_grad()
def composed_frames(
    pipe: "InvertAvatarPipeline",
    layers: Iterable[Sequence[Tensor]],
    behind: Tensor,
    output_type: str,
    callback: StepEnd,
) -> Iterator[np.ndarray | Tensor]:
    """Layers over a background, frame after frame, as `animate_stream` gives them.

    Args:
        pipe: For its callbacks, and for how its device is waited for.
        layers: From `rendered_layers`.
        behind: From `resolve_background`.
        output_type: "uint8" or "pt".
        callback: The user's function after each step, or None, and the names of what it is given.
    """
    steps, (function, _) = count(), callback

    def composed() -> Iterator[tuple[Tensor, Awaited]]:  # frames, and whether they are finite
        for rendered in layers:
            fine, (colour, opacity, _) = to_host(finite(rendered)), rendered
            frames = compose(colour, opacity, behind)
            if function is not None:
                pipe._refuse_overflow(fine())
                seen = [pipe._at_step_end(callback, next(steps), frames=x)["frames"] for x in frames.split(1)]
                frames = torch.cat([frame.to(frames) for frame in seen])
            yield frames, fine

    if output_type != "uint8":
        for frames, fine in composed():
            pipe._refuse_overflow(fine())
            yield from frames
        return

    def begin(batch: tuple[Tensor, Awaited]) -> tuple[Awaited, Awaited]:
        frames, fine = batch
        return to_host((frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous()), fine

    def finish(begun: tuple[Awaited, Awaited]) -> np.ndarray:
        pictures, fine = begun
        pipe._refuse_overflow(fine())
        return pictures().numpy().copy()  # what is pinned is not for keeping

    pictures = map(begin, composed())
    late = pipe._recordings is not None and function is None
    for frames in staggered(pictures, finish) if late else map(finish, pictures):
        yield from frames


def finished_pictures(
    pipe: "InvertAvatarPipeline", pictures: Iterable[np.ndarray], total: int, output_type: str, callback: StepEnd
) -> Iterator[np.ndarray | Tensor]:
    """Whole pictures [H, W, 3] uint8, of which there are `total`, as `animate_stream` gives them."""
    try:
        for step, picture in enumerate(pipe._with_progress(pictures, total, "Rendering")):
            if output_type == "uint8" and callback[0] is None:
                yield picture
                continue
            frame = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
            frame = pipe._at_step_end(callback, step, frames=frame)["frames"][0]
            as_bytes = (frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
            yield as_bytes.cpu().numpy() if output_type == "uint8" else frame
    finally:
        pipe.maybe_free_model_hooks()
