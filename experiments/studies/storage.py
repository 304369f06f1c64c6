"""The storage of a search's study: a SQLite file, or a PostgreSQL server for several machines."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import NullPool, create_engine, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError

from experiments.settings import SearchConfig, without_password
from experiments.studies.retry import WORKER_DIED, retry
from mkd.storage.store import key_of

CONNECT_ARGS = {"connect_timeout": 5}
"""Connection settings of a database server: it has to answer within 5 seconds."""

OnLostTrial = Callable[[FrozenTrial], None]
"""Called with a trial whose worker has died."""


def open_storage(config: SearchConfig, on_lost: OnLostTrial = lambda trial: None) -> RDBStorage:
    """Opens the storage of a study, and creates a SQLite file that does not exist.

    A trial whose worker has died is retried once, and `on_lost` is called with it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def handle_lost(study: optuna.Study, trial: FrozenTrial) -> None:
        on_lost(trial)
        retry(study, trial, WORKER_DIED)

    local = _is_file(config)
    # SQLite waits up to 60 s for another writer. A server may close idle connections, so they are
    # checked before use.
    options = {
        "connect_args": {"timeout": 60} if local else CONNECT_ARGS,
        "pool_pre_ping": not local,
    }
    beat = config.heartbeat_seconds
    with warnings.catch_warnings(), storage_errors_named(config), study_lock(config):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        store = RDBStorage(
            config.storage,
            options,
            heartbeat_interval=beat,
            grace_period=3 * beat,
            heartbeat_stale_trial_callback=handle_lost,
        )
        if local:
            listen(store.engine, "connect", _use_write_ahead_log)
            # Connections that were opened before the listener existed have SQLite's default
            # settings.
            store.engine.dispose()
        return store


@contextmanager
def study_lock(config: SearchConfig) -> Iterator[None]:
    """Lets only one process at a time create or fill a study, across machines.

    A SQLite file has a lock file next to it. PostgreSQL has an advisory lock, which it releases
    when the connection closes.
    """
    if not _is_file(config):
        engine = create_engine(config.storage, connect_args=CONNECT_ARGS, poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(
                select(func.pg_advisory_lock(int(key_of({"study": config.study})[:15], 16)))
            )
            yield
        return
    file = Path(config.storage.removeprefix("sqlite:///")).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        yield


@contextmanager
def storage_errors_named(config: SearchConfig) -> Iterator[None]:
    """Raises ConnectionError, naming search.storage, if the storage cannot be reached.

    Invalid storages are included: OSError covers a folder that cannot be created, ValueError a port
    that is not a number.
    """
    try:
        yield
    except (
        SQLAlchemyError,
        optuna.exceptions.StorageInternalError,
        ModuleNotFoundError,
        OSError,
        ValueError,
    ) as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise ConnectionError(
            f"search.storage is {without_password(config.storage)!r}: {first}"
        ) from error


def _use_write_ahead_log(connection: DBAPIConnection, record: object) -> None:
    """Makes SQLite write to a log without waiting for the disk.

    A trial writes about thirty times.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _is_file(config: SearchConfig) -> bool:
    """Returns whether the storage is a SQLite file."""
    return config.storage.startswith("sqlite:///")
