"""A moving head in its own photo, or in each frame of its own video.

Shapes: T frames, N photos, S side of a rendered square, f side of a map of places, V vertices of the head model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..avatar import Avatar
from ..camera import Camera, pixel_centres
from ..errors import InvertAvatarError
from ..head.arkit import ARKIT_REGIONS
from ..head.driven_head import DrivenHead, driven_head, worn
from ..inversion import Networks, of_one_skull, render_frame
from ..media import VideoReader, kind_of, load_image
from ..media.images import ImageSource
from ..models.generator import CanonicalFeatures
from ..raster.rasterizer import interpolate
from ..rendering.drive import drive, standing
from ..rendering.outline import Outline, outline_of
from ..rendering.plate import Layer, Plate, plate_of
from ..rendering.reprojection import Sources, filled, looked_closer, sources
from ..rendering.source_views import SourceViews, side_by_side, view_weights
from ..rendering.surface import GROUPS, bare_surface, vertex_groups
from ..rendering.uv import extend_border
from ..tracking.crop import Crop
from ..tracking.motion import Motion
from ..tracking.portrait import feathered, portrait_of
from ..tracking.retargeting import driven_axes, retarget
from ..tracking.rotations import as_rotations
from ..tracking.tracker import Track

if TYPE_CHECKING:
    from ..pipelines.pipeline_invertavatar import InvertAvatarPipeline


class Scene(NamedTuple):
    """What heads are put into: a photo, or a video."""

    frames: np.ndarray | VideoReader
    tracks: list[Track | None]  # one of a photo; None where a frame of a video shows no face
    own: Motion  # the person's motion in it, residuals with those of their neutral face
    fps: Fraction | None  # of a video


class Sitter(NamedTuple):
    """What a head is posed by in its own picture."""

    off: Tensor  # [V] see `HeadModel.stand_off`
    blend: Tensor  # [1, N]
    room: float
    outline: Outline | None = None  # once it is known


class Own(NamedTuple):
    """A picture ready to have its head replaced."""

    plate: Plate
    features: CanonicalFeatures
    sitter: Sitter
    size: int  # S
    places: Sources  # of the head at rest: where each place of it is seen
    seen: Tensor  # [1, 1, f, f] how well each pixel sees what it sees at rest


def check_into(pipe: "InvertAvatarPipeline") -> None:
    """One sentence where a pipeline cannot put heads back."""
    if not pipe.generator.config.surface_rendering:
        raise InvertAvatarError("Only a model with surface_rendering can put a head back into its photo.")


def read_scene(pipe: "InvertAvatarPipeline", avatar: Avatar, into: ImageSource, face_index: int) -> Scene:
    """Track what heads are put into: a photo, a video's path."""
    recorder, longest = pipe.recorder, pipe.generator.paste.longest
    if isinstance(into, (str, Path)) and kind_of(into) in ("video", "animation"):
        name = Path(into).name
        with VideoReader(into) as video:
            tracks = recorder.detect_video((reduced(x, longest) for x in video), float(video.fps), face_index, name)
            tracks = list(pipe._with_progress(tracks, video.num_frames, "Reading"))
        if not any(tracks):
            raise InvertAvatarError(f"No face found in any frame of {name}. Give a video of the person.")
        return Scene(VideoReader(into), tracks, own_motion(pipe, avatar, tracks, video.fps), video.fps)
    picture = reduced(load_image(into), longest)
    name = Path(into).name if isinstance(into, (str, Path)) else "the photo to put the head into"
    track = recorder.detect(picture, name, face_index)
    return Scene(picture, [track], own_motion(pipe, avatar, [track], 25), None)


