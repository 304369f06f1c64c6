"""Reads the finished runs of an experiment or a study from MLflow. No other module reads MLflow.

Example:

    runs = read_runs("mkd")         # or read_runs(study="transformers"), from any tracking store
    runs.frame                      # pandas, one row a run: COLUMNS
    runs.left_out                   # {"no speed (...)": ["name of a run", ...]}
"""

import difflib
import json
import logging
import os
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pandas as pd
from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException

from analysis.runs.rows import (
    STUDENT_RUNS,
    RunRecord,
    RunRow,
    StudyTiming,
    row,
    task_metrics,
    why_left_out,
)
from mkd import names
from mkd.evaluation.timing import garbage_collection_off
from mkd.storage.addresses import reason, without_passwords
from mkd.storage.databases import DATABASES, check_database, sqlite_file

COLUMNS = {
    "run_id": "of MLflow",
    "name": "the run's",
    "kind": f"{names.TAG_KIND}: {', '.join(STUDENT_RUNS)}",
    "student": "kind and size, such as bilstm-128",
    "student_kind": "bilstm, transformer, bag",
    "variant": "of an ablation, or empty",
    "seed": "of everything random but the demo suite's rows",
    "tasks": "names, sorted",
    "suite": "where the rows come from, and the tasks",
    "split": "dev, or selection where the run has no score on dev",
    "drawn_by": "how the rows of the selection split were drawn",
    "machine": "processor and cores",
    "study": "name, or empty",
    "trial": "its number in the study",
    "parent": "run id of what it is made from, or of its study",
    "teacher": "name",
    "started": "date and time, UTC",
    "artifacts": "URI of the run's",
    "link": "in the MLflow UI",
    "mean": "of the tasks' scores on the split, points",
    "teacher_mean": "the same of the teacher",
    "baseline_mean": "the same of the twin that learnt from the labels alone",
    "retention": "mean, in percent of the teacher's",
    "selection": "mean score of the kept weights on the selection split, to choose a model by",
    "agreement": "with the teacher, mean, percent",
    "parameters": "number",
    "backend": "the fastest that is offered, or the study's",
    "setting": "in which latency_ms was measured",
    "latency_ms": "median of one row",
    "batch": "setting of the throughput",
    "rows_per_s": "rows a second there",
    "num_bytes": "of the backend's weights on disk",
    "backend_loss": "points that the backend loses against torch, in which all scores are",
    "teacher_latency_ms": "of the teacher in torch, beside it",
    "teacher_rows_per_s": "likewise",
    "protocol": "the way in which speed was measured, as text (mkd/evaluation/speed.py)",
    "busy_share": "of the time that other work had of the core meanwhile, from 0 to 1",
    "score/<task>": (
        "points; and likewise teacher/<task>, baseline/<task>, retention/<task>, "
        "agreement/<task>, selection/<task>"
    ),
    "whole": "whether it learnt from the rows of the selection split too, as text",
    "<setting>": "each setting of data, teacher, student, loss, train and finetune, as text",
}
"""Columns of the table. Unknown values are NaN, None or empty."""
LOCAL = "http://127.0.0.1:5000"
"""Address of `mlflow ui` for a local store."""
RUNS_PER_REQUEST = 500
"""Runs per request."""


class Study(NamedTuple):
    """A search: the parent run of its trials.

    info: the content of study.json; empty if the search has not ended.
    """

    name: str
    run_id: str
    experiment_id: str
    info: dict[str, Any]


class Runs(NamedTuple):
    """The runs of an experiment or a study.

    frame: one row a run, with COLUMNS.
    left_out: names of the runs that are not in the frame, by reason.
    metrics: by run id and task, the metrics whose mean is the task's score.
    """

    frame: pd.DataFrame
    left_out: dict[str, list[str]]
    metrics: dict[str, dict[str, list[str]]]
    store: str
    experiment: str
    experiment_id: str
    study: Study | None


def read_runs(experiment: str = "", study: str = "", store: str = "") -> Runs:
    """Reads the runs of an experiment, or of one study.

    A study without an experiment is looked up in all experiments. With neither, it is the only
    experiment with finished runs of students.

    store: a tracking URI. Empty: MLflow's default.
    Raises ValueError if there is no such experiment or study (the message suggests similar names),
    no run with quality and speed, or no name where several experiments have students.
    Raises ConnectionError if the store cannot be reached.
    """
    client = connect(store)
    try:
        place, stored_study = _place(client, experiment, study)
        wanted = f"tags.`{names.TAG_STUDY}` = '{stored_study.name}'" if stored_study else ""
        # The collector takes more than half of MLflow's time for runs with many metrics.
        with garbage_collection_off():
            records = list(_records(client, place, wanted))
    except MlflowException as error:
        raise unreadable(client.tracking_uri, error) from error
    where = f"study is {study!r}" if stored_study else f"experiment is {place.name!r}"
    return table(records, client.tracking_uri, place, stored_study, where)


