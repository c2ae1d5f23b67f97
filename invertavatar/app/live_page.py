"""The page of a live avatar (`invertavatar.web`) beside the app's own: same server, other address."""

import html
import mimetypes
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from ..web import modules_installed, page_files, page_texts

ADDRESS = "live"  # below the app's own
TITLE = "Your avatar, live"
KINDS = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm"}  # systems differ on these


def route() -> Mount:
    """What the app's server hands out beside the app: the page without an avatar, which its address names."""
    offline = modules_installed()
    texts, files = page_texts(TITLE, offline), page_files(offline)

    def answer(request: Request) -> Response:
        name = request.path_params["name"] or "index.html"
        kind = KINDS.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
        if name in texts:
            return Response(texts[name], media_type=kind)
        if name in files:
            return FileResponse(files[name], media_type=kind)
        return PlainTextResponse("There is no such file.", status_code=404)

    return Mount(f"/{ADDRESS}", routes=[Route("/{name:path}", answer)])


def frame(file: str) -> str:
    """The page within a page, with an avatar that Gradio serves."""
    avatar = quote(f"../gradio_api/file={Path(file).as_posix()}", safe="")
    source = html.escape(f"{ADDRESS}/?avatar={avatar}", quote=True)
    return f'<iframe class="live" src="{source}" title="{TITLE}" allow="camera; fullscreen; autoplay"></iframe>'