def own_motion(
    pipe: "InvertAvatarPipeline", avatar: Avatar, tracks: Sequence[Track | None], fps: Fraction | float
) -> Motion:
    """How the person holds their head in pictures; the last pose is held where there is no face."""
    head_model, device = pipe.head_model, avatar.device
    rows, last = [], next(track for track in tracks if track is not None)
    for track in tracks:
        last = track or last
        vertices, rotation, expression = (
            torch.from_numpy(x).to(device)[None] for x in (last.vertices, last.rotation, last.expression)
        )
        landmarks = head_model.unbiased(vertices, rotation)
        residual = head_model.residual(landmarks, avatar.shape.landmarks, expression)
        rows.append((last.rotation, last.expression, residual[0].cpu().numpy(), last.torso_pose))
    rotation, expression, residual, torso_pose = zip(*rows, strict=True)
    return Motion(
        rotation=np.stack(rotation),
        expression=np.stack(expression),
        residual=np.stack(residual),
        residual_region=head_model.residual_region,
        torso_pose=None if torso_pose[0] is None else np.stack(torso_pose),
        found=np.array([track is not None for track in tracks]),
        fps=fps,
    )


def driven_motion(
    driver: Motion,
    scene: Scene,
    region: str,
    relative_motion: bool = True,
    motion_scale: float = 1.0,
    smooth: float = 0.0,
) -> Motion:
    """The motion of the head in the scene; for the further arguments see `retarget`.

    In a photo the driver's departure from neutral joins the face in the photo. In a video it takes the place of the
    video's own departure from neutral in what is driven, all else is the video's; a driven pose joins the video's own.
    """
    own = scene.own
    onto = partial(
        retarget, animation_region=region, relative_motion=relative_motion, motion_scale=motion_scale, smooth=smooth
    )
    if scene.fps is None:
        return onto(driver, own)
    driver = driver if driver.num_frames == 1 else driver.resampled(scene.fps)
    count = own.num_frames if driver.num_frames == 1 else min(own.num_frames, driver.num_frames)
    own, neutral = own[:count], own.neutral
    neutral = replace(neutral, residual=own.residual[own.found].median(0, keepdim=True).values)
    moved = onto(driver, neutral)
    if moved.num_frames == 1:
        moved = Motion.concatenate([moved] * count)
    moved = moved[:count]
    rotation = as_rotations(moved.rotation) * as_rotations(neutral.rotation).inv() * as_rotations(own.rotation)
    return replace(
        own,
        rotation=rotation.as_matrix() if region in ("all", "pose") else own.rotation,
        expression=torch.where(driven_axes(ARKIT_REGIONS, region), moved.expression, own.expression),
        residual=torch.where(driven_axes(own.residual_region, region), moved.residual, own.residual),
    )


@torch.no_grad()
def pasted_frames(
    pipe: "InvertAvatarPipeline", avatar: Avatar, scene: Scene, motion: Motion, frames: slice
) -> Iterator[np.ndarray]:
    """Frame after frame: [H, W, 3] uint8.

    Args:
        pipe: With `surface_rendering`.
        avatar: Of the person, on the pipeline's device.
        scene: From `read_scene`.
        motion: From `driven_motion`.
        frames: Which of them.
    """
    numbers = range(motion.num_frames)[frames]
    features = pipe.canonical_features(avatar, pipe.generator.paste.largest)
    if isinstance(scene.frames, np.ndarray):
        track = next(track for track in scene.tracks if track is not None)
        own = prepare(pipe, avatar, features, scene.frames, track, scene.own)
        for number in numbers:
            yield own.plate.pasted(rendered(pipe, avatar, own, motion[number], scene.own))
        return
    longest = pipe.generator.paste.longest
    with scene.frames as video:
        for number, picture in enumerate(islice(video, numbers.stop if numbers.step > 0 else None)):
            if number not in numbers:
                continue
            picture, track, rest = reduced(picture, longest), scene.tracks[number], scene.own[number]
            if track is None:
                yield picture
                continue
            own = prepare(pipe, avatar, features, picture, track, rest)
            yield own.plate.pasted(rendered(pipe, avatar, own, motion[number], rest))


