"""Pictures of the app's three tabs, on a desktop and a phone, light and dark, with an avatar of an example person."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.scripts.console import new_app, run
from invertavatar.scripts.setup_environment import BROWSERS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "assets" / "examples"
WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}
PATIENCE = 40_000  # milliseconds for any one thing
DRIVER_FRAMES = 12


def take_screenshots(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = ROOT / "docs",
    only: Annotated[
        list[str] | None, typer.Option(help="Names such as avatar_desktop_light; all twelve by default.")
    ] = None,
) -> None:
    """Write app_TAB_WINDOW_SCHEME.webp for each tab, window and scheme.

    Example: python scripts/take_screenshots.py --only avatar_desktop_light --only explore_phone_dark
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise typer.TyperException("No Chromium here; install Debian's package chromium.")
    from playwright.sync_api import sync_playwright

    import app
    from invertavatar.media import load_image, save_image

    names = [f"{tab}_{window}_{scheme}" for window in WINDOWS for scheme in ("light", "dark") for tab in TABS]
    wanted = only or names
    if unknown := set(wanted) - set(names):
        raise typer.TyperException(f"There is no {', '.join(sorted(unknown))}; use {', '.join(names)}.")
    app.model.load()
    page = app.queued(app.build(), most=16)
    _, address, _ = page.launch(quiet=True, prevent_thread_lock=True, **app.launch_options(page))
    try:
        with sync_playwright() as playwright, TemporaryDirectory() as scratch:
            driver = short_driver(Path(scratch) / "talk.mp4")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for window, (width, height) in WINDOWS.items():
                for scheme in ("light", "dark"):
                    tabs = [tab for tab in TABS if f"{tab}_{window}_{scheme}" in wanted]
                    if not tabs:
                        continue
                    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                    context.set_default_timeout(PATIENCE)
                    visit = context.new_page()
                    visit.goto(f"{address}?__theme={scheme}")
                    show_avatar(visit)
                    for tab in tabs:
                        TABS[tab](visit, driver)
                        visit.wait_for_timeout(800)
                        path = folder / f"app_{tab}_{window}_{scheme}.webp"
                        shot = Path(scratch) / "shot.png"
                        visit.screenshot(full_page=True, path=shot)
                        save_image(path, load_image(shot))
                        print(path)
                    context.close()
            browser.close()
    finally:
        page.close()


def short_driver(path: Path) -> Path:
    """The first frames of an example clip."""
    from itertools import islice

    from invertavatar.media import VideoReader, VideoWriter

    source = EXAMPLES / "talk_a.mp4"
    with VideoReader(source) as video, VideoWriter(path, video.fps, audio_from=source) as writer:
        for frame in islice(video, DRIVER_FRAMES):
            writer.write(frame)
    return path


def show_avatar(visit) -> None:
    """Build an example person."""
    visit.locator("#people button").nth(2).click()
    visit.wait_for_selector("#found img")
    visit.get_by_text("clara_4.jpg: head").wait_for()
    visit.locator("#consent input").check()
    visit.locator("#build").click()
    visit.wait_for_selector("#turntable img")


def show_avatar_tab(visit, driver: Path) -> None:
    """As `show_avatar` left it."""
    visit.get_by_role("tab", name="Avatar").click()


def show_animation(visit, driver: Path) -> None:
    """Animate the avatar with a short film."""
    visit.get_by_role("tab", name="Animate").click()
    visit.wait_for_timeout(1000)  # the script of a tab that has just been opened may not be attached yet
    visit.locator("#drivers input[type=file]").first.set_input_files(str(driver))
    visit.wait_for_selector("#drivers a")
    visit.locator("#animate").click()
    visit.wait_for_selector("#results video")


def show_sliders(visit, driver: Path) -> None:
    """Let the avatar smile."""
    visit.get_by_role("tab", name="Explore").click()
    visit.wait_for_selector("#still img")
    before = visit.locator("#still img").get_attribute("src")
    visit.get_by_role("button", name="Smile").click()
    visit.wait_for_function("before => document.querySelector('#still img').src != before", arg=before)


TABS = {"avatar": show_avatar_tab, "animate": show_animation, "explore": show_sliders}


if __name__ == "__main__":
    program = new_app()
    program.command()(take_screenshots)
    run(program)
