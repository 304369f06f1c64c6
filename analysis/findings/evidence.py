"""What the logged answers for the dev rows bear out: each model's resampled scores, and what it loses to its teacher."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from analysis.runs.runs import Runs, predictions
from analysis.statistics.differences import Difference, Resampled, Scores, answers_of, difference, over_seeds, resampled

EQUAL = 0.01
"""Points by which a score from the logged answers may differ from the one that the run tells."""
MOST = 300
"""Models whose answers are read: all of them, or those that are on the front or least below it."""

AT_ONCE = 16
"""Models whose answers are held at a time."""

Metrics = dict[str, list[str]]


class Evidence(NamedTuple):
    """models: by the model's id. lost: the teacher's mean less the model's; lost_by_task: the same of each task's score.

    without: ids of the models that there is none for, by reason.
    """

    models: dict[str, Scores]
    lost: dict[str, Difference]
    lost_by_task: dict[str, dict[str, Difference]]
    without: dict[str, list[str]]


def evidence(runs: Runs, models: pd.DataFrame) -> Evidence:
    """Of the models' runs, whose answers are read; of more than MOST models those that `nearest` names."""
    found = Evidence({}, {}, {}, {})
    known: dict[bytes, Resampled] = {}
    for model, answers in _answered(runs, models.loc[nearest(models)]):
        key = model["id"]
        seeds = zip(model["seeds"], model["runs"], strict=True)
        pairs = {seed: _pair(answers[run], runs.metrics[run], known) for seed, run in seeds if run in answers}
        reason = _wrong([own for own, _ in pairs.values()], model["means"])
        if reason:
            found.without.setdefault(reason, []).append(key)
            continue
        own = found.models[key] = over_seeds({seed: own for seed, (own, _) in pairs.items()})
        taught = {seed: teacher for seed, (_, teacher) in pairs.items() if teacher is not None}
        if len(taught) == len(pairs):
            teacher = over_seeds(taught)
            found.lost[key] = difference(teacher.mean, own.mean)
            found.lost_by_task[key] = {task: difference(teacher.tasks[task], score) for task, score in own.tasks.items()}
    return found


def _answered(runs: Runs, models: pd.DataFrame) -> Iterator[tuple[pd.Series, dict[str, pd.DataFrame]]]:
    """Each model with its runs' answers, which are read for some models at once."""
    for start in range(0, len(models), AT_ONCE):
        some = models.iloc[start : start + AT_ONCE]
        answers = predictions(runs, [run for ids in some["runs"] for run in ids])
        for _, model in some.iterrows():
            yield model, answers


def nearest(models: pd.DataFrame) -> list[int]:
    """Places of at most MOST models: those that the fewest points part from the best of the models that are as fast.

    Points on the selection split, which models are chosen by, or, where they are not known, on dev.
    """
    ordered = models.assign(by=models["selection"].fillna(models["mean"])).sort_values(
        ["latency_ms", "by"], ascending=[True, False]
    )
    below = ordered["by"].cummax() - ordered["by"]
    return list(below.sort_values(kind="stable").index[:MOST])


def _pair(predictions: pd.DataFrame, metrics: Metrics, known: dict[bytes, Resampled]) -> tuple[Resampled, Resampled | None]:
    """A run's own resampled scores and its teacher's, where all of the teacher's answers are known.

    known: scores of teachers by their answers, as many runs have the same.
    """
    answers = answers_of(predictions)
    own = resampled(answers, metrics)
    if predictions["teacher"].isna().any():
        return own, None
    key = b"".join(part[name].tobytes() for part in answers.values() for name in ("teacher", "label"))
    if key not in known:
        known[key] = resampled(answers, metrics, "teacher")
    return own, known[key]


def _wrong(found: list[Resampled], means: list[float]) -> str:
    """Why a model's answers tell nothing of it; empty where they do."""
    if len(found) < len(means):
        return "no predictions.parquet"
    told = [abs(float(own.mean[0]) - mean) <= EQUAL for own, mean in zip(found, means, strict=True)]
    return "" if all(told) else "predictions.parquet gives other scores than the run tells"
