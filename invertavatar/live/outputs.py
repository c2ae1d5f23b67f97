"""Where live frames go: a window, a virtual camera, a file. Each takes frames [S, S, 3] uint8 RGB."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np

from ..errors import InvertAvatarError
from ..media import VideoWriter

TITLE = "InvertAvatar"
HELP = "n: neutral   m: mirror   q: quit"
ESCAPE = 27
INK, SHADOW = (255, 255, 255), (0, 0, 0)


class Window:
    """A window with a line of text over the frame.

    Raises:
        InvertAvatarError: There is no display here.
    """

    def __init__(self):
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Qt would end the whole program.
            raise InvertAvatarError(
                "There is no display here for a window. Use --no-window, with --virtual-camera or --record out.mp4."
            )
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise InvertAvatarError(
                "This OpenCV shows no windows: install opencv-contrib-python, not a headless one; or use --no-window."
            ) from error

    def show(self, frame: np.ndarray, text: str) -> None:
        """Show a frame."""
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        height = picture.shape[0]
        for row, line in ((22, text), (height - 12, HELP)):
            for colour, thickness in ((SHADOW, 3), (INK, 1)):
                cv2.putText(picture, line, (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)
        cv2.imshow(TITLE, picture)

    def key(self) -> str | None:
        """The key that was pressed, "q" where the window was closed, None where nothing happened."""
        code = cv2.waitKey(1) & 0xFF
        if code == ESCAPE or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return None if code == 0xFF else chr(code)

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()


class VirtualCamera:
    """A camera that other programs see, by pyvirtualcam.

    Args:
        size: S.
        fps: Frames a second that it claims to give.

    Raises:
        InvertAvatarError: pyvirtualcam is not installed, or the system has no device for it.
    """

    def __init__(self, size: int, fps: float):
        try:
            import pyvirtualcam
        except ImportError:
            raise InvertAvatarError(
                'The virtual camera needs pyvirtualcam: pip install "invertavatar[live]", or pip install pyvirtualcam.'
            ) from None
        try:
            self._camera = pyvirtualcam.Camera(width=size, height=size, fps=fps)
        except RuntimeError as error:
            device = (
                "load the kernel's module (sudo modprobe v4l2loopback exclusive_caps=1)"
                if sys.platform == "linux"
                else "install OBS, start its virtual camera once and stop it"
            )
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise InvertAvatarError(
                f"This system has no virtual camera ({reason}): {device}, or leave --virtual-camera out."
            ) from error
        self.name = self._camera.device

    def show(self, frame: np.ndarray) -> None:
        """Send a frame."""
        self._camera.send(frame)

    def close(self) -> None:
        """Give the device back."""
        self._camera.close()


class Recording:
    """A video file at a constant rate: a frame stands until the next one has come.

    Args:
        path: As `VideoWriter` takes it.
        fps: Frames a second.
    """

    def __init__(self, path: Path, fps: float):
        self._writer, self._fps, self._written, self._last = VideoWriter(path, fps), fps, 0, None

    def show(self, frame: np.ndarray, seconds: float) -> None:
        """Take a frame that was ready so many seconds after the start."""
        if self._last is None:
            self._start, self._last = seconds, frame
        due = int((seconds - self._start) * self._fps)
        for _ in range(due - self._written):
            self._writer.write(self._last)
        self._written, self._last = max(due, self._written), frame

    def close(self, fine: bool = True) -> None:
        """Write the file; after an error nothing stays."""
        if self._last is not None and fine:
            self._writer.write(self._last)
        self._writer.__exit__(*(None, None, None) if fine else (InvertAvatarError, None, None))
