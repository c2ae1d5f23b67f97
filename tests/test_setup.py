"""The set-up: pins that fit the ranges, an environment that is made once and mended when broken."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from invertavatar.scripts import setup_environment

ROOT = Path(__file__).resolve().parents[1]
SETUP_FILES = (
    ".ci/run",
    "Makefile",
    "constraints.txt",
    "packages.txt",
    "pyproject.toml",
    "requirements-batch.txt",
    "requirements-cluster.txt",
    "requirements-cuda.txt",
    "requirements-live.txt",
    "requirements-speech.txt",
    "requirements-test.txt",
    "requirements.txt",
    "scripts/setup_environment.py",
)
GPU_BUILD_PREFIXES = ("cuda-", "nvidia-", "triton")  # torch itself pins what its GPU builds bring


def requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def pins() -> dict[str, str]:
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in requirements("constraints.txt")}


def pulled_in(requirement: Requirement, found: set[str]) -> set[str]:
    name = canonicalize_name(requirement.name)
    if name not in found and not name.startswith(GPU_BUILD_PREFIXES):
        found.add(name)
        for needed in map(Requirement, distribution(name).requires or []):
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in requirement.extras or {""}):
                pulled_in(needed, found)
    return found


def test_every_pin_is_one_exact_version():
    assert all(re.fullmatch(r"==[\w.]+", version) for version in pins().values())


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_requirement_is_pinned_inside_its_range(name):
    outside = [str(r) for r in requirements(name) if not r.specifier.contains(pins()[canonicalize_name(r.name)][2:])]
    assert outside == []


def test_all_that_the_requirements_pull_in_is_pinned_to_what_is_installed():
    found = set()
    for requirement in requirements("requirements.txt") + requirements("requirements-test.txt"):
        pulled_in(requirement, found)
    installed = {name: f"=={distribution(name).version.split('+')[0]}" for name in found}
    assert installed == {name: pins().get(name) for name in found}


@pytest.mark.parametrize("name", SETUP_FILES)
def test_no_set_up_file_names_a_package_host_or_a_path_of_one_machine(name):
    assert not re.search(r"https?://|index-url|find-links|(?<!\.)/(work|root|home|tmp)/", (ROOT / name).read_text())


def test_continuous_integration_runs_the_command_of_the_readme():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text()


def test_make_says_what_to_install_when_no_python_is_new_enough():
    made = subprocess.run(["make", "PYTHON=", "environment"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode != 0
    assert "No Python 3.11 or newer" in made.stderr


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with an environment that only looks installed, and a list of what the set-up did to it."""
    for name in setup_environment.REQUIREMENT_FILES:
        (tmp_path / name).write_text(name)
    done = []
    monkeypatch.setattr(setup_environment, "ROOT", tmp_path)
    monkeypatch.setattr(setup_environment, "provide_system_libraries", lambda: None)
    monkeypatch.setattr(setup_environment, "install", lambda environment: done.append("install"))
    real_run = subprocess.run

    def run(command, **options):
        if "venv" not in command:
            return real_run(command, **options)
        done.append("venv")
        return link_python(tmp_path, sys.executable)

    monkeypatch.setattr(subprocess, "run", run)
    return tmp_path, done


def link_python(project: Path, target: str) -> None:
    python = project / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    python.parent.mkdir(parents=True, exist_ok=True)
    python.unlink(missing_ok=True)
    python.symlink_to(target)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_first_run_makes_and_fills_the_environment_and_the_second_does_nothing(project, monkeypatch, platform):
    _, done = project
    monkeypatch.setattr(sys, "platform", platform)
    setup_environment.main()
    assert done == ["venv", "install"]
    setup_environment.main()
    assert done == ["venv", "install"]


@pytest.mark.parametrize("name", setup_environment.REQUIREMENT_FILES)
def test_a_changed_requirement_file_installs_into_the_same_environment(project, name):
    root, done = project
    setup_environment.main()
    (root / name).write_text("changed")
    setup_environment.main()
    assert done == ["venv", "install", "install"]


def test_an_environment_whose_python_was_removed_is_made_anew(project):
    root, done = project
    setup_environment.main()
    link_python(root, "/nowhere/python3.11")
    setup_environment.main()
    assert done == ["venv", "install"] * 2


def test_an_installation_that_was_interrupted_is_made_anew(project, monkeypatch):
    _, done = project

    def interrupted(environment):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup_environment, "install", interrupted)
        setup_environment.main()
    setup_environment.main()
    assert done == ["venv", "venv", "install"]


@pytest.mark.parametrize(
    ("platform", "python"), [("linux", "bin/python"), ("darwin", "bin/python"), ("win32", "Scripts/python.exe")]
)
def test_packages_are_installed_by_the_environments_own_python(monkeypatch, platform, python):
    commands = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(setup_environment, "run_pip", commands.append)
    setup_environment.install(Path("environment"))
    assert {command[0] for command in commands} == {str(Path("environment", python))}


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_only_linux_is_asked_for_packages_of_the_system(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(setup_environment.shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "geteuid", None)
    monkeypatch.setattr(setup_environment, "missing_system_libraries", lambda: ["libegl1"])
    setup_environment.provide_system_libraries()
    setup_environment.provide_browser()


def test_a_failing_pip_shows_its_last_words_and_one_sentence(capfd):
    with pytest.raises(SystemExit, match="pip could not install the pinned packages"):
        setup_environment.run_pip([sys.executable, "-c", "print('no such package'); raise SystemExit(1)"])
    assert "no such package" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.1 MB)", "torch 2.13.0 (190.1 MB)"),
        ("Downloading some_thing-1.0.tar.gz (12 MB)", "some_thing 1.0 (12 MB)"),
        ("Downloading small-1.0-py3-none-any.whl (12 kB)", None),
        ("Collecting torch==2.13.0", None),
        ("Installing collected packages: a, b", "unpacking"),
    ],
)
def test_of_what_pip_says_only_large_downloads_and_unpacking_are_shown(line, note):
    assert setup_environment.progress_note(line) == note


