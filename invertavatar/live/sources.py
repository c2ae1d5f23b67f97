"""Where live pictures come from: a camera, or a video file that stands for one.

Shapes: H W picture.
"""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from ..errors import MediaError
from ..media import VideoReader

CAMERA_SIZE = (640, 480)  # px that a camera is asked for; faces are tracked in close-ups of 384
PATIENCE = 5.0  # seconds without a picture, after which a camera counts as gone


class CameraSource:
    """A camera of this machine.

    Args:
        index: Its number, from 0.

    Raises:
        MediaError: There is none, or another program uses it.
    """

    def __init__(self, index: int):
        self.name = f"camera {index}"
        told = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it writes paragraphs of its own
        self._capture = cv2.VideoCapture(index)
        cv2.utils.logging.setLogLevel(told)
        if not self._capture.isOpened():
            raise MediaError(
                f"There is no camera {index} here, or another program uses it. Connect it, close the other program, "
                "or give another number or a video file."
            )
        for what, value in zip((cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), CAMERA_SIZE, strict=True):
            self._capture.set(what, value)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 30.0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Pictures [H, W, 3] uint8 RGB as they come, until the camera goes away."""
        seen = time.monotonic()
        while time.monotonic() - seen < PATIENCE:
            fine, picture = self._capture.read()
            if fine:
                seen = time.monotonic()
                yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        raise MediaError(f"No picture has come from {self.name} for {PATIENCE:.0f} s. Connect it again.")

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


class FilmSource:
    """A video file that stands for a camera: in a loop, at its own pace.

    Args:
        path: The file.

    Raises:
        MediaError: It cannot be read.
    """

    def __init__(self, path: str | Path):
        self.name = Path(path).name
        self._video = VideoReader(path)
        self.fps = float(self._video.fps)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Pictures [H, W, 3] uint8 RGB, each when its time has come; what comes late does not delay the next."""
        numbers, start = count(), time.monotonic()
        while True:
            for picture in self._video:
                due = start + next(numbers) / self.fps
                time.sleep(max(0.0, due - time.monotonic()))
                yield picture

    def close(self) -> None:
        """Close the file."""
        self._video.__exit__()
