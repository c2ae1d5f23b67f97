"""How a person is looked at, beneath the page."""

import logging
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from invertavatar import Motion
from invertavatar.app import drivers, films, model, people, views
from invertavatar.app.films import Film
from invertavatar.app.progress import Job
from invertavatar.evaluation.spoken import synthesized
from invertavatar.head.arkit import ARKIT_NAMES
from invertavatar.media import VideoReader, VideoWriter, probe
from invertavatar.media.sound_length import frames_of_sound, sound_seconds
from tests.app.conftest import EXAMPLES

SIZE = 64
OPTIONS = {"relative_motion": True, "height": SIZE, "background": "gray"}


@pytest.fixture
def person(tiny_pipeline, tiny_avatar, monkeypatch):
    monkeypatch.setattr(model, "load", lambda: model.Model(tiny_pipeline, tiny_pipeline.recorder))
    monkeypatch.setattr(model, "bake", lambda avatar: tiny_pipeline.bake(avatar, texture_size=256))
    monkeypatch.setattr(model, "_baked", WeakKeyDictionary())
    return people.built(tiny_avatar)


def frames(person, motion, **options):
    return list(model.frames(person.avatar, motion, relative_motion=False, height=SIZE, **options))


def test_the_orbit_shows_what_stills_of_the_turned_person_show(person):
    expression = {"jawOpen": 0.4}
    motion, camera = views.orbit(person, expression)
    second = views.ORBIT_RATE * 3 // 4  # the first key frame to the side
    assert camera["yaw"][second] == pytest.approx(views.ORBIT[1][1], abs=1e-3)
    assert camera["pitch"][second] == pytest.approx(0, abs=1e-3)
    whole = {"expression": expression, "height": SIZE, "turn_body": True}
    film = frames(person, motion[second : second + 1], yaw=camera["yaw"][second])
    assert np.abs(film[0].astype(int) - model.pictures(person.avatar, yaw=30, **whole)[0][0]).max() <= 1


def test_the_camera_of_the_orbit_turns_from_frame_to_frame(person):
    motion, camera = views.orbit(person, {})
    clip, camera = motion[:10:9], {name: angles[:10:9] for name, angles in camera.items()}
    # Hair changes over from photo to photo in time, which a frame alone has none of.
    together = frames(person, clip, **camera, crossfade=0)
    alone = [frames(person, clip[k : k + 1], **{name: a[k] for name, a in camera.items()})[0] for k in (0, 1)]
    # How sums are shared out between threads rounds differently on some processors.
    assert np.abs(np.stack(together).astype(int) - np.stack(alone)).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 1


def test_depth_is_brighter_the_nearer_and_black_where_there_is_nothing():
    depth = np.array([[np.nan, -2.0, -0.5], [0.25, 1.0, 3.0]])
    assert views.depth_picture(depth)[..., 0].tolist() == [[0, 32, 32], [144, 255, 255]]


