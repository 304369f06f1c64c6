"""Write-once folders, each under a key of all that its content depends on.

A folder's manifest says what it was made from and how each of its files is to be found again: its bytes, their sha256 and
when the file was last changed. Each time a folder is asked for all sizes are compared, and the content of the files that
are small or were changed at another time than is noted. The time of a change (ctime) is the system's own: it moves with
every write, and no program can set it back, so a file that keeps it has not been written to. To hash 10 GB at the start of
every run would cost as long as reading them. A folder that was copied is hashed once, and noted anew.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

MANIFEST = "manifest.json"
ALWAYS_HASHED_BYTES = 1 << 20
"""Files up to this size are hashed whenever they are asked for: that takes a millisecond."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a user's share of it or a file is full."""
FILL_ROWS = 1 << 14


class NoRoom(OSError):
    """There is no room on the disk for a folder."""


def key_of(parts: dict[str, Any]) -> str:
    """Hash of `parts` (anything that JSON holds), equal for equal parts whatever their order: 20 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:20]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored(root: Path, kind: str, parts: dict[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder `root/kind/<key of parts>`, made by `build(folder)` unless it is there.

    It is written aside and renamed when it is whole and on the disk, with its manifest last; of several processes that want
    it at once one builds and the others wait. Raises ValueError naming the file that is not as it was written, and NoRoom
    naming the folder and its bytes where the disk is full; nothing of that folder is left then, and no other is touched.
    """
    folder = root / kind / key_of(parts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if folder.exists():
            _check(folder)
        else:
            _build_aside(folder, parts, build)
    return folder


def _build_aside(folder: Path, parts: dict[str, Any], build: Callable[[Path], None]) -> None:
    for left_over in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed: it had the lock
        shutil.rmtree(left_over)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with _full_disk_told(folder, aside):
            build(aside)
            _write_manifest(aside, parts, [str(path.relative_to(aside)) for path in _files(aside)])
        os.rename(aside, folder)
        to_disk(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _full_disk_told(folder: Path, aside: Path) -> Iterator[None]:
    """Turns any error of a full disk, while the folder is written `aside`, into one that says what the folder takes."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number not in NO_ROOM or isinstance(error, NoRoom):
            raise
        raise NoRoom(number, f"{os.strerror(number)}: {folder} takes {_least_bytes(aside, number):,} bytes or more") from None


def _least_bytes(aside: Path, number: int) -> int:
    """What a folder takes at least that could not be written: its files so far, and where the disk is full all that was free."""
    found = [path.stat() for path in _files(aside)]
    size = sum(file.st_size for file in found)
    if number != errno.ENOSPC:
        return size
    return max(size, shutil.disk_usage(aside).free + sum(512 * file.st_blocks for file in found))


def _error_number(error: Exception) -> int:
    """The system's number for what went wrong, 0 for all else; libraries in Rust tell it in words."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else getattr(error, "errno", None) or 0


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _write_manifest(folder: Path, parts: dict[str, Any], names: list[str]) -> None:
    """Puts the named files of the folder on the disk and notes them; the manifest itself is written aside and renamed."""
    found: dict[str, Any] = {"parts": parts, "bytes": {}, "sha256": {}, "changed_ns": {}}
    for name in names:
        to_disk(folder / name)
        status = (folder / name).stat()
        found["bytes"][name], found["changed_ns"][name] = status.st_size, status.st_ctime_ns
        found["sha256"][name] = file_hash(folder / name)
    aside = folder / f"{MANIFEST}.new"
    try:
        aside.write_text(json.dumps(found, indent=1, sort_keys=True))
        to_disk(aside)
        os.replace(aside, folder / MANIFEST)
    finally:
        aside.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Waits until what was written to a file or a folder would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(folder: Path) -> None:
    """Raises ValueError where the folder is not as it was written; of one from before there were hashes, they are noted now."""
    again = f"remove {folder} to have it made again"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        parts, sizes = manifest["parts"], manifest["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / MANIFEST} is missing or damaged: {again}") from None
    if key_of(parts) != folder.name:
        raise ValueError(f"{folder / MANIFEST} is of {key_of(parts)}, not of the folder's name: {again}")
    for name, size in sizes.items():
        path = folder / name
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            raise ValueError(f"{path} has {found} bytes, {size} were written: {again}")
    changed = [name for name, time in manifest.get("changed_ns", {}).items() if (folder / name).stat().st_ctime_ns != time]
    for name, known in manifest.get("sha256", {}).items():
        if (name in changed or sizes[name] <= ALWAYS_HASHED_BYTES) and file_hash(folder / name) != known:
            raise ValueError(f"{folder / name} is not as it was written, though its size is: {again}")
    if changed or "sha256" not in manifest:
        with _full_disk_told(folder, folder):
            _write_manifest(folder, parts, list(sizes))


def read_array(path: Path, dtype: str) -> np.ndarray:
    """A raw file of numbers as a read-only, flat, memory-mapped array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)


def append(file: IO[bytes], array: np.ndarray) -> None:
    """The array's numbers at the end of a raw file. Unlike ndarray.tofile it tells what went wrong by its number."""
    file.write(np.ascontiguousarray(array).data)


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Arrays of one type as one raw file of numbers, one array after another."""
    with path.open("wb") as file:
        for array in arrays:
            append(file, array)


def new_array(path: Path, dtype: str, shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """A new raw file of so many numbers, all NaN, memory-mapped, to be written in any order.

    Its room on the disk is taken beforehand: a write through memory that finds the disk full would kill the process.
    """
    with path.open("wb") as file:
        file.truncate(shape[0] * shape[1] * np.dtype(dtype).itemsize)  # so that an error can tell how much is needed
        for start in range(0, shape[0], FILL_ROWS):
            append(file, np.full((min(shape[0] - start, FILL_ROWS), shape[1]), np.nan, dtype))
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
