"""A command in a process that is forked from this one, and how it ends."""

import os
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tests.support.database import NAME, put_database

SECONDS = 20
"""How long a command on wrong input may take, without its waiting for a busy processor."""
LONGEST_LINE = 700
"""Characters of a message that can still be read."""
REFUSED, ACCEPTED = "refused", "accepted"
"""The two endings that are no fault."""
OWN = ("errors", "output", "tmp")
"""What `ending` puts into the folder."""


class Ending(NamedTuple):
    """How a command ended, and the last line that it printed to standard error."""

    kind: str
    told: str

    @property
    def good(self) -> bool:
        return self.kind in (REFUSED, ACCEPTED)


def ending(job: Callable[[], Any], folder: Path, seconds: float = SECONDS) -> Ending:
    """Runs a job in a forked process, in a folder with an empty MLflow database.

    job: returns or exits with the exit code of a command; None is 0.

    It is `refused` with the code 2, one line, and nothing left in MLflow or in the folder; or
    `accepted` with the code 0 and no run that is RUNNING. All else is a fault: a traceback, an
    abort, a bad message, too many seconds, or something that is left behind.
    """
    put_database(folder)
    (folder / "tmp").mkdir()
    before = {path.name for path in folder.iterdir()}
    process = os.fork()
    if not process:
        _child(job, folder)
    begin, status = time.monotonic(), None
    while status is None and time.monotonic() - begin - _waited(process) < seconds:
        done, found = os.waitpid(process, os.WNOHANG)
        status = found if done else None
        time.sleep(0.02)
    if status is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        return Ending(f"over {seconds:g} s", _last_line(folder))
    if os.WIFSIGNALED(status):
        return Ending("abort", f"signal {os.WTERMSIG(status)}")
    return _judged(os.WEXITSTATUS(status), folder, before)


def _waited(process: int) -> float:
    """Returns the seconds that a process has waited for a processor, as others were at work."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it has ended, or the system does not count
        return 0.0


def _judged(code: int, folder: Path, before: set[str]) -> Ending:
    """Returns the ending of a process that was not killed. before: what was in the folder."""
    told = _last_line(folder)
    if code not in (0, 2) or "Traceback" in (folder / "errors").read_text(errors="replace"):
        return Ending("traceback", told)
    with sqlite3.connect(folder / NAME) as database:
        statuses = [status for (status,) in database.execute("select status from runs")]
    if "RUNNING" in statuses:
        return Ending("a run left RUNNING", told)
    if temporary := sorted(path.name for path in (folder / "tmp").iterdir()):
        return Ending("left in TMPDIR", ", ".join(temporary))
    if code == 0:
        return Ending(ACCEPTED, told)
    if not told.startswith("error: ") or len(told) > LONGEST_LINE:
        return Ending("a bad message", told)
    if statuses:
        return Ending("a run left in MLflow", told)
    left = {path.name for path in folder.iterdir()} - before - {*OWN, ".mkd"}
    if left or list(folder.glob(".mkd/runs/*/")):
        return Ending("left behind", ", ".join(sorted(left)) or ".mkd/runs")
    return Ending(REFUSED, told)


def _last_line(folder: Path) -> str:
    if not (folder / "errors").exists():
        return ""
    return ((folder / "errors").read_text(errors="replace").strip().splitlines() or [""])[-1]


def _child(job: Callable[[], Any], folder: Path) -> NoReturn:
    """Runs the job and ends the process."""
    code = 1
    try:
        os.chdir(folder)
        os.environ |= {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / NAME}", "TMPDIR": str(folder / "tmp")
        }  # fmt: skip
        tempfile.tempdir = None  # remembered from this process's parent
        for number, name in ((1, "output"), (2, "errors")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 (until the process ends)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        code = job() or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
