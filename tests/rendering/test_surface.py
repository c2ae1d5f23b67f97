"""What pixels see of a known head, from all sides."""

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres
from invertavatar.head.head_model import LABELS
from invertavatar.head.rest_pose import CHIN_HEIGHT
from invertavatar.rendering.surface import GROUPS, HeadSurface, head_surface, vertex_groups, vertex_normals
from tests.heads import camera_at, mean_head
from tests.landmarks import mean_landmarks

SIZE, YAWS = 128, (0.0, 90.0, -40.0, 180.0)
FRONT, SIDE, _, BEHIND = range(4)
NOSE, UPPER_LIP, RIGHT_IRIS, RIGHT_TEMPLE = 4, 0, 468, 234  # of the landmarks


@pytest.fixture(scope="module")
def seen(head_model) -> HeadSurface:
    """The mean head from four sides."""
    camera = camera_at(*YAWS)
    return head_surface(head_model, mean_head(head_model, camera), camera, SIZE)


def group(name) -> int:
    return next(k for k, names in enumerate(GROUPS) if name in names)


def pixel(head_model, landmark, camera) -> tuple[int, int]:
    """(row, column) of a landmark of the mean person."""
    x, y, _ = camera.project(mean_landmarks(head_model)[None])[0, landmark].tolist()
    return int((y + 1) / 2 * SIZE), int((x + 1) / 2 * SIZE)


def test_the_head_is_where_its_landmarks_are_and_leaves_the_picture_s_upper_corners_free(head_model, seen):
    for k, (yaw, landmark) in enumerate(zip(YAWS, (NOSE, RIGHT_TEMPLE, NOSE, NOSE), strict=True)):
        assert seen.mask[(k, 0, *pixel(head_model, landmark, camera_at(yaw)))] == 1
    assert seen.mask[:, 0, :4, -4:].max() == 0
    assert seen.mask[:, 0, :4, :4].amax((1, 2)).tolist() == [0, 1, 0, 0]  # from the side the skull fills the left one


def test_each_pixel_sees_the_place_that_projects_to_it(seen):
    place = camera_at(*YAWS).project(seen.rest_position.flatten(2).mT)
    right, up = pixel_centres(SIZE)
    expected = torch.stack([right.expand_as(seen.mask), -up.expand_as(seen.mask), seen.depth], -1).view(4, -1, 3)
    hit = seen.mask.view(4, -1) > 0
    torch.testing.assert_close(place[hit], expected[hit], atol=1e-5, rtol=0)


@pytest.mark.parametrize("camera", [{"zoom": 1.4}, {"field_of_view": 20.0}])
def test_zoom_and_perspective_are_the_camera_s(head_model, camera):
    camera = camera_at(20.0, **camera)
    surface = head_surface(head_model, mean_head(head_model, camera), camera, SIZE)
    right, up = pixel_centres(SIZE)
    place = camera.project(surface.rest_position.flatten(2).mT).view(SIZE, SIZE, 3)
    away = torch.maximum((place[..., 0] - right).abs(), (place[..., 1] + up).abs())
    assert away[surface.mask[0, 0] > 0].max() < 2 / SIZE  # within a triangle perspective is not minded


def test_normals_have_length_one_and_face_the_viewer(seen):
    torso_or_neck = seen.groups[:, [group("torso"), group("neck")]].sum(1) > 0  # which is open at its lower end
    for k in range(4):
        normal = seen.normal[k][:, (seen.mask[k, 0] > 0) & ~torso_or_neck[k]]
        torch.testing.assert_close(normal.norm(dim=0), torch.ones(normal.shape[1]))
        assert (normal[2] > 0).float().mean() > 0.99
    assert seen.normal[seen.mask.expand(-1, 3, -1, -1) == 0].abs().max() == 0


