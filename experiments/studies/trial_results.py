"""The trials of a study: which of them count, their progress and their results."""

from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.studies.attributes import COPIED_FROM, PROGRESS, REPLACED, RESULT
from experiments.studies.pruning import Progress

FAILURES = 5
"""A search ends after this many failures in a row."""


class TrialResult(NamedTuple):
    """The result of a trial.

    state: how it ended, as the tag `mkd.state`.
    run: the id of its MLflow run.
    dev: its mean score on dev, or None if it was not measured.
    costs: by name of the objective, and `quality` on the selection split.
    seconds: `cost` for measuring the speed, `core` for training and scoring.
    settings: the values of the searched settings.
    error: why the trial did not complete.
    """

    state: str
    name: str
    run: str
    dev: float | None
    costs: dict[str, float]
    seconds: dict[str, float]
    settings: dict[str, Any]
    error: str = ""


def result_of(trial: FrozenTrial) -> TrialResult | None:
    """Returns the result of a trial, or None if it has not ended."""
    stored = trial.user_attrs.get(RESULT)
    return TrialResult(**stored) if stored and trial.state.is_finished() else None


def own_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that count towards search.trials.

    Trials that were replaced by a retry, and trials copied from another study, do not count.
    """
    replaced = {
        int(name.split("/")[1]) for name in study.user_attrs if name.startswith(f"{REPLACED}/")
    }
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.number not in replaced and COPIED_FROM not in trial.user_attrs
    ]


def ended_trials(study: optuna.Study) -> list[tuple[FrozenTrial, TrialResult]]:
    """Returns the trials that have ended, with their results.

    Includes trials that were copied from another study, but not trials that were replaced by a
    retry.
    """
    counted_numbers = {trial.number for trial in own_trials(study)}
    results = [(trial, result_of(trial)) for trial in study.get_trials(deepcopy=False)]
    return [
        (trial, result)
        for trial, result in results
        if result is not None
        and (trial.number in counted_numbers or COPIED_FROM in trial.user_attrs)
    ]


def progress_of_others(study: optuna.Study, number: int) -> list[Progress]:
    """Returns the progress of all trials except failed ones and the trial with this number."""
    stored = [
        trial.user_attrs.get(PROGRESS)
        for trial in study.get_trials(deepcopy=False)
        if trial.number != number and trial.state != TrialState.FAIL
    ]
    return [
        Progress(each["latency_ms"], {int(step): score for step, score in each["scores"].items()})
        for each in stored
        if each
    ]


def first_failure(trials: list[FrozenTrial], since: float) -> str | None:
    """Returns the first known error of the last FAILURES trials if all failed, else None.

    since: a time in seconds; trials that ended before it are ignored.
    """
    ended = [
        (trial.datetime_complete, trial)
        for trial in trials
        if trial.datetime_complete and trial.datetime_complete.timestamp() >= since
    ]
    last = [trial for _, trial in sorted(ended, key=lambda pair: pair[0])][-FAILURES:]
    if len(last) < FAILURES or any(trial.state != TrialState.FAIL for trial in last):
        return None
    results = [result_of(trial) for trial in last]
    return next((result.error for result in results if result is not None), "their workers died")
