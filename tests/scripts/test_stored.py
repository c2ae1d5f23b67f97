"""A bare machine is measured and checked with what is stored: without MediaPipe, without a video decoder."""

import json
import sys

import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts import benchmark, console, operations, stored
from invertavatar.scripts.benchmark import child, rows
from invertavatar.scripts.measures import Plan
from invertavatar.tracking.motion import Motion
from tests.conftest import ROOT

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "mediapipe", "pillow_heif"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""
ABOUT = {"about": {"device": "cpu", "torch": "2.13", "half_precision": []}}


@pytest.fixture(scope="module")
def model(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(folder)
    return str(folder)


@pytest.mark.timeout(300)
def test_a_machine_without_mediapipe_and_without_a_video_decoder_is_measured(model, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sizes = {"sizes": (64,), "batches": (1,), "stored": True}
    plan = Plan("cpu", model, starts=1, repeats=1, frames=3, **sizes)
    found = {line["key"]: line["samples"] for line in child(ROOT, plan, "float32") if "key" in line}
    assert set(found) == set(rows(plan)) - {"peak_gpu_gib"}
    assert min(min(samples) for samples in found.values()) > 0


def test_what_is_missing_is_found_and_stood_in_for(monkeypatch):
    monkeypatch.setattr(stored, "TRACKING", ("json", "no_such_module"))
    assert stored.absent() == ["no_such_module"]
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    stored.do_without(["no_such_module"])
    from no_such_module.part import Anything

    assert Anything.of.any.kind


@pytest.fixture
def folder(tiny_pipeline, tmp_path, monkeypatch):
    """Stored with the tiny pipeline: one photo, three frames."""
    nod = Motion.from_sliders([{"yaw": 0}, {"time": 0.08, "yaw": 20}])
    monkeypatch.setattr(InvertAvatarPipeline, "track", lambda self, clip, max_frames: nod)
    monkeypatch.setattr(stored, "FRAMES", {64: (0, 2)})
    stored.store(tiny_pipeline, [str(ROOT / "assets" / "examples" / "anna_1.jpg")], "clip.mp4", tmp_path)
    return tmp_path


def test_pictures_are_compared_with_the_stored_ones(tiny_pipeline, portrait, folder, monkeypatch):
    [kept], tracked = stored.portraits(folder), portrait("anna_1")
    for name in ("photo", "vertices", "expression", "rotation"):
        torch.testing.assert_close(getattr(kept, name), getattr(tracked, name), atol=1e-6, rtol=0)
    assert (kept.matte - tracked.matte).abs().max() <= 0.5 / 255 + 1e-6 and kept.scale == tracked.scale
    assert (kept.thumbnail.int() - tracked.thumbnail.int()).abs().max() <= 1

    lines = list(stored.compare(tiny_pipeline, folder))
    assert [line["picture"] for line in lines] == [*("frame_0_64", "frame_2_64", "side_256", "alone_256", "sample_256")]
    assert all(line["max"] <= 1 and not stored.is_off(line, "float32") for line in lines)

    stored.save_picture(folder / "frame_2_64.webp", 0.98 * stored.load_picture(folder / "frame_2_64.webp") / 255)
    off = [stored.is_off(line, "float32") for line in stored.compare(tiny_pipeline, folder)]
    assert off == [False, True, False, False, False]

    monkeypatch.setattr(stored, "pictures", lambda *_: [("frame_0_64.webp", torch.full((3, 64, 64), torch.nan))])
    [line] = stored.compare(tiny_pipeline, folder)
    assert stored.is_off(line, "float16")

    (folder / "about.json").write_text(json.dumps({"model": "another"}))
    with pytest.raises(InvertAvatarError, match="of another model: write them anew with --store"):
        next(stored.compare(tiny_pipeline, folder))


def test_what_is_stored_is_of_the_shipped_weights():
    assert json.loads((stored.FOLDER / "about.json").read_text())["model"] == (
        InvertAvatarPipeline.from_pretrained(face_tracker=None).fingerprint
    )
    assert len(stored.portraits()) == 4 and stored.motion().num_frames == 24
    assert sum(file.stat().st_size for file in stored.FOLDER.iterdir()) < 2e6


@pytest.mark.parametrize(("most", "status"), [(1.0, 0), (40.0, 1)])
def test_the_check_prints_each_picture_and_fails_where_one_is_off(capsys, monkeypatch, most, status):
    lines = [ABOUT, {"picture": "side_256", "mean": 0.1, "most": most, "max": 50.0}]
    monkeypatch.setattr(benchmark, "child", lambda tree, plan, dtype, wanted: iter(lines))
    assert program("--check", "--device", "cpu") == status
    printed = capsys.readouterr().out.splitlines()[-1].split()
    assert printed[:4] == ["float32", "side_256", "0.100", f"{most:.2f}"]
    assert ("off:" in printed) == bool(status)


def test_one_thing_is_asked_at_a_time(capsys):
    assert program("--check", "--count") == 2
    assert "one of --compare, --check, --count and --store" in capsys.readouterr().err


def test_operations_are_counted_and_views_are_none():
    x = torch.ones(10)
    found = operations.counted(lambda: (x.view(2, 5).T + 1).add_(1))
    assert found["operations"] == 2 and found["megabytes"] == pytest.approx((80 + 80) / 1e6)


def test_a_frame_is_no_more_operations_than_it_was(tiny_pipeline, tiny_avatar, portrait):
    nod = Motion.from_sliders([{"yaw": 10}])
    [frame, photo] = operations.counts(tiny_pipeline, tiny_avatar, nod, portrait("anna_4"), (64,))
    assert frame["what"] == "frame of 64 px" and photo["what"] == "photo"
    assert frame["operations"] < 2000 < photo["operations"] < 4600
    assert frame["places"]["rasterizer_torch.py:rasterize"] > 10


def program(*arguments) -> int:
    app = console.new_app()
    app.command()(benchmark.benchmark)
    with pytest.raises(SystemExit) as exit_:
        console.run(app, list(arguments))
    return exit_.value.code
