"""The cache: write-once folders, each under a key of everything that its content depends on.

The manifest of a folder holds what it was made from, and the size, SHA-256 and time of change of
each file. Each access to a folder compares all sizes. It hashes only small files, and files whose
time of change differs from the manifest.

Large files are not hashed each time, because hashing 10 GB takes as long as reading it. The time of
change (ctime) is set by the system on every write and no program can set it back, so a file with
the same ctime was not written to. A copied folder has new ctimes: it is hashed once, and then its
manifest is updated.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock

from mkd.storage.disk import DISK_FULL_ERRORS, DiskFull, error_number

CACHE_MANIFEST = "manifest.json"
ALWAYS_HASHED_BYTES = 1 << 20
"""Files up to this size are hashed on each access, which takes a millisecond."""
FILL_ROWS = 1 << 14


def key_of(key_values: dict[str, Any]) -> str:
    """Returns the key of values that JSON can hold: 20 hexadecimal digits of a hash.

    The order of names in a dict does not change the key.
    """
    return hashlib.sha256(
        json.dumps(key_values, sort_keys=True, allow_nan=False).encode()
    ).hexdigest()[:20]


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_folder(
    root: Path, kind: str, key_values: dict[str, Any], build: Callable[[Path], None]
) -> Path:
    """Returns the folder `root/kind/<key of key_values>`. Builds it if it does not exist.

    root: the cache folder.
    kind: kind of the entry, such as `tokens`.
    key_values: everything that the content depends on, as values that JSON can hold.
    build: called with a temporary folder, to which it writes the files.

    The temporary folder is renamed once it is complete and synced to disk; its manifest is written
    last. If several processes need the same folder, one builds it and the others wait for its lock.

    Raises ValueError if a file differs from the manifest, DiskFull if the disk is full, and OSError
    with the reason if `root/kind` is deleted meanwhile. After an error in `build` nothing of the
    folder remains, and other folders do not change.
    """
    folder = root / kind / key_of(key_values)
    folder.parent.mkdir(parents=True, exist_ok=True)
    identity = folder.parent.stat().st_ino
    try:
        with FileLock(folder.with_suffix(".lock")):
            if folder.exists():
                _check(folder)
            else:
                _build_aside(folder, key_values, build)
    except FileNotFoundError as error:
        if folder.parent.exists() and folder.parent.stat().st_ino == identity:
            raise
        raise OSError(
            f"{folder.parent} was deleted while the command worked in it ({error}); give the "
            "command again: it goes on, and computes again what is missing"
        ) from error
    return folder


def _build_aside(folder: Path, key_values: dict[str, Any], build: Callable[[Path], None]) -> None:
    # This process holds the lock, so another temporary folder can only be from a killed process.
    for left_over in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left_over)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with _disk_full_errors(folder, aside):
            build(aside)
            _write_manifest(
                aside, key_values, [str(path.relative_to(aside)) for path in _files(aside)]
            )
        # The files are synced already, so a power failure leaves no folder or a complete one.
        os.rename(aside, folder)
        sync_to_disk(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _disk_full_errors(folder: Path, aside: Path) -> Iterator[None]:
    """Context manager that replaces an error of a full disk by DiskFull, with the folder's size.

    Libraries raise different exception types for a full disk, so all are examined.
    """
    try:
        yield
    except Exception as error:
        number = error_number(error)
        # A DiskFull from a nested cached_folder() already names the folder that did not fit.
        if number not in DISK_FULL_ERRORS or isinstance(error, DiskFull):
            raise
        raise DiskFull(
            number,
            f"{os.strerror(number)}: {folder} takes {_least_bytes(aside, number):,} bytes or more",
        ) from None


def _least_bytes(aside: Path, number: int) -> int:
    """Returns a lower bound of the size of a folder that could not be written.

    It is the size of the files so far. If the disk itself is full, it is at least the space that
    was free before: the blocks used by the files plus the space still free.
    """
    stats = [path.stat() for path in _files(aside)]
    size = sum(file.st_size for file in stats)
    if number != errno.ENOSPC:
        return size
    return max(size, shutil.disk_usage(aside).free + sum(512 * file.st_blocks for file in stats))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _write_manifest(folder: Path, key_values: dict[str, Any], names: list[str]) -> None:
    """Syncs the named files to disk and writes the manifest atomically."""
    manifest: dict[str, Any] = {"parts": key_values, "bytes": {}, "sha256": {}, "changed_ns": {}}
    for name in names:
        sync_to_disk(folder / name)
        status = (folder / name).stat()
        manifest["bytes"][name], manifest["changed_ns"][name] = status.st_size, status.st_ctime_ns
        manifest["sha256"][name] = file_hash(folder / name)
    aside = folder / f"{CACHE_MANIFEST}.new"
    try:
        aside.write_text(json.dumps(manifest, indent=1, sort_keys=True))
        sync_to_disk(aside)
        os.replace(aside, folder / CACHE_MANIFEST)
    finally:
        aside.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Syncs a file or folder to disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(folder: Path) -> None:
    """Raises ValueError if the folder differs from its manifest.

    Updates the manifest if files have a new time of change but the same content.
    """
    remedy = f"delete {folder}, and it will be computed again"
    try:
        manifest = json.loads((folder / CACHE_MANIFEST).read_text())
        key_values, sizes = manifest["parts"], manifest["bytes"]
        hashes, times = manifest["sha256"], manifest["changed_ns"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / CACHE_MANIFEST} is missing or damaged: {remedy}") from None
    if key_of(key_values) != folder.name:
        raise ValueError(
            f"{folder / CACHE_MANIFEST} has the key {key_of(key_values)}, not the folder's name: "
            f"{remedy}"
        )
    for name, size in sizes.items():
        path = folder / name
        actual_size = path.stat().st_size if path.exists() else 0
        if actual_size != size:
            raise ValueError(
                f"{path} has {actual_size} bytes; allowed: {size}, as written: {remedy}"
            )
    # Hash only what could have changed: see the module's docstring.
    changed = [name for name, time in times.items() if (folder / name).stat().st_ctime_ns != time]
    for name, known in hashes.items():
        if (name in changed or sizes[name] <= ALWAYS_HASHED_BYTES) and file_hash(
            folder / name
        ) != known:
            raise ValueError(f"{folder / name} was changed after it was written: {remedy}")
    if changed:
        with _disk_full_errors(folder, folder):
            _write_manifest(folder, key_values, list(sizes))


def read_array(path: Path, dtype: str) -> np.ndarray:
    """Returns a raw file of numbers as a read-only, memory-mapped, one-dimensional array."""
    return (
        np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
    )


def append(file: IO[bytes], array: np.ndarray) -> None:
    """Appends an array to a raw file. Unlike ndarray.tofile, its OSError has an errno."""
    file.write(np.ascontiguousarray(array).data)


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Writes arrays of one type to a raw file, one after another."""
    with path.open("wb") as file:
        for array in arrays:
            append(file, array)


def new_array(path: Path, dtype: str, shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """Returns a new, writable, memory-mapped raw file with all values NaN.

    The whole file is written first, because a write through the memory map to a full disk would
    kill the process with a signal instead of raising an error.
    """
    with path.open("wb") as file:
        # Sets the size first, so that the error of a full disk reports the size of the whole file.
        file.truncate(shape[0] * shape[1] * np.dtype(dtype).itemsize)
        for start in range(0, shape[0], FILL_ROWS):
            append(file, np.full((min(shape[0] - start, FILL_ROWS), shape[1]), np.nan, dtype))
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
