"""What several test modules share: the shipped face model and tracker, and the example people, who do not exist."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from invertavatar.avatar import Avatar
from invertavatar.head.head_model import HeadModel
from invertavatar.media import load_image
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts import browser
from invertavatar.tracking.portrait import Portrait, prepare_portrait
from invertavatar.tracking.tracker import FaceTracker
from tests.tiny import tiny_networks

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ROOT / "invertavatar" / "checkpoints"

# Rooms and modules whose tests start programs, serve pages, compile or run whole pipelines: `make test-fast` leaves
# them out, and single tests that are marked so where they stand.
SLOW = (
    *("app", "batch", "evaluation", "pipelines", "robustness", "scripts", "web"),
    *("baking/test_baked_avatar.py", "baking/test_fast_numba.py", "baking/test_rig.py", "live/test_live.py"),
    *("models/test_presets.py", "runtime/test_cuda_graphs.py", "speech/test_speaking.py", "steps/test_pasted.py"),
    *("media/test_video.py", "tracking/test_recorder.py", "tracking/test_tracker.py", "training/test_looks.py"),
    *("training/test_overfitting.py", "training/test_shards.py", "training/test_train_smoke.py"),
    *("training/test_variants.py", "test_examples.py", "test_package.py", "test_readme.py", "test_setup.py"),
)

torch.set_num_threads(1)  # over tensors as small as a test's, threads only wait for each other


def is_slow(path: Path) -> bool:
    """Whether `SLOW` names a test module or a room that it is in."""
    place = path.relative_to(ROOT / "tests")
    return any(part.as_posix() in SLOW for part in (place, *place.parents))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test-fast` does not even import what it leaves out."""
    return True if config.getoption("markexpr") == "not slow" and is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `SLOW` names."""
    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def head_model() -> HeadModel:
    """The shipped head model; tests do not change it."""
    return HeadModel.from_pretrained(CHECKPOINTS / "head_model")


@pytest.fixture(scope="session")
def face_tracker() -> Iterator[FaceTracker]:
    """The shipped tracker."""
    with FaceTracker.from_pretrained(CHECKPOINTS / "face_tracker") as tracker:
        yield tracker


@pytest.fixture(scope="session")
def example() -> Callable[[str], np.ndarray]:
    """`example("anna_1")`: an example photo, [768, 768, 3] uint8 RGB."""
    return lambda name: load_image(ROOT / "assets" / "examples" / f"{name}.jpg")


@pytest.fixture(scope="session")
def portrait(face_tracker, example) -> Callable[[str], Portrait]:
    """`portrait("anna_1")`: an example photo, tracked and cropped once."""
    return functools.cache(lambda name: prepare_portrait(example(name), face_tracker, name))


@pytest.fixture(scope="session")
def tiny_pipeline(head_model, face_tracker) -> InvertAvatarPipeline:
    """A pipeline of tiny random networks of the compact structure; tests do not change it."""
    pipe = InvertAvatarPipeline(**tiny_networks(), head_model=head_model, face_tracker=face_tracker)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def tiny_avatar(tiny_pipeline, portrait) -> Avatar:
    """Anna from two photos, by the tiny pipeline."""
    avatar = tiny_pipeline.add_portrait(None, portrait("anna_1"))
    return tiny_pipeline.add_portrait(avatar, portrait("anna_2"))


@pytest.fixture(scope="session")
def playwright() -> Iterator:
    """What drives browsers: one for all tests of a process, as there can be no second."""
    driver = pytest.importorskip("playwright.sync_api")
    if browser.chromium() is None:
        pytest.skip("No Chromium here: install Debian's package chromium to try pages in a browser.")
    with driver.sync_playwright() as running:
        yield running
