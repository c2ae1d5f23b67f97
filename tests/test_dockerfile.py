"""The Dockerfile, as far as it can be checked without Docker: it is read, not built."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")


def test_hadolint_has_nothing_to_say():
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed here; requirements-test.txt names it for Linux on x86-64")
    checked = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_app_is_not_run_by_root_and_its_health_is_asked_for_where_it_listens():
    assert re.findall(r"^USER (.*)", TEXT, re.MULTILINE) == ["1000"]
    port = re.search(r'^CMD .*"--port", "(\d+)"', TEXT, re.MULTILINE)[1]
    assert f"EXPOSE {port}\n" in TEXT
    assert re.findall(r"https?://[^\s']+", TEXT) == [f"http://localhost:{port}/"]  # and no package host is named


@pytest.mark.parametrize(
    ("device", "extras", "installs"),
    [
        ("cuda", "batch", "torch=={} --requirement requirements.txt --requirement requirements-batch.txt"),
        (
            "cpu",
            "batch cluster",
            "torch=={}+cpu --requirement requirements.txt --requirement requirements-batch.txt "
            "--requirement requirements-cluster.txt",
        ),
        ("tpu", "", None),
    ],
)
def test_both_variants_install_the_pinned_torch_and_the_extras(device, extras, installs):
    step = re.search(r'^RUN (version=.*?"\$@")$', TEXT, re.MULTILINE | re.DOTALL)[1]
    step = step.replace("pip install --constraint constraints.txt", "echo")
    environment = {"DEVICE": device, "EXTRAS": extras, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", step], cwd=ROOT, env=environment, capture_output=True, text=True)
    version = re.search(r"^torch==(.*)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    if installs is None:
        assert done.returncode == 1 and "DEVICE is cpu or cuda, not tpu." in done.stderr
    else:
        assert done.stdout.strip() == installs.format(version)
        assert all((ROOT / name).exists() for name in done.stdout.split() if name.endswith(".txt"))
