"""The exported folder as a Space starts it: in a process of its own, with nothing of the repository beside it."""

import re
import socket
import subprocess
import sys
import threading

import httpx
import pytest
from gradio_client import Client

import app
from invertavatar.scripts.export_space import export_space
from invertavatar.web.static_page import PAGE
from tests.app.conftest import EXAMPLES
from tests.app.test_endpoints import gallery


def test_an_exported_space_starts_by_itself_and_finds_a_face(tmp_path):
    folder = tmp_path / "space"
    export_space(folder)
    # The folder of the file comes first on the path, before the repository that is installed here.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-u", "app.py", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        stop = threading.Timer(90, process.kill)
        stop.start()
        try:
            said = []
            for line in process.stdout:
                said.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                    break
            assert address, "".join(said)
            threading.Thread(target=process.stdout.read, daemon=True).start()
            client = Client(address[0], verbose=False)
            found, sentence = client.predict(photos=gallery(EXAMPLES / "dan_1.jpg"), api_name="/check_photos")
            assert len(found) == 1
            assert "✓ dan_1.jpg" in sentence
            for script in PAGE.glob("*.js"):  # of the Live tab
                assert httpx.get(f"{address[0]}/live/{script.name}").text == script.read_text(encoding="utf-8")
        finally:
            stop.cancel()
            process.kill()


def test_the_help_says_what_each_option_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["app.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        app.main()
    shown = capsys.readouterr().out
    for option in ("--host", "--port", "--share", "--model", "--max-queue", "--max-seconds", "--max-avatars"):
        assert re.search(rf"{option}\b.*\n?\s+\w", shown)
