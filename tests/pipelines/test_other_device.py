"""Everything on a device beside the CPU, to and from which nothing moves by itself: the pictures are the CPU's."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from invertavatar.app import building, films, model, people, views
from invertavatar.app.progress import Job
from invertavatar.avatar import Avatar
from invertavatar.baking.rigged_mesh import RiggedMesh
from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.tracking.motion import Motion
from tests.conftest import ROOT
from tests.other_device import ELSEWHERE, networks_can_move

PHOTO = ROOT / "assets" / "examples" / "anna_1.jpg"
SMALL = {"height": 64, "output_type": "np"}
NOD = Motion.from_sliders([{"time": 0}, {"time": 0.08, "jawOpen": 0.5, "pitch": 20}])


@pytest.fixture(scope="module", autouse=True)
def _movable() -> Iterator[None]:
    with networks_can_move():
        yield


@pytest.fixture(scope="module")
def folder(tiny_pipeline, tmp_path_factory):
    """`tiny_pipeline`, saved."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def there(folder) -> InvertAvatarPipeline:
    """`tiny_pipeline` on the other device."""
    pipe = InvertAvatarPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(ELSEWHERE)


def numbers(result) -> list[np.ndarray]:
    """What a call gives, as arrays."""
    if isinstance(result, Avatar):
        assert result.device == result.shape.vertices.device == result.thumbnails.device
        return [x.float().cpu().numpy() for x in (result.texture_sum, result.views.front, result.thumbnails)]
    if isinstance(result, RiggedMesh):
        return [result.vertices, result.morphs["jawOpen"], result.texture.mean((0, 1))]
    if isinstance(result, (list, tuple)):
        return [array for part in result for array in numbers(part)]
    return [result.cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result, np.float32)]


CALLS = {
    "a first photo": lambda pipe, avatar, photo: pipe.add_portrait(None, photo),
    "another photo": lambda pipe, avatar, photo: pipe.add_portrait(avatar, photo),
    "a photo of a sampled person": lambda pipe, avatar, photo: pipe.add_portrait(pipe.sample(3).to("cpu"), photo),
    "stills": lambda pipe, avatar, photo: pipe.render(avatar, 20, return_depth=True, background="original", **SMALL),
    "an expression": lambda pipe, avatar, photo: pipe.render(avatar, expression={"jawOpen": 0.5}, **SMALL),
    "frames": lambda pipe, avatar, photo: (
        pipe.animate(avatar, "np", motion=NOD, yaw=[0, 10, 20], follow_translation=True, height=64, batch_size=2).frames
    ),
    "a photo that drives": lambda pipe, avatar, photo: pipe(driving_image=PHOTO, avatar=avatar, **SMALL).frames,
    "a mesh": lambda pipe, avatar, photo: pipe.extract_mesh(avatar, texture_size=256),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_avatar_from_the_cpu_gives_what_it_gives_there(there, tiny_pipeline, tiny_avatar, portrait, call):
    call, photo = CALLS[call], portrait("anna_3")
    for a, b in zip(
        numbers(call(there, tiny_avatar, photo)), numbers(call(tiny_pipeline, tiny_avatar, photo)), strict=True
    ):
        assert a.shape == b.shape
        apart = np.abs(a.astype(np.float64) - b)
        assert np.nanmean(apart) < 1e-3 * max(1, np.nanmax(np.abs(b)))


def test_an_avatar_from_there_may_be_used_there_and_on_the_cpu(there, tiny_pipeline, tiny_avatar, portrait):
    moved = tiny_avatar.to(ELSEWHERE)
    here, away = (pipe.render(moved, **SMALL) for pipe in (tiny_pipeline, there))
    np.testing.assert_allclose(here, away, atol=0.02)
    assert tiny_pipeline.add_portrait(moved, portrait("anna_3")).device.type == "cpu"
    assert there.add_portrait(moved, portrait("anna_3")).device == ELSEWHERE


def test_networks_that_wait_on_the_cpu_work_there(folder, tiny_pipeline, tiny_avatar, portrait):
    pipe = InvertAvatarPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.enable_model_cpu_offload(device=ELSEWHERE)
    avatar = pipe.add_portrait(tiny_avatar, portrait("anna_3"))
    assert avatar.device == ELSEWHERE
    drawn = pipe.render(avatar, **SMALL)
    assert next(pipe.generator.parameters()).device.type == "cpu"
    expected = tiny_pipeline.render(tiny_pipeline.add_portrait(tiny_avatar, portrait("anna_3")), **SMALL)
    np.testing.assert_allclose(drawn, expected, atol=0.02)


@pytest.fixture
def app(folder, monkeypatch) -> None:
    """The app's own model, loaded as the app loads it."""
    monkeypatch.setenv(model.MODEL_VARIABLE, str(folder))
    monkeypatch.setattr(model, "DEVICE", ELSEWHERE)
    monkeypatch.setattr(model, "_loaded", [])
    monkeypatch.setattr(people, "VIEW_SIZE", 64)
    monkeypatch.setattr(views, "TURNTABLE", (-20, 20))


def finished(steps):
    job = Job(steps)
    for _ in job:
        pass
    return job.result


def test_the_app_builds_refines_shows_and_animates_there(app, tmp_path):
    person, *_ = finished(building.join(None, [str(PHOTO)], 0, 60))
    person, rows, _ = finished(building.join(person, [str(PHOTO.with_name("anna_2.jpg"))], 0, 60))
    assert person.avatar.num_images == len(rows) == 2
    assert person.avatar.device.type == "cpu"
    assert views.turntable(person).std() > 10
    options = {"relative_motion": False, "height": 64, "background": "gray"}
    picture, _ = finished(films.animate(person, str(PHOTO), tmp_path, films.Film(options, longest=5)))
    assert picture.is_file()
    assert model.sample(1, 1.0).device.type == "cpu"
