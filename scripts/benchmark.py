"""Measure how long everything takes on this machine, and whether it takes longer or shorter than in another revision.

What is measured runs in fresh processes, each of which imports the library of one tree: of this one, or of another
revision checked out beside it. The measuring code, `measures.py`, is the same for both. The main process only reads
their results, one line of JSON for each row, so that it disturbs little.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, median_low
from typing import Annotated

import typer

if not __package__:  # run as a file: the repository may not be installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from invertavatar.flattened import flattened
from invertavatar.scripts.console import check_outputs, error_sentences, new_app, run
from invertavatar.scripts.measures import CLIP_FPS, CLIP_SECONDS, QUICK, Plan, suffix
from invertavatar.scripts.options import CommonOptions
from invertavatar.scripts.stored import TOLERANCES, absent, is_off

ROOT = Path(__file__).resolve().parents[1]
APP_PATIENCE = 300  # seconds
# The programs are those of this tree, the library is that of another, which may have other programs or none.
MEASURE = """
import sys, types
programs, tree, request = sys.argv[1:]
sys.path.insert(0, tree)
sys.modules["invertavatar.scripts"] = types.ModuleType("invertavatar.scripts")
sys.modules["invertavatar.scripts"].__path__ = [programs]
from invertavatar.scripts.measures import answer
answer(request)
"""


@dataclass
class Measurements:
    """What was measured of one tree."""

    about: dict = field(default_factory=dict)  # device, threads, revision...
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # dtype -> key -> values

    def add(self, dtype: str, lines: Iterable[dict], advance: Callable[[str], None]) -> None:
        """Take in lines as `measures.answer` prints them."""
        for line in lines:
            self.about |= line.get("about", {})
            if "key" in line:
                self.samples.setdefault(dtype, {}).setdefault(line["key"], []).extend(line["samples"])
                advance(line["key"])

    def values(self, dtype: str) -> dict[str, float]:
        """The median of each row; whole numbers stay whole."""
        found = self.samples[dtype]
        return {key: (median_low if isinstance(x[0], int) else median)(x) for key, x in found.items()}

    def report(self) -> dict:
        """All of it for a JSON file: the first dtype's rows at the top, those of others under `variants`."""

        def rows(dtype: str) -> dict:
            spread = {key: [min(x), max(x)] for key, x in self.samples[dtype].items()}
            return {"dtype": dtype, **self.values(dtype), "spread": spread}

        first, *others = self.samples
        return self.about | rows(first) | {"variants": [rows(dtype) for dtype in others]}


@dataclass(frozen=True)
class InsteadOptions:
    """What is done instead of measuring."""

    check: Annotated[
        bool,
        typer.Option("--check", help="Compare pictures with stored ones of a CPU; exit status 1 where they differ."),
    ] = False
    count: Annotated[bool, typer.Option("--count", help="Count the operations of a frame and of a photo instead.")] = (
        False
    )
    store: Annotated[
        bool, typer.Option("--store", help="Write the stored photos, motion and pictures anew, with the shipped model.")
    ] = False


