"""Searches as real Optuna studies in SQLite files: storage, sampling, counted trials and copied
trials."""

import random
import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from experiments.settings import SearchConfig, SearchSettings
from experiments.studies.attributes import (
    COPIED_FROM,
    FIXED_SETTINGS,
    PROGRESS,
    REPLACED,
    RESULT,
)
from experiments.studies.copying import copy_trials
from experiments.studies.importance import setting_importances
from experiments.studies.pruning import Progress
from experiments.studies.retry import WORKER_DIED, WORKER_STOPPED, retry
from experiments.studies.sampler import SeededSampler
from experiments.studies.storage import (
    CONNECT_ARGS,
    open_storage,
    storage_outages_named,
    study_lock,
)
from experiments.studies.study import (
    OBJECTIVES,
    check_same_search,
    fixed_settings,
    open_study,
)
from experiments.studies.trial_results import (
    FAILURES,
    TrialResult,
    first_failure,
    own_trials,
    progress_of_others,
    result_of,
)
from mkd.config import DataConfig
from mkd.selection.split import SPLIT_VERSION
from tests.support.postgres import server

# Optuna warns that there is no heartbeat with ask and tell.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Heartbeat of storage is supposed to be used with Study.optimize:UserWarning"
)

KINDS: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["bag", "bilstm"]),
    "layers:bag": IntDistribution(1, 4),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
}
SETTINGS: dict[str, Any] = {"train": {"steps": 8}, "loss": {"kind": "kl"}}


def config_of(folder: Path, study: str = "mkd", seed: int = 0, **changes: Any) -> SearchSettings:
    search = SearchConfig(study=study, storage=f"sqlite:///{folder / 'optuna.db'}", **changes)
    return SearchSettings(seed=seed, search=search)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage without a study; its creation takes longer than most of these tests."""
    folder = tmp_path_factory.mktemp("empty")
    open_storage(config_of(folder).search)
    return folder / "optuna.db"


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> RDBStorage:
    shutil.copy(empty, tmp_path)
    return open_storage(config_of(tmp_path).search)


def new_study(
    folder: Path,
    store: RDBStorage,
    name: str = "mkd",
    settings: dict[str, Any] = SETTINGS,
    **changes: Any,
) -> optuna.Study:
    """A new study, opened in the way of a search."""
    config = config_of(folder, name, **changes)
    return open_study(config, store, fixed_settings(config, settings))


def ended(
    state: TrialState, values: list[float] | None = None, error: str | None = None, **params: Any
) -> FrozenTrial:
    """A trial that has ended; with a result if an error is given."""
    settings = {name.replace("_", ":"): value for name, value in params.items()}
    attributes = {RESULT: TrialResult("failed", "t", "", None, {}, {}, {}, error or "")._asdict()}
    kinds = {name: KINDS[name] for name in settings}
    return create_trial(
        state=state,
        values=values,
        params=settings,
        distributions=kinds,
        user_attrs={} if error is None else attributes,
    )


def at(seconds: float, state: TrialState, error: str | None = None) -> FrozenTrial:
    """A trial that ended at this Unix time."""
    trial = ended(state, [1.0, 1.0] if state == TrialState.COMPLETE else None, error)
    trial.datetime_complete = datetime.fromtimestamp(seconds)
    return trial


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("postgresql://mkd:secret@127.0.0.1:1/x",
         r"'postgresql://mkd:\*\*\*@127.0.0.1:1/x': connection failed: .*refused"),
        ("postgresql://127.0.0.1:port/x", "'postgresql://127.0.0.1:port/x': .*'port'"),
        ("sqlite:///{folder}/file/optuna.db", "'sqlite:///.*/file/optuna.db': .*File exists"),
        ("sqlite:///{folder}/file/below/optuna.db",
         "'sqlite:///.*/file/below/optuna.db': .*Not a directory"),
        ("sqlite:///{folder}", "'sqlite:///.*': it is a folder; allowed: a file"),
        ("sqlite:///{folder}/file", "'sqlite:///.*/file': file is not a database"),
    ],
)  # fmt: skip
def test_an_unreachable_storage_is_refused(address: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database " * 100)
    with pytest.raises(ConnectionError, match=f"^search.storage is {message}[^\n]*$") as caught:
        open_storage(SearchConfig(storage=address.format(folder=tmp_path)))
    assert "secret" not in str(caught.value)


def test_a_study_lock_waits_for_a_restart_of_its_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.studies.storage.RETRY_SECONDS", 0.2)
    with server() as database:
        config = SearchConfig(storage=database.address)
        with study_lock(config):  # held while the server goes away
            database.stop("immediate")
        with pytest.raises(OperationalError), study_lock(config, wait=False):
            raise AssertionError("it is away")
        starting = threading.Timer(1, database.start)
        starting.start()
        with study_lock(config):  # asked for before the server is back
            starting.join()
            locks = "select count(*) from pg_locks where locktype = 'advisory'"
            with create_engine(database.address, poolclass=NullPool).connect() as connection:
                assert connection.execute(text(locks)).scalar_one() == 1
    stderr = capsys.readouterr().err
    assert stderr.count("is away") == 1 and "Traceback" not in stderr and "secret" not in stderr


def test_after_a_long_outage_a_heartbeat_is_dropped_and_other_calls_raise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optuna's thread of heartbeats goes on, and its next one arrives."""
    monkeypatch.setattr("experiments.studies.storage.RETRY_SECONDS", 0.2)
    monkeypatch.setattr("experiments.studies.storage.OUTAGE_SECONDS", 0.5)
    with server() as database:
        storage = open_storage(SearchConfig(storage=database.address))
        study = optuna.create_study(storage=storage)
        trial = study.ask()._trial_id
        database.stop("immediate")
        storage.record_heartbeat(trial)
        with pytest.raises((StorageInternalError, OperationalError)):
            storage.set_trial_user_attr(trial, "key", "value")
        database.start()
        storage.record_heartbeat(trial)
        beats = "select count(*) from trial_heartbeats"
        with create_engine(database.address, poolclass=NullPool).connect() as connection:
            assert connection.execute(text(beats)).scalar_one() == 1
        storage.engine.dispose()
    assert "Traceback" not in capsys.readouterr().err


