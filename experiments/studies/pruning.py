"""When a trial is stopped before its end: others that are at least as fast are far ahead of it at the same step.

Optuna's pruners know a single objective. Here, as in multi-objective successive halving (Schmucker et al. 2021), a trial is held
against those that it would have to beat: a slower one may be better, and so says nothing.

What is promised is this: none that is on the front at a step is stopped at it, and one that is stopped would have had to gain
more than the margin after that step to end on the front, as one that is at least as fast ends no worse than it was then. (Where
that one was stopped itself, there is another that is as fast and further ahead.) One that would have gained as much is lost.
"""

import math
from typing import NamedTuple

from experiments.settings import PruningConfig


class Progress(NamedTuple):
    """A trial on its way or at its end. latency_ms: of its student. scores: on the selection split, in points, by step."""

    latency_ms: float
    scores: dict[int, float]

    def best(self, step: int) -> float:
        """The best score up to a step, which is what the weights have that are kept; -inf before the first."""
        return max((score for at, score in self.scores.items() if at <= step), default=-math.inf)


def lead(own: Progress, others: list[Progress], step: int) -> float:
    """By how many points the best of those that are at least as fast is ahead at the step; -inf where there is none.

    It is 0 or less for a trial that is on the front at this step.
    """
    rivals = [other.best(step) for other in others if other.latency_ms <= own.latency_ms]
    return max(rivals, default=-math.inf) - own.best(step)


def is_due(step: int, steps: int, pruning: PruningConfig) -> bool:
    """Whether a trial of so many steps may be stopped at this one: the warm-up is over, and it is not the last."""
    return pruning.warmup * steps <= step < steps


def is_behind(own: Progress, others: list[Progress], step: int, steps: int, pruning: PruningConfig) -> bool:
    """Whether the trial is to be stopped at the step, of `steps` that it would take."""
    return is_due(step, steps, pruning) and lead(own, others, step) > pruning.margin
