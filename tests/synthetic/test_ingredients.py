"""What synthetic people are made of, each drawn by a seed: light, expressions, views, backdrops, colours, glasses."""

import numpy as np
import pytest
import torch
from PIL import Image

from invertavatar.camera import angles_from_rotation
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.head.head_model import LABELS
from invertavatar.head.makehuman import Surface
from invertavatar.synthetic.backdrops import random_backdrop
from invertavatar.synthetic.colours import GAMMA, Texture, blended, encoded, hair_colour
from invertavatar.synthetic.expressions import random_expression
from invertavatar.synthetic.glasses import Glasses
from invertavatar.synthetic.light import Light, random_light, sphere
from invertavatar.synthetic.person import Part, PosedPerson
from invertavatar.synthetic.scene import draw
from invertavatar.synthetic.shading import skylight
from invertavatar.synthetic.studio import DRESSED_LABELS
from invertavatar.synthetic.views import MOST_TURN, random_views, views_at
from invertavatar.synthetic.wardrobe import Material, Traits


def test_light_is_never_dark_and_turns_with_what_it_is_fixed_to():
    for seed in range(40):
        light = random_light(np.random.default_rng(seed))
        assert light.radiance.min() >= 0
        assert 0.2 < 4 * light.radiance.mean() + light.lamp_colour.mean() < 8
        np.testing.assert_allclose(np.linalg.norm(light.lamp), 1)
        about_y = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # what came from ahead comes from the right
        ahead = Light(light.directions, light.radiance, np.array([0.0, 0, 1]), light.lamp_colour)
        np.testing.assert_allclose(ahead.turned(about_y).lamp, [1, 0, 0])


def test_directions_of_the_sky_are_spread_evenly():
    np.testing.assert_allclose(sphere(200).mean(0), 0, atol=0.01)
    np.testing.assert_allclose(sphere(200).T @ sphere(200) / 200, np.eye(3) / 3, atol=0.01)


def test_one_light_in_four_is_strong_and_from_the_side():
    lights = [random_light(np.random.default_rng(seed)) for seed in range(400)]
    strong = [
        abs(light.lamp[0]) > 0.45 and light.lamp_colour.mean() > 0.6 * 4 * light.radiance.mean() for light in lights
    ]
    assert 0.15 < np.mean(strong) < 0.5


def test_expressions_are_scores_that_use_every_axis_and_look_one_way():
    scores = np.stack([random_expression(np.random.default_rng(seed)) for seed in range(2000)])
    assert scores.shape == (2000, 52)
    assert scores.min() >= 0 and scores.max() <= 1
    assert (scores.max(0) > 0.3).all()

    def score(name):
        return scores[:, ARKIT_NAMES.index(name)]

    usual = np.minimum(score("eyeLookInLeft"), score("eyeLookOutLeft")) == 0
    assert usual.mean() > 0.95  # but where an axis moves alone


def test_views_are_where_they_were_asked_for_and_necks_bend_no_further_than_they_can():
    yaws = [-90, -30, 0, 60, 180]
    views = views_at(np.random.default_rng(0), yaws)
    angles = angles_from_rotation(torch.from_numpy(np.stack([view.rotation for view in views]))).numpy()
    np.testing.assert_allclose(np.cos(np.radians(angles[:, 0] - yaws)), 1, atol=1e-6)
    np.testing.assert_allclose(angles[:, 1:] % 360, 0, atol=1e-3)
    for view in random_views(np.random.default_rng(1), 100) + views:
        head_to_torso = angles_from_rotation(torch.from_numpy(view.head_to_torso)).numpy()
        assert (np.abs(head_to_torso) <= np.array(MOST_TURN) + 1e-3).all()
        np.testing.assert_allclose(view.body @ view.head_to_torso, view.rotation, atol=1e-6)


def test_backdrops_differ_and_are_pictures():
    pictures = [random_backdrop(np.random.default_rng(seed), 32) for seed in range(8)]
    for picture in pictures:
        assert picture.shape == (32, 32, 3)
        assert picture.min() >= 0 and picture.max() <= 1
    assert np.std([picture.mean() for picture in pictures]) > 0.05


def test_a_texture_has_no_fringe_of_the_colour_that_hides_behind_its_alpha(tmp_path):
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:, :3] = (255, 0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "t.webp", lossless=True, exact=True)
    texture = Texture.read(tmp_path / "t.webp", 4)
    assert texture.colour.shape == (4, 4, 4)
    np.testing.assert_allclose(texture.colour[..., 0], 1, atol=0.01)  # red everywhere, not black where it ends
    assert texture.alpha[0].tolist() == [255, 128, 0, 0]


