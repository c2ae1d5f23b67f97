"""What photos say of a head, one after the other."""

import pytest
import torch

from invertavatar.head.known_head import unknown_head, with_outline
from invertavatar.head_building.landmark_axes import FLIP, MIRRORED_AXES


def track(portrait):
    return portrait.vertices, portrait.expression, portrait.rotation, portrait.matte, portrait.inside


@pytest.fixture(scope="module")
def turned(portrait):
    """A photo from the side."""
    return track(portrait("anna_2"))


def test_a_skull_that_one_photo_bounds_is_no_higher_after_others(head_model, turned):
    *pose, matte, inside = turned
    low, whole = torch.zeros_like(matte), torch.ones_like(matte)
    low[..., matte.shape[-1] // 4 :, :] = 1
    known, crowns = unknown_head(head_model), []
    for outline in (whole, low, whole):
        known, shape, _ = with_outline(head_model, known, *pose, outline, inside)
        crowns.append(float(known.crown))
    assert crowns[0] == 1 > crowns[1] == crowns[2]
    torch.testing.assert_close(shape, head_model.shape(known.neutral_sum, 3, known.crown))


def test_a_mirrored_photo_shows_the_mirrored_head(head_model, turned):
    landmarks, expression, rotation, matte, inside = turned
    flip, swap = torch.tensor(FLIP), head_model.chart.mirror[: landmarks.shape[1]].long()
    mirrored = (landmarks[:, swap] * flip, expression[:, MIRRORED_AXES], rotation * flip[:, None] * flip)
    nobody, mirror = unknown_head(head_model), head_model.mirror.long()
    known, _, skin = with_outline(head_model, nobody, *turned)
    other, _, other_skin = with_outline(head_model, nobody, *mirrored, matte.flip(-1), inside.flip(-1))
    torch.testing.assert_close(other_skin, skin[:, mirror] * flip, atol=0.01, rtol=0)
    off, other_off = (head_model.stand_off(k.displacement) for k in (known, other))
    torch.testing.assert_close(other_off, off[mirror], atol=1e-3, rtol=0)
    assert (off - off[mirror]).abs().max() > 0.005
