"""A read-only stand-in for the Hub: enough of its protocol to list, fetch and miss the files of a model repository."""

import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0" * 39 + "1"


@contextlib.contextmanager
def fake_hub(root: Path) -> Iterator[str]:
    """Serves each folder `root/<owner>/<name>` as a model repository while the block runs; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            parts = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                self.describe(parts[2:4], tree=parts[4:5] == ["tree"])
            elif parts[2:3] == ["resolve"]:
                self.send(root.joinpath(*parts[:2], *parts[4:]))
            else:
                self.reply(404)

        def describe(self, name, tree):
            repository = root.joinpath(*name)
            if not repository.is_dir():
                return self.reply(404, b"Repository not found", {"X-Error-Code": "RepoNotFound"})
            files = {f.relative_to(repository).as_posix(): f for f in sorted(repository.rglob("*")) if f.is_file()}
            if tree:
                answer = [
                    {"type": "file", "path": path, "size": file.stat().st_size, "oid": digest(file.read_bytes())}
                    for path, file in files.items()
                ]
            else:
                about = {"_id": "x", "private": False, "tags": [], "downloads": 0, "likes": 0, "sha": REVISION}
                names = dict.fromkeys(("id", "modelId"), "/".join(name))
                answer = about | names | {"siblings": [{"rfilename": path} for path in files]}
            self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def send(self, file):
            if not file.is_file():
                missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION}
                return self.reply(404, b"Entry not found", missing)
            content = file.read_bytes()
            self.reply(200, content, {"ETag": f'"{digest(content)}"', "X-Repo-Commit": REVISION})

        def reply(self, code, body=b"", headers=None):
            self.send_response(code)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
