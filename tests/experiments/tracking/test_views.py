"""Tags for MLflow's UI: the kind of an experiment, and views with columns."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import mlflow
import pytest

from experiments.tracking import views
from tests.support.database import use_store


def state_of(experiment: mlflow.entities.Experiment, key: str) -> dict[str, Any]:
    """The state of a view, unpacked as in the UI."""
    packed = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])["state"]
    content: dict[str, Any] = json.loads(
        zlib.decompress(base64.b64decode(packed.removeprefix("deflate;")))
    )
    return content


def test_an_experiment_opens_as_model_training_with_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    number = mlflow.create_experiment("mkd")
    views.show_students(mlflow.get_experiment(number))
    key = views.show_trials(mlflow.get_experiment(number), "little")
    experiment = mlflow.get_experiment(number)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    columns = ("mean_score", "kept_percent", "ms", "times_faster", "MB")
    students = state_of(experiment, "students")
    assert students["selectedColumns"][:5] == [f"metrics.`{name}`" for name in columns]
    assert "tags.`mkd.student`" in students["selectedColumns"]
    trials = state_of(experiment, key)
    assert trials["searchFilter"] == "tags.`mkd.study` = 'little'"
    assert (trials["orderByKey"], trials["orderByAsc"]) == ("metrics.`search/quality`", False)


def test_each_search_has_its_own_view() -> None:
    keys = {views.trials_key(study) for study in ("mkd", "mkd2", "a b/c")}
    assert len(keys) == 3 and all(key.replace("-", "").isalnum() for key in keys)
