"""Pruning: stops a trial if others that are at least as fast are far ahead at the same step.

Optuna's pruners support a single objective only. As in multi-objective successive halving
(Schmucker et al. 2021), a trial is compared only with the trials that it would have to beat, which
are those with at most its latency. A slower trial may well be better, which is no evidence against
this one.

Guarantees:

- A trial that is on the Pareto front at a step is not stopped at that step.
- A stopped trial would have had to gain more than the margin after that step to end on the front.
  The reason is that a score never falls (it is the best so far), so the rival ends at least as high
  as it was at that step. If the rival was itself stopped, there is another trial that is as fast
  and further ahead.

A trial that would have gained that much is lost.
"""

import math
from typing import NamedTuple

from experiments.settings import PruningConfig


class Progress(NamedTuple):
    """The progress of a trial that is running or finished.

    latency_ms: of its student.
    scores: by step, mean score on the selection split in points.
    """

    latency_ms: float
    scores: dict[int, float]

    def best(self, step: int) -> float:
        """Returns the best score up to a step, or -inf before the first evaluation.

        The training keeps the weights of the best step, so this is the score of the kept weights.
        """
        return max((score for at, score in self.scores.items() if at <= step), default=-math.inf)


def lead(progress: Progress, others: list[Progress], step: int) -> float:
    """Returns the lead in points of the best rival at the step, or -inf without a rival.

    Rivals are the trials that are at least as fast. The lead is 0 or less for a trial that is on
    the front at this step.
    """
    rivals = [other.best(step) for other in others if other.latency_ms <= progress.latency_ms]
    return max(rivals, default=-math.inf) - progress.best(step)


def is_due(step: int, steps: int, pruning: PruningConfig) -> bool:
    """Returns whether a trial may be stopped at this step.

    This is so after the warm-up and before the last step.

    steps: the number of steps of the whole training.
    """
    return pruning.warmup * steps <= step < steps


def is_behind(
    progress: Progress, others: list[Progress], step: int, steps: int, pruning: PruningConfig
) -> bool:
    """Returns whether the trial has to be stopped at the step.

    steps: the number of steps of the whole training.
    """
    return is_due(step, steps, pruning) and lead(progress, others, step) > pruning.margin
