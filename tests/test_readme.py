"""The README's code, run as it stands.

Each block marked python is a program of its own. A block marked bash is run too when the line above it is
`<!-- run -->`: each of its lines that starts with `invertavatar` or `python scripts/` is a command, and lines may
continue after a backslash. All of it runs in one temporary folder, in order, with the repository's assets beside it.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(
    r"(?P<mark><!-- run -->\n+)?```(?P<language>python|bash)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
PROGRAMS = {"invertavatar": ["-m", "scripts.cli"], "python": []}


def python_blocks() -> list:
    """The blocks of Python, each named by the line it starts in."""
    blocks = [block for block in BLOCK.finditer(README) if block["language"] == "python"]
    return [pytest.param(block["code"], id=line_of(block)) for block in blocks]


def commands(text: str = README) -> list:
    """The commands of the marked bash blocks, as arguments for Python."""
    found = []
    for block in BLOCK.finditer(text):
        if block["language"] == "bash" and block["mark"]:
            for command in re.sub(r"\\\n\s*", " ", block["code"]).splitlines():
                words = shlex.split(command, comments=True)
                if words[:1] == ["invertavatar"] or command.startswith("python scripts/"):
                    found.append(pytest.param(PROGRAMS[words[0]] + words[1:], id=f"{line_of(block)}: {command}"))
    return found


def line_of(block: re.Match) -> str:
    return f"line {README.count(chr(10), 0, block.start('code')) + 1}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name in ("assets", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_the_readme_shows_python():
    assert len(python_blocks()) >= 2


def test_only_marked_commands_of_this_project_are_run():
    block = "```bash\ninvertavatar animate a.jpg \\\n  -o b.mp4  # why\npython scripts/demo.py\nrm -r /\n```\n"
    found = [param.values[0] for param in commands(f"{block}\n<!-- run -->\n{block}")]
    assert found == [["-m", "scripts.cli", "animate", "a.jpg", "-o", "b.mp4"], ["scripts/demo.py"]]


@pytest.mark.parametrize("code", python_blocks())
def test_python_of_the_readme_runs_as_it_stands(folder, monkeypatch, code):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("arguments", commands())
def test_commands_of_the_readme_run_as_they_stand(folder, arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
