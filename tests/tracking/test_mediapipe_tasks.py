import gc
import threading
from concurrent import futures
from concurrent.futures import thread as pools
from importlib import import_module

import numpy as np
import pytest

from invertavatar.tracking.mediapipe_tasks import LazyTask

PICTURE = np.zeros((8, 8, 3), np.uint8)


class Task:
    """Closed, as MediaPipe's are, by a thread pool."""

    def __init__(self, pool, closed):
        self.pool, self.closed = pool, closed

    def detect(self, picture):
        return picture.height

    def close(self):
        self.pool.submit(self.closed.set)


@pytest.fixture
def pool():
    import_module("mediapipe")  # which on its first import keeps the frames that it is imported from
    with futures.ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_task_that_goes_while_its_pool_takes_work_does_not_wait_for_itself(pool):
    closed, done = threading.Event(), threading.Event()

    def collected():
        lazy = LazyTask(lambda: Task(pool, closed))
        assert lazy.run("detect", PICTURE) == 8
        with pools._global_shutdown_lock:  # as in the midst of `submit`
            del lazy
            done.set()

    threading.Thread(target=collected, daemon=True).start()
    assert done.wait(20)
    assert closed.wait(20)


def test_a_task_that_cannot_be_closed_keeps_no_other_from_it(pool):
    closed = threading.Event()

    class Broken(Task):
        def close(self):
            raise RuntimeError

    for kind in (Broken, Task):
        LazyTask(lambda kind=kind: kind(pool, closed)).run("detect", PICTURE)
    gc.collect()
    assert closed.wait(20)
