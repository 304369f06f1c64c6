"""Tests tracking stores that cannot be used: at the start, midway, and at the end of a run.

    python -m tests.bench.trackers

At the start, a command must end within 20 seconds with one line, before its work. Midway and at the
end, it must report within 20 seconds that the store is away, and finish once it is back. Servers
are MLflow's own, behind a proxy (tests/support/proxy.py) that refuses, hangs, breaks off, and so
on. Finally a server is killed, and restarted after a minute. Seconds are wall-clock time.
"""

import argparse
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments import cli, distill
from experiments.settings import DistillSettings
from tests.support import disks
from tests.support.database import put_database
from tests.support.entry import environment, tiny
from tests.support.forked import ACCEPTED, REFUSED, SECONDS, Ending, ending
from tests.support.proxy import BREAK, ERROR, GARBAGE, HANG, NAMES, PASS, REFUSE, Proxy, proxy
from tests.support.serve import free_port

ARGV = [*tiny("distill"), '--data.tasks=["sentiment"]', "--train.steps=40",
        "--checkpoint_seconds=0"]  # fmt: skip
AWAY_SECONDS = 8
"""How long a store is away midway."""
KILLED_SECONDS = 60
"""How long a killed server is away."""
WAIT_SECONDS = 180
"""Time limit of a command whose store was away midway."""


class Line(NamedTuple):
    """A row of the table. seconds: until the store is reported; fault: empty if all is well."""

    when: str
    store: str
    seconds: float
    fault: str


def command() -> int:
    return cli.entry(distill.distill, "", DistillSettings, ARGV)


def timed(work: Path, uri: str, seconds: float) -> tuple[float, Ending]:
    """Runs the command; returns how many seconds it took, and how it ended."""
    begin = time.monotonic()
    outcome = ending(command, work, seconds, {"MLFLOW_TRACKING_URI": uri, "TMPDIR": str(work)})
    return time.monotonic() - begin, outcome


def _read_only(work: Path) -> str:
    put_database(work)
    return f"sqlite:///file:{work}/mlflow.db?mode=ro&uri=true"


def _garbage(work: Path) -> str:
    (work / "mlflow.db").write_bytes(b"no database " * 1000)
    return f"sqlite:///{work}/mlflow.db"


def _truncated(work: Path) -> str:
    put_database(work)
    file = work / "mlflow.db"
    file.write_bytes(file.read_bytes()[:-8192])
    return f"sqlite:///{file}"


def _fifo(work: Path) -> str:
    os.mkfifo(work / "mlflow.db")
    return f"sqlite:///{work}/mlflow.db"


def _full(work: Path) -> str:
    disks.own_mounts()
    (work / "disk").mkdir()
    disks.mount(work / "disk", 1 << 14)
    return f"sqlite:///{work}/disk/mlflow.db"


FILES: dict[str, Callable[[Path], str]] = {
    "read-only": _read_only,
    "garbage": _garbage,
    "truncated": _truncated,
    "a FIFO": _fifo,
    "a folder": lambda work: f"sqlite:///{work}",
    "below a file": lambda work: "sqlite:////dev/null/mlflow.db",
    "of a full disk": _full,
    "PostgreSQL that is down": lambda work: "postgresql://mkd:secret@127.0.0.1:9/x",
}
"""Functions that make a store that cannot be used at the start, and return its address."""


def at_start() -> Iterator[Line]:
    """Yields how the command ends for each store that cannot be used."""
    for name, make in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield _at_start(name, make, Path(folder))
    with tempfile.TemporaryDirectory() as folder, _locked(Path(folder)) as uri:
        yield _at_start("locked", partial(_given_uri, uri), Path(folder))
    with proxy(free_port()) as way:
        for mode, name in NAMES.items():
            way.mode.value = mode
            for scheme in ("http", "postgresql") if mode in (REFUSE, HANG) else ("http",):
                uri = f"{scheme}://mkd:secret@127.0.0.1:{way.port}"
                uri += "/x" if scheme == "postgresql" else ""
                with tempfile.TemporaryDirectory() as folder:
                    yield _at_start(f"{scheme}: {name}", partial(_given_uri, uri), Path(folder))


def _given_uri(uri: str, work: Path) -> str:
    return uri


def _at_start(name: str, make: Callable[[Path], str], work: Path) -> Line:
    receiver, sender = os.pipe()
    process = os.fork()
    if not process:  # a forked process, because mounts are made for one process
        with suppress(BaseException), os.fdopen(sender, "w") as out:
            seconds, outcome = timed(work, make(work), SECONDS + 10)
            out.write(f"{seconds}\n{outcome.kind}\n{outcome.message}")
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as result:
        taken, kind, line = (result.read().split("\n", 2) + ["", "", ""])[:3]
    os.waitpid(process, 0)
    fault = "" if kind == REFUSED else f"{kind}: {line}"
    if not fault and (work / ".mkd").exists() and list(work.glob(".mkd/tokens/*")):
        fault = "told after the rows were prepared"
    if "secret" in line:
        fault = f"shows a password: {line}"
    return Line("start", name, float(taken or "nan"), fault)


@contextmanager
def _locked(work: Path) -> Iterator[str]:
    """Yields the address of a SQLite store that another program has locked."""
    put_database(work)
    with closing(sqlite3.connect(work / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield f"sqlite:///{work}/mlflow.db"


def _start_server(work: Path, port: int) -> "subprocess.Popen[bytes]":
    """Starts an MLflow server in its own session, and waits until it answers."""
    argv = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{work}/server.db",
            "--serve-artifacts", "--artifacts-destination", str(work / "artifacts")]  # fmt: skip
    env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (work / "server.log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=log, env=env, cwd=work, start_new_session=True
        )
    for _ in range(1800):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            break
        time.sleep(0.1)
    return process


@contextmanager
def _server(work: Path) -> Iterator[int]:
    """Yields the port of an MLflow server."""
    port = free_port()
    process = _start_server(work, port)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)


