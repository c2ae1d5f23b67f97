"""Which device computes where nobody has chosen one."""

import logging

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.runtime import devices
from invertavatar.runtime.devices import best_device, shortcoming
from invertavatar.scripts.console import load_pipeline
from tests.other_device import ELSEWHERE, Held


@pytest.fixture(autouse=True)
def _asked_anew():
    shortcoming.cache_clear()
    yield
    shortcoming.cache_clear()


@pytest.fixture
def apple(monkeypatch):
    """A machine with an Apple GPU, whose part the make-believe device plays."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "shortcoming", lambda device: shortcoming(str(ELSEWHERE)))


def broken(monkeypatch, name, result):
    """Makes an operation fail on that device."""
    ran = Held.__torch_dispatch__.__func__

    def dispatched(cls, function, *args, **kwargs):
        return result() if function.name() == name else ran(cls, function, *args, **kwargs)

    monkeypatch.setattr(Held, "__torch_dispatch__", classmethod(dispatched))


def test_a_cuda_gpu_comes_first(monkeypatch, apple):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "cuda"


def test_without_a_gpu_the_cpu_computes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device() == "cpu"


def test_an_apple_gpu_that_computes_right_is_used(apple):
    assert best_device() == "mps"


def refused():
    raise RuntimeError("MPS: Unsupported Border padding mode")


@pytest.mark.parametrize(
    ("operation", "result", "reason"),
    [
        ("aten::grid_sampler_2d", refused, "Unsupported Border padding mode"),
        ("aten::_linalg_solve_ex", refused, "linalg.solve"),
        ("aten::max_pool2d_with_indices", lambda: (Held(torch.zeros(1, 4, 8, 8)), None), "other results"),
    ],
)
def test_an_apple_gpu_that_cannot_do_something_or_does_it_wrong_is_left_alone(
    apple, monkeypatch, caplog, operation, result, reason
):
    broken(monkeypatch, operation, result)
    with caplog.at_level(logging.WARNING):
        assert best_device() == "cpu"
    assert reason in caplog.text


def test_asked_for_by_name_such_a_gpu_is_refused_in_a_sentence(apple, monkeypatch):
    broken(monkeypatch, "aten::grid_sampler_2d", refused)
    with pytest.raises(InvertAvatarError, match=r"cannot do grid_sample on elsewhere.*--device cpu"):
        load_pipeline(None, "mps", quiet=True)
