"""What a search logs: names that MLflow takes."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments.studies.search_outputs import without_refused


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("train.learning_rate", "train.learning_rate"),
        ("student.heads:transformer/", "student.heads:transformer/_"),
        ("student.layers:bag//models/a b", "student.layers:bag/_/models/a b"),
        ("student.layers:bag/../é?", "student.layers:bag/_/é_"),
        ("student.layers:bag/.", "student.layers:bag/_"),
    ],
)
def test_mlflow_takes_the_name_of_a_setting_below_any_choice(
    tmp_path: Path, setting: str, name: str
) -> None:
    assert without_refused(setting) == name
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.create_run(client.create_experiment("e")).info.run_id
    client.log_metric(run, f"importance/quality/{without_refused(setting)}", 1.0)
    assert client.get_run(run).data.metrics == {f"importance/quality/{name}": 1.0}
