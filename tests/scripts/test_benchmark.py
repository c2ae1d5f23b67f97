"""`scripts/benchmark.py`: every row measured, each tree with its own library, and nothing left behind."""

import json
import shutil
import signal
import subprocess

import pytest

from invertavatar.errors import InvertAvatarError
from invertavatar.scripts import benchmark, console
from invertavatar.scripts.benchmark import Measurements, app_start, checked_out, child, measure, ratios, rows
from invertavatar.scripts.measures import QUICK, Plan
from tests.conftest import ROOT

pytestmark = pytest.mark.timeout(300)  # two processes import everything, which a busy machine does slowly
SLOWER = 0.5  # seconds by which the committed revision tracks a photo more slowly than the working tree
SLOW_TRACKING = f"""

import time
_prepare = prepare_portrait


def prepare_portrait(*arguments, **options):
    time.sleep({SLOWER})
    return _prepare(*arguments, **options)
"""
APP_PAUSE = 0.3
APP = f"""
import http.server, sys, time
time.sleep({APP_PAUSE})
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
ABOUT = {"device": "cpu", "threads": 2, "processor": "a processor", "torch": "2.13", "revision": "abc", "date": "today"}


def git(repository, *arguments) -> str:
    person = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    command = ["git", "-C", str(repository), *person, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with this library, changed since its only commit: that one tracks photos more slowly."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    repository = tmp_path_factory.mktemp("repository")
    weights = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("invertavatar", "pipelines"):
        shutil.copytree(ROOT / name, repository / name, ignore=weights)
    (repository / "app.py").write_text(APP)
    portrait = repository / "invertavatar" / "tracking" / "portrait.py"
    fast = portrait.read_text()
    portrait.write_text(fast + SLOW_TRACKING)
    git(repository, "init", "--quiet")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "slow")
    portrait.write_text(fast)
    return repository


@pytest.fixture(scope="module")
def plan(tiny_pipeline, tmp_path_factory):
    """As little as makes every row."""
    model = tmp_path_factory.mktemp("model")
    tiny_pipeline.save_pretrained(model)
    sizes = {"photos": (1,), "sizes": (64, 128), "batches": (1, 2)}
    return Plan("cpu", str(model), starts=1, repeats=1, frames=3, clip_frames=3, rounds=1, half=False, **sizes)


@pytest.fixture(scope="module")
def compared(plan, repository):
    """The working tree and its commit, both measured; and the keys in the order in which they came."""
    advanced = []
    with checked_out("HEAD", repository) as other:
        found = measure(plan, [repository, other], advanced.append)
    return found, advanced


@pytest.fixture
def program(capfd, monkeypatch):
    """Calls the program and returns its exit status, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    app = console.new_app()
    app.command()(benchmark.benchmark)

    def call(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            console.run(app, [str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return exit_.value.code, printed.out, printed.err

    return call


def test_every_row_is_measured_and_positive(plan, compared):
    (one, other), advanced = compared
    for found in (one, other):
        assert set(rows(plan)) - {"peak_gpu_gib"} == set(found.samples["float32"])
        assert min(found.values("float32").values()) > 0
    assert set(advanced) == set(one.samples["float32"])


def test_the_same_code_takes_the_same_time_in_both_trees(compared):
    ratio = ratios(*compared[0], "float32")
    assert 1 / 3 < ratio["frame_ms"] < 3
    assert 1 / 3 < ratio["track_frame_ms"] < 3
    assert ratio["peak_rss_gib"] == pytest.approx(1, abs=0.3)


def test_each_tree_is_measured_with_its_own_library(compared):
    one, other = (found.values("float32") for found in compared[0])
    assert other["track_photo_s"] - one["track_photo_s"] > SLOWER / 2
    assert other["track_photo_s"] > SLOWER


def test_the_rows_agree_with_each_other(plan, compared):
    values = compared[0][0].values("float32")
    assert values["end_to_end_s_128"] == pytest.approx(250 / values["end_to_end_fps_128"])
    assert values["best_batch"] in plan.batches
    assert values["frame_ms_best_batch"] <= values["frame_ms"]
    assert values["app_start_s"] >= APP_PAUSE


def test_a_changed_tree_is_told_from_its_commit(compared):
    one, other = (found.about["revision"] for found in compared[0])
    assert one == f"{other}-dirty"


def test_a_report_is_json_with_the_rows_at_the_top(plan, compared):
    report = json.loads(json.dumps(compared[0][0].report()))
    assert set(rows(plan)) - set(report) == {"peak_gpu_gib"}
    assert {"device", "dtype", "threads", "processor", "torch", "revision", "date", "spread"} <= set(report)
    assert report["dtype"] == "float32"
    assert report["spread"]["frame_ms"][0] <= report["frame_ms"] <= report["spread"]["frame_ms"][1]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, InvertAvatarError])
def test_a_revision_is_checked_out_and_gone_however_it_ends(repository, ending):
    with pytest.raises(ending), checked_out("HEAD", repository) as tree:
        assert "time.sleep" in (tree / "invertavatar" / "tracking" / "portrait.py").read_text()
        raise ending
    assert not tree.parent.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_tree_that_does_not_run_is_one_sentence(tmp_path, plan):
    (tmp_path / "invertavatar").mkdir()
    (tmp_path / "invertavatar" / "__init__.py").write_text("raise SyntaxError('half a thought')")
    with pytest.raises(InvertAvatarError, match="cannot be measured: SyntaxError: half a thought"):
        list(child(tmp_path, plan, "float32"))


def test_an_app_that_ends_is_one_sentence(tmp_path):
    (tmp_path / "app.py").write_text("raise SystemExit")
    with pytest.raises(InvertAvatarError, match="does not answer; try it"):
        app_start(tmp_path)


def test_a_value_is_the_median_and_whole_numbers_stay_whole():
    found = Measurements(samples={"float32": {"frame_ms": [9.0, 1.0, 2.0, 4.0], "best_batch": [2, 4]}})
    assert found.values("float32") == {"frame_ms": 3.0, "best_batch": 2}


def test_the_program_prints_medians_with_their_spread_and_stores_them(program, monkeypatch, tmp_path):
    plans = []

    def canned(plan, trees, advance):
        plans.append(plan)
        return [
            Measurements(dict(ABOUT), {"float32": {"frame_ms": [30.0, 10.0, 11.0]}, "bfloat16": {"frame_ms": [5.0]}})
        ]

    monkeypatch.setattr(benchmark, "measure", canned)
    status, out, _ = program("--quick", "--repeats", "2", "--output", tmp_path / "new" / "speed.json")
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("frame_ms"))
    assert line.split() == ["frame_ms", "11", "10", "..", "30", "render", "one", "frame", "of", "256", "px"]
    stored = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert (stored["frame_ms"], stored["variants"][0]["frame_ms"]) == (11.0, 5.0)
    assert (plans[0].repeats, plans[0].frames) == (2, QUICK.frames)


