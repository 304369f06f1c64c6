"""Signals during the opening of a run."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from experiments.settings import DistillSettings, SearchSettings
from experiments.tracking.interrupts import delayed_interrupts
from experiments.tracking.run import open_run
from experiments.tracking.searches import open_search
from mkd import names
from tests.support.database import use_store
from tests.support.entry import client, runs


@pytest.fixture
def interrupted_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a store where Ctrl-C arrives as soon as MLflow has created a run."""
    # A shell's background processes ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    use_store(tmp_path, monkeypatch)
    start_run = mlflow.start_run

    def start(*args: Any, **more: Any) -> mlflow.ActiveRun:
        run = start_run(*args, **more)
        signal.raise_signal(signal.SIGINT)
        return run

    monkeypatch.setattr(mlflow, "start_run", start)
    yield tmp_path
    signal.signal(signal.SIGINT, before)


def statuses(folder: Path) -> list[str]:
    return [client(folder).get_run(run.info.run_id).info.status for run in runs(folder)]


def test_a_run_that_is_interrupted_during_its_opening_ends_as_failed(
    interrupted_start: Path,
) -> None:
    config = DistillSettings(cache=str(interrupted_start / "cache"))
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(config, names.KIND_DISTILL, "name", "tasks"),
    ):
        raise AssertionError("the run was opened")
    assert statuses(interrupted_start) == ["FAILED"] and mlflow.active_run() is None


def test_a_search_interrupted_during_its_opening_ends_as_failed(interrupted_start: Path) -> None:
    config = SearchSettings(cache=str(interrupted_start / "cache"))
    with pytest.raises(KeyboardInterrupt), open_search(config, "name", "", {}):
        raise AssertionError("the run was opened")
    assert statuses(interrupted_start) == ["FAILED"] and mlflow.active_run() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_deferred_and_the_second_is_immediate(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    before = signal.signal(number, lambda *_: steps.append("handled"))
    try:
        with delayed_interrupts():
            signal.raise_signal(number)
            steps.append("after the first")
        steps.append("after the end")
        with delayed_interrupts():
            signal.raise_signal(number)
            signal.raise_signal(number)
            steps.append("after the second")
    finally:
        signal.signal(number, before)
    assert steps == [
        "after the first", "handled", "after the end",
        "handled", "after the second", "handled",
    ]  # fmt: skip
