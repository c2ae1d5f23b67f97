"""The geometry that a shard may hold beside a face."""

from dataclasses import replace

import numpy as np

from invertavatar.training.geometry import Geometry, decode_geometry, encode_geometry
from invertavatar.training.shards import Shards, pack, write_shard
from tests.training.test_shards import made_face

SIZE = 32


def made_geometry(seed: int = 0) -> Geometry:
    rng = np.random.default_rng(seed)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[4:, 4:28] = True
    normals = rng.normal(size=(SIZE, SIZE, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return Geometry(
        np.where(inside, rng.uniform(-1.5, 1.5, (SIZE, SIZE)), np.nan).astype(np.float32),
        np.where(inside[..., None], normals, 0).astype(np.float32),
        (inside * rng.integers(1, 16, (SIZE, SIZE))).astype(np.uint8),
        rng.uniform(-2, 2, (100, 3)).astype(np.float16),
    )


def test_geometry_survives_being_stored():
    geometry = made_geometry()
    read = decode_geometry(encode_geometry(geometry))
    np.testing.assert_array_equal(np.isnan(read.depth), np.isnan(geometry.depth))
    np.testing.assert_allclose(read.depth, geometry.depth, atol=1 / 4000)
    np.testing.assert_allclose(read.normals, geometry.normals, atol=1 / 250)
    np.testing.assert_array_equal(read.labels, geometry.labels)
    np.testing.assert_array_equal(read.mesh, geometry.mesh)


def test_a_shard_with_geometry_is_read_and_packed_anew(tmp_path):
    known = replace(made_face("a"), geometry=encode_geometry(made_geometry(1)))
    write_shard(tmp_path / "a.safetensors", [made_face("b"), known])
    shards = Shards([tmp_path])
    assert shards.geometry(0) is None
    np.testing.assert_array_equal(shards.geometry(1).mesh, made_geometry(1).mesh)
    assert shards.prepared(1).geometry == known.geometry


def test_shards_without_geometry_are_written_as_before_and_read_beside_others(tmp_path):
    from safetensors import safe_open

    pack([made_face("a")], tmp_path / "old")
    with safe_open(tmp_path / "old" / "shard_0000.safetensors", "numpy") as content:
        assert not any("geometry" in name for name in content.keys())  # noqa: SIM118  not a dict
    pack([replace(made_face("b"), geometry=encode_geometry(made_geometry(2)))], tmp_path / "new")
    shards = Shards([tmp_path / "old", tmp_path / "new"])
    assert shards.geometry(0) is None
    np.testing.assert_array_equal(shards.geometry(1).labels, made_geometry(2).labels)
