"""Entry points at work on a tiny distillation, each in a process of its own with a store of its
own.

Importing what they need takes longer than their work; so the processes are forked from one that has
imported it all (warm.py), and where they start a fork server of their own, that is forked too.
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
"""Of a distillation; of the other commands `tiny` has those that they take."""


def tiny(module: str) -> list[str]:
    """The command line of a command at work on little."""
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
    """A process that was started, and the files that it prints into."""

    process: BaseProcess
    stdout: Path
    stderr: Path

    def end(self) -> subprocess.CompletedProcess[str]:
        """What it left, once it has ended; one that hangs is killed."""
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
    """Without what MLflow has put into this process's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more


def started(folder: Path, work: Callable[..., None], *args: Any, **more: str) -> Child:
    """work(*args) in another process, in the folder, which what it prints lies beside; more: of its
    environment."""
    number = len(list(folder.parent.glob(f"{folder.name}.*.stdout")))
    files = [folder.with_name(f"{folder.name}.{number}.{name}") for name in ("stdout", "stderr")]
    for file in files:
        file.touch()
    process = FORKS.Process(target=_work, args=(folder, files, environment(**more), work, args))
    process.start()
    return Child(process, *files)


def command(folder: Path, module: str, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
    """An entry point from its start to its end, in a folder that has MLflow's database already.

    stdout has the JSON alone; all else that it prints is on stderr."""
    put_database(folder)
    return started(folder, entry_point, module, *argv, "--json", **more).end()


def entry_point(module: str, *argv: str) -> None:
    """As `python -m experiments.MODULE` does it, or as that of a module of another package."""
    sys.argv[1:] = argv
    whole = module if "." in module else f"experiments.{module}"
    runpy.run_module(whole, run_name="__main__", alter_sys=True)


class Event(NamedTuple):
    """An event of files, of which Python tells (sys.addaudithook) just before it happens.

    name: what its name begins with, as "os.rename". about: a part of what it is about, as of a
    path.
    """

    name: str = ""
    about: str = ""


FILES = ("open", "os.", "shutil.", "sqlite3.")
"""What the names of all these events begin with."""


def dying(event: Event, times: int, module: str, *argv: str) -> None:
    """As entry_point does it, until there is such an event for the so many-th time: then the
    process kills itself.

    When that is depends on what the process does, and not on how fast it is.
    """

    def hear(told: int) -> None:
        if told == times:
            signal.raise_signal(signal.SIGKILL)

    _hear(event, hear)
    entry_point(module, *argv)


def counting(events: list[Event], file: Path, module: str, *argv: str) -> None:
    """As entry_point does it; the file has the number of each of the events at the end, as JSON."""
    told = [0] * len(events)
    for place, event in enumerate(events):
        _hear(event, partial(told.__setitem__, place))
    try:
        entry_point(module, *argv)
    finally:
        file.write_text(json.dumps(told))


def _hear(event: Event, hear: Callable[[int], object]) -> None:
    """Calls `hear` at each such event, with the number of them so far."""
    told = 0

    def hook(name: str, args: tuple[object, ...]) -> None:
        nonlocal told
        if name.startswith(FILES) and name.startswith(event.name) and event.about in str(args):
            told += 1
            hear(told)

    sys.addaudithook(hook)


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON that a command with --json prints."""
    assert done.returncode == 0, done.stderr[-6000:]
    content: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return content


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def weights_of(folder: Path, run_id: str) -> Path:
    """The weights of the student that a run has logged; works in the store's folder only."""
    store = f"sqlite:///{folder / 'mlflow.db'}"
    (found,) = Path(
        mlflow.artifacts.download_artifacts(f"runs:/{run_id}/student", tracking_uri=store)
    ).rglob("model.safetensors")
    return found


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
    )  # tests that run in the background of a script have it ignored
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    util.spawnv_passfds = _forked  # type: ignore[assignment]
    forkserver.ensure_running()  # now, as a process with a database open must not fork
    work(*args)


def _forked(path: str, args: list[str], passfds: list[int]) -> int:
    """The id of a process that runs what multiprocessing starts a Python for (`-c` and a command),
    with what is imported here."""
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
