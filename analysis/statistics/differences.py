"""The uncertainty of a difference between models.

It is estimated over seeds, and over paired resamples of the dev rows.

Axes: B resamples, preceded by the original rows [1 + B]; R rows; N models.
"""

import math
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from analysis.statistics.resampled_metrics import mean_over_groups
from analysis.statistics.resampled_metrics import metric as resampled_metric
from mkd.evaluation.intervals import TAIL, half_width
from mkd.tasks.metrics import GROUP_METRICS, MARGIN_METRICS, METRICS

RESAMPLES = 500
"""Number of resamples B of the dev rows. The standard deviation of B resamples has a relative
error of 1 / sqrt(2 B). Two draws then differ at an interval's end by less than a tenth of the
half width in 95 of 100 cases if 1.96 * sqrt(2) / sqrt(2 B) < 0.1, which gives B > 384. A test
checks this, so there are some more.
"""
ROW_QUANTILE = float(ndtri(TAIL))
"""Quantile of the normal distribution: an interval extends this many standard deviations to each
side.
"""


class Resampled(NamedTuple):
    """A run's scores by task, and their mean.

    Each is an array [1 + B]: the score on the original rows, and on each resample.
    """

    tasks: dict[str, np.ndarray]
    mean: np.ndarray


class Measured(NamedTuple):
    """One score of a model.

    rows: mean over the seeds, as in Resampled [1 + B].
    seeds: each seed's score on the original rows.
    """

    rows: np.ndarray
    seeds: dict[int, float]


class Scores(NamedTuple):
    """A model's scores by task, and their mean."""

    tasks: dict[str, Measured]
    mean: Measured


class Difference(NamedTuple):
    """How many points one model is ahead of another, with the 95 % interval.

    seeds: number of seeds of the side with fewer. With one seed, the difference is one of two
        trained models, and says nothing about their methods.
    """

    points: float
    low: float
    high: float
    seeds: int = 1

    @property
    def is_one(self) -> bool:
        """Whether the interval excludes 0. Otherwise it must not be called a difference."""
        return self.low > 0 or self.high < 0

    @property
    def is_of_methods(self) -> bool:
        """Whether the result also holds for other seeds."""
        return self.seeds > 1


@lru_cache(maxsize=64)
def counts(task: str, split: str, rows: int) -> np.ndarray:
    """Returns how often each row of a split is in each resample [R, 1 + B].

    The draw depends on task, split and number of rows alone. All models are therefore resampled
    alike, which makes their differences paired.
    """
    # crc32 rather than hash(), which differs between processes.
    rng = np.random.default_rng([zlib.crc32(f"{task}/{split}".encode()), rows])
    # The counts of a bootstrap resample follow a multinomial distribution.
    drawn = rng.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES)
    return np.ascontiguousarray(np.concatenate([np.ones((1, rows)), drawn]).T)


SplitAnswers = dict[tuple[str, str], dict[str, np.ndarray]]
"""By task and split, the columns label, prediction, teacher and, if there is one, group: [R], or of
a multilabel task, which has an entry for each label of a row, [R, C]."""


def split_answers(predictions: pd.DataFrame) -> SplitAnswers:
    """Converts a run's predictions.parquet to arrays by task and split, in the order of the rows.

    The fixed order is needed for paired resamples of different runs.
    """
    names = [*("label", "prediction", "teacher"), *({"group"} & set(predictions.columns))]
    columns = {name: predictions[name].to_numpy(np.float64) for name in names}
    rows = predictions["row"].to_numpy()
    answers: SplitAnswers = {}
    for (task, split), places in predictions.groupby(["task", "split"], sort=False).indices.items():
        ordered = places[np.argsort(rows[places], kind="stable")]
        num_rows = len(np.unique(rows[places]))
        shape = (num_rows, -1) if num_rows < len(places) else (num_rows,)
        answers[task, split] = {
            name: values[ordered].reshape(shape) for name, values in columns.items()
        }
    return answers


def resampled(
    answers: SplitAnswers, metrics: dict[str, list[str]], column: str = "prediction"
) -> Resampled:
    """Computes the scores of one column on all resamples.

    metrics: by task, names as in quality/<task>/<metric>: the metric, followed by the suffix of its
        split.
    """
    tasks = {
        task: np.mean([_score(answers, task, name, column, names) for name in names], axis=0)
        for task, names in metrics.items()
    }
    return Resampled(tasks, np.mean(list(tasks.values()), axis=0))


