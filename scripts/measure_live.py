"""How fast the live page is in a headless Chromium without a graphics card: frames, tracks, latency, processor time."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import check_inputs, error_sentences, new_app, run

FILM = Path(__file__).resolve().parents[1] / "assets" / "examples" / "talk_a.mp4"
PATIENCE = 60_000  # milliseconds until the page follows the face
COUNT = """() => {
    const { avatar, state } = invertavatar, draw = avatar.draw.bind(avatar);
    globalThis.counted = { frames: 0, tracks: 0, latency: [] };
    let last;
    avatar.draw = (dt) => {
        const captured = state.captured, drawn = draw(dt);
        counted.frames += drawn;
        if (drawn && captured) counted.latency.push(performance.now() - captured);
        if (state.face !== last) counted.tracks++;
        last = state.face;
        return drawn;
    };
}"""


def measure_live(
    avatar: Annotated[Path, typer.Argument(help="A baked avatar (.glb).")],
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure.")] = 10.0,
    width: Annotated[int, typer.Option(min=300, help="Of the browser's window in px.")] = 1280,
    height: Annotated[int, typer.Option(min=300, help="Likewise.")] = 800,
) -> None:
    """Measure the live page while a made-up person's film stands for the camera.

    Example: python scripts/measure_live.py me.glb --seconds 20
    """
    check_inputs([avatar])
    with error_sentences(), TemporaryDirectory() as scratch:
        from statistics import median

        import psutil

        from invertavatar.scripts.browser import browsing, numbered_frames, served, write_film
        from invertavatar.web import write_page

        write_page(Path(scratch) / "page", avatar, offline=True)
        film = write_film(numbered_frames(FILM), Path(scratch) / "film.mjpeg")
        with served(Path(scratch) / "page") as address, browsing(film) as browser:
            context = browser.new_context(viewport={"width": width, "height": height}, permissions=["camera"])
            page = context.new_page()
            page.goto(address)
            page.get_by_role("radio", name="Camera").check()
            page.get_by_text("Follows your face").wait_for(timeout=PATIENCE)
            page.evaluate(COUNT)
            before, started = processor_time(), time.perf_counter()
            page.wait_for_timeout(1000 * seconds)
            after, elapsed = processor_time(), time.perf_counter() - started
            counted = page.evaluate("counted")
            canvas = page.evaluate("[...'ab'].map((_, k) => document.querySelector('canvas')[['width', 'height'][k]])")
    used = {kind: after[kind] - before.get(kind, 0) for kind in after}
    load = psutil.getloadavg()[0]
    print(
        f"{counted['frames'] / elapsed:.1f} frames/s of {canvas[0]}x{canvas[1]} px by software rendering, tracked "
        f"{counted['tracks'] / elapsed:.1f}/s, latency {median(counted['latency'] or [0]):.0f} ms in the median; "
        f"processor time {1000 * used.get('gpu-process', 0) / max(1, counted['frames']):.0f} ms a frame drawn, "
        f"{1000 * used.get('renderer', 0) / max(1, counted['tracks']):.0f} ms a frame tracked (with the page's own "
        f"script); load of this machine {load:.1f} on {psutil.cpu_count()} cores"
    )


def processor_time() -> dict[str, float]:
    """Seconds that the kinds of processes of the browser below this one have used."""
    import contextlib
    import re

    import psutil

    used: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            kind = re.search(r"--type=([\w-]+)", " ".join(process.cmdline()))
            if kind:
                used[kind[1]] = used.get(kind[1], 0) + sum(process.cpu_times()[:2])
    return used


if __name__ == "__main__":
    app = new_app()
    app.command()(measure_live)
    run(app)
