"""The folder that a live page is: complete, pinned, and closed to the outside."""

import base64
import hashlib
import json
import re

import pytest

from invertavatar import InvertAvatarError
from invertavatar.web import static_page, write_page

VERSIONS = json.loads((static_page.PAGE / "package.json").read_text())["dependencies"]


@pytest.fixture
def avatar(tmp_path):
    file = tmp_path / "me.glb"
    file.write_bytes(b"glTF")
    return file


def test_a_page_fetches_exactly_pinned_modules_and_may_send_nothing(avatar, tmp_path):
    write_page(tmp_path / "page", avatar, title='Ann "& Bob"')
    text = (tmp_path / "page" / "index.html").read_text()
    assert "<h1>Ann &quot;&amp; Bob&quot;</h1>" in text
    importmap = re.search(r'<script type="importmap">(.*?)</script>', text)[1]
    for address in json.loads(importmap)["imports"].values():
        assert re.search(r"(three|tasks-vision)@\d+\.\d+\.\d+/", address)
    digest = base64.b64encode(hashlib.sha256(importmap.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert f"'sha256-{digest}'" in policy and "default-src 'none'" in policy and "*" not in policy
    assert not re.search(r"\{\w+\}", text.replace(importmap, ""))
    assert (tmp_path / "page" / "avatar.glb").read_bytes() == b"glTF"
    assert (tmp_path / "page" / "face_landmarker.task").stat().st_size > 1e6


def test_offline_the_modules_lie_beside_the_page(avatar, tmp_path):
    with pytest.raises(InvertAvatarError, match="make web"):
        write_page(tmp_path / "page", avatar, offline=True, modules=tmp_path / "none")
    for name, files in static_page.NEEDED.items():
        for file in (*files, "package.json"):
            (tmp_path / "modules" / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "modules" / name / file).write_text(json.dumps({"version": VERSIONS[name]}))
    write_page(tmp_path / "page", avatar, offline=True, modules=tmp_path / "modules")
    text = (tmp_path / "page" / "index.html").read_text()
    assert "://" not in text
    for address in json.loads(re.search(r'importmap">(.*?)</script>', text)[1])["imports"].values():
        assert (tmp_path / "page" / address).exists()
