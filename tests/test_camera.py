"""Each space and flip of the package pinned by a known answer."""

import math

import pytest
import torch

from invertavatar.camera import (
    EG3D_FIELD_OF_VIEW,
    Camera,
    angles_from_rotation,
    inverse,
    pixel_centres,
    plane_coordinates,
    project,
    rays,
    rotation_from_angles,
)

RIGHT, UP, OUT = torch.eye(3)  # the axes of head space: to the image's right, up, out of the face
TURNED = rotation_from_angles(torch.tensor([35.0, -20.0]), torch.tensor([10.0, -30.0]), torch.tensor([-15.0, 5.0]))


def close(a, b, tolerance=1e-5):
    return torch.allclose(torch.as_tensor(a), torch.as_tensor(b), atol=tolerance)


# Rotations


def test_no_angles_give_the_identity():
    assert torch.equal(rotation_from_angles(0.0), torch.eye(3))


def test_a_yaw_of_90_degrees_turns_the_face_to_the_images_right():
    rotation = rotation_from_angles(90.0)
    assert close(rotation @ OUT, RIGHT)
    assert close(rotation @ RIGHT, -OUT)
    assert close(rotation @ UP, UP)


def test_a_pitch_of_90_degrees_lifts_the_face():
    rotation = rotation_from_angles(0.0, 90.0)
    assert close(rotation @ OUT, UP)
    assert close(rotation @ UP, -OUT)


def test_a_roll_of_90_degrees_tilts_the_top_of_the_head_to_the_images_right():
    rotation = rotation_from_angles(0.0, 0.0, 90.0)
    assert close(rotation @ UP, RIGHT)
    assert close(rotation @ OUT, OUT)


def test_yaw_is_applied_first_then_pitch_then_roll():
    one_by_one = rotation_from_angles(0, 0, 30) @ rotation_from_angles(0, 20) @ rotation_from_angles(10)
    assert close(rotation_from_angles(10, 20, 30), one_by_one)


def test_rotations_are_orthogonal_and_do_not_mirror():
    assert close(TURNED @ TURNED.mT, torch.eye(3).expand(2, 3, 3))
    assert close(torch.linalg.det(TURNED), torch.ones(2))


def test_angles_survive_the_round_trip():
    angles = torch.cartesian_prod(*(torch.tensor([-80.0, -25.0, 0.0, 40.0, 75.0]),) * 3)  # [125, 3]
    assert close(angles_from_rotation(rotation_from_angles(*angles.unbind(-1))), angles, 1e-3)
    assert close(angles_from_rotation(rotation_from_angles(170.0, 10.0, -160.0)), [170.0, 10.0, -160.0], 1e-3)


def test_an_inverse_undoes_any_matrix_and_not_rotations_alone():
    matrices = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(3)
    assert close(inverse(matrices) @ matrices, torch.eye(3).expand(4, 2, 3, 3))


def test_angles_may_mix_numbers_and_tensors_of_any_device():
    assert rotation_from_angles(torch.zeros(2, 4), 10.0, torch.zeros(4)).shape == (2, 4, 3, 3)
    assert rotation_from_angles(0.0, torch.zeros(2, device="meta")).device.type == "meta"


# Image


def test_project_puts_x_right_y_down_and_larger_depth_nearer():
    point = torch.tensor([[[0.1, 0.2, 0.3]]])
    assert close(project(point, torch.eye(3)[None]), [[[0.1, -0.2, 0.3]]])
    assert close(project(point, rotation_from_angles(90.0)[None]), [[[0.3, -0.2, -0.1]]])


def test_a_camera_is_a_weak_perspective_one_unless_told_otherwise():
    points = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(Camera(TURNED).project(points), project(points, TURNED))
    told = Camera(TURNED, field_of_view=30.0, zoom=1.5)
    assert torch.equal(told.project(points), project(points, TURNED, 30.0, 1.5))


def test_a_camera_with_a_field_of_view_sees_near_points_larger_and_zoom_enlarges_all():
    front = torch.eye(3)[None]
    points = torch.tensor([[[0.2, 0.0, 0.5], [0.2, 0.0, 0.0], [0.2, 0.0, -0.5]]])
    near, middle, far = Camera(front, 40.0).project(points)[0, :, 0]
    assert near > middle > far and close(middle, 0.2)
    assert close(near, 0.2 / (1 - 0.5 * math.tan(math.radians(20.0))))
    twice = Camera(front, 40.0, 2.0).project(points)
    assert close(twice[..., :2], 2 * Camera(front, 40.0).project(points)[..., :2])
    assert close(twice[..., 2], points[..., 2])  # depth is no matter of zoom


