"""Work done ahead: the same results in the same order, within bounds, and nothing left behind."""

import threading
import time
from itertools import count, islice

import pytest
import torch

from invertavatar.runtime.prefetch import prefetch, workers_for


@pytest.fixture(autouse=True)
def two_threads():
    """As if this machine had two cores; at the end no worker is left."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2 and not workers()
    torch.set_num_threads(before)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order_whichever_is_ready_first(num_workers):
    def late_first(k):
        time.sleep(0.02 * (3 - k % 4))
        return k

    assert list(prefetch(late_first, range(9), num_workers)) == list(range(9))


def test_no_more_is_read_than_what_is_asked_for_and_the_workers_next():
    read = []

    def items():
        for k in count():
            read.append(k)
            yield k

    stream = prefetch(lambda k: k, items(), 2)
    assert list(islice(stream, 10)) == list(range(10))
    assert len(read) == 10 + 2
    stream.close()


def test_several_are_made_at_once_by_threads_that_share_the_callers():
    met = threading.Barrier(2)

    def meet(_):
        met.wait(timeout=20)  # raises where nobody else comes
        return torch.get_num_threads(), torch.is_grad_enabled()

    assert list(prefetch(meet, range(4), 2)) == [(1, False)] * 4


def test_a_thread_started_later_has_the_number_of_threads_it_would_have_had():
    found = []
    stream = prefetch(lambda k: k, range(9), 2)
    next(stream)
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]
    stream.close()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_an_error_comes_in_its_turn(num_workers):
    def fragile(k):
        if k == 3:
            raise ValueError("three")
        return k

    got = []
    with pytest.raises(ValueError, match="three"):
        for k in prefetch(fragile, range(9), num_workers):
            got.append(k)
    assert got == [0, 1, 2]


def test_a_stream_closed_half_way_drops_what_has_not_begun():
    made = []
    stream = prefetch(lambda k: made.append(k), count(), 2)
    next(stream)
    stream.close()
    assert len(made) <= 3 and not workers()


def test_frames_are_rendered_ahead_on_a_cpu_of_several_cores_only():
    cpu = torch.device("cpu")
    assert workers_for(cpu, 100) == 2 and workers_for(cpu, 1) == 0
    assert workers_for(torch.device("cuda"), 100) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert workers_for(cpu, 100) == 0
    torch.set_num_threads(1)
    assert workers_for(cpu, 100) == 0
    torch.set_num_threads(2)
