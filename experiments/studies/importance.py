"""The importance of each searched setting for each objective."""

import warnings
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.studies.study import OBJECTIVES, Direction

TRAINING_SETTINGS = ("pretrain.", "loss.", "train.")
"""Prefixes of the settings that have no effect on a student's costs."""


def setting_importances(study: optuna.Study, objectives: list[str]) -> dict[str, dict[str, float]]:
    """Returns each setting's importance as a share, by objective.

    It is computed by PED-ANOVA (Watanabe et al. 2023). The importance measures what distinguishes
    the best values of an objective. Shares add up to 1. Settings of training cannot change a cost.
    They are left out for costs, because few trials could make them look important.
    """
    done = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    importances: dict[str, dict[str, float]] = {}
    for place, name in enumerate(objectives):
        # An objective with a single value has nothing to explain.
        if len({trial.values[place] for trial in done}) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # conditional settings may have few trials
            values = optuna.importance.get_param_importances(
                study, target=_value_to_minimise(place, OBJECTIVES[name])
            )
        shares = {
            key: float(value)
            for key, value in values.items()
            if name == "quality" or not key.startswith(TRAINING_SETTINGS)
        }
        if total := sum(shares.values()):
            importances[name] = {key: share / total for key, share in shares.items()}
    return importances


def _value_to_minimise(place: int, direction: Direction) -> Callable[[FrozenTrial], float]:
    """Returns a function of a trial that gives its value, negated if more is better.

    Optuna's importance treats lower values as better.
    """
    sign = -1 if direction == "maximize" else 1
    return lambda trial: sign * float(trial.values[place])