def test_dyeing_keeps_light_and_dark_and_mixing_lies_between():
    ramp = Texture.of(np.tile(np.linspace(0.1, 0.5, 8)[None, :, None], (8, 1, 4)) * [1, 0.5, 0.2, 0] + [0, 0, 0, 1])
    dyed = ramp.dyed(np.array([0.1, 0.2, 0.4])).colour
    assert (np.diff(dyed[0, :, 2]) > 0).all()
    np.testing.assert_allclose(dyed[..., 2] / dyed[..., 0], 4, rtol=1e-3)
    white = Texture.of(np.ones((4, 4, 4)))
    np.testing.assert_allclose(blended(ramp, white, 0.25).colour, 0.75 * ramp.colour + 0.25, atol=1e-6)


def test_hair_greys_with_age():
    def brightness(age):
        return np.mean([hair_colour(np.random.default_rng(s), np.array([1.0, 0, 0]), age).mean() for s in range(50)])

    assert brightness(1.0) > 3 * brightness(0.0)


def test_brightness_is_kept_up_to_the_shoulder_and_never_clips():
    np.testing.assert_allclose(encoded(np.array([0.2, 0.5])) ** GAMMA, [0.2, 0.5])
    bright = encoded(np.array([0.7, 1.0, 2.0]))
    assert (np.diff(bright) > 0).all() and bright[-1] < 1


def test_traits_are_read_from_the_shape():
    mixture = {
        "macrodetails/asian-female-old": 0.75,
        "macrodetails/african-male-old": 0.25,
        "nose/nose-width-incr": 1.0,
    }
    traits = Traits.of(mixture)
    np.testing.assert_allclose(traits.races, [0.25, 0.75, 0])
    assert (traits.female, traits.old, traits.child) == (0.75, 1.0, 0.0)


def test_glasses_sit_before_the_eyes_and_end_at_the_ears(head_model):
    landmarks = head_model.landmarks(head_model.mean).double().numpy()
    ears = head_model.mean[head_model.triangles[head_model.label == LABELS.index("ear")].long().unique()].numpy()
    for seed in range(5):
        frame, lenses = Glasses.random(np.random.default_rng(seed)).on(landmarks, ears)
        assert lenses.vertices[:, 2].min() > landmarks[[468, 473], 2].max() - 0.02
        assert frame.vertices[:, 2].min() > ears[:, 2].min() - 0.2
        assert np.abs(frame.vertices[:, 0]).max() < np.abs(ears[:, 0]).max() + 0.05
        assert frame.triangles.max() < len(frame.vertices)


def plate(depth: float, half: float = 0.5) -> np.ndarray:
    return np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half + [0, 0, depth]


def part(vertices, colour, label="face", opacity=1.0, card=False) -> Part:
    surface = Surface(
        vertices, np.full((1, 2), 0.5), np.array([[0, 1, 2], [0, 2, 3]]), np.zeros((2, 3), int), np.array(["", ""])
    )
    normals = np.tile([0.0, 0, 1], (4, 1))
    texture, labels = Texture.plain(colour, opacity), np.full(2, DRESSED_LABELS.index(label), np.uint8)
    return Part(surface, vertices, normals, texture, labels, Material(), card)


@pytest.fixture
def white_sky() -> Light:
    return Light(sphere(24), np.ones((24, 3)), np.array([0.0, 0, 1]), np.zeros(3))


def test_what_is_drawn_is_where_it_is_known_to_be(white_sky):
    parts = [part(plate(0.2), (0.4, 0.2, 0.1)), part(plate(0.6, 0.25), (0.1, 0.1, 0.6), "hair", 0.75, card=True)]
    person = PosedPerson(parts, np.zeros((478, 3)), np.zeros((1, 3)), np.zeros(52))
    seen = draw(person, np.eye(3, dtype=np.float32), white_sky, np.full((32, 32, 3), 0.5, np.float32))
    assert seen.matte[16, 16] == 255 and seen.matte[0, 0] == 0
    assert (seen.matte > 0).sum() == 256  # a square of half the picture's side
    assert DRESSED_LABELS[seen.labels[16, 16]] == "hair" and DRESSED_LABELS[seen.labels[10, 10]] == "face"
    np.testing.assert_allclose([seen.depth[16, 16], seen.depth[10, 10]], [0.6, 0.2], atol=1e-6)
    assert np.isnan(seen.depth[0, 0]) and not seen.normals[0, 0].any()
    np.testing.assert_allclose(seen.normals[16, 16], [0, 0, 1], atol=1e-6)
    assert abs(int(seen.picture[0, 0, 0]) - 128) <= 1  # the backdrop
    assert seen.picture[16, 16, 2] > seen.picture[10, 10, 2]


def test_a_roof_keeps_the_sky_off(white_sky):
    floor, roof = part(plate(-0.2, 0.2), (1, 1, 1)), part(plate(0.1, 1.2), (1, 1, 1))
    (alone,), (under, _) = skylight([floor], white_sky), skylight([floor, roof], white_sky)
    np.testing.assert_allclose(alone, 1, atol=0.15)  # a white surface under a white sky is white
    assert under.max() < 0.3
