"""Sets how an experiment opens in MLflow's UI: for model training, with tables of chosen columns.

A view is a tag of the experiment, as the UI's own Share button writes it. A link with its key as
`viewStateShareKey` opens it.
"""

import base64
import hashlib
import json
import zlib
from functools import partial
from typing import Any

import mlflow
from mlflow.entities import Experiment

from experiments.tracking.store import retry_on_race
from mkd import names

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""MLflow's tag and value for an experiment of model training. Others open for generative AI."""
VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of MLflow's tags for shared views; the view's key follows."""
STUDENTS = "students"
"""Key of the view of all runs."""
CREATED = 1_767_225_600_000
"""Time of creation that a view shows, in milliseconds. It is fixed, so that equal views have equal
tags.
"""
METRICS = (names.MEAN_SCORE, names.KEPT_PERCENT, names.MS, names.TIMES_FASTER, names.MEGABYTES)
"""Metrics that are columns of every view."""


def students_view() -> dict[str, Any]:
    """Returns the view of all runs of an experiment, newest first."""
    return _state([_metric(name) for name in METRICS], "attributes.start_time")


def trials_view(study: str) -> dict[str, Any]:
    """Returns the view of the trials of a search, the best on the selection split first."""
    best = _metric(names.SEARCH_QUALITY)
    state = _state([best, *(_metric(name) for name in METRICS)], best)
    return state | {"searchFilter": f"tags.`{names.TAG_STUDY}` = '{study}'"}


def trials_key(study: str) -> str:
    """Returns the key of the view of a search's trials."""
    return f"trials-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def _metric(name: str) -> str:
    """Returns the name of a metric's column in the UI."""
    return f"metrics.`{name}`"


def _state(metrics: list[str], order: str) -> dict[str, Any]:
    """Returns the state of the UI that a view sets. All else has the UI's defaults."""
    columns = [*metrics, f"tags.`{names.TAG_STUDENT}`", f"tags.`{names.TAG_KIND}`"]
    return {
        "selectedColumns": [*columns, "attributes.`Dataset`"],
        "searchFilter": "",
        "orderByKey": order,
        "orderByAsc": False,
    }


def tag_value(title: str, state: dict[str, Any]) -> str:
    """Returns the value of a view's tag: its title and its compressed state."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": title, "createdAt": CREATED, "updatedAt": CREATED, "state": f"deflate;{packed}"}
    return json.dumps(view)


def show_students(experiment: Experiment) -> None:
    """Tags an experiment, so that it opens for training and has the view of all runs."""
    _tag(experiment, {KIND_TAG: KIND, VIEW_TAG + STUDENTS: tag_value("students", students_view())})


def show_trials(experiment: Experiment, study: str) -> str:
    """Adds the view of a search's trials to an experiment, and returns its key."""
    key = trials_key(study)
    _tag(experiment, {VIEW_TAG + key: tag_value(f"trials of {study}", trials_view(study))})
    return key


def _tag(experiment: Experiment, tags: dict[str, str]) -> None:
    """Sets those tags of the experiment that differ."""
    set_tag = mlflow.MlflowClient().set_experiment_tag
    for name, value in tags.items():
        if experiment.tags.get(name) != value:
            retry_on_race(partial(set_tag, experiment.experiment_id, name, value))
