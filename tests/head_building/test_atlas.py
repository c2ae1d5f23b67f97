"""The UV atlas: bijective, symmetric, upright, dense where it is wanted.

The head itself is tested where MAKEHUMAN_DATA names the folder of MakeHuman's data.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from invertavatar.errors import InvertAvatarError
from invertavatar.head_building.atlas import GRID, build_atlas, overlapping_triangles, texel_densities
from invertavatar.head_building.flatten import double_areas, flatten, outline_edges, triangle_shapes

SIZE, GAP = 128, 4.0


def grid(rows, columns):
    """[rows * columns] parameters in 0..1 (t down, s right) and triangles that are their own mirror image."""
    t, s = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    index = np.arange(rows * columns).reshape(rows, columns)
    triangles = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            a, b = index[row, column : column + 2]
            c, d = index[row + 1, column : column + 2]
            on_the_left = column < (columns - 1) / 2
            triangles += [(a, c, b), (b, c, d)] if on_the_left else [(a, c, d), (a, d, b)]
    return s.ravel(), t.ravel(), np.array(triangles)


def mirrored(vertices):
    """The vertex at (-x, y, z) of each."""
    apart = np.linalg.norm(vertices[:, None] * [-1, 1, 1] - vertices[None], axis=-1)
    assert apart.min(1).max() < 1e-9
    return apart.argmin(1)


def cap():
    """Half a sphere that bulges toward z, from straight ahead laid on its side."""
    s, t, triangles = grid(9, 9)
    x, y = 2 * s - 1, 1 - 2 * t
    angle = np.maximum(abs(x), abs(y)) * 1.4
    direction = np.stack([x, y], 1) / np.hypot(x, y).clip(1e-9)[:, None]
    vertices = np.concatenate([direction * np.sin(angle)[:, None], np.cos(angle)[:, None]], 1)
    return vertices + [0, 3, 0], triangles, np.stack([-y, x], 1)


def cylinder():
    """A neck, slit behind: a developable surface that closes where it is slit."""
    s, t, triangles = grid(4, 17)
    angle = (s - 0.5) * 2 * np.pi
    vertices = np.stack([np.sin(angle) * 0.5, -t, np.cos(angle) * 0.5], 1)
    return vertices, triangles, np.stack([s, 1 - t], 1)


def ball(x):
    """An eyeball of rings about z."""
    angles, across = np.linspace(0.3, np.pi - 0.3, 8), 8
    angle = np.arange(across) * 2 * np.pi / across
    ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    vertices = np.concatenate([ring * np.sin(a) + [0, 0, np.cos(a)] for a in angles])
    n = np.arange(across)
    bands = [
        np.concatenate([np.stack([n, n + 8, (n + 1) % 8], 1), np.stack([(n + 1) % 8, n + 8, (n + 1) % 8 + 8], 1)])
        + 8 * k
        for k in range(7)
    ]
    fan = np.stack([np.zeros(6, int), n[1:7], n[2:8]], 1)
    triangles = np.concatenate([fan, *bands, fan[:, ::-1] + 56])
    vertices = vertices * 0.4
    if x < 0:  # the mirror image of the other, winding included
        vertices, triangles = vertices * [-1, 1, 1], triangles[:, ::-1]
    return vertices + [x, 3, 1.2], triangles, np.zeros((len(vertices), 2))


@pytest.fixture(scope="module")
def head():
    """What `build_atlas` takes: a cap, a slit cylinder of half its density and two eyeballs."""
    parts = [cap(), cylinder(), ball(0.6), ball(-0.6)]
    first = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
    triangles = np.concatenate([t + f for (_, t, _), f in zip(parts, first, strict=False)])
    vertices = np.concatenate([v for v, _, _ in parts])
    # The two sides of the cylinder's slit are the same vertices of the mesh.
    one_side = np.arange(len(vertices))
    one_side[first[1] + 16 + 17 * np.arange(4)] -= 16
    used, one_side = np.unique(one_side, return_inverse=True)
    return {
        "vertices": vertices[used],
        "triangles": one_side[triangles],
        "source_uv": np.concatenate([uv for _, _, uv in parts]),
        "source_triangles": triangles,
        "density": np.repeat([2.0, 1.0, 2.0, 2.0], [len(t) for _, t, _ in parts]),
        "mirror": mirrored(vertices[used]),
        "size": SIZE,
        "gap": GAP,
    }


@pytest.fixture(scope="module")
def atlas(head):
    return build_atlas(**head)


def part_of(head, k):
    """Which triangles belong to part k: cap, cylinder, left and right eyeball."""
    return np.repeat(np.arange(4), [len(t) for _, t, _ in (cap(), cylinder(), ball(0.6), ball(-0.6))]) == k


def islands(uv_triangles):
    """The triangles of each island."""
    label = np.arange(uv_triangles.max() + 1)
    while True:
        low = label[uv_triangles].min(1)
        before = label.copy()
        np.minimum.at(label, uv_triangles, np.repeat(low[:, None], 3, 1))
        if (label == before).all():
            return [np.flatnonzero(low == k) for k in np.unique(low)]


def least_gap(uv, uv_triangles):
    """The least distance between the outlines of two islands: of a vertex of one from an edge of the other."""
    outlines = [uv[outline_edges(uv_triangles[faces])] for faces in islands(uv_triangles)]  # of [E, 2, 2]
    least = np.inf
    for k, one in enumerate(outlines):
        for other in outlines[:k] + outlines[k + 1 :]:
            side, to = other[:, 1] - other[:, 0], one[:, 0][:, None] - other[:, 0]
            along = ((to * side).sum(-1) / (side**2).sum(-1)).clip(0, 1)
            least = min(least, np.linalg.norm(to - along[..., None] * side, axis=-1).min())
    return least


def assert_bijective(uv, uv_triangles):
    whole = np.rint(uv * GRID).astype(np.int64)
    assert (whole == uv * GRID).all() and whole.min() >= 0 and whole.max() <= GRID
    assert (double_areas(whole, uv_triangles) < 0).all()  # v points down
    assert not len(overlapping_triangles(whole, uv_triangles[:, ::-1]))


def assert_mirrored(uv, uv_triangles, triangles, mirror):
    places = {}
    for corners, vertices in zip(uv_triangles.ravel().tolist(), triangles.ravel().tolist(), strict=True):
        places.setdefault(vertices, set()).add(tuple(uv[corners]))
    for vertex, own in places.items():
        assert {(1 - u, v) for u, v in own} == places[mirror[vertex]]


def test_no_triangle_is_flipped_and_none_lies_over_another(atlas):
    assert_bijective(*atlas)


def test_the_mirrored_vertex_lies_at_the_mirrored_place(head, atlas):
    assert_mirrored(*atlas, head["triangles"], head["mirror"])


def test_islands_keep_the_gap(atlas):
    uv, uv_triangles = atlas
    assert least_gap(uv * SIZE, uv_triangles) >= GAP
    assert (uv * SIZE).min() >= GAP / 2 and (uv * SIZE).max() <= SIZE - GAP / 2


def test_a_developable_surface_is_unrolled_without_stretch(head, atlas):
    density = texel_densities(head["vertices"], head["triangles"], *atlas, SIZE)[part_of(head, 1)]
    assert density.max() / density.min() < 1.01  # the grid's rounding


def test_texels_are_dense_where_they_are_wanted(head, atlas):
    density = texel_densities(head["vertices"], head["triangles"], *atlas, SIZE)
    cap_density, cylinder_density = density[part_of(head, 0)].mean(), density[part_of(head, 1)].mean()
    assert 1.8 < cap_density / cylinder_density < 2.2


def test_islands_stand_upright_though_the_source_lies_on_its_side(head, atlas):
    uv, uv_triangles = atlas
    for part in (0, 1):
        corners, vertices = uv_triangles[part_of(head, part)].ravel(), head["triangles"][part_of(head, part)].ravel()
        height = head["vertices"][vertices, 1]
        assert np.corrcoef(uv[corners, 1], height)[0, 1] < -0.95
        seen = head["vertices"][vertices, 2] > 0
        assert np.corrcoef(uv[corners, 0][seen], head["vertices"][vertices, 0][seen])[0, 1] > 0.9


def test_a_mirrored_source_gives_the_same_atlas(head, atlas):
    uv, uv_triangles = build_atlas(**{**head, "source_uv": head["source_uv"] * [-1, 1]})
    assert abs(uv[uv_triangles] - atlas[0][atlas[1]]).max() < 4 / GRID


def test_an_eyeball_lies_in_circles_about_its_front_and_has_its_seam_behind(head, atlas):
    uv, uv_triangles = atlas
    faces = part_of(head, 2)
    front = max(islands(uv_triangles[faces]), key=len)
    corners, vertices = uv_triangles[faces][front], head["triangles"][faces][front]
    depth, outline = head["vertices"][vertices, 2], outline_edges(corners)
    middle = uv[np.unique(corners[depth > depth.max() - 1e-9])].mean(0)
    distance = np.linalg.norm(uv[corners] - middle, axis=-1)
    for ring in np.unique(depth.round(6)):
        assert np.ptp(distance[depth.round(6) == ring]) < 4 / GRID
    assert depth[np.isin(corners, outline)].max() < 1.2  # behind the middle of the ball


def test_an_iris_wanted_denser_is_larger(head, atlas):
    faces = part_of(head, 2) | part_of(head, 3)
    iris = faces & (head["vertices"][head["triangles"], 2].mean(1) > 1.4)
    uv, uv_triangles = build_atlas(**{**head, "density": np.where(iris, 6.0, head["density"])})
    areas, before = (double_areas(uv, uv_triangles), double_areas(*atlas))
    assert areas[iris].sum() / areas[faces].sum() > 1.5 * before[iris].sum() / before[faces].sum()


def test_the_same_input_gives_the_same_bits(head, atlas):
    again = build_atlas(**head)
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(again, atlas, strict=True))


def test_halved_islands_lie_at_the_sides_and_stay_mirrored(head, atlas):
    uv, uv_triangles = build_atlas(**head, halved=part_of(head, 1))
    assert_bijective(uv, uv_triangles)
    assert_mirrored(uv, uv_triangles, head["triangles"], head["mirror"])
    assert len(islands(uv_triangles)) == len(islands(atlas[1])) + 1
    assert abs(uv[uv_triangles[part_of(head, 1)], 0] - 0.5).min() * SIZE >= GAP / 2


def test_without_a_mirror_islands_lie_anywhere(head):
    assert_bijective(*build_atlas(**{**head, "mirror": None}))


def test_an_island_that_would_meet_itself_keeps_off():
    s, t, triangles = grid(4, 60)
    winding = 2 * np.pi * 1.2  # a flat ring of more than a turn: laid out without stretch it overlaps itself
    shape = np.stack([(2 - t) * np.sin(s * winding), (2 - t) * np.cos(s * winding), 0.1 * s], 1)
    start = np.stack([(2 - t) * np.sin(s * winding / 1.5), (2 - t) * np.cos(s * winding / 1.5)], 1)
    unrolled = np.stack([shape[:, 0], shape[:, 1]], 1)
    assert len(overlapping_triangles(np.rint(unrolled * 1000).astype(np.int64), triangles))
    flat = flatten(triangle_shapes(shape[triangles]), triangles, start, None, clearance=0.1)
    whole = np.rint((flat - flat.min(0)) * 10000).astype(np.int64)
    assert (double_areas(whole, triangles) > 0).all()
    assert not len(overlapping_triangles(whole, triangles))


def test_overlap_is_found_exactly():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    shared = np.array([[0, 1, 2], [0, 2, 3]])
    assert not len(overlapping_triangles(square, shared))  # an edge is no overlap
    triangles = np.concatenate([shared, [[4, 5, 6], [7, 8, 9]]])
    along = np.concatenate([square, [[3, 0], [7, 0], [7, 4]], [[4, 1], [8, 5], [4, 5]]])  # the last one along others
    assert overlapping_triangles(along, triangles).tolist() == [[0, 2]]
    along[7, 1] -= 1
    assert overlapping_triangles(along, triangles).tolist() == [[0, 2], [2, 3]]


def test_a_source_that_folds_is_refused(head):
    source_uv = head["source_uv"].copy()
    source_uv[40] += 0.9  # the middle of the cap, beyond its neighbours
    with pytest.raises(InvertAvatarError, match="folds or overlaps"):
        build_atlas(**{**head, "source_uv": source_uv})


def test_seams_that_are_not_symmetric_are_refused(head):
    source_triangles = head["source_triangles"].copy()
    source_uv = np.concatenate([head["source_uv"], head["source_uv"]])
    source_triangles[:3] += len(head["source_uv"])  # a corner of the cap becomes an island, on one side only
    with pytest.raises(InvertAvatarError, match="not symmetric"):
        build_atlas(**{**head, "source_uv": source_uv, "source_triangles": source_triangles})


def test_a_triangle_without_area_is_refused(head):
    vertices = head["vertices"].copy()
    vertices[head["triangles"][5]] = vertices[head["triangles"][5, 0]]
    with pytest.raises(InvertAvatarError, match="no area"):
        build_atlas(**{**head, "vertices": vertices})


def test_islands_that_cannot_fit_are_refused(head):
    with pytest.raises(InvertAvatarError, match="allow a larger size"):
        build_atlas(**{**head, "size": 16, "gap": 8.0})


@pytest.fixture(scope="module")
def makehuman():
    """MakeHuman's head as the model cuts it, with texel densities by depth and place."""
    if not os.environ.get("MAKEHUMAN_DATA"):
        pytest.skip("set MAKEHUMAN_DATA to the folder of MakeHuman's data to test the head's own atlas")
    folder = Path(os.environ["MAKEHUMAN_DATA"])
    vertices, source_uv, corners, group = [], [], [], ""
    for line in (folder / "3dobjs" / "base.obj").read_text().splitlines():
        word, *fields = line.split() or ["#"]
        if word in ("v", "vt"):
            (vertices if word == "v" else source_uv).append([float(x) for x in fields])
        elif word == "g":
            group = fields[0]
        elif word == "f":
            quad = np.array([corner.split("/")[:2] for corner in fields], int) - 1
            height = np.mean([vertices[v][1] for v in quad[:, 0]])
            if group in (
                "helper-r-eye",
                "helper-l-eye",
                "helper-upper-teeth",
                "helper-lower-teeth",
                "helper-tongue",
            ) or (group == "body" and height > 5.5):
                corners += [quad[[0, 1, 2]], quad[[0, 2, 3]]]
    corners = np.array(corners)  # [F, 3, 2]
    mirror = np.arange(len(vertices))
    for line in (folder / "mesh_metadata" / "hm08.mirror").read_text().splitlines():
        vertex, image, *_ = line.split()
        mirror[int(vertex)] = int(image)
    used, triangles = np.unique(corners[..., 0], return_inverse=True)
    vertices, triangles = np.array(vertices)[used], triangles.reshape(-1, 3)
    _, y, z = vertices[triangles].mean(1).T
    return {
        "vertices": vertices,
        "triangles": triangles,
        "source_uv": np.array(source_uv),
        "source_triangles": corners[..., 1],
        "density": np.where((z > 0.75) & (y < 7.85) & (y > 6.3), 3.0, np.where(y > 6.3, 1.2, 0.6)),
        "mirror": np.searchsorted(used, mirror[used]),
    }


def test_the_atlas_of_the_whole_head_is_bijective_symmetric_and_keeps_gaps(makehuman):
    uv, uv_triangles = build_atlas(**makehuman)
    assert_bijective(uv, uv_triangles)
    assert_mirrored(uv, uv_triangles, makehuman["triangles"], makehuman["mirror"])
    assert least_gap(uv * 512, uv_triangles) >= 4
