"""The protocol `turned`: quality against the angle between the photo and the frame that is asked for.

The least, the middle and the most turned frame of a clip are each the only photo of an avatar, which is compared with
frames evenly over the whole clip. The other protocols take photos from the first half and test frames from the second,
which mostly lie a few degrees apart; these pairs reach as far as the clip turns.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..avatar import Avatar
from ..errors import NoFaceError
from ..metrics import paper as metrics
from ..metrics.angles import BUCKETS, bucket, yaw
from ..tracking.motion import Motion
from .clips import Clip
from .protocols import SAME_METRICS, Evaluation, Outcome, Scores, average

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

logger = logging.getLogger(__name__)

NUM_FRAMES = 14  # compared, of each clip
TURNED_BY = 20.0  # degrees of yaw beyond which the photo itself counts as turned
METRICS = ("angle", *SAME_METRICS)


class Baked:
    """A pipeline whose frames are those of baked avatars.

    Args:
        pipe: Bakes them.
    """

    def __init__(self, pipe: "InvertAvatarPipeline"):
        self.pipe = pipe

    def animate_stream(
        self,
        avatar: Avatar,
        motion: Motion,
        relative_motion: bool,
        height: int,
        framing: str,
        background: str,
        **_further: float,
    ) -> Iterator[np.ndarray]:
        """As the pipeline's own; its further options have no meaning here."""
        options = (motion, height, background)
        return self.pipe.bake(avatar).render(*options, framing=framing, relative_motion=relative_motion)


def turned(evaluation: Evaluation, num_frames: int = NUM_FRAMES, baked: bool = False) -> Outcome:
    """Each clip's least, middle and most turned frame as the only photo, compared with frames over the whole clip.

    Args:
        evaluation: Of the model and the clips.
        num_frames: Compared, of each clip.
        baked: Of baked avatars instead of the full renderer's frames.

    Returns:
        Scores by bucket of the angle in degrees between the heads of photo and frame: `< 5` of all photos,
        `< 5, frontal photo` of those whose own yaw is up to `TURNED_BY` and `< 5, turned photo` of the others; buckets
        without pairs are left out. A row of pictures for each clip, at its largest angle from two of the photos.
    """
    rows: dict[str, list[Scores]] = defaultdict(list)
    outcome = Outcome(columns=2 * ["photo", "truth", "avatar"])
    pipe = Baked(evaluation.pipe) if baked else evaluation.pipe
    for clip in evaluation.progress(evaluation.clips, "Turned"):
        compared = compared_frames(clip, num_frames)
        evaluation.targets(clip, compared)  # read at once
        shown: list[tuple[float, list[np.ndarray]]] = []  # of each photo the largest angle and its pictures
        for photo in photo_frames(clip):
            try:
                (portrait,) = evaluation.portraits(clip, [photo])
            except NoFaceError as error:  # found in the video, where the frames before help, and not in the frame alone
                logger.warning("%s is left out as a photo: %s", f"{clip.path.name}, frame {photo}", error)
                continue
            frames = [frame for frame in compared if frame != photo]
            targets = evaluation.targets(clip, frames)
            pictures = evaluation.render(pipe, evaluation.pipe.add_portrait(None, portrait, "gru"), targets)
            angles = [metrics.pose_error(clip.track(photo), clip.track(frame)) for frame in frames]
            kind = "turned" if abs(yaw(clip.track(photo).rotation)) > TURNED_BY else "frontal"
            for angle, target, picture in zip(angles, targets, pictures, strict=True):
                scores = evaluation.judge.compare(evaluation.judge.look(picture), target.face) | {"angle": angle}
                rows[bucket(angle)].append(scores)
                rows[f"{bucket(angle)}, {kind} photo"].append(scores)
            far = int(np.argmax(angles))
            shown.append((angles[far], [portrait.picture, targets[far].face.picture, pictures[far]]))
        shown = sorted(shown, key=lambda pair: -pair[0])[:2]
        if len(shown) == 2:
            (angle, pictures), (other_angle, other_pictures) = shown
            outcome.sheet.append((f"{clip.name}, {angle:.0f} and {other_angle:.0f}°", pictures + other_pictures))
    cases = [name + kind for kind in ("", ", frontal photo", ", turned photo") for name in BUCKETS]
    outcome.scores = {case: average(rows[case], METRICS) for case in cases if case in rows}
    return outcome


def photo_frames(clip: Clip) -> list[int]:
    """The frames with the least, the middle and the greatest yaw (signed), in the clip's order."""
    order = sorted(clip.tracked, key=lambda frame: yaw(clip.track(frame).rotation))
    return sorted([order[0], order[len(order) // 2], order[-1]])


def compared_frames(clip: Clip, count: int) -> list[int]:
    """`count` frames evenly over the clip, from its first to its last with a face; all of it where it has fewer."""
    places = np.linspace(0, len(clip.tracked) - 1, count).round().astype(int)
    return [clip.tracked[place] for place in sorted(set(places.tolist()))]
