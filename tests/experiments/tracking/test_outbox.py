"""Metrics that the store cannot take (its database is missing) are kept and sent later in order."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from experiments.tracking import outbox as outboxes
from experiments.tracking import store
from experiments.tracking.outbox import UNSENT, Outbox
from experiments.tracking.store import configure, with_retries
from tests.support.database import use_store


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.ActiveRun]:
    """An open run."""
    use_store(tmp_path, monkeypatch)
    configure()
    monkeypatch.setattr(outboxes, "RETRY_SECONDS", 0)
    monkeypatch.setattr(outboxes, "SLOW", 0)
    monkeypatch.setattr(store, "RETRY_SECONDS", 0)
    with mlflow.start_run() as opened:
        yield opened


def remove_database() -> None:
    """Moves the database aside."""
    Path("mlflow.db").rename("aside.db")


def restore_database() -> None:
    Path("aside.db").rename("mlflow.db")


def steps(run: mlflow.ActiveRun, metric: str) -> list[int]:
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return [point.step for point in history]


def test_metrics_reported_during_an_outage_arrive_in_order(
    run: mlflow.ActiveRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = Outbox(run, tmp_path / "folder")
    box.report(1, {"loss": 3.0})
    remove_database()
    box.report(2, {"loss": 2.0, "score": 1.0})
    box.report(3, {"loss": 1.0})
    assert len((tmp_path / "folder" / UNSENT).read_text().splitlines()) == 2
    restore_database()
    assert steps(run, "loss") == [1]
    box.report(4, {"loss": 0.5})
    assert steps(run, "loss") == [1, 2, 3, 4] and steps(run, "score") == [2]
    assert not (tmp_path / "folder" / UNSENT).exists()
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert len(notes) == 2 and "is away (" in notes[0] and "is back; 3" in notes[1]


def test_a_report_that_waits_for_a_locked_store_prints_a_note(
    run: mlflow.ActiveRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(store, "NOTE_SECONDS", 0.2)
    box = Outbox(run, tmp_path / "folder")
    with closing(sqlite3.connect("mlflow.db", check_same_thread=False)) as database:
        database.execute("BEGIN EXCLUSIVE")
        threading.Timer(1, database.rollback).start()
        box.report(1, {"loss": 3.0})
    assert steps(run, "loss") == [1]
    assert "note: waiting for sqlite:///" in capsys.readouterr().err


def test_the_next_start_sends_kept_metrics_and_repeats_no_step(
    run: mlflow.ActiveRun, tmp_path: Path
) -> None:
    killed = Outbox(run, tmp_path)
    killed.report(1, {"loss": 3.0})
    remove_database()
    killed.report(2, {"loss": 2.0})
    killed.report(3, {"loss": 1.0})
    with (tmp_path / UNSENT).open("a") as file:
        file.write("[17")  # a line that a kill has cut short
    restore_database()
    again = Outbox(mlflow.get_run(run.info.run_id), tmp_path)
    # The training resumes from a checkpoint of step 1.
    for step in (2, 3, 4):
        again.report(step, {"loss": 4.0 - step})
    assert steps(run, "loss") == [1, 2, 3, 4]


def test_many_metrics_are_sent_in_several_requests(run: mlflow.ActiveRun, tmp_path: Path) -> None:
    box = Outbox(run, tmp_path)
    remove_database()
    for step in range(7):
        box.report(step, {f"metric{number}": 1.0 for number in range(200)})
    restore_database()
    box.flush()
    assert steps(run, "metric199") == list(range(7))


def test_a_call_waits_for_the_store_but_not_forever(
    run: mlflow.ActiveRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def call() -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            restore_database()
        mlflow.set_tag("calls", calls)
        return "sent"

    remove_database()
    assert with_retries(call) == "sent" and calls == 3
    assert "is back" in capsys.readouterr().err
    remove_database()
    monkeypatch.setattr(store, "OUTAGE_SECONDS", 0)
    with pytest.raises(mlflow.MlflowException, match="sqlite3.OperationalError"):
        with_retries(lambda: mlflow.set_tag("calls", 4))
    restore_database()
