"""The geometry of a synthetic face as a shard holds it: depth, normals and labels of its pixels, and the head's mesh.

Shapes: S side of the crop, V vertices of the head model.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load, save

DEPTH_STEPS = 2048  # to a head unit
DEPTH_ZERO = 8192  # the number of depth 0; the number 0 is no depth


@dataclass(frozen=True)
class Geometry:
    """What is exactly known, to within what it is stored with: 1 / 4096 head unit, 1 / 254 of a normal."""

    depth: np.ndarray  # [S, S] float32 head units, z in camera space, larger is nearer; NaN in the background
    normals: np.ndarray  # [S, S, 3] float32 camera space; 0 in the background
    labels: np.ndarray  # [S, S] uint8 into `head.synthetic.studio.DRESSED_LABELS`
    mesh: np.ndarray  # [V, 3] float16 head space: the head model's mesh, posed, under hair and clothes


def encode_geometry(geometry: Geometry) -> bytes:
    """Into pictures without loss."""
    known = np.isfinite(geometry.depth)
    steps = np.where(known, geometry.depth, 0) * DEPTH_STEPS + DEPTH_ZERO
    depth = np.where(known, steps.round().clip(1, 65535), 0).astype(np.uint16)
    pictures = {
        "depth": _written(depth, "PNG"),
        "normals": _written(
            (geometry.normals * 127 + 128).round().astype(np.uint8), "WEBP", lossless=True, quality=0, method=0
        ),
        "labels": _written(geometry.labels, "PNG", optimize=True),
    }
    arrays = {name: np.frombuffer(content, np.uint8) for name, content in pictures.items()}
    return save(arrays | {"mesh": geometry.mesh.astype(np.float16)})


def decode_geometry(content: bytes) -> Geometry:
    """The inverse of `encode_geometry`."""
    arrays = load(content)
    depth, normals, labels = (
        np.asarray(Image.open(io.BytesIO(arrays[n].tobytes()))) for n in ("depth", "normals", "labels")
    )
    known = depth > 0
    depth = np.where(known, (depth.astype(np.float32) - DEPTH_ZERO) / DEPTH_STEPS, np.nan).astype(np.float32)
    normals = np.where(known[..., None], (normals.astype(np.float32) - 128) / 127, 0).astype(np.float32)
    return Geometry(depth, normals, labels, arrays["mesh"])


def _written(picture: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()
