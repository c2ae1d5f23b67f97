"""Two short clips of the example people and a judge of pictures without downloaded weights."""

from pathlib import Path

import pytest
import torch

from invertavatar.evaluation.clips import find_clips, load_clips
from invertavatar.evaluation.protocols import Judge
from invertavatar.media import VideoReader, VideoWriter
from invertavatar.metrics.perceptual import LPIPS
from tests.evaluation.stand_ins import Recognizer

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
PADDING = 40  # black pixels at the left of the second clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory, face_tracker, head_model):
    """Two people, eight frames each; the second one's have black padding, which the index tells."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("talk_a", "talk_b"):
        with VideoReader(EXAMPLES / f"{name}.mp4") as video, VideoWriter(folder / f"{name}.mp4", 25) as writer:
            for _, frame in zip(range(8), video, strict=False):
                frame[:, : PADDING if name == "talk_b" else 0] = 0
                writer.write(frame)
    valid = [[PADDING, 0, 512, 512]] * 8
    (folder / "index.json").write_text(f'{{"talk_b": {{"person": "B", "valid": {valid}}}}}')
    return list(load_clips(find_clips(folder), face_tracker, head_model))


@pytest.fixture(scope="session")
def judge(face_tracker):
    torch.manual_seed(0)
    return Judge(face_tracker, LPIPS(), Recognizer())