def test_points_of_a_ray_are_seen_in_its_pixel_by_the_camera_of_the_ray():
    camera = Camera(TURNED, 25.0, 1.3)
    origin, direction = rays(camera.rotation, 4, camera.field_of_view, camera.zoom)
    right, up = pixel_centres(4)
    for t in (-0.8, 0.0, 0.6):
        x, y, depth = camera.project(origin + t * direction).unbind(-1)
        assert close(x, right.flatten().expand(2, -1)) and close(y, -up.flatten().expand(2, -1))
        assert close(depth, torch.full_like(depth, t))


def test_pixel_centres_lie_half_a_pixel_inside_the_border_with_the_first_row_on_top():
    right, up = pixel_centres(4)
    assert right[0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert up[:, 0].tolist() == [0.75, 0.25, -0.25, -0.75]


def test_pixel_centres_agree_with_torchs_sampling_grid():
    right, up = pixel_centres(5)
    picture = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    grid = torch.stack([right, -up], -1)[None]
    assert close(torch.nn.functional.grid_sample(picture, grid, align_corners=False), picture)


# Rays


def test_all_points_of_a_weak_perspective_ray_project_to_its_pixel():
    origin, direction = rays(TURNED, 6)
    right, up = pixel_centres(6)
    for t in (-1.0, 0.0, 0.7):
        x, y, depth = project(origin + t * direction, TURNED).unbind(-1)
        assert close(x, right.flatten().expand(2, -1)) and close(y, -up.flatten().expand(2, -1))
        assert close(depth, torch.full_like(depth, t))


def test_a_field_of_view_leaves_the_plane_through_the_heads_centre_where_it_was():
    weak, _ = rays(TURNED, 6)
    perspective, direction = rays(TURNED, 6, field_of_view=EG3D_FIELD_OF_VIEW)
    assert close(weak, perspective)
    _, _, depth = project(perspective + 0.5 * direction, TURNED).unbind(-1)
    assert close(depth, torch.full_like(depth, 0.5))  # t stays the camera's z


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_rays_of_a_field_of_view_meet_in_one_eye_in_front_of_the_face(zoom):
    origin, direction = rays(rotation_from_angles(90.0)[None], 6, field_of_view=30.0, zoom=zoom)
    distance = 1 / math.tan(math.radians(15.0))
    # The face looks to the image's right, so the eye stands on head space's negative x axis.
    assert close(origin + distance * direction, torch.tensor([-distance, 0.0, 0.0]).expand(1, 36, 3))


def test_the_eg3d_camera_sees_13_degrees():
    assert math.isclose(EG3D_FIELD_OF_VIEW, 13.37, abs_tol=0.01)


def test_zoom_two_shows_the_middle_half_of_the_picture():
    plain, _ = rays(TURNED, 8)
    zoomed, _ = rays(TURNED, 8, zoom=2.0)
    assert close(zoomed, plain / 2)


# Tri-plane


def test_the_three_planes_are_seen_from_the_front_from_above_and_from_the_side():
    point = torch.tensor([[[0.1, 0.2, 0.3]]])  # x, y, z of head space
    frontal, horizontal, sagittal = plane_coordinates(point)[0, :, 0].tolist()
    assert close(frontal, [0.1, -0.2]) and close(horizontal, [0.1, -0.3]) and close(sagittal, [0.3, -0.2])


def test_the_frontal_plane_is_the_picture_of_a_head_that_is_not_turned():
    points = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert close(plane_coordinates(points)[:, 0], project(points, torch.eye(3).expand(2, 3, 3))[..., :2])


# A picture that is moved


@pytest.mark.parametrize("field_of_view", [0.0, EG3D_FIELD_OF_VIEW])
def test_rays_of_a_moved_picture_go_through_what_projects_into_their_pixels(field_of_view):
    shift = torch.tensor([[0.25, -0.125], [-0.5, 0.375]])
    camera = Camera(TURNED, field_of_view, 0.8, shift)
    origin, direction = rays(camera.rotation, 8, *camera[1:])
    right, up = pixel_centres(8)
    seen = camera.project(origin + 0.3 * direction)
    assert close(seen[..., 0], right.flatten(), 1e-4) and close(seen[..., 1], -up.flatten(), 1e-4)
    unmoved = camera._replace(shift=None).project(origin)
    assert close(camera.project(origin)[..., :2] - unmoved[..., :2], shift[:, None].expand(-1, 64, -1))