def test_the_calls_of_a_trial_wait_together_for_a_locked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked SQLite file can be read, so an answer does not mean that it is back."""
    monkeypatch.setattr("experiments.studies.storage.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("experiments.studies.storage.OUTAGE_SECONDS", 2.0)
    monkeypatch.setattr("experiments.studies.storage.LOCKED_SECONDS", 0.1)
    file = tmp_path / "x.db"
    storage = open_storage(SearchConfig(storage=f"sqlite:///{file}"))
    study = optuna.create_study(storage=storage)
    trial = study.ask()._trial_id

    def waited() -> float:
        begin = time.monotonic()
        with pytest.raises((StorageInternalError, OperationalError)):
            storage.set_trial_user_attr(trial, "key", "value")
        return time.monotonic() - begin

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin immediate")
        assert waited() >= 2
        assert storage.get_trial(trial).number == 0
        assert waited() < 2, "the outage has lasted long enough"
        other.execute("rollback")
        storage.set_trial_user_attr(trial, "key", "value")
        other.execute("begin immediate")
        assert waited() >= 2, "another outage"
    storage.engine.dispose()


def test_a_trial_whose_end_cannot_be_stored_names_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.studies.storage.OUTAGE_SECONDS", 0.5)
    monkeypatch.setattr("experiments.studies.storage.LOCKED_SECONDS", 0.1)
    file = tmp_path / "x.db"
    config = SearchConfig(storage=f"sqlite:///{file}")
    storage = open_storage(config)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:

        def lock(trial: optuna.Trial) -> float:
            other.execute("begin immediate")
            return 1.0

        study = optuna.create_study(storage=storage)
        with (
            pytest.raises(ConnectionError, match="^search.storage is .*: database is locked; "),
            storage_outages_named(config),
        ):
            study.optimize(lock, n_trials=1)
    storage.engine.dispose()


def test_a_process_that_was_suspended_first_waits_for_the_heartbeats_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the workers of a laptop that slept: all of them are late."""
    config = SearchConfig(storage=f"sqlite:///{tmp_path / 'x.db'}", heartbeat_seconds=1)
    storage = open_storage(config)
    study = optuna.create_study(storage=storage)
    trial = study.ask()._trial_id
    storage.record_heartbeat(trial)
    with storage.engine.begin() as connection:
        connection.execute(text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'"))

    def stale() -> list[int]:
        return storage._get_stale_trial_ids(study._study_id)

    assert stale() == [trial]
    seconds, wall, monotonic = 4.0, time.time, time.monotonic  # the grace period is 3 s
    monkeypatch.setattr(time, "time", lambda: wall() + seconds)
    assert stale() == [] == stale()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + seconds)
    assert stale() == [trial], "its worker has had time to send one"
    storage.engine.dispose()


