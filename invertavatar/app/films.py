"""Films of an avatar: driven by what a visitor gives, or on an orbit; written while they are rendered.

Shapes: S side of a frame, C channels.
"""

import itertools
import logging
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..media import VideoReader, VideoWriter, kind_of, mark_synthetic, save_image, side_by_side
from ..media.images import over_grey
from ..media.sound_length import frames_of_sound, sound_seconds
from ..speech.blending import over_photo, with_speech
from ..tracking.motion import Motion
from . import drivers, model, views
from .drivers import Driver
from .people import Person
from .progress import NEWS, Job, Report, time_left

logger = logging.getLogger(__name__)

PREVIEW_SECONDS = 0.3  # with a face that a preview waits for: enough for a neutral face to be relative to
LONGEST_STEM = 50  # characters of a driver's name that its films are named after: each may take four bytes
PREVIEW_SIZE = 256  # pixels at most


class Film(NamedTuple):
    """How films are made."""

    options: dict  # of `model.frames`; "height", "background" and "relative_motion" have to be among them
    longest: float  # seconds that a driver may last
    beside: bool = False  # photo and driver stand beside the result
    mark: bool = True  # the result says that it is synthetic
    neutral_frame: str | None = None  # the driver's, by its number or its time
    sound: str | None = None  # a file that lends its sound instead of the driver; a still lasts as long as it
    speech: str | None = None  # a file whose voice moves the mouth and lends its sound; it may be the driver too
    head_motion: float = 0.5  # 0..1 how far the head moves by itself while it speaks


def animate(person: Person, source: str, folder: Path, film: Film) -> Generator[Report, None, tuple[Path, str]]:
    """Drive an avatar; the motion of a video is saved beside the film.

    Args:
        person: Whose avatar it is.
        source: A video, a photo, a saved motion or a table of ARKit scores; or the speech, which then drives alone.
        folder: Where the results go.
        film: How it is made.

    Returns:
        The file of the film, or of the picture that a photo without a sound gives; and what the visitor should know of
        the driver.

    Raises:
        InvertAvatarError: The driver or an option cannot be used.
    """
    options, longest, beside, mark, neutral_frame, sound, speech, head_motion = film
    stem, preview = folder / Path(source).stem[:LONGEST_STEM], Preview(person, options)
    if speech == source:
        driver = Driver((yield from drivers.read_speech(source, head_motion=head_motion)))
    else:
        reading = Job(drivers.read_driver(source, model.load().recorder, longest, PREVIEW_SECONDS, neutral_frame))
        for report in reading:
            yield report if report.motion is None else report._replace(frame=preview.of(report.motion))
        driver = reading.result
    if speech and speech != source:
        voice = yield from drivers.read_speech(speech, driver.motion.fps, head_motion)
        blended = with_speech(driver.motion, voice, options.get("animation_region", "all"))
        driver, options = Driver(blended, note=driver.note), options | {"animation_region": "all"}
    motion = driver.motion
    if speech and options["relative_motion"]:
        motion = over_photo(motion, person.avatar.rest)
    sound = sound or speech
    if preview.head is not None:
        yield Report("rendering", 0, preview.of(motion, 0))
    frames = _rendered(person, motion, options)
    if beside:
        frames = _flanked(frames, person.shots[0].crop if person.shots else None, driver)
    frames = map(mark_synthetic, frames) if mark else frames
    scene = None
    if options.get("into") and kind_of(options["into"]) != "photo":
        scene = options["into"]
        motion = _as_long_as(scene, motion)
    if sound and motion.num_frames == 1:
        count = frames_of_sound(min(sound_seconds(sound), longest), motion.fps)
        motion, frames = Motion.concatenate([motion] * count), itertools.repeat(next(frames), count)
    elif driver.photo is not None and scene is None:
        picture, file = next(frames), Path(f"{stem}_avatar.png")
        save_image(file, picture)
        yield Report("rendered", 1, picture)
        return file, driver.note
    opaque = options.get("into") is not None
    file = Path(f"{stem}_avatar{'.mp4' if opaque else _film_type(options['background'])}")
    yield from write_film(file, frames, motion, sound or driver.video or scene)
    if driver.video or speech:
        driver.motion.save(f"{stem}_motion.safetensors")
    return file, driver.note


