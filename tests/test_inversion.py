"""The forward pass that the pipeline and the training share, with tiny networks and tracked example photos."""

import functools

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from invertavatar.camera import Camera, pixel_centres, rotation_from_angles
from invertavatar.head.driven_head import DrivenHead, dressed_head
from invertavatar.head.known_head import unknown_head, with_outline
from invertavatar.head.topology import JOINT_NAMES as JOINTS
from invertavatar.inversion import Frame, Inversion, Networks, canonical_features, invert_step, render_frame
from invertavatar.models.recurrent_unet import FusionState
from invertavatar.rendering.observation import View
from invertavatar.rendering.resize import resize
from invertavatar.rendering.source_views import FusionSettings, view_weights
from invertavatar.rendering.surface import head_surface
from invertavatar.rendering.uv import uv_atlas
from invertavatar.steps.prior import empty_sum
from tests.landmarks import mean_person
from tests.tiny import tiny_networks

BOTH = pytest.mark.parametrize("preset", ["compact", "paper"])


@pytest.fixture(scope="module")
def atlas(head_model):
    return uv_atlas(head_model.chart, 32)


@pytest.fixture(scope="module")
def off(head_model):
    """The hair that people have on average."""
    return head_model.stand_off(head_model.displacement.no_evidence())


@pytest.fixture(scope="module")
def joints(head_model):
    """Those of the mean person."""
    return mean_person(head_model).joints


@pytest.fixture(scope="module")
def view_of(portrait, head_model, off, joints):
    """`view_of("anna_1")`: an example photo, of a person of whom nothing else is known."""

    def view(name) -> View:
        photo = portrait(name)
        tracked = photo.vertices, photo.expression, photo.rotation, photo.matte, photo.inside
        _, shape, skin = with_outline(head_model, unknown_head(head_model), *tracked)
        neutral = shape.landmarks[None]
        head = dressed_head(head_model, skin, photo.vertices, neutral, off, joints, photo.rotation, torch.zeros(1, 12))
        return View(photo.photo, photo.matte, photo.inside, photo.rotation, skin, head)

    return view


@pytest.fixture(scope="module")
def views(view_of) -> list[View]:
    """Three photos."""
    return [view_of(name) for name in ("anna_1", "anna_2", "anna_3")]


@functools.cache
def networks_of(preset, head_model, **generator) -> Networks:
    """Tests do not change them."""
    return Networks(**tiny_networks(preset, **generator), head_model=head_model)


def inverted(networks, views, atlas, fusion="gru") -> Inversion:
    state = None
    for view in views:
        state, _ = invert_step(networks, state, view, atlas, fusion=fusion)
    return state


def flat(state: FusionState) -> Tensor:
    return torch.cat([hidden.flatten() for hidden in state.hidden])


@pytest.fixture(scope="module")
def frame(atlas, off, joints):
    """`frame(networks, views)`: the first photo's own view of an avatar made of all."""

    def drawn(networks, views, size=64, head: DrivenHead | None = None, camera: Camera | None = None) -> Frame:
        state = inverted(networks, views, atlas)
        features = canonical_features(networks, state, atlas, off, networks.head_model.mean, joints, size)
        head, camera = head or views[0].head, camera or Camera(views[0].rotation)
        return render_frame(networks, state.ws, features, head, camera, size)

    return drawn


def looks(frame: Frame) -> Tensor:
    return torch.cat([frame.colour, frame.opacity], 1)


# Training


