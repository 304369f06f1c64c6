"""What each kind of run logs and prints."""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from matplotlib.figure import Figure

from experiments import cli
from experiments.settings import COMMANDS, Command, DistillSettings, SearchSettings
from experiments.tracking.outputs import Outputs
from experiments.tracking.record import record
from experiments.tracking.run import OpenRun, open_run
from experiments.tracking.searches import open_search
from experiments.tracking.trials import record_trial
from mkd import names
from mkd.result import Report, Result
from tests.support.database import use_store
from tests.support.entry import client, runs
from tests.support.terminal import Screen, bars

KINDS = {
    names.KIND_DISTILL: "distill",
    names.KIND_TEACHER: "teacher",
    names.KIND_FINETUNE: "finetune",
    names.KIND_SUBMIT: "submit",
    names.KIND_EXPORT: "export",
    names.KIND_ABLATION: "ablation",
    names.KIND_SEARCH: "search",
    names.KIND_PROMOTE: "distill",
    names.KIND_LABEL: "label",
}
"""Kinds of runs, and the command whose settings each of them logs."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_store(tmp_path, monkeypatch)
    return tmp_path


def config_of(kind: str, store: Path) -> Command:
    return replace(COMMANDS[KINDS[kind]](), cache=str(store / "cache"))  # type: ignore[call-arg]


def opening(config: Command, kind: str) -> AbstractContextManager[OpenRun]:
    if isinstance(config, SearchSettings):
        return open_search(config, "a name", "", {})
    return open_run(config, kind, "a name", "demo")


def outputs(file: Path) -> Outputs:
    file.write_text("contents")
    return Outputs(
        {"quality/mean": 70.0},
        "It is good.",
        ["| a table |", "note: told before", "note: a note"],
        {"score": 1},
        metric_series={"search/hypervolume": [1.0, 2.0]},
        tags={"mkd.student": "bag"},
        frames={"table.csv": {"a": [1, 2]}, "table.parquet": {"a": [1, 2]}},
        texts={"text.md": "a text"},
        jsons={"data.json": {"a": 1}},
        figures={"picture.png": Figure()},
        files={"zip": file},
        next=[("mkd export --export.student runs:/{run}/student --export.to '{a}'", "writes it")],
    )


METRICS = {
    "quality/mean": 70.0,
    "size/parameters": 2e6,
    "size/parameters_without_embeddings": 1e6,
    "size/bytes": 8e6,
    "size/flops": 3e6,
}
"""Metrics of every student."""


def test_every_kind_of_run_is_tested() -> None:
    """Trials have their own test below, and reports are logged by analysis."""
    kinds = {value for name, value in vars(names).items() if name.startswith("KIND_")}
    assert kinds == {*KINDS, names.KIND_TRIAL, names.KIND_REPORT}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_logs_its_settings_and_outputs_and_ends_as_finished(
    kind: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(kind, store)

    def core(run: OpenRun, report: Report) -> Path:
        report(3, {"train/loss": 0.5})
        return store / "file.txt"

    finished = record(opening(config, kind), core, outputs, printed=["told before"])
    assert finished.made == store / "file.txt"
    run = client(store).get_run(finished.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a name")
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert tags.items() >= {
        "mkd.kind": kind, "mkd.tasks": "demo", "mkd.student": "bag",
    }.items()  # fmt: skip
    note = "It is good.\n\n| a table |\n\n- told before\n- a note\n"
    assert run.data.tags["mlflow.note.content"] == note and "mkd.error" not in tags
    assert run.data.params == {key: str(value) for key, value in cli.flat(config).items()}
    assert run.data.metrics == {
        "quality/mean": 70.0,
        "search/hypervolume": 2.0,
        "train/loss": 0.5,
    }
    assert {file.path for file in client(store).list_artifacts(finished.run_id)} == {
        "config.yaml", "table.md", "data.json", "picture.png", "file.txt", "result.json",
        "table.csv", "table.parquet", "text.md",
    }  # fmt: skip
    file = client(store).download_artifacts(finished.run_id, "table.csv", str(store))
    assert Path(file).read_text() == "a\n1\n2\n"
    file = client(store).download_artifacts(finished.run_id, "result.json", str(store))
    result = json.loads(Path(file).read_text())
    assert list(result) == ["run_id", "link", "zip", "score"]
    assert result["run_id"] == finished.run_id
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == ["| a table |", "note: a note", "", "It is good."]
    page = f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs"
    assert f"{page}/{run.info.run_id}?workflowType=machine_learning" == result["link"]
    (picture,) = [line for line in printed if line.startswith("picture: ")]
    assert Path(picture.removeprefix("picture: ")).read_bytes().startswith(b"\x89PNG")
    assert printed[-6:] == [
        result["link"],
        "beside other runs:",
        f"{page}?workflowType=machine_learning&viewStateShareKey=students",
        "next:",
        f"  mkd export --export.student runs:/{finished.run_id}/student --export.to '{{a}}'",
        "      writes it",
    ]


def test_a_terminal_shows_opening_and_writing_of_a_run_but_not_of_a_nested_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for nested in (None, lambda step, shares: None):
        monkeypatch.setattr(sys, "stderr", screen := Screen())

        def core(run: OpenRun, report: Report) -> Path:
            report(1, {"progress/student": 0.5})
            return store / "file.txt"

        config = config_of("distill", store)
        record(opening(config, "distill"), core, outputs, nested_report=nested)
        shown = dict.fromkeys(line.split(":")[0] for line in bars(screen.getvalue()))
        assert [line.removesuffix(" [00") for line in shown] == (
            [] if nested else ["opening a run in MLflow", "student", "writing the run to MLflow"]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_whose_work_fails_ends_as_failed_with_the_reason(kind: str, store: Path) -> None:
    def core(run: OpenRun, report: Report) -> Path:
        report(1, {"train/loss": 0.5})
        raise ValueError("the loss became nan")

    with pytest.raises(ValueError, match="the loss became nan"):
        record(opening(config_of(kind, store), kind), core, outputs)
    (run,) = runs(store)
    assert run.info.status == "FAILED" and mlflow.active_run() is None
    assert run.data.tags["mkd.error"] == "the loss became nan"


def test_a_user_error_before_the_work_leaves_no_run(store: Path) -> None:
    """Only a user's error deletes the run, and only without child runs."""

    def failing(error: Exception) -> None:
        def core(run: OpenRun, report: Report) -> Path:
            raise error

        with pytest.raises(type(error)):
            record(opening(config_of("distill", store), "distill"), core, outputs)

    failing(ValueError("there is no such task"))
    assert runs(store) == [] and mlflow.active_run() is None
    failing(RuntimeError("a fault"))
    assert [run.info.status for run in runs(store)] == ["FAILED"]

    config = DistillSettings(cache=str(store / "other"))
    with pytest.raises(ValueError), open_parent(config, store) as parent:
        mlflow.start_run(nested=True, parent_run_id=parent.id)
        mlflow.end_run()
        raise ValueError("a variant diverged")
    assert sorted(run.info.status for run in runs(store)) == ["FAILED", "FAILED", "FINISHED"]


