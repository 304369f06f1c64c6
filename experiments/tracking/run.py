"""Opens or resumes one MLflow run, and logs its settings and metrics."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import mlflow
from mlflow.entities import Metric, Param, Run

from analysis.empty_runs import OWN_RUN, discard_run
from experiments.cli import flat, to_yaml
from experiments.settings import Command
from experiments.tracking.interrupts import delayed_interrupts
from experiments.tracking.store import connected, is_outage, retry_on_race, with_retries
from experiments.tracking.views import show_students
from mkd import names, precision, processes
from mkd.config import DataConfig
from mkd.result import Dataset, RunStopped
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.addresses import one_line
from mkd.storage.owners import is_gone, machine, owner
from mkd.storage.run_folder import FREE_SETTINGS, run_folder, run_folder_path
from mkd.tasks.demo import DEMO_TASKS
from mkd.tasks.origins import source_of

EXPERIMENT = "mkd"
"""The experiment that is used if neither MLFLOW_EXPERIMENT_NAME nor `mlflow run` selects one."""
DEFAULT_EXPERIMENT_ID = "0"
"""The id of MLflow's experiment Default."""
PROJECT_TAGS = ("mlflow.source.", "mlflow.project.", "mlflow.gitRepoURL", "mlflow.gitBranch")
"""Starts of the tags that `mlflow run` gives a run."""
STARTED = "started"
"""An empty file in a run's folder, which marks that a run has started there."""

Tags = Mapping[str, str]
NO_TAGS: Tags = MappingProxyType({})


class OpenRun(NamedTuple):
    """A run that is open. `folder` is where it works, and `entity` is the run in MLflow."""

    entity: Run
    folder: Path

    @property
    def id(self) -> str:
        """The id of the run in MLflow."""
        return str(self.entity.info.run_id)


def tasks_tag(data: DataConfig) -> str:
    """Returns the task names, separated by commas, or the source if all its tasks are used."""
    return ",".join(data.tasks) or source_of(data)


def tasks_name(data: DataConfig) -> str:
    """Returns the part of a run's name for its tasks: a task's name, their number, or their
    source."""
    if data.tasks:
        return data.tasks[0] if len(data.tasks) == 1 else f"{len(data.tasks)} tasks"
    if source_of(data) == "demo":
        return f"{len(DEMO_TASKS)} demo tasks"
    return Path(data.path).stem or source_of(data)


def folder_of(config: Command, kind: str) -> Path:
    """Returns the working folder of a run of this kind with these settings."""
    return run_folder_path(_folder_settings(config), kind)


def _folder_settings(config: Command) -> dict[str, Any]:
    """Returns the settings that identify a run's folder."""
    return asdict(config.shown())


@contextmanager
def open_run(
    config: Command,
    kind: str,
    name: str,
    tasks: str,
    tags: Tags = NO_TAGS,
    parent: Run | None = None,
    place: str = "",
) -> Iterator[OpenRun]:
    """Opens or resumes a run, logs its settings, and yields it.

    A run with the same settings that was killed is resumed. Otherwise the run that `mlflow run`
    created is used, if there is one. Otherwise a new run is created. The run ends as FINISHED, or
    as FAILED if the body raises. A new run is discarded if a mistake of the user ends it before it
    has any metric.

    kind, tasks: the tags `mkd.kind` and `mkd.tasks`.
    parent: the open run that this run is nested in.
    place: distinguishes this run from others of the same kind and settings.
    Raises ConnectionError if the tracking store cannot be reached.
    """
    kind_tags = {names.TAG_KIND: kind, names.TAG_TASKS: tasks}
    with (
        run_folder(_folder_settings(config), f"{kind} {place}".rstrip()) as folder,
        ExitStack() as stack,
    ):

        def opened() -> mlflow.ActiveRun:
            with connected():
                active_run = _resume_or_start(folder, name, parent)
                if parent is None:
                    end_killed_runs(active_run)
                return active_run

        # A signal between MLflow's creation of the run and `enter_context` would leave it RUNNING.
        with delayed_interrupts():
            # A command does not wait for its store. Its trials do, as the store was there before.
            run = stack.enter_context(opened() if parent is None else with_retries(opened))
        with_retries(partial(log_settings, run, config, name, {**kind_tags, **tags}))
        with _empty_run_discarded(run, parent), failure_logged(run):
            yield OpenRun(run, folder)
        with_retries(partial(mlflow.MlflowClient().set_terminated, run.info.run_id))


