"""Photos of heads in known colours, looked up in other views of them."""

import pytest
import torch
import torch.nn.functional as F

from invertavatar.camera import pixel_centres
from invertavatar.raster.rasterizer import interpolate
from invertavatar.rendering.reprojection import (
    Reprojection,
    ReprojectionSettings,
    Sources,
    empty_reprojection,
    filled,
    reproject,
    sources,
)
from invertavatar.rendering.surface import GROUPS, HeadSurface, head_surface, vertex_groups, vertex_normals
from invertavatar.runtime.fixed_sizes import FixedSizes, fixed_sizes
from tests.heads import camera_at, mean_head, picture_of

SIZE, SETTINGS = 128, ReprojectionSettings(rounds=60)
FRONT = camera_at(0.0)
ONE = torch.ones(1, 1)
SCALP, NECK, TORSO = (GROUPS.index((name,)) for name in ("scalp", "neck", "torso"))


@pytest.fixture(scope="module")
def paint(head_model) -> torch.Tensor:
    """[V, 3] colours in 0..1 of changing hue and one brightness, from which no light can be read."""
    rest = mean_head(head_model, FRONT).rest_vertices[0]
    wave = 0.3 * torch.sin(rest @ torch.tensor([[5.0, 1.0], [0.0, 4.0], [1.0, 0.0]]))
    hue = torch.stack([wave[:, 0], wave[:, 1] - wave[:, 0], -wave[:, 1]], -1)
    return 0.4 * hue.exp()


def blank(head_model):
    """What unseen places look like, where that is not asked for."""
    return torch.zeros_like(head_model.mean)[None]


def lit(head_model, paint, camera, light, turned=False):
    """[1, V, 3] colours in 0..1 under a light that is fixed to the camera."""
    vertices = mean_head(head_model, camera, turned).vertices
    normals = vertex_normals(vertices, head_model.triangles) @ camera.rotation.mT
    return paint * (normals @ light - 0.3).exp()[..., None]


def photo(head_model, paint, camera=FRONT, turned=False, backdrop=0.0):
    """[1, 5, S, S] of the head in colours of 0..1."""
    return picture_of(head_model, mean_head(head_model, camera, turned), paint * 2 - 1, camera, SIZE, backdrop)


def prepared(head_model, picture, camera=FRONT, turned=False, settings=SETTINGS) -> Sources:
    """One avatar of one photo."""
    vertices = mean_head(head_model, camera, turned).vertices
    return sources(head_model, picture[:, None], vertices[:, None], camera.rotation[:, None], settings)


def together(*photos: Sources) -> Sources:
    """One avatar of several photos."""
    return Sources(*(torch.cat(x, 1) for x in zip(*photos, strict=True)))


def at(head_model, camera, turned=False, size=SIZE) -> HeadSurface:
    return head_surface(head_model, mean_head(head_model, camera, turned), camera, size)


def drawn(head_model, paint, surface):
    """Colours of vertices, 0..1, in a frame, -1..1."""
    return interpolate(paint * 2 - 1, surface.fragments, head_model.triangles)


def apart(one, other, where):
    """The error that all but one in a hundred of these pixels stay below."""
    return (one - other).abs().amax(1, keepdim=True)[where].quantile(0.99)


# Colours


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("yaw", [0.0, 25.0, -50.0, 90.0])
def test_what_a_photo_saw_has_its_colours_in_another_view(head_model, paint, yaw, turned):
    camera = camera_at(yaw, pitch=5.0)
    first = prepared(head_model, photo(head_model, paint, turned=turned), turned=turned)
    surface = at(head_model, camera, turned)
    looks = reproject(head_model, first, blank(head_model), ONE, surface, SETTINGS)
    seen = looks.seen > 0.9
    assert seen.sum() > surface.mask.sum() * (0.88 - abs(yaw) / 150)
    assert apart(looks.colour, drawn(head_model, paint, surface), seen) < 0.01
    assert apart(looks.matte, surface.mask, seen) < 0.02 and apart(looks.inside, surface.mask, seen) < 0.02


