"""Databases are tried before they are used, as libraries retry one that fails for minutes."""

import os
from contextlib import closing
from pathlib import Path

from sqlalchemy import NullPool, create_engine, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from mkd.storage.addresses import reason

CONNECT_SECONDS = 5
"""A database server has to answer within this time."""
LOCKED_SECONDS = 15
"""How long a try of a SQLite file waits for another writer."""
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Kinds of databases, as their addresses begin."""


def sqlite_file(address: str) -> Path | None:
    """Returns the file of a SQLite address, or None for any other address."""
    if not address.startswith("sqlite"):
        return None
    name = make_url(address).database
    return Path(name) if name and name != ":memory:" else None


def check_database(address: str, table: str) -> None:
    """Raises ConnectionError if a database cannot be read and written, with the reason.

    A SQLite file that does not exist, and an empty database, are accepted. Takes at most
    LOCKED_SECONDS. Libraries would retry for minutes instead.

    table: a table of the one who will use the database. A database that has only tables of others
        is refused.
    """
    file = sqlite_file(address)
    if file is not None:
        _check_file(file)
        if not file.exists():
            return
    try:
        tables = _tables(make_url(address))
    except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:
        raise ConnectionError(reason(error)) from error
    if tables and table not in tables:
        shown = ", ".join(sorted(tables)[:4])
        raise ConnectionError(
            f"it is a database of another program (its tables are {shown}, ...); allowed: a "
            "database of its own"
        )


def _check_file(file: Path) -> None:
    """Raises ConnectionError if a path cannot be a SQLite database."""
    if file.is_dir():
        raise ConnectionError("it is a folder; allowed: a file")
    for parent in file.absolute().parents:
        if parent.exists():
            if not parent.is_dir():
                raise ConnectionError(f"{parent} is a file; allowed: a folder")
            if not os.access(parent, os.W_OK):
                raise ConnectionError(f"{parent} cannot be written to")
            return


def _tables(url: URL) -> set[str]:
    """Returns the names of a database's tables, once it can be written to."""
    local = url.get_backend_name() == "sqlite"
    servers = url.get_backend_name() in ("postgresql", "mysql", "mariadb")
    wait = {"timeout": LOCKED_SECONDS} if local else {}
    connect = {"connect_timeout": CONNECT_SECONDS} if servers else wait
    engine = create_engine(url, connect_args=connect, poolclass=NullPool)
    with closing(engine.connect()) as connection:
        if local:
            connection.execute(text("BEGIN IMMEDIATE"))  # fails if locked, read-only or damaged
        return set(inspect(connection).get_table_names())