@BOTH
def test_gradient_reaches_every_parameter_in_one_training_step(preset, views, frame, head_model):
    networks = Networks(**tiny_networks(preset), head_model=head_model)
    looks(frame(networks, views[:2])).square().mean().backward()
    without = {
        f"{box}.{name}"
        for box, network in networks.trainable.items()
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    # The mapping network belongs to the prior: an inverted w+ comes from the encoder.
    mapping = {f"generator.mapping_network.{name}" for name, _ in networks.generator.mapping_network.named_parameters()}
    # The torso pose is learned from pairs of pictures, and photos come with theirs.
    torso_pose = {name for name in without if name.startswith("triplane_encoder.posture_network.")}
    assert without == mapping | torso_pose


@torch.enable_grad()
def test_gradient_reaches_the_mapping_through_the_prior(views, atlas, head_model, off, joints):
    networks = Networks(**tiny_networks(), head_model=head_model)
    ws = networks.generator.mapping(torch.randn(1, 16, generator=torch.Generator().manual_seed(0)))
    state = inverted(networks, views[:1], atlas)._replace(ws=ws)
    canonical_features(
        networks, state, atlas, off, networks.head_model.mean, joints, 64
    ).planes.square().mean().backward()
    assert all(parameter.grad.any() for parameter in networks.generator.mapping_network.parameters())


@BOTH
@torch.no_grad()
def test_subjects_of_a_batch_do_not_see_each_other(preset, view_of, atlas, head_model, off, joints):
    networks = networks_of(preset, head_model)
    people = [[view_of("anna_1"), view_of("anna_2")], [view_of("ben_1"), view_of("ben_2")]]
    offs, sizes = torch.stack([off, off + 0.02]), torch.stack([joints, joints * 1.05])

    def draw(photos, off, joints):
        state = inverted(networks, photos, atlas)
        features = canonical_features(networks, state, atlas, off, networks.head_model.mean, joints, 64)
        return looks(render_frame(networks, state.ws, features, photos[0].head, Camera(photos[0].rotation), 64))

    def joined(*x):
        return None if x[0] is None else torch.cat(x)

    both = [tree_map(joined, one, other) for one, other in zip(*people, strict=True)]
    together = draw(both, offs, sizes)
    alone = torch.cat([draw(photos, offs[k], sizes[k]) for k, photos in enumerate(people)])
    assert (together - alone).abs().mean() < 1e-4 and (together - alone).abs().max() < 0.02
    assert (alone[0] - alone[1]).abs().max() > 0.1


# One photo more


@torch.no_grad()
def test_a_photo_more_leaves_what_was_known_as_it_was(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    known = inverted(networks, views[:2], atlas)
    before = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, known)
    invert_step(networks, known, views[2], atlas)
    for a, b in zip(tree_leaves(known), tree_leaves(before), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


@torch.no_grad()
def test_what_is_known_is_all_that_a_photo_more_needs(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    state = inverted(networks, views, atlas)
    told = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inverted(networks, views[:2], atlas))
    again, _ = invert_step(Networks(**tiny_networks(), head_model=head_model), told, views[2], atlas)
    for a, b in zip(tree_leaves(state), tree_leaves(again), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b


@BOTH
@torch.no_grad()
def test_only_the_first_photo_decides_w_plus(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    one, three, other = (inverted(networks, chosen, atlas).ws for chosen in (views[:1], views, views[::-1]))
    assert torch.equal(one, three)
    assert not torch.equal(one, other)


@BOTH
@torch.no_grad()
def test_the_residual_to_the_coarse_render_feeds_both_encoders(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    state = inverted(networks, views[:1], atlas)
    step, _ = invert_step(networks, state, views[1], atlas)
    moved, _ = invert_step(networks, state._replace(ws=state.ws + 1), views[1], atlas)  # another coarse render
    assert (flat(step.texture_state) - flat(moved.texture_state)).abs().max() > 1e-3
    assert (flat(step.triplane_state) - flat(moved.triplane_state)).abs().max() > 1e-3


@torch.no_grad()
def test_the_coarse_render_has_the_camera_of_the_generator(views, atlas, head_model):
    states = [inverted(networks_of("paper", head_model, field_of_view=fov), views[:1], atlas) for fov in (0.0, 30.0)]
    assert (flat(states[0].triplane_state) - flat(states[1].triplane_state)).abs().max() > 1e-3


@BOTH
@torch.no_grad()
def test_e_tri_looks_at_the_photo_in_the_paper_and_at_the_frontal_plane_in_compact(preset, views, atlas, head_model):
    networks = networks_of(preset, head_model)
    seen = []
    hook = networks.triplane_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args), with_kwargs=True
    )
    state, _ = invert_step(networks, None, views[1], atlas)  # a head turned by 24 degrees
    hook.remove()
    if preset == "paper":
        expected = resize(resize(views[1].photo, 128) * resize(views[1].matte, 128), 64)
    else:
        front = state.views.front[:, 0]
        expected = resize(front[:, :3] * front[:, 3:4], 64)
    assert torch.equal(seen[0][0], expected)
    assert [look.shape for look in seen[0]] == [(1, c, 64, 64) for c in (3, 1, 3, 1)[: len(seen[0])]]


@torch.no_grad()
def test_in_the_frontal_plane_a_turned_photo_is_a_frontal_one_where_it_sees_the_head(views, atlas, head_model):
    networks, fine = networks_of("compact", head_model), uv_atlas(head_model.chart, 128)
    frontal, turned = (invert_step(networks, None, view, fine)[0].views.front[0, 0] for view in views[:2])
    right, up = pixel_centres(128)
    face = (right.abs() < 0.5) & (up.abs() < 0.5)
    seen = face & (turned[4] > 0.9) & (frontal[4] > 0.9)
    error = (turned[:3] - frontal[:3]).abs().mean(0)
    naive = (resize(views[1].photo, 128)[0] - frontal[:3]).abs().mean(0)
    assert error[seen].mean() < 0.65 * naive[seen].mean()
    # The face is turned to the left: beyond the nose its left side hides a part of itself, of which nothing is told.
    hidden = [((front[4] < 0.1) & face & (side * right > 0)).sum() for front in (frontal, turned) for side in (1, -1)]
    assert hidden[3] > 300 > 2 * max(hidden[:3])


# Fusion


@torch.no_grad()
def test_fusion_first_keeps_the_first_photo_s_features(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    one, three = inverted(networks, views[:1], atlas), inverted(networks, views, atlas, "first")
    assert torch.equal(flat(one.texture_state), flat(three.texture_state))
    assert torch.equal(flat(one.triplane_state), flat(three.triplane_state))
    assert three.texture_state.count == 3
    assert torch.equal(one.texture_sum, three.texture_sum)
    assert all(torch.equal(a, b) for a, b in zip(one.views, three.views, strict=True))


@torch.no_grad()
def test_fusion_mean_does_not_depend_on_the_order_of_later_photos_but_gru_does(views, atlas, head_model):
    networks = networks_of("compact", head_model)

    def difference(fusion):
        a, b, c = views
        states = [inverted(networks, order, atlas, fusion) for order in ([a, b, c], [a, c, b])]
        return max(
            (flat(getattr(states[0], name)) - flat(getattr(states[1], name))).abs().max()
            for name in ("texture_state", "triplane_state")
        )

    assert difference("mean") < 1e-5
    assert difference("gru") > 1e-2


@torch.no_grad()
def test_fusion_mean_of_one_photo_twice_is_that_photo_once(views, atlas, head_model):
    networks = networks_of("compact", head_model)
    once, twice = (inverted(networks, views[:1] * count, atlas, "mean") for count in (1, 2))
    assert torch.equal(flat(once.texture_state), flat(twice.texture_state))


@pytest.mark.parametrize("fusion", ["gru", "mean"])
@torch.no_grad()
def test_observed_colours_add_up_in_any_order(fusion, views, atlas, head_model):
    networks = networks_of("compact", head_model)
    forward, backward = (inverted(networks, order, atlas, fusion) for order in (views, views[::-1]))
    assert (forward.texture_sum - backward.texture_sum).abs().max() < 1e-5
    for name in ("front", "picture", "skin"):
        assert torch.equal(getattr(forward.views, name), getattr(backward.views, name).flip(1))


@torch.no_grad()
def test_with_gru_photos_count_by_their_weight_and_pose_and_with_mean_alike(views, atlas, head_model):
    networks, half = networks_of("compact", head_model), torch.full((1,), 0.5)
    weights = {}
    for fusion in ("gru", "mean"):
        state, _ = invert_step(networks, None, views[0], atlas, half, fusion)
        state, _ = invert_step(networks, state, views[1], atlas, None, fusion)
        weights[fusion] = view_weights(state.views, views[0].rotation, None, FusionSettings())[0].tolist()
        assert state.views.weight[0, 0] == 0.5
    assert weights["gru"][0] == 1 and weights["gru"][1] < 0.01
    assert weights["mean"] == [0.5, 1]


# Frames


@torch.no_grad()
def test_the_paper_preset_keeps_its_photos_and_looks_none_up(views, atlas, head_model, off, joints):
    networks = networks_of("paper", head_model)
    features = canonical_features(
        networks, inverted(networks, views, atlas), atlas, off, networks.head_model.mean, joints, 64
    )
    assert features.views.weight.shape == (1, 3) and features.sources is features.fill is None


@torch.no_grad()
def test_photos_are_looked_up_as_finely_as_frames_need_them(views, atlas, head_model, off, joints):
    networks = networks_of("compact", head_model, image_resolution=32, detail_resolution=128)
    state = inverted(networks, views[:1], atlas)
    assert state.views.picture.shape[-1] == 128
    for size, kept in ((16, 32), (32, 32), (48, 64), (64, 64), (300, 128)):
        features = canonical_features(networks, state, atlas, off, networks.head_model.mean, joints, size)
        assert features.sources.picture.shape[-1] == kept


@torch.no_grad()
def test_photos_lie_on_the_head_that_all_of_them_know(views, atlas, head_model, off, joints):
    networks = networks_of("compact", head_model)
    state = inverted(networks, views[:1], atlas)
    bald, curly = (
        canonical_features(networks, state, atlas, x, networks.head_model.mean, joints, 64).sources.place
        for x in (0 * off, off + 0.1)
    )
    face = (head_model.displacement.share == 0) & (head_model.skin_weights[:, JOINTS.index("head")] > 0.99)
    expected = Camera(views[0].rotation).project(views[0].skin)
    torch.testing.assert_close(bald[0, :, face], expected[:, face], atol=1e-4, rtol=0)
    assert (curly - bald).abs().max() > 0.05


@torch.no_grad()
def test_before_anything_is_learned_a_photo_s_own_view_is_the_photo(views, view_of, frame, head_model):
    networks = networks_of("compact", head_model, output_gain=0.0, detail_resolution=128)
    ben = view_of("ben_1")
    drawn = frame(networks, [ben], 128)
    photo, person, inside = (resize(x, 128) for x in (ben.photo, ben.matte, ben.inside))
    error = (drawn.colour / drawn.opacity - photo).abs().mean(1, keepdim=True)[person > 0.99]
    assert error.mean() < 0.1 and error.median() < 0.05
    assert (drawn.opacity - person)[inside > 0.99].abs().mean() < 0.03


@torch.no_grad()
def test_frames_are_made_of_the_photos_that_they_are_told_to(views, atlas, head_model, off, joints):
    networks = networks_of("compact", head_model)
    state, camera = inverted(networks, views[:2], atlas), Camera(views[0].rotation)
    features = canonical_features(networks, state, atlas, off, networks.head_model.mean, joints, 64)
    own, first, second = (
        render_frame(networks, state.ws, features, views[0].head._replace(blend=blend), camera, 64).colour
        for blend in (None, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    )
    assert (own - first).abs().max() < 1e-5  # of which it is the pose
    assert (own - second).abs().max() > 0.1


@BOTH
@pytest.mark.parametrize("size", [48, 128, 150])
@torch.no_grad()
def test_frames_come_in_any_size(preset, size, views, frame, head_model):
    drawn = frame(networks_of(preset, head_model), views[:1], size)
    assert drawn.colour.shape == (1, 3, size, size)
    assert drawn.opacity.shape == drawn.depth.shape == (1, 1, size, size)
    assert all(x.isfinite().all() for x in drawn[:3]) and drawn.opacity.min() >= 0 and drawn.opacity.max() <= 1


@torch.no_grad()
def test_the_depth_of_a_frame_is_that_of_the_head(views, frame, head_model):
    drawn, camera = frame(networks_of("compact", head_model), views[:1], 128), Camera(views[0].rotation)
    surface = head_surface(head_model, views[0].head, camera, 128)
    hit = surface.mask > 0
    torch.testing.assert_close((drawn.depth / drawn.opacity)[hit], surface.depth[hit])
    beside = (drawn.opacity > 0.5) & ~hit
    assert (drawn.depth / drawn.opacity)[beside].abs().max() <= surface.depth.abs().max()


@BOTH
@torch.no_grad()
def test_frames_follow_zoom_and_perspective(preset, views, frame, head_model):
    networks = networks_of(preset, head_model)
    plain, near, perspective = (
        looks(frame(networks, views[:1], camera=Camera(views[0].rotation, *camera)))
        for camera in ((), (0.0, 1.5), (25.0, 1.0))
    )
    assert (plain - near).abs().mean() > 0.01 and (plain - perspective).abs().mean() > 1e-3


@torch.no_grad()
def test_a_sampled_person_has_the_colours_of_the_tri_plane(atlas, head_model, off, joints, views):
    networks = networks_of("compact", head_model, output_gain=0.0)
    nothing, ws = FusionState([], 0), torch.zeros(1, networks.generator.num_ws, 16)
    state = Inversion(ws, nothing, nothing, empty_sum(32, torch.device("cpu")), None)
    features = canonical_features(networks, state, atlas, off, networks.head_model.mean, joints, 64)
    features = features._replace(planes=features.planes.clone())
    features.planes[:, 4] = 0.8  # red of the plane (x, z), which the face window does not cover
    camera = Camera(rotation_from_angles(torch.tensor([150.0])))
    drawn = render_frame(networks, ws, features, views[0].head, camera, 128)
    surface = head_surface(head_model, views[0].head, camera, 128)
    inner = -torch.nn.functional.max_pool2d(-surface.mask, 9, 1, 4) > 0  # of coarser pixels than these
    colour = drawn.colour / drawn.opacity
    assert (colour[:, :1] - 0.8)[inner].abs().max() < 0.02 and colour[:, 1:2][inner].abs().max() < 0.02
    assert drawn.opacity[inner].min() > 0.95


# Precision


@BOTH
@pytest.mark.parametrize(("dtype", "mean", "largest"), [(torch.float16, 0.001, 0.02), (torch.bfloat16, 0.01, 0.2)])
@torch.no_grad()
def test_half_precision_networks_draw_the_same_picture(preset, dtype, mean, largest, views, frame, head_model):
    full = looks(frame(networks_of(preset, head_model), views[:2]))
    half = {name: network.to(dtype) for name, network in tiny_networks(preset).items()}
    difference = (looks(frame(Networks(**half, head_model=head_model), views[:2])) - full).abs()
    assert difference.mean() < mean and difference.max() < largest


@BOTH
@torch.no_grad()
def test_bfloat16_autocast_draws_the_same_picture(preset, views, frame, head_model):
    networks = networks_of(preset, head_model)
    full = looks(frame(networks, views[:2]))
    with torch.autocast("cpu", torch.bfloat16):
        difference = (looks(frame(networks, views[:2])) - full).abs()
    assert 0 < difference.mean() < 0.01