@pytest.mark.parametrize("yaw", [40.0, -75.0, 150.0])
def test_what_a_photo_did_not_see_is_not_seen(head_model, paint, yaw):
    first, surface = prepared(head_model, photo(head_model, paint)), at(head_model, camera_at(yaw))
    looks = reproject(head_model, first, blank(head_model), ONE, surface, SETTINGS)
    before = at(head_model, FRONT, size=256).depth  # what the photo shows in front of each place
    place = surface.rest_position.permute(0, 2, 3, 1)
    there = F.grid_sample(before, torch.stack([place[..., 0], -place[..., 1]], -1), mode="nearest", align_corners=False)
    hidden = (there - surface.rest_position[:, 2:] > 0.1) & (surface.mask > 0)
    assert hidden.sum() > 300
    assert looks.seen[hidden].quantile(0.99) == 0
    assert looks.seen[surface.mask == 0].max() == 0 and looks.mirrored_seen[surface.mask == 0].max() == 0


@pytest.mark.parametrize("mask", [3, 4])
def test_neither_background_nor_missing_pixels_nor_a_matte_s_edge_are_seen(head_model, paint, mask):
    picture = photo(head_model, paint)
    picture[:, mask, :, SIZE // 2 :] = 0
    looks = reproject(
        head_model, prepared(head_model, picture), blank(head_model), ONE, at(head_model, FRONT), SETTINGS
    )
    assert looks.seen[..., SIZE // 2 - 1 :].max() < 1e-4
    assert looks.seen[..., SIZE // 4 : SIZE // 2 - 3].max() == 1
    assert looks.matte[..., SIZE // 2 :].max() < 1e-4
    assert (looks.inside[..., SIZE // 2 :].max() < 1e-4) == (mask == 4)


def test_the_other_side_is_mirrored_where_that_was_seen_and_clothes_never_are(head_model, paint):
    camera = camera_at(-60.0)
    first, surface = (
        prepared(head_model, photo(head_model, paint, camera_at(30.0)), camera_at(30.0)),
        at(head_model, camera),
    )
    looks = reproject(head_model, first, blank(head_model), ONE, surface, SETTINGS)
    mirrored = drawn(head_model, paint[head_model.mirror.long()], surface)
    seen = looks.mirrored_seen > 0.9
    assert apart(looks.mirrored, mirrored, seen) < 0.01
    assert (seen & (looks.seen == 0)).sum() > 0.2 * surface.mask.sum()  # it tells what the photo itself does not
    cloth = surface.groups[:, TORSO, None] == 1
    assert cloth.sum() > 100 and looks.mirrored_seen[cloth].max() == 0


# Light


@pytest.mark.parametrize("light", [(0.4, 0.15, 0.1), (-0.3, 0.3, 0.0)])
@pytest.mark.parametrize("yaw", [25.0, -50.0])
def test_skin_that_turns_takes_the_shade_of_where_it_turns_to(head_model, paint, yaw, light):
    light, camera = torch.tensor(light), camera_at(yaw)
    first = prepared(head_model, photo(head_model, lit(head_model, paint, FRONT, light)))
    torch.testing.assert_close(first.light[0, 0], light, atol=0.08, rtol=0)  # a little less for the ridge
    fill, surface = filled(head_model, first, ONE, SETTINGS), at(head_model, camera)
    relit, plain = (
        reproject(head_model, first, fill, ONE, surface, SETTINGS._replace(largest_gain=gain))
        for gain in (SETTINGS.largest_gain, 0.0)
    )
    truth = drawn(head_model, lit(head_model, paint, camera, light), surface)
    flipped = paint[head_model.mirror.long()]
    for looks, as_lit in ((lambda x: (x.colour, x.seen), paint), (lambda x: (x.mirrored, x.mirrored_seen), flipped)):
        truth = drawn(head_model, lit(head_model, as_lit, camera, light), surface)
        errors = [
            ((c - truth).abs().mean(1, keepdim=True))[seen > 0.9].mean() for c, seen in map(looks, (relit, plain))
        ]
        assert errors[0] < 0.025 and errors[0] < 0.15 * errors[1]


def test_a_head_that_does_not_turn_keeps_its_light(head_model, paint):
    first = prepared(head_model, photo(head_model, lit(head_model, paint, FRONT, torch.tensor([0.5, 0.3, 0.2]))))
    relit, plain = (
        reproject(
            head_model, first, blank(head_model), ONE, at(head_model, FRONT), SETTINGS._replace(largest_gain=gain)
        )
        for gain in (SETTINGS.largest_gain, 0.0)
    )
    assert (relit.colour - plain.colour).abs().max() < 1e-3


def test_a_face_in_even_light_is_not_relit(head_model, paint):
    first = prepared(head_model, photo(head_model, paint))
    assert first.light.abs().max() < 1e-3


def test_dark_hair_and_clothes_are_not_taken_for_shadow(head_model, paint):
    groups = vertex_groups(head_model)
    paint = paint * torch.where(groups[:, [SCALP, TORSO]].sum(1, keepdim=True) > 0.5, 0.2, 1.0)
    assert prepared(head_model, photo(head_model, paint)).light.abs().max() < 0.03


# What nobody saw


def test_hair_behind_the_head_is_filled_from_hair_the_nape_from_skin_and_the_back_from_cloth(head_model):
    groups, colours = vertex_groups(head_model), torch.tensor([[0.7, 0.5, 0.4], [0.1, 0.1, 0.05], [0.2, 0.3, 0.8]])
    hair, cloth = groups[:, SCALP] > 0.5, groups[:, TORSO] > 0.5
    masks = ~hair & ~cloth, hair, cloth
    paint = sum(mask[:, None] * colour for mask, colour in zip(masks, colours, strict=True))
    first = prepared(head_model, photo(head_model, paint))
    fill = filled(head_model, first, ONE, SETTINGS)[0].exp()
    behind = mean_head(head_model, FRONT).rest_vertices[0, :, 2] < -0.4
    for mask, colour in zip(masks, colours, strict=True):
        far = mask & behind
        assert far.sum() > 20
        assert (fill[far] - colour).abs().mean() < 0.1 * colour.mean() + 0.02
    looks = reproject(head_model, first, fill[None].log(), ONE, at(head_model, camera_at(180.0)), SETTINGS)
    assert (looks.fill[0, :, 20, SIZE // 2] - (colours[1] * 2 - 1)).abs().max() < 0.1


def holed(head_model, paint, place, settings=SETTINGS):
    """What a photo is filled to with a white thing before the head, which the matte leaves out; and who is behind."""
    picture = photo(head_model, paint)
    right, up = pixel_centres(SIZE)
    hole = (right - place[0]).abs().maximum((up - place[1]).abs()) < 0.12
    picture[:, :3, hole], picture[:, 3, hole] = 1, 0
    first, rest = prepared(head_model, picture), mean_head(head_model, FRONT).rest_vertices[0]
    behind = (rest[:, 0] - place[0]).abs().maximum((rest[:, 1] - place[1]).abs()) < 0.12
    behind &= (first.normal[0, 0, :, 2] > 0.3) & (vertex_groups(head_model).sum(1) == 0)
    assert behind.sum() > 20 and first.albedo[0, 0, behind, 3].max() == 0
    return filled(head_model, first, ONE, settings)[0].exp(), behind


def test_what_was_hidden_takes_the_colours_of_the_other_side(head_model, paint):
    errors = []
    for mirrored in (SETTINGS.mirrored, 0.0):
        fill, behind = holed(head_model, paint, (-0.3, -0.1), SETTINGS._replace(mirrored=mirrored))
        errors.append((fill - paint[head_model.mirror.long()])[behind].abs().mean())
    assert errors[0] < 0.04 and errors[0] < 0.5 * errors[1]


def test_what_was_hidden_on_both_sides_takes_the_colours_of_its_neighbours(head_model, paint):
    fill, behind = holed(head_model, paint, (0.0, 0.35))
    assert (fill[behind] - paint[behind]).abs().mean() < 0.05  # as the colours change within the hole
    assert fill[behind].amax() < 0.7


def test_a_photo_of_no_weight_gives_no_colours(head_model, paint):
    one, other = (
        prepared(head_model, photo(head_model, paint * part, camera_at(yaw)), camera_at(yaw))
        for part, yaw in ((1.0, 0.0), (0.5, 60.0))
    )
    both = together(one, other)
    alone, first, second = (
        filled(head_model, x, torch.tensor([w]), SETTINGS)
        for x, w in ((one, [0.3]), (both, [1.0, 0.0]), (both, [0.0, 1.0]))
    )
    torch.testing.assert_close(first, alone)
    assert (second - alone).abs().mean() > 0.3


def test_of_a_photo_that_shows_nobody_all_numbers_are_finite(head_model, paint):
    picture = photo(head_model, paint)
    picture[:, 3] = 0
    first = prepared(head_model, picture)
    fill = filled(head_model, first, torch.zeros(1, 1), SETTINGS)
    looks = reproject(head_model, first, fill, ONE, at(head_model, camera_at(20.0)), SETTINGS)
    assert all(x.isfinite().all() for x in (*first, fill, *looks))
    assert looks.seen.max() == looks.matte.max() == looks.mirrored_seen.max() == 0


# Beside the head


def texture(seed=0):
    """[1, 3, S, S] a picture with no relation to the head."""
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return F.interpolate(noise, size=(SIZE, SIZE), mode="bicubic", align_corners=False).clamp(-0.9, 0.9)


def test_a_photo_in_its_own_view_is_the_photo_within_the_head_and_beside_it(head_model, paint):
    for camera, turned in ((FRONT, False), (camera_at(35.0, pitch=-8.0), True)):
        picture = photo(head_model, paint, camera, turned)
        picture[:, :3] = texture()
        looks = reproject(
            head_model,
            prepared(head_model, picture, camera, turned),
            blank(head_model),
            ONE,
            at(head_model, camera, turned),
            SETTINGS,
        )
        assert apart(looks.colour, picture[:, :3], looks.inside > -1) < 0.02
        assert apart(looks.matte, picture[:, 3:4], looks.inside > -1) < 0.01
        assert looks.inside.min() > 0.99


def test_just_beside_the_head_a_photo_goes_on_as_it_is_at_the_outline(head_model, paint):
    right, up = pixel_centres(SIZE)
    picture = photo(head_model, paint)
    picture[:, :3] = torch.stack([right, up, torch.zeros_like(up)])
    zoomed = camera_at(0.0, zoom=1.25)
    surface = at(head_model, zoomed)
    looks = reproject(head_model, prepared(head_model, picture), blank(head_model), ONE, surface, SETTINGS)
    beside = (F.max_pool2d(surface.mask, 9, 1, 4) > 0) & (surface.mask == 0)
    place = torch.stack([right, up])[None] / 1.25
    assert beside.sum() > 300
    assert apart(looks.colour[:, :2], place, beside) < 0.05 < 0.1 < apart(place, place * 1.25, beside)


def test_strands_beside_the_head_come_along_when_it_turns_a_little(head_model, paint):
    picture = photo(head_model, paint)
    _, column = (picture[0, 3, SIZE // 4] > 0).nonzero().aminmax()  # beside the right temple
    strand = slice(int(column) + 3, int(column) + 7)
    picture[:, :3, :, strand], picture[:, 3, :, strand] = 1, 1
    surface = at(head_model, camera_at(6.0))
    looks = reproject(head_model, prepared(head_model, picture), blank(head_model), ONE, surface, SETTINGS)
    row = slice(SIZE // 4 - 2, SIZE // 4 + 3)
    white = (looks.colour[0, 0, row] > 0.5) * looks.matte[0, 0, row] * (surface.mask[0, 0, row] == 0)
    found = white.sum(1)
    torch.testing.assert_close(found, torch.full_like(found, 4), atol=1.5, rtol=0)


@pytest.mark.parametrize("yaw", [-30.0, 30.0])
def test_what_the_head_has_itself_is_not_there_once_more_beside_it(head_model, paint, yaw):
    first, surface = prepared(head_model, photo(head_model, paint)), at(head_model, camera_at(yaw))
    looks = reproject(head_model, first, blank(head_model), ONE, surface, SETTINGS)
    uncovered = first._replace(picture=torch.cat([first.picture[:, :, :-1], 0 * first.picture[:, :, -1:]], 2))
    twice = reproject(head_model, uncovered, blank(head_model), ONE, surface, SETTINGS)
    beside = surface.mask == 0
    assert looks.matte[beside].mean() < 0.5 * twice.matte[beside].mean()
    assert torch.equal(looks.matte[~beside], twice.matte[~beside])


# Several photos


def test_photos_are_mixed_by_how_much_they_count(head_model):
    views = []
    for yaw, colour in ((-15.0, (0.8, 0.4, 0.2)), (15.0, (0.2, 0.4, 0.8))):
        camera = camera_at(yaw)
        views.append(
            prepared(
                head_model, photo(head_model, torch.tensor(colour).expand(len(head_model.mean), -1), camera), camera
            )
        )
    surface = at(head_model, FRONT)
    both = reproject(head_model, together(*views), blank(head_model), torch.tensor([[1.0, 0.5]]), surface, SETTINGS)
    apiece = [reproject(head_model, view, blank(head_model), ONE, surface, SETTINGS) for view in views]
    seen = torch.minimum(*(looks.seen for looks in apiece)) > 0.99
    assert seen.sum() > 0.5 * surface.mask.sum()
    assert apart(both.colour, (apiece[0].colour + 0.5 * apiece[1].colour) / 1.5, seen) < 0.01


def test_a_place_that_the_nearest_photo_does_not_show_comes_from_another(head_model, paint):
    views = [
        prepared(head_model, photo(head_model, part * paint, camera_at(yaw)), camera_at(yaw))
        for yaw, part in ((-70.0, 1.0), (70.0, 0.5))
    ]
    surface = at(head_model, FRONT)
    looks = reproject(head_model, together(*views), blank(head_model), torch.tensor([[1.0, 0.05]]), surface, SETTINGS)
    near, far = (reproject(head_model, view, blank(head_model), ONE, surface, SETTINGS) for view in views)
    only = (near.seen == 0) & (far.seen > 0.9)
    assert only.sum() > 100
    assert apart(looks.colour, drawn(head_model, 0.5 * paint, surface), only) < 0.3
    assert looks.seen[only].min() > 0.7


def three(head_model, paint):
    """An avatar of three photos, each of another brightness."""
    poses = ((0.0, 1.0), (30.0, 0.8), (-40.0, 0.6))
    return together(
        *(prepared(head_model, photo(head_model, part * paint, camera_at(yaw)), camera_at(yaw)) for yaw, part in poses)
    )


def test_a_photo_of_negligible_weight_does_not_matter(head_model, paint):
    views, surface = three(head_model, paint), at(head_model, camera_at(10.0))
    little, none, some = (
        reproject(head_model, views, blank(head_model), torch.tensor([[1.0, 0.0, weight]]), surface, SETTINGS)
        for weight in (0.009, 0.0, 0.1)
    )
    assert all(torch.equal(a, b) for a, b in zip(little, none, strict=True))
    assert (some.colour - none.colour).abs().max() > 0.05


def test_with_room_for_two_photos_the_two_that_count_most_are_looked_up(head_model, paint):
    views, camera = three(head_model, paint), camera_at(10.0, -20.0)
    surface, blend = at(head_model, camera), torch.tensor([[1.0, 0.6, 0.001], [0.5, 0.001, 1.0]])
    fill = filled(head_model, views, torch.ones(1, 3), SETTINGS)
    free = reproject(head_model, views, fill, blend, surface, SETTINGS)
    with fixed_sizes(FixedSizes(photos=2)) as sizes:
        bound = reproject(head_model, views, fill, blend, surface, SETTINGS)
    assert not sizes.short()
    for a, b in zip(free, bound, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    with fixed_sizes(FixedSizes(photos=2)) as sizes:
        reproject(head_model, views, fill, blend + 0.1, surface, SETTINGS)
    assert sizes.short()


def test_subjects_and_frames_of_a_batch_do_not_see_each_other(head_model, paint):
    cameras, frames = [camera_at(0.0), camera_at(30.0)], [camera_at(20.0), camera_at(-10.0)]
    alone = [
        prepared(head_model, photo(head_model, p, c), c) for p, c in zip((paint, paint.flip(1)), cameras, strict=True)
    ]
    both = Sources(*(torch.cat(x) for x in zip(*alone, strict=True)))
    fill = filled(head_model, both, torch.ones(2, 1), SETTINGS)
    drawn = reproject(head_model, both, fill, torch.ones(2, 1), at(head_model, camera_at(20.0, -10.0)), SETTINGS)
    for k, (one, camera) in enumerate(zip(alone, frames, strict=True)):
        own = filled(head_model, one, ONE, SETTINGS)
        torch.testing.assert_close(fill[k : k + 1], own, atol=1e-4, rtol=0)
        for a, b in zip(reproject(head_model, one, own, ONE, at(head_model, camera), SETTINGS), drawn, strict=True):
            torch.testing.assert_close(a[0], b[k], atol=1e-3, rtol=0)
    frames = reproject(
        head_model, alone[0], fill[:1], torch.ones(2, 1), at(head_model, camera_at(20.0, -10.0)), SETTINGS
    )
    assert (frames.colour[0] - drawn.colour[0]).abs().max() < 1e-3  # two frames of one person


# Settings


CHANGED = {
    "depth_size": 64,
    "tolerance": 0.2,
    "grazing": 0.9,
    "edge": 0.1,
    "covered": 0.3,
    "flow_size": 16,
    "largest_gain": 0.05,
    "light_ridge": 1.0,
    "light_outlier": 0.01,
    "mirrored": 0.5,
    "rounds": 3,
    "negligible": 0.1,
}


@pytest.fixture(scope="module")
def usual(head_model, paint):
    """A function of settings -> what a frame is made of, from two photos in another light."""
    light, surface = torch.tensor([0.4, 0.15, 0.1]), at(head_model, camera_at(-20.0))
    pictures = [(photo(head_model, lit(head_model, paint, c, light), c), c) for c in (camera_at(25.0), camera_at(0.0))]

    def made(settings) -> Reprojection:
        views = together(*(prepared(head_model, picture, camera, settings=settings) for picture, camera in pictures))
        fill = filled(head_model, views, torch.ones(1, 2), settings)
        return reproject(head_model, views, fill, torch.tensor([[1.0, 0.05]]), surface, settings)

    return made, made(SETTINGS)


@pytest.mark.parametrize("name", ReprojectionSettings._fields)
def test_every_setting_changes_something(usual, name):
    made, before = usual
    after = made(SETTINGS._replace(**{name: CHANGED[name]}))
    assert max((a - b).abs().max() for a, b in zip(before, after, strict=True)) > 0.01


@pytest.mark.parametrize("size", [16, 100, 150])
def test_frames_of_any_size(head_model, paint, size):
    surface = at(head_model, camera_at(15.0), size=size)
    first = prepared(head_model, photo(head_model, paint))
    looks = reproject(head_model, first, filled(head_model, first, ONE, SETTINGS), ONE, surface, SETTINGS)
    assert all(x.shape[-2:] == (size, size) and x.isfinite().all() for x in looks)


def test_of_no_photos_nothing_is_seen_and_all_colours_are_those_of_the_tri_plane(head_model, paint):
    surface = at(head_model, camera_at(15.0))
    looks = empty_reprojection(surface, torch.full((1, 3, SIZE // 4, SIZE // 4), 0.3))
    some = reproject(
        head_model, prepared(head_model, photo(head_model, paint)), blank(head_model), ONE, surface, SETTINGS
    )
    assert [x.shape for x in looks] == [x.shape for x in some]
    assert looks.seen.max() == looks.matte.max() == looks.inside.max() == looks.mirrored_seen.max() == 0
    for colour in (looks.colour, looks.mirrored, looks.fill):
        torch.testing.assert_close(colour, torch.full_like(colour, 0.3))
