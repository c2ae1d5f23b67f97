"""Shards: prepared faces in portable files, so that a training machine needs no tracker and no video (DESIGN 8).

Shapes: n faces of a shard, V 478 landmarks, S side of the crop.

A shard is one safetensors file: all pictures and mattes as compressed bytes end to end, the tracks as small numbers,
and in its metadata a table of people and sources. It holds nothing executable, and about 14 KB for each face; those of
synthetic people may have their geometry beside them (`Geometry`).
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import InvertAvatarError
from .geometry import Geometry, decode_geometry

FORMAT = "invertavatar-shard-1"
SUFFIX = ".safetensors"
PICTURE_QUALITY, MATTE_QUALITY = 90, 80
MAX_SHARD_BYTES = 14_000_000
KINDS = ("clip", "views", "still")  # a person in motion, in several pictures (synthetic people are), in a single one


@dataclass(frozen=True)
class PreparedFace:
    """One face as a shard holds it."""

    picture: bytes  # WebP of the normalized crop, [S, S, 3]
    matte: bytes  # WebP of the person, [S, S], 255 inside
    vertices: np.ndarray  # [V, 3] float16 head space
    expression: np.ndarray  # [52] uint8, ARKit score * 255
    rotation: np.ndarray  # [3, 3] float32 head -> camera
    inside: np.ndarray  # [4] int16, left, top, right, bottom of the real pixels of the crop; right and bottom excluded
    sharpness: float  # 1 for a source as fine as the crop or finer, less for one that was enlarged
    person: str
    source: str  # the clip or photo it comes from
    frame: int  # in that clip
    kind: str  # of KINDS
    geometry: bytes = b""  # from `encode_geometry`; empty where it is not known, as of photos

    @property
    def size(self) -> int:
        """Bytes in a shard."""
        return len(self.picture) + len(self.matte) + len(self.geometry) + self.vertices.nbytes + 110


def encode_picture(picture: np.ndarray, quality: int = PICTURE_QUALITY) -> bytes:
    """[S, S, 3] or [S, S] uint8 -> WebP."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def decode_picture(content: bytes, mode: str = "RGB") -> np.ndarray:
    """WebP -> [S, S, 3] uint8, or [S, S] with mode "L"."""
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def write_shard(path: str | Path, faces: Sequence[PreparedFace]) -> None:
    """Write faces into one file; the faces of a clip in the order of their frames."""
    people = sorted({face.person for face in faces})
    sources = sorted({(face.person, face.source, face.kind) for face in faces})
    row = {source: i for i, source in enumerate(sources)}
    tensors = {
        "vertices": np.stack([face.vertices for face in faces]),
        "expression": np.stack([face.expression for face in faces]),
        "rotation": np.stack([face.rotation for face in faces]),
        "inside": np.stack([face.inside for face in faces]),
        "sharpness": np.array([face.sharpness for face in faces], np.float16),
        "source": np.array([row[face.person, face.source, face.kind] for face in faces], np.int32),
        "frame": np.array([face.frame for face in faces], np.int32),
    }
    known = any(face.geometry for face in faces)
    for name in ("picture", "matte", "geometry") if known else ("picture", "matte"):
        contents = [getattr(face, name) for face in faces]
        tensors[name] = np.frombuffer(b"".join(contents), np.uint8)
        tensors[f"{name}_end"] = np.cumsum([len(content) for content in contents], dtype=np.int64)
    table = [{"person": people.index(person), "name": name, "kind": kind} for person, name, kind in sources]
    temporary = Path(path).with_suffix(".partial")
    # One entry: safetensors writes several in any order, and equal shards shall be equal files.
    save_file(tensors, temporary, {FORMAT: json.dumps({"people": people, "sources": table})})
    temporary.replace(path)  # a shard is there as a whole or not at all


def pack(faces: Iterable[PreparedFace], folder: str | Path, max_bytes: int = MAX_SHARD_BYTES) -> list[Path]:
    """Write faces as `shard_0000.safetensors`, `shard_0001`...; faces of one person that come together stay together
    unless a shard is full.

    Returns:
        The files.
    """
    folder, files, held, size = Path(folder), [], [], 0
    folder.mkdir(parents=True, exist_ok=True)

    def flush() -> None:
        files.append(folder / f"shard_{len(files):04d}{SUFFIX}")
        write_shard(files[-1], held)

    for face in faces:
        if held and size + face.size > max_bytes:
            flush()
            held, size = [], 0
        held.append(face)
        size += face.size
    if held:
        flush()
    return files


