"""The live page of an avatar from tiny networks, in a Chromium whose camera shows a person who does not exist."""

import pytest

from invertavatar import web
from invertavatar.scripts import browser
from tests.conftest import ROOT

FILM = ROOT / "assets" / "examples" / "talk_a.mp4"
STRIDE = 2  # of the film's frames, as Chromium shows them a fifth faster than they were taken


@pytest.fixture(scope="session")
def baked_file(tiny_pipeline, tiny_avatar, tmp_path_factory):
    """Anna, baked."""
    path = tmp_path_factory.mktemp("baked") / "anna.glb"
    tiny_pipeline.bake(tiny_avatar, 256).save(path)
    return path


@pytest.fixture(scope="session")
def frames():
    """What the camera shows: [480, 640, 3] uint8 each, its number in the left margin."""
    return browser.numbered_frames(FILM, STRIDE)


@pytest.fixture(scope="session")
def visited(baked_file, frames, playwright, tmp_path_factory):
    """A browser, and the address of the page."""
    if not web.modules_installed():
        pytest.skip("The page's modules are not here: `make web` installs them where npm is.")
    folder = tmp_path_factory.mktemp("live")
    web.write_page(folder / "page", baked_file, "Anna", offline=True)
    film = browser.write_film(frames, folder / "film.mjpeg")
    with browser.served(folder / "page") as address, browser.browsing(film, playwright) as opened:
        yield opened, address


@pytest.fixture
def visit(visited):
    """`visit()`: the page once its avatar is there; what it complained of is in `page.complaints`."""
    opened, address = visited
    contexts = []

    def open_page(camera=True, **options):
        settings = {"viewport": {"width": 1000, "height": 700}, "permissions": ["camera"] if camera else []} | options
        context = opened.new_context(**settings)
        context.set_default_timeout(40_000)
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: page.complaints.append(asked.url) if elsewhere(asked.url, address) else None)
        page.goto(address)
        page.wait_for_selector("#loading", state="hidden")
        return page

    yield open_page
    for context in contexts:
        context.close()


def elsewhere(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))
