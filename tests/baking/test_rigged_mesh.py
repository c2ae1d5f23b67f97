"""A mesh that other programs can move: its .glb, read back by json, trimesh, Khronos' validator and Blender."""

import dataclasses
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from invertavatar.baking.rigged_mesh import RiggedMesh
from invertavatar.errors import InvertAvatarError, MediaError

TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
SHAPES = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}
SCALE = 0.1  # metres per head unit
VALIDATE = """
const { validateBytes } = require("gltf-validator"), { readFileSync } = require("fs");
Promise.all(process.argv.slice(1).map(file => validateBytes(readFileSync(file))))
    .then(reports => console.log(JSON.stringify(reports)));
"""


@pytest.fixture
def rigged() -> RiggedMesh:
    """A ball of radius 1 with two charts, red for the front and green for the back, on a body, a head and a jaw."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices, triangles = np.asarray(ball.vertices, np.float32), np.asarray(ball.faces)
    front = vertices[triangles].mean(1)[:, 2] > 0
    place = 0.22 * vertices[:, :2] + 0.5
    uv = np.concatenate([place - (0.25, 0), place + (0.25, 0)]).astype(np.float32)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:, :32], texture[:, 32:] = (255, 0, 0), (0, 255, 0)
    texture[:10] += np.uint8(40)  # above the charts: tells which way v points
    chin = np.exp(-((vertices - (0, -0.7, 0.7)) ** 2).sum(1, keepdims=True) / 0.1)
    chin[chin < 0.01] = 0
    return RiggedMesh(
        vertices=vertices,
        triangles=triangles,
        uv=uv,
        uv_triangles=np.where(front[:, None], triangles, triangles + len(vertices)),
        texture=texture,
        morphs={
            "jawOpen": (chin * (0, -0.3, 0.1)).astype(np.float32),
            "cheekPuff": 0.2 * vertices,
            "tongueOut": np.zeros_like(vertices),
        },
        joint_names=("torso", "head", "jaw"),
        joint_parents=(-1, 0, 1),
        joint_positions=np.array([[0, -1, -0.2], [0, -0.5, 0], [0, -0.2, 0.3]], np.float32),
        skin_weights=np.column_stack([vertices[:, 1] < -0.8, np.full(len(vertices), 0.5), 2 * chin]).astype(np.float32),
        metres_per_unit=SCALE,
    )


class Reader:
    """What the specification says that the bytes mean, by json and struct alone."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        binary_size, binary_kind = struct.unpack_from("<I4s", data, 20 + size)
        assert (kind, binary_kind, 28 + size + binary_size) == (b"JSON", b"BIN\0", length)
        self.json = json.loads(data[20 : 20 + size])
        self.binary = data[28 + size :]
        self.primitive = self.json["meshes"][0]["primitives"][0]
        self.names = self.json["meshes"][0]["extras"]["targetNames"]

    def view(self, number: int) -> bytes:
        view = self.json["bufferViews"][number]
        return self.binary[view["byteOffset"] :][: view["byteLength"]]

    def array(self, number: int) -> np.ndarray:
        accessor = self.json["accessors"][number]
        shape, dtype = (-1, *SHAPES[accessor["type"]]), TYPES[accessor["componentType"]]
        values = np.zeros((accessor["count"], *shape[1:]), dtype)
        if "bufferView" in accessor:
            values[:] = np.frombuffer(self.view(accessor["bufferView"]), dtype).reshape(shape)
        if sparse := accessor.get("sparse"):
            indices = np.frombuffer(
                self.view(sparse["indices"]["bufferView"]), TYPES[sparse["indices"]["componentType"]]
            )
            assert len(indices) == sparse["count"]
            values[indices] = np.frombuffer(self.view(sparse["values"]["bufferView"]), dtype).reshape(shape)
        return values

    def attribute(self, name: str) -> np.ndarray:
        return self.array(self.primitive["attributes"][name])

    def target(self, name: str, attribute: str) -> np.ndarray:
        return self.array(self.primitive["targets"][self.names.index(name)][attribute])

    def posed(self, scores: dict[str, float], turned: dict[str, np.ndarray]) -> np.ndarray:
        """Vertices [N, 3] with morph targets at `scores` and the joints `turned` by rotations."""
        moved = self.attribute("POSITION") + sum(s * self.target(n, "POSITION") for n, s in scores.items())
        skin, nodes = self.json["skins"][0], self.json["nodes"]
        world = {skin["skeleton"]: np.eye(4)}
        for number in skin["joints"]:  # each comes after its parent
            local = np.eye(4)
            local[:3, :3] = turned.get(nodes[number]["name"], np.eye(3))
            local[:3, 3] = nodes[number]["translation"]
            world[number] = world[number] @ local
            world |= {child: world[number] for child in nodes[number].get("children", [])}
        inverse = self.array(skin["inverseBindMatrices"]).swapaxes(1, 2)
        matrices = np.stack([world[number] for number in skin["joints"]]) @ inverse
        blended = (matrices[self.attribute("JOINTS_0")] * self.attribute("WEIGHTS_0")[..., None, None]).sum(1)
        return np.einsum("nij,nj->ni", blended, np.pad(moved, [(0, 0), (0, 1)], constant_values=1))[:, :3]