@pytest.mark.parametrize("queued", [False, True])
def test_a_worker_that_died_before_its_first_heartbeat_is_noticed(
    store: RDBStorage, queued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna itself waits for such a trial for ever."""
    study = optuna.create_study(storage=store)
    if queued:
        study.enqueue_trial({"x": 1})
    trial = study.ask()._trial_id
    monotonic, seconds = time.monotonic, float(store.grace_period or 0)

    def stale() -> list[int]:
        return store._get_stale_trial_ids(study._study_id)

    assert stale() == [] == stale(), "it may be about to send one"
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + seconds + 1)
    assert stale() == [trial]
    store.record_heartbeat(trial)
    assert stale() == []


def test_a_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECT_ARGS["connect_timeout"] < 10
    monkeypatch.setitem(CONNECT_ARGS, "connect_timeout", 2)  # the driver's minimum
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        message = "^search.storage is 'postgresql://.*': connection timeout expired$"
        with pytest.raises(ConnectionError, match=message):
            open_storage(SearchConfig(storage=f"postgresql://127.0.0.1:{mute.getsockname()[1]}/x"))


def test_the_folder_of_a_storage_file_is_created(tmp_path: Path) -> None:
    open_storage(SearchConfig(storage=f"sqlite:///{tmp_path / 'new' / 'folder' / 'optuna.db'}"))
    assert (tmp_path / "new" / "folder" / "optuna.db").is_file()


def value_of(params: dict[str, Any]) -> list[float]:
    """Two objective values that depend on the parameters."""
    return [100 * params["rate"] + params.get("layers:bag", 0), 1 + params["rate"] ** 2]


def run_trials(study: optuna.Study, num: int) -> None:
    """Runs `num` more trials sequentially."""
    for _ in range(num):
        trial = study.ask()
        params: dict[str, Any] = {"kind": trial.suggest_categorical("kind", ["bag", "bilstm"])}
        if params["kind"] == "bag":
            params["layers:bag"] = trial.suggest_int("layers:bag", 1, 4)
        params["rate"] = trial.suggest_float("rate", 1e-3, 1.0, log=True)
        study.tell(trial, value_of(params))


def drawn(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_resumed_study_samples_alike(sampler: Any, tmp_path: Path, store: RDBStorage) -> None:
    """The study is stopped after its 3rd and 12th trial, before and after TPE starts to model. Each
    start reads it from storage, with a sampler that has already sampled for another study."""
    whole = new_study(tmp_path, store, "whole", sampler=sampler)
    run_trials(whole, 14)
    other = new_study(tmp_path, store, "other", sampler=sampler)
    new_study(tmp_path, store, "stopped", sampler=sampler)
    for num in (3, 9, 2):
        used_sampler = SeededSampler(SearchConfig(sampler=sampler), seed=0)
        other.sampler = used_sampler
        run_trials(other, 1)
        fresh = open_storage(config_of(tmp_path).search)
        run_trials(
            optuna.load_study(study_name="stopped", storage=fresh, sampler=used_sampler), num
        )
    stopped = optuna.load_study(study_name="stopped", storage=store)
    assert drawn(stopped) == drawn(whole)
    assert len({str(params) for params in drawn(whole)}) == 14


def test_a_random_sample_depends_on_seed_and_number(tmp_path: Path, store: RDBStorage) -> None:
    first, second = (
        new_study(tmp_path, store, f"s{seed}", seed=seed, sampler="random") for seed in (0, 1)
    )
    run_trials(first, 5)
    run_trials(second, 5)
    assert not [params for params in drawn(first) if params in drawn(second)]
    failing = new_study(tmp_path, store, "failing", sampler="random")
    for _ in range(4):
        failing.tell(failing.ask(), state=TrialState.FAIL)
    run_trials(failing, 1)
    assert drawn(failing)[4] == drawn(first)[4]


def test_a_study_keeps_its_first_settings(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store, objectives=["quality", "bytes", "latency"])
    directions = [direction.name.lower() for direction in study.directions]
    assert directions == ["maximize", "minimize", "minimize"]
    assert study.metric_names == ["quality", "bytes", "latency"]
    objectives = ["quality", "bytes", "latency"]
    again = new_study(tmp_path, store, objectives=objectives, settings={"train": {"steps": 9}})
    assert again.user_attrs == study.user_attrs, "the first command has the word"
    assert list(OBJECTIVES.values()) == ["maximize"] + ["minimize"] * 4


def test_another_searchs_study_is_refused(tmp_path: Path, store: RDBStorage) -> None:
    config = config_of(tmp_path, space={"student.hidden": [8, 16]}, budget_ms=2.0)
    fixed = fixed_settings(config, SETTINGS)
    check_same_search(config.search, store, fixed)
    open_study(config, store, fixed)
    again = config_of(tmp_path, space={"student.hidden": [8, 16]}, budget_ms=2.0)
    check_same_search(config.search, store, fixed_settings(again, SETTINGS))
    other = config_of(tmp_path, seed=3, space={"student.hidden": [8, 32]}, sampler="random")
    differences = [
        "budgets.ms was 2.0 and is None",
        "sampler was 'tpe' and is 'random'",
        "seed was 0 and is 3",
        "settings.train.steps was 8 and is 9",
        r"space.student.hidden was \[8, 16\] and is \[8, 32\]",
    ]
    expected = f"a study of another search: {'; '.join(differences)}; allowed: another name"
    with pytest.raises(ValueError, match=expected):
        check_same_search(
            other.search, store, fixed_settings(other, SETTINGS | {"train": {"steps": 9}})
        )
    check_same_search(config_of(tmp_path, "new").search, store, fixed_settings(other, SETTINGS))


def test_swapped_labels_are_another_search(tmp_path: Path, store: RDBStorage) -> None:
    """Only the labels differ: file names and texts are the same."""
    file = tmp_path / "tasks.yaml"
    columns = "kind: classification, labels: [bad, good], text: text, label: label"
    files = "metrics: [accuracy], train: [train.csv], dev: train.csv"
    file.write_text(f"reviews: {{{columns}, {files}}}\n")

    def settings_of(rows: str) -> dict[str, Any]:
        (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
        return fixed_settings(
            replace(config_of(tmp_path), data=DataConfig("files", str(file))), SETTINGS
        )

    first = settings_of("a film,good\nno film,bad\n")
    open_study(config_of(tmp_path), store, first)
    check_same_search(config_of(tmp_path).search, store, settings_of("a film,good\nno film,bad\n"))
    message = "a study of another search: rows.reviews was .* and is .*; allowed: another name"
    with pytest.raises(ValueError, match=message):
        check_same_search(
            config_of(tmp_path).search, store, settings_of("a film,bad\nno film,good\n")
        )


def test_more_trials_workers_and_another_pruning_are_the_same_search(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    changes: dict[str, Any] = {
        "trials": 99,
        "workers": 3,
        "heartbeat_seconds": 7,
        "start": [{"student.hidden": 8}],
    }
    assert fixed_settings(config_of(tmp_path, **changes), SETTINGS) == fixed_settings(
        config, SETTINGS
    )
    assert fixed_settings(config_of(tmp_path, backend="int8"), SETTINGS) != fixed_settings(
        config, SETTINGS
    )


def test_five_failures_in_a_row_end_a_search_with_the_first_error() -> None:
    failed = [at(10 + i, TrialState.FAIL, f"error {i}") for i in range(FAILURES + 2)]
    assert FAILURES == 5
    assert first_failure(failed[:5], since=0) == "error 0"
    assert first_failure(failed[:4], since=0) is None
    assert first_failure(failed, since=0) == "error 2", "of the five last ones"
    # The order is that of their ends, not of their starts.
    assert first_failure(failed[:5][::-1], since=0) == "error 0"
    assert first_failure([], since=0) is None


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_a_trial_with_another_end_in_between_resets_the_count(state: TrialState) -> None:
    failed = [at(10 + i, TrialState.FAIL, f"error {i}") for i in range(5)]
    assert first_failure([*failed[:4], at(13.5, state), failed[4]], since=0) is None
    assert first_failure([at(9, state), *failed], since=0) == "error 0"


def test_failures_of_an_earlier_command_do_not_count() -> None:
    failed = [at(10 + i, TrialState.FAIL, f"error {i}") for i in range(6)]
    assert first_failure(failed, since=11) == "error 1"
    assert first_failure(failed, since=11.5) is None


def test_running_and_waiting_trials_do_not_reset_the_count() -> None:
    failed = [at(10 + i, TrialState.FAIL, f"error {i}") for i in range(5)]
    more = [create_trial(state=state) for state in (TrialState.RUNNING, TrialState.WAITING)]
    assert first_failure([*failed, *more], since=0) == "error 0"


def test_the_first_failure_with_an_error_is_reported() -> None:
    dead = [at(10 + i, TrialState.FAIL) for i in range(5)]
    assert first_failure(dead, since=0) == "their workers died"
    error = first_failure([*dead[:2], at(12, TrialState.FAIL, "too small"), *dead[3:]], since=0)
    assert error == "too small"


def ask(study: optuna.Study) -> FrozenTrial:
    """A new trial with one setting, or the waiting one."""
    trial = study.ask()
    trial.suggest_float("rate", 1e-3, 1.0, log=True)
    return study.get_trials(deepcopy=False)[trial.number]


def numbers(study: optuna.Study) -> list[int]:
    return [trial.number for trial in own_trials(study)]


def test_a_trial_is_retried_once_and_counts_once(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    first = ask(study)
    study.tell(first.number, state=TrialState.FAIL)
    assert numbers(study) == [0]
    retry(study, first, WORKER_DIED)
    assert [trial.state.name for trial in study.get_trials()] == ["FAIL", "WAITING"]
    assert numbers(study) == [1] and study.user_attrs[f"{REPLACED}/0"] == WORKER_DIED
    second = ask(study)
    assert (second.number, second.params) == (1, first.params)
    study.tell(1, state=TrialState.FAIL)
    retry(study, second, WORKER_DIED)
    assert len(study.get_trials()) == 2 and numbers(study) == [1], "it has been made again once"
    assert ask(study).params != first.params


def test_an_interrupted_trial_is_always_retried(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    params = ask(study).params
    for number in range(3):
        study.tell(number, state=TrialState.FAIL)
        retry(study, study.get_trials(deepcopy=False)[number], WORKER_STOPPED)
        assert numbers(study) == [number + 1]
        assert ask(study).params == params
    study.tell(3, [1.0, 1.0])
    assert [trial.state.name for trial in own_trials(study)] == ["COMPLETE"]


def test_interruptions_do_not_use_up_the_only_retry(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    params = ask(study).params
    for number, why in enumerate((WORKER_STOPPED, WORKER_DIED, WORKER_STOPPED)):
        study.tell(number, state=TrialState.FAIL)
        retry(study, study.get_trials(deepcopy=False)[number], why)
        assert ask(study).params == params
    study.tell(3, state=TrialState.FAIL)
    retry(study, study.get_trials(deepcopy=False)[3], WORKER_DIED)
    assert numbers(study) == [3] and len(study.get_trials()) == 4


def test_a_retry_has_the_progress_of_its_predecessor(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    trial = study.ask()
    trial.set_user_attr(PROGRESS, Progress(2.5, {4: 50.0})._asdict())
    study.tell(trial, state=TrialState.FAIL)
    retry(study, study.get_trials(deepcopy=False)[0], WORKER_DIED)
    assert progress_of_others(study, number=0) == [Progress(2.5, {4: 50.0})]


def test_no_trial_is_compared_with_a_failed_one(tmp_path: Path, store: RDBStorage) -> None:
    """Its model is not among the search's results; only that of its retry is."""
    study = new_study(tmp_path, store)
    for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE):
        trial = study.ask()
        trial.set_user_attr(PROGRESS, Progress(trial.number + 0.5, {4: 50.0})._asdict())
        study.tell(trial, [50.0, 1.0] if state == TrialState.COMPLETE else None, state=state)
    assert [other.latency_ms for other in progress_of_others(study, number=3)] == [1.5, 2.5]