def test_outputs_with_an_error_are_logged_before_the_run_fails(store: Path) -> None:
    def incomplete(file: Path) -> Outputs:
        return replace(outputs(file), error="2 trials missing")

    with pytest.raises(ValueError, match="2 trials missing"):
        record(
            opening(config_of("search", store), "search"),
            lambda run, report: store / "file.txt",
            incomplete,
        )
    (run,) = runs(store)
    assert run.info.status == "FAILED" and run.data.metrics["quality/mean"] == 70.0


def test_a_trial_is_nested_and_prints_nothing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DistillSettings(cache=str(store / "cache"))
    shares: list[dict[str, float]] = []

    def training(run: OpenRun, report: Report) -> Result:
        report(1, {names.progress("student"): 0.5, "train/loss": 0.5})
        return Result(METRICS, [], [], {"cpu": "x"}, "bag", "", "", str(run.folder))

    with open_parent(config, store) as parent:
        trial = record_trial(
            parent.entity, config, "t000", {"mkd.trial": "0"}, training,
            lambda step, done: shares.append(done), {"weight": "1"},
        )  # fmt: skip
    run = client(store).get_run(trial.run_id)
    assert shares == [{names.progress("student"): 0.5}] and capsys.readouterr().out == ""
    headline = {"mean_score": 70.0, "MB": 8.0}
    assert run.data.metrics == METRICS | headline | {"train/loss": 0.5}
    assert run.data.tags["mlflow.parentRunId"] == run.data.tags["mkd.parent"] == parent.id
    assert run.data.tags["mkd.state"] == "complete" and run.data.params["weight"] == "1"
    assert {file.path for file in client(store).list_artifacts(trial.run_id)} == {
        "config.yaml",
        "table.md",
        "data.json",
    }


@contextmanager
def open_parent(config: DistillSettings, store: Path) -> Iterator[OpenRun]:
    with open_run(config, names.KIND_ABLATION, "parent", "demo") as run:
        yield run
