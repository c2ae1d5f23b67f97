"""Make `.venv` and install the pinned set into it; a second run finds everything in place and returns at once.

Runs on the standard library alone, before anything is installed: `make` calls it first in each of its targets, and on
Windows one calls it oneself.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENT_FILES = ("requirements.txt", "requirements-test.txt", "constraints.txt", "pyproject.toml")
STAMP = "invertavatar.stamp"  # inside the environment: the fingerprint of what was installed into it, or
INCOMPLETE = "incomplete"  # that an installation was begun and has not ended
OLDEST_PYTHON = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # any of them will do for the tests of the app
PAGE = ROOT / "invertavatar" / "web" / "page"  # the live page, whose package.json names what it takes from others
SYSTEM_LIBRARIES = {"libEGL.so.1": "libegl1", "libGLESv2.so.2": "libgles2"}  # MediaPipe's, and their Debian packages
VALIDATOR = "gltf-validator@2.0.0-dev.3.10"  # Khronos', from npm: what it says of exported heads is a test
NPM_SECONDS = 60  # without a network npm would try for minutes


def main() -> None:
    """Bring `.venv` up to date with the requirement files and say what happens meanwhile."""
    environment = ROOT / ".venv"
    stamp = environment / STAMP
    provide_system_libraries()
    fingerprint = requirements_fingerprint(ROOT)
    installed = stamp.read_text(encoding="utf-8") if stamp.is_file() else None
    if installed == fingerprint and can_import(environment, "sys"):
        return
    if installed == INCOMPLETE or not can_import(environment, "pip._internal.cli.main"):
        print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
    print("Installing the pinned packages: a few minutes the first time.", flush=True)
    stamp.write_text(INCOMPLETE, encoding="utf-8")
    install(environment)
    stamp.write_text(fingerprint, encoding="utf-8")
    print("The environment is ready.", flush=True)


def provide_browser() -> None:
    """Install Debian's Chromium for the tests of the app where this may be done; else they are skipped."""
    if any(map(shutil.which, BROWSERS)):
        return
    prefix = root_prefix() if sys.platform == "linux" and shutil.which("apt-get") else None
    if prefix is not None:
        print("Installing chromium, in which the app is tested.", flush=True)
        apt_get_install(prefix, ["chromium"])
    if not any(map(shutil.which, BROWSERS)):
        print(
            "No Chromium here: the tests of the app's page will be skipped. Debian's package is chromium.", flush=True
        )


def provide_validator(environment: Path) -> None:
    """Fetch the validator of glTF files into the environment where node and npm are there; else its test is skipped."""
    validator = environment / "node_modules" / VALIDATOR.split("@")[0]
    if not validator.is_dir() and shutil.which("node") and shutil.which("npm"):
        print("Fetching gltf-validator, which reads the heads that are exported.", flush=True)
        npm_install(environment, VALIDATOR)
    if not validator.is_dir():
        print("No gltf-validator here: its test of exported heads will be skipped. It needs node and npm.", flush=True)


def provide_page_modules(page: Path) -> bool:
    """Fetch what the live page takes from others beside it where npm is there; whether it is there now."""
    wanted = json.loads((page / "package.json").read_text(encoding="utf-8"))["dependencies"]

    def installed() -> bool:
        described = {name: page / "node_modules" / name / "package.json" for name in wanted}
        return all(
            file.is_file() and json.loads(file.read_text(encoding="utf-8"))["version"] == wanted[name]
            for name, file in described.items()
        )

    if not installed() and shutil.which("npm"):
        print("Fetching three.js and MediaPipe's face landmarker for the web, which the live page uses.", flush=True)
        npm_install(page)
    if not installed():
        print("The live page's modules are not here: its tests will be skipped. They need npm.", flush=True)
    return installed()


def npm_install(folder: Path, *packages: str) -> None:
    """What a folder's package.json names, or other packages, into its node_modules; the caller looks if it has come."""
    quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
    command = ["npm", "install", "--prefix", str(folder), *quiet, *packages]
    with contextlib.suppress(subprocess.TimeoutExpired):  # as good as an npm that says no
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=NPM_SECONDS)


