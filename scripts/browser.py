"""A headless Chromium whose camera is a film, and a server for a folder: for pictures and measurements of the live
page. The person in the film does not exist.
"""

import functools
import http.server
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from invertavatar.scripts.setup_environment import BROWSERS

if TYPE_CHECKING:
    import numpy as np
    from playwright.sync_api import Browser, Playwright

CAMERA_SIZE = (640, 480)  # px, which the page asks a camera for
NUMBER_BITS, NUMBER_SIZE = 8, 40  # a picture's number, in squares of so many px in its left margin


def chromium() -> str | None:
    """The program, where there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def browsing(film: Path | None = None, playwright: "Playwright | None" = None) -> "Iterator[Browser]":
    """A headless Chromium, whose camera is a film from `write_film`; under a Playwright that runs already, as there can
    be one in a process.

    Raises:
        typer.TyperException: There is none here.
    """
    program = chromium()
    if program is None:
        raise typer.TyperException("No Chromium here; install Debian's package chromium.")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
    if film:
        arguments += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]
    with nullcontext(playwright) if playwright else sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def numbered_frames(video: Path, stride: int = 1) -> "list[np.ndarray]":
    """Every `stride`-th frame of a square video as a camera would give it, its number drawn into the left margin."""
    import cv2
    import numpy as np

    from invertavatar.media import VideoReader

    width, height = CAMERA_SIZE
    frames = []
    with VideoReader(video) as reader:
        for number, frame in enumerate(list(reader)[::stride]):
            picture = np.full((height, width, 3), 128, np.uint8)
            left = (width - height) // 2
            picture[:, left : left + height] = cv2.resize(frame, (height, height), interpolation=cv2.INTER_AREA)
            for bit in range(NUMBER_BITS):
                rows = slice(bit * NUMBER_SIZE, (bit + 1) * NUMBER_SIZE)
                picture[rows, :NUMBER_SIZE] = 255 * (number >> bit & 1)
            frames.append(picture)
    return frames


def write_film(frames: "list[np.ndarray]", path: Path) -> Path:
    """Frames [480, 640, 3] uint8 as what Chromium takes for a camera: Motion JPEG, in a loop at 30 frames a second."""
    from PIL import Image

    with path.open("wb") as film:
        for frame in frames:
            encoded = io.BytesIO()
            Image.fromarray(frame).save(encoded, "JPEG", quality=92)
            film.write(encoded.getvalue())
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder is served."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
