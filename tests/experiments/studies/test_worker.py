"""Searches with several workers: simultaneous starts, kills, stops, and a shared PostgreSQL
server."""

import json
import os
import signal
import sqlite3
import time
import warnings
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mlflow
import optuna
import psutil
import pytest
from filelock import FileLock
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import ProgrammingError

from experiments.search import search
from experiments.settings import SearchConfig, SearchSettings
from experiments.studies.attributes import PROGRESS, REPLACED, RESULT
from experiments.studies.objective import TrialReport
from experiments.studies.pruning import Progress
from experiments.studies.retry import WORKER_DIED
from experiments.studies.storage import open_storage
from experiments.studies.worker_processes import check_forks, progress_text
from tests.support.database import put_database
from tests.support.entry import (
    Child,
    client,
    command,
    entry_point,
    outcome,
    runs,
    started,
    wait_until,
)
from tests.support.postgres import server
from tests.support.searches import SEARCH, states, study_of, trial_runs

WORKERS = "process ids of the workers: "
"""Begin of the line that a search with several workers prints first."""
SLOW = ["--train.steps=600", "--train.eval_every=30", "--checkpoint_seconds=0.2"]
"""For a trial that is long enough to be found running."""
AWAY_SECONDS = 8
"""How long a database server is down; calls are retried every 5 seconds."""
BEATS = ["--search.heartbeat_seconds=2"]
"""For fast detection of dead workers. Tests without dead workers keep the default, so that workers
on a busy machine do not count as dead."""


@pytest.mark.slow
def test_four_workers_run_exactly_the_requested_trials(tmp_path: Path) -> None:
    folder = tmp_path / "four"
    folder.mkdir()
    done = command(folder, "search", *SEARCH, "--search.workers=4", "--search.trials=6")
    assert outcome(done)["states"] == {"complete": 6}
    assert states(folder) == {("FINISHED", "complete"): 6}
    assert [trial.number for trial in study_of(folder).trials] == list(range(6))


def run_with_score(folder: Path, number: int = 1) -> str:
    """Waits until `number` trials have reported a score, and returns the run id of one."""
    run_ids: list[str] = []

    def seen() -> bool:
        if (folder / "optuna.db").exists():
            with sqlite3.connect(folder / "optuna.db") as database:
                query = """select value_json from trial_user_attributes where key = 'run' and
                    trial_id in (select trial_id from trial_user_attributes where key = ?)"""
                try:
                    run_ids[:] = [
                        json.loads(value) for (value,) in database.execute(query, (PROGRESS,))
                    ]
                except sqlite3.OperationalError:  # it is being created
                    return False
        return len(run_ids) >= number

    wait_until(seen)
    return run_ids[0]


def workers(printed: Path) -> list[int]:
    """The process ids of a command's workers, from its printed output."""

    def worker_lines() -> list[str]:
        return [line for line in printed.read_text().splitlines() if line.startswith(WORKERS)]

    wait_until(worker_lines)
    return [int(pid) for pid in worker_lines()[0].removeprefix(WORKERS).split(", ")]


def suspend(pids: list[int], folder: Path) -> None:
    """Suspends the workers, so that no trial ends meanwhile. It retries if one of them was writing
    to the database of MLflow or Optuna, which would stay locked."""

    def stopped() -> bool:
        return all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in pids)

    while True:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_until(stopped)
        try:
            for name in ("mlflow.db", "optuna.db"):
                with closing(sqlite3.connect(folder / name, timeout=0.1)) as database:
                    database.execute("begin immediate")
            return
        except sqlite3.OperationalError:  # it is locked
            resume(pids)


