"""What the command-line programs share: their error sentences, exit statuses and output names.

Nothing here imports torch until a program really starts, so that `--help` comes at once.
"""

import glob
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from invertavatar import endings

if TYPE_CHECKING:
    from invertavatar import InvertAvatarPipeline

# Threads that wait by spinning slow each other down five-fold as soon as anything else wants a core. It counts only if
# it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

NAME_BYTES = 255  # that file systems allow for one name
BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143  # exit statuses


def new_app(**settings) -> typer.Typer:
    """A typer app that leaves errors to `run`, where they become one sentence."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def run(app: Callable, arguments: list[str] | None = None) -> None:
    """Run an app and exit: 0 done, 2 bad input, 130 after Ctrl-C, 143 after a polite kill.

    Args:
        app: Made by `new_app`.
        arguments: Those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what a console of one code page cannot show
        stream.reconfigure(errors="backslashreplace")
    # An exit, unlike the default, closes what is open, so that no half-written file is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        status = app(arguments, standalone_mode=False)
    except typer.TyperException as error:  # an option that does not exist, an argument that is missing...
        if message := error.format_message():  # empty where the help has been shown instead
            say_error(message)
        status = BAD_INPUT
    if status == INTERRUPTED:
        say_error("stopped.")
    sys.exit(status or 0)


@contextmanager
def error_sentences(debug: bool = False, quiet: bool = False) -> Iterator[None]:
    """Turns what is wrong with the input into one sentence on stderr and exit status 2.

    Args:
        debug: Let the error through, with its traceback.
        quiet: Show no warnings.
    """
    from invertavatar.errors import InvertAvatarError

    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    try:
        yield
    except (InvertAvatarError, OSError) as error:
        if debug:
            raise
        say_error(str(error) if isinstance(error, InvertAvatarError) else describe(error))
        raise typer.Exit(BAD_INPUT) from None


def say_error(sentence: str) -> None:
    """Print one line on stderr."""
    print(f"invertavatar: {sentence}", file=sys.stderr)


def describe(error: OSError) -> str:
    """One sentence from an error of the system, such as a full disk."""
    return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror or error}."


def check_neutral(frame: str | None) -> None:
    """Refuse what names no frame, before anything slow begins."""
    if frame is not None:
        from invertavatar.tracking.neutral_frame import check_neutral_frame

        check_neutral_frame(frame)


def load_pipeline(model: str | None, device: str, quiet: bool) -> "InvertAvatarPipeline":
    """The pipeline on its device, with progress bars unless `quiet`.

    Raises:
        InvertAvatarError: There is no such model or no such device here.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging

    from invertavatar import InvertAvatarPipeline
    from invertavatar.errors import InvertAvatarError
    from invertavatar.runtime.devices import best_device, shortcoming

    diffusers_logging.disable_progress_bar()  # of loading the components, which takes no time
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = best_device()
    if not available[device]:
        raise InvertAvatarError(f"There is no {device} device that this installation of torch can use: --device cpu.")
    if device == "mps" and (sentence := shortcoming("mps")) is not None:
        raise InvertAvatarError(f"{sentence.rstrip('.')}, or use --device cpu.")
    try:
        pipe = InvertAvatarPipeline.from_pretrained(model)
    except InvertAvatarError:
        raise
    except (OSError, ValueError) as error:  # diffusers' and the Hub's, of several lines
        reason = str(error).strip().split("\n")[0]
        raise InvertAvatarError(f"Cannot load the model {model or 'that is shipped'}: {reason}") from error
    pipe.set_progress_bar_config(disable=quiet)
    return pipe.to(device)


def check_inputs(paths: list[Path]) -> None:
    """Refuse inputs that are not there, before anything slow begins."""
    for path in paths:
        check_length(path)
        if not os.path.exists(path):  # which, unlike pathlib's, does not fail at a path that is too long
            raise typer.TyperException(f"{path} does not exist; check the path.")


def check_saved_motion(output: Path | None) -> None:
    """Refuse a name that no motion is saved under."""
    if output and output.suffix.lower() not in endings.WRITTEN_MOTIONS:
        known = " or ".join(endings.WRITTEN_MOTIONS)
        raise typer.TyperException(f"{output.name} is of no kind that can be written; end its name in {known}.")


def check_outputs(outputs: list[Path], inputs: list[Path], overwrite: bool) -> None:
    """Refuse outputs that cannot be written, are inputs, or exist and shall stay; before anything slow begins."""
    for path in outputs:
        check_length(path)
        existing_parent = next(folder for folder in path.absolute().parents if folder.exists())
        if not existing_parent.is_dir() or not os.access(existing_parent, os.W_OK):
            raise typer.TyperException(f"{path} cannot be written: {existing_parent} is no folder one may write to.")
        taken = existing_files(path)
        if any(source.exists() and source.samefile(file) for source in inputs for file in taken):
            raise typer.TyperException(f"{path} is an input and is not replaced; name another output.")
        if taken and not overwrite:
            raise typer.TyperException(f"{path} exists; name another output or leave --no-overwrite out.")
    if len(set(outputs)) < len(outputs):
        raise typer.TyperException("Two outputs have the same name; give each its own.")


def check_length(path: Path) -> None:
    """Refuse a name that file systems do not allow."""
    for part in path.parts:
        if (length := len(os.fsencode(part))) > NAME_BYTES:
            raise typer.TyperException(
                f"The name {part[:40]}... is {length} bytes long, and a file may have {NAME_BYTES}; shorten it."
            )


def existing_files(output: Path) -> list[Path]:
    """What writing this output may replace: itself, or the frames of a sequence."""
    pattern = re.sub(r"%\d*d", "*", glob.escape(output.name))
    files = list(output.parent.glob(pattern))
    return files + [frame for folder in files if folder.is_dir() for frame in folder.glob("frame_*.png")]


def numbered(output: Path, count: int) -> list[Path]:
    """A name for each of `count` outputs: out.mp4, or out_1.mp4, out_2.mp4...; name_1_%05d.png for a sequence."""
    if count == 1:
        return [output]
    stem, separator, pattern = output.stem.partition("_%")
    return [output.with_name(f"{stem}_{k}{separator}{pattern}{output.suffix}") for k in range(1, count + 1)]


def is_sequence(path: Path) -> bool:
    """Whether an output is one PNG for each frame: a folder, or a pattern such as name_%05d.png."""
    return not path.suffix or (path.suffix.lower() == ".png" and re.search(r"%\d*d", path.name) is not None)


def is_picture(path: Path) -> bool:
    """Whether an output is one single picture."""
    return path.suffix.lower() in endings.PICTURES and not is_sequence(path)
