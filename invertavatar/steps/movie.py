"""A person and a motion become a file: what `animate` and `batch` share.

Shapes: H W frame, C its colours and perhaps opacity.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import endings
from ..avatar import Avatar
from ..errors import InvertAvatarError
from ..media import VideoReader, VideoWriter, is_photo, load_image, mark_synthetic, save_image, side_by_side
from ..media.sound_length import frames_of_sound, sound_seconds
from ..speech.blending import over_photo, with_speech
from ..tracking.motion import Motion

if TYPE_CHECKING:
    from ..pipelines.pipeline_invertavatar import InvertAvatarPipeline


class Shot(NamedTuple):
    """What will be rendered."""

    stream: Callable[[slice], Iterator[np.ndarray]]  # renders a stretch of the frames [H, W, C] uint8
    num_frames: int
    fps: Fraction
    film: Path | None  # the video that heads are put into, where it is one
    still: bool  # one picture


class About(NamedTuple):
    """What is heard and seen with the frames of a shot."""

    driver: Path  # what drove it; the speech where that is alone
    speech: Path | None = None  # see `motion_of`
    audio: Path | None = None  # lends its sound; a still lasts as long as it
    no_audio: bool = False  # leave the driver's sound out
    max_frames: int | None = None  # of a still with sound
    beside: np.ndarray | None = None  # the person's photo [H, W, 3], for `side_by_side`
    side_by_side: bool = False  # show photo and driver at the left
    mark: bool = False  # write "synthetic" into a corner


class Saved(NamedTuple):
    """What was written."""

    num_frames: int
    width: int
    height: int


def motion_of(
    pipe: "InvertAvatarPipeline",
    driver: Path | None,
    speech: Path | None,
    *,
    face_index: int = 0,
    region: str = "all",
    fps: float | None = None,
    max_frames: int | None = None,
    neutral_frame: str | None = None,
    **voice: Any,
) -> Motion:
    """The motion of a driver, of a speech, or of both.

    Args:
        pipe: Tracks and listens.
        driver: Video, photo, saved motion or table; None where the speech is alone.
        speech: Sound or video whose voice moves the lips; None without one.
        face_index: Which face of the driver.
        region: What of the driver is taken beside a speech.
        fps: Frames per second; the driver's by default, of a speech alone 25.
        max_frames: No more than these.
        neutral_frame: The driver's frame that is neutral.
        **voice: Further arguments of `speak`.

    Raises:
        InvertAvatarError: Neither is given; and as `track` and `speak` raise them.
    """
    driven = None
    if driver is not None:
        options = {"fps": fps, "max_frames": max_frames, "neutral_frame": neutral_frame}
        driven = pipe.track(driver, face_index=face_index, **options)
    if speech is not None:
        spoken = pipe.speak(speech, fps or (driven.fps if driven else 25), max_frames=max_frames, **voice)
        return with_speech(driven, spoken, region) if driven else spoken
    if driven is None:
        raise InvertAvatarError("Nothing moves the head; give a driver, a speech, or both.")
    return driven


def shot(
    pipe: "InvertAvatarPipeline",
    person: Avatar,
    motion: Motion,
    scene: Path | None = None,
    spoken: bool = False,
    driven: bool = True,
    relative: bool = True,
    region: str = "all",
    **options: Any,
) -> Shot:
    """A person in motion, to be rendered when asked for.

    Args:
        pipe: Renders.
        person: Who moves.
        motion: From `motion_of`.
        scene: Photo or video in which the head is replaced.
        spoken: Whether a speech moves the lips.
        driven: Whether a driver moves the head.
        relative: See `animate_stream`'s `relative_motion`.
        region: See its `animation_region`.
        **options: Further ones of `animate_stream`.
    """
    if spoken and relative:
        motion = over_photo(motion, person.rest)
    region = "all" if spoken and driven else region
    options |= {"motion": motion, "into": scene, "relative_motion": relative, "animation_region": region}
    stream = partial(pipe.animate_stream, person, **options)
    film = scene if scene and not is_photo(scene) else None
    count, rate = length_in(film, motion) if film else (motion.num_frames, motion.fps)
    still = motion.num_frames == 1 and film is None
    return Shot(lambda part: stream(frames=part), count, rate, film, still)


def length_in(film: Path, motion: Motion) -> tuple[int, Fraction]:
    """How many frames a head in a video gets, and their rate: a still face all of the video's."""
    with VideoReader(film) as video:
        own, rate = video.num_frames, video.fps
    return (own if motion.num_frames == 1 else min(own, motion.resampled(rate).num_frames)), rate


def save_movie(path: Path, shot: Shot, frames: Iterator[np.ndarray], about: About) -> Saved:
    """Write the frames of a shot, with the sound that belongs to them, as the kind of file that the name says.

    Args:
        path: A movie, a picture, a folder or a pattern of pictures.
        shot: What the frames are of.
        frames: All of them, [H, W, C] uint8.
        about: What is heard and seen with them.

    Raises:
        MediaError: The file cannot be written, or the sound not be read.
    """
    driver, speech, audio = about.driver, about.speech, about.audio
    if about.side_by_side:
        frames = with_sources(frames, about.beside, None if speech else driver, shot.fps)
    if about.mark:
        frames = map(mark_synthetic, frames)
    count = shot.num_frames
    if audio and shot.still:
        count = frames_of_sound(sound_seconds(audio), shot.fps)
        count = min(count, about.max_frames or count)
        frames = repeat(next(frames), count)
    lender = speech or (driver if has_sound(driver, path) or shot.film is None else shot.film)
    sound = audio or (lender if has_sound(lender, path) and not about.no_audio else None)
    width, height = write(path, frames, shot.fps, sound, still=shot.still and not audio)
    return Saved(count, width, height)


def with_sources(
    frames: Iterator[np.ndarray], portrait: np.ndarray | None, driver: Path | None, rate: Fraction
) -> Iterator[np.ndarray]:
    """The frames, each with the person's photo and the driver's frame at its left, as far as there are such."""
    if driver is None or endings.is_motion(driver):
        driving_frames = repeat(None)
    elif is_photo(driver):
        driving_frames = repeat(load_image(driver))
    else:
        driving_frames = VideoReader(driver, fps=rate)
    for driving_frame, frame in zip(driving_frames, frames, strict=False):
        pictures = [picture for picture in (portrait, driving_frame, frame) if picture is not None]
        yield side_by_side(*pictures, height=frame.shape[0])


def has_sound(driver: Path, movie: Path) -> bool:
    """Whether the driver can lend its sound and the output can hold it."""
    return movie.suffix.lower() in endings.MOVIES_WITH_SOUND and not endings.is_motion(driver) and not is_photo(driver)


def write(path: Path, frames: Iterator[np.ndarray], fps: Fraction, sound: Path | None, still: bool) -> tuple[int, int]:
    """Write frames as the kind of file that the name says, a .webp as one picture where they are `still`.

    Returns their width and height.
    """
    suffix = path.suffix.lower()
    one_picture = suffix in endings.PICTURES and "%" not in path.name and (still or suffix != ".webp")
    if one_picture:
        frame = next(frames)
        save_image(path, frame)
    else:
        with VideoWriter(path, fps, audio_from=sound) as writer:
            for frame in frames:
                writer.write(frame)
    return frame.shape[1], frame.shape[0]
