"""A recognizer and a pipeline that need no weights, and clips that are never read."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from invertavatar.evaluation.clips import Clip
from invertavatar.evaluation.protocols import SIZE, Evaluation
from invertavatar.tracking.motion import Motion
from invertavatar.tracking.portrait import CROP_SIZE
from invertavatar.tracking.recorder import Recorder
from invertavatar.tracking.tracker import Track


class Recognizer:
    """Tells people by the colour of their nose: it needs no file."""

    def embed(self, image, landmarks):
        x, y = landmarks[1, :2].astype(int)
        return image[y, x] / np.linalg.norm(image[y, x].astype(float))


@dataclass(frozen=True)
class Fused:
    """An avatar that knows nothing but by which mode each photo joined it, and each encoder's state."""

    modes: tuple[str, ...]
    texture_state: tuple[str, ...]
    triplane_state: tuple[str, ...]


class Mirror:
    """A pipeline whose avatar is a function of the motion: what it is asked to show is looked up."""

    def __init__(self, show):
        self.show, self.drawn, self.recorder = show, [], Recorder(None, None)

    def add_portrait(self, avatar, portrait, fusion):
        modes = (*(avatar.modes if avatar else ()), fusion)
        return Fused(modes, modes, modes)

    def animate_stream(self, avatar, motion, relative_motion, height, **_):
        assert not relative_motion and height in (SIZE, CROP_SIZE)
        self.drawn.append(avatar)
        for frame in range(motion.num_frames):
            yield self.show(motion[frame])

    def progress_bar(self, items):
        return tqdm(items, disable=True)


def nowhere(count, missing=()):
    """A clip of so many frames, none of which is ever read."""
    points = np.zeros((478, 3), np.float32)
    track = Track(points, np.zeros(52, np.float32), np.eye(3, dtype=np.float32), 1.0, np.zeros(2), points, (8, 8), 1)
    tracks = tuple(None if frame in missing else track for frame in range(count))
    motion = Motion(rotation=torch.eye(3).repeat(count, 1, 1), expression=torch.zeros(count, 52))
    return Clip(Path("clip.mp4"), "someone", None, tracks, motion)


def perfect(clips, judge, num_frames=2):
    """An evaluation of a pipeline that shows each target's truth, frames being told by their motion."""
    pipe = Mirror(None)
    evaluation = Evaluation(pipe, clips, judge, num_frames)

    def show(motion):
        known = evaluation._targets.values()
        return next(t.face.picture for t in known if torch.equal(t.motion.rotation, motion.rotation))

    pipe.show = show
    return evaluation
