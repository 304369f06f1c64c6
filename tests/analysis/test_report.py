"""The report from the command line to its results in MLflow, on a real store of made-up runs."""

import io
import json
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Experiment

from analysis import arguments, report
from analysis.charts.gallery import charts, json_value
from analysis.findings.summary import summarise
from analysis.page.content import fronts, number, row_deviations, setting_texts
from analysis.runs.runs import Runs, read_runs
from analysis.statistics.differences import Difference
from mkd.config import StudentConfig
from tests.support import stored
from tests.support.models import models

LSTM = StudentConfig("bilstm", hidden=64)
STUDENTS = (
    LSTM,
    StudentConfig("bag", hidden=32),
    StudentConfig(hidden=96),
    StudentConfig(hidden=16),
)
"""Students of both the experiment and the study."""
OTHER = {"mkd.hardware.cpu": "Another CPU", "mkd.hardware.cores": "8"}


def test_the_command_that_opens_the_report_can_be_typed_in_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    client = stored.opened(folder)
    experiment = stored.experiment(client, folder, "mkd")
    run = client.create_run(experiment).info.run_id
    store = f"sqlite:///{folder / 'mlflow.db'}"
    runs = Runs(pd.DataFrame(), {}, {}, store, "mkd", experiment, None)
    words = shlex.split(report.address(runs, run))
    assert words[:5] == ["mlflow", "ui", "--backend-store-uri", store, "then"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a store with an experiment and a study. The experiment has four
    students, one of them with two seeds, another machine and a single task."""
    folder = tmp_path_factory.mktemp("store")
    client = stored.opened(folder)
    first = stored.experiment(client, folder, "mkd")
    for student in STUDENTS:
        stored.logged(client, first, stored.synthetic_run(stored.Wish(student)))
    for wish in (
        stored.Wish(LSTM, 1),
        stored.Wish(LSTM, 2, tags=OTHER),
        stored.Wish(LSTM, tasks=("sentiment",)),
    ):
        stored.logged(client, first, stored.synthetic_run(wish))
    client.set_experiment_tag(first, "mlflow.note.content", "My own words.")
    second = stored.experiment(client, folder, "searches")
    parent = client.create_run(
        second, run_name="search small", tags={"mkd.kind": "search", "mkd.study": "small"}
    ).info.run_id
    trials = []
    for index, student in enumerate(STUDENTS):
        tags = {"mkd.study": "small", "mkd.trial": str(index), "mkd.state": "complete"}
        settings = {"loss.temperature": 1.0 + index}
        run = stored.synthetic_run(stored.Wish(student, kind="trial", tags=tags, settings=settings))
        run_id = stored.logged(client, second, run)
        quality, latency = (
            run.metrics["search/quality"],
            run.metrics["speed/onnx/b1-text-t1/p50_ms"],
        )
        trials.append(
            {"number": index, "state": "complete", "run_id": run_id, "quality": quality,
             "latency_ms": latency},
        )  # fmt: skip
    study = {
        "study": "small",
        "backend": "onnx",
        "setting": "b1-text-t1",
        "reference": {"quality": 0.0, "latency_ms": 7.5},
        "importances": {"quality": {"loss.temperature": 1.0}, "latency": {}},
        "trials": trials,
    }
    stored.log_json(client, parent, "study.json", json.dumps(study))
    client.set_terminated(parent)
    return folder


class Made(NamedTuple):
    """A report that was made. printed: lines of stdout; outcome: its JSON; to: its folder."""

    printed: list[str]
    outcome: dict[str, Any]
    to: Path
    client: mlflow.MlflowClient


def make_report(folder: Path, *argv: str) -> Made:
    """Makes a report of the folder's store."""
    to, stdout = folder / f"report{len(list(folder.iterdir()))}", io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(stdout):
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patched.delenv("MLFLOW_RUN_ID", raising=False)
        outcome: dict[str, Any] = {}
        patched.setattr(report, "set_result", outcome.update)
        assert arguments.main(None, [*argv, "--to", str(to)]) == 0
    return Made(
        stdout.getvalue().splitlines(),
        outcome,
        to,
        mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}"),
    )


def described(client: mlflow.MlflowClient) -> Experiment:
    """Returns the experiment `mkd` with its current description."""
    experiment = client.get_experiment_by_name("mkd")
    assert experiment is not None
    return experiment


@pytest.fixture(scope="module")
def of_experiment(folder: Path) -> Made:
    return make_report(folder, "--experiment", "mkd")


@pytest.fixture(scope="module")
def of_study(folder: Path) -> Made:
    return make_report(folder, "--study", "small")


