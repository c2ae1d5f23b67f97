"""A live avatar at work: pictures are read, tracked and drawn by three threads, each taking the newest there is."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np

from ..tracking.motion import Motion
from ..tracking.tracker import FaceTracker
from .driver import LiveDriver
from .latest import Latest
from .sources import CameraSource, FilmSource

LOOK_AROUND = 0.1  # seconds after which a loop without news looks whether it shall end
WARM_UP = 1.0  # seconds at the start that numbers leave out: loops are compiled, models loaded


@dataclass(frozen=True)
class Shown:
    """A frame that is ready to be shown, or None where nothing new has come for a while."""

    frame: np.ndarray | None  # [S, S, 3] uint8 RGB
    tracked: bool  # whether there is a face in sight
    calibrating: bool  # whether the neutral is still being watched
    seconds: float  # since the start
    taken: float  # when the picture was taken, on the clock of `time.perf_counter`


class Live:
    """Runs a source, a tracker and a renderer side by side.

    Args:
        source: Gives pictures.
        tracker: Tracks the face in them, in a thread of its own.
        driver: Makes motion of tracks.
        render: Draws motion, in the thread that iterates.
    """

    def __init__(
        self,
        source: CameraSource | FilmSource,
        tracker: FaceTracker,
        driver: LiveDriver,
        render: Callable[[Motion], np.ndarray],
    ):
        self.source, self.tracker, self.driver, self.render = source, tracker, driver, render
        self.shown: list[tuple[float, float]] = []  # when each frame was shown, and seconds since its picture was taken
        self.tracks = 0
        self._pictures: Latest[tuple[float, np.ndarray]] = Latest()
        self._motions: Latest[tuple[float, Motion | None]] = Latest()
        self._ending = threading.Event()

    def __iter__(self) -> Iterator[Shown]:
        """Frames as they become ready; one that comes late is not waited for. Say `done` after showing each.

        Raises:
            InvertAvatarError: The source has failed.
        """
        threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._track)]
        for thread in threads:
            thread.start()
        self._start = time.perf_counter()
        try:
            tracked = False
            while True:
                news = self._motions.take(LOOK_AROUND)
                if news is None and self._motions.closed:
                    return
                taken, motion = news or (0.0, None)
                if news is not None:
                    tracked = motion is not None
                frame = None if motion is None else self.render(motion)
                yield Shown(frame, tracked, self.driver.neutral is None, time.perf_counter() - self._start, taken)
        finally:
            self._ending.set()
            self._pictures.close()
            for thread in threads:
                thread.join()
            self.source.close()

    def done(self, shown: Shown) -> None:
        """Count a frame that has just been shown."""
        if shown.frame is not None:
            now = time.perf_counter()
            self.shown.append((now, now - shown.taken))

    @property
    def rate(self) -> float:
        """Frames a second over the last second."""
        times = [when for when, _ in self.shown[-120:]]
        recent = [when for when in times if times[-1] - when <= 1.0]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0

    def report(self) -> str:
        """What the whole run came to, in a sentence; the first second is left out."""
        settled = [(when, late) for when, late in self.shown if when - self.shown[0][0] > WARM_UP]
        if len(settled) < 2:
            return f"Frames shown: {len(self.shown)}, too few to measure."
        rate = (len(settled) - 1) / (settled[-1][0] - settled[0][0])
        latencies = sorted(1000 * late for _, late in settled)
        return (
            f"{len(settled)} frames, {rate:.1f} a second; latency {median(latencies):.0f} ms in the median, "
            f"{latencies[int(0.95 * len(latencies))]:.0f} ms at 95 %; {self._pictures.dropped} pictures came too soon "
            f"to be tracked, {self._motions.dropped} of {self.tracks} tracks to be drawn."
        )

    def _read(self) -> None:
        """The thread that reads: leaves each picture with the time when it came."""
        try:
            for picture in self.source:
                if self._ending.is_set():
                    return
                self._pictures.put((time.perf_counter(), picture))
            self._pictures.close()
        except BaseException as error:
            self._pictures.close(error)

    def _track(self) -> None:
        """The thread that tracks: leaves each motion with the time of its picture."""
        times = []

        def pictures() -> Iterator[np.ndarray]:
            while (taken := self._pictures.take()) is not None:
                times[:] = taken[:1]
                yield taken[1]

        try:
            for track in self.tracker.detect_video(pictures(), self.source.fps, name=self.source.name):
                self.tracks += 1
                self._motions.put((times[0], track and self.driver(track, times[0])))
            self._motions.close()
        except BaseException as error:
            self._motions.close(error)