@flattened
def benchmark(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File (.json) to store the numbers in.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few frames and runs: a minute instead of ten.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="A commit, branch or tag of git to measure in turns with this."),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Runs of each row that takes seconds; 3, or 1 with --quick.")
    ] = None,
    stored: Annotated[
        bool,
        typer.Option(
            "--stored", help="Photos and motion that are tracked already; so without MediaPipe or PyAV in any case."
        ),
    ] = False,
    *,
    instead: InsteadOptions,
    common: CommonOptions,
) -> None:
    """Measure tracking, reconstruction, rendering, whole clips, memory and starts, with the bundled examples.

    Rows are medians, with the least and the largest value; other programs should rest meanwhile. Sizes are 256 px, and
    512 px where a row says so. Half precision is measured where the device multiplies it.

    Example: python scripts/benchmark.py --compare main --quick
    """
    if sum((instead.check, instead.count, instead.store, compare is not None)) > 1:
        raise typer.TyperException("Give one of --compare, --check, --count and --store at a time.")
    if instead.store and absent():
        raise typer.TyperException(f"--store tracks photos, for which {absent()[0]} is missing.")
    if output:
        check_outputs([output], [], overwrite=True)
    model = common.model
    if model and Path(model).exists():
        model = str(Path(model).resolve())
    plan = replace(QUICK if quick else Plan(), device=common.device, model=model)
    plan = replace(plan, repeats=repeats or plan.repeats, stored=stored or bool(absent()))

    if instead.store or instead.check or instead.count:
        with error_sentences(common.debug, common.quiet):
            if instead.store:
                list(child(ROOT, replace(plan, device="cpu", model=None), "float32", "store"))
            elif instead.count:
                print(operations(child(ROOT, plan, "float32", "operations")))
            elif any(off for _, off in checked(plan, print)):
                raise typer.Exit(1)
        return
    with error_sentences(common.debug, common.quiet), checked_out(compare) if compare else nullcontext() as other:
        trees = [ROOT, other] if other else [ROOT]
        with progress_bar(plan, len(trees), common.quiet) as advance:
            found = measure(plan, trees, advance)
        if not common.quiet:
            print(comparison(plan, *found) if compare else table(plan, found[0]))
        if output:
            report = found[0].report()
            if compare:
                report["compared_with"] = found[1].report() | {"ratio": ratios(*found, report["dtype"])}
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def rows(plan: Plan) -> dict[str, str]:
    """Every key and what it stands for, in the order of the table."""
    found = {
        "import_s": "import InvertAvatarPipeline in a fresh process",
        "load_s": "load the model onto its device",
    }
    if not plan.stored:
        found["app_start_s"] = "start the app until its page answers"
        found["track_photo_s"] = "read, track and matte one photo"
        for count in plan.photos:
            found[f"reconstruct_{count}_s"] = f"avatar from {count} photo{'s'[: count > 1]}, tracking included"
        found["track_frame_ms"] = "track one frame of a video, decoding included"
    found["tracked_4_s"] = "avatar from 4 tracked photos"
    for size in plan.sizes:
        end = suffix(plan, size)
        found |= {
            f"first_frames_s{end}": f"the first three frames of {size} px, one by one; a GPU records how",
            f"frame_ms{end}": f"render one frame of {size} px",
            f"frame_ms_best_batch{end}": "the same in batches of the best size",
            f"best_batch{end}": "that size, in frames",
            f"fps{end}": f"frames of {size} px a second, one by one",
            f"fps_best_batch{end}": "the same in batches of the best size",
        }
        if not plan.stored:
            found |= {
                f"baked_frame_ms{end}": "draw one of the baked avatar, on one core",
                f"baked_cheaper{end}": "times that it takes less of the cores than the full frame",
                f"end_to_end_fps{end}": f"frames a second from video to video with sound, {size} px",
                f"end_to_end_s{end}": f"{CLIP_SECONDS} seconds of such video ({CLIP_FPS} fps)",
            }
    return found | {
        "peak_rss_gib": "peak memory of all this, before batches are tried",
        "peak_gpu_gib": "peak memory of the GPU, likewise",
    }


