"""The matte of a person: MediaPipe's selfie segmenter on a head crop, less whatever does not hang on the face.

Shapes: S side of a crop, V landmarks.

The segmenter's mask is taken as it comes: a guided filter along the crop's colours only adds a halo of background
around hair and ears.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from invertavatar.tracking.mediapipe_tasks import LazyTask

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision.image_segmenter import ImageSegmenter

STRAND_MARGIN = 1 / 50  # of the crop's side: what is farther from the solid person than this is no strand of hair
CORE = 0.85  # of the face's extent


class SelfieMatte:
    """Foreground (person, hair and clothes) of a head crop.

    Args:
        model: The bytes of `selfie_segmenter.tflite`.
    """

    def __init__(self, model: bytes):
        self._model = model
        self._segmenter = LazyTask(self._create)

    def __call__(self, image: np.ndarray, inside: np.ndarray, face: np.ndarray) -> np.ndarray:
        """Segment a head crop.

        Args:
            image: [S, S, 3] uint8 RGB.
            inside: [S, S] bool, a rectangle: the pixels that the picture really has. Only they are segmented, because
                a repeated edge looks to the segmenter like more of a person.
            face: [V, 2] landmarks in pixels of the crop. Their inner part is foreground whatever the segmenter says
                (it has been seen to cut out eyes), and what does not touch it is another person or thing.

        Returns:
            [S, S] float32, 0 background to 1 person, 0 where not inside.
        """
        rows, columns = (
            slice(line.argmax(), len(line) - line[::-1].argmax()) for line in (inside.max(1), inside.max(0))
        )
        result = self._segmenter.run("segment", image[rows, columns])
        matte = np.zeros(inside.shape, np.float32)
        matte[rows, columns] = result.confidence_masks[0].numpy_view().squeeze(-1)  # a view of memory that dies with it
        core = _face_core(face, len(matte)) & inside
        matte[core] = 1
        return matte * _near_head(matte > 0.5, core)

    def close(self) -> None:
        """Free the segmenter; the next call makes a new one."""
        self._segmenter.close()

    def _create(self) -> "ImageSegmenter":
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_buffer=self._model),
            output_confidence_masks=True,
            output_category_mask=False,
        )
        return vision.ImageSegmenter.create_from_options(options)


def _face_core(face: np.ndarray, size: int) -> np.ndarray:
    """The hull of the landmarks, drawn in to stay clear of the silhouette: [S, S] bool."""
    middle = face.mean(0)
    hull = cv2.convexHull((middle + CORE * (face - middle)).round().astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 1).astype(bool)


def _near_head(solid: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Where a person is solid, connected to the face, and a little around it: [S, S] uint8."""
    size = len(solid)
    _, labels = cv2.connectedComponents(solid.astype(np.uint8))
    head = np.isin(labels, np.unique(labels[core])).astype(np.uint8)
    kernel = 2 * round(STRAND_MARGIN * size) + 1
    return cv2.dilate(head, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel)))
