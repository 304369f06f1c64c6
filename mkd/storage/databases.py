"""Checks of databases before they are used, because libraries retry a failing one for minutes."""

import os
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import NullPool, create_engine, inspect, make_url, text
from sqlalchemy.engine import URL, Dialect, Engine
from sqlalchemy.event import contains, listen
from sqlalchemy.exc import SQLAlchemyError

from mkd.storage.addresses import reason
from mkd.storage.disk import DiskFull, check_room

CONNECT_SECONDS = 5
"""A database server has to accept a connection within this time."""
ANSWER_SECONDS = 12
"""A PostgreSQL server has to answer a statement within this time. A try of an open connection and
a new one take 17 seconds together."""
LOCKED_SECONDS = 15
"""How long a try of a SQLite file waits for another writer."""
NEW_BYTES, ADDED_BYTES = 1 << 20, 1 << 17
"""Minimum free bytes for a new SQLite file, and for more rows in an existing one."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Kinds of databases, as their addresses begin."""


def sqlite_file(address: str) -> Path | None:
    """Returns the file of a SQLite address, or None for any other address."""
    if not address.startswith("sqlite"):
        return None
    url = make_url(address)
    name = url.database
    if name and name.startswith("file:") and url.query.get("uri") == "true":
        name = unquote(name.removeprefix("file:"))
    return Path(name) if name and name != ":memory:" else None


def check_database(address: str, table: str, write: bool = True) -> None:
    """Raises ConnectionError if a database cannot be read and written, with the reason.

    A SQLite file that does not exist, and an empty database, are accepted. Takes at most
    LOCKED_SECONDS. Libraries would retry for minutes instead. From then on, all connections of this
    process to PostgreSQL have the limits of `limit_waits`.

    table: a table of the library that will use the database. A database with other tables only is
        refused.
    write: whether it will be written to. A SQLite file then needs some room on its disk, too.
    """
    file = sqlite_file(address)
    if file is not None:
        check_folder(file.parent, write)
        if file.is_dir():
            raise ConnectionError("it is a folder; allowed: a file")
        if write:
            try:
                check_room(file, ADDED_BYTES if file.exists() else NEW_BYTES, "a database needs")
            except DiskFull as error:
                raise ConnectionError(error.strerror) from error
        if not file.exists():
            try:
                url = make_url(address)
                url.get_dialect()().create_connect_args(url)  # its options, such as ?timeout=5
            except (SQLAlchemyError, ValueError) as error:
                raise ConnectionError(reason(error)) from error
            return
    limit_waits()
    try:
        tables = _tables(make_url(address), write)
    except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:
        raise ConnectionError(reason(error)) from error
    if tables and table not in tables:
        shown = ", ".join(sorted(tables)[:4])
        raise ConnectionError(
            f"it is a database of another program (its tables are {shown}, ...); allowed: a "
            "database of its own"
        )


def limit_waits() -> None:
    """Gives each new connection to PostgreSQL in this process its time limits.

    MLflow and Optuna set none, and would wait for ever for a server that hangs after it has
    accepted a connection. Neither limits on the server nor TCP's keepalives help: the server does
    nothing, and its system still answers.
    """
    if not contains(Engine, "do_connect", _connect_with_limits):
        listen(Engine, "do_connect", _connect_with_limits)


def _connect_with_limits(
    dialect: Dialect, record: object, words: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    """Returns a new connection, or None for a database that needs no limits: SQLAlchemy then makes
    it."""
    if dialect.driver != "psycopg":
        return None
    return _limited_connection().connect(*words, **{"connect_timeout": CONNECT_SECONDS} | named)


@cache
def _limited_connection() -> Any:
    """Returns the class of connections whose statements have ANSWER_SECONDS."""
    import psycopg  # an optional dependency

    class LimitedConnection(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or ANSWER_SECONDS)
            except psycopg.errors._WaitTimeout:
                self.pgconn.finish()  # what the server answers later would be taken for another's
                raise psycopg.OperationalError(
                    f"the server has not answered for {timeout or ANSWER_SECONDS} seconds"
                ) from None

    return LimitedConnection


def check_folder(folder: Path, write: bool = True) -> None:
    """Raises ConnectionError if a folder, or the nearest one above it, is a file or read-only."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise ConnectionError(f"{nearest} is a file; allowed: a folder")
    if write and not os.access(nearest, os.W_OK):
        raise ConnectionError(f"{nearest} cannot be written to")


def _tables(url: URL, write: bool) -> set[str]:
    """Returns the names of a database's tables. write: also checks that it can be written to."""
    local = url.get_backend_name() == "sqlite"
    servers = url.get_backend_name() in ("postgresql", "mysql", "mariadb")
    wait = {"timeout": LOCKED_SECONDS} if local else {}
    connect = {"connect_timeout": CONNECT_SECONDS} if servers else wait
    engine = create_engine(url, connect_args=connect, poolclass=NullPool)
    with closing(engine.connect()) as connection:
        if local:
            connection.execute(text("BEGIN IMMEDIATE"))  # fails if locked or damaged
        names = set(inspect(connection).get_table_names())
        if local and write:
            # Fails if it is read-only. It is rolled back when the connection closes.
            connection.execute(text("CREATE TABLE mkd_try (x)"))
        return names
