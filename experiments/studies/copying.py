"""Copies the finished trials of another study to a new one."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.studies.attributes import COPIED_FROM, FIXED_SETTINGS
from experiments.studies.space import contains
from mkd.storage.run_folder import differences


def copy_trials(
    study: optuna.Study, other: str, kinds: dict[str, BaseDistribution]
) -> tuple[int, int]:
    """Copies the finished trials of another study that lie in this search space.

    Both studies are in the same storage.

    kinds: the search space by Optuna's names.
    Returns the number of copied trials, and the number of finished trials in the other study.
    Trials that were copied before are skipped.
    Raises ValueError if there is no such study, or if its scores are not comparable.
    """
    known = optuna.get_all_study_names(study._storage)
    if other not in known:
        raise ValueError(
            f"search.start_from is {other!r}; "
            f"allowed: {', '.join(sorted(set(known) - {study.study_name})) or 'none'}"
        )
    source = optuna.load_study(study_name=other, storage=study._storage)
    if unlike := differences(_comparable(source), _comparable(study)):
        raise ValueError(
            f"search.start_from is {other!r}, whose scores are not comparable: {'; '.join(unlike)}"
        )
    copied = {trial.user_attrs.get(COPIED_FROM) for trial in study.get_trials(deepcopy=False)}
    finished = [
        trial for trial in source.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE
    ]
    new = [
        trial
        for trial in finished
        if f"{other}/{trial.number}" not in copied and _within(trial, kinds)
    ]
    for trial in new:
        copy = create_trial(
            state=trial.state,
            params=trial.params,
            distributions={name: kinds[name] for name in trial.params},
            values=trial.values,
            user_attrs=trial.user_attrs | {COPIED_FROM: f"{other}/{trial.number}"},
        )
        study.add_trial(copy)
    return len(new), len(finished)


def _comparable(study: optuna.Study) -> dict[str, Any]:
    """Returns what has to be equal for the values of two studies to be comparable."""
    fixed = study.user_attrs[FIXED_SETTINGS]
    comparable = {name: fixed[name] for name in ("objectives", "backend", "settings", "seed")}
    # studies of earlier versions do not have these
    return comparable | {
        name: fixed.get(name) for name in ("selection", "rows", "contents", "made_by")
    }


def _within(trial: FrozenTrial, kinds: dict[str, BaseDistribution]) -> bool:
    """Returns whether all params of a trial lie in the search space."""
    return all(
        name in kinds and contains(kinds[name], value) for name, value in trial.params.items()
    )
