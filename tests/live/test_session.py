"""Reading, tracking and drawing side by side: the newest counts, nothing queues, failures come out."""

import time

import numpy as np
import pytest

from invertavatar.errors import MediaError
from invertavatar.live import FilmSource, Live
from invertavatar.live.driver import LiveDriver
from invertavatar.live.latest import Latest
from tests.conftest import ROOT

FILM = ROOT / "assets" / "examples" / "talk_a.mp4"


class Slow:
    """A renderer that takes its time and draws the jaw's score."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, motion):
        time.sleep(self.seconds)
        return np.full((8, 8, 3), 255 * float(motion.expression[0].clamp(0, 1).max()), np.uint8)


def test_who_takes_gets_the_newest_and_what_was_not_taken_is_dropped():
    place = Latest()
    for number in range(5):
        place.put(number)
    assert (place.take(), place.dropped) == (4, 4)
    assert place.take(timeout=0.01) is None
    place.close(MediaError("gone"))
    with pytest.raises(MediaError, match="gone"):
        place.take()


def test_a_slow_renderer_drops_frames_and_stays_near_the_present(face_tracker, tiny_avatar):
    live = Live(FilmSource(FILM), face_tracker, LiveDriver(tiny_avatar.rest), Slow(0.25))
    for shown in live:
        live.done(shown)
        if len(live.shown) >= 8:
            break
    assert live._motions.dropped + live._pictures.dropped > 8  # pictures came four times as fast
    assert all(latency < 1.5 for _, latency in live.shown[2:])  # a queue would have grown by 0.2 s with each
    assert "a second; latency" in live.report() and live.rate > 1


def test_a_film_comes_in_a_loop_at_its_own_pace_and_a_failing_source_ends_the_session(face_tracker, tiny_avatar):
    source = FilmSource(FILM)
    frames, start = iter(source), time.monotonic()
    for _ in range(6):
        next(frames)
    assert time.monotonic() - start > 5 / source.fps - 0.01

    class Broken:
        name, fps = "broken", 25.0

        def __iter__(self):
            yield np.full((64, 64, 3), 90, np.uint8)
            raise MediaError("No picture has come from broken.")

        def close(self):
            pass

    with pytest.raises(MediaError, match="No picture has come"):
        list(Live(Broken(), face_tracker, LiveDriver(tiny_avatar.rest), Slow(0)))