@contextmanager
def _empty_run_discarded(run: Run, parent: Run | None) -> Iterator[None]:
    """Discards a new run that a ValueError ends before it has a metric or a child.

    A ValueError is a mistake of the user, which the command prints. A trial is kept: its parent
    counts it.
    """
    try:
        yield
    except ValueError:
        stored_run = mlflow.MlflowClient().get_run(run.info.run_id)
        if (
            parent is None
            and not run.data.metrics
            and not stored_run.data.metrics
            and not children(stored_run)
        ):
            mlflow.end_run("FAILED")
            discard_run(run.info.run_id, stored_run.info.run_name)
        raise


def children(run: Run) -> list[Run]:
    """Returns the runs that are nested in the run; at most one."""
    wanted = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    runs: list[Run] = mlflow.MlflowClient().search_runs(
        [run.info.experiment_id], wanted, max_results=1
    )
    return runs


@contextmanager
def failure_logged(run: Run) -> Iterator[None]:
    """Logs why the run ended early, as its description and as the tag `mkd.error`.

    A pruned or infeasible trial (`RunStopped`) is no error, and gets the description only. If the
    store itself is away, nothing is logged: the run stays open, and the same command resumes it.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if is_outage(error):
            raise
        why = one_line(error) or type(error).__name__
        client = mlflow.MlflowClient()
        client.set_tag(run.info.run_id, "mlflow.note.content", why)
        if not isinstance(error, RunStopped):
            client.set_tag(run.info.run_id, names.TAG_ERROR, why)
        raise


def log_settings(run: Run, config: Command, name: str, tags: Tags) -> None:
    """Logs the name, the tags and all settings to the open run."""
    core = config.core()
    ratio = precision.stored_speedup(Path(core.cache), processes.device_kind(core.device))
    measured = {} if ratio is None else {names.tag_hardware("bfloat16_speedup"): f"{ratio:.2f}"}
    mlflow.set_tags(
        {
            "mlflow.runName": name,
            names.TAG_SELECTION: SPLIT_VERSION,
            names.TAG_PROCESS: owner(),
            **measured,
            **tags,
        }
    )
    client = mlflow.MlflowClient()
    known = client.get_run(run.info.run_id).data
    if why := known.tags.get(names.TAG_ERROR):  # a resumed run: its earlier error no longer holds
        client.delete_tag(run.info.run_id, names.TAG_ERROR)
        # A description that the user wrote in the meantime is kept.
        if known.tags.get("mlflow.note.content") == why:
            client.delete_tag(run.info.run_id, "mlflow.note.content")
    # A param of an MLflow run cannot be changed, so a resumed run logs only those that are missing.
    settings = {key: str(value) for key, value in flat(config).items()}
    params = [Param(key, value) for key, value in settings.items() if key not in known.params]
    client.log_batch(run.info.run_id, params=params)
    changed = {
        key: [known.params[key], value]
        for key, value in settings.items()
        if known.params.get(key, value) != value and key.split(".")[0] in FREE_SETTINGS
    }
    if changed:
        client.set_tag(run.info.run_id, names.TAG_CHANGED, json.dumps(changed))
    mlflow.log_text(to_yaml(config), "config.yaml")


def _resume_or_start(folder: Path, name: str, parent: Run | None) -> mlflow.ActiveRun:
    """Resumes the run that was killed in this folder, or starts and tags a new one."""
    place = f"{platform.node()}:{folder.resolve()}"
    known = _find_unfinished(place, (folder / STARTED).exists())
    (folder / STARTED).touch()
    return start_run(name, known, parent, {names.TAG_FOLDER: place, names.TAG_PROCESS: owner()})


def start_run(name: str, known: str, parent: Run | None, tags: dict[str, str]) -> mlflow.ActiveRun:
    """Resumes the run with the id `known`, or starts a new run if it is empty.

    A new run is nested in `parent`. Without a parent it is the run that `mlflow run` created, or
    one in the selected experiment.
    """
    project_run_id = os.environ.get(OWN_RUN, "")
    if known and known != project_run_id:
        if project_run_id:
            # `mlflow run` has created a run for this command. It stays empty, and its name points
            # to the resumed run.
            mlflow.MlflowClient().set_tag(
                project_run_id, "mlflow.runName", f"{name} continues in {known}"
            )
            del os.environ[OWN_RUN]
        print(f"resuming run {known}", flush=True)
        resumed = mlflow.start_run(run_id=known, nested=parent is not None)
        show_students(mlflow.get_experiment(resumed.info.experiment_id))
        return resumed
    if parent is not None:
        about = parent.info
        return mlflow.start_run(
            nested=True, experiment_id=about.experiment_id, parent_run_id=about.run_id, tags=tags
        )
    tags = tags | _leave_default_experiment(name)
    if not any(
        os.environ.get(f"MLFLOW_{key}") for key in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME")
    ):
        retry_on_race(partial(mlflow.set_experiment, EXPERIMENT))
    run = mlflow.start_run(run_name=name, tags=tags)
    show_students(mlflow.get_experiment(run.info.experiment_id))
    return run


def _leave_default_experiment(name: str) -> dict[str, str]:
    """Discards the run that `mlflow run` created in the experiment Default, and returns its tags.

    Without --experiment-name, `mlflow run` creates its run there, and a project cannot name another
    experiment. The command then has its run in EXPERIMENT, as without `mlflow run`.
    """
    project_run_id = os.environ.get(OWN_RUN, "")
    client = mlflow.MlflowClient()
    if (
        not project_run_id
        or client.get_run(project_run_id).info.experiment_id != DEFAULT_EXPERIMENT_ID
    ):
        return {}
    tags = {
        key: value
        for key, value in client.get_run(project_run_id).data.tags.items()
        if key.startswith(PROJECT_TAGS)
    }
    print(f"the run is in the experiment {EXPERIMENT}: none was named", flush=True)
    discard_run(project_run_id, f"{name}, in the experiment {EXPERIMENT}")
    for key in ("RUN_ID", "EXPERIMENT_ID"):
        os.environ.pop(f"MLFLOW_{key}", None)
    return tags


def end_killed_runs(opened: Run) -> None:
    """Marks the runs of the same experiment as KILLED that are RUNNING though their process ended.

    opened: the run of this process. Runs of other machines are left alone.
    """
    client = mlflow.MlflowClient()
    wanted = f"attributes.status = 'RUNNING' and tags.`{names.TAG_PROCESS}` LIKE '{machine()}-%'"
    for run in client.search_runs([opened.info.experiment_id], wanted):
        if run.info.run_id != opened.info.run_id and is_gone(run.data.tags[names.TAG_PROCESS]):
            client.set_tag(run.info.run_id, names.TAG_ERROR, "its process was killed")
            client.set_terminated(run.info.run_id, "KILLED")


def _find_unfinished(place: str, started: bool) -> str:
    """Returns the id of the last unfinished run that worked in this place, or "".

    started: whether the folder marks that a run has started there. Only then is a FAILED or KILLED
        run resumed; otherwise only a RUNNING one.
    """
    client = mlflow.MlflowClient()
    status = "!= 'FINISHED'" if started else "= 'RUNNING'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"attributes.status {status} and tags.`{names.TAG_FOLDER}` {equal_to(place)}"
    runs = client.search_runs(
        experiments, wanted, max_results=1, order_by=["attributes.start_time DESC"]
    )
    return str(runs[0].info.run_id) if runs else ""


def equal_to(value: str) -> str:
    """Returns the comparison with a text for MLflow's filters, which have no escapes."""
    if "'" not in value:
        return f"= '{value}'"
    if '"' not in value:
        return f'= "{value}"'
    return f"LIKE '{value.replace(chr(39), '_')}'"  # _ stands for any character


def log_metrics(
    run_id: str,
    step: int,
    metrics: Mapping[str, float],
    time_ms: int,
    model_id: str = "",
    datasets: Sequence[Dataset] = (),
) -> None:
    """Logs all metrics at one step, in one request. A repeated call adds nothing.

    time_ms: their time, in milliseconds since the epoch.
    model_id: the logged model that they are metrics of. Empty: none.
    datasets: a task's scores are linked to its data set.
    """
    of_task = {data.task: data.fingerprint for data in datasets}

    def metric(name: str, value: float) -> Metric:
        task, _ = names.parsed_quality(name) or ("", "")
        linked = task in of_task
        return Metric(
            name,
            value,
            time_ms,
            step,
            model_id=model_id or None,
            dataset_name=task if linked else None,
            dataset_digest=of_task[task] if linked else None,
            run_id=run_id if model_id else None,
        )

    mlflow.MlflowClient().log_batch(
        run_id, metrics=[metric(name, value) for name, value in metrics.items()]
    )
