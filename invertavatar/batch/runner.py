"""A worker's own part: one model, and jobs one after the other, each prepared while the one before is rendered."""

import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from tqdm import tqdm

from ..avatar import Avatar
from ..errors import InvertAvatarError, NoFaceError
from ..media import load_images
from ..pipelines.pipeline_invertavatar import InvertAvatarPipeline
from ..runtime.devices import best_device
from ..steps.movie import About, motion_of, save_movie, shot
from ..tracking.likeness import likeness
from ..tracking.motion import Motion
from ..tracking.portrait import Portrait, prepare_portrait
from .addresses import at_hand, is_remote
from .job import Job, Settings, fingerprint
from .results import Results

logger = logging.getLogger(__name__)

VOICE = ("language", "speech_model", "head_motion", "blinks", "seed")
RENDERED = {"relative", "region", "motion_scale", "smooth", "yaw", "pitch", "roll", "width", "framing"}
COMPARED_SIZE = 512  # px of the picture that is compared with the photos


class Prepared(NamedTuple):
    """A job whose files have been fetched, decoded and tracked."""

    files: dict[str, Path]  # column -> file on this machine
    first_photo: np.ndarray | None  # [H, W, 3] uint8
    portraits: list[Portrait]
    motion: Motion | None  # None where no movie is wanted


