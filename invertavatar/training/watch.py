"""Whether a run goes well: which steps to leave out, which checkpoint was the best, and when to go back to it."""

import math
from dataclasses import dataclass
from enum import StrEnum

OUTLIER = 6.0  # times the usual norm of the gradient from which on a step is left out
MEMORY = 0.98  # of the usual norm, from step to step
LEARNED = 20  # steps before anything counts as unusual
WORSE = 1.1  # times the best score from which on a run is lost
STEEPER = 8.0  # times the usual norm at the best checkpoint, likewise
LARGEST_RETURNS = 3

Verdict = StrEnum("Verdict", ["best", "fine", "lost", "hopeless"])


@dataclass
class Watch:
    """What is remembered of a run: plain numbers, which its state keeps.

    Attributes:
        level: Running mean of the logarithm of the gradient's norm.
        steps: That it is the mean of.
        best: The lowest score of people held out; infinite before the first.
        best_level: `level` then.
        returns: How often the run has gone back to its best checkpoint.
        since: Step from which the learning rate rose last.
    """

    level: float = 0.0
    steps: int = 0
    best: float = math.inf
    best_level: float = 0.0
    returns: int = 0
    since: int = 0

    def unusual(self, norm: float) -> bool:
        """Whether a step's gradient is far out of the usual, which learns from it. What is not finite always is."""
        if not math.isfinite(norm):
            return True
        ceiling = self.level + math.log(OUTLIER) if self.steps >= LEARNED else math.inf
        wanted = math.log(max(norm, 1e-12))
        # The usual follows outliers too, slowly: where all norms have risen for good, steps count again.
        weight = max(1 - MEMORY, 1 / (self.steps + 1))
        self.level += weight * (min(wanted, ceiling) - self.level)
        self.steps += 1
        return wanted > ceiling

    def verdict_on(self, score: float) -> Verdict:
        """What to do at a checkpoint with a score, the lower the better: keep it as the best one, go on, go back to the
        best one, or end the run.
        """
        if score < self.best:
            self.best, self.best_level = score, self.level
            return Verdict.best
        # What is not a number is not fine either.
        if score <= WORSE * self.best and self.level <= self.best_level + math.log(STEEPER):
            return Verdict.fine
        return Verdict.lost if self.returns < LARGEST_RETURNS else Verdict.hopeless

    def went_back(self, step: int) -> None:
        """The run goes on from its best checkpoint at a step: half as fast, and gently at first."""
        self.returns, self.since, self.level = self.returns + 1, step, self.best_level

    def pace(self, step: int, warmup: int) -> float:
        """Share of the learning rate at a step."""
        return min(1.0, (step - self.since + 1) / max(warmup, 1)) / 2**self.returns
