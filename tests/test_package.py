"""What is installed: one name, and the same modules from a source distribution, a wheel and an editable install."""

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

import invertavatar
from tests.conftest import ROOT

ELSEWHERE = ("pipelines", "scripts")  # folders that stand beside the package in a checkout and inside it in a wheel
OTHERS = (*ELSEWHERE, "app", "assets", "docs", "examples", "tests")
LEFT_BEHIND = ("__pycache__", "node_modules")
NO_SOURCE = (".*", *LEFT_BEHIND, "*.egg-info", "build", "dist", "outputs", "runs", "shared")
OUTSIDE = """
import importlib.util, pickle, sys
import invertavatar
from invertavatar import InvertAvatarPipeline, InvertAvatarPipelineOutput

assert pickle.loads(pickle.dumps(InvertAvatarPipelineOutput)) is InvertAvatarPipelineOutput
print(invertavatar.__file__)
print(InvertAvatarPipeline.__module__)
print(sorted(InvertAvatarPipeline.from_pretrained().components))
print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])
"""
EDITABLE = """
import importlib.util, site, sys
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "_EditableFinder"]
for name in [name for name in sys.modules if name.startswith("__editable__")]:
    del sys.modules[name]  # that of the environment which these tests run in
sys.path.insert(0, sys.argv[1])
site.addsitedir(sys.argv[1])
import invertavatar.scripts.console
print(invertavatar.scripts.console.__file__)
print([name for name in sys.argv[2:] if importlib.util.find_spec(name)])
"""


def files(folder: Path) -> set[str]:
    """The files under a folder, but for what Python and npm leave there."""
    found = (file for file in folder.rglob("*") if file.is_file() and not {*LEFT_BEHIND} & {*file.parts})
    return {file.relative_to(folder).as_posix() for file in found}


def build(kind: str, source: Path, target: Path) -> Path:
    """A distribution by the build system that pyproject.toml names, with what is installed here."""
    target.mkdir(exist_ok=True)
    program = f"import sys, setuptools.build_meta as backend; backend.build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, target], cwd=source, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


def python(folder: Path, *arguments) -> str:
    """What Python prints that knows the installed packages but not this one, which the environment has as editable."""
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    command = [sys.executable, "-S", *arguments]  # -S: no .pth file is read
    started = subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr
    return started.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of this one, as building leaves files in it."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("package") / "src", ignore=shutil.ignore_patterns(*NO_SOURCE))


@pytest.fixture(scope="module")
def unpacked(checkout, tmp_path_factory) -> Path:
    """A source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", checkout, folder / "dist")) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"invertavatar-{invertavatar.__version__}"


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory) -> Path:
    """A wheel, made from the source distribution."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder into which pip has put the wheel."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--target", folder]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    return folder


def test_a_source_distribution_is_the_whole_checkout(checkout, unpacked):
    assert files(checkout) - files(unpacked) == set()


def test_a_wheel_installs_one_name_with_every_module_and_all_the_weights(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = {name: files(ROOT / name) for name in ("invertavatar", *ELSEWHERE)}
    shims = {f"invertavatar/{name}/__init__.py" for name in ELSEWHERE}
    expected = {f"invertavatar/{file}" for file in folders["invertavatar"]} - shims
    expected |= {f"invertavatar/{name}/{file}" for name in ELSEWHERE for file in folders[name]}
    assert names == expected
    assert b"__path__" not in b"".join(zipfile.ZipFile(wheel).read(shim) for shim in shims)


def test_a_wheel_states_its_version_its_programs_and_the_licence_of_code_and_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        about = f"invertavatar-{invertavatar.__version__}.dist-info"
        metadata = BytesParser().parsebytes(archive.read(f"{about}/METADATA"))
        notice = archive.read(f"{about}/licenses/NOTICE").decode()
        assert archive.read(f"{about}/top_level.txt").decode().split() == ["invertavatar"]
        assert b"invertavatar = invertavatar.scripts.cli:main" in archive.read(f"{about}/entry_points.txt")
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-NC-4.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert "invertavatar/checkpoints" in notice
    assert "CC BY-NC 4.0" in notice
    needed = {line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()} - {""}
    assert len([line for line in metadata.get_all("Requires-Dist") if "extra" not in line]) == len(needed)


def test_an_installed_package_loads_its_model_outside_of_any_checkout_and_brings_no_other_name(installed):
    file, module, components, others = python(installed, "-c", OUTSIDE, *OTHERS).splitlines()
    assert file == str(installed / "invertavatar" / "__init__.py")
    assert module == "invertavatar.pipelines.pipeline_invertavatar"
    assert components.count("'") == 2 * 6
    assert others == "[]"


def test_the_program_and_the_module_are_the_same_command(installed):
    program, module = (
        python(installed, *arguments, "animate", "--help")
        for arguments in ((installed / "bin" / "invertavatar",), ("-m", "invertavatar"))
    )
    assert "--driving" in program
    assert (
        program.replace("Usage: invertavatar", "").split()
        == module.replace("Usage: python -m invertavatar", "").split()
    )


def test_an_editable_install_leads_to_the_checkout_and_brings_no_other_name(checkout, tmp_path):
    with zipfile.ZipFile(build("editable", checkout, tmp_path / "wheel")) as archive:
        archive.extractall(tmp_path / "site")
    file, others = python(tmp_path, "-c", EDITABLE, tmp_path / "site", *OTHERS).splitlines()
    assert file == str(checkout / "scripts" / "console.py")
    assert others == "[]"


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_module_is_imported_by_a_second_name(name):
    with pytest.raises(ImportError, match=rf"import invertavatar\.{name}\."):
        importlib.import_module(name)
    assert importlib.import_module(f"invertavatar.{name}").__path__ == [str(ROOT / name)]
