"""A whole run against a real MLflow store: what it leaves, that it can be repeated, and how it ends when it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "--data.demo.train_rows=60", "--data.demo.unlabelled_rows=40", "--data.demo.dev_rows=40",
    "--teacher.layers=1", "--teacher.hidden=32", "--teacher.heads=2", "--teacher.train.steps=6",
    "--student.hidden=16", "--student.heads=2", "--train.steps=6", "--speed.repeats=3", "--threads=1",
]  # fmt: skip


def command(folder: Path, module: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """An entry point in a process of its own, with its store in the folder it works in."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=240
    )


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON on the last line."""
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One tiny distillation of the demo suite."""
    folder = tmp_path_factory.mktemp("run")
    return folder, command(folder, "distill", *TINY)


Distilled = tuple[Path, subprocess.CompletedProcess[str]]


def test_the_run_is_finished_with_tags_params_and_metrics(distilled: Distilled) -> None:
    folder, done = distilled
    found = outcome(done)
    run = client(folder).get_run(found["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["mkd.kind"] == "distill" and run.data.tags["mkd.tasks"] == "demo"
    assert "40 of 94 training rows have no label" in run.data.tags["mlflow.note.content"]
    assert {"mkd.student", "mkd.teacher", "mkd.teacher_key", "mkd.hardware.cpu"} <= run.data.tags.keys()
    assert run.info.run_name.startswith(run.data.tags["mkd.student"])
    assert run.data.params["teacher.train.steps"] == "6" and run.data.params["loss.hard_weight"] == "0.0"
    assert run.data.metrics["quality/mean"] == pytest.approx(found["metrics"]["quality/mean"])
    for prefix in ("quality/sentiment/", "teacher/quality/", "baseline/quality/", "agreement/", "speed/torch/b1-", "size/bytes"):
        assert any(name.startswith(prefix) for name in run.data.metrics), prefix


def test_losses_and_selection_scores_are_logged_over_steps(distilled: Distilled) -> None:
    folder, done = distilled
    run_id = outcome(done)["run_id"]
    for name in ("train/learning_rate", "selection/mean", "teacher/selection/mean", "baseline/selection/mean"):
        assert [metric.step for metric in client(folder).get_metric_history(run_id, name)] == [6], name


def test_the_data_sets_are_logged_as_inputs(distilled: Distilled) -> None:
    folder, done = distilled
    logged = client(folder).get_run(outcome(done)["run_id"]).inputs
    assert logged is not None
    inputs = logged.dataset_inputs
    assert {i.dataset.name for i in inputs} == {"sentiment", "acceptability", "paraphrase", "entailment", "similarity"}
    assert all(len(i.dataset.digest) == 20 for i in inputs)


def test_the_closing_table_shows_every_task_and_is_logged(distilled: Distilled) -> None:
    folder, done = distilled
    artifacts = {item.path for item in client(folder).list_artifacts(outcome(done)["run_id"])}
    assert {"config.yaml", "table.md", "data.json", "quality_and_speed.png"} <= artifacts
    for word in ("teacher", "student", "hard labels", "sentiment", "similarity", "mean", "times faster"):
        assert word in done.stdout


def test_the_logged_model_answers_raw_text_and_holds_no_pickle(distilled: Distilled, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, done = distilled
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{outcome(done)['run_id']}/student")
    answer = model.predict(pd.DataFrame({"text": ["the film was good", "the film was bad"]}), params={"task": "sentiment"})
    assert list(answer.columns) == ["label", "score"] and len(answer) == 2 and answer["score"].between(0, 1).all()
    pair = model.predict(pd.DataFrame({"text": ["a"], "text_pair": ["b"]}), params={"task": "similarity"})
    assert pair["label"].tolist() == [""]
    files = [path.name for path in (folder / "mlruns").rglob("*") if path.is_file()]
    assert "model.safetensors" in files and not [name for name in files if name.endswith((".pkl", ".bin", ".pt", ".pth"))]


def test_a_run_repeated_from_its_saved_config_has_the_same_scores(distilled: Distilled, tmp_path: Path) -> None:
    folder, done = distilled
    found = outcome(done)
    path = client(folder).download_artifacts(found["run_id"], "config.yaml", str(tmp_path))
    again = outcome(command(tmp_path, "distill", "--config", path))
    scores = {name: value for name, value in found["metrics"].items() if "speed/" not in name}
    assert len(scores) > 20
    assert {name: again["metrics"][name] for name in scores} == scores


def test_a_logged_student_is_finetuned_in_a_run_linked_to_its_own(distilled: Distilled) -> None:
    folder, done = distilled
    parent = outcome(done)["run_id"]
    steps = ["--finetune.train.steps=6", '--data.tasks=["sentiment"]']
    found = outcome(command(folder, "finetune", *TINY, *steps, "--finetune.student", f"runs:/{parent}/student"))
    run = client(folder).get_run(found["run_id"])
    assert run.info.status == "FINISHED" and run.info.run_name == f"finetune {parent[:8]} hard labels 1 tasks"
    assert (run.data.tags["mkd.kind"], run.data.tags["mkd.parent"]) == ("finetune", parent)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["finetune.student"] == f"runs:/{parent}/student"
    scores = outcome(done)["metrics"]
    assert found["metrics"]["before/quality/sentiment/score"] == scores["quality/sentiment/score"]
    assert found["metrics"]["quality/mean"] == found["metrics"]["quality/sentiment/score"]


@pytest.mark.parametrize("uri", ["runs:/0123456789abcdef/student", "runs:/"])
def test_a_run_that_is_not_there_is_refused_before_any_run_is_made(uri: str, tmp_path: Path) -> None:
    done = command(tmp_path, "finetune", *TINY, "--finetune.student", uri)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: finetune.student is '{uri}': not found in sqlite:///") and "Traceback" not in done.stderr


def test_a_teacher_run_is_found_again_by_a_distillation(tmp_path: Path) -> None:
    taught = outcome(command(tmp_path, "teacher", *TINY))
    run = client(tmp_path).get_run(taught["run_id"])
    assert run.data.tags["mkd.kind"] == "teacher" and run.info.run_name.startswith("teacher 1x32 from scratch")
    distilled = outcome(command(tmp_path, "distill", *TINY, "--baseline=false"))
    steps = client(tmp_path).get_metric_history(distilled["run_id"], "teacher/train/learning_rate")
    assert steps == [], "the teacher was trained again"
    assert distilled["metrics"]["teacher/quality/mean"] == taught["metrics"]["quality/mean"]


def test_a_diverging_run_ends_failed_and_names_step_and_task(tmp_path: Path) -> None:
    done = command(tmp_path, "distill", *TINY, "--train.learning_rate=1e30", "--baseline=false")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the loss became") and "step" in last and "task" in last and "Traceback" not in done.stderr
    store = client(tmp_path)
    runs = store.search_runs([e.experiment_id for e in store.search_experiments()])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_database_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Made in another process that is killed on the way, and then by several at once."""
    uri = f"sqlite:///{tmp_path / 'sub' / 'mlflow.db'}"
    code = f"from experiments.tracking import make_database as make; print('ready', flush=True); make({uri!r})"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        while not list(tmp_path.glob("sub/mlflow.db-*/*")):
            assert child.poll() is None
        child.kill()
    assert not (tmp_path / "sub" / "mlflow.db").exists()
    makers = [subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(maker.communicate()[1], maker.returncode)[1] for maker in makers] == [0, 0]
    assert mlflow.MlflowClient(uri).search_experiments()[0].name == "Default"


def test_an_unreachable_server_is_one_line(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.distill", *TINY], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_URI is http://127.0.0.1:9" in done.stderr.strip().splitlines()[-1] and "Traceback" not in done.stderr