@pytest.fixture
def slim_machine(monkeypatch):
    """A Linux without MediaPipe's libraries until apt-get has installed them."""
    commands = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(setup_environment.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(setup_environment.subprocess, "run", lambda command, **options: commands.append(command))
    monkeypatch.setattr(
        setup_environment, "missing_system_libraries", lambda: [] if len(commands) == 2 else ["libegl1", "libgles2"]
    )
    return commands


def test_root_gets_the_system_libraries_installed_after_an_update(slim_machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    setup_environment.provide_system_libraries()
    update, install = slim_machine
    assert update[-1] == "update"
    assert install[-2:] == ["libegl1", "libgles2"]


def test_without_rights_the_set_up_stops_with_the_one_line_to_run(slim_machine, monkeypatch):
    monkeypatch.setattr(setup_environment, "root_prefix", lambda: None)
    with pytest.raises(SystemExit, match="sudo apt-get update && sudo apt-get install -y libegl1 libgles2"):
        setup_environment.provide_system_libraries()


def test_a_missing_browser_is_installed_or_its_tests_are_announced_as_skipped(slim_machine, monkeypatch, capsys):
    monkeypatch.setattr(
        setup_environment.shutil, "which", lambda name: None if name in setup_environment.BROWSERS else name
    )
    monkeypatch.setattr(setup_environment, "root_prefix", lambda: [])
    setup_environment.provide_browser()
    assert slim_machine[1][-1] == "chromium"
    assert "will be skipped" in capsys.readouterr().out  # the stub of apt-get brought none

    slim_machine.clear()
    monkeypatch.setattr(setup_environment, "root_prefix", lambda: None)
    setup_environment.provide_browser()
    assert slim_machine == []
    assert "will be skipped" in capsys.readouterr().out


def test_a_browser_that_is_there_is_left_alone(slim_machine):
    setup_environment.provide_browser()
    assert slim_machine == []


@pytest.fixture
def npm(monkeypatch):
    """A machine with node and npm; `npm(behaviour)` says what npm does with its command, and gives the commands."""

    def installs(behaviour):
        commands = []

        def run(command, **options):
            commands.append(command)
            behaviour(command)

        monkeypatch.setattr(setup_environment.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(setup_environment.subprocess, "run", run)
        return commands

    return installs


def test_the_validator_of_exported_heads_is_fetched_once_into_the_environment(npm, tmp_path, capsys):
    commands = npm(lambda command: (tmp_path / "node_modules/gltf-validator").mkdir(parents=True))
    for _ in range(2):
        setup_environment.provide_validator(tmp_path)
    ((program, *options, package),) = commands
    assert program == "npm"
    assert options[options.index("--prefix") + 1] == str(tmp_path)
    assert re.fullmatch(r"gltf-validator@[\d.a-z-]+", package)
    assert "skipped" not in capsys.readouterr().out


def test_the_live_pages_modules_are_fetched_once_beside_it(npm, tmp_path, capsys):
    wanted = {"three": "1.2.3", "@mediapipe/tasks-vision": "0.1.2"}
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": wanted}))

    def installs(command):
        for name, version in wanted.items():
            (tmp_path / "node_modules" / name).mkdir(parents=True)
            (tmp_path / "node_modules" / name / "package.json").write_text(json.dumps({"version": version}))

    commands = npm(installs)
    assert setup_environment.provide_page_modules(tmp_path) and setup_environment.provide_page_modules(tmp_path)
    assert [command[:2] for command in commands] == [["npm", "install"]]
    assert "skipped" not in capsys.readouterr().out
    wanted["three"] = "1.2.4"  # a new pin is fetched anew
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": wanted}))
    npm(hangs)
    assert not setup_environment.provide_page_modules(tmp_path)
    assert "will be skipped" in capsys.readouterr().out


def hangs(command):
    raise subprocess.TimeoutExpired(command, setup_environment.NPM_SECONDS)


@pytest.mark.parametrize("behaviour", [hangs, lambda command: None])
def test_an_npm_that_cannot_fetch_only_announces_a_skipped_test(npm, tmp_path, capsys, behaviour):
    npm(behaviour)
    setup_environment.provide_validator(tmp_path)
    assert "will be skipped" in capsys.readouterr().out


def test_without_npm_nothing_is_run_and_the_skipped_test_is_announced(npm, tmp_path, capsys, monkeypatch):
    commands = npm(hangs)
    monkeypatch.setattr(setup_environment.shutil, "which", lambda name: None if name == "npm" else name)
    setup_environment.provide_validator(tmp_path)
    assert commands == []
    assert "will be skipped" in capsys.readouterr().out


def test_a_library_that_cannot_be_loaded_is_reported_by_its_debian_package(monkeypatch):
    monkeypatch.setattr(setup_environment, "SYSTEM_LIBRARIES", {"libc.so.6": "libc6", "libnone.so.9": "libnone9"})
    assert setup_environment.missing_system_libraries() == ["libnone9"]


def test_a_space_gets_the_same_system_packages():
    assert (ROOT / "packages.txt").read_text().split() == list(setup_environment.SYSTEM_LIBRARIES.values())
