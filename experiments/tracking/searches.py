"""Searches in MLflow: the run of a search, the tags of its front, and its finished trials."""

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import yaml
from mlflow.exceptions import MlflowException

from experiments.cli import Own, from_yaml
from experiments.settings import SearchSettings
from experiments.tracking.interrupts import delayed_interrupts
from experiments.tracking.run import (
    OpenRun,
    Tags,
    children,
    end_killed_runs,
    equal_to,
    failure_logged,
    log_settings,
    start_run,
    tasks_tag,
)
from experiments.tracking.store import address, connected, is_outage, with_retries
from experiments.tracking.trials import FINISHED_TRIAL
from mkd import names
from mkd.evaluation.speed import HEADLINE_SETTING
from mkd.storage.addresses import one_line, reason
from mkd.storage.owners import is_gone, owner

STUDY_FILE = "study.json"
"""Artifact of a search's run: its results as JSON."""
MOST_READ = 10_000
"""Maximum number of trials that are read of one search."""


@contextmanager
def open_search(config: SearchSettings, name: str, known: str, tags: Tags) -> Iterator[OpenRun]:
    """Opens the run of a search.

    It is the run with the id `known`, or else that of a killed command which the study does not
    know yet, or the one that `mlflow run` created, or a new one. Its status is KILLED if the search
    is interrupted.
    tags: of this study alone.
    Raises ValueError if the known run is deleted or not in this tracking store.
    """
    study_tags = {names.TAG_KIND: names.KIND_SEARCH, **tags}
    with ExitStack() as stack:
        with connected(), delayed_interrupts():
            try:
                run = stack.enter_context(
                    start_run(
                        name,
                        known or _unknown_run(study_tags),
                        None,
                        {names.TAG_PROCESS: owner(), **study_tags},
                    )
                )
                end_killed_runs(run)
            except MlflowException as error:
                if not known or is_outage(error):
                    raise
                raise ValueError(
                    f"search.study is {config.search.study!r}: its run {known} cannot be continued "
                    f"in {address()} ({reason(error)}); "
                    "allowed: a study whose run is in this tracking store, and not deleted"
                ) from error
        with failure_logged(run):
            all_tags = {names.TAG_TASKS: tasks_tag(config.data), **study_tags}
            with_retries(partial(log_settings, run, config, name, all_tags))
            try:
                # A search has no working folder of its own.
                yield OpenRun(run, Path(config.cache))
            except (KeyboardInterrupt, SystemExit):
                mlflow.end_run("KILLED")  # not FAILED: the same command resumes it
                raise
        with_retries(partial(mlflow.MlflowClient().set_terminated, run.info.run_id))


def _unknown_run(tags: Tags) -> str:
    """Returns the id of an unfinished run with these tags and without trials, or "".

    Its process has ended: it was killed before it stored the run's id in the study.
    """
    client = mlflow.MlflowClient()
    wanted = [f"tags.`{name}` {equal_to(value)}" for name, value in tags.items()]
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        " and ".join([*wanted, "attributes.status != 'FINISHED'"]),
    )
    gone = (run for run in runs if is_gone(run.data.tags.get(names.TAG_PROCESS, "")))
    return next((str(run.info.run_id) for run in gone if not children(run)), "")


def tag_front(on_front: Mapping[str, bool]) -> None:
    """Tags each run with whether it is on the front. Runs with the right tag are skipped.

    on_front: whether each run is on the front, by run id.
    """
    client = mlflow.MlflowClient()

    def tag(run: str, value: str) -> None:
        if client.get_run(run).data.tags.get(names.TAG_FRONT) != value:
            client.set_tag(run, names.TAG_FRONT, value)

    for run, is_on_front in on_front.items():
        if run:
            with_retries(partial(tag, run, str(is_on_front).lower()))


