"""One MLflow run: opened or gone on with, told its settings and how it ends, and where it can be looked at."""

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
from mkd.result import Ended, Report
from mkd.selection.carving import VERSION
from mkd.storage.run_folder import path_of, run_folder

EXPERIMENT = "mkd"
"""Where runs go that no MLFLOW_EXPERIMENT_NAME and no `mlflow run` sends elsewhere."""
STARTED = "started"
"""In a run's folder: a run has begun there."""


def tasks_of(data: DataConfig) -> str:
    return ",".join(data.tasks) or data.source


def num_tasks(data: DataConfig) -> str:
    """The tasks as a run's name tells them: how many, or all that the source has."""
    return f"{len(data.tasks)} tasks" if data.tasks else f"all {data.source} tasks"


def folder_of(config: Command, kind: str) -> Path:
    """Where the run of a kind with these settings works."""
    return path_of(_settings(config), kind)


def _settings(config: Command) -> dict[str, Any]:
    """What a run's folder is told by."""
    return asdict(config.shown())


@contextmanager
def opened(
    config: Command, name: str, tags: dict[str, str], parent: Run | None = None, place: str = ""
) -> Iterator[tuple[Run, Path]]:
    """A run with its config logged, and the folder it works in. parent: the open run that it is a child of.

    place: what tells it from other runs of the same kind and settings.

    It is the one that was killed with the same settings, where there is one; else that which `mlflow run` has made; else new.
    Raises ConnectionError where the tracking store cannot be reached.
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
    """Leaves in the run why it ended: an error's text as the tag `mkd.error`, and whatever it is as the run's description."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        why = one_line(error) or type(error).__name__
        client = mlflow.MlflowClient()
        client.set_tag(run.info.run_id, "mlflow.note.content", why)
        if not isinstance(error, Ended):
            client.set_tag(run.info.run_id, names.TAG_ERROR, why)
        raise


@contextmanager
def connected() -> Iterator[None]:
    """Raises ConnectionError where the tracking store cannot be reached; without it, a call would hang for minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    make_database(mlflow.get_tracking_uri())
    try:
        yield
    except MlflowException as error:
        raise ConnectionError(f"MLFLOW_TRACKING_URI is {mlflow.get_tracking_uri()}: {error}") from error


def describe(run: Run, config: Command, name: str, tags: dict[str, str]) -> None:
    """Leaves name, tags and all settings in the open run."""
    core = config.core()
    ratio = precision.known(Path(core.cache), processes.kind_of(core.device))
    measured = {} if ratio is None else {names.tag_hardware("bfloat16_speedup"): f"{ratio:.2f}"}
    mlflow.set_tags({"mlflow.runName": name, names.TAG_SELECTION: VERSION} | measured | tags)
    client = mlflow.MlflowClient()
    known = client.get_run(run.info.run_id).data
    if why := known.tags.get(names.TAG_ERROR):  # it is gone on with
        client.delete_tag(run.info.run_id, names.TAG_ERROR)
        if known.tags.get("mlflow.note.content") == why:
            client.delete_tag(run.info.run_id, "mlflow.note.content")
    params = [Param(key, str(value)) for key, value in flat(config).items() if key not in known.params]
    client.log_batch(run.info.run_id, params=params)
    mlflow.log_text(to_yaml(config), "config.yaml")


def _started(folder: Path, name: str, parent: Run | None) -> mlflow.ActiveRun:
    """The run that was killed while it worked in the folder, or another one, which is told by its tag then."""
    place = f"{platform.node()}:{folder.resolve()}"
    known = _unfinished(place, (folder / STARTED).exists())
    (folder / STARTED).touch()
    return start(name, known, parent, {names.TAG_FOLDER: place})


def start(name: str, known: str, parent: Run | None, tags: dict[str, str]) -> mlflow.ActiveRun:
    """The known run, gone on with; without one a new one: below its parent, or where `mlflow run` has made one that one."""
    own = os.environ.get("MLFLOW_RUN_ID", "")
    if known and known != own:
        if own:
            # What `mlflow run` has made for this start stays empty.
            mlflow.MlflowClient().set_tag(own, "mlflow.runName", f"{name} goes on in {known}")
            del os.environ["MLFLOW_RUN_ID"]
        print(f"going on with run {known}", flush=True)
        return mlflow.start_run(run_id=known, nested=parent is not None)
    if parent is not None:
        about = parent.info
        return mlflow.start_run(nested=True, experiment_id=about.experiment_id, parent_run_id=about.run_id, tags=tags)
    if not any(os.environ.get(f"MLFLOW_{key}") for key in ("RUN_ID", "EXPERIMENT_ID", "EXPERIMENT_NAME")):
        mlflow.set_experiment(EXPERIMENT)
    return mlflow.start_run(tags=tags)


def _unfinished(place: str, started: bool) -> str:
    """The id of the last run that worked there and is RUNNING yet; where one was `started` there, also of one that FAILED."""
    client = mlflow.MlflowClient()
    status = "!= 'FINISHED'" if started else "= 'RUNNING'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"attributes.status {status} and tags.`{names.TAG_FOLDER}` = '{place}'"
    found = client.search_runs(experiments, wanted, max_results=1, order_by=["attributes.start_time DESC"])
    return str(found[0].info.run_id) if found else ""


def make_database(uri: str) -> None:
    """Makes a local store that is not there, aside, so that a process that is killed meanwhile leaves no half of one."""
    if not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists():
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-") as aside:
        mlflow.MlflowClient(f"sqlite:///{aside}/{file.name}").search_experiments()
        with suppress(FileExistsError):  # another process was faster
            os.link(f"{aside}/{file.name}", file)


def reporter(run: Run) -> Report:
    """A Report to the run, less what it was told before it was killed: a training says it all again from its checkpoint on."""
    client, told = mlflow.MlflowClient(), dict.fromkeys(run.data.metrics, -1)

    def report(step: int, metrics: dict[str, float]) -> None:
        for name in metrics:
            if told.get(name) == -1:
                told[name] = max(metric.step for metric in client.get_metric_history(run.info.run_id, name))
        log_metrics(run.info.run_id, step, {name: value for name, value in metrics.items() if step > told.get(name, -1)})

    return report


def log_metrics(run_id: str, step: int, metrics: dict[str, float]) -> None:
    now = int(time.time() * 1000)
    mlflow.MlflowClient().log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])


def where(run: Run, query: str = "") -> str:
    """Where to look at the run: a link into the server, or the command that shows a local store and the link then.

    query: instead, which runs of its experiment are to be seen, and in what order.
    """
    uri = mlflow.get_tracking_uri()
    place = f"runs{quote(query, safe='?=&')}" if query else f"runs/{run.info.run_id}"
    path = f"#/experiments/{run.info.experiment_id}/{place}"
    return f"{uri}/{path}" if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri} then http://127.0.0.1:5000/{path}"
