"""Triangles to pixels: known answers, an independent ray tracer as oracle, and the back ends against each other."""

import importlib
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch.utils import cpp_extension

from invertavatar.camera import pixel_centres, project, rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.raster import rasterizer_nvdiffrast
from invertavatar.raster.fixed_point import SUBPIXELS
from invertavatar.raster.rasterizer import Fragments, available_backends, interpolate, rasterize
from invertavatar.runtime.fixed_sizes import FixedSizes, fixed_sizes

CPU_BACKENDS = available_backends("cpu")
HAS_NVDIFFRAST = "nvdiffrast" in available_backends("cuda")

# The left half of the picture at z = 0: two triangles that share the diagonal from the top left.
LEFT_HALF = torch.tensor([[-1.0, -1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.fixture(params=CPU_BACKENDS)
def backend(request):
    return request.param


def height_field(seed: int, count: int = 250, bumps: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """A bumpy surface over the picture, turned so that it hides parts of itself: [1, V, 3] and [F, 3]."""
    random = np.random.default_rng(seed)
    xy = random.uniform(-0.9, 0.9, (count, 2))
    z = bumps * np.sin(7 * xy[:, :1]) * np.cos(6 * xy[:, 1:]) + 0.1 * random.standard_normal((count, 1))
    points = torch.from_numpy(np.concatenate([xy, z], 1)).float()[None]
    return project(points, rotation_from_angles(40.0, 20.0, 10.0)[None]), torch.from_numpy(Delaunay(xy).simplices)


def sphere(radius: float = 0.8, rings: int = 16, sectors: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed sphere, seen from outside and with its back side behind the front: [1, V, 3] and [F, 3]."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, rings), np.arange(sectors) * 2 * np.pi / sectors, indexing="ij")
    points = radius * np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1)
    ring, sector = (i.ravel() for i in np.meshgrid(np.arange(rings - 1), np.arange(sectors), indexing="ij"))
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    faces = np.concatenate([np.stack([a, b, b + sectors], 1), np.stack([a, b + sectors, a + sectors], 1)])
    return project(torch.from_numpy(points.reshape(1, -1, 3)).float(), rotation_from_angles(7.0, 25.0)[None]), (
        torch.from_numpy(faces)
    )


def depth_of(positions: torch.Tensor, fragments: Fragments, triangles: torch.Tensor) -> torch.Tensor:
    return interpolate(positions[..., 2:], fragments, triangles)[:, 0]


def pixels_from_edge(positions: torch.Tensor, fragments: Fragments, triangles: torch.Tensor) -> torch.Tensor:
    """[B, H, W] distance in pixels of each centre from the nearest edge of its own triangle; infinite where empty."""
    size = fragments.triangle.shape[-1]
    corners = positions[:, triangles, :2] * (size / 2)  # [B, F, 3, 2]
    edges = corners.roll(-2, 2) - corners.roll(-1, 2)
    area = (edges[..., 0, 0] * edges[..., 1, 1] - edges[..., 0, 1] * edges[..., 1, 0]).abs()
    altitudes = area[..., None] / edges.norm(dim=-1)  # [B, F, 3]
    picture = torch.arange(len(positions))[:, None, None]
    distance = (fragments.barycentric * altitudes[picture, fragments.triangle.clamp(min=0)]).amin(-1)
    return torch.where(fragments.mask, distance, torch.inf)


# Known answers


def test_two_triangles_over_the_left_half_cover_exactly_the_left_half(backend):
    fragments = rasterize(LEFT_HALF[None], SQUARE, 8, backend)
    assert fragments.mask[0, :, :4].all() and not fragments.mask[0, :, 4:].any()
    assert (fragments.triangle[~fragments.mask] == -1).all() and (fragments.barycentric[~fragments.mask] == 0).all()
    assert fragments.triangle.dtype == torch.int64 and fragments.barycentric.dtype == torch.float32


def test_y_points_down_so_that_a_triangle_with_negative_y_is_drawn_in_the_first_rows(backend):
    top = torch.tensor([[[-3.0, -1.0, 0.0], [3.0, -1.0, 0.0], [0.0, -0.5, 0.0]]])
    fragments = rasterize(top, torch.tensor([[0, 1, 2]]), 16, backend)
    assert fragments.mask[0, 0].all() and not fragments.mask[0, 4:].any()


def test_the_nearer_triangle_has_the_larger_z_and_wins_in_either_order(backend):
    points = torch.cat([LEFT_HALF[:3], LEFT_HALF[:3] + torch.tensor([0.0, 0.0, 0.5])])[None]
    far, near = [0, 1, 2], [3, 4, 5]
    behind_first = rasterize(points, torch.tensor([far, near]), 16, backend)
    in_front_first = rasterize(points, torch.tensor([near, far]), 16, backend)
    assert (behind_first.triangle[behind_first.mask] == 1).all()
    assert (in_front_first.triangle[in_front_first.mask] == 0).all()


def test_triangles_that_pierce_each_other_are_each_seen_where_they_are_nearer(backend):
    flat = torch.tensor([[-4.0, -4.0, 0.0], [4.0, -4.0, 0.0], [0.0, 8.0, 0.0]])
    tilted = flat + flat[:, :1] * torch.tensor([0.0, 0.0, 1.0])  # z = x: in front of the other on the right
    fragments = rasterize(torch.cat([flat, tilted])[None], torch.tensor([[0, 1, 2], [3, 4, 5]]), 16, backend)
    assert (fragments.triangle[0, :, :8] == 0).all() and (fragments.triangle[0, :, 8:] == 1).all()


def test_of_equally_near_triangles_the_first_is_kept(backend):
    assert rasterize(LEFT_HALF[None], torch.tensor([[0, 1, 2]] * 3), 16, backend).triangle.max() == 0


def test_winding_does_not_matter(backend):
    front, back = (rasterize(LEFT_HALF[None], t, 16, backend) for t in (SQUARE, SQUARE.flip(1)))
    assert torch.equal(front.triangle, back.triangle)
    assert torch.equal(front.barycentric, back.barycentric.flip(-1))


def test_a_picture_may_be_wider_than_high(backend):
    fragments = rasterize(LEFT_HALF[None], SQUARE, (4, 10), backend)
    assert fragments.mask.shape == (1, 4, 10) and fragments.mask[0, :, :5].all() and not fragments.mask[0, :, 5:].any()


def test_barycentric_weights_are_those_of_the_pixel_centre(backend):
    # At 4 pixels the centre of row 0, column 0 is (-0.75, -0.75): an eighth of the way along x and along y.
    points = torch.tensor([[[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]])
    fragments = rasterize(points, torch.tensor([[0, 1, 2]]), 4, backend)
    assert fragments.barycentric[0, 0, 0].tolist() == [0.75, 0.125, 0.125]
    assert fragments.barycentric[0, 0, 2].tolist() == [0.25, 0.625, 0.125]


# Edges


@pytest.mark.parametrize("on_pixel_centres", [False, True])
def test_triangles_that_share_edges_leave_no_gap_and_no_pixel_twice(backend, on_pixel_centres):
    size, random = 16, np.random.default_rng(0)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    if on_pixel_centres:  # the hard case: edges and corners that pass exactly through pixel centres
        inner = (random.permutation(size * size)[:20, None] // [1, size] % size + 0.5) * 2 / size - 1
    else:
        inner = random.uniform(-0.95, 0.95, (20, 2))
    xy = np.concatenate([square, inner])
    points = torch.from_numpy(np.concatenate([xy, np.zeros((len(xy), 1))], 1)).float()[None]
    triangles = torch.from_numpy(Delaunay(xy).simplices)
    times_drawn = sum(rasterize(points, one[None], size, backend).mask.int() for one in triangles)
    assert (times_drawn == 1).all()


def test_a_triangle_half_off_the_screen_is_cut_at_the_border_without_a_change_inside(backend):
    points, triangles = height_field(3)
    points[..., :2] *= 4
    whole = rasterize(points / torch.tensor([4.0, 4.0, 1.0]), triangles, 128, backend)
    window = rasterize(points, triangles, 32, backend)
    assert torch.equal(window.triangle, whole.triangle[:, 48:80, 48:80])


@pytest.mark.parametrize("offset", [(3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0), (1e7, 0.0)])
def test_triangles_off_the_screen_draw_nothing(backend, offset):
    assert not rasterize(LEFT_HALF[None] + torch.tensor([*offset, 0.0]), SQUARE, 16, backend).mask.any()


@pytest.mark.parametrize(
    "third",
    [(0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (float("nan"), 1.0, 0.0), (0.0, 1.0, float("nan")), (0.0, float("inf"), 0.0)],
)
def test_triangles_without_area_or_with_a_corner_that_is_not_finite_are_skipped(backend, third):
    points = torch.cat([torch.tensor([[-0.5, -0.5, 1.0], [0.0, 0.0, 1.0], third]), LEFT_HALF])[None]
    good = SQUARE + 3
    fragments = rasterize(points, torch.cat([torch.tensor([[0, 1, 2]]), good]), 16, backend)
    expected = rasterize(points[:, 3:], SQUARE, 16, backend)
    assert torch.equal(fragments.triangle, torch.where(expected.mask, expected.triangle + 1, -1))
    assert fragments.barycentric.isfinite().all()


def test_no_triangles_give_an_empty_picture(backend):
    fragments = rasterize(LEFT_HALF[None], torch.zeros(0, 3, dtype=torch.int64), 8, backend)
    assert not fragments.mask.any()


def test_a_batch_equals_its_pictures_one_by_one(backend):
    fields = [height_field(seed) for seed in range(3)]
    triangles = fields[0][1]
    points = torch.cat([p for p, _ in fields])
    batch = rasterize(points, triangles, 48, backend)
    singles = [rasterize(p[None], triangles, 48, backend) for p in points]
    assert torch.equal(batch.triangle, torch.cat([s.triangle for s in singles]))
    assert torch.equal(batch.barycentric, torch.cat([s.barycentric for s in singles]))
    attributes = torch.randn(len(points), points.shape[1], 5, generator=torch.Generator().manual_seed(0))
    together = interpolate(attributes, batch, triangles)
    assert torch.equal(together[1:2], interpolate(attributes[1], singles[1], triangles))


# Independent oracle


@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("mesh", [*(f"height field {seed}" for seed in range(3)), "sphere"])
def test_pixels_see_what_a_ray_through_their_centre_hits(backend, mesh, size):
    points, triangles = sphere() if mesh == "sphere" else height_field(int(mesh.split()[-1]))
    hit, hit_depth = trace(points, triangles, size)
    fragments = rasterize(points, triangles, size, backend)
    differ = hit != fragments.triangle[0]
    # float32 rays through an edge may go to either side: rare, and nowhere else.
    assert differ.float().mean() < 0.005
    assert (pixels_from_edge(points, fragments, triangles)[0][differ & fragments.mask[0]] < 1e-2).all()
    same = ~differ & fragments.mask[0]
    assert same.float().mean() > 0.2
    assert (depth_of(points, fragments, triangles)[0] - hit_depth)[same].abs().max() < 1e-4


def trace(points: torch.Tensor, triangles: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangle [H, W] (-1 where none) and z [H, W] that embree's rays along -z hit at the pixel centres."""
    scene_module = pytest.importorskip("embreex.rtcore_scene")
    from embreex.mesh_construction import TriangleMesh

    scene = scene_module.EmbreeScene()
    TriangleMesh(scene, points[0].numpy(), triangles.int().numpy())
    right, up = pixel_centres(size)
    start = torch.stack([right, -up, torch.full_like(up, 3.0)], -1).view(-1, 3)
    hits = scene.run(start.numpy(), np.float32([[0, 0, -1]]).repeat(len(start), 0), output=True)
    return torch.from_numpy(hits["primID"]).long().view(size, size), 3 - torch.from_numpy(hits["tfar"]).view(size, size)


# Back ends


@pytest.mark.parametrize("seed", range(20))
def test_numba_and_torch_return_the_same_bits(seed):
    random = np.random.default_rng(seed)
    points = random.uniform(-1.5, 1.5, (2, 40, 3)).astype(np.float32)
    points[:, :8] = np.round(points[:, :8] * 8) / 8  # edges through pixel centres
    points[:, 8:16] = points[:, :8]  # triangles in the same place
    points[1, 20] = np.nan
    points, triangles = torch.from_numpy(points), torch.from_numpy(random.integers(0, 40, (60, 3)))
    a, b = (rasterize(points, triangles, (24, 32), name) for name in ("numba", "torch"))
    assert torch.equal(a.triangle, b.triangle) and torch.equal(a.barycentric, b.barycentric)


def test_the_torch_back_end_does_not_depend_on_how_its_work_is_cut_into_chunks(monkeypatch):
    points, triangles = height_field(5)
    triangles = torch.cat([triangles, triangles])  # each equally near to one of another chunk
    whole = rasterize(points, triangles, 32, "torch")
    monkeypatch.setattr("invertavatar.raster.rasterizer_torch.CHUNK", 333)
    chunked = rasterize(points, triangles, 32, "torch")
    assert torch.equal(whole.triangle, chunked.triangle) and torch.equal(whole.barycentric, chunked.barycentric)


def test_the_fastest_back_end_is_chosen_and_a_wrong_one_is_explained():
    assert available_backends("cpu") == ("numba", "torch")
    assert available_backends("mps") == ("torch",)
    assert torch.equal(rasterize(LEFT_HALF[None], SQUARE, 8).triangle, rasterize(LEFT_HALF[None], SQUARE, 8).triangle)
    with pytest.raises(ValueError, match='no rasterizer back end "vulkan"; choose one of auto, numba'):
        rasterize(LEFT_HALF[None], SQUARE, 8, "vulkan")
    with pytest.raises(ValueError, match='"nvdiffrast" cannot be used with tensors on cpu'):
        rasterize(LEFT_HALF[None], SQUARE, 8, "nvdiffrast")


def test_other_threads_run_while_numba_draws():
    points, triangles = LEFT_HALF[None], SQUARE.repeat(400, 1)
    rasterize(points, SQUARE, 8, "numba")  # compiled
    drawing = threading.Thread(target=rasterize, args=(points, triangles, 512, "numba"))
    drawing.start()
    naps = 0
    while drawing.is_alive():
        time.sleep(0.001)
        naps += 1
    assert naps > 10


def test_the_numba_loop_compiles_where_nothing_can_be_cached(monkeypatch):
    from numba.core.caching import CacheImpl

    from invertavatar.raster.rasterizer_numba import compiled

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert compiled(lambda x: x + 1)(1) == 2


class DocumentedNvdiffrast:
    """A slow stand-in that follows nvdiffrast's documentation: OpenGL clip space (y up, smaller z nearer, cut at
    [-1, 1]), the bottom row first, channels u, v, z / w and the triangle number counted from one."""

    RasterizeCudaContext = staticmethod(lambda device: "context")
    ops = SimpleNamespace(_get_plugin=lambda: None)

    @staticmethod
    def rasterize(context, pos, tri, resolution, grad_db):
        assert pos.dtype == torch.float32 and tri.dtype == torch.int32 and pos.is_contiguous()
        height, width = resolution
        out = torch.zeros(len(pos), height, width, 4)
        for b, row, column in np.ndindex(len(pos), height, width):
            centre = torch.tensor([(column + 0.5) * 2 / width - 1, (row + 0.5) * 2 / height - 1, 1.0])
            for f, corners in enumerate(pos[b, tri.long()]):
                plane = torch.cat([corners[:, :2].T, torch.ones(1, 3)])
                if plane.det().abs() < 1e-9:
                    continue
                weights = plane.inverse() @ centre
                z = weights @ corners[:, 2]
                nearer = out[b, row, column, 3] == 0 or z < out[b, row, column, 2]
                if (weights >= 0).all() and z.abs() <= 1 and nearer:
                    out[b, row, column] = torch.tensor([weights[0], weights[1], z, f + 1])
        return out, None


@pytest.fixture
def nvdiffrast(monkeypatch):
    """The stand-in, installed."""
    monkeypatch.setitem(sys.modules, "nvdiffrast", SimpleNamespace(torch=DocumentedNvdiffrast))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", DocumentedNvdiffrast)
    monkeypatch.setattr(rasterizer_nvdiffrast, "_contexts", rasterizer_nvdiffrast._Contexts())
    rasterizer_nvdiffrast.loaded.cache_clear()
    yield DocumentedNvdiffrast
    rasterizer_nvdiffrast.loaded.cache_clear()


def test_the_nvdiffrast_map_gives_our_picture_under_its_documented_conventions(monkeypatch, nvdiffrast):
    monkeypatch.setattr("invertavatar.raster.rasterizer.available_backends", lambda device: ("nvdiffrast", "torch"))
    points = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(4)) * torch.tensor([0.8, 0.8, 30.0])
    points[1, 4] = torch.nan
    triangles = torch.arange(9).view(3, 3)
    theirs = rasterize(points, triangles, (9, 12), "nvdiffrast")
    ours = rasterize(points, triangles, (9, 12), "torch")
    assert ours.triangle[0].unique().tolist() == [-1, 0, 1, 2] and ours.triangle[1].unique().tolist() == [-1, 0, 2]
    assert torch.equal(theirs.triangle, ours.triangle)
    assert torch.allclose(theirs.barycentric, ours.barycentric, atol=1e-4)


@pytest.mark.skipif(not HAS_NVDIFFRAST, reason="needs an NVIDIA GPU with CUDA and the nvdiffrast package")
@pytest.mark.parametrize("size", [64, 97])
def test_nvdiffrast_draws_the_same_picture_up_to_its_sixteenth_of_a_pixel(size):
    points = torch.cat([height_field(seed)[0] for seed in range(3)])
    triangles = height_field(0)[1]
    points[2, 7] = torch.nan
    theirs = rasterize(points.cuda(), triangles.cuda(), size, "nvdiffrast")
    theirs = Fragments(theirs.triangle.cpu(), theirs.barycentric.cpu())
    ours = rasterize(points, triangles, size, "torch")
    differ = theirs.triangle != ours.triangle
    near_edge = torch.minimum(*(pixels_from_edge(points, f, triangles) for f in (ours, theirs))) < 0.15
    assert differ.float().mean() < 0.1 and near_edge[differ].all()
    same = ~differ & ours.mask
    assert (theirs.barycentric - ours.barycentric)[same].abs().max() < 1e-3


def test_nvdiffrast_is_never_tried_unasked(monkeypatch):
    monkeypatch.setattr(rasterizer_nvdiffrast, "is_installed", lambda: True)
    monkeypatch.setattr(rasterizer_nvdiffrast, "loaded", None)  # would fail
    assert available_backends("cuda") == ("torch", "nvdiffrast") and not rasterizer_nvdiffrast.is_asked_for()
    monkeypatch.setenv("INVERTAVATAR_RASTERIZER", "nvdiffrast")
    assert rasterizer_nvdiffrast.is_asked_for()
    assert rasterize(LEFT_HALF[None], SQUARE, 8).mask.any()  # on a CPU there is nothing to ask for
    monkeypatch.setenv("INVERTAVATAR_RASTERIZER", "vulkan")
    with pytest.raises(InvertAvatarError, match="may be nvdiffrast or nothing, not vulkan"):
        rasterizer_nvdiffrast.is_asked_for()


def test_nvdiffrast_asked_for_in_vain_is_one_sentence(monkeypatch, nvdiffrast):
    def fails():
        raise RuntimeError("Error building extension 'nvdiffrast_plugin'\n[1/15] nvcc ...")

    monkeypatch.setattr(nvdiffrast, "ops", SimpleNamespace(_get_plugin=fails))
    with pytest.raises(InvertAvatarError, match=r"here \(Error building extension 'nvdiffrast_plugin'\). Inst"):
        rasterizer_nvdiffrast.loaded()


def test_kernels_that_torch_compiled_are_found_where_it_does_not_enter_them_among_the_modules(monkeypatch, nvdiffrast):
    # What torch 2.9 and later does, whose pybind11 initialises a module in several phases.
    name, kernels = "nvdiffrast_plugin_0_3_3_1_torch2_11_0_cu130", SimpleNamespace()
    monkeypatch.setattr(nvdiffrast, "ops", SimpleNamespace(_get_plugin=lambda: importlib.import_module(name)))
    monkeypatch.setattr(cpp_extension, "_get_build_directory", lambda name, verbose: f"built/{name}")
    monkeypatch.setattr(
        cpp_extension,
        "_import_module_from_library",
        lambda *asked: {(name, f"built/{name}", True): kernels}[asked],
    )
    assert rasterizer_nvdiffrast.loaded() is nvdiffrast
    assert sys.modules.pop(name) is kernels


# Fixed sizes


@pytest.mark.parametrize("size", [16, 64])
def test_with_room_enough_fixed_sizes_draw_the_same_bits_and_without_they_say_so(size):
    points, triangles = height_field(6)
    free = rasterize(points, triangles, size, "torch")
    with fixed_sizes(FixedSizes()) as sizes:
        fixed = rasterize(points, triangles, size)
    assert torch.equal(fixed.triangle, free.triangle) and torch.equal(fixed.barycentric, free.barycentric)
    assert not sizes.short()
    with fixed_sizes(FixedSizes(scale=0)) as sizes:
        assert not rasterize(points, triangles, size).mask.any()
    assert sizes.short()


# Interpolation


def test_interpolating_positions_gives_back_the_pixel_centres(backend):
    points, triangles = height_field(1)
    fragments = rasterize(points, triangles, 64, backend)
    image = interpolate(points, fragments, triangles)
    right, up = pixel_centres(64)
    assert image.shape == (1, 3, 64, 64)
    # Corners are rounded to 1 / 65536 of a pixel; a thin triangle may stretch that a little.
    assert (image[0, 0] - right)[fragments.mask[0]].abs().max() < 1e-5
    assert (image[0, 1] + up)[fragments.mask[0]].abs().max() < 1e-5
    assert (image.movedim(1, -1)[~fragments.mask] == 0).all()


def test_empty_pixels_stay_zero_when_an_attribute_is_not_a_number():
    fragments = rasterize(LEFT_HALF[None], SQUARE, 8)
    image = interpolate(torch.full((4, 2), torch.nan), fragments, SQUARE)
    assert (image[0, :, :, 4:] == 0).all() and image[0, :, :, :4].isnan().all()


def test_the_gradient_of_an_attribute_is_the_weight_it_has_in_the_picture():
    fragments = rasterize(LEFT_HALF[None], SQUARE, 8)
    attributes = torch.randn(1, 4, 2, requires_grad=True, generator=torch.Generator().manual_seed(0))
    interpolate(attributes, fragments, SQUARE)[:, 1].sum().backward()
    corners = SQUARE[fragments.triangle[fragments.mask]]
    weights = torch.zeros(4).index_add(0, corners.flatten(), fragments.barycentric[fragments.mask].flatten())
    assert torch.allclose(attributes.grad[0, :, 1], weights) and (attributes.grad[0, :, 0] == 0).all()
    assert torch.isclose(weights.sum(), fragments.mask.sum().float())


def test_positions_that_ask_for_a_gradient_are_drawn_without_one(backend):
    points = LEFT_HALF[None].clone().requires_grad_()
    fragments = rasterize(points, SQUARE, 8, backend)
    assert not fragments.barycentric.requires_grad
    assert interpolate(points, fragments, SQUARE).requires_grad


def test_corners_lie_within_a_half_step_of_the_grid():
    from invertavatar.raster.fixed_point import snap_corners

    points = torch.rand(1, 30, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    triangles = torch.arange(30).view(10, 3)
    corners, depths = snap_corners(points, triangles, 128, 256)
    exact = (points[0, triangles, :2].double() + 1) / 2 * torch.tensor([256, 128]) - 0.5  # in pixels
    assert (corners[0] / SUBPIXELS - exact).abs().max() <= 0.5001 / SUBPIXELS
    assert torch.equal(depths, points[:, triangles, 2])