def test_normals_stand_upright_on_what_the_depths_show(seen):
    depth = F.pad(seen.depth[:, 0], (1, 1, 1, 1))
    slope = SIZE / 4  # two pixels are 4 / SIZE units
    by_right, by_up = (depth[:, 1:-1, 2:] - depth[:, 1:-1, :-2]), (depth[:, :-2, 1:-1] - depth[:, 2:, 1:-1])
    upright = F.normalize(torch.stack([-by_right * slope, -by_up * slope, torch.ones_like(by_up)], 1), dim=1)
    inner = -F.max_pool2d(-seen.mask, 5, 1, 2)[:, 0] > 0
    cosine = (upright * seen.normal).sum(1)
    for k in (FRONT, SIDE, 2):
        assert cosine[k][inner[k]].median() > 0.99 and (cosine[k][inner[k]] > 0.9).float().mean() > 0.93


def test_groups_say_what_a_pixel_sees(head_model, seen):
    def at(landmark):
        return FRONT, slice(None), *pixel(head_model, landmark, camera_at(0.0))

    assert seen.groups[at(RIGHT_IRIS)][group("eye")] == 1
    assert seen.groups[at(NOSE)].sum() == 0
    assert seen.groups[at(UPPER_LIP)][group("lips")] > 0.5
    assert seen.groups[FRONT, :, -1, SIZE // 2][[group("neck"), group("torso")]].sum() > 0.99
    fraction = seen.groups.sum((2, 3)) / seen.mask.sum((2, 3))
    assert fraction[BEHIND, group("scalp")] > 2 * fraction[FRONT, group("scalp")] > 0.2
    assert fraction[SIDE, group("ear")] > 1.5 * fraction[FRONT, group("ear")] > 0
    assert fraction[BEHIND, [group("eye"), group("lips"), group("teeth")]].max() == 0
    assert seen.groups.min() >= 0 and seen.groups.sum(1).max() <= 1 + 1e-5


def test_the_groups_of_a_vertex_are_those_of_its_triangles(head_model):
    groups = vertex_groups(head_model)
    for k, names in enumerate(GROUPS):
        label = torch.isin(head_model.label, torch.tensor([LABELS.index(name) for name in names]))
        inside, outside = (head_model.triangles[chosen].unique() for chosen in (label, ~label))
        assert (groups[inside, k] > 0).all() and len(inside) > 5
        only = torch.ones(len(groups), dtype=torch.bool)
        only[outside] = False
        assert torch.equal(groups[:, k] == 1, only)


def test_of_a_turned_head_only_neck_and_body_are_seen_elsewhere_than_at_rest(head_model):
    camera = camera_at(35.0)
    surface = head_surface(head_model, mean_head(head_model, camera, turned=True), camera, SIZE)
    straight = head_surface(head_model, mean_head(head_model, camera), camera, SIZE)
    right, up = pixel_centres(SIZE)
    x, y, _ = camera.project(surface.rest_position.flatten(2).mT).view(SIZE, SIZE, 3).unbind(-1)
    away = torch.maximum((x - right).abs(), (y + up).abs()) * surface.mask[0, 0]
    body = surface.groups[0, [group("neck"), group("torso")]].sum(0)
    # The nape is no neck yet and goes along a little.
    assert away[body == 0].quantile(0.99) < 0.02 < 0.05 < away[body > 0.9].median()
    face = (straight.rest_position[0, 1] > CHIN_HEIGHT) & (straight.groups[0].sum(0) == 0) & (straight.mask[0, 0] > 0)
    assert (surface.rest_position - straight.rest_position)[0, :, face].abs().quantile(0.99) < 0.02


def test_heads_of_a_batch_are_seen_as_each_alone(head_model, seen):
    for k, yaw in enumerate(YAWS):
        camera = camera_at(yaw)
        alone = head_surface(head_model, mean_head(head_model, camera), camera, SIZE)
        for one, together in zip(alone[1:], seen[1:], strict=True):
            torch.testing.assert_close(one[0], together[k], atol=1e-5, rtol=0)


def test_the_normals_of_a_ball_point_away_from_its_middle():
    ball = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    triangles = torch.tensor([[a, b, c] for a in (0, 1) for b in (2, 3) for c in (4, 5)])
    outward = torch.linalg.det(ball[triangles]) > 0
    triangles = torch.where(outward[:, None], triangles, triangles.flip(1))
    torch.testing.assert_close(vertex_normals(3 * ball[None], triangles), ball[None])