@dataclass(frozen=True)
class Source:
    """A clip or a photo."""

    person: str
    name: str
    kind: str
    faces: np.ndarray  # [n] numbers of its faces, in the order of frames


class Shards:
    """All faces of some shards, by number; the compressed pictures stay in memory.

    Args:
        paths: Shard files, or folders of them.

    Raises:
        InvertAvatarError: A path holds no shard.
    """

    def __init__(self, paths: Sequence[str | Path]):
        self.files = [file for path in paths for file in _shard_files(Path(path))]
        parts, table, offset = [], [], 0
        for file in self.files:
            tensors, people, sources = _read(file)
            tensors["source"] = tensors["source"] + offset
            table += [(people[source["person"]], source["name"], source["kind"]) for source in sources]
            offset += len(sources)
            parts.append(tensors)
        self.vertices, self.expression, self.rotation, self.inside, self.sharpness, source, self.frame = (
            np.concatenate([part[name] for part in parts])
            for name in ("vertices", "expression", "rotation", "inside", "sharpness", "source", "frame")
        )
        # What an index picks is copied out of the shard; the blobs are kept as they are.
        for part in parts:
            part.setdefault("geometry", np.zeros(0, np.uint8))
            part.setdefault("geometry_end", np.zeros_like(part["picture_end"]))
        self._blobs = {
            name: [(part[name], np.append(0, part[f"{name}_end"])) for part in parts]
            for name in ("picture", "matte", "geometry")
        }
        self._first = np.cumsum([0] + [len(part["frame"]) for part in parts])
        merged: dict[tuple[str, str, str], list] = {}  # a clip may go on in the next shard
        for number, key in enumerate(table):
            merged.setdefault(key, []).append(np.flatnonzero(source == number))
        self.sources = [Source(*key, faces=np.concatenate(faces)) for key, faces in merged.items()]

    def __reduce__(self):
        return Shards, (self.files,)  # another process reads the files itself, instead of having all of it sent

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def people(self) -> list[str]:
        """Names, sorted."""
        return sorted({source.person for source in self.sources})

    @property
    def picture_size(self) -> int:
        """S."""
        return len(self.picture(0))

    def picture(self, face: int) -> np.ndarray:
        """[S, S, 3] uint8 RGB."""
        return decode_picture(self._content("picture", face))

    def matte(self, face: int) -> np.ndarray:
        """[S, S] uint8, 0 wherever there are no real pixels."""
        left, top, right, bottom = self.inside[face]
        matte = np.zeros((self.picture_size,) * 2, np.uint8)
        matte[top:bottom, left:right] = decode_picture(self._content("matte", face), "L")[top:bottom, left:right]
        return matte

    def geometry(self, face: int) -> Geometry | None:
        """What is known of a synthetic face beside its track; None of a photo."""
        content = self._content("geometry", face)
        return decode_geometry(content) if content else None

    def prepared(self, face: int) -> PreparedFace:
        """A face as it was written, to be packed anew."""
        source = next(source for source in self.sources if face in source.faces)
        return PreparedFace(
            picture=self._content("picture", face),
            matte=self._content("matte", face),
            vertices=self.vertices[face],
            expression=self.expression[face],
            rotation=self.rotation[face],
            inside=self.inside[face],
            sharpness=float(self.sharpness[face]),
            person=source.person,
            source=source.name,
            frame=int(self.frame[face]),
            kind=source.kind,
            geometry=self._content("geometry", face),
        )

    def _content(self, name: str, face: int) -> bytes:
        part = int(np.searchsorted(self._first, face, side="right")) - 1
        blob, ends = self._blobs[name][part]
        start, end = ends[face - self._first[part] :][:2]
        return blob[start:end].tobytes()


def held_out(person: str, fraction: float) -> bool:
    """Whether a person belongs to the held-out share: the same answer everywhere, whoever else there is."""
    return int(hashlib.sha1(person.encode()).hexdigest()[:8], 16) < fraction * 2**32


def _shard_files(path: Path) -> list[Path]:
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise InvertAvatarError(f"There are no shards at {path}; make some with scripts/prepare_dataset.py.")
    return files


def _read(file: Path) -> tuple[dict[str, np.ndarray], list[str], list[dict]]:
    try:
        with safe_open(file, "numpy") as content:
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise InvertAvatarError(
            f"{file} is damaged or no shard; make it again with scripts/prepare_dataset.py."
        ) from error
    if FORMAT not in metadata:
        raise InvertAvatarError(f"{file} is no shard of this version; make it again with scripts/prepare_dataset.py.")
    description = json.loads(metadata[FORMAT])
    return tensors, description["people"], description["sources"]
