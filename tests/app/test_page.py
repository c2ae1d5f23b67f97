"""The page in headless Chromium, as visitors use it."""

import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from invertavatar.app import model, settings
from invertavatar.media import probe
from invertavatar.web import modules_installed
from tests.app.conftest import EXAMPLES
from tests.app.test_endpoints import gone


def upload(page, where: str, *paths) -> None:
    page.locator(f"{where} input[type=file]").first.set_input_files([str(path) for path in paths])


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def drive_with(page, file) -> None:
    """Choose a driver. A tab that has just been opened may miss the first try: its script is not attached yet."""
    from playwright.sync_api import TimeoutError as TookTooLong  # only where there is a browser

    tab(page, "Animate")
    page.wait_for_selector("#drivers input[type=file]", state="attached")
    for _ in range(4):
        page.locator("#drivers input[type=file]").first.set_input_files(file)
        try:
            return page.wait_for_selector("#drivers a", timeout=4000)
        except TookTooLong:
            continue
    raise AssertionError("The driver was not taken.")


def build(page, *names) -> None:
    upload(page, "#photos", *(EXAMPLES / f"{name}.jpg" for name in names))
    page.wait_for_selector("#found img")
    page.locator("#consent input").check()
    page.locator("#build").click()
    page.wait_for_selector("#turntable img")


def still(page, path, unlike: np.ndarray | None = None) -> np.ndarray:
    """The picture on the last tab once it has its full size, and is another than `unlike`."""
    deadline = time.time() + 20
    while time.time() < deadline:
        shown = page.locator("#still img")
        if shown.count():
            path.write_bytes(page.request.get(shown.first.get_attribute("src")).body())
            picture = np.asarray(Image.open(path).convert("RGB")).astype(float)
            if picture.shape[0] == settings.STILL_SIZE and (unlike is None or not np.array_equal(picture, unlike)):
                return picture
        page.wait_for_timeout(100)
    raise AssertionError("The picture did not change.")


def drag(page, name: str, value: float) -> None:
    """Move a slider as the mouse does: input events, then one of letting go."""
    page.locator(f"#{name} input[type=range]").evaluate(
        """(slider, value) => {
            slider.value = value;
            slider.dispatchEvent(new Event('input', {bubbles: true}));
            slider.dispatchEvent(new PointerEvent('pointerup', {bubbles: true}));
        }""",
        value,
    )


def toast(page, text: str) -> None:
    page.get_by_text(re.compile(text)).first.wait_for()


def test_a_visitor_builds_adds_saves_animates_explores_and_downloads(visit, files, tmp_path):
    page = visit(accept_downloads=True)
    build(page, "anna_1", "anna_2")
    page.get_by_text("Built from 2 photos", exact=True).wait_for()
    upload(page, "#photos", EXAMPLES / "anna_3.jpg")
    page.get_by_text("anna_3.jpg: head").wait_for()
    page.locator("#add").click()
    page.get_by_text("Built from 3 photos", exact=True).wait_for()

    page.get_by_text("Save, load, sample, more").click()
    with page.expect_download() as saved:
        page.locator("#save").click()
    assert saved.value.suggested_filename == "avatar.zip"

    drive_with(page, files("short.mp4"))
    page.locator("#animate").click()
    page.wait_for_selector("#preview img")
    page.wait_for_selector("#results video")
    with page.expect_download() as film:
        page.locator("#files a").first.click()
    film.value.save_as(tmp_path / "film.mp4")
    assert (probe(tmp_path / "film.mp4").num_frames, probe(tmp_path / "film.mp4").has_audio) == (10, True)

    tab(page, "Explore")
    frontal = still(page, tmp_path / "still.png")
    drag(page, "yaw", 25)
    assert np.abs(still(page, tmp_path / "still.png", unlike=frontal) - frontal).mean() > 1
    assert page.complaints == []  # no script failed, and nothing was fetched from elsewhere


