import numpy as np
import pytest
import torch

from invertavatar.errors import InvertAvatarError
from invertavatar.evaluation.report import markdown
from invertavatar.evaluation.samples import frechet, nearest, pooled_features, samples, within
from invertavatar.training.shards import Shards, pack
from tests.training.test_shards import made_face


def test_frechet_is_that_of_normal_distributions():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    # Means two apart in each direction: 3 * 2**2. Twice as wide: 3 * (2 - 1)**2 of variance.
    assert frechet(one, one + 2) == pytest.approx(12)
    wide = 2 * torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    assert frechet(one, wide) == pytest.approx(3, rel=0.1)


def test_nearest_is_of_others_not_of_oneself():
    assert nearest(torch.nn.functional.normalize(torch.tensor([[2.0, 0], [0, 1], [0, 3]]))) == pytest.approx(2 / 3)


def test_features_do_not_depend_on_the_batch(judge):
    pictures = np.random.default_rng(0).integers(0, 256, (19, 64, 64, 3), np.uint8)
    together = pooled_features(judge.lpips, pictures)
    assert together.shape == (19, 256)
    torch.testing.assert_close(together[17:], pooled_features(judge.lpips, pictures[17:]))


def test_a_sample_ends_where_a_photo_does():
    picture = np.full((8, 8, 3), 200, np.uint8)
    cut = within(picture, np.array([0, 1, 8, 6]))
    assert (cut[1:6] == 200).all() and (cut[:1] == 128).all() and (cut[6:] == 128).all()


@pytest.fixture
def shards(tmp_path):
    def of(*yaws):
        pack([made_face(f"p{k}", f"p{k}", 0, "views", yaw) for k, yaw in enumerate(yaws)], tmp_path)
        return Shards([tmp_path])

    return of


def test_samples_are_compared_with_the_photos_that_look_ahead(tiny_pipeline, judge, shards, monkeypatch):
    compared = []
    monkeypatch.setattr(
        "invertavatar.evaluation.samples.person_over_grey",
        lambda shards, face: compared.append(face) or np.full((64, 64, 3), face, np.uint8),
    )
    found = iter(judge_faces())
    monkeypatch.setattr(judge, "look", lambda picture: next(found))
    outcome = samples(tiny_pipeline, shards(0.0, 60.0, -10.0, 12.0), judge, count=3, moved=1)
    assert sorted(compared) == [0, 2, 3]
    (scores,) = outcome.scores.values()
    assert scores["nearest"] == pytest.approx(2 / 3) and scores["turned"] == pytest.approx(0.5)
    drawn, shown = (torch.tensor(x, dtype=torch.float64) for x in ([[1, 0], [0, 1], [0, 1]], [[1, 0], [0, 1]]))
    assert scores["identities"] == pytest.approx(frechet(drawn, shown))
    assert scores["missed"] == 1 and "akd" not in scores  # no face was found in the moved one
    assert [len(row) for _, row in outcome.sheet] == [len(outcome.columns)]
    assert "Fréchet" in markdown({"samples": outcome}, {})


def judge_faces():
    """Front, both sides and moved of the first sample, the fronts of the others; three photos."""
    from invertavatar.evaluation.protocols import Face

    for identity in ([1.0, 0], [1.0, 0], [0, 1.0], None, [0, 1.0], [0, 1.0], [3.0, 0], None, [0, 2.0]):
        yield Face(None, None, None if identity is None else np.array(identity))


def test_without_photos_that_look_ahead_it_says_so(tiny_pipeline, judge, shards):
    with pytest.raises(InvertAvatarError, match="1 of the photos in these shards look ahead"):
        samples(tiny_pipeline, shards(0.0, 60.0), judge, count=2, moved=0)
