"""Write-once folders, each under a key of all that its content depends on."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

MANIFEST = "manifest.json"


def key_of(parts: dict[str, Any]) -> str:
    """Hash of `parts` (anything that JSON holds), equal for equal parts whatever their order: 20 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()[:20]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored(root: Path, kind: str, parts: dict[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder `root/kind/<key of parts>`, made by `build(folder)` unless it is there.

    It is written aside and renamed when it is whole, with its manifest last; of several processes that want it at
    once one builds and the others wait. Raises ValueError where a file of it has changed its size since.
    """
    folder = root / kind / key_of(parts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            _build_aside(folder, parts, build)
    _check_sizes(folder)
    return folder


def _build_aside(folder: Path, parts: dict[str, Any], build: Callable[[Path], None]) -> None:
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        build(aside)
        files = {str(path.relative_to(aside)): path.stat().st_size for path in sorted(aside.rglob("*")) if path.is_file()}
        (aside / MANIFEST).write_text(json.dumps({"parts": parts, "bytes": files}, indent=1, sort_keys=True))
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_sizes(folder: Path) -> None:
    for name, size in json.loads((folder / MANIFEST).read_text())["bytes"].items():
        path = folder / name
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            raise ValueError(f"{path} has {found} bytes, {size} were written: remove {folder} to have it made again")


def read_array(path: Path, dtype: str) -> np.ndarray:
    """A raw file of numbers as a read-only, flat, memory-mapped array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Arrays of one type as one raw file of numbers, one array after another."""
    with path.open("wb") as file:
        for array in arrays:
            array.tofile(file)
