"""Tracking stores that are locked, unreachable, hanging or read-only."""

import os
import shlex
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from experiments.tracking.models import check_registry
from experiments.tracking.store import (
    HTTP_SECONDS,
    NOTE_SECONDS,
    StoreError,
    configure,
    connected,
    is_outage,
    link_to,
    retry_on_race,
    start_of_ui,
    with_store,
)
from mkd.storage import databases
from mkd.storage.databases import LOCKED_SECONDS as TRY_SECONDS
from mkd.storage.databases import check_database
from tests.support.database import put_database, use_store
from tests.support.entry import client
from tests.support.postgres import server

LOCKED_SECONDS = 6
"""Longer than SQLite's default timeout of 5 seconds."""


@pytest.mark.slow
def test_mlflow_waits_for_another_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(tmp_path, monkeypatch)
    file = tmp_path / "mlflow.db"
    locked = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(file)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(LOCKED_SECONDS)
        connection.rollback()
        connection.close()

    writer = threading.Thread(target=lock)
    with connected():
        run = mlflow.MlflowClient().create_run("0").info.run_id
        writer.start()
        locked.wait()
        begin = time.monotonic()
        mlflow.MlflowClient().log_metric(run, "metric", 1.0)
        waited = time.monotonic() - begin
    writer.join()
    assert waited > LOCKED_SECONDS - 1
    assert client(tmp_path).get_run(run).data.metrics == {"metric": 1.0}