@pytest.fixture
def reader(rigged, tmp_path) -> Reader:
    rigged.save(tmp_path / "me.glb")
    return Reader(tmp_path / "me.glb")


def about_x(degrees: float) -> np.ndarray:
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def source_of(points: np.ndarray, rigged: RiggedMesh) -> np.ndarray:
    """Which vertex of the ball each of the file's is, by where it lies at rest."""
    distance = np.linalg.norm(points[:, None] - rigged.vertices * SCALE, axis=2)
    assert distance.min(1).max() < 1e-6
    return distance.argmin(1)


def test_the_neutral_is_in_metres_and_a_vertex_on_a_seam_is_there_once_for_each_chart(reader, rigged):
    source = source_of(reader.attribute("POSITION"), rigged)
    corners = np.stack([rigged.triangles.ravel(), rigged.uv_triangles.ravel()], 1)
    assert len(source) == len(np.unique(corners, axis=0))
    np.testing.assert_array_equal(source[reader.array(reader.primitive["indices"])], rigged.triangles.ravel())
    np.testing.assert_allclose(reader.attribute("NORMAL"), rigged.vertices[source], atol=0.03)


@pytest.mark.parametrize("name", ["jawOpen", "cheekPuff", "tongueOut"])
def test_a_morph_target_moves_each_vertex_and_its_normal_as_the_mesh_says(reader, rigged, name):
    source, moved = source_of(reader.attribute("POSITION"), rigged), rigged.morphs[name]
    np.testing.assert_allclose(reader.target(name, "POSITION"), moved[source] * SCALE, atol=1e-6)
    there = trimesh.Trimesh(rigged.vertices + moved, rigged.triangles, process=False)
    by_area = there.faces_sparse @ (there.face_normals * there.area_faces[:, None])
    expected = by_area / np.linalg.norm(by_area, axis=1, keepdims=True)
    np.testing.assert_allclose(reader.attribute("NORMAL") + reader.target(name, "NORMAL"), expected[source], atol=1e-5)
    assert reader.json["meshes"][0]["weights"] == [0, 0, 0]


def test_a_morph_target_takes_up_no_more_than_the_vertices_it_moves(reader, rigged):
    accessors = {
        name: reader.json["accessors"][target["POSITION"]]
        for name, target in zip(reader.names, reader.primitive["targets"], strict=True)
    }
    source = source_of(reader.attribute("POSITION"), rigged)
    assert accessors["jawOpen"]["sparse"]["count"] == rigged.morphs["jawOpen"].any(1)[source].sum()
    assert "sparse" not in accessors["cheekPuff"]  # moves all: with indices it would be longer
    assert not {"sparse", "bufferView"} & set(accessors["tongueOut"])


def test_with_a_morph_and_two_turned_joints_the_vertices_are_where_the_mesh_puts_them(reader, rigged):
    """Expected: each joint turns what it holds about its place, and takes those below it along."""
    head, jaw = about_x(20), about_x(-30)
    placed = reader.posed({"jawOpen": 0.5}, {"head": head, "jaw": jaw})

    moved = rigged.vertices + 0.5 * rigged.morphs["jawOpen"]
    _, of_head, of_jaw = rigged.joint_positions
    by_jaw = (moved - of_jaw) @ jaw.T + of_jaw
    by_head = [(points - of_head) @ head.T + of_head for points in (moved, by_jaw)]
    weights = rigged.skin_weights / rigged.skin_weights.sum(1, keepdims=True)
    expected = sum(w[:, None] * points for w, points in zip(weights.T, (moved, by_head[0], by_head[1]), strict=True))
    source = source_of(reader.attribute("POSITION"), rigged)
    np.testing.assert_allclose(placed, expected[source] * SCALE, atol=1e-6)
    assert np.abs(placed - reader.attribute("POSITION")).max() > 0.02


