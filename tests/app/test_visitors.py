"""What is kept of visitors, and for how long."""

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from invertavatar.app import people, uploads
from invertavatar.app.doorkeeper import Doorkeeper
from invertavatar.app.visitors import Visitors, bytes_of
from invertavatar.errors import InvertAvatarError


@pytest.fixture
def person(tiny_avatar):
    return people.built(tiny_avatar)


def is_kept(visitors: Visitors, ticket: str) -> bool:
    try:
        visitors.person(ticket)
    except InvertAvatarError as error:
        assert "no longer kept here" in str(error)
        return False
    return True


def test_whoever_was_away_longest_makes_room(person):
    visitors = Visitors(most=3, most_bytes=10**9, lifetime=60)
    first, second, third = (visitors.keep(person) for _ in range(3))
    visitors.person(first)
    fourth = visitors.keep(person)
    assert len(visitors) == 3
    assert [is_kept(visitors, ticket) for ticket in (first, second, third, fourth)] == [True, False, True, True]


def test_memory_stays_below_its_bound_however_many_come(person):
    visitors = Visitors(most=10**6, most_bytes=5 * bytes_of(person), lifetime=60)
    for _ in range(200):
        visitors.keep(person)
        assert visitors.num_bytes <= 5 * bytes_of(person)
    assert len(visitors) == 5


def test_the_latest_is_kept_whatever_it_takes(person):
    visitors = Visitors(most=10, most_bytes=1, lifetime=60)
    assert is_kept(visitors, visitors.keep(person))


def test_another_avatar_takes_the_place_of_the_visitors_last(person):
    visitors = Visitors(most=10, most_bytes=10**9, lifetime=60)
    ticket = None
    for _ in range(5):
        ticket = visitors.keep(person, ticket)
    assert len(visitors) == 1 and is_kept(visitors, ticket)
    visitors.forget(ticket)
    assert len(visitors) == 0
    visitors.forget(ticket)


def test_what_nobody_used_for_long_is_forgotten(person):
    now = itertools.count(0, 40)
    visitors = Visitors(most=10, most_bytes=10**9, lifetime=60, clock=lambda: next(now))
    one = visitors.keep(person)
    two = visitors.keep(person)
    assert not is_kept(visitors, one)
    assert not is_kept(visitors, two)
    visitors.keep(person)
    next(now), next(now)
    visitors.tidy()
    assert len(visitors) == 0
    with pytest.raises(InvertAvatarError, match="no avatar yet"):
        visitors.person(None)


def test_the_oldest_files_make_room_and_spared_ones_stay(tmp_path):
    for age in range(6):
        (tmp_path / str(age)).mkdir()
        file = tmp_path / str(age) / "photo.jpg"
        file.write_bytes(bytes(1000))
        os.utime(file, (10**9 - age, 10**9 - age))
    oldest = tmp_path / "5" / "photo.jpg"
    assert uploads.make_room(tmp_path, 3500, {str(oldest)}) == 3000
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["0", "1", "5"]


def test_an_upload_makes_room_before_it_comes_in(tmp_path):
    (tmp_path / "old.mp4").write_bytes(bytes(5000))

    async def page(scope, receive, send):
        assert not (tmp_path / "old.mp4").exists()

    door = Doorkeeper(page, tmp_path, disk_bytes=4000)
    door.looked = -1e9
    upload = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
    with ThreadPoolExecutor(1) as thread:  # tests of the page may have left an event loop in this one
        thread.submit(asyncio.run, door(upload, None, None)).result()
