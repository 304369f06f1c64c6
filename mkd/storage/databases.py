"""Checks of databases before they are used, because libraries retry a failing one for minutes."""

import os
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import NullPool, create_engine, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from mkd.storage.addresses import reason
from mkd.storage.disk import DiskFull, check_room

CONNECT_SECONDS = 5
"""A database server has to answer within this time."""
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
    LOCKED_SECONDS. Libraries would retry for minutes instead.

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
            return
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