def killed_server() -> Iterator[Line]:
    """Yields how a run goes on if its MLflow server is killed midway and is back after a minute. It
    must end as FINISHED with the metrics and steps of an undisturbed run."""
    with tempfile.TemporaryDirectory() as name:
        root, port = Path(name), free_port()
        uri, servers = f"http://127.0.0.1:{port}", [_start_server(root, port)]
        try:
            (root / "whole").mkdir()
            _, whole = timed(root / "whole", uri, WAIT_SECONDS)

            def kill() -> None:
                os.killpg(servers[-1].pid, signal.SIGKILL)
                servers[-1].wait()

            def start() -> None:
                servers.append(_start_server(root, port))

            (root / "broken").mkdir()
            broken = Break("http: a server that is killed", kill, start, KILLED_SECONDS)
            line = _at_work("midway", broken, root / "broken", uri)
            ended = _logged(root / "server.db")
        finally:
            os.killpg(servers[-1].pid, signal.SIGKILL)
            servers[-1].wait()
    if not line.fault and (whole.kind != ACCEPTED or len(ended) != 2 or ended[0] != ended[1]):
        line = line._replace(fault=f"not the same as the run that was not disturbed: {whole}")
    yield line


def _logged(database: Path) -> list[tuple[str, list[tuple[str, int]]]]:
    """Returns the status and the metrics, with their steps, of each run."""
    with closing(sqlite3.connect(database)) as opened:
        runs = opened.execute("select run_uuid, status from runs").fetchall()
        query = "select key, step from metrics where run_uuid = ? order by key, step"
        return [(status, opened.execute(query, (run,)).fetchall()) for run, status in runs]


class Break(NamedTuple):
    """A fault during a run. begin and end cause and repair it; seconds: the time between them."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    seconds: float = AWAY_SECONDS


def while_at_work() -> Iterator[Line]:
    """Yields how a command goes on if its store is away for some seconds."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        port = stack.enter_context(_server(root))
        way = stack.enter_context(proxy(port))
        uri = f"http://127.0.0.1:{way.port}"
        for mode in (REFUSE, HANG, BREAK, GARBAGE, ERROR):
            for when in ("midway", "end"):
                work = root / f"{mode}{when}"
                work.mkdir()
                broken = Break(f"http: {NAMES[mode]}", *_modes(way, mode))
                yield _at_work(when, broken, work, uri)
    for when in ("midway", "end"):
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            put_database(work)
            database = sqlite3.connect(work / "mlflow.db", timeout=60, check_same_thread=False)
            with closing(database):
                lock = partial(database.execute, "BEGIN EXCLUSIVE")
                broken = Break("locked", lock, database.rollback)
                yield _at_work(when, broken, work, f"sqlite:///{work}/mlflow.db")


def _modes(way: Proxy, mode: int) -> tuple[Callable[[], None], Callable[[], None]]:
    def use(wanted: int) -> Callable[[], None]:
        return lambda: setattr(way.mode, "value", wanted)

    return use(mode), use(PASS)


def _at_work(when: str, broken: Break, work: Path, uri: str) -> Line:
    """Runs the command, breaks its store for some seconds, and returns how it goes on."""
    reported_after: list[float] = []
    over = threading.Event()

    def disturb() -> None:
        if not _reached(when, work, over):
            return
        broken.begin()
        begin = time.monotonic()
        reported = False
        while not over.is_set() and time.monotonic() - begin < SECONDS + 10:
            reported = re.search(r"note: .*(is away|waiting for)", _printed(work)) is not None
            if reported:
                break
            time.sleep(0.05)
        if reported:
            reported_after.append(time.monotonic() - begin)
        time.sleep(max(0.0, broken.seconds - (time.monotonic() - begin)))
        broken.end()

    thread = threading.Thread(target=disturb)
    thread.start()
    _, result = timed(work, uri, WAIT_SECONDS)
    over.set()
    thread.join()
    if result.kind != ACCEPTED:
        return Line(
            when, broken.name, reported_after[0] if reported_after else float("nan"), f"{result}"
        )
    if not reported_after:
        return Line(when, broken.name, float("nan"), "not told")
    return Line(
        when, broken.name, reported_after[0], "" if reported_after[0] < SECONDS else "told late"
    )


def _printed(work: Path) -> str:
    return (work / "errors").read_text(errors="replace") if (work / "errors").exists() else ""


def _reached(when: str, work: Path, over: threading.Event) -> bool:
    """Waits for the moment at which the store breaks; returns False if the run ends before."""
    wanted = "student.safetensors" if when == "midway" else "MODEL_CARD.md"
    while not over.is_set():
        if list(work.glob(f".mkd/runs/*/{wanted}")):
            return True
        time.sleep(0.005)
    return False


def main() -> None:
    """Tries all stores; prints a table with the seconds until they are reported, and the faults."""
    print("| when | store | seconds until it is told | fault |\n| :-- | :-- | --: | :-- |")
    for lines in (at_start(), while_at_work(), killed_server()):
        for line in lines:
            print(
                f"| {line.when} | {line.store} | {line.seconds:.1f} | {line.fault[:200]} |",
                flush=True,
            )


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    main()
