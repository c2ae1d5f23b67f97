"""The page of a live avatar (`invertavatar.web`) beside the app's own: same server, other address."""

import functools
import html
import tempfile
from pathlib import Path
from urllib.parse import quote

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from ..web import modules_installed, write_page

ADDRESS = "live"  # below the app's own
TITLE = "Your avatar, live"


@functools.cache
def page_folder() -> tempfile.TemporaryDirectory:
    """The page in a folder that goes with the app, without an avatar."""
    folder = tempfile.TemporaryDirectory(prefix="invertavatar_live_")
    write_page(folder.name, title=TITLE, offline=modules_installed())
    return folder


def route() -> Mount:
    """What the app's server must hand out."""
    return Mount(f"/{ADDRESS}", StaticFiles(directory=page_folder().name, html=True))


def frame(file: str) -> str:
    """The page within a page, with an avatar that Gradio serves."""
    avatar = quote(f"../gradio_api/file={Path(file).as_posix()}", safe="")
    source = html.escape(f"{ADDRESS}/?avatar={avatar}", quote=True)
    return f'<iframe class="live" src="{source}" title="{TITLE}" allow="camera; fullscreen; autoplay"></iframe>'