def table(
    records: list[RunRecord], store: str, place: Experiment, study: Study | None, where: str
) -> Runs:
    """Converts records to a table. Raises ValueError if no run is left.

    where: which runs these are, for the error message.
    """
    timing = (
        StudyTiming(study.info.get("backend", ""), study.info.get("setting", ""))
        if study
        else StudyTiming()
    )
    rows: list[RunRow] = []
    left_out: dict[str, list[str]] = {}
    metrics: dict[str, dict[str, list[str]]] = {}
    for record in records:
        reason = why_left_out(record, timing)
        if record.tags.get(names.TAG_KIND) == names.KIND_REPORT:
            continue  # a report is not listed among the runs that were left out
        if reason:
            left_out.setdefault(reason, []).append(record.name)
        else:
            rows.append(row(record, timing))
            metrics[record.run_id] = task_metrics(record.metrics)
    if not rows:
        reasons = (
            ", ".join(f"{len(names)} {reason}" for reason, names in left_out.items())
            or "no runs at all"
        )
        raise ValueError(
            f"{where}: it has no finished run with quality and speed ({reasons}); "
            "allowed: one that has some"
        )
    return Runs(
        pd.DataFrame(rows), left_out, metrics, store, place.name, place.experiment_id, study
    )


def connect(store: str = "") -> mlflow.MlflowClient:
    """Returns a client of the store.

    Raises ValueError for a SQLite file that does not exist, because a client would create it, and
    ConnectionError for a database that cannot be used.
    """
    # As experiments/tracking/store.py sets them: a server that hangs is given up after 14 seconds.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    uri = store or mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise ValueError(
            f"MLFLOW_TRACKING_URI is {uri!r}: there is no such file; allowed: a store that runs "
            "were logged to"
        )
    if uri.split("+")[0].split(":")[0] in DATABASES:
        try:
            check_database(uri, "experiments", write=False)
        except ConnectionError as error:
            raise unreadable(uri, error) from error
    return mlflow.MlflowClient(uri)


def unreadable(uri: str, error: Exception) -> ConnectionError:
    """Returns the error of a store that cannot be used, for the user: one line, no password."""
    return ConnectionError(
        f"MLFLOW_TRACKING_URI is {without_passwords(uri)}: {reason(error)}; nothing is lost, and "
        "the same command works when this is mended"
    )


def logged_predictions(runs: Runs, run_ids: list[str]) -> dict[str, pd.DataFrame]:
    """Returns the logged predictions on dev by run id. Runs without them are left out."""
    return _tables(runs, run_ids, names.PREDICTIONS_FILE, pd.read_parquet)


def deferrals(runs: Runs, run_ids: list[str]) -> dict[str, pd.DataFrame]:
    """Returns the logged curves of deferral by run id. Runs without them are left out."""
    return _tables(runs, run_ids, names.DEFERRAL_FILE, pd.read_csv)


