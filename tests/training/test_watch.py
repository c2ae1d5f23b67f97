import math

import pytest

from invertavatar.training.watch import LARGEST_RETURNS, LEARNED, Verdict, Watch


def usual(norm=1.0, steps=LEARNED) -> Watch:
    watch = Watch()
    for _ in range(steps):
        assert not watch.unusual(norm)
    return watch


def test_a_gradient_far_out_of_the_usual_is_unusual_and_one_that_is_not_finite_always():
    watch = usual(2.0)
    assert watch.unusual(30.0) and not watch.unusual(8.0)
    assert Watch().unusual(math.inf) and Watch().unusual(math.nan)


def test_the_first_steps_say_what_is_usual():
    assert not Watch().unusual(1e6)


def test_one_outlier_hardly_moves_the_usual_and_gradients_that_stay_large_become_it():
    watch = usual()
    watch.unusual(1e9)
    assert watch.level < 0.1
    skipped = sum(watch.unusual(100.0) for _ in range(500))
    assert 50 < skipped < 200 and not watch.unusual(100.0)


def test_a_lower_score_is_the_best_and_a_little_worse_is_fine():
    watch = usual()
    verdicts = [watch.verdict_on(score) for score in (0.2, 0.19, 0.2, 0.205, 0.18)]
    assert verdicts == [Verdict.best, Verdict.best, Verdict.fine, Verdict.fine, Verdict.best]


@pytest.mark.parametrize("score", [0.25, math.nan, math.inf])
def test_a_much_worse_score_is_lost(score):
    watch = usual()
    watch.verdict_on(0.2)
    assert watch.verdict_on(score) == Verdict.lost


def test_a_gradient_that_ran_away_is_lost_before_the_score_shows_it():
    watch = usual()
    watch.verdict_on(0.2)
    for step in range(200):
        watch.unusual(1.05**step)
    assert watch.verdict_on(0.2) == Verdict.lost


def test_after_each_return_the_rate_rises_again_to_half_and_after_some_there_is_no_hope():
    watch = usual()
    watch.verdict_on(0.2)
    for k in range(1, LARGEST_RETURNS + 1):
        assert watch.verdict_on(0.5) == Verdict.lost
        watch.went_back(100 * k)
        assert watch.pace(100 * k, 10) == pytest.approx(0.1 / 2**k) and watch.pace(100 * k + 50, 10) == 0.5**k
    assert watch.verdict_on(0.5) == Verdict.hopeless and watch.verdict_on(0.1) == Verdict.best
