"""Names the process that owns a folder or a run, so that leftovers of killed processes are
found."""

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

import psutil

TEMPORARY = "mkd"
"""Start of the names of the folders of `own_temporary_folder`."""
LONGEST_TEMPORARY = 70
"""Characters of its path: multiprocessing makes sockets below it, whose paths have at most 107."""
TOLERANCE_SECONDS = 2
"""The start time of a process is computed from the machine's clock, which may be set."""


@cache
def machine() -> str:
    """Returns a short name of this machine, of hexadecimal digits."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:12]


def owner() -> str:
    """Returns this process, as `MACHINE-PID-START`. START is in seconds since the epoch."""
    return f"{machine()}-{os.getpid()}-{psutil.Process().create_time():.0f}"


def is_gone(owner: str) -> bool:
    """Returns whether a process of this machine has ended; False for other machines.

    owner: what `owner` returned in that process.
    """
    fields = owner.split("-")
    if len(fields) != 3 or fields[0] != machine() or not (fields[1] + fields[2]).isdigit():
        return False
    try:
        started = psutil.Process(int(fields[1])).create_time()
    except psutil.NoSuchProcess:
        return True
    # Another process may have its number by now.
    return abs(started - int(fields[2])) > TOLERANCE_SECONDS


@contextmanager
def aside_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yields a new temporary folder `PARENT/NAME-OWNER-...`, which is removed afterwards."""
    remove_left_over(parent, name)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{name}-{owner()}-") as folder:
        yield Path(folder)


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Makes one folder of all temporary files of this process and its children.

    It is removed afterwards; after a kill, the next process removes it. Nothing changes if the path
    would be too long for sockets.
    """
    before, parent = os.environ.get("TMPDIR"), Path(tempfile.gettempdir())
    remove_left_over(parent, TEMPORARY)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f"{TEMPORARY}-{owner()}-"))
    fits = len(str(folder)) <= LONGEST_TEMPORARY
    if fits:
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        if fits:
            tempfile.tempdir = None  # it is found anew
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before
        if any(folder.glob("pymp-*")):
            # multiprocessing removes its own folder when Python ends. This one goes after it.
            Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-200)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def remove_left_over(parent: Path, name: str) -> None:
    """Removes the folders of `aside_folder` that killed processes have left."""
    for folder in parent.glob(f"{_escaped(name)}-{machine()}-*"):
        # What tempfile adds has no dash.
        if is_gone(folder.name.removeprefix(f"{name}-").rpartition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)


def _escaped(name: str) -> str:
    """Returns a name for `glob`, in which some characters have a meaning."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)