def test_a_comparison_prints_the_ratio_of_each_row(program, monkeypatch, tmp_path, repository):
    def canned(plan, trees, advance):
        new, old = {"frame_ms": [5.0], "only_new": [1.0]}, {"frame_ms": [10.0]}
        return [
            Measurements(dict(ABOUT), {"float32": new}),
            Measurements(ABOUT | {"revision": "old"}, {"float32": old}),
        ]

    monkeypatch.setattr(benchmark, "measure", canned)
    monkeypatch.setattr(benchmark, "checked_out", lambda revision: checked_out(revision, repository))
    status, out, _ = program("--compare", "HEAD", "--output", tmp_path / "speed.json")
    assert status == 0
    assert "frame_ms                               5              10           0.500" in out
    assert json.loads((tmp_path / "speed.json").read_text())["compared_with"]["ratio"] == {"frame_ms": 0.5}


def test_an_unknown_revision_is_one_sentence(program, monkeypatch, repository):
    monkeypatch.setattr(benchmark, "checked_out", lambda revision: checked_out(revision, repository))
    status, out, err = program("--compare", "no-such-thing")
    assert (status, out) == (2, "")
    assert "git knows no revision no-such-thing" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("--repeats", "0"), ("--device", "toaster"), ("--output", f"{ROOT / 'README.md'}/speed.json")]
)
def test_bad_options_are_one_sentence(program, monkeypatch, arguments):
    monkeypatch.delattr(benchmark, "measure")
    status, out, err = program(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