def test_at_rest_the_joints_move_nothing(reader):
    np.testing.assert_allclose(reader.posed({}, {}), reader.attribute("POSITION"), atol=1e-7)


def test_joints_are_a_tree_beside_the_mesh_at_their_places(reader, rigged):
    nodes, skin = reader.json["nodes"], reader.json["skins"][0]
    assert [nodes[number]["name"] for number in skin["joints"]] == ["torso", "head", "jaw"]
    assert set(reader.json["scenes"][0]["nodes"]) == {0, skin["skeleton"]}
    inverse = reader.array(skin["inverseBindMatrices"]).swapaxes(1, 2)
    np.testing.assert_allclose(-inverse[:, :3, 3], rigged.joint_positions * SCALE, atol=1e-7)


def test_of_more_than_four_joints_the_strongest_hold_a_vertex_and_their_weights_sum_to_one(rigged, tmp_path):
    count = len(rigged.vertices)
    six = dataclasses.replace(
        rigged,
        joint_names=tuple("abcdef"),
        joint_parents=(-1, 0, 0, 1, 1, 4),
        joint_positions=np.zeros((6, 3)),
        skin_weights=np.tile(np.array([0.1, 0.3, 0.2, 0.05, 0.4, 0.15]), (count, 1)),
    )
    six.save(tmp_path / "six.glb")
    reader = Reader(tmp_path / "six.glb")
    np.testing.assert_array_equal(reader.attribute("JOINTS_0")[0], [4, 1, 2, 5])
    np.testing.assert_allclose(reader.attribute("WEIGHTS_0")[0], np.array([0.4, 0.3, 0.2, 0.15]) / 1.05, rtol=1e-6)
    np.testing.assert_allclose(reader.attribute("WEIGHTS_0").sum(1), 1, atol=1e-7)


