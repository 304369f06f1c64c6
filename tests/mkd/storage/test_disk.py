"""Free disk space: checked in advance, and reported in one line if it is missing."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors import SafetensorError

from mkd.storage.disk import (
    DiskFull,
    check_output,
    check_room,
    full_disk_errors,
    symlink_loops_named,
)


def test_free_space_is_checked_in_advance(tmp_path: Path) -> None:
    check_room(tmp_path / "not" / "yet", 1, "it takes")
    with pytest.raises(DiskFull) as caught:
        check_room(tmp_path / "not" / "yet", 10**18, "it takes")
    pieces = str(caught.value).split(" bytes")
    free, least = (int(piece.split()[-1].replace(",", "")) for piece in pieces[:2])
    assert least == 10**18 and 0 < free <= shutil.disk_usage(tmp_path).total
    assert str(tmp_path / "not" / "yet") in str(caught.value)
    assert caught.value.errno == errno.ENOSPC


def test_an_output_can_be_created_below_a_writable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("not/yet", "not", "n" * 180):
        check_output(tmp_path / name, "to")
    for path in (tmp_path / "file" / "not", Path("/proc/x"), Path("/dev/null/x")):
        with pytest.raises(ValueError, match=f"^to is '{path}'; allowed: a path below a folder"):
            check_output(path, "to")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ValueError, match="^to ends in a name of 182 bytes; allowed: at most 180$"):
        check_output(tmp_path / ("é" * 91), "to")
    (tmp_path / "closed").mkdir(0o500)
    refused = pytest.raises(ValueError, match="allowed: a path below a folder")
    with nullcontext() if os.geteuid() == 0 else refused:  # root may write to any folder
        check_output(tmp_path / "closed" / "not", "to")


def test_a_full_disk_is_no_wrong_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**place: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(OSError, match="No space left"):
        check_output(tmp_path / "to", "to")


def test_a_loop_of_symbolic_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((ValueError, OSError), match=r"loop"), symlink_loops_named():
        (tmp_path / "loop" / "x").resolve(strict=True)
    with pytest.raises(RuntimeError, match="another"), symlink_loops_named():
        raise RuntimeError("another")


def _without_errno() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device")


def _database() -> None:
    try:
        raise sqlite3.OperationalError("database or disk is full")
    except sqlite3.OperationalError as error:
        raise RuntimeError("a wrapper that says nothing") from error


@pytest.mark.parametrize("fail", [_without_errno, _database])
def test_any_error_of_a_full_disk_is_one_line(fail: Callable[[], None], tmp_path: Path) -> None:
    with pytest.raises(DiskFull) as caught, full_disk_errors([tmp_path]):
        fail()
    assert "bytes free; give the command again once there is room" in str(caught.value)


def test_the_path_of_the_error_is_named(tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    message = f"No space left on device: {file} is on a disk with "
    with pytest.raises(DiskFull, match=message), full_disk_errors([]):
        raise OSError(errno.ENOSPC, "No space left on device", file)


def test_other_errors_are_unchanged() -> None:
    with pytest.raises(ValueError, match="^other$"), full_disk_errors([]):
        raise ValueError("other")
    with pytest.raises(DiskFull, match="^told$"), full_disk_errors([]):
        raise DiskFull("told")
