"""Opens or resumes one MLflow run, logs its settings and metrics, and builds links to it."""

import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from experiments.cli import flat, one_line, to_yaml
from experiments.settings import Command
from mkd import names, precision, processes
from mkd.config import DataConfig
from mkd.result import Report, RunStopped
from mkd.selection.split import SPLIT_VERSION
from mkd.storage.run_folder import run_folder, run_folder_path

EXPERIMENT = "mkd"
"""The experiment that is used if neither MLFLOW_EXPERIMENT_NAME nor `mlflow run` selects one."""
STARTED = "started"
"""An empty file in a run's folder, which marks that a run has started there."""


def tasks_of(data: DataConfig) -> str:
    """Returns the task names, separated by commas, or the source if all its tasks are used."""
    return ",".join(data.tasks) or data.source


def num_tasks(data: DataConfig) -> str:
    """Returns the number of tasks as text for a run's name, or `all SOURCE tasks`."""
    return f"{len(data.tasks)} tasks" if data.tasks else f"all {data.source} tasks"


def folder_of(config: Command, kind: str) -> Path:
    """Returns the working folder of a run of this kind with these settings."""
    return run_folder_path(_settings(config), kind)


def _settings(config: Command) -> dict[str, Any]:
    """Returns the settings that identify a run's folder."""
    return asdict(config.shown())


@contextmanager
def opened(
    config: Command, name: str, tags: dict[str, str], parent: Run | None = None, place: str = ""
) -> Iterator[tuple[Run, Path]]:
    """Opens or resumes a run, logs its settings, and yields the run and its working folder.

    A run with the same settings that was killed is resumed. Otherwise the run that `mlflow run`
    created is used, if there is one. Otherwise a new run is created.

    tags: must contain `mkd.kind`.
    parent: the open run that this run is nested in.
    place: distinguishes this run from others of the same kind and settings.
    Raises ConnectionError if the tracking store cannot be reached.
    """
    with run_folder(_settings(config), f"{tags[names.TAG_KIND]} {place}".rstrip()) as folder:
        with connected():
            started = _started(folder, name, parent)
        with started as run:
            describe(run, config, name, tags)
            with failure_told(run):
                yield run, folder


@contextmanager
def failure_told(run: Run) -> Iterator[None]:
    """Logs why the run ended early, as its description and as the tag `mkd.error`.

    A pruned or infeasible trial (`RunStopped`) is no error, and gets the description only.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        why = one_line(error) or type(error).__name__
        client = mlflow.MlflowClient()
        client.set_tag(run.info.run_id, "mlflow.note.content", why)
        if not isinstance(error, RunStopped):
            client.set_tag(run.info.run_id, names.TAG_ERROR, why)
        raise


@contextmanager
def connected() -> Iterator[None]:
    """Raises ConnectionError if the tracking store cannot be reached.

    Every MlflowException raised inside is reported this way. MLflow's HTTP retries are limited to
    2: with the default, a call would hang for minutes. A local SQLite store is created first.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    make_database(mlflow.get_tracking_uri())
    try:
        yield
    except MlflowException as error:
        raise ConnectionError(
            f"MLFLOW_TRACKING_URI is {mlflow.get_tracking_uri()}: {error}"
        ) from error


def describe(run: Run, config: Command, name: str, tags: dict[str, str]) -> None:
    """Logs the name, the tags and all settings to the open run."""
    core = config.core()
    ratio = precision.stored_speedup(Path(core.cache), processes.device_kind(core.device))
    measured = {} if ratio is None else {names.tag_hardware("bfloat16_speedup"): f"{ratio:.2f}"}
    mlflow.set_tags({"mlflow.runName": name, names.TAG_SELECTION: SPLIT_VERSION} | measured | tags)
    client = mlflow.MlflowClient()
    known = client.get_run(run.info.run_id).data
    if why := known.tags.get(names.TAG_ERROR):  # a resumed run: its earlier error no longer holds
        client.delete_tag(run.info.run_id, names.TAG_ERROR)
        # A description that the user wrote in the meantime is kept.
        if known.tags.get("mlflow.note.content") == why:
            client.delete_tag(run.info.run_id, "mlflow.note.content")
    # A param of an MLflow run cannot be changed, so a resumed run logs only those that are missing.
    params = [
        Param(key, str(value)) for key, value in flat(config).items() if key not in known.params
    ]
    client.log_batch(run.info.run_id, params=params)
    mlflow.log_text(to_yaml(config), "config.yaml")


