"""Many photos and long videos: memory does not grow with their number.

What a process holds is compared after few and after many; its peak would only tell of the tests before.
"""

import gc
from itertools import chain, cycle, islice

import psutil
import pytest
import torch

from invertavatar import Motion
from invertavatar.media import VideoReader, VideoWriter
from tests.conftest import ROOT
from tests.robustness.test_extreme_inputs import fused, still

CLIP = ROOT / "assets" / "examples" / "talk_a.mp4"
MEGABYTE = 2**20


def held(after=()):
    """Bytes of memory that this process holds, the least after each of some steps: what is under way comes and goes."""
    gc.collect()
    process = psutil.Process()
    return min(process.memory_info().rss for _ in chain(after, [None]))


@pytest.fixture(scope="module")
def pictures():
    """A second of the example clip at 256 px."""
    with VideoReader(CLIP) as video:
        return [picture[::2, ::2] for picture in islice(video, 25)]


def test_thirty_two_photos_take_the_memory_of_twelve(tiny_pipeline, portrait):
    portraits = cycle([portrait(f"anna_{k}") for k in (1, 2, 3, 4)])
    avatar = fused(tiny_pipeline, islice(portraits, 12))
    before = held()
    for photo in islice(portraits, 20):
        avatar = tiny_pipeline.add_portrait(avatar, photo)
    assert avatar.num_images == 32
    assert held() - before < 30 * MEGABYTE  # their crops alone are 80 MB
    still(tiny_pipeline, avatar)


def test_tracking_a_longer_video_takes_no_more_memory(tiny_pipeline, pictures, tmp_path):
    def track(num_frames):
        path = tmp_path / f"{num_frames}.mp4"
        with VideoWriter(path, 25, quality="draft") as writer:
            for picture in islice(cycle(pictures), num_frames):
                writer.write(picture)
        assert tiny_pipeline.track(path).num_frames == num_frames

    track(25)
    before = held()
    track(250)
    assert held() - before < 30 * MEGABYTE  # its pictures are 47 MB


def test_a_longer_animation_takes_no_more_memory(tiny_pipeline, tiny_avatar):
    clip = Motion.from_sliders([{"time": 0}, {"time": 1, "yaw": 30, "jawOpen": 0.5}])
    torch.set_num_threads(2)  # frames are rendered ahead, by what renders them one by one
    try:
        # Wide frames are large and mostly background.
        stream = tiny_pipeline.animate_stream(
            tiny_avatar, motion=Motion.concatenate(5 * [clip]), height=128, width=2048
        )

        held(after=islice(stream, 12))
        before = held(after=islice(stream, 6))
        assert sum(1 for _ in islice(stream, 50)) == 50
        assert held(after=islice(stream, 6)) - before < 30 * MEGABYTE  # these frames are 39 MB
    finally:
        stream.close()
        torch.set_num_threads(1)
