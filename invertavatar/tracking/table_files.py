"""Tables in files: text (CSV with commas, semicolons or tabs) and JSON (Audio2Face's, or a list of frames).

Shapes: T rows.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from invertavatar.errors import MotionError
from invertavatar.tracking.motion_io import require_file

# How programs call the parts of a JSON document; of Audio2Face's export the first of each.
NAMES_KEYS = ("facsNames", "Names", "names", "blendshapeNames", "blendshape_names", "columns")
ROWS_KEYS = ("weightMat", "Weights", "weights", "frames", "data", "rows")
RATE_KEYS = ("exportFps", "fps", "FPS", "frameRate", "frame_rate")


class Table(NamedTuple):
    """A table as text.

    Attributes:
        name: What messages call it.
        header: Names of the columns.
        lines: [T] number of each row for messages.
        rows: [T] lists of cells.
        fps: Rows per second, where it is stated beside the rows.
    """

    name: str
    header: list[str]
    lines: list[int]
    rows: list[list[str]]
    fps: float | None = None


def read_text_table(path: Path) -> Table:
    """A table of text; blank lines and comments (#) are skipped.

    Raises:
        MotionError: No file, no text, or no rows.
    """
    require_file(path)
    try:
        text = _decoded(path.read_bytes())
        lines = text.splitlines(keepends=True)
        skipped, delimiter = 0, None
        while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].startswith(("#", "sep="))):
            if lines[skipped].startswith("sep="):  # Excel's own first line
                delimiter = lines[skipped][4:5]
            skipped += 1
        first = lines[skipped] if skipped < len(lines) else ""
        # Spreadsheets of some countries write semicolons, as a comma is their decimal point.
        delimiter = delimiter or max(",;\t|", key=first.count)
        reader = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter)
        rows = [(skipped + reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error, TypeError) as error:
        raise MotionError(f"{path.name} is not a table of text (CSV): {error}.") from error
    if len(rows) < 2:
        raise MotionError(f"{path.name} has no rows below its header; a motion needs at least one.")
    header = [name.strip() for name in rows[0][1]]
    for line, cells in rows[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise MotionError(
                f"{path.name}, row {line} has more cells than the header has names. Where commas are decimal points, "
                "separate cells by semicolons."
            )
    lines, cells = zip(*rows[1:], strict=True)
    return Table(path.name, header, list(lines), list(cells))


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # Excel's "Unicode text"
        return content.decode("utf-16")
    if b"\0" in content[1:2]:
        return content.decode("utf-16-le")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise
        return content.decode("cp1252")  # spreadsheets of older Windows


def read_json_table(path: Path) -> Table:
    """Audio2Face's export or the frames that it streams, or a list of frames with a name for each value.

    Raises:
        MotionError: No file, or none of these.
    """
    require_file(path)
    try:
        parts = list(_documents(_decoded(path.read_bytes())))
        document = parts[0] if len(parts) == 1 else parts
        header, rows, fps = _matrix(document)
    except (OSError, ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = str(error)[:80] if isinstance(error, (OSError, ValueError)) else "it is built in another way"
        raise MotionError(
            f"{path.name} holds no scores that can be read ({reason}); give an Audio2Face export (facsNames, "
            'weightMat) or a list of frames such as {"time": 0, "jawOpen": 0.4}.'
        ) from error
    if not rows:
        raise MotionError(f"{path.name} has no frames; a motion needs at least one.")
    return Table(path.name, header, list(range(1, len(rows) + 1)), rows, fps)


def _documents(text: str) -> Iterator[Any]:
    """One JSON document, or one on each line as streams are logged."""
    decoder, place = json.JSONDecoder(), 0
    text = text.strip()
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        yield value
        place += len(text[place:]) - len(text[place:].lstrip(" \t\r\n,"))


def _matrix(document: Any) -> tuple[list[str], list[list[str]], float | None]:
    """Header, rows and rate of a JSON document."""
    if isinstance(document, list):
        frames, fps = document, None
        if frames and all(isinstance(frame, dict) and "Audio2Face" in frame for frame in frames):
            faces = [frame["Audio2Face"]["Facial"] for frame in frames]
            timing = frames[0]["Audio2Face"].get("FrameTiming") or {}
            header = [str(name) for name in faces[0]["Names"]]
            rows = [dict(zip(face["Names"], face["Weights"], strict=True)) for face in faces]
            return header, [[_text(row.get(name)) for name in header] for row in rows], _stated(timing)
    elif "Audio2Face" in document:
        return _matrix([document])
    else:
        fps = _stated((document.get("metadata") or {}) | document)
        names = next((document[key] for key in NAMES_KEYS if isinstance(document.get(key), list)), None)
        frames = next((document[key] for key in ROWS_KEYS if isinstance(document.get(key), list)), None)
        if frames is None:
            raise ValueError("neither frames nor weights")
        if names is not None:
            return _named(list(map(str, names)), frames, fps)
    flat = [dict(_flattened(frame)) for frame in frames]
    header = list(dict.fromkeys(name for frame in flat for name in frame))
    return header, [[_text(frame.get(name)) for name in header] for frame in flat], fps


def _named(names: list[str], frames: list, fps: float | None) -> tuple[list[str], list[list[str]], float | None]:
    """Rows whose values have their names beside them: lists, or frames with a list and perhaps a time."""
    if all(isinstance(frame, list) for frame in frames):
        if any(len(frame) != len(names) for frame in frames):
            raise ValueError(f"not every frame has as many weights as there are names, {len(names)}")
        return names, [[_text(value) for value in frame] for frame in frames], fps
    key = next(key for key in ROWS_KEYS if isinstance(frames[0].get(key), list))
    if any(len(frame[key]) != len(names) for frame in frames):
        raise ValueError(f"not every frame has as many weights as there are names, {len(names)}")
    extra = [name for name, value in frames[0].items() if not isinstance(value, (list, dict))]
    rows = [[_text(frame.get(name)) for name in extra] + [_text(value) for value in frame[key]] for frame in frames]
    return [*extra, *names], rows, fps


def _flattened(frame: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in frame.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield f"{prefix}{name}", value


def _stated(document: dict) -> float | None:
    value = next((document[key] for key in RATE_KEYS if key in document), None)
    return None if value is None else float(value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
