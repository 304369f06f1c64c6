"""A trial of a search or an ablation: an MLflow run that is nested in that of its parent."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.empty_runs import OWN_RUN
from experiments.settings import DistillSettings
from experiments.tracking.outputs import of_trial
from experiments.tracking.record import FinishedRun, record
from experiments.tracking.run import OpenRun, Tags, open_run, tasks_tag
from experiments.tracking.store import configure, is_outage, with_retries
from mkd import names
from mkd.result import Report, Result, RunStopped

FINISHED_TRIAL = (
    f"attributes.status = 'FINISHED' and tags.`{names.TAG_KIND}` = '{names.KIND_TRIAL}'"
)
"""MLflow filter for trials that finished."""


def record_trial(
    parent: Run,
    config: DistillSettings,
    name: str,
    tags: Tags,
    training: Callable[[OpenRun, Report], Result],
    report: Report,
    params: Mapping[str, str] = MappingProxyType({}),
    place: str = "",
) -> FinishedRun[Result]:
    """Runs the training in a nested run, and logs everything except the model.

    training: receives the run and a Report.
    report: receives the progress of the training.
    params: logged in addition to the settings.
    place: distinguishes the trial from others with the same settings that may be running.

    The run's status is FINISHED; KILLED if the training raises RunStopped or is interrupted; and
    FAILED, with the error's text, for any other exception. The tag `mkd.state` gives the reason.
    """
    opening = _open_trial(parent, config, name, tags, params, place)
    return record(opening, training, of_trial, nested_report=report)


@contextmanager
def _open_trial(
    parent: Run,
    config: DistillSettings,
    name: str,
    tags: Tags,
    params: Mapping[str, str],
    place: str,
) -> Iterator[OpenRun]:
    trial_tags = {names.TAG_PARENT: parent.info.run_id, **tags}
    tasks = tasks_tag(config.data)
    with (
        open_run(config, names.KIND_TRIAL, name, tasks, trial_tags, parent, place) as run,
        _state_tagged(),
    ):
        with_retries(lambda: mlflow.log_params(dict(params)))
        yield run


@contextmanager
def _state_tagged() -> Iterator[None]:
    """Tags the open run with its final state."""
    state = names.STATE_COMPLETE
    try:
        yield
    except RunStopped as end:
        state = end.state
        raise
    except KeyboardInterrupt:
        state = names.STATE_INTERRUPTED
        raise
    except Exception:
        state = names.STATE_FAILED
        raise
    finally:
        with_retries(lambda: mlflow.set_tag(names.TAG_STATE, state))
        # MLflow itself ends the run as FINISHED or FAILED. A trial that was stopped is neither.
        if state not in (names.STATE_COMPLETE, names.STATE_FAILED):
            mlflow.end_run("KILLED")


def run_of(run_id: str) -> Run:
    """Returns the run with this id."""
    return with_retries(lambda: mlflow.get_run(run_id))


def rename_run(run_id: str, name: str) -> None:
    """Renames a run."""
    with_retries(lambda: mlflow.MlflowClient().set_tag(run_id, "mlflow.runName", name))


def weight_params(settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns task weights as one param a task, so that they can be compared in MLflow."""
    weights = {name: value for name, value in settings.items() if isinstance(value, dict)}
    return {
        f"{name}.{task}": f"{weight:.4f}"
        for name, value in weights.items()
        for task, weight in value.items()
    }


def fail_lost_run(run_id: str) -> None:
    """Ends the run of a trial whose worker has died. Nothing else would end it."""
    client = mlflow.MlflowClient()

    def end() -> None:
        client.set_tag(run_id, names.TAG_STATE, names.STATE_FAILED)
        client.set_tag(run_id, names.TAG_ERROR, "its worker died or was suspended")
        client.set_terminated(run_id, "FAILED")

    with_retries(end)


def trial_with_key(experiment: str, key: str) -> FinishedRun[None] | None:
    """Returns a finished trial with this `mkd.key` in the experiment with this id, or None."""
    wanted = f"{FINISHED_TRIAL} and tags.`{names.TAG_KEY}` = '{key}'"
    runs = mlflow.MlflowClient().search_runs([experiment], wanted, max_results=1)
    return FinishedRun(runs[0].info.run_id, runs[0].data.metrics, None) if runs else None


def finished_metrics(run_id: str) -> dict[str, float] | None:
    """Returns the metrics of a run, or None if it has not finished or was deleted."""
    try:
        run = mlflow.get_run(run_id)
    except MlflowException as error:
        if is_outage(error):
            raise
        return None
    active = run.info.status == "FINISHED" and run.info.lifecycle_stage == "active"
    return dict(run.data.metrics) if active else None


def tracking_uri() -> str:
    """Returns the URI of the tracking store."""
    return str(mlflow.get_tracking_uri())


def start_worker(uri: str) -> None:
    """Makes this worker process log to the given tracking store.

    Its runs are new ones, and not the run that `mlflow run` created for the command.
    """
    os.environ.pop(OWN_RUN, None)
    configure()
    mlflow.set_tracking_uri(uri)
