"""The MLflow tracking store: its configuration, its errors, and links to what it holds."""

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine
from sqlalchemy.event import listen

EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_NAME"
"""The environment variable of MLflow that selects an experiment."""
SQLITE_WAIT_SECONDS = 60
"""How long a SQLite store waits for another writer, like Optuna's storage. SQLite's default in
Python, 5 seconds, is too short for several workers on a slow disk.
"""


def configure() -> None:
    """Configures MLflow in this process. Environment variables that are already set are kept.

    HTTP retries are limited to 2: with the default, a call would hang for minutes.
    """
    _wait_for_other_writers()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)


@cache
def _wait_for_other_writers() -> None:
    """Sets SQLITE_WAIT_SECONDS for all SQLite connections that SQLAlchemy opens from now on.

    MLflow has no setting for it, and a tracking URI with `?timeout=60` would not be the one that
    the user has set.
    """
    listen(Engine, "connect", _set_busy_timeout)


def _set_busy_timeout(connection: object, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT_SECONDS * 1000}")


@contextmanager
def connected() -> Iterator[None]:
    """Configures MLflow, and raises ConnectionError if the tracking store cannot be reached.

    Every MlflowException raised inside is reported this way. A local SQLite store is created first.
    """
    configure()
    make_database(mlflow.get_tracking_uri())
    try:
        yield
    except MlflowException as error:
        raise ConnectionError(
            f"MLFLOW_TRACKING_URI is {mlflow.get_tracking_uri()}: {error}"
        ) from error


@contextmanager
def experiment(name: str) -> Iterator[None]:
    """Selects the experiment of the runs that are opened inside; it is created if it is missing."""
    with connected():
        mlflow.set_experiment(name)
    before = os.environ.get(EXPERIMENT_NAME)
    os.environ[EXPERIMENT_NAME] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[EXPERIMENT_NAME]
        else:
            os.environ[EXPERIMENT_NAME] = before


def make_database(uri: str) -> None:
    """Creates a local SQLite store if it does not exist.

    It is created in a temporary folder and then linked to its place. A process that is killed
    meanwhile leaves no incomplete database.
    """
    if not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists():
        return
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f"{file.name}-") as aside:
        mlflow.MlflowClient(f"sqlite:///{aside}/{file.name}").search_experiments()
        with suppress(FileExistsError):  # another process created it first
            # A link fails if the file exists. A rename would replace the database of another
            # process.
            os.link(f"{aside}/{file.name}", file)


def link_to(run: Run, query: str = "") -> str:
    """Returns where the run can be viewed.

    This is a link to the server or, for a local store, the command that opens it and the link.

    query: a query string of the UI. If given, the link shows the experiment's runs that match it
        instead of this run.
    """
    uri = mlflow.get_tracking_uri()
    place = f"runs{quote(query, safe='?=&')}" if query else f"runs/{run.info.run_id}"
    path = f"#/experiments/{run.info.experiment_id}/{place}"
    return (
        f"{uri}/{path}"
        if uri.startswith("http")
        else f"mlflow ui --backend-store-uri {uri} then http://127.0.0.1:5000/{path}"
    )
