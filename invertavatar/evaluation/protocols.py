"""The protocols: which photos make an avatar, which frames it is compared with, and how (paper 4.1, 4.2).

Shapes: S side of a crop.

Everything is compared over the normalized crop of 256 px. The truth is the driver's crop laid by its matte over mid
grey; the prediction is the avatar over the same, moved absolutely: with pose, expression and torso pose of that frame
as they are. Where the truth has no real pixels both are grey. A frame where no face is found in either picture counts
for PSNR, L1 and LPIPS, not for what needs landmarks (CSIM, AKD and the rest), and is counted as missed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import cv2
import numpy as np
import torch

from ..avatar import Avatar
from ..camera import project
from ..errors import InvertAvatarError, NoFaceError
from ..metrics import paper as metrics
from ..metrics.perceptual import LPIPS
from ..models.recurrent_unet import FusionMode
from ..tracking.motion import Motion
from ..tracking.portrait import CROP_SIZE, Portrait, prepare_portrait
from ..tracking.tracker import FaceTracker, Track
from .clips import Clip, load_clips

if TYPE_CHECKING:
    from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline

SIZE = 256  # S
GREY = 128  # what is behind the head
BATCH_SIZE = 4  # frames rendered at a time
FUSION_PHOTOS = 4  # for the comparison of fusion modes
JITTER_FRAMES = 16
SAME_METRICS = ("psnr", "l1", "lpips", "csim", "akd")
CROSS_METRICS = ("csim", "akd", "pose", "expression")
JITTER_METRICS = ("output", "driver", "ratio")
SHARPNESS_METRICS = ("avatar", "photo", "ratio")
# The additions of DESIGN 5 that weights can do without, with the component and what is switched off in it. Without the
# surface another network draws the frame; the small output heads (5.4) are a matter of the start of training.
ABLATIONS: dict[str, tuple[str, dict]] = {
    "observed_colour": ("generator", {"observed_colour": False}),
    "torso_pose": ("triplane_encoder", {"posture_channels": ()}),
}

FUSIONS: tuple[FusionMode, ...] = ("gru", "mean", "first")

Scores = dict[str, float]
Item = TypeVar("Item")


class Animator(Protocol):
    """Draws avatars: a pipeline, or what takes its place."""

    def animate_stream(
        self,
        avatar: Avatar,
        *,
        motion: Motion,
        relative_motion: bool,
        height: int,
        framing: str,
        background: str,
        batch_size: int,
        crossfade: float,
    ) -> Iterator[np.ndarray]:
        """Frame after frame, [S, S, 3] uint8, of height S."""
        ...


@dataclass(frozen=True)
class Face:
    """A picture and what is found in it."""

    picture: np.ndarray  # [S, S, 3] uint8 RGB
    track: Track | None  # None: no face found
    identity: np.ndarray | None  # [128] SFace

    @property
    def found(self) -> tuple[Track, np.ndarray] | None:
        """Track and identity, where there is a face."""
        return None if self.track is None or self.identity is None else (self.track, self.identity)


@dataclass(frozen=True)
class Target:
    """A driver's frame: the truth to compare with and the motion that leads there."""

    face: Face
    inside: np.ndarray  # [S, S] bool, real pixels
    motion: Motion  # one frame


@dataclass(frozen=True)
class Case:
    """How an avatar is made."""

    pipe: "InvertAvatarPipeline"
    photos: int = 1
    fusion: FusionMode = "gru"
    states: FusionMode | None = None  # the same for the encoders' hidden states alone; None: as all else


@dataclass
class Outcome:
    """What a protocol yields."""

    scores: dict[str, Scores] = field(default_factory=dict)  # case ("" where there is one) -> metric -> mean
    sheet: list[tuple[str, list[np.ndarray]]] = field(default_factory=list)  # rows of pictures with a name
    columns: list[str] = field(default_factory=list)  # what the pictures of a row are