def orbit(
    person: Person,
    folder: Path,
    expression: dict[str, float],
    background: str | np.ndarray,
    size: int,
    mark: bool = True,
) -> Generator[Report, None, Path]:
    """Look at an avatar from both sides, from below and from above.

    Args:
        person: Whose avatar it is.
        folder: Where the film goes.
        expression: ARKit name -> score.
        background: From `views.checked_background`.
        size: S.
        mark: The film says that it is synthetic.

    Returns:
        Its file.
    """
    motion, camera = views.orbit(person, expression)
    options = {"relative_motion": False, "height": size, "background": background}
    frames = model.frames(person.avatar, motion, **camera, **options)
    film = folder / f"orbit{_film_type(background)}"
    yield from write_film(film, map(mark_synthetic, frames) if mark else frames, motion)
    return film


def write_film(
    path: Path, frames: Iterator[np.ndarray], motion: Motion, sound: str | None = None
) -> Generator[Report, None, None]:
    """Write frames as they come; a reader who stops leaves no file behind.

    Args:
        path: .mp4, or .webm for transparent frames.
        frames: As many as `motion` has, [S, S, C] uint8.
        motion: Lends frame rate and number.
        sound: A video or sound file whose sound is added.

    Yields:
        A report with the first frame, and with the latest every now and then.
    """
    start, told = time.perf_counter(), -math.inf
    with VideoWriter(path, motion.fps, audio_from=sound) as writer:
        for frame in frames:
            writer.write(frame)
            now, count = time.perf_counter(), writer.num_frames
            if now - told > NEWS and count < motion.num_frames:
                told = now
                left = time_left((now - start) / count * (motion.num_frames - count))
                yield Report(f"frame {count} of {motion.num_frames}, {left}", count / motion.num_frames, frame)


def opaque(frame: np.ndarray) -> np.ndarray:
    """A frame for a preview: what is transparent lies over mid grey."""
    return over_grey(frame) if frame.shape[2] == 4 else frame


class Preview:
    """What is seen of a film before its frames are there: the baked avatar where there is one, which moves while its
    driver is still read, else one full frame in small.

    Args:
        person: Whose film it is.
        options: See `animate`.
    """

    def __init__(self, person: Person, options: dict):
        self.person, self.options, self.shown = person, options, False
        as_photos = options.get("framing", "photo") == "photo"  # a baked avatar knows no other frame
        self.head = model.baked_already(person.avatar) if as_photos else None

    def of(self, motion: Motion, frame: int = -1) -> np.ndarray | None:
        """[S, S, C] uint8 of a frame of a motion, or None: whatever keeps it from being shown, the film may be made."""
        frame %= motion.num_frames
        options = self.options | {"frames": slice(frame, frame + 1), "into": None}
        if self.shown and self.head is None:
            return None
        self.shown = True
        try:
            if self.head is not None:
                return next(self.head.render(motion, **_fast(motion, options)))
            return next(_rendered(self.person, motion, options | {"height": min(options["height"], PREVIEW_SIZE)}))
        except Exception:
            logger.warning("There is no preview of this film.", exc_info=True)
            return None


def _rendered(person: Person, motion: Motion, options: dict) -> Iterator[np.ndarray]:
    return model.frames(person.avatar, motion, **options | {"relative_motion": _relative(motion, options)})


def _relative(motion: Motion, options: dict) -> bool:
    # One frame has no neutral of its own: a face in a photo is taken as it is.
    return options["relative_motion"] and (motion.num_frames > 1 or motion.known_neutral is not None)


def _fast(motion: Motion, options: dict) -> dict:
    """Those of the options that a baked avatar knows of, as it calls them."""
    known = {
        name: options[name] for name in ("animation_region", "motion_scale", "smooth", "frames") if name in options
    }
    wanted = {"size": options["height"], "background": options["background"]}
    return known | wanted | {"relative_motion": _relative(motion, options)}


def _as_long_as(film: str, motion: Motion) -> Motion:
    """A motion with the frame rate of a video, no longer than it; a still face lasts as long."""
    with VideoReader(film) as video:
        count, rate = video.num_frames, video.fps
    if motion.num_frames == 1:
        return replace(Motion.concatenate([motion] * count), fps=rate)
    return motion.resampled(rate)[:count]


def _flanked(frames: Iterator[np.ndarray], photo: np.ndarray | None, driver: Driver) -> Iterator[np.ndarray]:
    """The frames with the person's photo and the driver's frame at their left, as far as there are such."""
    driving = VideoReader(driver.video, fps=driver.motion.fps) if driver.video else itertools.repeat(driver.photo)
    for seen, frame in zip(driving, frames, strict=False):
        yield side_by_side(*(view for view in (photo, seen, frame) if view is not None), height=frame.shape[0])


def _film_type(background: str | np.ndarray) -> str:
    return ".webm" if isinstance(background, str) and background == "transparent" else ".mp4"
