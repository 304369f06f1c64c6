"""The storage of a search's study: a SQLite file, or a PostgreSQL server for several machines."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from types import MappingProxyType
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, NullPool, create_engine, func, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from experiments.settings import SearchConfig
from experiments.studies.retry import WORKER_DIED, retry
from experiments.tracking.store import AGAIN, OUTAGE_SECONDS, RETRY_SECONDS, note
from mkd.storage.addresses import reason, without_passwords
from mkd.storage.databases import CONNECT_SECONDS, LOCKED_SECONDS, check_database, sqlite_file
from mkd.storage.store import key_of

CONNECT_ARGS = {"connect_timeout": CONNECT_SECONDS}
"""Connection settings of a database server."""
LOCK_SECONDS = 0.2
"""Pause between two tries to get the lock of a study."""
TABLE = "studies"
"""A table that every database of Optuna has."""

SILENT = text(
    "select trial_id from trials where study_id = :study and state = 'RUNNING' "
    "and trial_id not in (select trial_id from trial_heartbeats)"
)
"""The running trials of a study that have no heartbeat."""

OnLostTrial = Callable[[FrozenTrial], None]
"""Called with a trial whose worker has died."""


class RetryingStorage(RDBStorage):
    """An RDBStorage whose calls are retried for OUTAGE_SECONDS while its database is unreachable.

    A trial goes on meanwhile: training waits only when it has to report.
    """

    calling = threading.local()
    """Whether this thread is inside such a call. Only the outermost one is repeated."""
    away: float | None = None
    """Time of the first call of an outage, by time.monotonic; None while the database answers.

    All calls share it: otherwise each of those that end a trial would wait for OUTAGE_SECONDS.
    """
    back = float("-inf")
    """Time of the end of the last outage, by time.monotonic."""
    seen = float("inf")
    """Time of the last call that has to do with heartbeats, by time.time."""
    silent: Mapping[int, float] = MappingProxyType({})
    """Running trials without any heartbeat: the time when each was first seen, by time.monotonic.

    Optuna never counts such a trial as stale. Its worker may have died before the first one.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        self._notice_suspension()
        super().record_heartbeat(trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Returns the trials whose workers have died.

        Returns none right after an outage, because workers could not send heartbeats.
        """
        self._notice_suspension()
        now, grace = time.monotonic(), self.grace_period or 0
        if now - self.back < grace:
            return []
        with self.engine.connect() as connection:
            found = connection.scalars(SILENT, {"study": study_id})
            self.silent = {trial: self.silent.get(trial, now) for trial in found}
        never = [trial for trial, since in self.silent.items() if now - since > grace]
        return super()._get_stale_trial_ids(study_id) + never

    def _notice_suspension(self) -> None:
        """Treats a time in which this process was suspended as an outage.

        The other workers were probably suspended too, such as by a laptop that slept.
        """
        now = time.time()
        if now - self.seen > (self.grace_period or 0):
            self.back = time.monotonic()
        self.seen = now


def _retried(name: str) -> Callable[..., Any]:
    """Returns a method of RDBStorage that is retried while the database is unreachable."""
    method, is_read = getattr(RetryingStorage, name), name.lstrip("_").startswith("get")

    @wraps(method)
    def call(self: RetryingStorage, *args: Any, **more: Any) -> Any:
        if getattr(self.calling, "inside", False):
            return method(self, *args, **more)
        self.calling.inside = True
        begin, waiting = time.monotonic(), False
        try:
            while True:
                try:
                    value = method(self, *args, **more)
                except UpdateFinishedTrialError:
                    if waiting:  # an earlier try has ended the trial, and only its answer was lost
                        return True
                    raise
                except (StorageInternalError, SQLAlchemyError) as error:
                    noted = self.away is not None
                    if _is_outage(error):
                        self.away = self.away or begin
                    try:
                        _wait(error, self.url, self.away or begin, noted)
                    except (StorageInternalError, SQLAlchemyError):
                        # Optuna sends heartbeats in a thread, which an error would end with a
                        # traceback. The calls of the training itself report the outage.
                        if name == HEARTBEAT and _is_outage(error):
                            return None
                        raise
                    waiting = True
                else:
                    # A locked SQLite file can be read.
                    if self.away is not None and (waiting or not is_read):
                        self.away, self.back = None, time.monotonic()
                        note(f"search.storage {without_passwords(self.url)} is back")
                    return value
        finally:
            self.calling.inside = False

    return call


def _wait(error: Exception, url: str, begin: float, waiting: bool) -> None:
    """Waits some seconds after an error of an unreachable database. Raises any other error.

    begin: time of the first call, by time.monotonic. waiting: whether the user was notified.
    """
    left = begin + OUTAGE_SECONDS - time.monotonic()
    if not _is_outage(error) or left <= 0:
        raise error
    if not waiting:
        shown = without_passwords(url)
        note(f"search.storage {shown} is away ({reason(error)}); trying for {left:.0f} s")
    time.sleep(min(RETRY_SECONDS, left))


HEARTBEAT = "record_heartbeat"
CALLS = (
    "create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr",
    "get_study_id_from_name", "get_study_name_from_id", "get_study_directions",
    "get_study_user_attrs", "get_study_system_attrs", "get_all_studies", "create_new_trial",
    "_create_new_trial", "set_trial_param", "_set_trial_param", "get_trial_param",
    "get_trial_id_from_study_id_trial_number", "set_trial_state_values",
    "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr", "get_trial",
    "get_all_trials", "_get_trials", "get_best_trial", "_get_best_trial_id", HEARTBEAT,
    "_get_stale_trial_ids",
)  # fmt: skip
"""The methods of RDBStorage that read or write the database. Optuna's cache calls those with _."""
for _name in CALLS:
    setattr(RetryingStorage, _name, _retried(_name))


def _is_outage(error: BaseException) -> bool:
    """Returns whether an error means that the database is unreachable or locked.

    After a lost connection Optuna continues, and raises a later error that results from it.
    """
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, OperationalError | InterfaceError) or (
            isinstance(each, DBAPIError) and each.connection_invalidated
        ):
            return True
        each = each.__cause__ or each.__context__
    return False