class Judge:
    """Looks at pictures with the networks that the metrics need.

    Args:
        tracker: Finds landmarks.
        lpips: In any device's memory.
        recognizer: For CSIM.
    """

    def __init__(self, tracker: FaceTracker, lpips: LPIPS, recognizer: metrics.FaceRecognizer):
        self.tracker, self.lpips, self.recognizer = tracker, lpips, recognizer

    def look(self, picture: np.ndarray) -> Face:
        """Find the face in a picture [S, S, 3] uint8."""
        try:
            track = self.tracker.detect(picture)
        except NoFaceError:
            return Face(picture, None, None)
        return Face(picture, track, self.recognizer.embed(picture, track.landmarks))

    @torch.no_grad()
    def compare(self, prediction: Face, truth: Face) -> Scores:
        """`psnr`, `l1`, `lpips`, and where both show a face `csim` and `akd`."""
        x, y = (self._tensor(face.picture) for face in (prediction, truth))
        scores = {
            "psnr": float(metrics.psnr(x, y)),
            "l1": float(metrics.l1(x, y)),
            "lpips": float(self.lpips(2 * x - 1, 2 * y - 1)),
        }
        if (own := prediction.found) and (true := truth.found):
            scores["csim"] = metrics.csim(own[1], true[1])
            scores["akd"] = metrics.akd(own[0].landmarks, true[0].landmarks, SIZE)
        return scores

    def compare_across(self, prediction: Face, photo: Face, driver: Face) -> Scores:
        """Two people, where all three show a face: `csim` to the photo; against the driver `akd` after the similarity
        that brings the landmarks nearest to each other, `pose` in degrees and `expression` as the mean difference of
        the 52 scores.
        """
        own, source, moved = prediction.found, photo.found, driver.track
        if own is None or source is None or moved is None:
            return {}
        track, identity = own
        return {
            "csim": metrics.csim(identity, source[1]),
            "akd": metrics.akd(metrics.aligned(track.landmarks, moved.landmarks), moved.landmarks, SIZE),
            "pose": metrics.pose_error(track, moved),
            "expression": metrics.expression_error(track, moved),
        }

    def _tensor(self, picture: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(picture).to(self.lpips.shift.device).permute(2, 0, 1)[None] / 255


class Evaluation:
    """The protocols on one set of clips.

    Photos and test frames are prepared once and kept: a few MB for each clip.

    Args:
        pipe: The model, with its tracker.
        clips: From `load_clips`.
        judge: Compares pictures.
        num_frames: Test frames of each clip.

    Raises:
        InvertAvatarError: There is no clip.
    """

    def __init__(self, pipe: "InvertAvatarPipeline", clips: Sequence[Clip], judge: Judge, num_frames: int = 10):
        if not clips:
            raise InvertAvatarError("No clip is left to evaluate on. Give videos in which a face can be seen.")
        self.pipe, self.clips, self.judge, self.num_frames = pipe, clips, judge, num_frames
        self._recorder = pipe.recorder._replace(tracker=judge.tracker)
        self._portraits: dict[tuple[str, int], Portrait] = {}
        self._targets: dict[tuple[str, int], Target] = {}

    @classmethod
    def of_videos(
        cls,
        pipe: "InvertAvatarPipeline",
        paths: Sequence[Path],
        lpips: LPIPS,
        recognizer: metrics.FaceRecognizer,
        num_frames: int = 10,
    ) -> "Evaluation":
        """Track videos first, with a progress bar.

        Args:
            pipe: The model; without a tracker of its own the shipped one looks.
            paths: From `find_clips`.
            lpips: Is moved to the model's device.
            recognizer: For CSIM.
            num_frames: Test frames of each clip.

        Raises:
            InvertAvatarError: None of them is of use.
        """
        tracker = pipe.face_tracker or FaceTracker.from_pretrained()
        progress = pipe.progress_bar(paths)
        progress.set_description("Tracking")
        clips = list(load_clips(progress, tracker, pipe.head_model))
        return cls(pipe, clips, Judge(tracker, lpips.to(pipe.device), recognizer), num_frames)

    def same_identity(self, num_photos: Sequence[int] = (1, 2, 4, 8)) -> Outcome:
        """Photos evenly spaced over the first half of each clip, compared with frames of the second half."""
        cases = {str(count): Case(self.pipe, count) for count in num_photos}
        return self.compare(cases, "Same identity")

    def fusion(self) -> Outcome:
        """The GRU against the two baselines, from 4 photos, and hidden states alone with colours and views fixed."""
        cases = {mode: Case(self.pipe, FUSION_PHOTOS, mode) for mode in FUSIONS}
        cases["gru, colours of the first"] = Case(self.pipe, FUSION_PHOTOS, "first", states="gru")
        cases["mean, colours as by gru"] = Case(self.pipe, FUSION_PHOTOS, "gru", states="mean")
        return self.compare(cases, "Fusion")

    def ablations(self) -> Outcome:
        """Each addition switched off in the same weights, from 1 photo: nothing is trained anew without it."""
        pipes = {"full": self.pipe} | {name: without(self.pipe, name) for name in ABLATIONS}
        return self.compare({name: Case(pipe) for name, pipe in pipes.items()}, "Ablations")

    def cross_identity(self) -> Outcome:
        """Every ordered pair of people, by the first clip of each: the first frame of one, moved by the other."""
        people = {clip.person: clip for clip in reversed(self.clips)}
        clips = [clip for clip in self.clips if people[clip.person] is clip]
        outcome, rows = Outcome(columns=["photo", "driver", "avatar"]), []
        avatars = {clip.name: self._reconstruct(Case(self.pipe), clip) for clip in clips}
        for source, driver in self.progress(list(permutations(clips, 2)), "Cross identity"):
            targets = self.targets(driver, driver.test_frames(self.num_frames))
            photo = self.targets(source, source.photo_frames(1))[0].face
            pictures = self.render(self.pipe, avatars[source.name], targets)
            rows += [
                self.judge.compare_across(self.judge.look(picture), photo, target.face)
                for picture, target in zip(pictures, targets, strict=True)
            ]
            shown = [photo.picture, targets[0].face.picture, pictures[0]]
            outcome.sheet.append((f"{source.name} by {driver.name}", shown))
        outcome.scores[""] = average(rows, CROSS_METRICS)
        return outcome

    def jitter(self) -> Outcome:
        """Acceleration of the landmarks over consecutive frames: the avatar's of 1 photo, and the driver's own."""
        outcome, rows = Outcome(), []
        for clip in self.progress(self.clips, "Jitter"):
            targets = self.targets(clip, clip.test_run(JITTER_FRAMES))
            pictures = self.render(self.pipe, self._reconstruct(Case(self.pipe), clip), targets)
            tracks = [
                (self.judge.look(picture).track, target.face.track)
                for picture, target in zip(pictures, targets, strict=True)
            ]
            landmarks = np.array([[own.landmarks, true.landmarks] for own, true in tracks if own and true])
            if len(landmarks) == len(tracks) > 2:
                output, driver = (metrics.jitter(landmarks[:, side], SIZE) for side in (0, 1))
                rows.append({"output": output, "driver": driver, "ratio": output / driver})
            else:
                rows.append({})
        outcome.scores[""] = average(rows, JITTER_METRICS)
        return outcome

    def sharpness(self) -> Outcome:
        """Fine structure of the face at 512 px: of the avatar of 1 photo, as it is in that photo, and of the photo."""
        outcome, rows = Outcome(columns=["photo", "avatar"]), []
        for clip in self.progress(self.clips, "Sharpness"):
            portrait = self.portraits(clip, clip.photo_frames(1))[0]
            target = self.targets(clip, clip.photo_frames(1))[0]
            avatar = self._reconstruct(Case(self.pipe), clip)
            (picture,) = self._frames(self.pipe, avatar, [target], CROP_SIZE)
            face = face_region(portrait)
            output, own = (metrics.high_pass_detail(seen, face) for seen in (picture, portrait.picture))
            rows.append({"avatar": output, "photo": own, "ratio": output / own})
            outcome.sheet.append((clip.name, [portrait.picture, picture]))
        outcome.scores[""] = average(rows, SHARPNESS_METRICS)
        return outcome

    def targets(self, clip: Clip, frames: Iterable[int]) -> list[Target]:
        """Frames of a clip to compare with."""
        frames = list(frames)
        missing = [frame for frame in frames if (clip.name, frame) not in self._targets]
        if missing:
            for frame, (picture, track) in clip.read(missing).items():
                crop = self.judge.tracker.crop(picture, track, SIZE)
                truth = over_grey(crop.image, crop.matte)
                torso_pose = self._recorder.with_torso_pose(picture, track).torso_pose
                motion = replace(clip.motion[frame], torso_pose=None if torso_pose is None else torso_pose[None])
                self._targets[clip.name, frame] = Target(self.judge.look(truth), crop.inside, motion)
        return [self._targets[clip.name, frame] for frame in frames]

    def portraits(self, clip: Clip, frames: Iterable[int]) -> list[Portrait]:
        """Frames of a clip as photos."""
        frames = list(frames)
        missing = [frame for frame in frames if (clip.name, frame) not in self._portraits]
        if missing:
            for frame, (picture, _) in clip.read(missing).items():
                name = f"{clip.path.name}, frame {frame}"
                self._portraits[clip.name, frame] = prepare_portrait(picture, self.judge.tracker, name)
        return [self._portraits[clip.name, frame] for frame in frames]

    def render(self, pipe: Animator, avatar: Avatar, targets: list[Target]) -> list[np.ndarray]:
        """The avatar as in the targets: [S, S, 3] uint8 each, grey where the target has no pixels."""
        return [
            np.where(target.inside[..., None], picture, np.uint8(GREY))
            for picture, target in zip(self._frames(pipe, avatar, targets, SIZE), targets, strict=True)
        ]

    def progress(self, items: Sequence[Item], title: str) -> Iterable[Item]:
        """Items to go through, with a progress bar."""
        bar = self.pipe.progress_bar(items)
        bar.set_description(title)
        return bar

    def compare(self, cases: dict[str, Case], title: str, itself: bool = False) -> Outcome:
        """Avatars of photos from the first half of each clip, compared with frames of the second half.

        Args:
            cases: Name -> how an avatar is made. All models have the torso-pose network of the evaluation's.
            title: Of the progress bar.
            itself: Compare with the first photo itself instead.
        """
        outcome, rows = Outcome(columns=["photo", "truth", *cases]), {name: [] for name in cases}
        for clip in self.progress(self.clips, title):
            targets = self.targets(clip, clip.photo_frames(1) if itself else clip.test_frames(self.num_frames))
            shown = [self.targets(clip, clip.photo_frames(1))[0].face.picture, targets[0].face.picture]
            for name, case in cases.items():
                pictures = self.render(case.pipe, self._reconstruct(case, clip), targets)
                rows[name] += [
                    self.judge.compare(self.judge.look(picture), target.face)
                    for picture, target in zip(pictures, targets, strict=True)
                ]
                shown.append(pictures[0])
            outcome.sheet.append((clip.name, shown))
        outcome.scores = {name: average(scores, SAME_METRICS) for name, scores in rows.items()}
        return outcome

    def _reconstruct(self, case: Case, clip: Clip) -> Avatar:
        first, *others = self.portraits(clip, clip.photo_frames(case.photos))
        avatar = case.pipe.add_portrait(None, first, case.fusion)
        for portrait in others:
            avatar = case.pipe.add_portrait(avatar, portrait, case.fusion)
        if case.states is not None:
            other = self._reconstruct(Case(case.pipe, case.photos, case.states), clip)
            avatar = replace(avatar, texture_state=other.texture_state, triplane_state=other.triplane_state)
        return avatar

    def _frames(self, pipe: Animator, avatar: Avatar, targets: list[Target], size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(targets), BATCH_SIZE):
            motion = Motion.concatenate([target.motion for target in targets[start : start + BATCH_SIZE]])
            yield from pipe.animate_stream(
                avatar,
                motion=motion,
                relative_motion=False,
                height=size,
                framing="crop",  # as targets are
                background="gray",
                batch_size=BATCH_SIZE,
                crossfade=0,  # test frames lie apart
            )


def over_grey(picture: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """A picture [S, S, 3] uint8 laid by its matte [S, S] in 0..1 over mid grey; uint8."""
    return (GREY + (picture - float(GREY)) * matte[..., None]).round().astype(np.uint8)


def face_region(portrait: Portrait) -> np.ndarray:
    """[S, S] bool: the convex hull of the landmarks in a portrait's crop."""
    size = portrait.photo.shape[-1]
    points = (project(portrait.vertices, portrait.rotation)[0, :, :2].numpy() + 1) * size / 2
    region = np.zeros((size, size), np.uint8)
    return cv2.fillConvexPoly(region, cv2.convexHull(points.round().astype(np.int32)), 1).astype(bool)


def average(rows: Sequence[Scores], names: Sequence[str]) -> Scores:
    """The mean of each metric over the rows that have it, with the `count` of rows and of those that `missed` one."""
    scores: Scores = {}
    for name in names:
        if values := [row[name] for row in rows if name in row]:
            scores[name] = float(np.mean(values))
    scores["count"], scores["missed"] = len(rows), sum(not row.keys() >= set(names) for row in rows)
    return scores


def without(pipe: "InvertAvatarPipeline", addition: str) -> "InvertAvatarPipeline":
    """The same weights with one addition of DESIGN 5 switched off.

    Args:
        pipe: Stays as it is.
        addition: A key of `ABLATIONS`.
    """
    name, switches = ABLATIONS[addition]
    component = pipe.components[name]
    config = {key: value for key, value in component.config.items() if not key.startswith("_")}
    ablated = type(component)(**config | switches)
    full = component.state_dict()
    ablated.load_state_dict({key: full[key] for key in ablated.state_dict()}, assign=True)  # device and precision too
    ablated = ablated.to(component.device).eval()
    other = type(pipe)(**{**pipe.components, name: ablated})
    other.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return other
