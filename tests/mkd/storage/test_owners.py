"""Files that killed processes left behind, and files that living processes use."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mkd.storage.owners import (
    aside_folder,
    is_gone,
    machine,
    own_temporary_folder,
    owner,
    remove_left_over,
)

FORKS = multiprocessing.get_context("fork")


def _leave(folder: Path, sender: Connection) -> None:
    with aside_folder(folder, "mlflow.db") as aside:
        (aside / "file").touch()
        sender.send((owner(), aside))
        os._exit(9)  # like SIGKILL, without cleaning up


def left_by_a_killed_process(folder: Path) -> tuple[str, Path]:
    """Returns a killed process and the folder that it left."""
    receiver, sender = FORKS.Pipe()
    process = FORKS.Process(target=_leave, args=(folder, sender))
    process.start()
    left: tuple[str, Path] = receiver.recv()
    process.join()
    return left


def test_a_process_that_has_ended_is_gone(tmp_path: Path) -> None:
    assert not is_gone(owner())
    gone, _ = left_by_a_killed_process(tmp_path)
    assert is_gone(gone)


def test_a_reused_process_number_is_another_process() -> None:
    assert is_gone(f"{machine()}-{os.getpid()}-12345")


def test_nothing_is_known_of_other_machines_and_other_names() -> None:
    assert not is_gone("0123456789ab-1-1")
    assert not is_gone("") and not is_gone("abc") and not is_gone(f"{machine()}-x-y")


def test_only_folders_of_ended_processes_are_removed(tmp_path: Path) -> None:
    _, left = left_by_a_killed_process(tmp_path)
    assert (left / "file").exists()
    others = [tmp_path / f"mlflow.db-{name}" for name in ("backup", "0123456789ab-1-1-abc")]
    for other in others:
        other.mkdir()
    with aside_folder(tmp_path, "mlflow.db") as used:
        assert not left.exists() and used.exists()
        remove_left_over(tmp_path, "mlflow.db")
        assert used.exists(), "its process is alive"
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_temporary_files_are_in_one_folder_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:  # shorter than tmp_path
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        ask = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"]
        with own_temporary_folder():
            (folder_of_process,) = Path(name).iterdir()
            (folder_of_process / "file").touch()
            of_child = subprocess.run(
                ask, capture_output=True, text=True, check=True
            ).stdout.strip()
            assert Path(tempfile.mkdtemp()).parent == Path(of_child).parent == folder_of_process
        assert not list(Path(name).iterdir()) and tempfile.gettempdir() == name

        long = Path(name) / ("x" * 80)
        long.mkdir()
        monkeypatch.setenv("TMPDIR", str(long))
        monkeypatch.setattr(tempfile, "tempdir", None)
        with own_temporary_folder():
            assert tempfile.gettempdir() == str(long), "sockets would not fit below it"
        assert not list(long.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", None)


USES_MULTIPROCESSING = """
import multiprocessing.util, tempfile
from mkd.storage.owners import own_temporary_folder
with own_temporary_folder():
    tempfile.mkstemp()
    print(multiprocessing.util.get_temp_dir())
"""


def test_multiprocessing_removes_its_own_folder_without_a_trace(tmp_path: Path) -> None:
    """It does so when Python ends, after the temporary folder has been removed."""
    short = Path(tempfile.mkdtemp(dir="/tmp", prefix="t"))
    done = subprocess.run(
        [sys.executable, "-c", USES_MULTIPROCESSING], env=os.environ | {"TMPDIR": str(short)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{short}/mkd-") and (done.returncode, done.stderr) == (0, "")
    short.rmdir()  # it is empty
