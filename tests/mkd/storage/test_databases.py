"""Databases are tried before they are used."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mkd.storage.databases import check_database, sqlite_file
from tests.support.database import put_database


def test_only_files_of_sqlite_are_files() -> None:
    assert sqlite_file("sqlite:///a/b.db") == Path("a/b.db")
    assert sqlite_file("sqlite:////a/b.db") == Path("/a/b.db")
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
    ("make", "told"),
    [
        (_folder, "^it is a folder; allowed: a file$"),
        (_garbage, "^file is not a database$"),
        (_truncated, "^database disk image is malformed$"),
        (_of_optuna, r"a database of another program \(its tables are .*; allowed: a database of"),
    ],
)
def test_another_file_is_refused_at_once(
    make: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    make(tmp_path / "mlflow.db")
    with pytest.raises(ConnectionError, match=told):
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
