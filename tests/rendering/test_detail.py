"""Full-resolution detail: what is looked up for each output pixel, and which part of it is fine."""

import math

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres, project, rotation_from_angles
from invertavatar.rendering.detail import fine_band, stretching, surface_colour
from invertavatar.rendering.volume_renderer import Rendering
from tests.landmarks import mean_landmarks

SIZE, SMALL = 256, 64
FACE_COLOUR, ELSEWHERE = -0.5, 0.5


def flat_head(depth=0.0):
    """A rendering of a plane that fills the picture at one depth."""
    opaque = torch.ones(1, 1, SMALL, SMALL)
    return Rendering(torch.zeros(1, 3, SMALL, SMALL), opaque, depth * opaque)


def observed(texture=FACE_COLOUR, canonical=ELSEWHERE, size=128, seen=1.0):
    """The texture, one photo in the frontal plane and its share; of constant colour, or as given."""

    def picture(colour):
        return colour if isinstance(colour, torch.Tensor) else torch.full((1, 3, size, size), float(colour))

    view = torch.cat([picture(canonical), torch.ones(1, 2, size, size)], 1)
    face = torch.cat([picture(texture), torch.full((1, 1, size, size), seen)], 1)
    return face, view[:, None], torch.ones(1, 1)


# The fine band


def test_the_fine_band_of_one_colour_is_zero():
    colour, opacity = torch.full((1, 3, SIZE, SIZE), 0.37), torch.rand(1, 1, SIZE, SIZE)
    assert fine_band(colour, opacity, SMALL).abs().max() < 1e-5


def test_the_fine_band_of_a_picture_that_is_smooth_at_the_rendered_size_is_nearly_zero():
    right, up = pixel_centres(SIZE)
    colour = torch.stack([torch.sin(3 * right), torch.cos(2 * up), right * up])[None]
    band = fine_band(colour, torch.ones(1, 1, SIZE, SIZE), SMALL)
    assert band[..., 4:-4, 4:-4].abs().max() < 0.005


def test_the_fine_band_keeps_lines_of_one_pixel_whole():
    lines = torch.zeros(1, 3, SIZE, SIZE)
    lines[..., ::2] = 1
    band = fine_band(lines, torch.ones(1, 1, SIZE, SIZE), SMALL)
    torch.testing.assert_close(band, lines - 0.5, atol=1e-5, rtol=0)


