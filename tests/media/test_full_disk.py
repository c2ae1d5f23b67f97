"""A disk that is full, a name that is too long, a folder that is read-only: one sentence, and nothing is left behind.

The limit that the system sets on the size of a file stands for a full disk: writing fails in the same places.
"""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from invertavatar.errors import InvertAvatarError, MediaError
from invertavatar.media import VideoReader, VideoWriter, load_image, save_image
from invertavatar.media.files import is_full, written_whole

NOISE = np.random.default_rng(0).integers(0, 255, (12, 128, 128, 3), np.uint8)


@contextmanager
def files_up_to(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path):
    with VideoWriter(path, 25) as output:
        for frame in NOISE:
            output.write(frame)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.gif", "a.webp", "a_%05d.png", "frames"])
@pytest.mark.parametrize("size", [1000, 30_000])
def test_a_film_on_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, name, size):
    with files_up_to(size), pytest.raises(MediaError, match=r"the disk is full\. Free some space"):
        write(tmp_path / "new" / "folder" / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_picture_on_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, name):
    with files_up_to(1000), pytest.raises(MediaError, match=rf"Cannot write {name}: the disk is full"):
        save_image(tmp_path / "new" / name, NOISE[0])
    assert not list(tmp_path.iterdir())


def test_an_avatar_on_a_full_disk_is_a_sentence_and_leaves_no_folder(tmp_path, tiny_avatar):
    with files_up_to(20_000), pytest.raises(InvertAvatarError, match="disk is full"):
        tiny_avatar.save_pretrained(tmp_path / "new" / "avatar")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_when_the_file_is_closed_is_a_sentence_too(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MediaError, match="the disk is full"), written_whole(tmp_path / "new" / "a.bin") as partial:
        partial.write_bytes(b"all of it")
    assert not list(tmp_path.iterdir())


def test_only_errors_that_mean_a_full_disk_are_called_so():
    assert is_full(OSError(errno.EDQUOT, "quota"))
    assert not is_full(OSError(errno.EACCES, "permission")) and not is_full(ValueError("28 frames"))


def test_what_stood_there_stays_when_the_disk_is_full(tmp_path):
    save_image(tmp_path / "a.png", NOISE[0] // 200)
    before = (tmp_path / "a.png").read_bytes()
    with files_up_to(1000), pytest.raises(MediaError):
        save_image(tmp_path / "a.png", NOISE[0])
    assert (tmp_path / "a.png").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["x" * 260 + ".mp4", "頭" * 90 + ".webm", "y" * 250 + "_%09d.png"])
def test_a_name_that_is_too_long_is_refused_before_the_first_frame(tmp_path, name):
    for path in (tmp_path / name, tmp_path / ("x" * 260) / "a.mp4"):
        with pytest.raises(MediaError, match=r"bytes long, and a file may have 255\. Choose a shorter one"):
            write(path)
    assert not list(tmp_path.iterdir())


def test_an_input_of_a_name_that_cannot_be_is_a_sentence():
    for read in (load_image, VideoReader):
        for path in ("x" * 260 + ".png", "/".join(["x" * 200] * 30)):
            with pytest.raises(MediaError, match=r"bytes long|does not exist"):
                read(path)


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(MediaError, match="it is read-only here"):
        write(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["100%.mp4", "%d.mp4", "-a.mp4", "a:b.webm", "50%_%03d.png"])
def test_odd_signs_in_a_name_are_only_signs(tmp_path, name):
    write(tmp_path / name)
    assert len([file for file in tmp_path.iterdir() if not file.name.startswith(".")]) == (12 if "03d" in name else 1)