def resume(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def worker_at(folder: Path, run: str, pids: list[int]) -> int:
    """The worker that runs the trial of a run: it holds the lock of the run's folder."""
    _, _, place = client(folder).get_run(run).data.tags["mkd.folder"].partition(":")
    (worker,) = [
        pid
        for pid in pids
        if f"{place}.lock" in {file.path for file in psutil.Process(pid).open_files()}
    ]
    return worker


def has_pending_sigterm(pid: int) -> bool:
    """Whether SIGTERM is pending for a suspended process."""
    status = dict(
        line.split(":\t")
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    waiting = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return bool(waiting >> (signal.SIGTERM - 1) & 1)


def test_a_resumed_trial_keeps_its_scores() -> None:
    """Its best weights may be from before the resumption, so that no later score is theirs."""
    study = optuna.create_study()
    study.enqueue_trial(
        {}, user_attrs={PROGRESS: {"latency_ms": 9.0, "scores": {"50": 61.0, "100": 60.0}}}
    )
    steps: list[int] = []
    watch = TrialReport(
        SearchConfig(), study.ask(), 1000, 2.0, lambda step, metrics: steps.append(step)
    )
    assert (watch.own, watch.own.best(1000)) == (Progress(2.0, {50: 61.0, 100: 60.0}), 61.0)
    watch(150, {"selection/mean": 59.0})
    assert watch.own.best(1000) == 61.0 and steps == [150]
    assert study.trials[0].user_attrs[PROGRESS]["scores"] == {50: 61.0, 100: 60.0, 150: 59.0}


def check_quality(folder: Path) -> None:
    """Each trial's quality is the best of all its scores, including those before a resumption."""
    for run in trial_runs(folder):
        history = client(folder).get_metric_history(run.info.run_id, "selection/mean")
        assert len({metric.step for metric in history}) == 20
        expected = pytest.approx(max(metric.value for metric in history))
        assert run.data.metrics["search/quality"] == expected


class Suspended(NamedTuple):
    """A search whose two workers are suspended. at_work: the worker that holds the run."""

    child: Child
    run: str
    pids: list[int]
    at_work: int


def suspended_search(folder: Path, trials: int) -> Suspended:
    """Starts a search of two workers, and suspends them once a trial has reported a score."""
    child = started(
        folder, entry_point, "search", *SEARCH, *SLOW, *BEATS, "--search.workers=2",
        f"--search.trials={trials}", "--json",
    )  # fmt: skip
    run = run_with_score(folder)
    pids = workers(child.stderr)
    suspend(pids, folder)
    return Suspended(child, run, pids, worker_at(folder, run, pids))


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_is_resumed_by_another(tmp_path: Path) -> None:
    child, run, pids, at_work = suspended_search(tmp_path, 2)
    os.kill(at_work, signal.SIGKILL)
    resume([pid for pid in pids if pid != at_work])
    result = outcome(done := child.end())
    assert result["states"] == {"complete": 2} and "1 of 2 workers died" in done.stderr
    study = study_of(tmp_path)
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 2, "FAIL": 1}
    lost = next(trial for trial in study.trials if trial.state == optuna.trial.TrialState.FAIL)
    assert (
        study.user_attrs[f"{REPLACED}/{lost.number}"] == WORKER_DIED
        and RESULT not in lost.user_attrs
    )
    (again,) = [
        trial
        for trial in study.trials
        if trial.params == lost.params and trial.number != lost.number
    ]
    assert again.number > lost.number
    # The retry has resumed from the checkpoint, in the same run.
    assert lost.user_attrs["run"] == again.user_attrs["run"] == run
    assert states(tmp_path) == {("FINISHED", "complete"): 2}
    check_quality(tmp_path)
    assert not [each for each in runs(tmp_path) if each.info.status == "RUNNING"]


@pytest.mark.slow
def test_the_trial_of_a_worker_that_died_at_its_start_is_run_again(tmp_path: Path) -> None:
    argv = [*SEARCH, *BEATS, "--search.trials=2"]
    assert outcome(command(tmp_path, "search", *argv))["states"] == {"complete": 2}
    study_of(tmp_path).ask()  # as by a worker that dies before its first heartbeat
    again = command(tmp_path, "search", *SEARCH, *BEATS, "--search.trials=3")
    assert outcome(again)["states"] == {"complete": 3}


def taken(folder: Path) -> list[str]:
    """The study's notes on trials that were given to another worker."""
    return [key for key in study_of(folder).user_attrs if key.startswith(REPLACED)]


@pytest.mark.slow
def test_the_trial_of_a_suspended_worker_goes_to_another_and_both_go_on(tmp_path: Path) -> None:
    child, run, pids, at_work = suspended_search(tmp_path, 4)
    resume([pid for pid in pids if pid != at_work])
    wait_until(lambda: taken(tmp_path))
    resume([at_work])
    done = child.end()
    assert outcome(done)["states"] == {"complete": 4}
    assert "Traceback" not in done.stderr and "died" not in done.stderr
    assert states(tmp_path) == {("FINISHED", "complete"): 4, ("KILLED", "interrupted"): 1}
    tags = client(tmp_path).get_run(run).data.tags
    assert tags["mkd.state"] == "interrupted"
    assert tags["mlflow.note.content"].startswith("another worker has taken the trial")
    assert not list(tmp_path.glob(".mkd/runs/*/")), "no folder is left"


@pytest.mark.slow
def test_a_worker_that_waits_for_another_says_so_and_ends_with_its_command(tmp_path: Path) -> None:
    assert outcome(command(tmp_path, "search", *SEARCH, "--search.trials=1"))
    (file,) = (tmp_path / ".mkd" / "studies").glob("*.request.lock")
    with FileLock(file):  # as a suspended worker that was asking for a trial
        argv = [*SEARCH, "--search.workers=2", "--search.trials=2", "--json"]
        child = started(tmp_path, entry_point, "search", *argv)
        pids = workers(child.stderr)
        wait_until(lambda: "another worker of the study holds it" in child.stderr.read_text())
        child.process.kill()
        wait_until(lambda: not any(map(psutil.pid_exists, pids)))
    done = command(tmp_path, "search", *SEARCH, "--search.trials=2")
    assert outcome(done)["states"] == {"complete": 2}


@pytest.mark.slow
def test_processes_that_are_all_suspended_keep_their_trials(tmp_path: Path) -> None:
    child, _, pids, _ = suspended_search(tmp_path, 2)
    assert child.process.pid is not None
    os.kill(child.process.pid, signal.SIGSTOP)
    time.sleep(8)  # more than three heartbeats
    resume([*pids, child.process.pid])
    done = child.end()
    assert outcome(done)["states"] == {"complete": 2} and not taken(tmp_path)
    assert states(tmp_path) == {("FINISHED", "complete"): 2}
    assert "Traceback" not in done.stderr and "died" not in done.stderr


@pytest.mark.slow
def test_a_search_whose_workers_have_all_died_reports_it_and_can_continue(tmp_path: Path) -> None:
    folder = tmp_path / "dead"
    folder.mkdir()
    argv = [*SEARCH, *SLOW, *BEATS, "--search.trials=1"]
    child = started(folder, entry_point, "search", *argv)
    run = run_with_score(folder)
    (pid,) = workers(child.stdout)
    suspend([pid], folder)
    assert worker_at(folder, run, [pid]) == pid
    os.kill(pid, signal.SIGKILL)
    done = child.end()
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith(
        "error: 1 of 1 trials missing, as workers have died; run the same command again"
    ), last
    assert "FAILED" in {each.info.status for each in runs(folder)}
    result = outcome(command(folder, "search", *argv))
    assert result["states"] == {"complete": 1} and states(folder) == {("FINISHED", "complete"): 1}
    assert {each.info.status for each in runs(folder)} == {"FINISHED"}
    assert run in {each.info.run_id for each in runs(folder)}


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_search_can_continue(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    argv = [*SEARCH, *SLOW, "--search.workers=2", "--search.trials=2"]
    child = started(folder, entry_point, "search", *argv)
    run_with_score(folder, 2)  # both runs are open, so that their end can be logged
    pids = workers(child.stdout)
    suspend(pids, folder)
    at_work = {run.info.run_id for run in runs(folder) if run.info.status == "RUNNING"}
    assert child.process.pid is not None
    for pid in (child.process.pid, *pids):  # a terminal signals all of them
        os.kill(pid, signal.SIGINT)
    wait_until(lambda: all(has_pending_sigterm(pid) for pid in pids))
    resume(pids)
    done = child.end()
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1] == "stopped; the same command continues"
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    ended = {run.info.run_id: run.info.status for run in runs(folder)}
    # The runs of the study and of each running trial.
    assert len(at_work) > 1 and {ended[run] for run in at_work} == {"KILLED"}
    assert set(ended.values()) <= {"KILLED", "FINISHED"}, "a trial may have ended before"
    result = outcome(command(folder, "search", *argv))
    assert result["states"] == {"complete": 2}
    # Two trials and the study, all continued.
    assert Counter(run.info.status for run in runs(folder)) == {"FINISHED": 3}
    assert not any("mkd.error" in run.data.tags for run in runs(folder))
    check_quality(folder)


@pytest.mark.slow
def test_two_commands_share_a_postgresql_study_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server() as database:
        address, folder = database.address, tmp_path / "postgres"
        folder.mkdir()
        mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
        argv = [*SEARCH, "--search.storage", address, "--search.trials=5", "--search.workers=2"]
        first = started(folder, entry_point, "search", *argv, "--json")
        second = started(folder, entry_point, "search", *argv, "--json", "--cache=elsewhere")
        results = [outcome(child.end()) for child in (first, second)]
        assert (
            results[0]["run_id"] == results[1]["run_id"] and results[1]["states"]["complete"] >= 5
        )
        store = optuna.storages.RDBStorage(address)
        trials = optuna.load_study(study_name="mkd", storage=store).trials
        store.engine.dispose()
        assert {trial.state.name for trial in trials} == {"COMPLETE"} and len(trials) <= 6
        # As documented: the password is in the environment and not in the address.
        bare = SearchConfig(storage=address.replace(":secret", ""))
        with pytest.raises(ConnectionError, match="no password supplied"):
            open_storage(bare)
        monkeypatch.setenv("PGPASSWORD", "secret")
        opened = open_storage(bare)
        assert optuna.study.get_all_study_names(opened) == ["mkd"]
        opened.engine.dispose()
        parent = client(folder).get_run(results[0]["run_id"])
        assert "mkd:***@127.0.0.1" in parent.data.tags["mkd.storage"]
        text = Path(
            client(folder).download_artifacts(results[0]["run_id"], "config.yaml", str(folder))
        ).read_text()
        printed = [
            file.read_text() for child in (first, second) for file in (child.stdout, child.stderr)
        ]
        assert not any(
            "secret" in where for where in (*printed, text, json.dumps(parent.data.params))
        )


@pytest.mark.slow
def test_a_search_outlasts_restarts_of_its_postgresql_server(tmp_path: Path) -> None:
    """One orderly restart and one crash, each while trials run and report."""
    put_database(tmp_path)
    with server() as database:
        engine = create_engine(database.address, poolclass=NullPool)

        def have_reported(least: int) -> bool:
            query = "select count(*) from trial_user_attributes where key = :key"
            try:
                with engine.connect() as connection:
                    count = connection.execute(text(query), {"key": PROGRESS}).scalar_one()
            except ProgrammingError:  # the tables are being created
                return False
            return bool(count >= least)

        options = ["--search.storage", database.address, "--search.trials=4", "--search.workers=2"]
        child = started(tmp_path, entry_point, "search", *SEARCH, *SLOW, *options, "--json")
        for number, mode in enumerate(("fast", "immediate"), 1):
            wait_until(partial(have_reported, number))
            database.stop(mode)
            time.sleep(AWAY_SECONDS)
            database.start()
        done = child.end()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = optuna.storages.RDBStorage(database.address)
        trials = optuna.load_study(study_name="mkd", storage=store).trials
        store.engine.dispose()
    assert outcome(done)["states"] == {"complete": 4}
    assert {trial.state.name for trial in trials} == {"COMPLETE"} and len(trials) == 4
    for trial in trials:
        history = client(tmp_path).get_metric_history(trial.user_attrs["run"], "selection/mean")
        assert [point.step for point in history] == list(range(30, 601, 30))
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: search.storage")]
    assert any("is away" in line for line in notes) and any("is back" in line for line in notes)
    assert "Traceback" not in done.stderr and "secret" not in done.stderr + done.stdout


def test_the_progress_line_of_a_search() -> None:
    assert progress_text(0, 30, [], None) == "0 of 30 trials ended"
    message = "3 of 30 trials ended, 2 running (40 %, 5 %), best selection score 81.2"
    assert progress_text(3, 30, [0.4, 0.05], 81.24) == message


def test_a_system_that_cannot_fork_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    check_forks()
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr("platform.system", lambda: "Windows")
    with pytest.raises(ValueError, match=r"^search.engine is 'processes'; allowed on Windows, whi"):
        search(SearchSettings())
