"""The MLflow tracking store: its configuration, its errors, and links to what it holds."""

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import mlflow
import requests
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError

from analysis.empty_runs import OWN_RUN
from mkd.repeat import repeated
from mkd.storage.addresses import reason, without_passwords
from mkd.storage.databases import DATABASES, check_database, check_folder, sqlite_file
from mkd.storage.owners import aside_folder, remove_left_over

T = TypeVar("T")
EXPERIMENT_NAME = "MLFLOW_EXPERIMENT_NAME"
"""The environment variable of MLflow that selects an experiment by its name."""
EXPERIMENT_ID = "MLFLOW_EXPERIMENT_ID"
"""The environment variable of MLflow that selects an experiment by its id."""
OUTAGE_SECONDS = 300
"""Seconds that an open run waits for its unreachable tracking store."""
RETRY_SECONDS = 5
"""Pause between two calls of a store that does not answer."""
NOTE_SECONDS = 10
"""A command that waits for the store says so after this time, and again each time."""
RACES = 3
"""Number of retries of a call after another process wrote the same row at once."""
HTTP_SECONDS, UPLOAD_SECONDS = 7, 60
"""Timeouts of a request: of most, and of those that may send a whole model."""
TABLE = "experiments"
"""A table that every MLflow database has."""
AGAIN = "nothing that was computed is lost, and the same command continues when this is mended"
"""End of the message of a run whose tracking store or search storage was unreachable."""
LOCAL = "http://127.0.0.1:5000"
"""Address of `mlflow ui` for a local store."""
DATABASE = "mlflow.db"
"""The file in the working folder that MLflow uses as its store by default."""


def configure() -> None:
    """Configures MLflow in this process. Environment variables that are already set are kept.

    A request has HTTP_SECONDS and is repeated once. With MLflow's defaults, a call would hang for
    minutes.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(HTTP_SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # A command prints a link of its own.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # They print traces of errors, and retries, which are reported as one line instead.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def address() -> str:
    """Returns the address of the tracking store, for display: without its password."""
    return without_passwords(mlflow.get_tracking_uri())


@contextmanager
def connected() -> Iterator[None]:
    """Configures MLflow, and raises ConnectionError if the tracking store cannot be used.

    Every MlflowException raised inside is reported this way. A local SQLite store is created first.
    """
    configure()
    uri = mlflow.get_tracking_uri()
    _check_store(uri)
    with store_errors():
        make_database(uri)
        yield


def _check_store(uri: str) -> bool:
    """Raises ConnectionError if a database or a folder cannot be used; nothing is created.

    Returns whether it is a database. A server, and what MLflow wants of a folder, is not tried.
    """
    is_database = uri.split("+")[0].split(":")[0] in DATABASES
    try:
        urlsplit(uri)
        if is_database:
            check_database(uri, TABLE)
        elif is_local_uri(uri):  # type: ignore[no-untyped-call]
            check_folder(Path(local_file_uri_to_path(uri)))  # type: ignore[no-untyped-call]
    except (ConnectionError, ValueError) as error:
        raise StoreError(f"MLFLOW_TRACKING_URI is {address()}: {error}; {AGAIN}") from error
    return is_database


@contextmanager
def with_store() -> Iterator[None]:
    """Runs a command as its body: checks the store first, and converts errors as `store_errors`
    does.

    So an unreachable, full or read-only store is reported before minutes of preparation. Nothing is
    created yet. Works as a decorator, too.
    """
    configure()
    with store_errors():
        with note_if_slow():
            if not _check_store(mlflow.get_tracking_uri()):
                mlflow.MlflowClient().search_experiments(max_results=1)
            _check_selected()
        yield


def _check_selected() -> None:
    """Raises StoreError if a run or experiment that the environment selects cannot be used."""
    uri = mlflow.get_tracking_uri()
    if (file := sqlite_file(uri)) is not None and not file.exists():
        if not (os.environ.get(OWN_RUN) or os.environ.get(EXPERIMENT_ID)):
            return  # an experiment of any name can be created
        make_database(uri)
    client = mlflow.MlflowClient()
    calls: dict[str, Callable[[str], Any]] = {
        OWN_RUN: lambda run_id: client.get_run(run_id).info,
        EXPERIMENT_ID: client.get_experiment,
        EXPERIMENT_NAME: client.get_experiment_by_name,  # a missing one is created
    }
    for name, call in calls.items():
        if not (wanted := os.environ.get(name, "")):
            continue
        try:
            known = call(wanted)
        except MlflowException as error:
            if is_outage(error):
                raise
            raise StoreError(
                f"{name} is {wanted!r:.80}, which is not in {address()}; allowed: the id of one "
                "that is there, or unset"
            ) from error
        if known is not None and known.lifecycle_stage == "deleted":
            raise StoreError(
                f"{name} is {wanted!r:.80}, which is deleted; restore it, or select another"
            )


@contextmanager
def store_errors() -> Iterator[None]:
    """Converts errors of the tracking store to a ConnectionError of one line.

    It names the store without its password, and says how to continue. Works as a decorator, too.
    """
    try:
        yield
    except StoreError:
        raise
    except (MlflowException, SQLAlchemyError, requests.RequestException) as error:
        again = f"; {AGAIN}" if is_outage(error) else ""
        raise StoreError(f"MLFLOW_TRACKING_URI is {address()}: {reason(error)}{again}") from error


class StoreError(ConnectionError):
    """Raised if the tracking store cannot be used. The message is one line for the user."""


def is_outage(error: BaseException) -> bool:
    """Returns whether an error means that the store is unreachable, so that a later call may
    succeed."""
    if isinstance(error, StoreError):
        cause = error.__cause__
        return isinstance(cause, ConnectionError) or (cause is not None and is_outage(cause))
    if isinstance(error, MlflowException):
        # MLflow has no class of its own for a server that cannot be reached.
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
        return status in (429, 502, 503, 504) or str(error).startswith("API request to")
    if isinstance(error, requests.HTTPError):
        return error.response is None or error.response.status_code >= 500
    return isinstance(error, OperationalError | InterfaceError | requests.RequestException)


def with_retries(call: Callable[[], T]) -> T:
    """Calls a function that needs the store, and retries while the store is unreachable.

    The function must be idempotent. A note says that it waits. Raises the error of the last call
    after OUTAGE_SECONDS.
    """
    begin, noted = time.monotonic(), False
    while True:
        try:
            with note_if_slow():
                result = retry_on_race(call)
        except Exception as error:
            left = begin + OUTAGE_SECONDS - time.monotonic()
            if not is_outage(error) or left <= 0:
                raise
            if not noted:
                note(f"{address()} is away ({reason(error)}); trying for {left:.0f} seconds")
            noted = True
            time.sleep(min(RETRY_SECONDS, left))
        else:
            if noted:
                note(f"{address()} is back")
            return result


def retry_on_race(call: Callable[[], T]) -> T:
    """Calls a function that needs the store, and again if another process wrote the same row.

    MLflow looks for a data set or a tag, and adds its row if there is none. If two processes do so
    at once, the database refuses the second row. The next call finds the row of the first.
    """
    for _ in range(RACES):
        try:
            return call()
        except (MlflowException, SQLAlchemyError) as error:
            # A server sends the database's error as text.
            if "IntegrityError" not in str(error) and not isinstance(error, IntegrityError):
                raise
    return call()


@contextmanager
def note_if_slow() -> Iterator[None]:
    """Prints a note every NOTE_SECONDS that the body still waits for the store."""
    begin = time.monotonic()

    def tell() -> None:
        note(f"waiting for {address()} since {time.monotonic() - begin:.0f} seconds")

    with repeated(tell, NOTE_SECONDS):
        yield


@contextmanager
def time_to_upload() -> Iterator[None]:
    """Gives requests UPLOAD_SECONDS, unless the user has set a timeout."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    if before != str(HTTP_SECONDS):
        yield
        return
    os.environ[name] = str(UPLOAD_SECONDS)
    try:
        yield
    finally:
        os.environ[name] = before


