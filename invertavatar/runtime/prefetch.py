"""Work done ahead of the one who asks for it, by threads, in little memory."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 4  # each holds a frame's worth of memory


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 1
) -> Generator[Result, None, None]:
    """`map(function, items)`, in order, of which the next `workers` + 1 results are already being made.

    Whole pictures on several threads keep cores busier than the threads inside of torch do, which share operations of
    a millisecond and wait for each other after each. The calling thread's number of torch threads is shared out
    between the workers; they compute without gradients. What `function` raises is raised in place of its result; after
    that, after Ctrl-C, or when the iterator is closed, what has not begun is dropped and no thread stays behind.

    Args:
        function: Called in other threads, with several items at a time where `workers` is above 1.
        items: Read in the calling thread, not further than they are needed.
        workers: Threads; 0 works in the calling thread, when asked.
    """
    if not workers:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    started = threading.Barrier(workers)

    def share_threads(_: int) -> None:
        torch.get_num_threads()  # a thread's first call takes over the number common to all, so not a later one
        torch.set_num_threads(max(1, threads // workers))
        started.wait()  # so that each worker gets its own

    @torch.no_grad()  # which is a matter of each thread
    def work(item: Item) -> Result:
        return function(item)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        list(pool.map(share_threads, range(workers)))
        torch.set_num_threads(threads)  # what threads to come begin with
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def staggered(items: Iterable[Item], finish: Callable[[Item], Result]) -> Generator[Result, None, None]:
    """`map(finish, items)`, each call after the next item was asked for.

    So a GPU has work while the host waits for the result before.
    """
    waiting = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > 1:
            yield finish(waiting.popleft())
    while waiting:
        yield finish(waiting.popleft())


def to_host(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begins to copy a tensor to the host; what is returned waits for it and gives it out.

    From CUDA it comes without holding up the device, into pinned memory, of which no more than a few pictures should
    be kept: copy what is to stay.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> torch.Tensor:
        copied.synchronize()
        return pinned

    return wait


def workers_for(device: torch.device, num_items: int) -> int:
    """How many workers render `num_items` batches of frames best.

    None on a GPU, which is one queue, where there is nothing to share, and under autocast, which other threads would
    not know of.
    """
    workers = min(torch.get_num_threads(), MAX_WORKERS, num_items)
    alone = device.type != "cpu" or workers == 1 or torch.is_autocast_enabled("cpu")
    return 0 if alone else workers