def measure(plan: Plan, trees: list[Path], advance: Callable[[str], None] = lambda key: None) -> list[Measurements]:
    """Measure trees in turns, so that whatever else the machine does meets all of them.

    Args:
        plan: How much.
        trees: Folders with a copy of the repository.
        advance: Called with the key of each row that was measured.

    Returns:
        One for each tree.

    Raises:
        InvertAvatarError: Something of a tree does not run.
    """
    found = [Measurements() for _ in trees]
    for _ in range(plan.rounds if len(trees) > 1 else 1):
        for tree, one in zip(trees, found, strict=True):
            for _ in range(plan.starts - 1):
                one.add("float32", child(tree, plan, "float32", "start"), advance)
            one.add("float32", child(tree, plan, "float32"), advance)
            for dtype in one.about["half_precision"] if plan.half else ():
                one.add(dtype, child(tree, plan, dtype), advance)
            for _ in range(plan.starts if (tree / "app.py").exists() and not plan.stored else 0):
                one.add("float32", [{"key": "app_start_s", "samples": [app_start(tree, plan.model)]}], advance)
            one.about |= {"revision": revision_of(tree), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    return found


def checked(plan: Plan, tell: Callable[[str], None]) -> Iterator[tuple[str, bool]]:
    """The device's pictures beside the stored ones, one dtype after the other.

    Yields:
        Each picture's name and dtype, and whether it is off.
    """
    dtypes, heading_told = ["float32"], False
    for dtype in dtypes:
        mean, most = TOLERANCES[dtype]
        for line in child(ROOT, plan, dtype, "compare"):
            if "about" in line and not heading_told:
                dtypes += line["about"]["half_precision"]
                tell("{device}, torch {torch}; differences in grey levels of 255".format(**line["about"]))
                tell(f"{'':<32}{'mean':>8}{'999/1000':>10}{'max':>8}")
                heading_told = True
            if "picture" not in line:
                continue
            off = is_off(line, dtype)
            name = f"{dtype} {line['picture']}"
            verdict = f"off: no more than {mean:g} and {most:g} are usual" if off else "as on the CPU"
            tell(f"{name:<32}{line['mean']:>8.3f}{line['most']:>10.2f}{line['max']:>8.1f}   {verdict}")
            yield name, off


def operations(lines: Iterable[dict]) -> str:
    """What `invertavatar.scripts.operations` counted, as lines of text."""
    found = []
    for line in lines:
        if "what" in line:
            places = ", ".join(f"{place} {number}" for place, number in line["places"].items())
            found.append(
                f"{line['what']}: {line['operations']} operations, {line['megabytes']:.0f} MB; most in {places}"
            )
    return "\n".join(found)


def child(tree: Path, plan: Plan, dtype: str, wanted: str = "rows") -> Iterator[dict]:
    """What `measures.answer` says in a fresh process that imports the library of a tree.

    Raises:
        InvertAvatarError: The process fails; the sentence holds its last words.
    """
    from invertavatar.errors import InvertAvatarError

    request = json.dumps({"plan": asdict(plan), "dtype": dtype, "wanted": wanted})
    command = [sys.executable, "-P", "-c", MEASURE, str(Path(__file__).parent), str(tree), request]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words,
        process(command, stdout=subprocess.PIPE, stderr=words) as running,
    ):
        yield from map(json.loads, running.stdout)
        if running.wait():
            words.seek(0)
            last = (words.read().strip().splitlines() or [f"exit status {running.returncode}."])[-1]
            reason = re.sub(r"^invertavatar\.errors\.\w+: ", "", last)
            raise InvertAvatarError(f"Revision {revision_of(tree)} cannot be measured: {reason}")


def app_start(tree: Path, model: str | None = None) -> float:
    """Seconds until the app of a tree, in a fresh process, answers the first request for its page.

    Raises:
        InvertAvatarError: It ends before, or does not answer.
    """
    from invertavatar.errors import InvertAvatarError

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(tree / "app.py"), "--port", str(port), *(["--model", model] if model else [])]
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_NAME": "127.0.0.1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.perf_counter()
    with process(command, cwd=tree, env=environment, **silent) as running:
        while running.poll() is None and time.perf_counter() - started < APP_PATIENCE:
            page = http.client.HTTPConnection("127.0.0.1", port, timeout=APP_PATIENCE)
            try:
                page.request("GET", "/")
                if page.getresponse().status == http.HTTPStatus.OK:
                    return time.perf_counter() - started
            except ConnectionError:  # nobody listens yet
                time.sleep(0.02)
            finally:
                page.close()
    raise InvertAvatarError(f"The app of {tree} does not answer; try it: python {tree / 'app.py'}.")


