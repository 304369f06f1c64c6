"""The MLflow runs of studies and ablations: a parent run, and a nested run for each trial."""

import difflib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import mlflow
from matplotlib.figure import Figure
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from optuna.trial import FrozenTrial

from experiments.cli import from_yaml
from experiments.settings import Ablation, Distill, Search
from experiments.tracking import progress
from experiments.tracking.record import Core, Recorded, log_result
from experiments.tracking.run import (
    connected,
    describe,
    failure_told,
    log_metrics,
    opened,
    reporter,
    start,
    tasks_of,
    where,
)
from mkd import names, processes
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.result import Report, RunStopped

Study = Run
"""The parent run of many trials."""
STUDY = "study.json"
"""Artifact of a search's run: its results as JSON."""
MOST_TRIALS = 10_000
"""Maximum number of trials that are read of one search."""
FINISHED = f"attributes.status = 'FINISHED' and tags.`{names.TAG_KIND}` = '{names.KIND_TRIAL}'"
"""MLflow filter for trials that finished."""


@contextmanager
def study(config: Ablation, kind: str, name: str) -> Iterator[Study]:
    """Opens the parent run of an ablation, for `trial` and `conclude`.

    Its status is FINISHED, or FAILED if anything raises.
    Raises ValueError with more than one process.
    """
    if processes.count() > 1:
        raise ValueError(
            f"there are {processes.count()} processes; allowed for many runs in one command: one"
        )
    with opened(config, name, {names.TAG_KIND: kind, names.TAG_TASKS: tasks_of(config.data)}) as (
        run,
        _,
    ):
        yield run


def trial(
    parent: Run, config: Distill, name: str, tags: dict[str, str], core: Core, report: Report,
    params: dict[str, str] | None = None, place: str = "",
) -> Recorded:  # fmt: skip
    """Runs the core in a nested run, and logs everything except the model.

    report: receives the progress of the core.
    params: logged in addition to the settings.
    place: distinguishes the trial from others with the same settings that may be running.

    The run's status is FINISHED; KILLED if the core raises RunStopped or is interrupted; and
    FAILED, with the error's text, for any other exception. The tag `mkd.state` gives the reason.
    """
    own = {
        names.TAG_KIND: names.KIND_TRIAL,
        names.TAG_TASKS: tasks_of(config.data),
        names.TAG_PARENT: parent.info.run_id,
    }
    with opened(config, name, own | tags, parent, place) as (run, folder), _state_told():
        mlflow.log_params(params or {})
        result = core(folder, progress.apart(report, reporter(run)))
        log_result(run.info.run_id, result)
        return Recorded(run.info.run_id, result.metrics)


@contextmanager
def _state_told() -> Iterator[None]:
    """Tags the open run with the way in which it ends."""
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
        mlflow.set_tag(names.TAG_STATE, state)
        # MLflow itself ends the run as FINISHED or FAILED. A trial that was stopped is neither.
        if state not in (names.STATE_COMPLETE, names.STATE_FAILED):
            mlflow.end_run("KILLED")


def run_of(run_id: str) -> Run:
    """Returns a study's run, for its workers."""
    return mlflow.get_run(run_id)


def current() -> str:
    """Returns the id of the open run."""
    run = mlflow.active_run()
    assert run is not None, "a trial has one"
    return str(run.info.run_id)


def rename(name: str) -> None:
    """Renames the open run."""
    mlflow.set_tag("mlflow.runName", name)


def searched(settings: dict[str, Any]) -> dict[str, str]:
    """Returns task weights as one param a task, so that they can be compared in MLflow."""
    weights = {name: value for name, value in settings.items() if isinstance(value, dict)}
    return {
        f"{name}.{task}": f"{weight:.4f}"
        for name, value in weights.items()
        for task, weight in value.items()
    }


def close_lost(trial: FrozenTrial) -> None:
    """Ends the run of a trial whose worker has died. Nothing else would end it."""
    if run := trial.user_attrs.get("run"):
        client = mlflow.MlflowClient()
        client.set_tag(run, names.TAG_STATE, names.STATE_FAILED)
        client.set_tag(run, names.TAG_ERROR, "its worker died")
        client.set_terminated(run, "FAILED")


@contextmanager
def search(config: Search, name: str, known: str, tags: dict[str, str]) -> Iterator[Run]:
    """Opens the run of a search.

    It is the run `known`, or else the one that `mlflow run` created, or a new one. Its status is
    KILLED if the search is interrupted.
    Raises ValueError if the known run is not in this tracking store.
    """
    with connected():
        try:
            started = start(name, known, None, {})
        except MlflowException as error:
            if not known:
                raise
            raise ValueError(
                f"search.study is {config.search.study!r}, "
                f"whose run {known} is in another tracking store"
            ) from error
    with started as run, failure_told(run):
        describe(
            run,
            config,
            name,
            {names.TAG_KIND: names.KIND_SEARCH, names.TAG_TASKS: tasks_of(config.data)} | tags,
        )
        try:
            yield run
        except (KeyboardInterrupt, SystemExit):
            mlflow.end_run("KILLED")  # not FAILED: the same command resumes it
            raise


def finished_trial(parent: Study, key: str) -> Recorded | None:
    """Returns the finished trial with this `mkd.key` in the study's experiment, or None."""
    wanted = f"{FINISHED} and tags.`{names.TAG_KEY}` = '{key}'"
    found = mlflow.MlflowClient().search_runs([parent.info.experiment_id], wanted, max_results=1)
    return Recorded(found[0].info.run_id, found[0].data.metrics) if found else None