def test_comparable_runs_are_drawn_and_all_others_named(of_experiment: Made) -> None:
    printed, outcome, *_ = of_experiment
    # Two seeds are one model; a run on another machine is another model.
    assert (outcome["runs"], outcome["models"]) == (6, 5)
    assert outcome["left_out"] == {"other tasks: demo (seed 0, 1000 dev rows): sentiment": 1}
    assert outcome["other_machines"] == {"Another CPU, 8 cores": 1}
    note = (
        "note: 1 run timed on another machine (Another CPU, 8 cores): its latencies are in no "
        "picture."
    )
    assert note in printed
    assert "left out: 1 run, other tasks: demo (seed 0, 1000 dev rows): sentiment" in printed


def test_a_report_has_pictures_tables_numbers_and_a_page(of_experiment: Made) -> None:
    to, outcome = of_experiment.to, of_experiment.outcome
    names = {file.name for file in (to / "pictures").iterdir()}
    assert {f"latency.{form}" for form in ("png", "svg", "json")} <= names
    assert {"hypervolume.json", "published.json"} <= names and "hypervolume.png" not in names
    expected = "It needs a study that has ended."
    assert json.loads((to / "pictures" / "hypervolume.json").read_text())["caption"] == expected
    assert (len(pd.read_csv(to / "models.csv")), len(pd.read_csv(to / "runs.csv"))) == (5, 7)
    written = json.loads((to / "report.json").read_text())
    assert written["front"] == outcome["front"]
    files = {file.relative_to(to).as_posix() for file in to.rglob("*") if file.is_file()}
    assert set(written["files"]) == files
    page = (to / "report.html").read_text()
    assert "Quality against speed: mkd" in page and "bilstm-64" in page


def test_the_best_under_a_budget_is_reported_with_its_loss(of_experiment: Made) -> None:
    best = {answer["budget_ms"]: answer for answer in of_experiment.outcome["best_under"]}[5.0]
    assert best["lost"]["low"] < best["lost"]["points"] < best["lost"]["high"]
    picture = json.loads((of_experiment.to / "pictures" / "latency.json").read_text())
    assert picture["info"]["title"].startswith(f"Best on selection under 5 ms: {best['label']}, ")


def test_a_report_without_a_study_has_a_run_that_the_experiment_links(of_experiment: Made) -> None:
    client, run_id = of_experiment.client, of_experiment.outcome["run_id"]
    run = client.get_run(run_id)
    assert (run.data.tags["mkd.kind"], run.info.status) == ("report", "FINISHED")
    assert {file.path for file in client.list_artifacts(run_id, "report")} >= {
        "report/report.html",
        "report/pictures",
    }
    note = described(client).tags["mlflow.note.content"]
    assert note.startswith("My own words.") and note.count("Quality against speed:") == 1
    assert f"/runs/{run_id}/artifacts/report/report.html)" in note
    assert of_experiment.outcome["link"].endswith(f"/runs/{run_id}/artifacts/report/report.html")


def test_the_report_of_a_study_is_logged_to_the_run_of_the_study(of_study: Made) -> None:
    client, run_id = of_study.client, of_study.outcome["run_id"]
    assert client.get_run(run_id).data.tags["mkd.kind"] == "search"
    pictures = {Path(file.path).name for file in client.list_artifacts(run_id, "report/pictures")}
    assert {"hypervolume.png", "importance.svg"} <= pictures
    assert any(
        "Every model has one seed" in line and "nothing of their methods" in line
        for line in of_study.printed
    )


def test_an_experiments_own_words_stay_when_it_is_described_again(of_experiment: Made) -> None:
    before = described(of_experiment.client)
    report.describe_experiment(of_experiment.client, before.experiment_id)
    assert described(of_experiment.client).tags == before.tags


