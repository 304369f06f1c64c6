"""Runs entry points on a tiny distillation, each in its own process and MLflow store.

Imports take longer than the work itself, so the processes are forked from one that has imported
everything (warm.py). A fork server that such a process starts is forked as well.
"""

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import forkserver, util
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import mlflow

from experiments import cli
from tests.support.database import put_database
from tests.support.waiting import wait_until as wait_until

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--data.demo.train_rows=60", "--data.demo.unlabelled_rows=40", "--data.demo.dev_rows=40",
    "--teacher.layers=1", "--teacher.hidden=32", "--teacher.heads=2", "--teacher.train.steps=6",
    "--student.hidden=16", "--student.heads=2", "--train.steps=6", "--speed.seconds=0.1",
    "--threads=1", "--speed.threads=[1]", "--export.backends=[]",
]  # fmt: skip
"""Options of a tiny distillation; `tiny` selects those that a given command accepts."""


def tiny(module: str) -> list[str]:
    """The options that make a command's work tiny."""
    return [
        word for word in TINY if word.removeprefix("--").split("=")[0] in cli.setting_names(module)
    ]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "experiments.studies.worker",
        "experiments.studies.comparison",
        "mkd.runs.finetune",
        "tests.support.warm",
    ]
)


class Child(NamedTuple):
    """A started process and the files of its output."""

    process: BaseProcess
    stdout: Path
    stderr: Path

    def end(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end and returns its exit code and output; kills it if it hangs."""
        self.process.join(800)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        assert code is not None, "it has ended"
        return subprocess.CompletedProcess(
            [], code, self.stdout.read_text(), self.stderr.read_text()
        )


def environment(**more: str) -> dict[str, str]:
    """This process's environment without MLflow's variables, with those of `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def started(folder: Path, work: Callable[..., None], *args: Any, **more: str) -> Child:
    """Starts work(*args) in a process whose working folder is `folder`; its output files lie beside
    that folder. more: environment variables."""
    number = len(list(folder.parent.glob(f"{folder.name}.*.stdout")))
    files = [folder.with_name(f"{folder.name}.{number}.{name}") for name in ("stdout", "stderr")]
    for file in files:
        file.touch()
    process = FORKS.Process(target=_work, args=(folder, files, environment(**more), work, args))
    process.start()
    return Child(process, *files)


def command(folder: Path, module: str, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs an entry point to its end, in a folder with an MLflow database.

    stdout has only the JSON; everything else is on stderr."""
    put_database(folder)
    return started(folder, entry_point, module, *argv, "--json", **more).end()


def entry_point(module: str, *argv: str) -> None:
    """Runs `python -m experiments.MODULE`, or a module of another package by its full name."""
    sys.argv[1:] = argv
    whole = module if "." in module else f"experiments.{module}"
    runpy.run_module(whole, run_name="__main__", alter_sys=True)


class Event(NamedTuple):
    """A file operation that Python reports to audit hooks (sys.addaudithook) before it happens.

    name: prefix of the event's name, such as "os.rename". about: part of its arguments, such as
    of a path.
    """

    name: str = ""
    about: str = ""


FILES = ("open", "os.", "shutil.", "sqlite3.")
"""Prefixes of the names of file events."""


def dying(event: Event, times: int, module: str, *argv: str) -> None:
    """Runs an entry point; the process kills itself at the given occurrence of the event.

    That moment depends on what the process does, not on how fast it is.
    """

    def hear(count: int) -> None:
        if count == times:
            signal.raise_signal(signal.SIGKILL)

    _hear(event, hear)
    entry_point(module, *argv)


def counting(events: list[Event], file: Path, module: str, *argv: str) -> None:
    """Runs an entry point; at the end, writes how often each event occurred into `file` as JSON."""
    counts = [0] * len(events)
    for place, event in enumerate(events):
        _hear(event, partial(counts.__setitem__, place))
    try:
        entry_point(module, *argv)
    finally:
        file.write_text(json.dumps(counts))


def _hear(event: Event, hear: Callable[[int], object]) -> None:
    """Calls `hear` at each such event, with the number of its occurrences so far."""
    count = 0

    def hook(name: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if name.startswith(FILES) and name.startswith(event.name) and event.about in str(args):
            count += 1
            hear(count)

    sys.addaudithook(hook)


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that a command with --json has printed."""
    assert done.returncode == 0, done.stderr[-6000:]
    content: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return content


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def weights_of(folder: Path, run_id: str) -> Path:
    """The weights file of the student that a run has logged; works only in the store's folder."""
    store = f"sqlite:///{folder / 'mlflow.db'}"
    (file,) = Path(
        mlflow.artifacts.download_artifacts(f"runs:/{run_id}/student", tracking_uri=store)
    ).rglob("model.safetensors")
    return file


def runs(folder: Path) -> list[mlflow.entities.Run]:
    """All runs of the folder's store."""
    store = client(folder)
    return list(
        store.search_runs([experiment.experiment_id for experiment in store.search_experiments()])
    )


def _work(
    folder: Path,
    files: list[Path],
    environ: dict[str, str],
    work: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # it is ignored if the tests run in the background of a script
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    util.spawnv_passfds = _forked  # type: ignore[assignment]
    forkserver.ensure_running()  # now, as a process with a database open must not fork
    work(*args)


def _forked(path: str, args: list[str], passfds: list[int]) -> int:
    """Replaces multiprocessing's start of a new Python (`-c` and a command) by a fork, which keeps
    the imports; returns the process id."""
    pid = os.fork()
    if pid == 0:
        try:
            for fd in map(int, os.listdir("/proc/self/fd")):
                if fd > 2 and fd not in passfds:
                    with suppress(OSError):  # the descriptor that listed them is closed
                        os.close(fd)
            exec(args[-1], {})
        finally:
            os._exit(0)
    return pid
