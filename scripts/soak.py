"""Many visitors build an avatar each and leave: does the app's memory stay bounded? Prints and plots its curve."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import new_app, run

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "assets" / "examples"
PEOPLE = ("anna", "ben", "clara", "dan", "eva", "finn")
WIDTH = 60  # characters of the longest bar


def soak(
    visitors: Annotated[int, typer.Option(min=1, help="How many come.")] = 200,
    at_once: Annotated[int, typer.Option(min=1, max=4, help="How many of them at a time.")] = 2,
    every: Annotated[int, typer.Option(min=1, help="Visitors between two looks at the memory.")] = 10,
    max_avatars: Annotated[int, typer.Option(min=1, help="Avatars that the app keeps.")] = 16,
    port: Annotated[int, typer.Option(help="Where the app listens meanwhile.")] = 7999,
) -> None:
    """Start the app, let visitors build an avatar from one photo each, and leave without a word.

    Example: python scripts/soak.py --visitors 200 --max-avatars 16
    """
    import psutil

    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--max-avatars", str(max_avatars)]
        environment = {**os.environ, "TMPDIR": cache, "PYTHONPATH": str(ROOT)}
        environment.pop("GRADIO_TEMP_DIR", None)
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                wait_for(address, server)
                process, curve, start = psutil.Process(server.pid), [], time.perf_counter()
                for first in range(0, visitors, every):
                    numbers = range(first, min(first + every, visitors))
                    with ThreadPoolExecutor(at_once) as crowd:
                        list(crowd.map(lambda number: visit(address, number), numbers))
                    files = [file.stat().st_size for file in Path(cache).rglob("*") if file.is_file()]
                    curve.append(process.memory_info().rss / 1e6)
                    print(
                        f"{numbers[-1] + 1:4d} visitors {time.perf_counter() - start:6.0f} s {curve[-1]:6.0f} MB "
                        f"{sum(files) / 1e6:6.1f} MB in {len(files)} files",
                        flush=True,
                    )
            finally:
                server.terminate()
        left = sum(1 for file in Path(cache).rglob("*") if file.is_file())
    for number, megabytes in enumerate(curve, 1):
        print(f"{min(number * every, visitors):4d} {'#' * round(WIDTH * megabytes / max(curve))} {megabytes:.0f} MB")
    half = len(curve) // 2
    print(f"Growth over the second half: {curve[-1] - curve[half]:+.0f} MB. Files left when the app had ended: {left}.")


def visit(address: str, number: int) -> None:
    """One visitor, from the first look at the page to leaving it."""
    from gradio_client import Client, handle_file

    photo = EXAMPLES / f"{PEOPLE[number % len(PEOPLE)]}_{1 + number // len(PEOPLE) % 4}.jpg"
    with tempfile.TemporaryDirectory() as folder:
        client = Client(address, verbose=False, download_files=folder, httpx_kwargs={"timeout": 300})
        gallery = [{"image": handle_file(str(photo)), "caption": None}]
        _, status, *_ = client.predict(photos=gallery, consent=True, api_name="/reconstruct")
        if "Built from 1 photo" not in status:
            raise RuntimeError(f"Visitor {number + 1} got no avatar: {status}")
        client.predict(yaw=number % 41 - 20, size=256, api_name="/render")


def wait_for(address: str, server: subprocess.Popen, seconds: float = 120) -> None:
    """Until the page answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("The app did not start.")


if __name__ == "__main__":
    app = new_app()
    app.command()(soak)
    run(app)