def test_a_slider_at_rest_leaves_the_full_size(visit, tmp_path):
    page = visit()
    page.get_by_text("Save, load, sample, more").click()
    page.locator("#sample").click()
    page.get_by_text("seed 0").first.wait_for()
    tab(page, "Explore")
    frontal = still(page, tmp_path / "still.png")
    for value in (5, 10, 15, 20):
        drag(page, "yaw", value)
    turned = still(page, tmp_path / "still.png", unlike=frontal)
    page.wait_for_timeout(1000)
    assert still(page, tmp_path / "still.png").shape == turned.shape
    page.get_by_role("button", name="Wink").click()
    page.wait_for_function("document.querySelector('#eyeBlinkLeft input[type=number]').value == 1")
    page.wait_for_selector("#eyeBlinkRight", state="visible")  # each side by itself now
    assert page.locator("#eyeBlinkRight input[type=number]").input_value() == "0"


def test_the_mesh_is_drawn_in_the_viewer(visit):
    page = visit()
    page.get_by_text("Save, load, sample, more").click()
    page.locator("#sample").click()
    page.get_by_text("seed 0").first.wait_for()
    tab(page, "Explore")
    page.get_by_text("Mesh", exact=True).first.click()
    page.locator("#mesh").click()
    page.wait_for_selector("#viewer canvas")
    page.wait_for_selector("#mesh_files a")


@pytest.mark.skipif(not modules_installed(), reason="The live page's modules are not here: `make web` installs them.")
def test_the_avatar_goes_live_within_the_page(visit):
    page = visit()
    page.get_by_text("Save, load, sample, more").click()
    page.locator("#sample").click()
    page.get_by_text("seed 0").first.wait_for()
    tab(page, "Live")
    page.locator("#go_live").click()
    live = page.frame_locator("iframe.live")
    live.locator("#status", has_text="Point somewhere").wait_for()
    live.locator("#loading").wait_for(state="hidden")
    assert live.locator("#avatar").bounding_box()["height"] > 300
    assert page.complaints == []
    page.get_by_role("tab", name="Avatar").click()
    page.locator("#forget").click()
    page.get_by_text("The avatar is forgotten").wait_for()
    page.locator("iframe.live").wait_for(state="detached")


def test_cancel_stops_the_rendering_and_leaves_no_file(visit, server, monkeypatch):
    rendered, going = [], threading.Event()
    real = model.frames

    def slow(*arguments, **options):
        for frame in real(*arguments, **options):
            rendered.append(time.time())
            going.set()
            time.sleep(0.2)
            yield frame

    page = visit()
    page.get_by_text("Save, load, sample, more").click()
    page.locator("#sample").click()
    page.get_by_text("seed 0").first.wait_for()
    monkeypatch.setattr(model, "frames", slow)
    keyframes = "time,jawOpen\n" + "".join(f"{k / 25},{k % 2}\n" for k in range(100))
    drive_with(page, {"name": "talk.csv", "mimeType": "text/csv", "buffer": keyframes.encode()})
    page.locator("#animate").click()
    page.get_by_text("of 100, about").wait_for()
    page.locator("#cancel").click()
    page.get_by_text("Cancelled.").wait_for()
    page.wait_for_timeout(600)
    count = len(rendered)
    assert 0 < count < 60
    page.wait_for_timeout(1000)
    assert len(rendered) == count
    assert gone(server.scratch)
    assert page.locator("#results video").count() == 0


def test_what_is_missing_is_said_in_the_page(visit, files):
    page = visit()
    page.locator("#build").click()
    toast(page, "confirm first")
    page.locator("#consent input").check()
    page.locator("#build").click()
    toast(page, "Drop one or more photos")
    upload(page, "#photos", files("phone.heic"), files("no_face.png"))
    toast(page, "✗ No face found in no_face.png")
    toast(page, "✓ phone.heic: head")
    tab(page, "Animate")
    page.locator("#animate").click()
    toast(page, "no avatar yet")
    upload(page, "#drivers", files("large.mp4"))
    toast(page, "[Mm]aximum|too large|exceed")


def test_an_example_person_is_one_click_away_and_fits_a_phone(visit):
    page = visit()
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#people button").nth(2).click()
    page.get_by_text("clara_4.jpg: head").wait_for()
    for name in ("Avatar", "Animate", "Explore", "Live"):
        tab(page, name)
        closed = page.locator(".tabitem:visible button.label-wrap:not(.open)")
        closed.evaluate_all("panels => panels.forEach(panel => panel.click())")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".tabitem:visible").get_by_text("No avatar yet: build one on the Avatar tab").wait_for()