@torch.no_grad()
def prepare(
    pipe: "InvertAvatarPipeline",
    avatar: Avatar,
    features: CanonicalFeatures,
    picture: np.ndarray,
    track: Track,
    rest: Motion,
) -> Own:
    """A picture becomes the first of the avatar's photos, and what stays of it is taken apart."""
    networks, settings = pipe._networks(), pipe.generator.paste
    head_model, reprojection = networks.head_model, networks.generator.reprojection
    size = int(min(max(2 * settings.room * track.scale, networks.generator.config.image_resolution), settings.largest))
    tracker = pipe._tracker()
    alone = pipe.add_portrait(None, portrait_of(picture, track, tracker, "the picture"))
    alone = replace(alone, views=of_one_skull(head_model, alone.views, avatar.shape.vertices))
    views = alone.views if avatar.views is None else side_by_side(alone.views, avatar.views)
    rotation, torso_pose = rest.rotation.to(avatar.device), rest.torso_pose.to(avatar.device)
    blend = view_weights(views, rotation, torso_pose if torso_pose.shape[1] else None, networks.generator.fusion)
    blend = torch.cat([torch.ones_like(blend[:, :1]), settings.others * blend[:, 1:]], 1)
    fine = alone.views if features.sources is None else features.sources
    crop = tracker.crop(picture, replace(track, scale=track.scale * settings.room), fine.picture.shape[-1])
    plate = plate_of(picture, track.centre, float(track.scale), crop.matte, settings)
    sitter = Sitter(head_model.stand_off(avatar.displacement), blend, settings.room)
    side = min(size, settings.places)
    head, camera = _posed(pipe, avatar, sitter, rest, rest)
    mask = bare_surface(head_model, head, camera, side).mask
    outline = outline_of(head_model, mask[0, 0], crop, rotation[0], settings)
    sitter = sitter._replace(outline=outline)
    photos = _with_surroundings(networks, crop, alone.views, sitter.off, avatar.shape.joints, outline, settings.room)
    fill = features.fill
    if features.sources is None:
        fill = filled(head_model, photos, alone.views.weight, reprojection)
    else:
        photos = Sources(*(torch.cat(pair, 1) for pair in zip(photos, features.sources, strict=True)))
    features = features._replace(views=views, sources=photos, fill=fill)
    head, camera = _posed(pipe, avatar, sitter, rest, rest)
    everywhere = torch.ones(1, 1, 5, side, side, device=avatar.device)
    places = sources(head_model, everywhere, head.vertices[:, None], camera.rotation[:, None], reprojection)
    surface = bare_surface(head_model, head, camera, side)
    seen = looked_closer(head_model, places, torch.ones_like(blend[:, :1]), surface, reprojection).seen
    plate = plate.around(surface.mask[0, 0].cpu().numpy(), settings)
    own = Own(plate, features, sitter, size, places, seen)
    return own._replace(plate=plate.with_rendering(rendered(pipe, avatar, own, rest, rest)))


