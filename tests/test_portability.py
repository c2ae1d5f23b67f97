"""What Windows and Macs lack is not asked for, as far as a Linux machine can tell."""

import ast
import io
import shutil
import sys
from pathlib import Path

import pytest
import typer

from invertavatar import Avatar, Motion
from invertavatar.scripts import console
from invertavatar.training.checkpoint import load_networks
from tests.conftest import CHECKPOINTS, ROOT

CODE = [ROOT / "app.py"] + [f for name in ("invertavatar", "pipelines", "scripts") for f in (ROOT / name).rglob("*.py")]
# Of these modules and functions Windows has none.
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
UNIX_FUNCTIONS = {
    "os": {"fork", "forkpty", "geteuid", "getegid", "getuid", "getgid", "getpgid", "killpg", "mkfifo", "nice", "setsid"}
    | {"sched_getaffinity", "sched_setaffinity", "statvfs", "sync", "sysconf", "uname", "wait", "wait3", "wait4"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause", "setitimer"},
    "time": {"tzset"},
}
ASKED_ON_UNIX_ONLY = {
    ("batch.py", "os.sched_getaffinity"),
    ("measures.py", "resource"),
    ("setup_environment.py", "os.geteuid"),
}  # after a look at the platform


@pytest.fixture(scope="module")
def nodes() -> list[tuple[Path, ast.AST]]:
    """All of the code, node by node."""
    return [(file, node) for file in CODE for node in ast.walk(ast.parse(file.read_bytes()))]


def names_no_encoding(call: ast.Call) -> bool:
    """Whether it opens a text file in the encoding of the machine: on Windows often cp1252."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name not in ("open", "read_text", "write_text", "TemporaryFile", "NamedTemporaryFile"):
        return False
    if owner in ("Image", "av", "os", "zipfile") or any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    arguments = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    values = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    binary = any(isinstance(value, str) and "b" in value and set(value) <= set("rwabx+") for value in values)
    return not binary and not (name.endswith("TemporaryFile") and not arguments)  # which is binary by default


def names_of_unix(node: ast.AST) -> set[str]:
    """The modules and functions among those above that it imports or calls."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & UNIX_MODULES
    if isinstance(node, ast.ImportFrom):
        return {node.module} & UNIX_MODULES
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = node.value.id
        return {f"{owner}.{name}" for name in UNIX_FUNCTIONS.get(owner, set()) & {node.attr}}
    return set()


def test_every_text_file_is_read_and_written_in_an_encoding_that_is_named(nodes):
    calls = [(file, node) for file, node in nodes if isinstance(node, ast.Call)]
    assert [f"{file.relative_to(ROOT)}:{call.lineno}" for file, call in calls if names_no_encoding(call)] == []


def test_nothing_is_asked_of_the_system_that_windows_has_not(nodes):
    assert {(file.name, name) for file, node in nodes for name in names_of_unix(node)} == ASKED_ON_UNIX_ONLY


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has mapped")
def test_what_was_read_leaves_its_file_free_to_be_replaced_or_deleted(tiny_avatar, tmp_path):
    tiny_avatar.save_pretrained(tmp_path)
    tiny_avatar.rest.save(tmp_path / "motion.safetensors")
    shutil.copytree(CHECKPOINTS, tmp_path / "pipeline")
    read = (
        Avatar.from_pretrained(tmp_path),
        Motion.load(tmp_path / "motion.safetensors"),
        load_networks(tmp_path / "pipeline"),
    )
    held = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert all(read)
    assert held == []  # Windows refuses both for a file that is mapped


def test_a_name_that_the_console_cannot_show_does_not_end_a_program(monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    app = console.new_app()

    @app.command()
    def program():
        print("\u7167\u7247.jpg: done")

    with pytest.raises(SystemExit, match="0"):
        console.run(app, [])
    assert shown.buffer.getvalue().split() == [rb"\u7167\u7247.jpg:", b"done"]


def test_a_refused_name_that_the_console_cannot_show_is_still_a_sentence(monkeypatch):
    said = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)  # strict, as PYTHONIOENCODING makes it
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    app = console.new_app()

    @app.command()
    def program():
        raise typer.TyperException("\u7167\u7247.jpg does not exist; check the path.")

    with pytest.raises(SystemExit, match="2"):
        console.run(app, [])
    assert b"does not exist" in said.buffer.getvalue()
