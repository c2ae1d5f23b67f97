"""Many visitors at once, again and again. INVERTAVATAR_SOAK=50 makes it 200 requests; that takes `--timeout 900`."""

import ctypes
import gc
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from gradio_client import Client

from tests.app.conftest import SIZES
from tests.app.test_endpoints import built, picture

PEOPLE = ("anna_1", "ben_1", "clara_1", "dan_1")
REQUESTS = int(os.environ.get("INVERTAVATAR_SOAK", "3"))  # of each visitor: one in three builds, the others render
GROWTH = 100e6  # bytes that the process, which is the server and its visitors, may gain after the first round


def yaw_of(request: int) -> float:
    return (7 * request) % 41 - 20


def used_memory() -> int:
    """Bytes in use: what is free but kept for later by the allocator of each of the many threads is handed back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def visit(client: Client, name: str, requests: range) -> dict[int, np.ndarray]:
    """What a visitor sees, under the number of each request that renders."""
    seen = {}
    for request in requests:
        if request % 3 == 0:
            _, status, comparison, _ = built(client, name)
            assert "Built from 1 photo" in status
            assert [row["caption"].split(":")[0] for row in comparison] == [f"{name}.jpg"]
        else:
            seen[request] = picture(client.predict(yaw=yaw_of(request), size=SIZES[0], api_name="/render")).astype(
                np.uint8
            )
    return seen


def test_each_of_four_visitors_at_once_gets_all_of_their_own_results(server, tiny_pipeline, portrait, tmp_path):
    clients = [Client(str(server), verbose=False, download_files=str(tmp_path / name)) for name in PEOPLE]

    def everyone(requests: range) -> list[dict[int, np.ndarray]]:
        with ThreadPoolExecutor(len(PEOPLE)) as crowd:
            return list(crowd.map(visit, clients, PEOPLE, [requests] * len(PEOPLE)))

    start = time.perf_counter()
    everyone(range(1))  # what is loaded once is there now
    before = used_memory()
    seen = everyone(range(1, REQUESTS))
    growth = used_memory() - before
    seconds = time.perf_counter() - start
    print(f"{len(PEOPLE) * REQUESTS} requests in {seconds:.0f} s; {before / 1e6:.0f} MB and {growth / 1e6:+.0f} MB")

    assert growth < GROWTH
    for name, results in zip(PEOPLE, seen, strict=True):
        avatar = tiny_pipeline.add_portrait(None, portrait(name))
        for request, result in results.items():
            still = tiny_pipeline.render(avatar, yaw=yaw_of(request), expression={}, height=SIZES[0])[0]
            assert np.array_equal(result, np.asarray(still)), f"{name}, request {request}"