class FinishedTrial(NamedTuple):
    """A finished trial of a search.

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


def finished_trials(study: str) -> list[FinishedTrial]:
    """Returns the finished trials of a search, including those copied from another study.

    The search may still be running.
    Raises ValueError if there is no such search.
    """
    with connected():
        client = mlflow.MlflowClient()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    search = _run_of_search(client, experiments, study)
    backend = settings_of(search, SearchSettings).search.backend
    results = _results_of(client, search)
    latency = names.speed(backend, results.get("setting", HEADLINE_SETTING.name), names.P50)
    wanted = f"{FINISHED_TRIAL} and tags.`{names.TAG_STUDY}` = '{study}'"
    trials = {
        run.info.run_id: FinishedTrial(
            int(run.data.tags[names.TAG_TRIAL]),
            run.info.run_name,
            run.info.run_id,
            run.data.metrics[names.SEARCH_QUALITY],
            run.data.metrics[latency],
            backend,
            int(run.data.metrics.get(names.PROTOCOL, 1)),
        )
        for run in client.search_runs(experiments, wanted, max_results=MOST_READ)
    }
    # Trials that were copied from another study have that study's tag, and are known from
    # study.json only.
    for row in results.get("trials", []):
        if row["state"] == names.STATE_COMPLETE and row["run_id"] not in trials:
            trials[row["run_id"]] = FinishedTrial(
                row["number"],
                row["name"],
                row["run_id"],
                row["quality"],
                row["latency_ms"],
                backend,
                results.get("protocol", 1),
            )
    return list(trials.values())


def _run_of_search(client: mlflow.MlflowClient, experiments: list[str], study: str) -> str:
    """Returns the id of the newest run of a search. Raises ValueError if there is none."""
    with connected():
        searches = f"tags.`{names.TAG_KIND}` = '{names.KIND_SEARCH}'"
        runs = client.search_runs(experiments, searches, order_by=["attributes.start_time DESC"])
    # Runs come newest first. Reversed, the newest of several searches with one name wins.
    known = {
        run.data.tags[names.TAG_STUDY]: run.info.run_id
        for run in reversed(runs)
        if names.TAG_STUDY in run.data.tags
    }
    if study not in known:
        near = difflib.get_close_matches(study, known, 3) or sorted(known)
        raise ValueError(
            f"promote.study is {study!r}; allowed: {', '.join(near) or 'none yet'}, "
            f"the searches in {address()}"
        )
    return str(known[study])


def _results_of(client: mlflow.MlflowClient, run: str) -> dict[str, Any]:
    """Returns the content of the run's STUDY_FILE, empty if there is none.

    Raises ValueError if it is damaged.
    """
    if not _has_artifact(client, run, STUDY_FILE):
        return {}
    try:
        results = json.loads(mlflow.artifacts.load_text(f"runs:/{run}/{STUDY_FILE}"))
    except ValueError as error:
        raise ValueError(f"{STUDY_FILE} of run {run} is damaged ({one_line(error)})") from error
    results = results if isinstance(results, dict) else {"trials": None}
    trials = results.get("trials", [])
    needed = {"run_id", "number", "name", "quality", "latency_ms"}
    if not isinstance(trials, list) or not all(
        isinstance(trial, dict)
        and "state" in trial
        and (trial["state"] != names.STATE_COMPLETE or needed <= set(trial))
        for trial in trials
    ):
        raise ValueError(f"{STUDY_FILE} of run {run} is damaged: it has no list of trials")
    return results


def _has_artifact(client: mlflow.MlflowClient, run: str, artifact: str) -> bool:
    """Returns whether the run has an artifact of this name."""
    return any(item.path == artifact for item in client.list_artifacts(run))


def settings_of(run_id: str, kind: type[Own]) -> Own:
    """Returns the settings of a run, as those of a command of this kind.

    Raises ValueError if the run's config.yaml is missing or damaged.
    """
    where = f"config.yaml of run {run_id} in {address()}"
    try:
        text = mlflow.artifacts.load_text(f"{mlflow.get_run(run_id).info.artifact_uri}/config.yaml")
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        if is_outage(error):
            raise
        raise ValueError(f"{where} is not readable ({one_line(error)})") from error
    try:
        return from_yaml(text, kind)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{where} is damaged ({one_line(error)})") from error