def test_the_progress_of_other_trials_is_read_back(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    for latency_ms in (1.5, 2.5):
        trial = study.ask()
        trial.set_user_attr(PROGRESS, Progress(latency_ms, {4: 50.0, 8: 60.25})._asdict())
    study.ask()
    fresh = optuna.load_study(study_name="mkd", storage=open_storage(config_of(tmp_path).search))
    first, second = (Progress(ms, {4: 50.0, 8: 60.25}) for ms in (1.5, 2.5))
    assert progress_of_others(fresh, number=0) == [second]
    assert progress_of_others(fresh, number=2) == [first, second]


def test_a_result_is_read_back_once_its_trial_has_ended(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    left = TrialResult(
        "complete", "t000 bag", "r", 70.5, {"latency": 2.0}, {"core": 3.0},
        {"loss.kind": "kl", "x": {"a": 1.0}},
    )  # fmt: skip
    trial = study.ask()
    trial.set_user_attr(RESULT, left._asdict())
    assert result_of(study.get_trials()[0]) is None
    study.tell(trial, [1.0, 1.0])
    assert result_of(study.get_trials()[0]) == left
    study.tell(study.ask(), state=TrialState.FAIL)
    assert result_of(study.get_trials()[1]) is None


def source_of(folder: Path, store: RDBStorage, **changes: Any) -> optuna.Study:
    """A study of four finished trials, one of them with four layers, and a pruned, a failed and a
    running one."""
    study = new_study(folder, store, "source", **changes)
    for layers in (1, 2, 4):
        study.add_trial(
            ended(TrialState.COMPLETE, [50.0 + layers, float(layers)], "", kind="bag",
                  layers_bag=layers, rate=0.1),
        )  # fmt: skip
    study.add_trial(ended(TrialState.COMPLETE, [60.0, 9.0], "", kind="bilstm", rate=0.5))
    study.add_trial(ended(TrialState.PRUNED, None, "", kind="bilstm", rate=0.2))
    study.add_trial(ended(TrialState.FAIL, None, "", kind="bilstm", rate=0.3))
    study.ask()
    return study


def test_finished_trials_are_copied_once(tmp_path: Path, store: RDBStorage) -> None:
    source, study = source_of(tmp_path, store), new_study(tmp_path, store)
    assert copy_trials(study, "source", KINDS) == (4, 4)
    taken = study.get_trials()
    copied = [(t.params, t.values) for t in taken]
    assert copied == ([(t.params, t.values) for t in source.get_trials()[:4]])
    assert [trial.user_attrs[COPIED_FROM] for trial in taken] == [f"source/{i}" for i in range(4)]
    expected = [result_of(trial) for trial in source.get_trials()[:4]]
    assert [result_of(trial) for trial in taken] == expected
    assert numbers(study) == [], "they are not this study's own"
    assert copy_trials(study, "source", KINDS) == (0, 4)
    source.add_trial(ended(TrialState.COMPLETE, [1.0, 1.0], "", kind="bilstm", rate=0.7))
    assert copy_trials(study, "source", KINDS) == (1, 5)
    assert len(study.get_trials()) == 5


def test_trials_outside_the_space_are_not_copied(tmp_path: Path, store: RDBStorage) -> None:
    source_of(tmp_path, store)
    narrow = KINDS | {
        "layers:bag": IntDistribution(1, 3),
        "rate": FloatDistribution(0.01, 0.2, log=True),
    }
    assert copy_trials(new_study(tmp_path, store, "narrow"), "source", narrow) == (2, 4)
    without = {name: kind for name, kind in KINDS.items() if name != "layers:bag"}
    study = new_study(tmp_path, store, "without")
    assert copy_trials(study, "source", without) == (1, 4)
    assert [trial.params for trial in study.get_trials()] == [{"kind": "bilstm", "rate": 0.5}]
    wide = KINDS | {
        "kind": CategoricalDistribution(["transformer", "bilstm", "bag"]),
        "layers:bag": IntDistribution(1, 9),
    }
    study = new_study(tmp_path, store, "wide")
    assert copy_trials(study, "source", wide) == (4, 4)
    assert study.get_trials()[3].distributions["kind"] == wide["kind"]


def test_a_missing_study_is_refused_with_the_others(tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    with pytest.raises(ValueError, match="search.start_from is 'nosuch'; allowed: none"):
        copy_trials(study, "nosuch", KINDS)
    new_study(tmp_path, store, "b")
    new_study(tmp_path, store, "a")
    with pytest.raises(ValueError, match="search.start_from is 'nosuch'; allowed: a, b$"):
        copy_trials(study, "nosuch", KINDS)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"backend": "torch"}, "backend was 'torch' and is 'onnx'"),
        ({"seed": 1}, "seed was 1 and is 0"),
        ({"objectives": ["quality", "bytes"]},
         r"objectives was \['quality', 'bytes'\] and is \['quality', 'latency'\]"),
        ({"settings": {"train": {"steps": 9}, "loss": {"kind": "kl"}}},
         "settings.train.steps was 9 and is 8"),
    ],
)  # fmt: skip
def test_a_study_with_incomparable_scores_is_refused_with_the_difference(
    changes: dict[str, Any], difference: str, tmp_path: Path, store: RDBStorage
) -> None:
    source_of(tmp_path, store, **changes)
    message = f"search.start_from is 'source', whose scores are not comparable: {difference}$"
    with pytest.raises(ValueError, match=message):
        copy_trials(new_study(tmp_path, store), "source", KINDS)