def test_each_chart_is_drawn_in_its_own_colour_and_v_points_down_in_the_file(reader, rigged):
    encoded = reader.view(reader.json["images"][0]["bufferView"])
    picture = np.asarray(Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(picture, rigged.texture)
    u, v = reader.attribute("TEXCOORD_0").T
    shown = picture[(v * 64).astype(int), (u * 64).astype(int)]
    depth = reader.attribute("POSITION")[:, 2]
    np.testing.assert_array_equal(shown[depth > 0.05], [[255, 0, 0]] * (depth > 0.05).sum())
    np.testing.assert_array_equal(shown[depth < -0.05], [[0, 255, 0]] * (depth < -0.05).sum())
    assert v[reader.attribute("POSITION")[:, 1].argmax()] < 0.5


def test_a_texture_with_holes_cuts_them_out_and_an_opaque_one_does_not(rigged, tmp_path):
    opaque = np.dstack([rigged.texture, np.full((64, 64), 255, np.uint8)])
    holed = opaque.copy()
    holed[:8, :8, 3] = 0
    modes = []
    for texture in (opaque, holed):
        dataclasses.replace(rigged, texture=texture).save(tmp_path / "me.glb")
        modes.append(Reader(tmp_path / "me.glb").json["materials"][0].get("alphaMode", "OPAQUE"))
    assert modes == ["OPAQUE", "MASK"]


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_another_reader_finds_the_same_neutral_in_each_kind_of_file(rigged, tmp_path, suffix):
    rigged.save(tmp_path / f"me.{suffix}")
    loaded = trimesh.load_mesh(tmp_path / f"me.{suffix}", process=False)
    expected = trimesh.Trimesh(rigged.vertices * SCALE, rigged.triangles, process=False)
    assert len(loaded.faces) == len(rigged.triangles)
    np.testing.assert_allclose(loaded.bounds, expected.bounds, atol=1e-6)
    np.testing.assert_allclose(loaded.volume, expected.volume, rtol=1e-5)


def test_an_obj_shows_each_chart_in_its_own_colour(rigged, tmp_path):
    rigged.save(tmp_path / "me.obj")
    loaded = trimesh.load_mesh(tmp_path / "me.obj", process=False)
    u, v = loaded.visual.uv.T  # v up
    shown = np.asarray(loaded.visual.material.image)[((1 - v) * 64).astype(int), (u * 64).astype(int)]
    for side, colour in ((loaded.vertices[:, 2] > 0.03, (255, 0, 0)), (loaded.vertices[:, 2] < -0.03, (0, 255, 0))):
        np.testing.assert_array_equal(shown[side], [colour] * side.sum())


def test_a_ply_has_vertex_colours_and_splits_no_vertex(rigged, tmp_path):
    rigged.save(tmp_path / "me.ply")
    loaded = trimesh.load_mesh(tmp_path / "me.ply", process=False)
    np.testing.assert_array_equal(loaded.faces, rigged.triangles)
    for side, colour in ((loaded.vertices[:, 2] > 0.03, (255, 0, 0)), (loaded.vertices[:, 2] < -0.03, (0, 255, 0))):
        np.testing.assert_array_equal(loaded.visual.vertex_colors[side, :3], [colour] * side.sum())


def test_the_normals_of_an_obj_are_smooth_across_the_seams_of_its_texture(rigged, tmp_path):
    rigged.save(tmp_path / "me.obj")
    lines = [line.split() for line in (tmp_path / "me.obj").read_text().splitlines()]
    places, normals = (np.array([line[1:4] for line in lines if line[:1] == [k]], float) for k in ("v", "vn"))
    corners = np.array([corner.split("/") for line in lines if line[:1] == ["f"] for corner in line[1:]], int) - 1
    np.testing.assert_allclose(normals[corners[:, 2]], places[corners[:, 0]] / SCALE, atol=0.03)


def test_two_obj_files_in_one_folder_keep_their_own_textures(rigged, tmp_path):
    for name in ("me.obj", "you.obj"):
        rigged.save(tmp_path / name)
    names = {file.name for file in tmp_path.iterdir()}
    assert {"me.obj", "me.mtl", "you.obj", "you.mtl"} <= names
    assert len(names) == 6
    assert "mtllib me.mtl" in (tmp_path / "me.obj").read_text()


def test_a_vertex_whose_triangles_have_no_area_still_has_a_unit_normal(rigged, tmp_path):
    flat = rigged.vertices.copy()
    flat[rigged.triangles[(rigged.triangles == 0).any(1)]] = flat[0]
    dataclasses.replace(rigged, vertices=flat).save(tmp_path / "me.glb")
    normals = Reader(tmp_path / "me.glb").attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("part", "change", "phrase"),
    [
        ("vertices", lambda a: a * np.nan, "vertices must be finite"),
        ("triangles", lambda a: a + 1, "triangles must be whole numbers from 0 to 161"),
        ("triangles", lambda a: a.astype(float), "triangles must be whole numbers"),
        ("triangles", lambda a: a[:0], r"triangles must be an array of \(0, 3\)"),
        ("uv", lambda a: a + 1, "uv must lie in 0..1"),
        ("uv_triangles", lambda a: a[1:], "uv_triangles must be an array of"),
        ("texture", lambda a: a / 255, "texture must be uint8"),
        ("texture", lambda a: a[..., 0], "texture must be uint8"),
        ("morphs", lambda m: m | {"jawOpen": m["jawOpen"][1:]}, "morph target jawOpen must be an array"),
        (
            "morphs",
            lambda m: m | {"jawOpen": np.full_like(m["jawOpen"], np.inf)},
            "morph target jawOpen must be finite",
        ),
        ("joint_names", lambda _: ("head", "head", "jaw"), "Two joints of the mesh are called head"),
        ("joint_parents", lambda _: (-1, 0), "3 joint_names and 2 joint_parents"),
        ("joint_parents", lambda _: (-1, 2, 1), "the first must be -1"),
        ("joint_parents", lambda _: (-1, -1, 1), "the first must be -1"),
        ("joint_positions", lambda a: a[:2], "joint_positions must be an array"),
        ("skin_weights", lambda a: -a, "must not be negative"),
        ("skin_weights", lambda a: a * (np.arange(len(a)) != 7)[:, None], "No joint holds vertex 7"),
        ("metres_per_unit", lambda _: 0.0, "metres_per_unit of the mesh must be above 0"),
    ],
)
def test_parts_that_do_not_fit_are_a_sentence_that_names_them(rigged, part, change, phrase):
    with pytest.raises(InvertAvatarError, match=phrase):
        dataclasses.replace(rigged, **{part: change(getattr(rigged, part))})


def test_another_ending_is_a_sentence(rigged, tmp_path):
    with pytest.raises(MediaError, match=r"me\.fbx is no kind of mesh"):
        rigged.save(tmp_path / "me.fbx")