def test_a_row_that_another_process_adds_first_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that start at the same time log the same data sets."""
    use_store(tmp_path, monkeypatch)
    data = MetaDataset(CodeDatasetSource({"source": "here"}), "task", "digest")  # type: ignore[abstract]
    add = "insert into datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, "
    values = "dataset_source) values ('other', 0, 'task', 'digest', 'code', '{}')"
    raced: list[str] = []

    def other(
        _connection: object, _cursor: object, statement: str, *_more: object
    ) -> None:  # inserts between MLflow's query and its insert
        if statement.startswith("INSERT INTO datasets") and not raced:
            with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
                database.execute(add + values)
            raced.append(statement)

    with connected(), mlflow.start_run(experiment_id="0") as run:
        event.listen(Engine, "before_cursor_execute", other)
        try:
            retry_on_race(lambda: mlflow.log_input(data, "training"))
        finally:
            event.remove(Engine, "before_cursor_execute", other)
    inputs = client(tmp_path).get_run(run.info.run_id).inputs
    assert inputs is not None
    (logged,) = inputs.dataset_inputs
    assert raced and (logged.dataset.name, logged.dataset.source) == ("task", "{}")


def test_an_error_without_a_race_is_raised_at_once() -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        raise MlflowException("no such run")

    with pytest.raises(MlflowException, match="no such run"):
        retry_on_race(fails)
    assert len(calls) == 1


@pytest.mark.parametrize("folder", ["plain", "it's a folder"])
def test_the_command_that_starts_the_ui_is_quoted_for_a_shell(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:////data/{folder}/mlflow.db"
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    assert shlex.split(start_of_ui()) == ["mlflow", "ui", "--backend-store-uri", uri]
    assert ("'" in start_of_ui()) == (folder != "plain"), "quotes where they are needed"


def use(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this process log to another store, with a short timeout."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize("user", ["", "mkd:secret@"])
def test_a_hanging_server_gives_a_one_line_error(
    user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        use(f"http://{user}127.0.0.1:{mute.getsockname()[1]}", monkeypatch)
        with pytest.raises(ConnectionError) as caught, connected():
            mlflow.MlflowClient().search_experiments()
    message = str(caught.value)
    assert "no answer within 1" in message and "the same command continues" in message
    assert "secret" not in message and "\n" not in message and is_outage(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////dev/null/x.db", "folder"])
def test_an_unusable_store_is_refused_before_the_work(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(f"sqlite:///{tmp_path}" if uri == "folder" else uri, monkeypatch)
    with pytest.raises(ConnectionError, match="^MLFLOW_TRACKING_URI is .*"), with_store():
        raise AssertionError("the work has begun")


def test_a_read_only_store_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_database(tmp_path)
    use(f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true", monkeypatch)
    message = r"^MLFLOW_TRACKING_URI is .*: attempt to write a readonly database; .*lost.*$"
    with pytest.raises(ConnectionError, match=message), with_store():
        raise AssertionError("the work has begun")
    use(f"{tmp_path}/mlflow.db/runs", monkeypatch)  # a folder store below a file
    message = r"^MLFLOW_TRACKING_URI is .*mlflow.db is a file; allowed: a folder; .*lost.*$"
    with pytest.raises(ConnectionError, match=message), with_store():
        raise AssertionError("the work has begun")


def test_the_check_does_not_create_a_missing_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(f"sqlite:///{tmp_path}/new/mlflow.db", monkeypatch)
    with pytest.raises(ValueError, match="a mistake"), with_store():
        raise ValueError("a mistake")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"])
def test_a_selected_run_or_experiment_that_is_missing_is_refused_before_the_work(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(f"sqlite:///{tmp_path}/new/mlflow.db", monkeypatch)
    monkeypatch.setenv(name, "nonsense")
    with (
        pytest.raises(StoreError, match=f"^{name} is 'nonsense', which is not in .*"),
        with_store(),
    ):
        raise AssertionError("the work has begun")


def test_a_selected_run_or_experiment_that_is_deleted_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_database(tmp_path)
    use(f"sqlite:///{tmp_path}/mlflow.db", monkeypatch)
    store = client(tmp_path)
    experiment_id = store.create_experiment("gone")
    run_id = store.create_run(experiment_id).info.run_id
    store.delete_run(run_id)
    store.delete_experiment(experiment_id)
    for name, value in {
        "MLFLOW_RUN_ID": run_id,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_EXPERIMENT_NAME": "gone",
    }.items():
        with monkeypatch.context() as selected:
            selected.setenv(name, value)
            message = f"^{name} is '{value}', which is deleted.*"
            with pytest.raises(StoreError, match=message), with_store():
                raise AssertionError("the work has begun")


def test_an_unreachable_database_gives_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    use("postgresql://mkd:secret@127.0.0.1:9/x", monkeypatch)
    message = r"^MLFLOW_TRACKING_URI is postgresql://mkd:\*\*\*@127.0.0.1:9/x: .*refused.*lost.*$"
    with pytest.raises(ConnectionError, match=message), connected():
        raise AssertionError("it is away")


def test_every_try_of_a_store_ends_within_20_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIMEOUT", "MAX_RETRIES"):
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}", raising=False)
    configure()
    tries = 1 + int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    assert HTTP_SECONDS * tries < 20 and TRY_SECONDS < 20 and NOTE_SECONDS <= 15


@pytest.mark.slow
def test_a_hanging_database_server_times_out_as_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its connections stay open and the system still answers, so only our timeout ends the wait."""
    assert databases.CONNECT_SECONDS + databases.ANSWER_SECONDS <= 20
    monkeypatch.setattr(databases, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 2)  # the driver's minimum
    with server() as database:
        check_database(database.address, "experiments")
        engine = create_engine(database.address)  # like those of MLflow and Optuna
        with engine.connect() as connection, database.hanging():
            begin = time.monotonic()
            with pytest.raises(OperationalError, match="has not answered for 1 sec") as hung:
                connection.execute(text("select 1"))
            with pytest.raises(OperationalError, match="timeout") as refused:
                create_engine(database.address).connect()
            with pytest.raises(ConnectionError, match="timeout"):
                check_database(database.address, "experiments")
            assert time.monotonic() - begin < 15
            assert is_outage(hung.value) and is_outage(refused.value)
        with engine.connect() as connection:
            assert connection.scalar(text("select 2")) == 2, "it is back"
        engine.dispose()


def test_a_link_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(tmp_path, monkeypatch)
    run = mlflow.MlflowClient().create_run("0")
    use("http://mkd:secret@host:5000", monkeypatch)
    assert link_to(run).startswith("http://mkd:***@host:5000/#/experiments/0/runs/")


def test_a_registry_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "foo://u:geheim@h")
    with pytest.raises(StoreError, match=r"^MLFLOW_REGISTRY_URI is foo://u:\*\*\*@h: ") as caught:
        check_registry()
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://u:geheim@[::1", "sqlite:///new.db?timeout=geheim"])
def test_an_address_that_cannot_be_read_is_named_before_anything_is_made(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError, match="^MLFLOW_TRACKING_URI is .*(IPv6|float)"), with_store():
        raise AssertionError("it is refused")
    assert not list(tmp_path.iterdir())
