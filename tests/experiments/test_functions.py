"""The commands as functions of Python: each returns its run, and what its work has made."""

from pathlib import Path

import mlflow
import pytest

from experiments.distill import distill
from experiments.export import export
from experiments.settings import ExportSettings, distill_settings
from mkd.config import ExportFolderConfig
from tests.support.database import use_store
from tests.support.entry import client
from tests.support.runs import demo_config


# MLflow compares a data frame's columns with a range when it stores a model's example.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
def test_functions_return_their_runs_and_what_they_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    bag = {"student.kind": "bag", "student.buckets": 50, "data.tasks": ["sentiment"]}
    config = demo_config(tmp_path / "cache", {"baseline": False, **bag})
    distilled = distill(distill_settings(config))
    assert distilled.made.student.startswith("bag")
    assert distilled.made.metrics.items() <= distilled.metrics.items()
    # The best model of a data set is found by its score there.
    (data,) = distilled.made.datasets
    where = {"dataset_name": data.task, "dataset_digest": data.fingerprint}
    (best,) = mlflow.search_logged_models(
        [mlflow.get_run(distilled.run_id).info.experiment_id],
        datasets=[where],
        order_by=[{"field_name": "metrics.quality/sentiment/score", "ascending": False} | where],
        output_format="list",
    )
    scores = {found.key: found.value for found in best.metrics or []}
    assert best.source_run_id == distilled.run_id
    assert scores["quality/sentiment/score"] == distilled.metrics["quality/sentiment/score"]
    logged = client(tmp_path).get_run(distilled.run_id).data.metrics
    assert logged["quality/mean"] == distilled.metrics["quality/mean"]
    student = f"runs:/{distilled.run_id}/student"
    # Its data and the measurement of its speed are those of the run.
    asked = ExportFolderConfig(backends=["onnx"], student=student, to=str(tmp_path / "out"))
    exported = export(ExportSettings(cache=config.cache, threads=1, export=asked))
    assert exported.metrics["quality/mean"] == distilled.metrics["quality/mean"]
    assert (exported.made.folder, exported.made.backends) == (str(tmp_path / "out"), ["onnx"])
