"""Test clips: tracked videos of one person each, cut to what they really show.

Shapes: H W picture, S side of a crop.
"""

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from .. import endings
from ..errors import MediaError, NoFaceError
from ..head.head_model import HeadModel
from ..media import VideoReader
from ..tracking.driver_reader import DriverReader
from ..tracking.motion import Motion
from ..tracking.recorder import Recorder
from ..tracking.tracker import FaceTracker, Track

logger = logging.getLogger(__name__)

INDEX_FILE = "index.json"
MAX_CLIP_FRAMES = 500  # of a clip, as in the paper (4.2.1)
MIN_TRACKED = 4  # frames: fewer give no two halves to speak of


@dataclass(frozen=True)
class Clip:
    """A tracked video of one person."""

    path: Path
    person: str
    valid: (
        tuple[tuple[float, float, float, float], ...] | None
    )  # per frame x0, y0, x1, y1 of its real pixels; None: all
    tracks: tuple[Track | None, ...]  # T of them
    motion: Motion  # T frames

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @cached_property
    def tracked(self) -> list[int]:
        """Numbers of the frames with a face."""
        return [frame for frame, track in enumerate(self.tracks) if track is not None]

    def photo_frames(self, count: int) -> list[int]:
        """`count` frames evenly spaced over the first half, beginning with its first; all of it where it has fewer."""
        half = self.tracked[: len(self.tracked) // 2]
        return sorted({half[i * len(half) // count] for i in range(count)})

    def test_frames(self, count: int) -> list[int]:
        """`count` frames evenly spaced over the second half; all of it where it has fewer."""
        half = self.tracked[len(self.tracked) // 2 :]
        return sorted({half[(2 * i + 1) * len(half) // (2 * count)] for i in range(count)})

    def test_run(self, count: int) -> list[int]:
        """Up to `count` consecutive frames with a face: the longest run from the start of the second half on."""
        runs: list[list[int]] = []
        for frame in self.tracked[len(self.tracked) // 2 :]:
            if runs and frame == runs[-1][-1] + 1:
                runs[-1].append(frame)
            else:
                runs.append([frame])
        return max(runs, key=len)[:count]

    def read(self, frames: Iterable[int]) -> dict[int, tuple[np.ndarray, Track]]:
        """Some frames, cut to their real pixels ([H, W, 3] uint8 RGB), with the tracks moved along."""
        wanted = set(frames)
        with VideoReader(self.path) as video:
            pictures = {
                number: picture for number, picture in enumerate(islice(video, max(wanted) + 1)) if number in wanted
            }
        return {number: cut(picture, self.track(number), self._valid(number)) for number, picture in pictures.items()}

    def track(self, frame: int) -> Track:
        """What was found in a frame of `tracked`; ValueError for another."""
        if (track := self.tracks[frame]) is None:
            raise ValueError(f"Frame {frame} of {self.path.name} shows no face.")
        return track

    def _valid(self, frame: int) -> tuple[float, float, float, float] | None:
        return self.valid[min(frame, len(self.valid) - 1)] if self.valid else None


def cut(picture: np.ndarray, track: Track, valid: tuple[float, float, float, float] | None) -> tuple[np.ndarray, Track]:
    """Cut a picture to the whole pixels of a rectangle x0, y0, x1, y1; None leaves it as it is."""
    if valid is None:
        return picture, track
    left, top, right, bottom = math.ceil(valid[0]), math.ceil(valid[1]), math.floor(valid[2]), math.floor(valid[3])
    inside = picture[top:bottom, left:right]
    moved = replace(
        track,
        landmarks=track.landmarks - np.array([left, top, 0], np.float32),
        centre=track.centre - np.array([left, top], np.float32),
        size=inside.shape[1::-1],
    )
    return inside, moved


def find_clips(folder: str | Path, only: Collection[str] = ()) -> list[Path]:
    """The videos in a folder, by name.

    Args:
        folder: Where they are.
        only: Names, without their endings, of those to take; all by default.

    Raises:
        MediaError: There is none, or none of one of the names.
    """
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in endings.VIDEOS)
    if not paths:
        raise MediaError(f"{folder} holds no video. Give a folder of clips, such as .mp4 files of one person each.")
    if missing := sorted(set(only) - {path.stem for path in paths}):
        raise MediaError(f"{folder} holds no clip named {' or '.join(missing)}. Give names without their endings.")
    return [path for path in paths if not only or path.stem in only]


def load_clips(paths: Iterable[Path], tracker: FaceTracker, head_model: HeadModel) -> Iterator[Clip]:
    """Track clips one by one; one that is of no use is left out with a warning.

    An `index.json` beside the clips may say of each, under its file's stem, `person` (clips of one person are not
    paired; by default each clip is a person of its own) and `valid`, a rectangle for each frame beyond which the
    picture is padding.

    Args:
        paths: From `find_clips`.
        tracker: Follows the face.
        head_model: For the motion.
    """
    for path in paths:
        index_file = path.parent / INDEX_FILE
        index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.is_file() else {}
        about = index.get(path.stem, {})
        try:
            reader = DriverReader(path, lambda: Recorder(tracker, head_model), max_frames=MAX_CLIP_FRAMES)
            tracks, motion = tuple(reader), reader.motion()
        except (MediaError, NoFaceError) as error:
            logger.warning("%s is left out: %s", path.name, error)
            continue
        if motion.num_frames - motion.num_missing < MIN_TRACKED:
            logger.warning("%s is left out: it shows a face in fewer than %d frames.", path.name, MIN_TRACKED)
            continue
        valid = tuple(map(tuple, about["valid"])) if "valid" in about else None
        yield Clip(path, str(about.get("person", path.stem)), valid, tracks, motion)