@pytest.mark.parametrize("selection", ["other", None])
def test_a_study_with_another_selection_split_is_neither_copied_nor_continued(
    selection: str | None, tmp_path: Path, store: RDBStorage
) -> None:
    source, config = source_of(tmp_path, store), config_of(tmp_path, "source")
    fixed = fixed_settings(config, SETTINGS)
    check_same_search(config.search, store, fixed)
    before = {name: value for name, value in fixed.items() if name != "selection"}
    source.set_user_attr(
        FIXED_SETTINGS, before if selection is None else before | {"selection": selection}
    )
    difference = f"selection was {selection!r} and is {SPLIT_VERSION!r}"
    message = f"search.start_from is 'source', whose scores are not comparable: {difference}$"
    with pytest.raises(ValueError, match=message):
        copy_trials(new_study(tmp_path, store), "source", KINDS)
    message = f"search.study is 'source', a study of another search: {difference}; allowed"
    with pytest.raises(ValueError, match=message):
        check_same_search(config.search, store, fixed)


def test_another_space_budget_or_sampler_is_comparable(tmp_path: Path, store: RDBStorage) -> None:
    source_of(tmp_path, store, space={"student.hidden": [8]}, budget_ms=3.0, sampler="random")
    assert copy_trials(new_study(tmp_path, store), "source", KINDS) == (4, 4)


