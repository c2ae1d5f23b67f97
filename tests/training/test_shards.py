import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from invertavatar.camera import angles_from_rotation, rotation_from_angles
from invertavatar.errors import InvertAvatarError
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.tracking.portrait import FEATHER, feathered
from invertavatar.training import episodes
from invertavatar.training.augment import Augmentation, cut_off, mirrored
from invertavatar.training.episodes import Episodes, EpisodeSizes, draw_faces, real_pixels
from invertavatar.training.observation import Observation
from invertavatar.training.shards import (
    PreparedFace,
    Shards,
    Source,
    encode_picture,
    held_out,
    pack,
    write_shard,
)
from tests.landmarks import mean_landmarks

SIZE = 64


def made_face(person="p0", source="a", frame=0, kind="clip", yaw=0.0, seed=0):
    """A gradient for a picture, with a face that is the mean of no one."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (SIZE, 1)), np.tile(ramp[:, None], (1, SIZE)), np.full((SIZE, SIZE), frame)], -1)
    return PreparedFace(
        picture=encode_picture(picture.astype(np.uint8)),
        matte=encode_picture(np.full((SIZE, SIZE), 255, np.uint8)),
        vertices=rng.uniform(-0.5, 0.5, (478, 3)).astype(np.float16),
        expression=rng.integers(0, 256, 52).astype(np.uint8),
        rotation=rotation_from_angles(yaw).numpy(),
        inside=np.array([0, 0, SIZE, 40], np.int16),
        sharpness=0.5,
        person=person,
        source=source,
        frame=frame,
        kind=kind,
    )


@pytest.fixture
def shards(tmp_path, head_model):
    """Three people: a clip of six frames, two views, and a still."""
    faces = [made_face("clip", "c", k, "clip", seed=k) for k in range(6)]
    faces += [made_face("views", f"v{k}", 0, "views", 20.0 * k, seed=k) for k in range(2)]
    faces += [made_face("still", "s", 0, "still")]
    pack(faces, tmp_path)
    return Shards([tmp_path])


def test_a_face_read_from_a_shard_is_the_face_that_was_written(tmp_path):
    face = made_face(yaw=30.0, frame=7, seed=3)
    write_shard(tmp_path / "a.safetensors", [made_face(frame=1), face])
    read = Shards([tmp_path / "a.safetensors"]).prepared(1)
    for name in ("picture", "matte", "person", "source", "frame", "kind", "sharpness"):
        assert getattr(read, name) == getattr(face, name)
    for name in ("vertices", "expression", "rotation", "inside"):
        np.testing.assert_array_equal(getattr(read, name), getattr(face, name))


def test_pictures_survive_compression_within_a_few_grey_levels(shards):
    ramp = np.linspace(0, 255, SIZE)
    assert np.abs(shards.picture(0)[:, :, 0] - ramp).mean() < 6


def test_the_matte_is_zero_where_the_crop_has_no_pixels(shards):
    matte = shards.matte(0)
    assert matte[:40].min() > 250
    assert matte[40:].max() == 0


def test_a_full_shard_is_followed_by_another_and_a_clip_across_both_stays_one_source(tmp_path):
    faces = [made_face(frame=k) for k in range(4)]
    files = pack(faces, tmp_path, max_bytes=2 * faces[0].size + 1)
    assert [file.name for file in files] == ["shard_0000.safetensors", "shard_0001.safetensors"]
    (source,) = Shards([tmp_path]).sources
    assert source.faces.tolist() == [0, 1, 2, 3]


def test_held_out_people_are_the_same_in_every_data_set_and_about_as_many_as_asked_for():
    out = [held_out(f"person {k}", 0.25) for k in range(2000)]
    assert out == [held_out(f"person {k}", 0.25) for k in range(2000)]
    assert 0.2 < np.mean(out) < 0.3


def test_nobody_is_in_both_training_and_validation(tmp_path, head_model):
    pack([made_face(f"p{k}", "a", 0, "still", seed=k) for k in range(20)], tmp_path)
    shards = Shards([tmp_path])
    sides = [Episodes(shards, head_model, EpisodeSizes(), 0.4, validation) for validation in (False, True)]
    trained, validated = (set(side.people["still"]) for side in sides)
    assert trained | validated == set(shards.people)
    assert not trained & validated


def test_a_folder_without_shards_is_an_error_that_says_how_to_make_some(tmp_path):
    with pytest.raises(
        InvertAvatarError, match=r"There are no shards at .*; make some with scripts/prepare_dataset\.py"
    ):
        Shards([tmp_path])


def test_a_file_that_is_no_shard_is_an_error_that_names_it(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no shard")
    with pytest.raises(InvertAvatarError, match=r"x\.safetensors is damaged or no shard"):
        Shards([tmp_path])


def test_an_episode_depends_on_seed_and_step_alone(shards, head_model):
    def draw(seed, step):
        sizes = EpisodeSizes(2, (1, 3))
        return Episodes(shards, head_model, sizes, augmentation=Augmentation(), seed=seed)[step]

    first, again, other = draw(5, 9), draw(5, 9), draw(5, 10)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.photos.shape != other.photos.shape or not torch.equal(first.photos, other.photos)


def test_two_processes_draw_different_people_but_equally_many_photos(shards, head_model):
    sizes = EpisodeSizes(4, (1, 4))
    pair = [Episodes(shards, head_model, sizes, process=(rank, 2)) for rank in (0, 1)]
    for step in range(2):
        first, second = (episodes[step] for episodes in pair)
        assert first.photos.shape == second.photos.shape
        assert not torch.equal(first.landmarks, second.landmarks)


@pytest.mark.parametrize(("mix", "only"), [((0, 1, 0), True), ((1, 0, 1), False)])
def test_the_shares_of_kinds_are_kept(shards, head_model, mix, only):
    episode = Episodes(shards, head_model, EpisodeSizes(8, (1, 1), mix=mix))[0]
    turned = (episode.rotations[:, 0] - episode.target_rotations[:, 0]).abs().amax((1, 2)) > 0.1  # views alone are
    assert bool(turned.all()) is bool(turned.any()) is only


def test_targets_are_no_source_photos_unless_there_is_only_one_face():
    rng = np.random.default_rng(0)
    clip = [Source("p", "c", "clip", np.arange(10, 16))]
    turned = rotation_from_angles(torch.linspace(-30, 30, 16)).numpy()
    for _ in range(50):
        photos, targets = draw_faces(clip, 4, 2, turned, rng)
        assert not set(photos) & set(targets)
        assert list(photos) == sorted(photos)
    photos, targets = draw_faces([Source("p", "s", "still", np.array([3]))], 2, 1, turned, rng)
    assert photos.tolist() == [3, 3]
    assert targets.tolist() == [3]


def test_photos_and_targets_lie_at_all_angles_alike():
    """In a clip that is frontal but for a few frames, and either of the two may be the turned one."""
    rng = np.random.default_rng(0)
    yaw = np.concatenate([rng.normal(0, 1, 90), np.linspace(3, 40, 10)])
    rotations = rotation_from_angles(torch.from_numpy(yaw).float()).numpy()
    clip, away, turned = [Source("p", "c", "clip", np.arange(100))], [], 0
    for _ in range(400):
        [photo], [target] = draw_faces(clip, 1, 1, rotations, rng)
        away.append(abs(yaw[photo] - yaw[target]))
        turned += yaw[photo] > 20
    counts, _ = np.histogram(away, [0, 10, 20, 30, 40])
    assert counts.min() > 60  # of 400; drawn evenly 8 in ten would lie in the first
    assert 60 < turned < 200


def test_the_neutral_face_after_each_photo_is_the_one_the_pipeline_finds(shards, head_model):
    episode = Episodes(shards, head_model, EpisodeSizes(1, (3, 3)))[0]
    assert episode.neutrals.shape == (1, 3, 478, 3)
    faces = [np.abs(shards.vertices.astype(np.float32) - v.numpy()).sum((1, 2)).argmin() for v in episode.landmarks[0]]
    neutral_sum = torch.zeros(478, 3)
    for count, face in enumerate(faces, 1):
        scores = torch.from_numpy(shards.expression[face] / 255).float()[None]
        tracked, rotation = (torch.from_numpy(x[face]).float()[None] for x in (shards.vertices, shards.rotation))
        neutral_sum = neutral_sum + head_model.without_expression(head_model.unbiased(tracked, rotation), scores)[0]
        torch.testing.assert_close(episode.neutrals[0, count - 1], head_model.shape(neutral_sum, count).landmarks)


@pytest.mark.parametrize(("platform", "method"), [("linux", "fork"), ("darwin", "spawn"), ("win32", "spawn")])
def test_workers_are_forked_on_linux_only(monkeypatch, platform, method):
    monkeypatch.setattr(episodes, "sys", SimpleNamespace(platform=platform))
    assert episodes.start_method() == method


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_worker_prepares_the_episodes_that_the_process_itself_would(shards, head_model, monkeypatch, method):
    monkeypatch.setattr(episodes, "start_method", lambda: method)
    head_model = copy.deepcopy(head_model)  # what is sent to a worker is moved
    data = Episodes(shards, head_model, EpisodeSizes(1, (1, 2)), augmentation=Augmentation())
    (made,) = data.loader(3, 4, workers=1)
    for got, expected in zip(made, data[3], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_mirroring_turns_a_head_to_the_other_side_and_swaps_left_and_right(head_model):
    expression = np.zeros(52, np.float32)
    expression[ARKIT_NAMES.index("mouthSmileLeft")] = 1
    o = Observation(
        picture=np.arange(SIZE * SIZE * 3, dtype=np.uint32).reshape(SIZE, SIZE, 3).astype(np.uint8),
        matte=np.zeros((SIZE, SIZE), np.uint8),
        vertices=mean_landmarks(head_model).numpy() + np.array([0.1, 0, 0], np.float32),
        expression=expression,
        rotation=rotation_from_angles(25.0, 10.0, 5.0).numpy(),
        inside=np.array([4, 0, SIZE, SIZE]),
        sharpness=1.0,
    )
    mirror = head_model.chart.mirror[:478].numpy()
    m = mirrored(o, mirror)
    torch.testing.assert_close(
        angles_from_rotation(torch.from_numpy(m.rotation)), torch.tensor([-25.0, 10.0, -5.0]), atol=1e-3, rtol=0
    )
    assert m.expression[ARKIT_NAMES.index("mouthSmileRight")] == 1
    assert m.inside.tolist() == [0, 0, SIZE - 4, SIZE]
    np.testing.assert_array_equal(m.picture[:, 0], o.picture[:, -1])
    np.testing.assert_allclose(m.vertices.mean(0)[0], -0.1, atol=0.02)  # the mean face is symmetric
    np.testing.assert_allclose(mirrored(m, mirror).vertices, o.vertices, atol=1e-6)


def test_a_photo_that_is_cut_off_repeats_its_edge_and_has_no_matte_there():
    picture = np.tile(np.arange(SIZE, dtype=np.uint8)[None, :, None], (SIZE, 1, 3))
    matte, inside = np.full((SIZE, SIZE), 255, np.uint8), np.array([0, 0, SIZE, SIZE])
    o = Observation(picture, matte, np.zeros((478, 3)), np.zeros(52), np.eye(3), inside, 1.0)
    cut = cut_off(o, 0, 0.25)
    assert cut.inside.tolist() == [16, 0, SIZE, SIZE]
    assert (cut.picture[:, :16] == 16).all()
    assert (cut.matte[:, :16] == 0).all()
    assert (cut.matte[:, 16:] == 255).all()


def test_real_pixels_fade_toward_their_border_as_in_a_portrait():
    inside = np.zeros((SIZE, SIZE), bool)
    inside[5:50, 10:] = True
    expected = torch.from_numpy(feathered(inside))
    got = real_pixels(torch.tensor([10, 5, SIZE, 50]), SIZE, FEATHER)[0]
    torch.testing.assert_close(got, expected, atol=0.05, rtol=0)  # cv2 measures distances within 5 %
