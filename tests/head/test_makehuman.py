"""Reading MakeHuman's formats, and cutting, dressing and drawing heads."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from invertavatar.errors import MediaError
from invertavatar.head.makehuman import MakeHuman, Surface, read_morph, read_proxy, read_surface
from invertavatar.head.topology import JOINT_NAMES, JOINT_PARENTS, PART_NAMES, cut_head
from invertavatar.head_building.drawing import Layer, draw
from invertavatar.head_building.random_heads import RandomHeads

DATA = os.environ.get("MAKEHUMAN_DATA")
OBJ = (
    "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    "g body\nf 1/1 2/2 3/3 4/4\ng hat\nf 1/1 2/2 3/3\n"
)


@pytest.fixture
def square(tmp_path) -> Path:
    (tmp_path / "square.obj").write_text(OBJ, encoding="utf-8")
    return tmp_path / "square.obj"


def test_quads_are_split_and_keep_their_group_and_texture_corners(square):
    surface = read_surface(square)
    assert surface.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert surface.uv_triangles.tolist() == surface.triangles.tolist()
    assert surface.group.tolist() == ["body", "body", "hat"]


def test_a_morph_is_read_packed_or_not(tmp_path):
    text = "# a comment of four words\n5 0.1 0 -0.2\n7 1 2 3\n"
    (tmp_path / "a.target").write_text(text, encoding="utf-8")
    (tmp_path / "b.target.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.target", "b.target.gz"):
        morph = read_morph(tmp_path / name)
        assert morph.index.tolist() == [5, 7]
        np.testing.assert_allclose(morph.displacement, [[0.1, 0, -0.2], [1, 2, 3]])


def test_a_proxy_follows_its_anchors_and_grows_with_them(square):
    mhclo = "obj_file square.obj\nmaterial m.mhmat\nx_scale 0 1 1.0\nverts 0\n0\n0 1 2 0.5 0.5 0 0.1 0.2 0\n2\n3\n"
    mhclo += "delete_verts\n7 - 9 12\n20 21 - 22\n"
    (square.parent / "p.mhclo").write_text(mhclo, encoding="utf-8")
    (square.parent / "m.mhmat").write_text("diffuseTexture skin.png\n", encoding="utf-8")
    proxy = read_proxy(square.parent / "p.mhclo")
    assert proxy.texture == square.parent / "skin.webp"
    assert proxy.hidden.tolist() == [7, 8, 9, 12, 20, 21, 22]
    base = read_surface(square).vertices
    np.testing.assert_allclose(proxy.fitted(base)[1], [0.6, 0.2, 0])
    np.testing.assert_allclose(proxy.fitted(base * 2)[1], [1.2, 0.2, 0])  # only x has a scale


def test_another_folder_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(MediaError, match=r"holds no 3dobjs/base\.obj"):
        MakeHuman(tmp_path)


def test_what_lies_in_front_is_drawn_and_cards_are_laid_over_it(square):
    whole = read_surface(square)
    body = whole.group == "body"
    surface = Surface(whole.vertices, whole.uv, whole.triangles[body], whole.uv_triangles[body], whole.group[body])
    colours = {"red": (1, 0, 0, 1), "blue": (0, 0, 1, 1), "veil": (0, 1, 0, 0.5)}
    red, blue, veil = (np.tile(np.float32(c), (2, 2, 1)) for c in colours.values())
    nearer = surface.vertices + [0, 0, 1]
    layers = [Layer(surface, nearer, red, lit=False), Layer(surface, surface.vertices, blue, lit=False)]
    view = {"rotation": np.eye(3), "centre": np.array([0.5, 0.5, 0]), "half": 1.0, "size": 16}
    picture = draw(layers, **view)
    assert picture[8, 8].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [158, 163, 173]  # the backdrop
    layers += [Layer(surface, nearer + [0, 0, 1], veil, lit=False, card=True)]
    assert draw(layers, **view)[8, 8].tolist() == [128, 128, 0]


@pytest.mark.skipif(not DATA, reason="MAKEHUMAN_DATA does not name the folder of MakeHuman's data")
def test_the_head_is_cut_whole_symmetric_and_held_by_its_joints():
    data = MakeHuman(DATA)
    topology = cut_head(data)
    assert topology.triangles.max() + 1 == len(topology.part)
    assert (topology.mirror[topology.mirror] == np.arange(len(topology.part))).all()
    np.testing.assert_allclose(topology.skin_weights.sum(1), 1)
    assert set(topology.part) == set(range(len(PART_NAMES)))
    assert (topology.skin_weights > 0).sum(1).max() <= 4
    heads = RandomHeads(data)
    one, again = (heads.draw(np.random.default_rng(5)) for _ in range(2))
    assert one == again
    head = topology.head_and_joints(heads.base(one))
    eyes = head[[len(topology.part) + JOINT_NAMES.index(name) for name in ("eyeLeft", "eyeRight")]]
    assert 0.4 < np.linalg.norm(eyes[0] - eyes[1]) < 1.0  # decimetres
    assert all(parent < joint for joint, parent in enumerate(JOINT_PARENTS))
