"""People of a face generator, drawn and prepared. The generator here shows photos of the example people."""

import json
from itertools import islice

import numpy as np
import pytest

from invertavatar.errors import InvertAvatarError
from invertavatar.scripts import console
from invertavatar.scripts.prepare_dataset import prepare_dataset
from invertavatar.scripts.smoke import EXAMPLES
from invertavatar.training.shards import Shards
from invertavatar.training.teacher import EDITS, NEAR_YAW, YAW, draw_portraits, load_teacher, portraits

GENERATOR = f"""
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

FILES = ("anna_1.jpg", "ben_1.jpg", "anna_2.jpg", "ben_2.jpg")


@dataclass
class Photos:
    source: object
    device: str

    def styles(self, source, count, truncation):
        return torch.from_numpy(source.integers(0, len(FILES), (count, 1)))

    def pictures(self, w, yaw, pitch, smile, jaw, gaze, size):
        assert len(yaw) == len(pitch) == len(smile) == len(jaw) == len(gaze) == len(w)
        photos = [Image.open({str(EXAMPLES)!r} + "/" + FILES[k]).convert("RGB").resize((size, size)) for k in w[:, 0]]
        return torch.from_numpy(np.stack([np.asarray(photo) for photo in photos])).permute(0, 3, 1, 2)


def load_teacher(source, device):
    return Photos(source, device)
"""


@pytest.fixture
def generator(tmp_path):
    file = tmp_path / "photos.py"
    file.write_text(GENERATOR)
    return file


def test_a_generators_people_become_shards(generator, tmp_path):
    app = console.new_app()
    app.command()(prepare_dataset)
    options = [
        "--teacher",
        generator,
        "--people",
        2,
        "--views",
        2,
        "--size",
        64,
        "--workers",
        1,
        "--device",
        "cpu",
        "-q",
    ]
    with pytest.raises(SystemExit) as done:
        console.run(app, [*map(str, options), "-o", str(tmp_path / "shards")])
    assert done.value.code == 0
    shards = Shards([tmp_path / "shards"])
    assert set(shards.people) == {"portraits/0_00000", "portraits/0_00001"} and len(shards) == 4
    assert {source.kind for source in shards.sources} == {"views"}
    index = json.loads((tmp_path / "shards/portraits/index.json").read_text())
    assert index.keys() == {f"0_0000{person}_{view}" for person in range(2) for view in range(2)}


def test_a_stopped_drawing_goes_on_and_draws_the_same(generator, tmp_path):
    teacher, wanted = load_teacher(generator, None, "cpu"), list(portraits(3, 3, 2))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert len(list(draw_portraits(teacher, wanted, whole, 64, at_once=4))) == 6
    list(islice(draw_portraits(teacher, wanted, stopped, 64, at_once=2), 2))
    assert len(list(stopped.glob("*.jpg"))) == 2
    assert len(list(draw_portraits(teacher, wanted, stopped, 64, at_once=3))) == 4
    for file in whole.glob("*.jpg"):
        assert file.read_bytes() == (stopped / file.name).read_bytes()


def test_people_of_a_seed_turn_to_both_sides_and_come_again():
    drawn = list(portraits(0, 200, 3))
    again, others = list(portraits(0, 2, 3)), list(portraits(1, 2, 3))
    assert drawn[:6] == again and [x.edits for x in others] != [x.edits for x in again]
    assert all(x.edits.keys() == set(EDITS) and x.edits["jaw"] >= 0 for x in drawn)
    yaw = np.array([x.edits["yaw"] for x in drawn]).reshape(-1, 3)
    assert abs(yaw[:, 0]).max() <= max(NEAR_YAW) and abs(yaw[:, 1:]).min() >= min(YAW)
    assert (np.sign(yaw[:, 1]) != np.sign(yaw[:, 2])).all()  # to either side in turn
    assert 60 < (yaw[:, 1] > 0).sum() < 140


def test_a_file_that_is_no_generator_is_a_sentence(tmp_path):
    with pytest.raises(InvertAvatarError, match="no Python file"):
        load_teacher(tmp_path / "absent.py", None, "cpu")
    (tmp_path / "other.py").write_text("x = 1\n")
    with pytest.raises(InvertAvatarError, match="defines no load_teacher"):
        load_teacher(tmp_path / "other.py", None, "cpu")


def test_nothing_to_prepare_is_a_sentence(tmp_path, capsys):
    app = console.new_app()
    app.command()(prepare_dataset)
    with pytest.raises(SystemExit):
        console.run(app, ["-o", str(tmp_path)])
    assert "--teacher" in capsys.readouterr().err
