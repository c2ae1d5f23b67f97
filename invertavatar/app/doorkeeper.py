"""What stands before the page's server: how much a request may bring, and room on the disk for what it brings."""

import asyncio
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path

from .uploads import make_room

BODY_BYTES = 1_000_000  # of a request that uploads nothing: numbers and names, which Gradio keeps for its visitor
UPLOAD_BYTES = 1_000_000_000  # of one that does, however many files it brings
PAUSE = 5.0  # seconds between two looks at the disk


class Doorkeeper:
    """ASGI middleware.

    Args:
        app: What it stands before.
        folder: Of uploads and results.
        disk_bytes: That all of them may take, beyond which the oldest are deleted.
        spared: Files that are never deleted.
    """

    def __init__(self, app: Callable, folder: Path, disk_bytes: int, spared: Collection[str] = ()):
        self.app, self.folder, self.disk_bytes, self.spared = app, folder, disk_bytes, spared
        self.looked = 0.0

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Let a request through, or refuse it with status 413 and a sentence."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, send)
        limit = UPLOAD_BYTES if scope["path"].endswith("/upload") else BODY_BYTES
        lengths = [int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
        if max(lengths, default=0) > limit:
            return await refuse(send, f"This request is larger than {limit / 1e6:.0f} MB. Send less at a time.")
        if time.monotonic() - self.looked > PAUSE:
            self.looked = time.monotonic()
            await asyncio.to_thread(make_room, self.folder, self.disk_bytes, self.spared)
        count = 0

        async def counted() -> dict:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            # A request need not say how long it is: beyond the limit it ends as if its sender had gone.
            return message if count <= limit else {"type": "http.disconnect"}

        return await self.app(scope, counted, send)


async def refuse(send: Callable, sentence: str) -> None:
    """Answer with status 413."""
    content = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": content})
