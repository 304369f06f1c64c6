"""Entry points at work on a tiny distillation, each in a process of its own with a store of its own.

Importing what they need takes longer than their work; so the processes are forked from one that has imported it all, and where
they start a fork server of their own, that is forked too.
"""

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, util
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import mlflow

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "--data.demo.train_rows=60", "--data.demo.unlabelled_rows=40", "--data.demo.dev_rows=40",
    "--teacher.layers=1", "--teacher.hidden=32", "--teacher.heads=2", "--teacher.train.steps=6",
    "--student.hidden=16", "--student.heads=2", "--train.steps=6", "--speed.seconds=0.1", "--threads=1",
    "--speed.threads=[1]", "--export.backends=[]",
]  # fmt: skip
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["experiments.worker", "experiments.comparison", "mkd.finetune"])


class Child(NamedTuple):
    """A process that was started, and the files that it prints into."""

    process: BaseProcess
    stdout: Path
    stderr: Path

    def end(self) -> subprocess.CompletedProcess[str]:
        """What it left, once it has ended; one that takes minutes is killed."""
        self.process.join(240)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        assert code is not None, "it has ended"
        return subprocess.CompletedProcess([], code, self.stdout.read_text(), self.stderr.read_text())


def environment(**more: str) -> dict[str, str]:
    """Without what MLflow has put into this process's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def started(folder: Path, work: Callable[..., None], *args: Any, **more: str) -> Child:
    """work(*args) in another process, in the folder, which what it prints lies beside; more: of its environment."""
    number = len(list(folder.parent.glob(f"{folder.name}.*.stdout")))
    files = [folder.with_name(f"{folder.name}.{number}.{name}") for name in ("stdout", "stderr")]
    for file in files:
        file.touch()
    process = FORKS.Process(target=_work, args=(folder, files, environment(**more), work, args))
    process.start()
    return Child(process, *files)


def command(folder: Path, module: str, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    """An entry point from its start to its end."""
    return started(folder, entry_point, module, *argv, **more).end()


def entry_point(module: str, *argv: str) -> None:
    """As `python -m experiments.MODULE` does it."""
    sys.argv[1:] = argv
    runpy.run_module(f"experiments.{module}", run_name="__main__", alter_sys=True)


def wait_until(true: Callable[[], object], seconds: float = 120) -> None:
    """Comes back as soon as it is; fails where it never is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.001)


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON on the last line."""
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path) -> list[mlflow.entities.Run]:
    """All runs of the folder's store."""
    store = client(folder)
    return list(store.search_runs([experiment.experiment_id for experiment in store.search_experiments()]))


def _work(folder: Path, files: list[Path], environ: dict[str, str], work: Callable[..., None], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background of a script have it ignored
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    util.spawnv_passfds = _forked  # type: ignore[assignment]
    forkserver.ensure_running()  # now, as a process with a database open must not fork
    work(*args)


def _forked(path: str, args: list[str], passfds: list[int]) -> int:
    """The id of a process that runs what multiprocessing starts a Python for (`-c` and a command), with what is imported here."""
    pid = os.fork()
    if pid == 0:
        try:
            for fd in map(int, os.listdir("/proc/self/fd")):
                if fd > 2 and fd not in passfds:
                    with suppress(OSError):  # what listed them is closed
                        os.close(fd)
            exec(args[-1], {})
        finally:
            os._exit(0)
    return pid