def open_with_retries(config: SearchConfig, on_lost: OnLostTrial) -> RDBStorage:
    """Opens the storage as `open_storage` does, and retries for OUTAGE_SECONDS while it is
    unreachable.

    For a worker: the command has opened it before.
    """
    begin, waiting = time.monotonic(), False
    while True:
        try:
            return open_storage(config, on_lost)
        except ConnectionError as error:
            _wait(error, config.storage, begin, waiting)
            waiting = True


def open_storage(config: SearchConfig, on_lost: OnLostTrial = lambda trial: None) -> RDBStorage:
    """Opens the storage of a study, and creates a SQLite file that does not exist.

    A trial whose worker has died is retried once, and `on_lost` is called with it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def handle_lost(study: optuna.Study, trial: FrozenTrial) -> None:
        on_lost(trial)
        retry(study, trial, WORKER_DIED)

    local = _is_file(config)
    # A server may close idle connections, so they are checked before use.
    options = {
        "connect_args": {"timeout": LOCKED_SECONDS} if local else CONNECT_ARGS,
        "pool_pre_ping": not local,
    }
    beat = config.heartbeat_seconds
    with warnings.catch_warnings(), storage_errors_named(config), study_lock(config, wait=False):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        check_database(config.storage, TABLE)
        store = RetryingStorage(
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
def study_lock(config: SearchConfig, wait: bool = True) -> Iterator[None]:
    """Lets only one process at a time create or fill a study, across machines.

    A SQLite file has a lock file next to it. PostgreSQL has an advisory lock, which it releases
    when the connection closes.

    wait: whether to wait for OUTAGE_SECONDS for an unreachable server.
    """
    if not _is_file(config):
        connection = _locked(config, wait)
        try:
            yield
        finally:
            with suppress(OperationalError):  # a server that went away has released it
                connection.close()
        return
    name = sqlite_file(config.storage)
    assert name is not None, "it is a SQLite file"
    file = name.absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        yield


def _locked(config: SearchConfig, wait: bool) -> Connection:
    """Returns a connection to a server that holds the study's lock. wait: as in study_lock."""
    engine = create_engine(config.storage, connect_args=CONNECT_ARGS, poolclass=NullPool)
    lock = select(func.pg_try_advisory_lock(int(key_of({"study": config.study})[:15], 16)))
    begin, waiting = time.monotonic(), False
    while True:
        try:
            connection = engine.connect()
            # A statement that waits for another process looks like a server that hangs.
            while not connection.scalar(lock):
                time.sleep(LOCK_SECONDS)
        except OperationalError as error:
            if not wait:
                raise
            _wait(error, config.storage, begin, waiting)
            waiting = True
        else:
            return connection


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
        StorageInternalError,
        ModuleNotFoundError,
        OSError,
        ValueError,
    ) as error:
        raise ConnectionError(
            f"search.storage is {without_passwords(config.storage)!r}: {reason(error)}"
        ) from error


@contextmanager
def storage_outages_named(config: SearchConfig) -> Iterator[None]:
    """Raises ConnectionError, naming search.storage, if the storage fails during a search."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, AssertionError, UnboundLocalError) as error:
        # Optuna raises the last two if it cannot store the end of a trial.
        if isinstance(error, AssertionError | UnboundLocalError) and not _is_outage(error):
            raise
        raise ConnectionError(
            f"search.storage is {without_passwords(config.storage)!r}: {reason(error)}; {AGAIN}"
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
