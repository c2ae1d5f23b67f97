"""What the shipped weights draw, beside the pictures that were looked at when they were stored."""

import pytest

from invertavatar.pipelines.pipeline_invertavatar import InvertAvatarPipeline
from invertavatar.scripts import stored

CURE = "If it is meant to be so: make golden, and look at assets/benchmark/sheet.webp."


@pytest.fixture(scope="module")
def lines() -> list[dict]:
    """How far each picture is from the stored one."""
    pipe = InvertAvatarPipeline.from_pretrained(face_tracker=None)
    pipe.set_progress_bar_config(disable=True)
    return list(stored.compare(pipe))


def test_the_shipped_weights_draw_the_golden_pictures(lines):
    assert len(lines) == 6
    assert [line for line in lines if stored.is_off(line, "float32")] == [], CURE