def _tables(
    runs: Runs, run_ids: list[str], name: str, read: Callable[[str], pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Returns a table that is an artifact, by run id. Runs without it are left out."""
    places = runs.frame.set_index("run_id")["artifacts"]

    def one(run_id: str) -> pd.DataFrame | None:
        try:
            file = mlflow.artifacts.download_artifacts(
                f"{places[run_id]}/{name}", tracking_uri=runs.store
            )
        except (MlflowException, OSError):
            return None
        return read(file)

    with ThreadPoolExecutor(8) as pool:
        by_run = dict(zip(run_ids, pool.map(one, run_ids), strict=True))
    return {run_id: frame for run_id, frame in by_run.items() if frame is not None}


def metric_curves(
    runs: Runs, run_ids: list[str], metric: str = names.SELECTION_MEAN
) -> dict[str, list[tuple[int, float]]]:
    """Returns a metric's values as (step, value) by run id. Runs without it are left out."""
    client = connect(runs.store)

    def one(run_id: str) -> list[tuple[int, float]]:
        return sorted(
            {point.step: point.value for point in client.get_metric_history(run_id, metric)}.items()
        )

    with ThreadPoolExecutor(8) as pool:
        by_run = dict(zip(run_ids, pool.map(one, run_ids), strict=True))
    return {run_id: points for run_id, points in by_run.items() if points}


def _place(
    client: mlflow.MlflowClient, experiment: str, study: str
) -> tuple[Experiment, Study | None]:
    """Returns the experiment, and the study if one is requested."""
    shown = without_passwords(client.tracking_uri)
    known = {one.name: one for one in _all_experiments(client)}
    if experiment and experiment not in known:
        raise ValueError(
            f"experiment is {experiment!r}: there is none in {shown}; allowed: "
            f"{similar_names(experiment, known)}"
        )
    if not study:
        return known[experiment or _only_experiment(client, known)], None
    places = [known[experiment]] if experiment else list(known.values())
    searches = f"tags.`{names.TAG_KIND}` = '{names.KIND_SEARCH}'"
    parents = client.search_runs(
        [one.experiment_id for one in places], searches, max_results=50_000
    )
    # The newest study of a name wins.
    named = {run.data.tags.get(names.TAG_STUDY, ""): run for run in reversed(parents)}
    if study not in named:
        inside = f"experiment {experiment!r} of " if experiment else ""
        raise ValueError(
            f"study is {study!r}: there is none in {inside}{shown}; allowed: "
            f"{similar_names(study, named)}"
        )
    run = named[study]
    place = next(one for one in places if one.experiment_id == run.info.experiment_id)
    return place, Study(study, run.info.run_id, place.experiment_id, _study_json(client, run))


def _only_experiment(client: mlflow.MlflowClient, known: dict[str, Experiment]) -> str:
    """Returns the name of the only experiment with finished runs of students.

    Raises ValueError if there is none, or more than one.
    """
    with_students = [
        name
        for name, place in sorted(known.items())
        if any(
            client.search_runs(
                [place.experiment_id],
                f"attributes.status = 'FINISHED' and tags.`{names.TAG_KIND}` = '{kind}'",
                max_results=1,
            )
            for kind in STUDENT_RUNS
        )
    ]
    if len(with_students) == 1:
        return with_students[0]
    if not with_students:
        raise ValueError(
            f"experiment is '': no experiment in {without_passwords(client.tracking_uri)} has a "
            "finished run of a student; allowed: a store that has some"
        )
    listed = " or ".join(f"--experiment {shlex.quote(name)}" for name in with_students)
    raise ValueError(
        f"experiment is '': {len(with_students)} have finished runs of students; allowed: "
        f"{listed}, or --study NAME"
    )


def similar_names(name: str, known: dict[str, Any]) -> str:
    """Returns known names that are similar to a name, or all of them."""
    close = difflib.get_close_matches(name, known, 3, 0.5) or sorted(known)
    return ", ".join(repr(one) for one in close) or "none yet"


def _all_experiments(client: mlflow.MlflowClient) -> Iterator[Experiment]:
    """Yields all experiments of the store."""
    token: str | None = None
    while token != "":
        page = client.search_experiments(page_token=token)
        yield from page
        token = page.token or ""


def _study_json(client: mlflow.MlflowClient, run: Run) -> dict[str, Any]:
    """Returns the content of a search's study.json; empty if there is none."""
    try:
        file = mlflow.artifacts.download_artifacts(
            f"{run.info.artifact_uri}/study.json", tracking_uri=client.tracking_uri
        )
    except (MlflowException, OSError):
        return {}
    study: dict[str, Any] = json.loads(Path(file).read_text("utf-8"))
    return study


def _records(client: mlflow.MlflowClient, place: Experiment, wanted: str) -> Iterator[RunRecord]:
    """Yields the runs of the experiment, newest first."""
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [place.experiment_id], wanted, max_results=RUNS_PER_REQUEST, page_token=token
        )
        for run in page:
            yield run_record(run, without_passwords(client.tracking_uri))
        token = page.token or ""


def run_record(run: Run, store: str) -> RunRecord:
    """Converts an MLflow run to plain values."""
    run_info, path = run.info, f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    started = datetime.fromtimestamp(run_info.start_time / 1000, UTC)
    link = f"{store if store.startswith('http') else LOCAL}/{path}"
    data = run.data
    return RunRecord(
        run_info.run_id,
        run_info.run_name,
        run_info.status,
        started,
        data.params,
        data.metrics,
        data.tags,
        run_info.artifact_uri,
        link,
    )
