"""MediaPipe Tasks, tamed: made on first use, quiet on start-up, safe to share between threads, gone without noise.

MediaPipe is imported on first use because its import takes seconds.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import queue
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

_stderr_lock = threading.Lock()
_open_tasks = weakref.WeakSet()
_forgotten: queue.SimpleQueue = queue.SimpleQueue()  # tasks to close, of which `_sweeper` takes care
_sweeper: threading.Thread | None = None


class LazyTask:
    """A MediaPipe task that is made on first use.

    Its methods may be called from any thread; MediaPipe runs one call at a time.

    Args:
        create: Makes the task; called again if the task is used after `close`.
    """

    def __init__(self, create: Callable[[], Any]):
        self._create = create
        self._task = None
        self._lock = threading.Lock()

    def run(self, method: str, image: np.ndarray) -> Any:
        """Call a method of the task on one picture.

        Args:
            method: `detect` or `segment`.
            image: [H, W, 3] uint8 RGB.
        """
        import mediapipe as mp

        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        with self._lock:
            if self._task is None:
                with _quiet_stderr():
                    self._task = self._create()
                _open_tasks.add(self)
                # Freed by the garbage collector as part of a cycle, a task would wait for its own executor, which the
                # collector has cleared before: it is closed while both still live. Not here, though: the collector may
                # come while this thread holds the very lock that closing takes.
                _sweep()
                weakref.finalize(self, _forgotten.put, self._task).atexit = False
            return getattr(self._task, method)(picture)

    def close(self) -> None:
        """Free the task; the next `run` makes a new one."""
        with self._lock:
            if self._task is not None:
                self._task.close()
                self._task = None


def _sweep() -> None:
    """Have a thread close what is forgotten; a process that was forked has to start its own."""
    global _sweeper
    if _sweeper is None or not _sweeper.is_alive():
        _sweeper = threading.Thread(target=_close_forgotten, name="mediapipe-sweeper", daemon=True)
        _sweeper.start()


def _close_forgotten() -> None:
    while True:
        try:
            _forgotten.get().close()
        except Exception:  # there is nobody to tell, and others wait
            logger.debug("A forgotten task could not be closed", exc_info=True)


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C++ writes to stderr out of the user's terminal.

    MediaPipe's start-up messages obey no environment variable, so the file descriptor itself is turned away for the
    short time a task is being made; what was written is logged at debug level.
    """
    with _stderr_lock, tempfile.TemporaryFile() as caught:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            logger.debug("MediaPipe wrote: %s", caught.read().decode(errors="replace"))


@atexit.register
def _keep_open_tasks() -> None:
    # MediaPipe closes a task on a thread pool, which the interpreter has ended by now, and a task swept away later
    # finds its own module half gone: both print a traceback. One reference too many prevents the sweep.
    for lazy in list(_open_tasks):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(lazy))
