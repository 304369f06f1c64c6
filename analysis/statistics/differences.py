"""What is known of a difference: the spread over seeds, and paired resamples of the dev rows.

Axes: B resamples, with the rows as they are before them [1 + B]; R rows; N models.
"""

import math
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from analysis.statistics.resampled_metrics import METRICS
from mkd.evaluation.intervals import TAIL, half_width

RESAMPLES = 500
"""How often the dev rows are drawn anew. The deviation of B resamples is off by 1 / sqrt(2 B) of itself, so that an interval's
end moves by less than a tenth of the half width between 95 of 100 pairs of draws where 1.96 * sqrt(2) / sqrt(2 B) < 0.1: B > 384.
There are some more, as that is told by a test.
"""
ROW_QUANTILE = float(ndtri(TAIL))
"""Of a normal distribution: an interval goes as many deviations to either side."""


class Resampled(NamedTuple):
    """A run's scores by task and their mean, each [1 + B]: on the rows as they are, then on each resample of them."""

    tasks: dict[str, np.ndarray]
    mean: np.ndarray


class Measured(NamedTuple):
    """One score of a model: its mean over the seeds, as in Resampled [1 + B], and each seed's on the rows as they are."""

    rows: np.ndarray
    seeds: dict[int, float]


class Scores(NamedTuple):
    """A model's scores by task, and their mean."""

    tasks: dict[str, Measured]
    mean: Measured


class Difference(NamedTuple):
    """Points by which one model is ahead of another, with the 95 % interval of them.

    seeds: of the side that has fewer. With one it is of two trained models' answers, and says nothing of their methods.
    """

    points: float
    low: float
    high: float
    seeds: int = 1

    @property
    def is_one(self) -> bool:
        """Whether the interval excludes 0: else it is not to be called a difference."""
        return self.low > 0 or self.high < 0

    @property
    def is_of_methods(self) -> bool:
        """Whether what is said holds for other seeds too."""
        return self.seeds > 1


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


def over_seeds(runs: dict[int, Resampled]) -> Scores:
    """One model's scores, by the seeds of its runs."""

    def measured(values: dict[int, np.ndarray]) -> Measured:
        return Measured(np.mean(list(values.values()), axis=0), {seed: float(value[0]) for seed, value in values.items()})

    names = next(iter(runs.values())).tasks
    tasks = {task: measured({seed: run.tasks[task] for seed, run in runs.items()}) for task in names}
    return Scores(tasks, measured({seed: run.mean for seed, run in runs.items()}))


def difference(left: Measured, right: Measured) -> Difference:
    """left less right, with the 95 % interval that holds both what other dev rows and what other seeds would change.

    Each source alone would give an interval; the squares of their half widths are added (MOVER, Zou and Donner 2008). Of the
    seeds it is the t interval, paired where both sides have the same ones, else that of each side. A t interval of the summed
    variances with Satterthwaite's degrees of freedom errs far too often with two or three seeds, as a small variance among two
    seeds makes it trust the rows. With one seed a side the interval is of the rows alone: of these two trained models.
    """
    less = left.rows - right.rows
    squared = (ROW_QUANTILE * less[1:].std(ddof=1)) ** 2 + _of_seeds(left.seeds, right.seeds)
    points, half = float(less[0]), math.sqrt(squared)
    return Difference(points, points - half, points + half, min(len(left.seeds), len(right.seeds)))


def _of_seeds(left: dict[int, float], right: dict[int, float]) -> float:
    """The squared half width of the difference's interval over seeds; 0 where a side has one, which tells nothing of it."""
    if min(len(left), len(right)) < 2:
        return 0.0
    paired = left.keys() == right.keys()
    parts = [[left[seed] - right[seed] for seed in left]] if paired else [list(left.values()), list(right.values())]
    return sum(half**2 for part in parts if (half := half_width(part)) is not None)


def rows_apart(scores: list[np.ndarray]) -> np.ndarray:
    """The standard deviation over resampled rows of the difference of each two scores, each [1 + B]; [N, N]."""
    centred = np.stack([score[1:] - score[1:].mean() for score in scores])
    covariance = centred @ centred.T / (centred.shape[1] - 1)
    own = np.diag(covariance)
    apart: np.ndarray = np.sqrt(np.maximum(own[:, None] + own[None] - 2 * covariance, 0.0))
    return apart