def _started(folder: Path, name: str, parent: Run | None) -> mlflow.ActiveRun:
    """Resumes the run that was killed in this folder, or starts and tags a new one."""
    place = f"{platform.node()}:{folder.resolve()}"
    known = _unfinished(place, (folder / STARTED).exists())
    (folder / STARTED).touch()
    return start(name, known, parent, {names.TAG_FOLDER: place})


def start(name: str, known: str, parent: Run | None, tags: dict[str, str]) -> mlflow.ActiveRun:
    """Resumes the run with the id `known`, or starts a new run if it is empty.

    A new run is nested in `parent`. Without a parent it is the run that `mlflow run` created, or
    one in the selected experiment.
    """
    own = os.environ.get("MLFLOW_RUN_ID", "")
    if known and known != own:
        if own:
            # `mlflow run` has created a run for this command. It stays empty, and its name points
            # to the resumed run.
            mlflow.MlflowClient().set_tag(own, "mlflow.runName", f"{name} goes on in {known}")
            del os.environ["MLFLOW_RUN_ID"]
        print(f"going on with run {known}", flush=True)
        return mlflow.start_run(run_id=known, nested=parent is not None)
    if parent is not None:
        about = parent.info
        return mlflow.start_run(
            nested=True, experiment_id=about.experiment_id, parent_run_id=about.run_id, tags=tags
        )
    if not any(
        os.environ.get(f"MLFLOW_{key}") for key in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME")
    ):
        mlflow.set_experiment(EXPERIMENT)
    return mlflow.start_run(tags=tags)


def _unfinished(place: str, started: bool) -> str:
    """Returns the id of the last unfinished run that worked in this place, or "".

    started: whether the folder marks that a run has started there. Only then is a FAILED or KILLED
        run resumed; otherwise only a RUNNING one.
    """
    client = mlflow.MlflowClient()
    status = "!= 'FINISHED'" if started else "= 'RUNNING'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"attributes.status {status} and tags.`{names.TAG_FOLDER}` = '{place}'"
    found = client.search_runs(
        experiments, wanted, max_results=1, order_by=["attributes.start_time DESC"]
    )
    return str(found[0].info.run_id) if found else ""


def make_database(uri: str) -> None:
    """Creates a local SQLite store if it does not exist.

    It is created in a temporary folder and then linked to its place. A process that is killed
    meanwhile leaves no incomplete database.
    """
    if not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists():
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-") as aside:
        mlflow.MlflowClient(f"sqlite:///{aside}/{file.name}").search_experiments()
        with suppress(FileExistsError):  # another process created it first
            # A link fails if the file exists. A rename would replace the database of another
            # process.
            os.link(f"{aside}/{file.name}", file)


def reporter(run: Run) -> Report:
    """Returns a Report that logs to the run and skips what was logged before the run was killed.

    A resumed training repeats the steps after its checkpoint. For each metric, only steps after the
    last logged one are sent.
    """
    client, told = mlflow.MlflowClient(), dict.fromkeys(run.data.metrics, -1)

    def report(step: int, metrics: dict[str, float]) -> None:
        for name in metrics:
            # Only metrics of before the restart are -1. Their history is read once, when they are
            # reported again.
            if told.get(name) == -1:
                told[name] = max(
                    metric.step for metric in client.get_metric_history(run.info.run_id, name)
                )
        log_metrics(
            run.info.run_id,
            step,
            {name: value for name, value in metrics.items() if step > told.get(name, -1)},
        )

    return report


def log_metrics(run_id: str, step: int, metrics: dict[str, float]) -> None:
    """Logs all metrics at one step, in one request."""
    now = int(time.time() * 1000)
    mlflow.MlflowClient().log_batch(
        run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()]
    )


def where(run: Run, query: str = "") -> str:
    """Returns where the run can be viewed.

    This is a link to the server or, for a local store, the command that opens it and the link.

    query: a query string of the UI. If given, the link shows the experiment's runs that match it
        instead of this run.
    """
    uri = mlflow.get_tracking_uri()
    place = f"runs{quote(query, safe='?=&')}" if query else f"runs/{run.info.run_id}"
    path = f"#/experiments/{run.info.experiment_id}/{place}"
    return (
        f"{uri}/{path}"
        if uri.startswith("http")
        else f"mlflow ui --backend-store-uri {uri} then http://127.0.0.1:5000/{path}"
    )
