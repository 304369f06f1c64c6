"""The commands as Python functions: each returns its run and its results."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from experiments.distill import distill
from experiments.export import export
from experiments.settings import ExportSettings, distill_settings
from mkd.config import ExportFolderConfig
from mkd.tasks.columns import Columns
from mkd.tasks.labels import Scan, scan
from tests.support.database import use_store
from tests.support.entry import client
from tests.support.runs import demo_config


# MLflow compares a data frame's columns with a range when it stores a model's example.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
def test_a_data_file_is_scanned_once_and_its_dev_split_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_store(tmp_path, monkeypatch)
    rows = (f"{('a bad', 'a good')[i % 2]} film, number {i}\t{i % 2}\n" for i in range(60))
    (tmp_path / "films.tsv").write_text("text\tlabel\n" + "".join(rows))
    scanned: list[str] = []

    def counted(table: Columns, *args: Any) -> Scan:
        scanned.append(table.where)
        return scan(table, *args)

    monkeypatch.setattr("mkd.tasks.build.scan", counted)
    changed = {
        "student.kind": "bag",
        "student.buckets": 50,
        "data.path": str(tmp_path / "films.tsv"),
    }
    config = demo_config(tmp_path / "cache", {"baseline": False, "data.tasks": [], **changed})
    result = distill(distill_settings(config)).made
    assert scanned == [str(tmp_path / "films.tsv")]
    assert len([note for note in result.notes if note.startswith("films: dev")]) == 1
    assert capsys.readouterr().out.count("films: dev: ") == 1, "at the start"


@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
def test_functions_return_their_runs_and_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_store(tmp_path, monkeypatch)
    bag = {"student.kind": "bag", "student.buckets": 50, "data.tasks": ["sentiment"]}
    config = demo_config(tmp_path / "cache", {"baseline": False, **bag})
    distilled = distill(distill_settings(config))
    assert distilled.made.student.startswith("bag")
    assert distilled.made.metrics.items() <= distilled.metrics.items()
    # MLflow finds the best model of a data set by its score on it.
    (data,) = distilled.made.datasets
    where = {"dataset_name": data.task, "dataset_digest": data.fingerprint}
    (best,) = mlflow.search_logged_models(
        [mlflow.get_run(distilled.run_id).info.experiment_id],
        datasets=[where],
        order_by=[{"field_name": "metrics.quality/sentiment/score", "ascending": False} | where],
        output_format="list",
    )
    scores = {metric.key: metric.value for metric in best.metrics or []}
    assert best.source_run_id == distilled.run_id
    assert scores["quality/sentiment/score"] == distilled.metrics["quality/sentiment/score"]
    logged = client(tmp_path).get_run(distilled.run_id).data.metrics
    assert logged["quality/mean"] == distilled.metrics["quality/mean"]
    student = f"runs:/{distilled.run_id}/student"
    # The export uses the data and speed settings of the run.
    asked = ExportFolderConfig(backends=["onnx"], student=student, to=str(tmp_path / "out"))
    exported = export(ExportSettings(cache=config.cache, threads=1, export=asked))
    assert exported.metrics["quality/mean"] == distilled.metrics["quality/mean"]
    assert (exported.made.folder, exported.made.backends) == (str(tmp_path / "out"), ["onnx"])
