"""Runs a command in a forked process and classifies how it ends."""

import os
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import psutil

from tests.support.database import NAME, put_database

SECONDS = 20
"""How long a command on wrong input may take, apart from waiting for a busy processor."""
MOST_BYTES = 3 << 30
"""Memory that a command may take in addition to that of its parent process."""
LONGEST_LINE = 700
"""The most characters of a readable message."""
REFUSED, ACCEPTED = "refused", "accepted"
"""The two kinds of ending that are not faults."""
OWN = ("errors", "output", "tmp")
"""Files that `ending` puts into the folder."""


class Ending(NamedTuple):
    """How a command ended, and the last line that it printed to standard error."""

    kind: str
    message: str

    @property
    def good(self) -> bool:
        return self.kind in (REFUSED, ACCEPTED)


def ending(
    job: Callable[[], Any],
    folder: Path,
    seconds: float = SECONDS,
    environ: Mapping[str, str] | None = None,
) -> Ending:
    """Runs a job in a forked process, in a folder with an empty MLflow database.

    job: returns or exits with the exit code of a command; None is 0.
    environ: its environment variables. By default, its MLflow database and TMPDIR are in the
        folder and are checked afterwards.

    `refused` means exit code 2, a one-line message, and nothing left in MLflow or the folder;
    `accepted` means exit code 0 and no run still RUNNING. Everything else is a fault: a traceback,
    an abort, a bad message, a timeout, or something left behind.
    """
    default_environ = environ is None
    if default_environ:
        put_database(folder)
        (folder / "tmp").mkdir()
    uri = f"sqlite:///{folder / NAME}"
    environ = environ or {"MLFLOW_TRACKING_URI": uri, "TMPDIR": str(folder / "tmp")}
    before = {path.name for path in folder.iterdir()}
    runs = len(statuses(folder)) if default_environ else 0
    process = os.fork()
    if not process:
        _child(job, folder, environ)
    begin, status = time.monotonic(), None
    while status is None and time.monotonic() - begin - _waited(process) < seconds:
        done, wait_status = os.waitpid(process, os.WNOHANG)
        status = wait_status if done else None
        time.sleep(0.02)
    if status is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return Ending(f"over {seconds:g} s", _last_line(folder))
    if os.WIFSIGNALED(status):
        return Ending("abort", f"signal {os.WTERMSIG(status)}")
    code, message = os.WEXITSTATUS(status), _last_line(folder)
    if code not in (0, 2) or "Traceback" in (folder / "errors").read_text(errors="replace"):
        return Ending("traceback", message)
    if code == 2 and (not message.startswith("error: ") or len(message) > LONGEST_LINE):
        return Ending("a bad message", message)
    kind = _left(code, folder, before, runs) if default_environ else ""
    return Ending(kind or (ACCEPTED if code == 0 else REFUSED), message)


def _waited(process: int) -> float:
    """Returns the seconds for which a process has waited for a busy processor."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it has ended, or the system does not count
        return 0.0


def statuses(folder: Path) -> list[str]:
    """Returns the status of each run of MLflow."""
    with closing(sqlite3.connect(folder / NAME)) as database:
        return [status for (status,) in database.execute("select status from runs")]


def _left(code: int, folder: Path, before: set[str], runs: int) -> str:
    """Returns what a process has wrongly left behind; empty if nothing.

    before: the folder's content before it. runs: the number of runs before it.
    """
    if not (folder / NAME).exists():
        return "MLflow's database is gone"
    if "RUNNING" in (ends := statuses(folder)):
        return "a run left RUNNING"
    if temporary := sorted(path.name for path in (folder / "tmp").iterdir()):
        return f"left in TMPDIR: {', '.join(temporary)}"
    if code == 0:
        return ""
    if len(ends) > runs:
        return "a run left in MLflow"
    left = {path.name for path in folder.iterdir()} - before - {*OWN, ".mkd"}
    if left or list(folder.glob(".mkd/runs/*/")):
        return f"left behind: {', '.join(sorted(left)) or '.mkd/runs'}"
    return ""


def _last_line(folder: Path) -> str:
    if not (folder / "errors").exists():
        return ""
    return ((folder / "errors").read_text(errors="replace").strip().splitlines() or [""])[-1]


def _child(job: Callable[[], Any], folder: Path, environ: Mapping[str, str]) -> NoReturn:
    """Runs the job and ends the process."""
    code = 1
    try:
        os.chdir(folder)
        os.environ |= environ
        most = psutil.Process().memory_info().data + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        tempfile.tempdir = None  # cached by the parent process
        for number, name in ((1, "output"), (2, "errors")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (until the process ends)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(  # as Python opens it
            2, "w", encoding="utf-8", errors="backslashreplace", closefd=False
        )
        code = job() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
