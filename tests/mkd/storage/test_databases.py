"""Checks of databases before they are used."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mkd.storage.databases import (
    ADDED_BYTES,
    NEW_BYTES,
    check_database,
    check_folder,
    sqlite_file,
)
from tests.support.database import put_database


def test_only_addresses_of_sqlite_are_files() -> None:
    assert sqlite_file("sqlite:///a/b.db") == Path("a/b.db")
    assert sqlite_file("sqlite:////a/b.db") == Path("/a/b.db")
    assert sqlite_file("sqlite:///file:/a/b%20c.db?mode=ro&uri=true") == Path("/a/b c.db")
    assert sqlite_file("sqlite://") is None and sqlite_file("http://host") is None


def test_a_missing_and_an_empty_database_and_the_right_one_are_accepted(tmp_path: Path) -> None:
    check_database(f"sqlite:///{tmp_path}/new/mlflow.db", "experiments")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty.db").touch()
    check_database(f"sqlite:///{tmp_path}/empty.db", "experiments")
    put_database(tmp_path)
    check_database(f"sqlite:///{tmp_path}/mlflow.db", "experiments")


def _folder(file: Path) -> None:
    file.mkdir()


def _garbage(file: Path) -> None:
    file.write_bytes(b"no database " * 1000)


def _truncated(file: Path) -> None:
    put_database(file.parent)
    file.write_bytes(file.read_bytes()[:-8192])


def _of_optuna(file: Path) -> None:
    optuna.storages.RDBStorage(f"sqlite:///{file}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_folder, "^it is a folder; allowed: a file$"),
        (_garbage, "^file is not a database$"),
        (_truncated, "^database disk image is malformed$"),
        (_of_optuna, r"a database of another program \(its tables are .*; allowed: a database of"),
    ],
)
def test_another_file_is_refused_at_once(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "mlflow.db")
    with pytest.raises(ConnectionError, match=message):
        check_database(f"sqlite:///{tmp_path}/mlflow.db", "experiments")


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConnectionError, match=f"^{tmp_path}/file is a file; allowed: a folder$"):
        check_database(f"sqlite:///{tmp_path}/file/below/mlflow.db", "experiments")


def test_a_locked_database_is_refused_after_some_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_database(tmp_path)
    monkeypatch.setattr("mkd.storage.databases.LOCKED_SECONDS", 0.2)
    writer = sqlite3.connect(tmp_path / "mlflow.db")
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ConnectionError, match="^database is locked$"):
        check_database(f"sqlite:///{tmp_path}/mlflow.db", "experiments")
    writer.rollback()
    writer.close()


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_database_that_cannot_be_written_to_is_refused_unless_it_is_only_read(
    tmp_path: Path,
) -> None:
    put_database(tmp_path)
    before = _hash(tmp_path / "mlflow.db")
    uri = f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true"
    with pytest.raises(ConnectionError, match="^attempt to write a readonly database$"):
        check_database(uri, "experiments")
    check_database(uri, "experiments", write=False)
    check_database(f"sqlite:///{tmp_path}/mlflow.db", "experiments")
    assert _hash(tmp_path / "mlflow.db") == before, "the check leaves nothing behind"
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize(("exists", "least"), [(False, NEW_BYTES), (True, ADDED_BYTES)])
def test_a_database_without_room_on_its_disk_is_refused_with_path_and_bytes(
    exists: bool, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exists:
        put_database(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=least - 1))
    message = f"{tmp_path}/mlflow.db is on a disk with {least - 1:,} bytes free; a database needs "
    with pytest.raises(ConnectionError, match=f"{message}{least:,} bytes or more$"):
        check_database(uri, "experiments")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=least))
    check_database(uri, "experiments")


def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "new")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    check_folder(tmp_path / "new", write=False)
    with pytest.raises(ConnectionError, match=f"^{tmp_path} cannot be written to$"):
        check_folder(tmp_path / "new")