def test_colours_beside_the_head_do_not_leak_into_the_fine_band():
    opacity = torch.zeros(1, 1, SIZE, SIZE)
    opacity[..., : SIZE // 2 + 1] = 1  # a silhouette in the middle of a rendered pixel
    colour = torch.where(opacity > 0, 0.3, -1.0).expand(-1, 3, -1, -1)
    assert fine_band(colour, opacity, SMALL).abs().max() < 0.01


# Stretching


def test_seen_from_the_front_a_pixel_covers_as_much_of_the_canonical_plane():
    right, up = pixel_centres(SMALL)
    grid = torch.stack([right, -up])[None]
    torch.testing.assert_close(stretching(grid)[..., 2:-2, 2:-2], torch.ones(1, 1, SMALL - 4, SMALL - 4))


def test_where_the_canonical_plane_is_stretched_to_twice_its_width_a_pixel_covers_half_as_much_of_it():
    right, up = pixel_centres(SMALL)
    grid = torch.stack([0.5 * right, -up])[None]
    torch.testing.assert_close(stretching(grid)[..., 2:-2, 2:-2], torch.full((1, 1, SMALL - 4, SMALL - 4), 0.5))


def test_a_pixel_on_two_surfaces_covers_nothing_and_so_does_a_fold():
    right, up = pixel_centres(SMALL)
    torn = torch.stack([right + 0.5 * (right > 0), -up])[None]
    assert stretching(torn)[..., 2:-2, 31:33].max() < 0.4
    folded = torch.stack([-right, -up])[None]
    assert stretching(folded).max() == 0


# The surface's colour


def surface(head_model, maps, rotation=None, rendering=None, size=SIZE, **camera):
    closed = head_model.chart.close(mean_landmarks(head_model)[None], mean_landmarks(head_model))
    rotation = torch.eye(3)[None] if rotation is None else rotation
    return surface_colour(*maps, closed, rendering or flat_head(), rotation, head_model.chart, size, **camera)


def test_the_face_takes_its_colour_from_the_texture_and_the_rest_from_the_canonical_plane(head_model):
    colour, trust, _ = surface(head_model, observed())
    middle, corner = (0, slice(None), 140, 128), (0, slice(None), 5, 5)
    torch.testing.assert_close(colour[middle], torch.full((3,), FACE_COLOUR))
    torch.testing.assert_close(colour[corner], torch.full((3,), ELSEWHERE))
    assert trust.shape == (1, 1, SIZE, SIZE) and trust.min() >= 0 and trust.max() <= 1
    assert colour.min() >= FACE_COLOUR - 1e-5 and colour.max() <= ELSEWHERE + 1e-5


def test_from_the_front_the_canonical_plane_appears_as_it_is(head_model):
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(picture, size=(128, 128), mode="bicubic", align_corners=False)
    colour, *_ = surface(head_model, observed(canonical=picture), size=128)
    border = torch.ones(1, 1, 128, 128)
    border[..., 20:108, 20:108] = 0  # outside of the face
    border[..., :2] = border[..., -2:] = border[..., :2, :] = border[..., -2:, :] = 0
    assert ((colour - picture) * border).abs().max() < 0.01


@pytest.mark.parametrize("camera", [{}, {"zoom": 1.5}, {"field_of_view": 20.0}])
def test_a_surface_point_is_looked_up_where_the_rendered_depth_puts_it(head_model, camera):
    right, _ = pixel_centres(128)
    yaw, depth = 25.0, 0.2
    colour, *_ = surface(
        head_model,
        observed(canonical=right.expand(1, 3, -1, -1)),
        rotation_from_angles(yaw)[None],
        flat_head(depth),
        **camera,
    )
    column = 20
    x = (column + 0.5) / 128 - 1
    slope = 1 - depth * math.tan(math.radians(camera.get("field_of_view", 0.0)) / 2)
    x = x / camera.get("zoom", 1.0) * slope  # in camera space; X_head = R^T X_camera
    expected = math.cos(math.radians(yaw)) * x - math.sin(math.radians(yaw)) * depth
    assert colour[0, 0, 20, column].item() == pytest.approx(expected, abs=0.01)


def test_one_set_of_maps_serves_a_whole_batch_of_frames(head_model):
    closed = head_model.chart.close(mean_landmarks(head_model)[None], mean_landmarks(head_model)).expand(2, -1, -1)
    rotation = rotation_from_angles(torch.tensor([0.0, 30.0]))
    rendering = Rendering(*(x.expand(2, -1, -1, -1) for x in flat_head()))
    texture, views, _ = observed()
    shown = texture, views, torch.ones(2, 1)
    colour, *_ = surface_colour(*shown, closed, rendering, rotation, head_model.chart, 64)
    alone, *_ = surface_colour(*observed(), closed[1:], flat_head(), rotation[1:], head_model.chart, 64)
    torch.testing.assert_close(colour[1:], alone)


def test_the_fine_structure_of_the_face_is_trusted_and_that_of_a_surface_seen_edge_on_is_not(head_model):
    _, frontal, _ = surface(head_model, observed())
    assert frontal[0, 0, 128, 128] == 1
    assert frontal[0, 0, 5, 5] > 0.95
    # A head turned by 80 degrees shows the canonical plane almost edge-on.
    _, turned, _ = surface(head_model, observed(), rotation_from_angles(80.0)[None])
    assert turned[0, 0, 5, 5] < 0.05


def test_nothing_behind_the_head_has_a_fine_structure(head_model):
    _, trust, _ = surface(head_model, observed(), rendering=flat_head(-0.7))
    assert trust[0, 0, 5, 5] == 0


def test_only_skin_of_the_face_that_photos_show_is_seen(head_model):
    *_, frontal = surface(head_model, observed())
    assert frontal[0, 0, 140, 128] > 0.99  # the nose
    assert frontal[0, 0, 5, 5] == 0  # beside the face
    lids = project(mean_landmarks(head_model)[None], torch.eye(3)[None])[0, [468, 473]]
    for x, y in ((lids[:, :2] + 1) * SIZE / 2).round().int().tolist():
        assert frontal[0, 0, y, x] == 0  # the irises are the network's
    *_, hidden = surface(head_model, observed(seen=0.0))
    assert hidden.max() == 0
    *_, turned = surface(head_model, observed(), rotation_from_angles(60.0)[None])
    assert turned.sum() < 0.8 * frontal.sum()