def conclude(
    run: Study, metrics: dict[str, float], lines: list[str], picture: Figure, found: dict[str, Any]
) -> None:
    """Logs an ablation's results to its run and prints them.

    found: logged as JSON, next to metrics, table and picture.
    """
    log_metrics(run.info.run_id, 0, metrics)
    mlflow.log_text("\n".join(lines) + "\n", "table.md")
    mlflow.log_figure(picture, "comparison.png")
    mlflow.log_dict(found, "comparison.json")
    print("\n".join(lines))
    print(f"\nlook at it: {where(run)}")
    print(json.dumps({"run_id": run.info.run_id} | found))


def mark_front(found: dict[str, bool]) -> None:
    """Tags each run with whether it is on the front. Runs with the right tag are skipped.

    found: whether each run is on the front, by run id.
    """
    client = mlflow.MlflowClient()
    for run, on_front in found.items():
        value = str(on_front).lower()
        if run and client.get_run(run).data.tags.get(names.TAG_FRONT) != value:
            client.set_tag(run, names.TAG_FRONT, value)


def conclude_search(
    metrics: dict[str, float],
    hypervolume: list[float],
    lines: list[str],
    picture: Figure,
    found: dict[str, Any],
) -> None:
    """Logs a search's results to its open run and prints them.

    hypervolume: after each finished trial.
    found: logged as JSON, next to metrics, table and picture.
    """
    run = mlflow.active_run()
    assert run is not None, "a search has one"
    log_metrics(run.info.run_id, 0, metrics)
    for step, volume in enumerate(hypervolume, 1):
        log_metrics(run.info.run_id, step, {names.SEARCH_HYPERVOLUME: volume})
    mlflow.log_text("\n".join(lines) + "\n", "front.md")
    mlflow.set_tag("mlflow.note.content", "\n".join(lines))
    mlflow.log_figure(picture, "front.png")
    mlflow.log_dict(found, STUDY)
    query = (
        f"?workflowType=machine_learning&searchFilter=tags.`{names.TAG_STUDY}` = '{found['study']}'"
        f"&orderByKey=metrics.`{names.SEARCH_QUALITY}`&orderByAsc=false"
    )
    print("\n".join(lines))
    print(f"\nlook at its trials: {where(run, query)}")
    short = {name: found[name] for name in ("study", "states", "front")}
    print(
        json.dumps(
            {"run_id": run.info.run_id, "hypervolume": hypervolume[-1] if hypervolume else 0.0}
            | short
            | {"metrics": metrics}
        )
    )


class Promoted(NamedTuple):
    """A finished trial of a search, which can be promoted.

    quality: on the selection split, in points.
    protocol: version of the way in which speed was measured.
    """

    number: int
    name: str
    run_id: str
    quality: float
    latency_ms: float
    backend: str
    protocol: int


def finished(study: str) -> list[Promoted]:
    """Returns the finished trials of a search, including those copied from another study.

    The search may still be running.
    Raises ValueError if there is no such search.
    """
    with connected():
        client = mlflow.MlflowClient()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        searches = f"tags.`{names.TAG_KIND}` = '{names.KIND_SEARCH}'"
        runs = client.search_runs(experiments, searches, order_by=["attributes.start_time DESC"])
    # Runs come newest first. Reversed, the newest of several searches with one name wins.
    known = {
        run.data.tags[names.TAG_STUDY]: run
        for run in reversed(runs)
        if names.TAG_STUDY in run.data.tags
    }
    if study not in known:
        near = difflib.get_close_matches(study, known, 3) or sorted(known)
        raise ValueError(
            f"promote.study is {study!r}; allowed: {', '.join(near) or 'none yet'}, "
            f"the searches in {mlflow.get_tracking_uri()}"
        )
    parent = known[study].info.run_id
    config = from_yaml(config_of(parent), Search)
    backend = config.search.backend
    told = (
        mlflow.artifacts.load_dict(f"runs:/{parent}/{STUDY}") if _has(client, parent, STUDY) else {}
    )
    latency = names.speed(backend, told.get("setting", HEADLINE_SETTING.name), names.P50)
    wanted = f"{FINISHED} and tags.`{names.TAG_STUDY}` = '{study}'"
    found = {
        run.info.run_id: Promoted(
            int(run.data.tags[names.TAG_TRIAL]),
            run.info.run_name,
            run.info.run_id,
            run.data.metrics[names.SEARCH_QUALITY],
            run.data.metrics[latency],
            backend,
            int(run.data.metrics.get(names.PROTOCOL, 1)),
        )
        for run in client.search_runs(experiments, wanted, max_results=MOST_TRIALS)
    }
    # Trials that were copied from another study have that study's tag, and are known from
    # study.json only.
    for row in told.get("trials", []):
        if row["state"] == names.STATE_COMPLETE and row["run_id"] not in found:
            own = (
                row["number"],
                row["name"],
                row["run_id"],
                row["quality"],
                row["latency_ms"],
                backend,
            )
            found[row["run_id"]] = Promoted(*own, told.get("protocol", 1))
    return list(found.values())


def _has(client: mlflow.MlflowClient, run: str, artifact: str) -> bool:
    """Returns whether the run has an artifact of this name."""
    return any(item.path == artifact for item in client.list_artifacts(run))


def config_of(run_id: str) -> str:
    """Returns the settings of a run as YAML."""
    return str(
        mlflow.artifacts.load_text(f"{mlflow.get_run(run_id).info.artifact_uri}/config.yaml")
    )


def tracking_uri() -> str:
    """Returns the URI of the tracking store."""
    return str(mlflow.get_tracking_uri())


def as_worker(uri: str) -> None:
    """Makes this process log to the given tracking store.

    Its runs are new ones, and not the run that `mlflow run` created for the command.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)
    mlflow.set_tracking_uri(uri)
