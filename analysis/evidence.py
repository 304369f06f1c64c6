"""What the logged answers for the dev rows bear out: each model's resampled scores, and what it loses to its teacher."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from analysis.runs import Runs, predictions
from analysis.statistics import Difference, Resampled, answers_of, difference, over_seeds, resampled

EQUAL = 0.01
"""Points by which a score from the logged answers may differ from the one that the run tells."""
MOST = 300
"""Models whose answers are read: all of them, or those that are on the front or least below it."""

AT_ONCE = 16
"""Models whose answers are held at a time."""

Metrics = dict[str, list[str]]


class Evidence(NamedTuple):
    """models, teachers: by the model's id and the teacher's name. lost: the teacher's mean less the model's, by the model's id.

    without: ids of the models that there is none for, by reason.
    """

    models: dict[str, Resampled]
    teachers: dict[str, Resampled]
    lost: dict[str, Difference]
    without: dict[str, list[str]]


def evidence(runs: Runs, models: pd.DataFrame) -> Evidence:
    """Of the models' runs, whose answers are read; of more than MOST models those that `nearest` names."""
    found = Evidence({}, {}, {}, {})
    teachers: dict[str, dict[bytes, Resampled]] = {}
    known: dict[bytes, Resampled] = {}
    for model, answers in _answered(runs, models.loc[nearest(models)]):
        pairs = [_pair(answers[run], runs.metrics[run], known) for run in model["runs"] if run in answers]
        reason = _wrong([own for own, _ in pairs], model["means"])
        if reason:
            found.without.setdefault(reason, []).append(model["id"])
            continue
        found.models[model["id"]] = over_seeds([own for own, _ in pairs])
        taught = [teacher for _, teacher in pairs if teacher is not None]
        if len(taught) == len(pairs):
            found.lost[model["id"]] = difference(over_seeds(taught).mean, found.models[model["id"]].mean)
            for teacher in taught:
                teachers.setdefault(model["teacher"], {})[teacher.mean.tobytes()] = teacher
    return found._replace(teachers={name: over_seeds(list(each.values())) for name, each in teachers.items()})


def _answered(runs: Runs, models: pd.DataFrame) -> Iterator[tuple[pd.Series, dict[str, pd.DataFrame]]]:
    """Each model with its runs' answers, which are read for some models at once."""
    for start in range(0, len(models), AT_ONCE):
        some = models.iloc[start : start + AT_ONCE]
        answers = predictions(runs, [run for ids in some["runs"] for run in ids])
        for _, model in some.iterrows():
            yield model, answers


def nearest(models: pd.DataFrame) -> list[int]:
    """Places of at most MOST models: those that the fewest points part from the best of the models that are as fast."""
    ordered = models.sort_values(["latency_ms", "mean"], ascending=[True, False])
    below = ordered["mean"].cummax() - ordered["mean"]
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
