"""What is known of a difference: the spread over seeds, and paired resamples of the dev rows.

Axes: B resamples, with the rows as they are before them [1 + B]; R rows; S seeds.
"""

import math
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.weighted import METRICS

RESAMPLES = 200
"""How often the dev rows are drawn anew."""
TAILS = (2.5, 97.5)
"""An interval goes from one to the other, in percent: it is to hold what it is of in 95 of 100 cases."""


class Resampled(NamedTuple):
    """A model's scores by task and their mean, each [1 + B]: on the rows as they are, then on each resample of them."""

    tasks: dict[str, np.ndarray]
    mean: np.ndarray


class Difference(NamedTuple):
    """Points by which one model is ahead of another, with the interval of them."""

    points: float
    low: float
    high: float

    @property
    def is_one(self) -> bool:
        """Whether the interval excludes 0: else it is not to be called a difference."""
        return self.low > 0 or self.high < 0


@lru_cache(maxsize=64)
def counts(task: str, split: str, rows: int) -> np.ndarray:
    """How often each row of a split is in each resample [R, 1 + B]; the same for whichever model is asked of it."""
    draw = np.random.default_rng([zlib.crc32(f"{task}/{split}".encode()), rows])
    drawn = draw.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES)
    return np.ascontiguousarray(np.concatenate([np.ones((1, rows)), drawn]).T)


Answers = dict[tuple[str, str], dict[str, np.ndarray]]
"""By task and split the columns label, prediction and teacher, row by row."""


def answers_of(predictions: pd.DataFrame) -> Answers:
    """A run's predictions.parquet by task and split, its rows in their order: those of different runs are drawn together."""
    columns = {name: predictions[name].to_numpy(np.float64) for name in ("label", "prediction", "teacher")}
    rows = predictions["row"].to_numpy()
    found: Answers = {}
    for (task, split), places in predictions.groupby(["task", "split"], sort=False).indices.items():
        ordered = places[np.argsort(rows[places], kind="stable")]
        found[task, split] = {name: values[ordered] for name, values in columns.items()}
    return found


def resampled(answers: Answers, metrics: dict[str, list[str]], column: str = "prediction") -> Resampled:
    """The scores of one column.

    metrics: by task, as quality/<task>/<metric> names them: a metric's name, and after it the split's suffix.
    """
    tasks = {task: np.mean([_score(answers, task, name, column) for name in names], axis=0) for task, names in metrics.items()}
    return Resampled(tasks, np.mean(list(tasks.values()), axis=0))


def _score(answers: Answers, task: str, name: str, column: str) -> np.ndarray:
    metric, split = parted(name)
    part = answers[task, split]
    return METRICS[metric](counts(task, split, len(part["label"])), part["label"], part[column])


def parted(name: str) -> tuple[str, str]:
    """`accuracy_mismatched` as metric and suffix of the split: `accuracy`, `_mismatched`. Raises ValueError for no metric."""
    for metric in sorted(METRICS, key=len, reverse=True):
        if name == metric or name.startswith(f"{metric}_"):
            return metric, name.removeprefix(metric)
    raise ValueError(f"the metric is {name!r}; allowed: {', '.join(METRICS)}, with a split's suffix")


def over_seeds(runs: list[Resampled]) -> Resampled:
    """One model's mean over its runs; each resample of the rows has the seeds drawn anew too.

    Two models with as many seeds have them drawn alike, so that they stay paired by seed. A single run is left as it is: its
    interval is of the rows alone.
    """
    number = len(runs)
    draw = np.random.default_rng(number)
    drawn = draw.multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
    shares = np.concatenate([np.ones((1, number)), drawn]) / number  # [1 + B, S]

    def mean(values: list[np.ndarray]) -> np.ndarray:
        found: np.ndarray = (shares * np.stack(values, axis=1)).sum(1)
        return found

    tasks = {task: mean([run.tasks[task] for run in runs]) for task in runs[0].tasks}
    return Resampled(tasks, mean([run.mean for run in runs]))


def difference(left: np.ndarray, right: np.ndarray) -> Difference:
    """left less right, both [1 + B] on the same resamples, and the interval that holds 95 of 100 resamples."""
    less = left - right
    low, high = np.percentile(less[1:], TAILS)
    return Difference(float(less[0]), float(low), float(high))


def seed_errors(groups: list[list[float]]) -> list[float | None]:
    """Half the width of the interval of each group's mean over its seeds; None for one seed.

    All groups are taken to spread alike, so that two seeds tell something too: with the pooled variance
    s^2 = sum_g sum_i (x_gi - mean_g)^2 / v, v = sum_g (n_g - 1), it is t(v) * s / sqrt(n_g).
    """
    several = [np.asarray(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return [None] * len(groups)
    variance = sum(float(((group - group.mean()) ** 2).sum()) for group in several) / freedom
    factor = float(stdtrit(freedom, TAILS[1] / 100)) * math.sqrt(variance)
    return [factor / math.sqrt(len(group)) if len(group) > 1 else None for group in groups]