def _score(
    answers: SplitAnswers, task: str, name: str, column: str, names: list[str]
) -> np.ndarray:
    """Returns one metric of a task on all resamples [1 + B].

    names: of all metrics of the task. With one of MARGIN_METRICS its predictions are margins of
        class 1, which is predicted above 0. With one of GROUP_METRICS whole groups are resampled,
        as the rows of a group are not drawn from each other independently.
    """
    metric, split = split_metric_name(name)
    part, all_metrics = answers[task, split], {split_metric_name(each)[0] for each in names}
    predictions_R = part[column]
    if all_metrics & set(MARGIN_METRICS) and metric not in MARGIN_METRICS:
        predictions_R = (predictions_R > 0).astype(np.float64)
    if not all_metrics & set(GROUP_METRICS):
        drawn_RB = counts(task, split, len(part["label"]))
        return resampled_metric(metric)(drawn_RB, part["label"], predictions_R)
    numbers, groups_R = np.unique(part["group"], return_inverse=True)
    drawn_GB = counts(task, split, len(numbers))
    if metric in GROUP_METRICS:
        return mean_over_groups(drawn_GB, part["label"], predictions_R, groups_R, metric)
    return resampled_metric(metric)(drawn_GB[groups_R], part["label"], predictions_R)


def split_metric_name(name: str) -> tuple[str, str]:
    """Splits `accuracy_mismatched` into metric and split suffix: `accuracy`, `_mismatched`.

    Raises ValueError for an unknown metric.
    """
    # The longest name first: one metric's name may start with another's.
    known = (*METRICS, *GROUP_METRICS)
    for metric in sorted(known, key=len, reverse=True):
        if name == metric or name.startswith(f"{metric}_"):
            return metric, name.removeprefix(metric)
    raise ValueError(f"the metric is {name!r}; allowed: {', '.join(known)}, with a split's suffix")


def over_seeds(runs: dict[int, Resampled]) -> Scores:
    """Combines one model's runs, by seed."""

    def measured(values: dict[int, np.ndarray]) -> Measured:
        return Measured(
            np.mean(list(values.values()), axis=0),
            {seed: float(value[0]) for seed, value in values.items()},
        )

    names = next(iter(runs.values())).tasks
    tasks = {
        task: measured({seed: run.tasks[task] for seed, run in runs.items()}) for task in names
    }
    return Scores(tasks, measured({seed: run.mean for seed, run in runs.items()}))


def difference(left: Measured, right: Measured) -> Difference:
    """Returns left less right, with a 95 % interval that covers both dev rows and seeds.

    Each source alone gives an interval. The squares of their half widths are added (MOVER, Zou and
    Donner 2008). For seeds it is the t interval: paired if both sides have the same seeds,
    otherwise one for each side. A t interval of the summed variances with Satterthwaite's degrees
    of freedom errs far too often with two or three seeds, because a small variance of two seeds
    makes it trust the rows. If a side has one seed, the interval covers the rows alone, and is
    about these two trained models.
    """
    less = left.rows - right.rows
    squared = (ROW_QUANTILE * less[1:].std(ddof=1)) ** 2 + _of_seeds(left.seeds, right.seeds)
    points, half = float(less[0]), math.sqrt(squared)
    return Difference(points, points - half, points + half, min(len(left.seeds), len(right.seeds)))


def _of_seeds(left: dict[int, float], right: dict[int, float]) -> float:
    """Returns the squared half width of the difference's interval over seeds.

    It is 0 if a side has one seed, which has no spread.
    """
    if min(len(left), len(right)) < 2:
        return 0.0
    paired = left.keys() == right.keys()
    samples = (
        [[left[seed] - right[seed] for seed in left]]
        if paired
        else [list(left.values()), list(right.values())]
    )
    return sum(half**2 for part in samples if (half := half_width(part)) is not None)


def difference_deviations(scores: list[np.ndarray]) -> np.ndarray:
    """Returns the standard deviation of the difference of every two scores over resamples [N, N].

    scores: one array [1 + B] a model.
    """
    centred = np.stack([score[1:] - score[1:].mean() for score in scores])
    covariance = centred @ centred.T / (centred.shape[1] - 1)
    variances = np.diag(covariance)
    # var(a - b) = var(a) + var(b) - 2 cov(a, b). Rounding may make it slightly negative for equal
    # scores.
    apart: np.ndarray = np.sqrt(
        np.maximum(variances[:, None] + variances[None] - 2 * covariance, 0.0)
    )
    return apart
