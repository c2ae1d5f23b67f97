"""The face tracker: photos and videos -> landmarks, expression, head pose, normalized crop (DESIGN 4).

Shapes: H W picture, S side of a crop.

A face is found in the whole picture or, failing that, in ever more desperate views of it. What is found there is only
a place to look: the landmarks come from close-ups in which the head stands upright at one size, so that they do not
depend on how the picture is framed. The mean over a few close-ups is steadier still, and close-ups that disagree
unmask what is no face. A video is followed close-up to close-up by the same rule.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from invertavatar.errors import InvertAvatarError, NoFaceError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.pose import HeadPose, PoseTemplate
from invertavatar.tracking.crop import Crop, framing, inside_picture, transform_points, warp
from invertavatar.tracking.matting import SelfieMatte
from invertavatar.tracking.mediapipe_tasks import LazyTask
from invertavatar.tracking.search_views import View, search_views
from invertavatar.tracking.tracker_files import (
    DEFAULT_FOLDER,
    TrackerConfig,
    TrackerFiles,
    check_models,
    read_folder,
    write_folder,
)

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarker

logger = logging.getLogger(__name__)

CLOSE_UP_SIZE = 384  # pixels
# Close-ups of a photo: (half side in head units, shift right, shift down in head units, roll in degrees).
CLOSE_UPS = ((1.0, 0.0, 0.0, 0.0), (0.93, 0.04, 0.0, 3.0), (1.06, -0.04, 0.03, -3.0), (0.97, 0.0, -0.04, 1.5))
SAME_FACE = 0.5  # two faces nearer than this, in head units, are one
COMPARABLE = 0.6  # a second face at least this large beside the first is worth a warning


@dataclass(frozen=True)
class Track:
    """One tracked face: `landmarks * (1, -1, -1) = scale * rotation @ vertices + translation` (see `pose`)."""

    landmarks: np.ndarray  # [478, 3] float32, pixels, x right, y down, z in the same unit, negative toward the viewer
    expression: np.ndarray  # [52] float32 in 0..1, order of ARKIT_NAMES; tongueOut is not measured and 0
    rotation: np.ndarray  # [3, 3] float32, head -> camera
    scale: float  # pixels of one head unit
    centre: np.ndarray  # [2] float32, pixel of the head's origin
    vertices: np.ndarray  # [478, 3] float32, the landmarks in head space
    size: tuple[int, int]  # width, height of the picture
    num_faces: int  # seen in the picture (of a video: when it was last searched)
    torso_pose: np.ndarray | None = None  # [12] how hair and shoulders lie, where a `Recorder` read it (`rest_pose`)


class _Face(NamedTuple):
    landmarks: np.ndarray  # [478, 3] float64, pixels
    expression: np.ndarray  # [52] float64
    pose: HeadPose


class FaceTracker:
    """MediaPipe's face landmarker and selfie segmenter as a component of the pipeline.

    It may be used from several threads, which then take turns. The models start on first use; `close` (or a `with`
    block) frees them.

    Args:
        config: Names, hashes and thresholds.
        models: File name -> content of the two model files of `config`.
        template: The mean head for the pose.
        notice: Licence notice of the model files, kept beside them.

    Raises:
        InvertAvatarError: A model file is not the one that `config` names by its hash.
    """

    def __init__(self, config: TrackerConfig, models: dict[str, bytes], template: PoseTemplate, notice: str = ""):
        check_models(config, models)
        self.config, self.template = config, template
        self._models, self._notice = models, notice
        self._landmarker = LazyTask(self._create_landmarker)
        self._matte = SelfieMatte(models[config.segmenter])

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path = DEFAULT_FOLDER, subfolder: str | None = None, **kwargs
    ) -> "FaceTracker":
        """Read a tracker's folder, here or on the Hub.

        Args:
            pretrained_model_name_or_path: A local folder, by default the one shipped with the package, or a Hub id.
            subfolder: Folder within it, `face_tracker` in a pipeline's.
            **kwargs: `revision`, `cache_dir`, `local_files_only`, `force_download` and `token` as in diffusers; what
                else it passes to every component (dtype and the like) is of no use here.

        Raises:
            InvertAvatarError: There is no such folder, or a file in it is missing, damaged or not the one that
                `config.json` names.
        """
        return cls(*read_folder(pretrained_model_name_or_path, subfolder, kwargs))

    def save_pretrained(self, folder: str | Path, **kwargs) -> None:
        """Write everything that `from_pretrained` reads; the folder is made.

        Args:
            folder: Where to.
            **kwargs: What diffusers passes to every component; no use here.
        """
        write_folder(Path(folder), TrackerFiles(self.config, self._models, self.template, self._notice))

    def detect(self, image: np.ndarray, name: str = "photo", face_index: int = 0) -> Track:
        """Track a face in a photo.

        Args:
            image: [H, W, 3] uint8 RGB.
            name: What messages call the picture.
            face_index: Which of several faces, 0 is the largest.

        Raises:
            NoFaceError: There is no face, or not so many.
        """
        _check_image(image, name)
        faces = self._search(image)
        if not faces:
            raise NoFaceError(
                f"No face found in {name}. Use a picture where the face is larger than 64 px, not cut off "
                "and not seen from the side only."
            )
        return _track(_pick(faces, face_index, name), image, len(faces))

    def detect_video(
        self, frames: Iterable[np.ndarray], fps: float, face_index: int = 0, name: str = "video"
    ) -> Iterator[Track | None]:
        """Track one face through a video, frame by frame as they come.

        Args:
            frames: [H, W, 3] uint8 RGB each, all of one size.
            fps: Frames per second; while no face is in sight the picture is searched thoroughly once a second.
            face_index: Which of the faces in the first frame that shows any, 0 is the largest; the one nearest to
                where it was last is followed from there.
            name: What messages call the video.

        Yields:
            The track of each frame, None where there is no face.

        Raises:
            NoFaceError: The first frame with faces has too few of them for `face_index`.
        """
        patience = max(1, round(fps))
        face, last, num_faces = None, None, 0
        for index, image in enumerate(frames):
            _check_image(image, name)
            face = face and self._close_up(image, face.pose, CLOSE_UPS[0])
            if face is None:
                faces = self._search(image, thorough=index % patience == 0)
                num_faces = len(faces)
                if faces:
                    face = _nearest(faces, last.pose) if last else _pick(faces, face_index, name)
            last = face or last
            yield _track(face, image, num_faces) if face else None

    def crop(self, image: np.ndarray, track: Track, size: int = 512) -> Crop:
        """The normalized crop of a tracked face.

        Its middle is the head's origin, half its side is one head unit, and it is not rotated: a vertex X of the track
        lies at `(rotation @ X)_xy` in [-1, 1], y up.

        Args:
            image: The picture that was tracked, [H, W, 3] uint8 RGB.
            track: What `detect` gave for it.
            size: Side of the crop in pixels.
        """
        transform = framing(track.centre, track.scale, size)
        picture = warp(image, transform, (size, size), repeat_edge=True)
        inside = inside_picture(image.shape[:2], transform, size)
        matte = self._matte(picture, inside, transform_points(transform, track.landmarks[:, :2]))
        return Crop(picture, inside, matte, transform.astype(np.float32))

    def close(self) -> None:
        """Free the models; a later use starts them again."""
        self._landmarker.close()
        self._matte.close()

    def __enter__(self) -> "FaceTracker":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def __reduce__(self):
        return FaceTracker, (self.config, self._models, self.template, self._notice)

    def _create_landmarker(self) -> "FaceLandmarker":
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self._models[self.config.landmarker]),
            output_face_blendshapes=True,
            num_faces=self.config.max_faces,
            min_face_detection_confidence=self.config.min_face_detection_confidence,
            min_face_presence_confidence=self.config.min_face_presence_confidence,
        )
        return vision.FaceLandmarker.create_from_options(options)

    def _search(self, image: np.ndarray, thorough: bool = True) -> list[_Face]:
        """All faces of the first views that surely show one, the largest first; else the least doubtful one, if any."""
        best: tuple[float, _Face | None] = (np.inf, None)
        height, width = image.shape[:2]
        for views in search_views(width, height, thorough):
            faces: list[_Face] = []
            sure = False
            for candidate in [face for view in views for face in self._look(image, view)]:
                if _same(faces, candidate.pose):
                    continue
                face, disagreement = self._refine(image, candidate.pose)
                if face is None or disagreement > self.config.max_disagreement or _same(faces, face.pose):
                    continue
                faces.append(face)
                sure = sure or disagreement <= self.config.sure_disagreement
                best = min(best, (disagreement, face), key=lambda pair: pair[0])
            if sure:
                return sorted(faces, key=lambda face: -face.pose.scale)
        return [best[1]] if best[1] else []

    def _look(self, image: np.ndarray, view: View) -> list[_Face]:
        """The faces that MediaPipe sees in a view, in pixels of the picture."""
        width, height = view.size
        result = self._landmarker.run("detect", warp(image, view.transform, view.size))
        back = np.linalg.inv(np.vstack([view.transform, (0, 0, 1)]))[:2]
        scale = np.hypot(*back[:, 0])
        faces = []
        for points, categories in zip(result.face_landmarks, result.face_blendshapes, strict=True):
            points = np.array([(p.x * width, p.y * height, p.z * width) for p in points])
            landmarks = np.column_stack([transform_points(back, points[:, :2]), points[:, 2] * scale])
            scores = {category.category_name: category.score for category in categories}
            expression = np.array([scores.get(name, 0.0) for name in ARKIT_NAMES])
            faces.append(_Face(landmarks, expression, self.template.fit(landmarks)))
        return faces

    def _close_up(self, image: np.ndarray, pose: HeadPose, close_up: tuple) -> _Face | None:
        """The face in an upright close-up of a head that was seen at `pose` before."""
        half_side, right, down, roll = close_up
        centre = pose.centre + pose.scale * np.array([right, down])
        transform = framing(centre, half_side * pose.scale, CLOSE_UP_SIZE, pose.roll + roll)
        return _same(self._look(image, View(transform, (CLOSE_UP_SIZE, CLOSE_UP_SIZE))), pose)

    def _refine(self, image: np.ndarray, pose: HeadPose) -> tuple[_Face | None, float]:
        """The mean face of several close-ups and how far they disagree, in head units (infinite where few show it)."""
        first = self._close_up(image, pose, CLOSE_UPS[0])
        if first is None:
            return None, np.inf
        faces = [first] + [self._close_up(image, first.pose, close_up) for close_up in CLOSE_UPS[1:]]
        faces = [face for face in faces if face]
        if 2 * len(faces) < len(CLOSE_UPS):
            return None, np.inf
        landmarks = np.mean([face.landmarks for face in faces], 0)
        expression = np.mean([face.expression for face in faces], 0)
        pose = self.template.fit(landmarks)
        distances = [np.linalg.norm(face.landmarks - landmarks, axis=-1) for face in faces]
        return _Face(landmarks, expression, pose), float(np.mean(distances) / pose.scale)


def _nearest(faces: list[_Face], pose: HeadPose) -> _Face:
    return min(faces, key=lambda face: np.linalg.norm(face.pose.centre - pose.centre))


def _same(faces: list[_Face], pose: HeadPose) -> _Face | None:
    """The face that is where a head was seen before, if there is one."""
    near = [face for face in faces if np.linalg.norm(face.pose.centre - pose.centre) < SAME_FACE * pose.scale]
    return _nearest(near, pose) if near else None


def _pick(faces: list[_Face], face_index: int, name: str) -> _Face:
    if not 0 <= face_index < len(faces):
        raise NoFaceError(
            f"There is no face number {face_index} in {name}: {len(faces)} found. "
            f"Choose a face index from 0 (the largest) to {len(faces) - 1}."
        )
    if face_index == 0 and len(faces) > 1 and faces[1].pose.scale > COMPARABLE * faces[0].pose.scale:
        logger.warning(
            "There are %d faces of about the same size in %s; the largest is used. Choose another with face_index.",
            len(faces),
            name,
        )
    return faces[face_index]


def _track(face: _Face, image: np.ndarray, num_faces: int) -> Track:
    pose = face.pose
    return Track(
        landmarks=face.landmarks.astype(np.float32),
        expression=face.expression.astype(np.float32),
        rotation=pose.rotation,
        scale=pose.scale,
        centre=pose.centre,
        vertices=pose.vertices,
        size=image.shape[1::-1],
        num_faces=num_faces,
    )


def _check_image(image: np.ndarray, name: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InvertAvatarError(
            f"The tracker needs uint8 RGB pictures [H, W, 3], but {name} is {image.dtype} {list(image.shape)}."
        )
