"""A whole run against a real MLflow store: its contents, its reproducibility, and failures."""

import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from experiments.tracking.store import make_database
from mkd.selection.split import SPLIT_VERSION
from tests.support.entry import (
    TINY,
    client,
    command,
    environment,
    outcome,
    runs,
    started,
    tiny,
    wait_until,
)
from tests.support.official import make_folder

EXPORTED = ["--export.backends=[onnx, int8]", "--export.max_loss=100"]


@pytest.fixture(scope="module")
def distilled(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One tiny distillation of the demo suite, exported and registered, started as users do."""
    folder = tmp_path_factory.mktemp("run")
    argv = [
        sys.executable, "-m", "experiments.distill", *TINY, *EXPORTED, "--registry.name=tiny",
        "--registry.alias=best", "--json",
    ]  # fmt: skip
    return folder, subprocess.run(
        argv, cwd=folder, env=environment(), capture_output=True, text=True, timeout=800
    )


Distilled = tuple[Path, subprocess.CompletedProcess[str]]


def test_the_run_is_finished_with_tags_params_and_metrics(distilled: Distilled) -> None:
    folder, done = distilled
    result = outcome(done)
    run = client(folder).get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["mkd.kind"] == "distill" and run.data.tags["mkd.tasks"] == "demo"
    note = run.data.tags["mlflow.note.content"]
    assert all(f"- {task}: " in note for task in ("sentiment", "similarity"))
    assert note.count("groups of rows that overlap") == 5
    assert run.data.tags["mkd.selection"] == SPLIT_VERSION
    assert 1 <= run.data.metrics["data/sentiment/groups"] <= 60
    assert {
        "mkd.student",
        "mkd.teacher",
        "mkd.teacher_key",
        "mkd.hardware.cpu",
    } <= run.data.tags.keys()
    assert run.info.run_name.startswith(run.data.tags["mkd.student"])
    assert run.data.params["teacher.train.steps"] == "6"
    assert run.data.params["loss.hard_weight"] == "0.5"
    assert run.data.metrics["quality/mean"] == pytest.approx(result["metrics"]["quality/mean"])
    for prefix in (
        "quality/sentiment/",
        "teacher/quality/",
        "baseline/quality/",
        "agreement/",
        "speed/torch/b1-",
        "size/bytes",
    ):
        assert any(name.startswith(prefix) for name in run.data.metrics), prefix


def test_losses_and_selection_scores_are_logged_over_steps(distilled: Distilled) -> None:
    folder, done = distilled
    run_id = outcome(done)["run_id"]
    for name in (
        "train/learning_rate",
        "selection/mean",
        "teacher/selection/mean",
        "baseline/selection/mean",
    ):
        assert [metric.step for metric in client(folder).get_metric_history(run_id, name)] == [6], (
            name
        )


def test_the_data_sets_are_logged_as_inputs(distilled: Distilled) -> None:
    folder, done = distilled
    logged = client(folder).get_run(outcome(done)["run_id"]).inputs
    assert logged is not None
    inputs = logged.dataset_inputs
    assert {i.dataset.name for i in inputs} == {
        "sentiment",
        "acceptability",
        "paraphrase",
        "entailment",
        "similarity",
    }
    assert all(len(i.dataset.digest) == 20 for i in inputs)


def test_the_closing_table_shows_every_task_and_is_logged(distilled: Distilled) -> None:
    folder, done = distilled
    artifacts = {item.path for item in client(folder).list_artifacts(outcome(done)["run_id"])}
    assert {
        "config.yaml", "table.md", "data.json", "quality_and_speed.png", "model_card.md",
    } <= artifacts  # fmt: skip
    for word in (
        "teacher",
        "student",
        "hard labels",
        "sentiment",
        "similarity",
        "mean",
        "times faster",
    ):
        assert word in done.stderr


def test_the_logged_model_predicts(distilled: Distilled, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, done = distilled
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{outcome(done)['run_id']}/student")
    answer = model.predict(
        pd.DataFrame({"text": ["the film was good", "the film was bad"]}),
        params={"task": "sentiment"},
    )
    assert list(answer.columns) == ["label", "score", "probabilities", "error"]
    assert answer["error"].isna().all()
    assert len(answer) == 2
    assert answer["score"].tolist() == [max(row) for row in answer["probabilities"]]
    pair = model.predict(
        pd.DataFrame({"text": ["a"], "text_pair": ["b"]}), params={"task": "similarity"}
    )
    assert pair["label"].tolist() == [""]
    files = [path.name for path in (folder / "mlruns").rglob("*") if path.is_file()]
    assert {"model.safetensors", "MODEL_CARD.md"} <= set(files)
    metrics = client(folder).get_run(outcome(done)["run_id"]).data.metrics
    graphs = {"onnx": "model.onnx", "int8": "model_int8.onnx"}
    fastest = min(graphs, key=lambda backend: metrics[f"speed/{backend}/b1-text-t1/p50_ms"])
    assert set(graphs.values()) & set(files) == {graphs[fastest]}
    assert not [name for name in files if name.endswith((".pkl", ".bin", ".pt", ".pth"))]


def test_the_model_is_registered_with_scores_speed_and_data(distilled: Distilled) -> None:
    folder, done = distilled
    result = outcome(done)
    version = client(folder).get_model_version_by_alias("tiny", "best")
    assert version.run_id == result["run_id"] and version.version in ("1", 1)
    inputs = client(folder).get_run(result["run_id"]).inputs
    assert inputs is not None and version.description is not None
    data = inputs.dataset_inputs[0].dataset
    expected = (
        f"mean {result['metrics']['quality/mean']:.1f}",
        "times faster than its teacher",
        "teacher bert-1x32",
        data.digest,
    )
    for words in (*expected, result["run_id"]):
        assert words in version.description


def test_the_model_card_has_the_metrics_of_the_run(distilled: Distilled, tmp_path: Path) -> None:
    folder, done = distilled
    result = outcome(done)
    card = Path(
        client(folder).download_artifacts(result["run_id"], "model_card.md", str(tmp_path))
    ).read_text()
    for heading in (
        "# transformer-1x16",
        "## How good",
        "## How fast and how large",
        "## Data",
        "## Limits",
    ):
        assert heading in card.splitlines()
    metrics = result["metrics"]
    for number in ("quality/mean", "teacher/quality/mean", "baseline/quality/mean"):
        assert f" {metrics[number]:.1f} " in card, number
    assert f" {metrics['export/int8/loss_single_rows']:z.2f} " in card
    assert "In int8 an answer depends a little" in card
    assert f" {metrics['export/int8/quality/mean']:.2f} " in card
    assert "40 of 94 training rows have no label" in card


def test_a_saved_config_repeats_the_scores(distilled: Distilled, tmp_path: Path) -> None:
    folder, done = distilled
    result = outcome(done)
    path = client(folder).download_artifacts(result["run_id"], "config.yaml", str(tmp_path))
    again = outcome(command(tmp_path, "distill", "--config", path, "--export.backends=[]"))
    scores = {
        name: value
        for name, value in result["metrics"].items()
        if "speed/" not in name
        and "export/" not in name
        and name not in ("ms", "times_faster", "MB")
    }
    assert len(scores) > 20
    assert {name: again["metrics"][name] for name in scores} == scores


def test_the_run_of_a_finetuning_is_linked_to_that_of_its_student(distilled: Distilled) -> None:
    folder, done = distilled
    parent = outcome(done)["run_id"]
    steps = ["--finetune.train.steps=6", '--data.tasks=["sentiment"]']
    result = outcome(
        command(folder, "finetune", *tiny("finetune"), *steps, "--finetune.student",
                f"runs:/{parent}/student"),
    )  # fmt: skip
    run = client(folder).get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"finetune {parent[:8]} hard labels · sentiment"
    assert (run.data.tags["mkd.kind"], run.data.tags["mkd.parent"]) == ("finetune", parent)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["finetune.student"] == f"runs:/{parent}/student"
    scores = outcome(done)["metrics"]
    assert result["metrics"]["before/quality/sentiment/score"] == scores["quality/sentiment/score"]
    assert result["metrics"]["quality/mean"] == result["metrics"]["quality/sentiment/score"]


def test_a_submission_is_linked_to_its_registered_student(
    distilled: Distilled, tmp_path: Path
) -> None:
    """The student knows no GLUE task, so all answers are filled in."""
    folder, done = distilled
    parent = outcome(done)["run_id"]
    data = ["--data.source=glue", "--data.path", str(make_folder(tmp_path / "glue"))]
    result = outcome(
        command(folder, "submit", *data, "--submit.fill=true", "--submit.student",
                "models:/tiny@best"),
    )  # fmt: skip
    run = client(folder).get_run(result["run_id"])
    assert run.info.status == "FINISHED" and run.info.run_name == f"submit {parent[:8]}"
    assert (run.data.tags["mkd.kind"], run.data.tags["mkd.parent"]) == ("submit", parent)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert len(result["files"]) == 11 and all(file["filled"] for file in result["files"])
    assert result["zip"].endswith("submission.zip")


@pytest.mark.parametrize(
    ("entry", "uri"),
    [
        ("finetune", "runs:/0123456789abcdef/student"),
        ("finetune", "models:/nobody@champion"),
        ("submit", "runs:/"),
    ],
)
def test_a_missing_run_is_refused_without_a_new_one(entry: str, uri: str, tmp_path: Path) -> None:
    done = command(tmp_path, entry, *tiny(entry), f"--{entry}.student", uri)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {entry}.student is '{uri}': not found in sqlite:///")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_distillation_reuses_the_teacher_of_a_teacher_run(tmp_path: Path) -> None:
    refined = outcome(command(tmp_path, "teacher", *tiny("teacher")))
    run = client(tmp_path).get_run(refined["run_id"])
    assert run.data.tags["mkd.kind"] == "teacher"
    assert run.info.run_name.startswith("teacher 1x32 from scratch")
    distilled = outcome(command(tmp_path, "distill", *TINY, "--baseline=false"))
    steps = client(tmp_path).get_metric_history(distilled["run_id"], "teacher/train/learning_rate")
    assert steps == [], "the teacher was trained again"
    assert distilled["metrics"]["teacher/quality/mean"] == refined["metrics"]["quality/mean"]


def test_a_diverging_run_ends_as_failed_and_names_step_and_task(tmp_path: Path) -> None:
    done = command(tmp_path, "distill", *TINY, "--train.learning_rate=1e30", "--baseline=false")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the loss became")
    assert "step" in last
    assert "task" in last
    assert "Traceback" not in done.stderr
    assert [run.info.status for run in runs(tmp_path)] == ["FAILED"]


@pytest.mark.slow
def test_a_database_is_created_atomically(tmp_path: Path) -> None:
    """It is created by a process that is killed meanwhile, and then by two at the same time."""
    uri = f"sqlite:///{tmp_path / 'sub' / 'mlflow.db'}"
    child = started(tmp_path, make_database, uri)
    wait_until(lambda: list(tmp_path.glob("sub/mlflow.db-*/*")))
    child.process.kill()
    assert child.end().returncode == -signal.SIGKILL
    assert not (tmp_path / "sub" / "mlflow.db").exists()
    makers = [started(tmp_path, make_database, uri) for _ in range(2)]
    assert [maker.end().returncode for maker in makers] == [0, 0]
    assert mlflow.MlflowClient(uri).search_experiments()[0].name == "Default"


def test_an_unreachable_server_prints_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "distill", *TINY, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI is http://127.0.0.1:9" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