@torch.no_grad()
def rendered(pipe: "InvertAvatarPipeline", avatar: Avatar, own: Own, motion: Motion, rest: Motion) -> Layer:
    """A head in one pose, over nothing, as `Plate` takes it."""
    head_model, settings, reprojection = pipe.head_model, pipe.generator.paste, pipe.generator.reprojection
    head, camera = _posed(pipe, avatar, own.sitter, motion, rest)
    frame = render_frame(pipe._networks(), avatar.ws, own.features, head, camera, own.size)
    colour, opacity = frame.colour, frame.opacity
    pipe._check_finite((colour, opacity))

    # Where what each pixel sees was at rest, and whether it was seen there.
    side = own.seen.shape[-1]
    surface = bare_surface(head_model, head, camera, side)
    room = own.sitter.room
    right, up = (room * x for x in pixel_centres(side, colour.device))
    here = torch.stack([right, -up])
    ways = torch.cat([own.places.place[:, 0, :, :2], own.places.normal[:, 0, :, 2:]], -1)
    way, facing = interpolate(ways, surface.fragments, head_model.triangles).split([2, 1], 1)
    way = torch.where(surface.mask > 0, way, here)
    seen = looked_closer(head_model, own.places, torch.ones_like(own.sitter.blend[:, :1]), surface, reprojection).seen
    before = F.grid_sample(own.seen, (way / room).permute(0, 2, 3, 1), align_corners=False)
    kept = ((seen + settings.even) / (before + settings.even)).clamp(0, 1)
    stretched = surface.normal[:, 2:] / facing.clamp(min=settings.even / 2)
    kept = kept * ((settings.stretch - stretched) / (settings.stretch - 1)).clamp(0, 1)
    # Beside the head it goes on from what was seen at rest: strands stay where they grow.
    torso = vertex_groups(head_model)[:, GROUPS.index(("torso",))].expand(1, -1)[..., None]
    torso = interpolate(torso, surface.fragments, head_model.triangles)
    going = torch.cat([way - here, torso], 1)
    beside, torso = extend_border(going, surface.mask * (kept > 0.5), reprojection.flow_size).split([2, 1], 1)
    place = here + torch.where(surface.mask > 0, way - here, beside)
    cosine = (torch.einsum("bij,bij->b", motion.rotation, rest.rotation) - 1) / 2
    angle = float(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))))
    stays = torso * (1 - (place - here).norm(dim=1, keepdim=True) / settings.moves).clamp(0, 1)  # shoulders do
    gone = 1 - math.exp(-((angle / settings.strands) ** 2))
    kept = torch.where(surface.mask > 0, kept, 1 - (1 - stays) * gone)
    kept = F.avg_pool2d(kept, settings.soft, 1, settings.soft // 2, count_include_pad=False)

    def array(x: Tensor) -> np.ndarray:  # [1, C, h, w] -> [h, w, C]
        return x[0].permute(1, 2, 0).cpu().numpy().astype(np.float32)

    light = (colour / opacity.clamp(min=1e-3) + 1) * 127.5
    return Layer(array(light), array(opacity)[..., 0], array(place), array(kept)[..., 0])


def _with_surroundings(
    networks: Networks,
    crop: Crop,
    views: SourceViews,
    off: Tensor,  # [V]
    joints: Tensor,  # [J, 3]
    outline: Outline,
    room: float,
) -> Sources:
    """A photo to be looked up in more of itself than the crop that the networks know."""
    head_model, device = networks.head_model, views.picture.device
    photo = torch.from_numpy(crop.image).to(device).permute(2, 0, 1).float() / 127.5 - 1
    masks = torch.from_numpy(np.stack([crop.matte, feathered(crop.inside)])).to(device)
    vertices = worn(head_model, views.skin[:, 0], off, joints, views.rotation[:, 0], views.torso_pose[:, 0])[1]
    vertices, picture = outline.fitted(vertices), torch.cat([photo, masks])[None, None]
    return sources(head_model, picture, vertices[:, None] / room, views.rotation, networks.generator.reprojection)


def _posed(
    pipe: "InvertAvatarPipeline", avatar: Avatar, sitter: Sitter, motion: Motion, rest: Motion
) -> tuple[DrivenHead, Camera]:
    """The head of one frame, and how it is seen: the body stands where it is at `rest`."""
    head_model, config = pipe.head_model, pipe.generator.config
    view = torch.eye(3).expand_as(motion.rotation)
    motion = replace(motion, torso_pose=rest.torso_pose, translation=None, scale=None)
    clip = drive(motion, view, sitter.blend, avatar.device)
    stay = standing(avatar.shape.joints, clip.head_to_torso, view, rest.rotation) / sitter.room
    driven = clip.expression, clip.residual, clip.rotation, clip.head_to_torso, clip.torso_pose
    head = driven_head(head_model, avatar.shape, sitter.off, *driven)
    head = head._replace(blend=clip.blend)
    if sitter.outline is not None:
        head = head._replace(vertices=sitter.outline.fitted(head.vertices))
    return head, Camera(clip.rotation, config.field_of_view, 1 / sitter.room, stay)


def reduced(picture: np.ndarray, longest: int) -> np.ndarray:
    """A picture [H, W, 3] that is no larger than so many pixels on either side."""
    factor = longest / max(picture.shape[:2])
    if factor >= 1:
        return picture
    size = tuple(max(1, round(side * factor)) for side in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