class Runner:
    """Does jobs, two at a time at most: one is prepared while another is rendered.

    Args:
        settings: Of the run.

    Raises:
        InvertAvatarError: The model cannot be loaded.
    """

    def __init__(self, settings: Settings):
        self.settings, self.results = settings, Results(settings.folder)
        self._one_thread_each()
        cv2.setNumThreads(settings.threads)
        diffusers_logging.disable_progress_bar()
        tqdm.set_lock(threading.RLock())  # its own is the system's, and left over where a worker is killed
        device = best_device() if settings.device == "auto" else settings.device
        try:
            self.pipe = InvertAvatarPipeline.from_pretrained(settings.model).to(device)
        except (InvertAvatarError, OSError, ValueError) as error:
            model = settings.model or "that is shipped"
            raise InvertAvatarError(f"Cannot load the model {model}: {str(error).strip()}") from error
        self.pipe.set_progress_bar_config(disable=True)
        self._preparing, self._rendering = threading.Lock(), threading.Lock()

    def run(self, job: Job) -> dict:
        """What became of a job: the row of the manifest. Nothing that is wrong with a job is raised.

        A job that is done already, by a worker that was lost before it could say so, is not done twice.
        """
        self._one_thread_each()
        record = {"row": job.row, "id": job.id, "state": "done", "message": None, "similarity": None, "frames": 0}
        record |= {"run": self.settings.run, "fingerprint": fingerprint(job, self.settings)}
        record |= {"worker": f"{platform.node()}:{os.getpid()}"}
        earlier = self.results.record(job.id)
        if earlier and all(earlier.get(name) == record[name] for name in ("run", "fingerprint")):
            return earlier
        seconds = 0.0
        with kept_warnings() as warnings:
            try:
                with self.results.scratch() as folder:
                    with self._preparing:
                        started = time.perf_counter()
                        prepared = self.prepare(job, folder)
                        seconds += time.perf_counter() - started
                    with self._rendering:
                        started = time.perf_counter()
                        record |= self.make(job, prepared, folder / "made")
                        seconds += time.perf_counter() - started
                    record |= {"seconds": seconds, "warnings": warnings}
                    self.results.publish(folder / "made", job.id, record)
            except (InvertAvatarError, OSError) as error:
                record |= {"state": "failed", "message": str(error), "frames": 0}
            except Exception as error:  # one row's, never the end of the run
                logger.exception("%s failed", job.id)
                record |= {"state": "failed", "message": f"Unforeseen: {type(error).__name__}: {error}", "frames": 0}
        return record | {"seconds": seconds, "warnings": warnings}

    def prepare(self, job: Job, folder: Path) -> Prepared:
        """Fetch, decode and track what a job names.

        Raises:
            InvertAvatarError: Something cannot be had, read or tracked.
        """
        names = [("avatar", job.avatar), ("driver", job.driver), ("speech", job.speech), ("audio", job.audio)]
        names += [("into", None if job.into == "photo" else job.into)]
        names += [(f"photo {k}", photo) for k, photo in enumerate(job.photos)]
        only = self.settings.avatars == "only"
        wanted = [(name, at) for name, at in names if at and not (only and not name.startswith(("photo", "avatar")))]
        files = {name: at_hand(at, folder / "fetched", k) for k, (name, at) in enumerate(wanted)}
        images, titles, portraits, options = [], [], [], job.options
        if job.photos:
            images, titles = load_images([files[f"photo {k}"] for k in range(len(job.photos))])
        tracker, finest = self.pipe.face_tracker, self.pipe.generator.config.detail_resolution
        for image, title in zip(images, titles, strict=True):
            portraits.append(prepare_portrait(image, tracker, title, options["face_index"], finest=finest))
        if not only and is_remote(options["background"]):
            files["background"] = at_hand(options["background"], folder / "fetched", len(wanted))
        motion = None
        if not only:
            voice = {name: options[name] for name in VOICE} if job.speech else {}
            timing = {name: options[name] for name in ("region", "fps", "max_frames", "neutral_frame")}
            face = options["driving_face_index"]
            motion = motion_of(self.pipe, files.get("driver"), files.get("speech"), face_index=face, **timing, **voice)
        return Prepared(files, images[0] if images else None, portraits, motion)

    def make(self, job: Job, prepared: Prepared, folder: Path) -> dict:
        """Write a job's files; its `frames` and `similarity`.

        Raises:
            InvertAvatarError: Something does not fit or cannot be written.
        """
        folder.mkdir()
        options = job.options
        torch.manual_seed(options["seed"])
        person = None
        if job.avatar:
            person = Avatar.from_pretrained(prepared.files["avatar"])
        for portrait in prepared.portraits:
            person = self.pipe.add_portrait(person, portrait)
        if person is None:
            person = self.pipe.sample(seed=options["seed"])
        alike = similarity(self.pipe, person) if self.settings.similarity and person.num_images else None
        if self.settings.avatars != "none":
            person.save_pretrained(folder / "avatar")
        if prepared.motion is None:
            return {"frames": 0, "similarity": alike}
        files = prepared.files
        taken = shot(
            self.pipe,
            person,
            prepared.motion,
            files["photo 0"] if job.into == "photo" else files.get("into"),
            spoken=job.speech is not None,
            driven=job.driver is not None,
            background=files.get("background", options["background"]),
            height=options["size"],
            follow_translation=options["follow"],
            **{name: value for name, value in options.items() if name in RENDERED},
        )
        about = About(
            files.get("driver") or files["speech"],
            files.get("speech"),
            files.get("audio"),
            beside=prepared.first_photo,
            **{name: options[name] for name in ("no_audio", "max_frames", "side_by_side", "mark")},
        )
        path = folder / ("frames" if self.settings.kind == "png" else f"movie.{self.settings.kind}")
        saved = save_movie(path, taken, taken.stream(slice(0, taken.num_frames)), about)
        return {"frames": saved.num_frames, "similarity": alike}

    def _one_thread_each(self) -> None:
        torch.set_num_threads(self.settings.threads)  # which is a matter of each thread


def similarity(pipe: InvertAvatarPipeline, avatar: Avatar) -> float | None:
    """How alike a person's rendered face is to the photos: a correlation in -1..1 (`tracking.likeness`).

    The avatar is rendered from the front, and its picture unwrapped as a photo is. None where no face is found in it.
    """
    picture = np.asarray(pipe.render(avatar, height=COMPARED_SIZE, framing="crop")[0])
    try:
        rendered = pipe.add_portrait(None, prepare_portrait(picture, pipe.face_tracker, "the avatar"))
    except NoFaceError:
        return None
    colours, seen = rendered.texture_sum.split([3, 1], 1)
    return likeness(avatar.texture_sum, colours / seen.clamp(min=1e-6), seen.sqrt())


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """The warnings that this thread's part of the block logs."""
    thread, kept = threading.get_ident(), []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.levelno == logging.WARNING:
                kept.append(record.getMessage())

    handler, library = Keep(), logging.getLogger("invertavatar")
    library.addHandler(handler)
    try:
        yield kept
    finally:
        library.removeHandler(handler)