def test_a_photo_drives_as_it_is_and_without_a_warning(person, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        job = Job(films.animate(person, str(EXAMPLES / "ben_2.jpg"), tmp_path, Film(OPTIONS, 60, mark=False)))
        reports = [report for report in job if report.frame is not None]
    assert not caplog.messages
    motion = model.load().pipe.track(EXAMPLES / "ben_2.jpg")
    assert np.array_equal(reports[-1].frame, frames(person, motion)[0])


def test_the_first_frame_is_shown_before_the_second_is_rendered(person, tmp_path):
    motion = Motion(rotation=torch.eye(3).repeat(9, 1, 1), expression=torch.rand(9, 52))
    rendered = []

    def counted():
        for frame in frames(person, motion):
            rendered.append(frame)
            yield frame

    report = next(films.write_film(tmp_path / "film.mp4", counted(), motion))
    assert len(rendered) == 1
    assert np.array_equal(report.frame, rendered[0])


def late_film(folder, blanks: int, faces: int, then: int = 0):
    """A clip that is black, shows a face, and is black again: so many frames of each, at 25 a second."""
    black = np.zeros((192, 192, 3), np.uint8)
    with VideoReader(EXAMPLES / "talk_a.mp4") as video:
        shown = [np.asarray(Image.fromarray(frame).resize((192, 192))) for frame in islice(video, faces)]
    with VideoWriter(folder / "late.mp4", 25, quality="draft") as writer:
        for picture in [black] * blanks + shown + [black] * then:
            writer.write(picture)
    return str(folder / "late.mp4")


@pytest.mark.parametrize(("blanks", "faces", "then"), [(9, 8, 0), (1, 3, 5), (0, 1, 0)])
def test_a_driver_whose_face_comes_late_or_leaves_gives_its_whole_film(person, tmp_path, blanks, faces, then):
    source = late_film(tmp_path, blanks, faces, then)
    job = Job(films.animate(person, source, tmp_path, Film(OPTIONS, 60, mark=False)))
    previews = [report.frame for report in job if report.frame is not None]
    film, _ = job.result
    assert probe(film).num_frames == blanks + faces + then
    motion = Motion.load(tmp_path / "late_motion.safetensors")
    assert motion.found.tolist() == [False] * blanks + [True] * faces + [False] * then
    assert torch.equal(motion.expression[: blanks + 1], motion.expression[blanks].expand(blanks + 1, -1))
    assert len(previews) >= 1


def test_a_voice_drives_alone_and_beside_a_photo_and_lends_its_sound(person, tmp_path):
    samples, rate, _ = synthesized("Bob may.")
    speech, photo, motions = str(tmp_path / "bob.wav"), str(EXAMPLES / "ben_2.jpg"), []
    wavfile.write(speech, rate, samples)
    for source, target in ((speech, tmp_path / "alone"), (photo, tmp_path / "beside")):
        target.mkdir()
        job = Job(films.animate(person, source, target, Film(OPTIONS, 60, mark=False, speech=speech)))
        assert "listening" in [report.text for report in job]
        film, _ = job.result
        assert probe(film).num_frames == frames_of_sound(len(samples) / rate, 25) and sound_seconds(film) > 0.5
        motions.append(Motion.load(next(target.glob("*_motion.safetensors"))))
    alone, beside = (motion.expression[:, ARKIT_NAMES.index("jawOpen")] for motion in motions)
    assert torch.equal(alone, beside)
    assert alone.max() > 0.3


def test_a_baked_avatar_follows_a_driver_that_is_still_read(person, tmp_path, monkeypatch):
    """From the first moment with a face on, and again before the first full frame, in the film's own size."""
    monkeypatch.setattr(drivers, "NEWS", 0)
    head = model.baked(person.avatar)
    shown = [
        (report.text, report.frame)
        for report in films.animate(person, late_film(tmp_path, 2, 12), tmp_path, Film(OPTIONS, 60, mark=False))
        if report.frame is not None
    ]
    texts, early = zip(*((text, frame) for text, frame in shown if text.startswith("tracking")), strict=True)
    assert texts == tuple(f"tracking frame {n} of 14" for n in range(10, 15))
    assert {frame.shape for frame in early} == {(SIZE, SIZE, 3)}
    (first,) = (frame for text, frame in shown if text == "rendering")
    motion = Motion.load(tmp_path / "late_motion.safetensors")
    np.testing.assert_array_equal(first, next(head.render(motion, SIZE)))


def test_a_preview_that_fails_does_not_end_the_film(person, tmp_path, monkeypatch, caplog):
    real = films._rendered

    def failing(person, motion, options):
        if "frames" in options:
            raise RuntimeError("no preview today")
        return real(person, motion, options)

    monkeypatch.setattr(films, "_rendered", failing)
    job = Job(films.animate(person, late_film(tmp_path, 0, 9), tmp_path, Film(OPTIONS, 60)))
    for _ in job:
        pass
    assert probe(job.result[0]).num_frames == 9
    assert "no preview today" in caplog.text