def test_mlflow_runs_own_run_is_used(of_experiment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    client = of_experiment.client
    runs = read_runs("mkd", store=client.tracking_uri)
    active = client.create_run(runs.experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", active)
    run_id, _ = report.report_run(client, runs)
    assert run_id == active and client.get_run(active).info.run_name == "report of mkd"
    elsewhere = client.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", elsewhere)
    new, _ = report.report_run(client, runs)
    assert client.get_run(new).info.experiment_id == runs.experiment_id
    expected = client.get_run(elsewhere).data.tags["mlflow.note.content"]
    assert f"/runs/{new}/artifacts/report/report.html" in expected
    in_study, links = report.report_run(client, read_runs(study="small", store=client.tracking_uri))
    assert client.get_run(in_study).data.tags["mkd.kind"] == "search"
    assert links[1].text == "the study's run"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--experiment", "mkt"], "error: experiment is 'mkt': there is none in "),
        (["--study", "smalk"], "allowed: 'small'"),
        (["--experiment", "Default"], "it has no finished run with quality and speed"),
        (
            ["--experiment", "mkd", "--machine", "mine"],
            "allowed: 'Imagined CPU @ 2.00GHz, 2 cores', 'Another CPU, 8 cores'",
        ),
        (["--experimet", "mkd"], "error: "),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    assert arguments.main(None, argv) == 2
    shown = capsys.readouterr().err
    *before, last = shown.splitlines()  # a progress bar has a line, if runs were read
    assert message in last and last.startswith("error: ") and len(before) < 2


def test_each_machine_has_a_front_of_its_own() -> None:
    shown = models(
        {"mean": 70.0}, {"mean": 60.0, "student": "s"}, {"mean": 50.0, "machine": "N, 4 cores"}
    )
    assert fronts(shown) == set(shown.loc[shown["mean"].isin([70.0, 50.0]), "id"])


def test_the_page_has_the_resampled_deviations_of_each_two_models(folder: Path) -> None:
    summary = summarise(read_runs("mkd", store=f"sqlite:///{folder / 'mlflow.db'}"))
    shown, known = row_deviations(summary), summary.bootstrap.models
    assert len(shown.ids) == 5 and set(shown.pairs) == set(shown.own) == {"", *summary.kept.tasks}
    for task, scores in [
        ("", [known[key].mean for key in shown.ids]),
        ("sentiment", [known[k].tasks["sentiment"] for k in shown.ids]),
    ]:
        assert [len(row) for row in shown.pairs[task]] == [0, 1, 2, 3, 4]
        assert shown.own[task] == [round(1000 * one.rows[1:].std(ddof=1)) for one in scores]
        less = scores[3].rows - scores[1].rows
        assert shown.pairs[task][3][1] == round(1000 * less[1:].std(ddof=1))


def test_small_print_speaks_of_bytes_only_where_some_are_known(folder: Path) -> None:
    def small() -> str:
        (latency,) = (chart for chart in charts(summary) if chart.name == "latency")
        return str(latency.info.small)

    summary = summarise(read_runs("mkd", store=f"sqlite:///{folder / 'mlflow.db'}"))
    assert small().endswith(". A mark's area: bytes.")
    summary = summary._replace(drawn=summary.drawn.assign(num_bytes=float("nan")))
    assert "bytes" not in small() and small().endswith("cores.")


def test_a_setting_with_a_value_per_task_is_shown_as_one_per_task() -> None:
    assert setting_texts("loss.task_weights", "{'a': 1.5, 'b': 2}") == {
        "loss.task_weights.a": "1.5",
        "loss.task_weights.b": "2",
    }
    assert setting_texts("loss.task_weights", "{}") == {"loss.task_weights": "{}"}
    assert setting_texts("data.path", "{odd") == {"data.path": "{odd"}
    assert setting_texts("data.path", float("nan")) == {}


def test_values_that_are_not_numbers_are_null_in_json() -> None:
    assert json_value({"a": Difference(1.0, float("nan"), float("inf")), "b": [(1, "x")]}) == {
        "a": {"points": 1.0, "low": None, "high": None, "seeds": 1},
        "b": [[1, "x"]],
    }
    assert number(float("nan")) is None and number(None) is None and number(2) == 2.0


def test_a_report_removes_the_files_that_only_an_earlier_one_wrote(tmp_path: Path) -> None:
    new, folder = tmp_path / "new", tmp_path / "folder"
    for file in (new / "front.md", folder / "front.md", folder / "pictures" / "old.png"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(file))
    (folder / "my notes.txt").write_text("mine")
    (tmp_path / "outside.txt").write_text("mine")
    listed = ["front.md", "pictures/old.png", "gone.png", "../outside.txt"]
    (folder / "report.json").write_text(json.dumps({"files": [*listed, "report.json"]}))
    earlier = report.earlier_files(folder)
    assert earlier == {"front.md", "pictures/old.png", "gone.png", "report.json"}
    report.publish(new, folder, earlier)
    assert (folder / "front.md").read_text() == str(new / "front.md")
    assert not (folder / "pictures" / "old.png").exists()
    assert (folder / "my notes.txt").exists() and (tmp_path / "outside.txt").exists()


def test_a_report_json_of_something_else_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text("[]")
    assert arguments.main(None, ["--experiment", "mkd", "--to", str(tmp_path)]) == 2
    assert "where report.json is not that of a report" in capsys.readouterr().err
    assert report.earlier_files(tmp_path / "new") == set()
