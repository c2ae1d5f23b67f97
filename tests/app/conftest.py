"""The app on a local port with tiny networks and small pictures, and browsers to visit it with."""

import functools
import json
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from scipy.io import wavfile

from invertavatar.app import model, page, people, settings, views
from invertavatar.evaluation.spoken import synthesized
from invertavatar.media import VideoReader, VideoWriter, load_image
from invertavatar.scripts import browser
from tests.conftest import ROOT

EXAMPLES = ROOT / "assets" / "examples"
SIZES = (64, 128)
MAX_UPLOAD = "3mb"
MAX_SECONDS = 5.0
ORBIT_RATE = 4


@pytest.fixture(scope="session")
def server(tiny_pipeline, tmp_path_factory):
    """The app's address. Its model is there at once; what it keeps lies in `server.cache`."""
    with pytest.MonkeyPatch.context() as patch:
        cache, scratch = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("scratch")
        patch.setenv("GRADIO_TEMP_DIR", str(cache))
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setattr(model, "load", lambda: model.Model(tiny_pipeline, tiny_pipeline.recorder))
        patch.setattr(model, "bake", functools.partial(tiny_pipeline.bake, texture_size=256))
        patch.setattr(views, "ORBIT_RATE", ORBIT_RATE)
        patch.setattr(views, "TURNTABLE", (-20, 20))
        patch.setattr(settings, "LIVE_SIZE", SIZES[0])
        patch.setattr(settings, "STILL_SIZE", SIZES[1])
        patch.setattr(settings, "FILM_SIZES", SIZES)
        patch.setattr(settings, "MAX_UPLOAD", MAX_UPLOAD)
        patch.setattr(settings, "MAX_SECONDS", MAX_SECONDS)
        patch.setattr(people, "VIEW_SIZE", SIZES[0])
        served = page.queued(page.build(), most=8)
        _, address, _ = served.launch(quiet=True, prevent_thread_lock=True, **page.launch_options(served))
        yield Server(address, cache, scratch)
        served.close()


class Server(str):
    """An address, with the folders the app may write to."""

    def __new__(cls, address: str, cache: Path, scratch: Path):
        server = super().__new__(cls, address)
        server.cache, server.scratch = cache, scratch
        return server


@pytest.fixture(scope="session")
def programmatic(server, tmp_path_factory):
    """What knows the app's endpoints, which takes long to read."""
    return Client(str(server), verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture
def client(programmatic):
    """A visitor without a browser."""
    programmatic.reset_session()
    return programmatic


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """`files("short.mp4")`: what a visitor may upload, good and bad."""
    folder, made = tmp_path_factory.mktemp("uploads"), {}
    photo = load_image(EXAMPLES / "anna_1.jpg")

    def film(path, pictures, fps, sound=None):
        with VideoWriter(path, fps, audio_from=sound, quality="draft") as writer:
            for picture in pictures:
                writer.write(picture)

    def cut(path, clip="talk_a", count=10):
        with VideoReader(EXAMPLES / f"{clip}.mp4") as video:
            film(path, islice(video, count), video.fps, EXAMPLES / f"{clip}.mp4")

    def huge(path):
        large = np.asarray(Image.fromarray(photo).resize((2160, 2160)))
        film(path, [np.pad(large, ((0, 0), (840, 840), (0, 0)))] * 4, 60)

    def voice(path):
        samples, rate, _ = synthesized("Bob may.")
        wavfile.write(path, rate, samples)

    makers = {
        "short.mp4": cut,
        "voice.wav": voice,
        "two.mp4": lambda path: cut(path, "talk_b", 2),
        "long.mp4": lambda path: film(path, [photo[:128, :128]] * 7, 1),
        "uhd.mp4": huge,
        "no_face.png": lambda path: Image.fromarray(np.full((256, 256, 3), 90, np.uint8)).save(path),
        "no_face.mp4": lambda path: film(path, [np.full((128, 128, 3), 90, np.uint8)] * 4, 25),
        "notes.txt": lambda path: path.write_text("no picture\n"),
        "notes.jpg": lambda path: path.write_text("no picture\n"),
        "notes.zip": lambda path: path.write_text("no avatar\n"),
        "empty.jpg": lambda path: path.touch(),
        "empty.mp4": lambda path: path.touch(),
        "phone.heic": lambda path: Image.fromarray(photo).save(path),
        "large.mp4": lambda path: path.write_bytes(bytes(4 << 20)),
        "face.csv": lambda path: path.write_text("time,jawOpen,yaw\n0,0,0\n0.1,0.5,10\n0.2,0,0\n"),
        "face.json": lambda path: path.write_text(
            json.dumps({"exportFps": 25, "facsNames": ["jawOpen"], "weightMat": [[0.5]] * 10})
        ),
        "mute.mp4": lambda path: film(path, [photo[:128, :128]] * 4, 25),
        "broken.csv": lambda path: path.write_text("a,b\n1,2\n"),
    }

    def upload(name: str) -> str:
        if name not in made:
            makers[name](folder / name)
            made[name] = str(folder / name)
        return made[name]

    return upload


@pytest.fixture(scope="session")
def chromium(playwright):
    """Debian's Chromium."""
    with browser.browsing(playwright=playwright) as opened:
        yield opened


@pytest.fixture
def visit(server, chromium):
    """`visit()`: the page as a new visitor sees it, with what it complained of in `page.complaints`."""
    visits = []

    def open_page(**options):
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(20_000)
        visits.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda r: page.complaints.append(r.url) if is_elsewhere(r.url, server) else None)
        page.goto(str(server))
        page.wait_for_selector("#build")
        return page

    yield open_page
    for context in visits:
        context.close()


def is_elsewhere(url: str, server: str) -> bool:
    return url.startswith("http") and not url.startswith(server.rstrip("/"))