def requirements_fingerprint(root: Path) -> str:
    """A digest that changes whenever a requirement file under `root` does, or `root` is moved or copied."""
    digest = hashlib.sha256(os.fsencode(root))  # the editable install points here
    for name in REQUIREMENT_FILES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def python_of(environment: Path) -> Path:
    """Where an environment has its Python."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def can_import(environment: Path, module: str) -> bool:
    """Whether the environment's Python still starts, is new enough and imports `module`."""
    question = f"import sys, {module}; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        return subprocess.run([python_of(environment), "-c", question], capture_output=True).returncode == 0
    except OSError:  # no such file, or a link to a Python that has been removed
        return False


def install(environment: Path) -> None:
    """The pinned set, and the package itself built with what is installed so that pip fetches nothing for that."""
    pip = [str(python_of(environment)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    pinned = ["--constraint", "constraints.txt"]
    run_pip([*pip, *pinned, "setuptools"])
    run_pip([*pip, *pinned, "--no-build-isolation", "--editable", ".[test]"])


def run_pip(command: list[str]) -> None:
    """Run pip and show one line for each download; all that it said is printed only if it fails."""
    said = []
    with subprocess.Popen(
        [*command, "--progress-bar", "off"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            said.append(line)
            if note := progress_note(line):
                print(f"  {note}", flush=True)
    if process.returncode:
        sys.stderr.writelines(said[-30:])
        sys.exit(
            f"pip could not install the pinned packages (Python {sys.version.split()[0]}; 3.11 and 3.12 are tested): "
            "see its last lines above, then run the same command again."
        )


def progress_note(line: str) -> str | None:
    """What to show of pip's line: `Downloading torch-2.13.0-cp311-...whl (190.1 MB)` -> `torch 2.13.0 (190.1 MB)`."""
    if found := re.match(r"\s*Downloading (?:\S*/)?([\w.]+)-(\d[^-]*?)(?:-\S*|\.tar\.gz) (\([\d.]+ MB\))", line):
        return " ".join(found.groups())
    return "unpacking" if line.startswith("Installing collected packages") else None


def provide_system_libraries() -> None:
    """Install the two system libraries that MediaPipe links against where this may be done, else say how."""
    missing = missing_system_libraries() if sys.platform == "linux" else []
    if not missing:
        return
    packages = " ".join(missing)
    advice = f"MediaPipe needs the system libraries of {packages}; install them, then run this again:\n"
    advice += f"  sudo apt-get update && sudo apt-get install -y {packages}"
    prefix = root_prefix()
    if prefix is None or not shutil.which("apt-get"):
        sys.exit(advice)
    print(f"Installing {packages}, which MediaPipe needs.", flush=True)
    apt_get_install(prefix, missing)
    if missing_system_libraries():
        sys.exit(advice)


def apt_get_install(prefix: list[str], packages: list[str]) -> None:
    """Install Debian packages and say nothing; the caller looks whether they have come."""
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        # A failing update (one stale source of many) need not stop the installation.
        subprocess.run([*prefix, "apt-get", "-qq", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def missing_system_libraries() -> list[str]:
    """The Debian packages whose library cannot be loaded."""

    def loads(library: str) -> bool:
        try:
            ctypes.CDLL(library)
        except OSError:
            return False
        return True

    return [package for library, package in SYSTEM_LIBRARIES.items() if not loads(library)]


def root_prefix() -> list[str] | None:
    """What to put before a command that needs root: nothing for root, sudo where it asks no password, else None."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    passwordless = shutil.which("sudo") and not subprocess.run([*sudo, "true"], capture_output=True).returncode
    return sudo if passwordless else None


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"This package needs Python 3.11 or newer, not {sys.version.split()[0]}: make PYTHON=python3.11 ...")
    try:
        if "--for-page" in sys.argv:
            sys.exit(not provide_page_modules(PAGE))
        main()
        if "--for-tests" in sys.argv:
            provide_browser()
            provide_validator(ROOT / ".venv")
            provide_page_modules(PAGE)
    except KeyboardInterrupt:
        sys.exit(130)
