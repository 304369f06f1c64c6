"""A paired bootstrap over dev rows: resampled scores of each model, and its loss to its teacher.

Both are computed from the logged predictions on dev.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from analysis.runs.runs import Runs, logged_predictions
from analysis.statistics.differences import (
    Difference,
    Resampled,
    Scores,
    difference,
    over_seeds,
    resampled,
    split_answers,
)

SCORE_TOLERANCE = 0.01
"""Maximum difference in points between a score from the logged predictions and the run's own
metric.
"""
MOST = 300
"""Maximum number of models whose predictions are read. If there are more, the models on the
front and those least below it are read.
"""

AT_ONCE = 16
"""Number of models whose predictions are in memory at a time."""

Metrics = dict[str, list[str]]
"""By task, the metrics whose mean is its score."""


class Bootstrap(NamedTuple):
    """Resampled scores and losses of all models.

    models: resampled scores, by the model's id.
    lost: the teacher's mean score less the model's, by id.
    lost_by_task: the same for each task's score.
    without: ids of models without usable predictions, by reason.
    """

    models: dict[str, Scores]
    lost: dict[str, Difference]
    lost_by_task: dict[str, dict[str, Difference]]
    without: dict[str, list[str]]


def bootstrap(runs: Runs, models: pd.DataFrame) -> Bootstrap:
    """Reads the predictions of the models' runs, and computes scores and losses.

    With more than MOST models, only those of `nearest_to_front` are used. A model's loss is known
    only if all its runs have predictions of the teacher.
    """
    result = Bootstrap({}, {}, {}, {})
    known: dict[bytes, Resampled] = {}
    for model, answers in _answered(runs, models.loc[nearest_to_front(models)]):
        key = model["id"]
        seeds = zip(model["seeds"], model["runs"], strict=True)
        pairs = {
            seed: _pair(answers[run], runs.metrics[run], known)
            for seed, run in seeds
            if run in answers
        }
        reason = _wrong([student for student, _ in pairs.values()], model["means"])
        if reason:
            result.without.setdefault(reason, []).append(key)
            continue
        student = result.models[key] = over_seeds(
            {seed: student for seed, (student, _) in pairs.items()}
        )
        teachers = {seed: teacher for seed, (_, teacher) in pairs.items() if teacher is not None}
        if len(teachers) == len(pairs):
            teacher = over_seeds(teachers)
            result.lost[key] = difference(teacher.mean, student.mean)
            result.lost_by_task[key] = {
                task: difference(teacher.tasks[task], score)
                for task, score in student.tasks.items()
            }
    return result


def _answered(
    runs: Runs, models: pd.DataFrame
) -> Iterator[tuple[pd.Series, dict[str, pd.DataFrame]]]:
    """Yields each model with predictions, which are read for AT_ONCE models at a time.

    The predictions are by run id, and include those of the other models of the batch.
    """
    for start in range(0, len(models), AT_ONCE):
        some = models.iloc[start : start + AT_ONCE]
        answers = logged_predictions(runs, [run for ids in some["runs"] for run in ids])
        for _, model in some.iterrows():
            yield model, answers


def nearest_to_front(models: pd.DataFrame) -> list[int]:
    """Returns the indices of at most MOST models that are least below the front.

    The distance is in points to the best model that is at least as fast. Scores are those on the
    selection split, or on dev if they are unknown.
    """
    ordered = models.assign(by=models["selection"].fillna(models["mean"])).sort_values(
        ["latency_ms", "by"], ascending=[True, False]
    )
    # Rows are sorted by latency, so cummax is the best score of all models that are at least as
    # fast.
    below = ordered["by"].cummax() - ordered["by"]
    return list(below.sort_values(kind="stable").index[:MOST])


def _pair(
    predictions: pd.DataFrame, metrics: Metrics, known: dict[bytes, Resampled]
) -> tuple[Resampled, Resampled | None]:
    """Returns a run's resampled scores and those of its teacher.

    The latter are None if predictions of the teacher are missing.

    known: a cache of teachers' scores by their predictions, as many runs have the same teacher.
    """
    answers = split_answers(predictions)
    student = resampled(answers, metrics)
    if predictions["teacher"].isna().any():
        return student, None
    key = b"".join(
        part[name].tobytes() for part in answers.values() for name in ("teacher", "label")
    )
    if key not in known:
        known[key] = resampled(answers, metrics, "teacher")
    return student, known[key]


def _wrong(by_seed: list[Resampled], means: list[float]) -> str:
    """Returns why a model's predictions cannot be used, or ""."""
    if len(by_seed) < len(means):
        return "no predictions.parquet"
    agree = [
        abs(float(scores.mean[0]) - mean) <= SCORE_TOLERANCE
        for scores, mean in zip(by_seed, means, strict=True)
    ]
    return "" if all(agree) else "scores from predictions.parquet differ from the run's"
