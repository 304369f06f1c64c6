"""What a killed process left behind is told apart from what a living one uses."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from mkd.storage.owners import aside_folder, is_gone, machine, owner, remove_left_over

FORKS = multiprocessing.get_context("fork")


def _leave(folder: Path, sender: Connection) -> None:
    with aside_folder(folder, "mlflow.db") as made:
        (made / "file").touch()
        sender.send((owner(), made))
        os._exit(9)  # as SIGKILL: nothing is cleaned up


def left_by_a_killed_process(folder: Path) -> tuple[str, Path]:
    """The process and the folder that it left."""
    receiver, sender = FORKS.Pipe()
    process = FORKS.Process(target=_leave, args=(folder, sender))
    process.start()
    found: tuple[str, Path] = receiver.recv()
    process.join()
    return found


def test_a_process_is_gone_when_it_has_ended(tmp_path: Path) -> None:
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