def wide_sheet() -> RiggedMesh:
    """More vertices than 16 bits can count, one of which moves."""
    row = np.arange(257)
    vertices = np.stack(np.meshgrid(row, row, [0.0], indexing="ij"), -1).reshape(-1, 3)
    corner = (row[:-1, None] * 257 + row[:-1]).ravel()
    triangles = np.concatenate([np.stack([corner, corner + 257, corner + 1], 1), corner[:, None] + [1, 257, 258]])
    lifted = np.zeros_like(vertices)
    lifted[-1] = (0, 0, 1)
    return RiggedMesh(
        vertices=vertices,
        triangles=triangles,
        uv=vertices[:, :2] / 256,
        uv_triangles=triangles,
        texture=np.zeros((4, 4, 3), np.uint8),
        morphs={"lift": lifted},
        joint_names=("root",),
        joint_parents=(-1,),
        joint_positions=np.zeros((1, 3)),
        skin_weights=np.ones((len(vertices), 1)),
        metres_per_unit=1.0,
    )


def test_more_vertices_than_16_bits_can_count_keep_their_numbers(tmp_path):
    sheet = wide_sheet()
    sheet.save(tmp_path / "sheet.glb")
    reader = Reader(tmp_path / "sheet.glb")
    np.testing.assert_array_equal(reader.array(reader.primitive["indices"]), sheet.triangles.ravel())
    np.testing.assert_array_equal(np.flatnonzero(reader.target("lift", "POSITION").any(1)), [257 * 257 - 1])


def validator_reports(*files) -> list[dict]:
    """What Khronos' validator says of each file; the test is skipped where it is missing."""
    node = shutil.which("node")
    found = [Path(sys.prefix, "node_modules"), *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))]
    environment = os.environ | {"NODE_PATH": os.pathsep.join(map(str, found))}
    if node is None or not any(Path(folder, "gltf-validator").is_dir() for folder in found):
        pytest.skip("No gltf-validator here: install node and npm, and `make test` fetches it.")
    run = subprocess.run([node, "-e", VALIDATE, *files], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_khronos_validator_finds_nothing_to_say(rigged, tmp_path):
    noisy = np.random.default_rng(0).random((len(rigged.vertices), 3)).astype(np.float32)
    several = {
        "plain": rigged,
        "no morphs": dataclasses.replace(rigged, morphs={}),
        "uneven weights": dataclasses.replace(rigged, skin_weights=noisy**8),
        "holes": dataclasses.replace(rigged, texture=np.dstack([rigged.texture, rigged.texture[..., 0]])),
        "ünï nämes": dataclasses.replace(rigged, joint_names=("größe", "頭", "jaw")),
        "large": wide_sheet(),
    }
    files = [tmp_path / f"{name}.glb" for name in several]
    for mesh, file in zip(several.values(), files, strict=True):
        mesh.save(file)
    reports = dict(zip(several, validator_reports(*files), strict=True))
    assert {name: report["issues"]["messages"] for name, report in reports.items()} == {name: [] for name in several}
    assert reports["plain"]["info"]["hasSkins"]
    assert reports["plain"]["info"]["hasMorphTargets"]


def test_blender_has_its_shape_keys_and_bones_and_they_move_what_they_hold(rigged, tmp_path):
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("No Blender here: pip install bpy (350 MB) to open the file in it.")
    rigged.save(tmp_path / "me.glb")
    script, output = Path(__file__).with_name("open_in_blender.py"), tmp_path / "seen.npz"
    command = [sys.executable, script, tmp_path / "me.glb", output, "jaw", "-30"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert output.exists(), run.stdout + run.stderr
    seen = np.load(output)
    source = source_of(seen["neutral"], rigged)
    assert [name for name in seen if name.startswith("key ")] == [f"key {name}" for name in rigged.morphs]
    for name, moved in rigged.morphs.items():
        np.testing.assert_allclose(seen[f"key {name}"] - seen["neutral"], moved[source] * SCALE, atol=1e-6)
    assert dict(zip(seen["bones"], seen["parents"], strict=True)) == {"torso": "", "head": "torso", "jaw": "head"}
    jaw, weight = rigged.joint_positions[2], rigged.skin_weights / rigged.skin_weights.sum(1, keepdims=True)
    turned = (rigged.vertices - jaw) @ about_x(-30).T + jaw
    expected = rigged.vertices + weight[:, 2:] * (turned - rigged.vertices)
    np.testing.assert_allclose(seen["turned"], expected[source] * SCALE, atol=1e-6)
