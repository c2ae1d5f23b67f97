"""Pictures of the app's tabs and of the live page, on a desktop and a phone, light and dark, with an example person."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.browser import browsing, numbered_frames, served, write_film
from invertavatar.scripts.console import new_app, run

if TYPE_CHECKING:
    import numpy as np
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "assets" / "examples"
SCHEMES = ("light", "dark")
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 40_000  # milliseconds for any one thing
DRIVER_FRAMES = 12


def take_screenshots(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = ROOT / "docs",
    only: Annotated[
        list[str] | None, typer.Option(help="Names such as avatar_desktop_light; all of them by default.")
    ] = None,
) -> None:
    """Write app_TAB_WINDOW_SCHEME.webp for each tab, window and scheme, and page_WINDOW_SCHEME.webp of the live page.

    Example: python scripts/take_screenshots.py --only avatar_desktop_light --only explore_phone_dark
    """
    from invertavatar.app import model, page
    from invertavatar.media import load_image, save_image

    names = [f"{what}_{window}_{scheme}" for window in WINDOWS for scheme in SCHEMES for what in (*TABS, "page")]
    wanted = only or names
    if unknown := set(wanted) - set(names):
        raise typer.TyperException(f"There is no {', '.join(sorted(unknown))}; use {', '.join(names)}.")
    model.load()
    served_page = page.queued(page.build(), most=16)
    _, address, _ = served_page.launch(quiet=True, prevent_thread_lock=True, **page.launch_options(served_page))
    try:
        with TemporaryDirectory() as scratch, browsing(write_film(filmed(), Path(scratch) / "film.mjpeg")) as browser:
            driver = short_driver(Path(scratch) / "talk.mp4")

            def shoot(visit: "Page", path: Path) -> None:
                visit.screenshot(full_page=True, path=Path(scratch) / "shot.png")
                save_image(path, load_image(Path(scratch) / "shot.png"))
                print(path)

            for window, (width, height) in WINDOWS.items():
                for scheme in SCHEMES:
                    settings = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
                    if f"page_{window}_{scheme}" in wanted:
                        with live_page(browser, Path(scratch) / "page", settings) as visit:
                            shoot(visit, folder / f"page_{window}_{scheme}.webp")
                    tabs = [tab for tab in TABS if f"{tab}_{window}_{scheme}" in wanted]
                    if not tabs:
                        continue
                    context = browser.new_context(**settings)
                    context.set_default_timeout(PATIENCE)
                    visit = context.new_page()
                    visit.goto(f"{address}?__theme={scheme}")
                    show_avatar(visit)
                    for tab in tabs:
                        TABS[tab](visit, driver)
                        visit.wait_for_timeout(800)
                        shoot(visit, folder / f"app_{tab}_{window}_{scheme}.webp")
                    context.close()
    finally:
        served_page.close()


def filmed() -> "list[np.ndarray]":
    """What the camera shows: an example clip, without the numbers."""
    frames = numbered_frames(EXAMPLES / "talk_a.mp4")
    for frame in frames:
        frame[:, :80] = 128
    return frames


@contextmanager
def live_page(browser: "Browser", folder: Path, settings: dict) -> "Iterator[Page]":
    """The live page of an example person while it follows the camera."""
    from invertavatar.app import model
    from invertavatar.web import write_page

    if not folder.exists():
        pipe = model.load().pipe
        write_page(folder, pipe.bake(pipe.reconstruct(str(EXAMPLES / "clara_1.jpg"))), "Clara, live", offline=True)
    with served(folder) as address:
        context = browser.new_context(**settings, permissions=["camera"])
        context.set_default_timeout(PATIENCE)
        visit = context.new_page()
        visit.goto(address)
        visit.get_by_role("radio", name="Camera").check()
        visit.get_by_text("Show my picture").click()
        visit.get_by_text("Follows your face").wait_for()
        visit.evaluate("Object.assign(invertavatar.avatar, { adapt() {}, sharpness: 1 }).fit(); scrollTo(0, 0)")
        visit.wait_for_timeout(3000)
        yield visit
        context.close()


def short_driver(path: Path) -> Path:
    """The first frames of an example clip."""
    from itertools import islice

    from invertavatar.media import VideoReader, VideoWriter

    source = EXAMPLES / "talk_a.mp4"
    with VideoReader(source) as video, VideoWriter(path, video.fps, audio_from=source) as writer:
        for frame in islice(video, DRIVER_FRAMES):
            writer.write(frame)
    return path


def show_avatar(visit: "Page") -> None:
    """Build an example person."""
    visit.locator("#people button").nth(2).click()
    visit.wait_for_selector("#found img")
    visit.get_by_text("clara_4.jpg: head").wait_for()
    visit.locator("#consent input").check()
    visit.locator("#build").click()
    strip = visit.locator("#turntable img")
    strip.evaluate("picture => picture.scrollIntoView()")  # a browser does not load what is far below
    strip.wait_for()
    visit.evaluate("scrollTo(0, 0)")


def show_avatar_tab(visit: "Page", driver: Path) -> None:
    """As `show_avatar` left it."""
    visit.get_by_role("tab", name="Avatar").click()


def show_animation(visit: "Page", driver: Path) -> None:
    """Animate the avatar with a short film."""
    visit.get_by_role("tab", name="Animate").click()
    visit.wait_for_timeout(1000)  # the script of a tab that has just been opened may not be attached yet
    visit.locator("#drivers input[type=file]").first.set_input_files(str(driver))
    visit.wait_for_selector("#drivers a")
    visit.locator("#animate").click()
    visit.wait_for_selector("#results video")


def show_sliders(visit: "Page", driver: Path) -> None:
    """Let the avatar smile."""
    visit.get_by_role("tab", name="Explore").click()
    visit.wait_for_selector("#still img")
    before = visit.locator("#still img").get_attribute("src")
    visit.get_by_role("button", name="Smile").click()
    visit.wait_for_function("before => document.querySelector('#still img').src != before", arg=before)


def show_live(visit: "Page", driver: Path) -> None:
    """Let the avatar look at a place, in the page within the page."""
    visit.get_by_role("tab", name="Live").click()
    visit.locator("#go_live").click()
    live = visit.frame_locator("iframe.live")
    live.get_by_text("Point somewhere").wait_for()
    live.locator("#avatar").hover(position={"x": 100, "y": 100})
    visit.wait_for_timeout(2000)


TABS = {"avatar": show_avatar_tab, "animate": show_animation, "explore": show_sliders, "live": show_live}


if __name__ == "__main__":
    program = new_app()
    program.command()(take_screenshots)
    run(program)