def note(text: str) -> None:
    """Prints a note for the user, on a line of its own."""
    print(f"\nnote: {text}", file=sys.stderr, flush=True)


@contextmanager
def experiment(name: str) -> Iterator[None]:
    """Selects the experiment of the runs that are opened inside; it is created if it is missing."""
    with connected():
        retry_on_race(partial(mlflow.set_experiment, name))
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
    file = sqlite_file(uri)
    if file is None:
        return
    remove_left_over(file.parent, file.name)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with aside_folder(file.parent, file.name) as aside:
        mlflow.MlflowClient(f"sqlite:///{aside}/{file.name}").search_experiments()
        with suppress(FileExistsError):  # another process created it first
            # A link fails if the file exists. A rename would replace the database of another
            # process.
            os.link(f"{aside}/{file.name}", file)


def link_to(run: Run, view: str = "") -> str:
    """Returns the address of the run in MLflow's UI, or of its experiment's runs in a view.

    view: the key of a shared view (experiments/tracking/views.py). Empty: the run's own page.
    """
    uri = address()
    server = uri.rstrip("/") if uri.startswith("http") else LOCAL
    place = "runs" if view else f"runs/{run.info.run_id}"
    shared = f"&viewStateShareKey={view}" if view else ""
    return (
        f"{server}/#/experiments/{run.info.experiment_id}/{place}"
        f"?workflowType=machine_learning{shared}"
    )


def start_of_ui() -> str:
    """Returns the command that starts MLflow's UI on this store, or "" if it is on a server."""
    uri = address()
    if uri.startswith("http"):
        return ""
    is_default = uri == f"sqlite:///{DATABASE}" or uri == f"sqlite:///{Path(DATABASE).resolve()}"
    return "mlflow ui" if is_default else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
