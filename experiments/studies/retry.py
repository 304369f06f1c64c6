"""Retries of trials whose workers have died or were stopped."""

import warnings

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

from experiments.studies.attributes import REPLACED, TRIAL_RUN
from experiments.tracking.trials import fail_lost_run

WORKER_DIED, WORKER_STOPPED = "its worker died", "its worker was stopped"
"""Reasons why a trial was replaced."""


def retry(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    """Queues a copy of an unfinished trial with the same settings.

    why: WORKER_DIED or WORKER_STOPPED. A trial whose worker died is retried only once, because the
        trial itself may be what kills its worker. A stopped trial is retried every time.
    """
    attributes = study.user_attrs
    # The reasons why earlier copies of this trial were replaced.
    before = [
        attributes.get(f"{REPLACED}/{number}")
        for number in trial.system_attrs.get("retry_history", [])
    ]
    if why == WORKER_DIED and WORKER_DIED in before:
        return
    study.set_user_attr(f"{REPLACED}/{trial.number}", why)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback()(study, trial)


def fail_run_of(trial: FrozenTrial) -> None:
    """Ends the MLflow run, if there is one, of a trial whose worker has died."""
    if run := trial.user_attrs.get(TRIAL_RUN):
        fail_lost_run(run)


def retry_lost_trials(study: optuna.Study) -> None:
    """Marks the trials whose workers have died as failed, and retries them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
