"""The code in README.md and docs, run as it stands.

Each block marked python is a program of its own. Every other block holds commands, and the line above it says what
becomes of it: after `<!-- run -->` each of its lines that starts with `invertavatar` or `python scripts/` is a command,
and lines may continue after a backslash; `<!-- not run: ... -->` gives the reason. All of a page runs in one temporary
folder, in order, with the repository's assets and a folder of clips and one of photos beside it.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from invertavatar.media import VideoReader, VideoWriter
from invertavatar.scripts import cli, console

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "assets" / "examples"
PAGES = {
    page.name: page.read_text()
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
BLOCK = re.compile(r"(?:<!-- (?P<mark>.*?) -->\n+)?```(?P<language>\w*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`((?:invertavatar|python|make|accelerate launch) [^`]+)`(?!`)")
SHOWN = ("mermaid", "bibtex")  # languages of which there is nothing to run
PROGRAMS = {"invertavatar": ["-m", "invertavatar"], "python": []}


def python_blocks() -> list:
    """The blocks of Python, each named by the page and the line it starts in."""
    return [
        pytest.param(block["code"], id=f"{page} {line_of(block)}")
        for page, text in PAGES.items()
        for block in BLOCK.finditer(text)
        if block["language"] == "python"
    ]


def commands(text: str) -> list:
    """The commands of the blocks marked to be run, as arguments for Python."""
    found = []
    for block in BLOCK.finditer(text):
        if block["mark"] == "run":
            for command in re.sub(r"\\\n\s*", " ", block["code"]).splitlines():
                words = shlex.split(command, comments=True)
                if words[:1] == ["invertavatar"] or command.startswith("python scripts/"):
                    found.append(pytest.param(PROGRAMS[words[0]] + words[1:], id=f"{line_of(block)}: {command}"))
    return found


def commands_of_all_pages() -> list:
    return [
        pytest.param(*command.values, id=f"{page} {command.id}")
        for page, text in PAGES.items()
        for command in commands(text)
    ]


def line_of(block: re.Match) -> str:
    return f"line {block.string.count(chr(10), 0, block.start('code')) + 1}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name in ("assets", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "clips").mkdir()
    with VideoReader(EXAMPLES / "talk_a.mp4") as video, VideoWriter(folder / "clips" / "a.mp4", video.fps) as clip:
        for frame in islice(video, 4):
            clip.write(frame)
    (folder / "photos").mkdir()
    for name in ("eva_1.jpg", "finn_1.jpg"):
        (folder / "photos" / name).symlink_to(EXAMPLES / name)
    return folder


def test_the_readme_shows_python():
    assert sum(block.id.startswith("README.md") for block in python_blocks()) >= 2


def test_the_first_command_leaves_the_history_where_it_is():
    first = BLOCK.search(PAGES["README.md"])
    assert re.match(r"git clone --depth 1 \S+ (\w+) && cd \1$", first["code"].strip())


def test_only_marked_commands_of_this_project_are_run():
    block = "```bash\ninvertavatar animate a.jpg \\\n  -o b.mp4  # why\npython scripts/demo.py\nrm -r /\n```\n"
    found = [param.values[0] for param in commands(f"{block}\n<!-- run -->\n{block}\n<!-- not run: slow -->\n{block}")]
    assert found == [["-m", "invertavatar", "animate", "a.jpg", "-o", "b.mp4"], ["scripts/demo.py"]]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page):
    silent = [
        line_of(block)
        for block in BLOCK.finditer(PAGES[page])
        if block["language"] not in ("python", *SHOWN) and not re.match(r"run$|not run: \w", block["mark"] or "")
    ]
    assert silent == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_within_a_sentence_name_programs_and_targets_that_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in INLINE.findall(PAGES[page]):
        program, first = command.split()[:2]
        scripts = re.findall(r"scripts/\w+\.py", command)
        assert all((ROOT / script).exists() for script in scripts), command
        if program == "make":
            assert first in targets, command
        elif program == "invertavatar":
            assert (ROOT / "scripts" / f"{first}.py").exists(), command
        else:
            assert scripts or command == "python -m invertavatar", command


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_repository_leads_somewhere(page):
    here = ROOT if (ROOT / page).exists() else ROOT / "docs"
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", PAGES[page])
    assert [link for link in links if not (here / link).exists()] == []


@pytest.mark.parametrize("code", python_blocks())
def test_python_of_the_pages_runs_as_it_stands(folder, monkeypatch, code):
    monkeypatch.chdir(folder)
    exec(compile(code, "a page", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("arguments", commands_of_all_pages())
def test_commands_of_the_pages_run_as_they_stand(folder, arguments, monkeypatch, capfd):
    if arguments[:1] == PROGRAMS["invertavatar"][:1]:  # here, where everything is imported already
        monkeypatch.chdir(folder)
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as exit_:
            console.run(cli.app, arguments[len(PROGRAMS["invertavatar"]) :])
        assert exit_.value.code == 0, capfd.readouterr().err
    else:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
