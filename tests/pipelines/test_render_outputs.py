"""What the pipeline gives beside pictures: depth, alpha and meshes, and the options that save memory."""

import numpy as np
import pytest
import trimesh

from invertavatar.camera import rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from tests.tiny import tiny_networks


def test_depth_is_nearest_at_the_nose_and_nan_where_there_is_no_head(tiny_pipeline, tiny_avatar):
    pictures, depth = tiny_pipeline.render(
        tiny_avatar, height=128, background="transparent", output_type="np", return_depth=True
    )
    assert depth.dtype == np.float32
    assert depth.shape == pictures.shape[:3] == (1, 128, 128)
    np.testing.assert_array_equal(np.isnan(depth), pictures[..., 3] <= 0.5)
    nose = tiny_avatar.shape.landmarks[1] @ rotation_from_angles(0).T
    column, row = ((float(nose[0]) + 1) * 64, (1 - float(nose[1])) * 64)
    assert depth[0, int(row), int(column)] == pytest.approx(float(nose[2]), abs=0.1)
    assert np.nanmax(np.abs(depth)) < 1.1


def test_depth_comes_in_the_kind_that_was_asked_for(tiny_pipeline, tiny_avatar):
    views = {"yaw": [0, 20], "height": 64, "return_depth": True}
    _, tensor = tiny_pipeline.render(tiny_avatar, output_type="pt", **views)
    _, array = tiny_pipeline.render(tiny_avatar, output_type="pil", **views)
    assert tensor.shape == (2, 1, 64, 64)
    np.testing.assert_array_equal(tensor[:, 0].numpy(), array)


def test_asking_for_depth_leaves_the_pictures_as_they_are(tiny_pipeline, tiny_avatar):
    pictures, _ = tiny_pipeline.render(tiny_avatar, yaw=20, height=64, output_type="np", return_depth=True)
    np.testing.assert_array_equal(pictures, tiny_pipeline.render(tiny_avatar, yaw=20, height=64, output_type="np"))


def test_tiles_of_rays_give_the_same_pictures(head_model, portrait):
    pipe = InvertAvatarPipeline(**tiny_networks("paper"), head_model=head_model)  # which marches rays
    avatar = pipe.add_portrait(None, portrait("anna_1"))

    def rendered():
        return pipe.render(avatar, yaw=20, height=64, output_type="np")

    whole, seen, query = rendered(), [], pipe.generator.renderer.query
    pipe.enable_ray_tiling(100)
    pipe.generator.renderer.query = lambda planes, points: seen.append(points.shape[1]) or query(planes, points)
    tiled = rendered()
    del pipe.generator.renderer.query
    pipe.disable_ray_tiling()
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    assert max(seen) == 100 * 12  # 12 samples on a ray
    np.testing.assert_array_equal(rendered(), whole)


def test_a_tile_of_no_rays_is_refused(tiny_pipeline):
    with pytest.raises(InvertAvatarError, match="1 ray or more"):
        tiny_pipeline.enable_ray_tiling(0)


@pytest.fixture(scope="module")
def head(tiny_pipeline, tiny_avatar):
    return tiny_pipeline.extract_mesh(tiny_avatar, texture_size=512)


def test_the_front_of_the_mesh_is_the_rendered_surface(head, tiny_pipeline, tiny_avatar):
    surface = trimesh.Trimesh(head.vertices, head.triangles, process=False)
    _, depth = tiny_pipeline.render(
        tiny_avatar, expression={}, height=64, framing="crop", output_type="np", return_depth=True
    )
    errors = []
    for row, column in ((24, 24), (24, 40), (32, 32), (44, 32), (12, 32)):  # cheeks, nose, chin, forehead
        x, y = (column + 0.5) / 32 - 1, 1 - (row + 0.5) / 32
        hits, _, _ = surface.ray.intersects_location([[x, y, 2]], [[0, 0, -1]])
        errors.append(hits[:, 2].max() - depth[0, row, column])
    assert np.abs(errors).max() < 0.05, errors


def shown_at(head, landmark: np.ndarray) -> np.ndarray:
    """The texture at the vertex that is nearest to a place."""
    corner = (head.triangles == np.linalg.norm(head.vertices - landmark, axis=1).argmin()).argmax()
    u, v = head.uv[head.uv_triangles.ravel()[corner]] * len(head.texture)
    return head.texture[len(head.texture) - 1 - int(v), int(u), :3].astype(float)


def test_a_baked_avatar_shows_the_colours_of_the_front_view(tiny_pipeline, tiny_avatar):
    picture = tiny_pipeline.render(tiny_avatar, expression={}, height=256, framing="crop", output_type="np")[0] * 255
    drawn = tiny_pipeline.bake(tiny_avatar, texture_size=512).still(expression={}, size=256, framing="crop")
    for landmark in (151, 50, 280, 200):  # forehead, cheeks, chin
        x, y, _ = tiny_avatar.shape.landmarks[landmark].numpy()
        place = int((1 - y) * 128), int((x + 1) * 128)
        assert np.abs(drawn[place] - picture[place][:3]).max() < 25


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [({"texture_size": 300}, "texture size"), ({"expression": {"grin": 1}}, "expression axis grin")],
)
def test_a_mesh_that_cannot_be_is_refused_in_a_sentence(tiny_pipeline, tiny_avatar, arguments, phrase):
    with pytest.raises(InvertAvatarError, match=phrase):
        tiny_pipeline.extract_mesh(tiny_avatar, **arguments)


def test_a_perspective_model_that_marches_rays_gives_a_mesh_too(head_model, portrait):
    pipe = InvertAvatarPipeline(**tiny_networks("paper"), head_model=head_model)
    pipe.set_progress_bar_config(disable=True)
    avatar = pipe.add_portrait(None, portrait("anna_1"))
    head = pipe.extract_mesh(avatar, texture_size=256)
    picture = pipe.render(avatar, expression={}, height=256, framing="crop", output_type="np")[0] * 255
    assert np.abs(shown_at(head, avatar.shape.landmarks[1].numpy()) - picture[120:136, 120:136].mean((0, 1))).max() < 40