@contextmanager
def process(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """A process that does not outlive the block."""
    with subprocess.Popen(command, text=True, **options) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()


@contextmanager
def checked_out(revision: str, root: Path = ROOT) -> Iterator[Path]:
    """A revision in a folder of its own, which is gone afterwards.

    Args:
        revision: What git calls a commit.
        root: The repository.

    Raises:
        InvertAvatarError: There is no such revision, or no git.
    """
    from invertavatar.errors import InvertAvatarError

    commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not commit:
        raise InvertAvatarError(f"git knows no revision {revision} of {root.name}; `git log` lists those there are.")
    with tempfile.TemporaryDirectory(prefix="invertavatar-") as folder:
        tree = Path(folder) / "tree"
        try:
            if git(root, "worktree", "add", "--detach", str(tree), commit) is None:
                raise InvertAvatarError(f"git cannot check {revision} out into {folder}; is the disk full?")
            # A new tree has no bytecode yet, which is no fault of the revision.
            subprocess.run([sys.executable, "-m", "compileall", "-qq", str(tree)], check=False)
            yield tree
        finally:
            git(root, "worktree", "remove", "--force", str(tree))


def git(root: Path, *arguments: str) -> str | None:
    """What a command of git prints; None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def revision_of(tree: Path) -> str | None:
    """The commit of a tree, with "-dirty" where it was changed since; None outside of git."""
    return git(tree, "describe", "--always", "--dirty", "--exclude", "*")


def ratios(one: Measurements, other: Measurements, dtype: str) -> dict[str, float]:
    """Each row of the first over the same of the second."""
    ours, theirs = one.values(dtype), other.values(dtype)
    return {key: ours[key] / theirs[key] for key in ours if theirs.get(key)}


@contextmanager
def progress_bar(plan: Plan, num_trees: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr that grows where half precision is measured too."""
    from tqdm import tqdm

    total = len(rows(plan)) - 1 + (2 if plan.stored else 3) * (plan.starts - 1)  # without a GPU
    with tqdm(total=total * num_trees * (plan.rounds if num_trees > 1 else 1), disable=quiet, leave=False) as bar:

        def advance(key: str) -> None:
            bar.total = max(bar.total, bar.n + 1)
            bar.set_description(key)
            bar.update()

        yield advance


def table(plan: Plan, found: Measurements) -> str:
    """Measurements as lines of text: medians, and the least and largest value."""
    lines = [heading(found)]
    for dtype, samples in found.samples.items():
        lines += ["", f"{dtype:<24}{'median':>9}   {'min .. max':<18}  what"]
        for key, what in rows(plan).items():
            if key in samples:
                spread = f"{min(samples[key]):.4g} .. {max(samples[key]):.4g}" if len(samples[key]) > 1 else ""
                lines.append(f"{key:<24}{found.values(dtype)[key]:>9.4g}   {spread:<18}  {what}")
    return "\n".join(lines)


def comparison(plan: Plan, one: Measurements, other: Measurements) -> str:
    """Two trees as lines of text, with the ratio of each row."""
    names = one.about["revision"] or "this", other.about["revision"] or "other"
    lines = [heading(one)]
    for dtype in one.samples:
        ratio = ratios(one, other, dtype) if dtype in other.samples else {}
        lines += ["", f"{dtype:<24}" + "".join(f"{name:>16}" for name in (*names, "ratio"))]
        for key in rows(plan):
            if key in ratio:
                values = one.values(dtype)[key], other.values(dtype)[key]
                lines.append(f"{key:<24}{values[0]:>16.4g}{values[1]:>16.4g}{ratio[key]:>16.3f}")
    return "\n".join(
        [*lines, "", "A ratio below 1 means less time or memory than before; of fps and baked_cheaper, more is better."]
    )


def heading(found: Measurements) -> str:
    """What was measured where, in one line."""
    return "{device}, {threads} threads, {processor}, torch {torch}, revision {revision}".format(**found.about)


if __name__ == "__main__":
    app = new_app()
    app.command()(benchmark)
    run(app)
