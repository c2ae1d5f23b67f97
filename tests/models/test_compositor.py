"""Frames out of what photos, the other side, the surroundings and the tri-plane say.

Shapes: B batch, D feature channels, S side of the frame.
"""

import pytest
import torch

from invertavatar.models.compositor import CANDIDATES, Closer, CompositionSettings, Compositor, Look, moved
from invertavatar.raster.rasterizer import Fragments
from invertavatar.rendering.reprojection import Reprojection, empty_reprojection
from invertavatar.rendering.surface import GROUPS, HeadSurface

SIZE, D = 32, 5
NEAR, FAR = torch.zeros(1), torch.full((1,), 60.0)
PHOTO, MIRRORED, FILL, PLANE = (0.6, 0.2, -0.2, -0.6)  # the colour of each candidate


def build(output_gain=0.0, seed=0, **settings):
    """With a gain of 0 nothing is learned yet."""
    torch.manual_seed(seed)
    return Compositor(D, (8, 8), SIZE, CompositionSettings(**settings), output_gain).eval()


def full(channels, value, size=SIZE):
    return torch.as_tensor(value, dtype=torch.float32).expand(1, channels, size, size)


def left(size=SIZE):
    """1 in the left half of a picture."""
    half = torch.zeros(size, size)
    half[:, : size // 2] = 1
    return half


def reprojection(seen=1.0, mirrored_seen=0.0, matte=1.0, inside=1.0, size=SIZE):
    photo, other, fill = (full(3, colour, size) for colour in (PHOTO, MIRRORED, FILL))
    seen, mirrored_seen, matte, inside = (full(1, x, size) for x in (seen, mirrored_seen, matte, inside))
    return Reprojection(photo, seen, matte, inside, other, mirrored_seen, fill)


def surface(mask=1.0, size=SIZE):
    mask = full(1, mask, size)
    blank = Fragments(mask[:, 0].long() - 1, torch.zeros(1, size, size, 3))
    return HeadSurface(
        blank,
        mask,
        full(3, 0.1, size),
        full(3, 0.5, size),
        full(1, 0.2, size),
        full(1, 1.0, size),
        full(len(GROUPS), 0.1, size),
    )


def planes(size=16):
    return torch.cat([full(3, PLANE, size), full(D - 3, 0.3, size)], 1)


def colour_of(composite):
    return composite.colour / composite.opacity


def random_frames(count=2, size=SIZE, seed=0) -> Look:
    """B frames of noise."""
    draw = torch.Generator().manual_seed(seed)

    def noise(channels, h=size):
        return torch.rand(count, channels, h, h, generator=draw)

    looks = Reprojection(noise(3), noise(1), noise(1), noise(1), noise(3), noise(1), noise(3))
    mask = (noise(1) > 0.3).float()
    seen = HeadSurface(None, mask, noise(3), noise(3), noise(1), noise(1), noise(len(GROUPS)))
    return Look(looks, seen, noise(D, 16), 40 * torch.rand(count, generator=draw))


# Before anything is learned


def test_what_a_photo_sees_counts_more_than_all_else_together():
    seen = left()
    colour = colour_of(build()(Look(reprojection(seen, mirrored_seen=1.0), surface(), planes(), FAR)))[0, 0]
    assert (colour[:, :16] - PHOTO).max() < 0 < (colour[:, :16] - (PHOTO + PLANE) / 2).min()
    assert colour[:, 16:].max() < colour[:, :16].min()


def test_near_a_photo_its_colours_are_the_frame_s_whatever_the_network_says():
    network = build(output_gain=1.0)
    near, far = (colour_of(network(Look(reprojection(), surface(), planes(), angle))) for angle in (NEAR, FAR))
    torch.testing.assert_close(near, full(3, PHOTO).expand_as(near))
    assert (far - near).abs().max() > 0.01


def test_what_only_the_other_side_shows_comes_from_there():
    colour = colour_of(build()(Look(reprojection(seen=0.0, mirrored_seen=1.0), surface(), planes(), NEAR)))
    assert (colour - MIRRORED).abs().max() < 0.25


def test_what_nothing_shows_comes_from_the_surroundings_and_the_tri_plane():
    colour = colour_of(build()(Look(reprojection(seen=0.0), surface(), planes(), NEAR)))
    assert colour.max() < FILL - 0.05 and colour.min() > PLANE + 0.05


def test_beside_the_head_the_photo_goes_on():
    colour = colour_of(build()(Look(reprojection(seen=0.0), surface(mask=0.0), planes(), NEAR)))
    assert (colour - PHOTO).abs().max() < 0.05


def test_a_frame_of_no_photos_has_the_colours_of_the_tri_plane_within_the_head():
    head = surface(left())
    composite = build()(Look(empty_reprojection(head, planes()[:, :3]), head, planes(), torch.full((1,), 90.0)))
    torch.testing.assert_close(colour_of(composite), full(3, PLANE))
    assert composite.opacity[..., :11].min() > 0.97 and composite.opacity[..., 18:].max() < 0.03


def test_on_the_head_a_photo_s_background_does_not_count():
    head, background = surface(), reprojection(seen=0.0, matte=left())
    colour = colour_of(build()(Look(background, head, planes(), NEAR)))
    assert (colour[..., :16] - colour[..., 16:]).min() > 0.05  # there it would be nearer to the photo's
    assert (colour[..., 16:] - (FILL + PLANE) / 2).abs().max() < 0.02


def test_near_a_photo_its_matte_is_the_outline_and_far_from_it_the_head_model_is():
    matte, head = left(), 1 - left()
    near, far = (
        build()(Look(reprojection(matte=matte), surface(head), planes(), angle)).opacity[0, 0] for angle in (NEAR, FAR)
    )
    assert near[:, :16].min() > 0.97 and near[:, 16:].max() < 0.03
    assert far[:, :2].max() < 0.03 and far[:, -2:].min() > 0.97


def test_on_the_way_from_photo_to_model_the_outline_lies_between_theirs():
    matte, head = torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)
    matte[:, :8], head[:, 24:] = 1, 0
    settings, edges = {"softness": 9, "outline_size": SIZE}, []
    for angle in (0.0, 12.0, 15.0, 60.0):
        look = Look(reprojection(matte=matte), surface(head), planes(), torch.full((1,), angle))
        edges.append((build(**settings)(look).opacity[0, 0, SIZE // 2] > 0.5).sum().item())
    assert edges[0] == 8 and 22 <= edges[3] <= 24 and edges == sorted(edges)
    assert 8 < edges[1] < 24 or 8 < edges[2] < 24


def test_beyond_what_it_was_trained_for_the_network_has_no_say():
    network, look = build(1.0), random_frames()
    angle = torch.full((2,), CompositionSettings().trained[1])
    silent = build(0.0)(look._replace(angle=angle))
    for learned, plain in zip(network(look._replace(angle=angle)), silent, strict=True):
        torch.testing.assert_close(learned, plain)
    assert (network(look).colour - build(0.0)(look).colour).abs().max() > 0.1


def test_a_closer_look_is_as_sharp_as_the_photos_and_else_the_same():
    network, look = build(0.3), random_frames()
    size = 2 * SIZE
    parts = (*look.reprojection[:4], look.surface.mask)
    closer = Closer(*(torch.nn.functional.interpolate(x, size=(size, size)) for x in parts))
    stripes = torch.ones(size)
    stripes[::2] = -1
    fine = network(look._replace(closer=closer._replace(colour=closer.colour + 0.5 * stripes)))
    plain = network(look._replace(closer=closer))
    assert plain.colour.shape == (2, 3, size, size)
    assert (fine.opacity - plain.opacity).abs().max() == 0
    striped = (fine.colour - plain.colour)[..., 1::2].mean() - (fine.colour - plain.colour)[..., ::2].mean()
    assert striped > 0.3
    small = torch.nn.functional.avg_pool2d(plain.colour, 2)
    assert (small - network(look).colour).abs().mean() < 0.1


def test_where_a_photo_has_no_pixels_the_head_model_is_the_outline():
    opacity = build()(Look(reprojection(matte=0.0, inside=left()), surface(), planes(), NEAR)).opacity
    assert opacity[..., :16].max() < 0.03 and opacity[..., 16:].min() > 0.97


# The network


def test_it_weighs_adds_and_moves_the_outline():
    silent, loud = (build(gain)(random_frames()) for gain in (0.0, 1.0))
    assert (loud.colour - silent.colour).abs().mean() > 0.05
    assert (loud.opacity - silent.opacity).abs().max() > 0.02
    assert loud.opacity.min() >= 0 and loud.opacity.max() <= 1


def seen_by(network, look):
    """The U-Net's finest feature map."""
    maps = []
    hook = network.unet.register_forward_hook(lambda module, args, output: maps.append(output.hidden[-1]))
    network(look)
    hook.remove()
    return maps[0]


@pytest.mark.parametrize("name", Reprojection._fields)
def test_it_looks_at_all_that_photos_say(name):
    network, look = build(), random_frames()
    other = look._replace(reprojection=look.reprojection._replace(**{name: getattr(look.reprojection, name) / 2}))
    assert (seen_by(network, look) - seen_by(network, other)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["mask", "normal", "depth", "groups", "features", "angle"])
def test_it_looks_at_the_head_the_tri_plane_and_the_angle(name):
    network, look = build(), random_frames()
    if name in Look._fields:
        other = look._replace(**{name: getattr(look, name) / 2})
    else:
        other = look._replace(surface=look.surface._replace(**{name: getattr(look.surface, name) / 2}))
    assert (seen_by(network, look) - seen_by(network, other)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [16, 32, 50, 96])
def test_frames_of_any_size_are_as_sharp_as_their_candidates(size):
    network, head = build(), surface(size=size)
    stripes = torch.ones(size, size)
    stripes[:, ::2] = -1
    looks = reprojection(size=size)._replace(colour=full(3, stripes, size))
    composite = network(Look(looks, head, planes(), NEAR))
    assert composite.colour.shape == (1, 3, size, size) and composite.opacity.shape == (1, 1, size, size)
    assert (composite.colour[..., 1::2].mean() - composite.colour[..., ::2].mean()) > 1


def test_a_part_of_frames_is_looked_at_as_finely_as_the_whole():
    network, look = build(1.0), random_frames()
    part = (..., slice(SIZE // 2), slice(SIZE // 2))
    cut = Look(
        Reprojection(*(x[part] for x in look.reprojection)),
        HeadSurface(None, *(x[part] for x in look.surface[1:])),
        look.features[..., :8, :8],
        look.angle,
    )
    whole, corner = network(look), network(cut, SIZE // 2)
    inner = (..., slice(4), slice(4))  # the U-Net looks a few pixels further
    torch.testing.assert_close(corner.colour[inner], whole.colour[inner], atol=0.02, rtol=0)
    assert (network(cut).colour[inner] - whole.colour[inner]).abs().max() > 0.05


def test_frames_of_a_batch_do_not_see_each_other():
    network, (looks, head, features, angle, _) = build(1.0), random_frames(3)
    together = network(Look(looks, head, features, angle))
    for k in range(3):
        one = slice(k, k + 1)
        parts = (Reprojection(*(x[one] for x in looks)), HeadSurface(None, *(x[one] for x in head[1:])))
        for a, b in zip(network(Look(*parts, features[one], angle[one])), together, strict=True):
            torch.testing.assert_close(a, b[one], atol=1e-5, rtol=0)


def test_gradients_reach_the_network_the_tri_plane_and_the_photos():
    network, look = build(0.1), random_frames()
    told = [
        x.requires_grad_()
        for x in (look.reprojection.colour, look.reprojection.mirrored, look.reprojection.fill, look.features)
    ]
    composite = network(look)
    (composite.colour.square().sum() + composite.opacity.square().sum()).backward()
    for tensor in (*told, *network.parameters()):
        assert tensor.grad.abs().sum() > 0


def test_half_precision_networks_compose_the_same_frames():
    full, half = build(0.2)(random_frames()), build(0.2).half()(random_frames())
    for a, b in zip(full, half, strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [SIZE, 3 * SIZE])
def test_a_flow_fetches_what_photos_show_from_beside_a_pixel(size):
    """By so many pixels of the network's maps, whatever the size of the frame."""
    noise = torch.rand(1, 6, size, size, generator=torch.Generator().manual_seed(0))
    closer, flow = Closer(noise[:, :3], *noise[:, 3:].split(1, 1), mask=full(1, 1, size)), torch.zeros(1, 2, SIZE, SIZE)
    torch.testing.assert_close(moved(closer, flow).colour, closer.colour, atol=1e-4, rtol=0)
    flow[:, 0], flow[:, 1] = 4 / SIZE, -2 / SIZE  # from the right and from above
    shift = size // SIZE
    beside = moved(closer, flow)
    inner = slice(8 * shift, -8 * shift)
    for there, here in zip(beside[:4], closer[:4], strict=True):
        expected = here.roll((2 * shift, -4 * shift), (2, 3))
        torch.testing.assert_close(there[..., inner, inner], expected[..., inner, inner], atol=1e-4, rtol=0)
    assert beside.mask is closer.mask


def test_the_network_may_learn_where_to_fetch_and_not_near_a_photo():
    look = random_frames()
    network = build(1.0, flow=4.0)
    assert network.moves == 2 and build().moves == 0
    with torch.no_grad():  # nothing but a flow
        last = network.unet.heads["0"][-1]
        for parameter in last.parameters():
            parameter[:-2] = 0
        last.bias[-2:] = torch.tensor([8.0, 0.0])  # as far as it may
        last.weight.zero_()
    there = network(look._replace(angle=torch.full((2,), 30.0))).colour
    here = build(flow=4.0)(look._replace(angle=torch.full((2,), 30.0))).colour
    assert (there - here).abs().mean() > 0.02
    at_photo = look._replace(angle=torch.zeros(2))
    torch.testing.assert_close(network(at_photo).colour, build(flow=4.0)(at_photo).colour, atol=1e-5, rtol=0)


def test_each_candidate_has_a_weight_of_its_own():
    network, (looks, head, features, angle, _) = build(), random_frames()
    with torch.no_grad():  # loud weights, and nothing is added
        for parameter in network.unet.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
            parameter[CANDIDATES:] = 0
    features = torch.cat([torch.full_like(features[:, :3], 0.3), features[:, 3:]], 1)
    told = looks._replace(**{name: torch.full_like(looks.colour, 0.3) for name in ("colour", "mirrored", "fill")})
    one_colour = colour_of(network(Look(told, head, features, angle)))
    torch.testing.assert_close(one_colour, torch.full_like(one_colour, 0.3))
    for name in ("colour", "mirrored", "fill"):
        other = told._replace(**{name: torch.full_like(looks.colour, 0.9)})
        change = colour_of(network(Look(other, head, features, angle))) - 0.3
        assert change.min() > -1e-5 and 0.01 < change.max() < 0.6 + 1e-5


CHANGED = {
    "photo": 0.3,
    "mirrored": 0.01,
    "unmirrored": 0.3,
    "model": 1.0,
    "beside": 0.1,
    "own_colour": 60.0,
    "own_outline": 20.0,
    "outline": 60.0,
    "softness": 1,
    "outline_size": 16,
    "steepness": (30.0, 30.0),
    "doubt": 0.2,
    "far": 90.0,
    "trained": (1.0, 2.0),
    "inset": 0.4,
}


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_changes_the_frame(name):
    look = random_frames()
    # Photos count for the outline, but for what matters where they do not.
    look = look._replace(angle=look.angle + 50 if name == "inset" else look.angle / 8)
    before, after = (build(1.0, **settings)(look) for settings in ({}, {name: CHANGED[name]}))
    assert max((a - b).abs().max() for a, b in zip(before, after, strict=True)) > 0.01
