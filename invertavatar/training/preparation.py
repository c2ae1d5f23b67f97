"""Clips and photos -> prepared faces: tracked, cropped, matted, compressed (DESIGN 8).

A folder may hold an `index.json` that names, for a file or its stem: `person`; `valid`, the rectangle [x0, y0, x1, y1]
of real pixels (for clips one for each frame); `source_crop_px`, the width of the picture before it was enlarged; `fps`,
where a clip's own rate is not to be trusted.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, tee
from pathlib import Path

import numpy as np

from .. import endings
from ..errors import InvertAvatarError, NoFaceError
from ..media import VideoReader, load_image
from ..tracking.tracker import FaceTracker, Track
from .shards import MATTE_QUALITY, PreparedFace, Shards, encode_picture, write_shard

LEAST_REAL = 0.3  # share of a crop that must be real pixels


@dataclass(frozen=True)
class SourceFile:
    """A clip or a photo on disk."""

    path: Path
    person: str
    kind: str  # of `shards.KINDS`
    valid: list | None = None
    source_crop_px: float | None = None
    fps: float | None = None

    def key(self, every: int, size: int) -> str:
        """Names what is made of it, for a run that goes on."""
        return hashlib.sha1(f"{self.path.resolve()}:{every}:{size}".encode()).hexdigest()


def find_sources(paths: Sequence[Path]) -> list[SourceFile]:
    """All clips and photos below some folders, or given themselves, with the person that each shows.

    People are told apart by `person` in a folder's index.json, else a clip is a person of its own and photos belong
    together by their names up to the last underscore.

    Raises:
        InvertAvatarError: A path holds neither clips nor photos.
    """
    files = []
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        found = [file for file in below if file.is_file() and file.suffix.lower() in endings.TRAINED_ON]
        if not found:
            raise InvertAvatarError(f"There are no clips or photos at {path}; give {', '.join(endings.TRAINED_ON)}.")
        files += found
    indices = {folder: _index(folder) for folder in {file.parent for file in files}}
    sources = []
    for file in files:
        entry = indices[file.parent].get(file.name) or indices[file.parent].get(file.stem) or {}
        is_clip = file.suffix.lower() in endings.TRAINED_ON_CLIPS
        name = entry.get("person") or (not is_clip and file.stem.rpartition("_")[0]) or file.stem
        person = f"{file.parent.name}/{name}"
        sources.append(
            SourceFile(
                file,
                person,
                "clip" if is_clip else "",
                entry.get("valid"),
                entry.get("source_crop_px"),
                entry.get("fps") if is_clip else None,
            )
        )
    photos = Counter(source.person for source in sources if not source.kind)
    return [
        source if source.kind else replace(source, kind="views" if photos[source.person] > 1 else "still")
        for source in sources
    ]


def prepare_source(
    source: SourceFile, tracker: FaceTracker, pieces: Path, every: int = 1, size: int = 256
) -> tuple[Path | None, int]:
    """Prepare a clip or a photo, unless that was done before.

    Args:
        source: What to prepare.
        tracker: Finds the face.
        pieces: Folder for the result.
        every: Use every so many frames of a clip.
        size: Side of the crops in pixels.

    Returns:
        A shard with its faces (None where there is none) and the number of frames without a usable face.
    """
    file = pieces / f"{source.key(every, size)}.safetensors"
    report = file.with_suffix(".json")
    if not report.exists():
        seen = list(_frames(source, tracker, every))
        tracked = ((image, track, number) for image, track, number in seen if track is not None)
        faces = [face for frame in tracked if (face := _prepared(source, tracker, *frame, size)) is not None]
        if faces:
            write_shard(file, faces)
        report.write_text(json.dumps({"source": str(source.path), "missing": len(seen) - len(faces)}), encoding="utf-8")
    return (file if file.exists() else None), json.loads(report.read_text(encoding="utf-8"))["missing"]


def by_person(pieces: Sequence[tuple[str, Path]]) -> Iterator[PreparedFace]:
    """The faces of pieces [(person, file)], person by person in an order that mixes the folders they come from."""
    for _, file in sorted(pieces, key=lambda piece: (hashlib.sha1(piece[0].encode()).digest(), piece[1])):
        shard = Shards([file])
        for face in range(len(shard)):
            yield shard.prepared(face)


def _index(folder: Path) -> dict:
    file = folder / "index.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _frames(source: SourceFile, tracker: FaceTracker, every: int) -> Iterator[tuple[np.ndarray, Track | None, int]]:
    """(picture, track, frame number) of each frame that is used."""
    if source.kind != "clip":
        image = load_image(source.path)
        try:
            yield image, tracker.detect(image, source.path.name), 0
        except NoFaceError:
            yield image, None, 0
        return
    with VideoReader(source.path, fps=source.fps) as video:
        frames, pictures = tee(islice(video, 0, None, every))
        tracks = tracker.detect_video(frames, float(video.fps) / every, name=source.path.name)
        for number, (picture, track) in enumerate(zip(pictures, tracks, strict=False)):
            yield picture, track, number * every


def _prepared(
    source: SourceFile, tracker: FaceTracker, image: np.ndarray, track: Track, number: int, size: int
) -> PreparedFace | None:
    """A face, or None where too little of its crop is real."""
    crop = tracker.crop(image, track, size)
    rectangle = _real_rectangle(crop.inside)
    valid = source.valid[number] if source.valid and source.kind == "clip" else source.valid
    if valid:
        scale, offset = crop.transform[0, 0], crop.transform[:, 2]
        low, high = np.array(valid[:2]) * scale + offset, np.array(valid[2:]) * scale + offset
        inner = [*(math.ceil(x) for x in low), *(math.floor(x) for x in high)]
        rectangle = np.concatenate([np.maximum(rectangle[:2], inner[:2]), np.minimum(rectangle[2:], inner[2:])])
    width, height = np.maximum(rectangle[2:] - rectangle[:2], 0)
    if width * height < LEAST_REAL * size**2:
        return None
    enlarged = min(1.0, source.source_crop_px / image.shape[1]) if source.source_crop_px else 1.0
    return PreparedFace(
        picture=encode_picture(crop.image),
        matte=encode_picture((crop.matte * 255).round().astype(np.uint8), MATTE_QUALITY),
        vertices=track.vertices.astype(np.float16),
        expression=(track.expression * 255).round().clip(0, 255).astype(np.uint8),
        rotation=track.rotation.astype(np.float32),
        inside=rectangle.astype(np.int16),
        sharpness=min(1.0, 2 * track.scale / size) * enlarged,
        person=source.person,
        source=source.path.stem,
        frame=number,
        kind=source.kind,
    )


def _real_rectangle(inside: np.ndarray) -> np.ndarray:
    """[S, S] bool, a rectangle -> left, top, right, bottom; right and bottom excluded."""
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if not len(columns):
        return np.zeros(4, int)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