def test_importance_is_a_share_of_the_variance(tmp_path: Path, store: RDBStorage) -> None:
    """Quality depends on `rate` alone, and latency is constant."""
    study = new_study(tmp_path, store)
    rng = random.Random(0)
    for _ in range(30):
        rate, layers = rng.uniform(1e-3, 1), rng.randint(1, 4)
        study.add_trial(
            ended(TrialState.COMPLETE, [100 * rate, 2.0], kind="bag", layers_bag=layers, rate=rate)
        )
    importances = setting_importances(study, ["quality", "latency"])
    assert importances.keys() == {"quality"}
    assert importances["quality"].keys() == {"layers:bag", "rate", "kind"}
    assert max(importances["quality"], key=importances["quality"].__getitem__) == "rate"
    assert sum(importances["quality"].values()) == pytest.approx(1)


def test_training_settings_do_not_explain_latency(tmp_path: Path, store: RDBStorage) -> None:
    """Rate and width are correlated here, as they may be by chance in few trials."""
    study = new_study(tmp_path, store)
    kinds: dict[str, BaseDistribution] = {
        "train.learning_rate": FloatDistribution(0, 1),
        "student.hidden": IntDistribution(1, 20),
    }
    for hidden in range(1, 21):
        params = {"train.learning_rate": hidden / 20, "student.hidden": hidden}
        study.add_trial(
            create_trial(values=[50.0 + hidden, 1.0 * hidden], params=params, distributions=kinds)
        )
    importances = setting_importances(study, ["quality", "latency"])
    assert (
        importances["quality"].keys() == kinds.keys() and min(importances["quality"].values()) > 0.1
    )
    assert importances["latency"] == {"student.hidden": 1.0}


@pytest.mark.parametrize("num", [0, 1, 2, 3, 8])
def test_importances_sum_to_one(num: int, tmp_path: Path, store: RDBStorage) -> None:
    study = new_study(tmp_path, store)
    for i in range(num):
        params: dict[str, Any] = (
            {"kind": "bilstm"} if i % 3 == 1 else {"kind": "bag", "layers_bag": 1 + i % 4}
        )
        study.add_trial(
            ended(TrialState.COMPLETE, [float(i % 3), float(i)], rate=0.1 + i / 10, **params)
        )
        study.add_trial(ended(TrialState.FAIL, rate=0.5))
    importances = setting_importances(study, ["quality", "latency"])
    assert importances.keys() == ({"quality", "latency"} if num > 1 else set())
    for shares in importances.values():
        assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0


def test_a_trial_that_failed_long_ago_does_not_count() -> None:
    """The storage uses the machine's clock in local time, whatever the time zone."""
    now = datetime.now()
    failed = [
        at((now - timedelta(seconds=i)).timestamp(), TrialState.FAIL, "old") for i in range(5)
    ]
    assert first_failure(failed, since=time.time() - 60) == "old"
    assert first_failure(failed, since=time.time() + 60) is None
